"""Guidance: a condition is weighted beyond what the model makes of it. Denoiser -> Denoiser, and they nest.

    classifier_free    D_u + w (D_c - D_u)                          two calls
    doubled            the same, one call on a batch of twice the size
    weighed_by         classifier_free with the w that each sample's condition holds
    classifier         D + w (sigma^2 / alpha) grad log p(c | x_t)  one call, one gradient of the classifier

w = 0 is the unconditional model and w = 1 the conditional one; beyond, samples are typical of the condition
and less varied. The law that a guided run reaches is not p(x) p(c | x)^w unless w is 0 or 1: the noisy
densities tilted at each level are not those of the tilted law (`core.diagnose.guidance_sweep` measures the
departure on mixtures).

Classifier-free guidance mixes what the model answers, means or logits, and so serves every process. The
classifier adds a score and needs a Gaussian process (or a product of them).

Large weights inflate the answer. `rescale` brings its spread back: with m the guided mean, m_c the
conditional one and sd over the entries of a sample, m <- (1 - rescale) m + rescale m sd(m_c) / sd(m).

Sources: Ho & Salimans 2022, arXiv:2207.12598, eq. 6, with w there one less than here; Dhariwal & Nichol 2021,
arXiv:2105.05233, algorithm 1. Weights over time: Kynkaanniemi et al. 2024, arXiv:2404.07724. Rescaling: Lin
et al. 2024, arXiv:2305.08891, eqs. 15 and 16, there of the predicted v.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.process.gaussian import Gaussian
from core.process.product import Product
from core.process.scheduled import fitted
from core.state import batch_size, per_sample, tree_map
from core.steer.gradient import gradient

__all__ = ["Guided", "Scale", "between", "classifier", "classifier_free", "doubled", "given", "weighed_by"]

Scale: TypeAlias = float | Callable[[Any], float]
Classifier: TypeAlias = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Guided:
    """A denoiser made of others; `answer(x, t, cond)` is its posterior."""

    process: Any
    answer: Callable[[Any, Any, Any], Posterior]

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return self.answer(x, t, cond)


def given(denoiser: Denoiser, cond: Any) -> Guided:
    """Fix the condition of a model; what the run hands on is ignored."""
    return Guided(denoiser.process, lambda x, t, _: denoiser(x, t, cond))


def between(scale: float, low: float, high: float) -> Callable[[Any], float]:
    """A scale for times in [low, high], and 1 outside them: guidance in a limited interval.

    Source: Kynkaanniemi et al. 2024, arXiv:2404.07724, eq. 5.
    """
    return lambda t: scale if low <= _one(t) <= high else 1.0


def classifier_free(
    denoiser: Denoiser,
    scale: Scale,
    *,
    unconditional: Denoiser | None = None,
    null: Any = None,
    rescale: float = 0.0,
) -> Guided:
    """Weigh the condition of the run by `scale`. Two calls per evaluation.

    Args:
        denoiser: called with the condition of the run.
        scale: w, a number or a function of the time.
        unconditional: the model without the condition; by default the same one, called with `null`.
        null: what stands for "no condition".
        rescale: share of the rescaled answer, in [0, 1].
    """
    other = denoiser if unconditional is None else unconditional

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        told = denoiser(x, t, cond)
        return spread_as(told, _weighed(other(x, t, null), told, _at(scale, t)), rescale)

    return Guided(denoiser.process, answer)


def doubled(denoiser: Denoiser, scale: Scale, null: Any, *, rescale: float = 0.0) -> Guided:
    """`classifier_free` in one call on a doubled batch: faster on wide hardware, twice the memory.

    Args:
        null: like the condition of the run, (B, ...) or (1, ...), a tensor or a mapping of them.
    """

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        if cond is None:
            raise ConfigError("a doubled batch needs the condition of the run, got none.", hint="Pass cond=.")
        count = batch_size(x)
        conds = _pairs(null, cond, count)
        out = denoiser(_pairs(x, x, count), torch.cat([t, t]) if _batched(t) else t, conds)
        halves = _part(out, slice(None, count)), _part(out, slice(count, None))
        return spread_as(halves[1], _weighed(halves[0], halves[1], _at(scale, t)), rescale)

    return Guided(denoiser.process, answer)


def weighed_by(denoiser: Denoiser, null: Callable[[Any], Any], *, key: str = "weight") -> Guided:
    """Weigh each sample's condition by the number that the condition itself holds. Two calls per evaluation.

    Students are trained against this: they are told the same number.

    Args:
        denoiser: called with the condition of the run, a mapping.
        null: the condition -> the same without what guidance is about.
        key: where the condition holds w, (B,).
    """

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        return _weighed(denoiser(x, t, null(cond)), denoiser(x, t, cond), cond[key])

    return Guided(denoiser.process, answer)


def classifier(denoiser: Denoiser, log_prob: Classifier, scale: Scale = 1.0) -> Guided:
    """Tilt a model by a classifier of noisy states.

    Args:
        log_prob: log p(c | x_t) at (x, t) for the class wanted, (B,), nats; differentiable in x.
        scale: w, a number or a function of the time.

    Raises:
        ConfigError: the process is not Gaussian, nor a product of Gaussian ones.
    """
    process = denoiser.process
    several = dict(process.parts) if isinstance(process, Product) else {None: process}
    for part in several.values():
        if not isinstance(part, Gaussian):
            raise ConfigError(f"a classifier's score needs a Gaussian process, got {type(part).__name__}.")

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        mean = denoiser(x, t, cond).mean
        grads, _ = gradient(lambda state: log_prob(state, t), x)
        weight = _at(scale, t)
        if not isinstance(process, Product):
            return Posterior(mean=_pulled(process, t, weight, mean, grads, None))
        mask = x.get("mask")
        moved = {k: _pulled(part, t, weight, mean[k], grads[k], mask) for k, part in several.items()}
        return Posterior(mean={**mean, **moved})

    return Guided(process, answer)


def spread_as(told: Posterior, guided: Posterior, share: float) -> Posterior:
    """Rescale a guided answer towards the spread of the conditional one; the module has the formula. Means
    only.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"rescale must lie in [0, 1], got {share}.")
    if share == 0 or guided.mean is None:
        return guided

    def matched(c: Tensor, m: Tensor) -> Tensor:
        wanted, found = (leaf.flatten(1).std(1) for leaf in (c, m))
        return m * per_sample(1 - share + share * wanted / found.clamp(min=1e-12), m)

    return Posterior(mean=tree_map(matched, told.mean, guided.mean))


def _pulled(process: Any, t: Any, weight: float, mean: Tensor, grad: Tensor, mask: Any) -> Tensor:
    """D + w (sigma^2 / alpha) grad; where no signal is left the state tells nothing and D stays.

    A space that stores an entry twice (the triangles of an adjacency) shows the classifier both: the gradient
    by the free entry is their sum.
    """
    stored = process.space.project(torch.ones_like(grad), mask)
    copies = stored.flatten(1).abs().sum(1) / process.space.dim(grad, mask).to(grad.device).clamp(min=1)
    score = per_sample(copies, grad) * process.space.project(grad, mask)
    alpha, sigma = process.alpha(t), process.sigma(t)
    if not _batched(t):
        return mean + (weight * sigma**2 / alpha if alpha > 0 else 0.0) * score
    gain = weight * torch.where(alpha > 0, sigma**2 / alpha.clamp(min=1e-300), 0.0)
    return mean + per_sample(gain.to(copies.dtype), mean) * score


def _weighed(without: Posterior, with_: Posterior, weight: float | Tensor) -> Posterior:
    """The unconditional answer and `weight` times what the condition changes of it; logits are normalised
    first.
    """
    if with_.logits is not None:
        plain, told = (torch.log_softmax(out.logits, -1) for out in (without, with_))
        return Posterior(logits=plain + fitted(weight, plain) * (told - plain))
    return Posterior(mean=tree_map(lambda u, c: u + fitted(weight, u) * (c - u), without.mean, with_.mean))


def _part(out: Posterior, rows: slice) -> Posterior:
    """Some samples of an answer."""
    if out.logits is not None:
        return Posterior(logits=out.logits[rows])
    return Posterior(mean=_rows(out.mean, rows))


def _rows(state: Any, rows: slice) -> Any:
    if isinstance(state, Mapping):
        return {key: _rows(value, rows) for key, value in state.items()}
    return state[rows]


def _pairs(first: Any, second: Any, count: int) -> Any:
    """Two states or conditions, masks included, one after the other along the batch."""
    if isinstance(second, Mapping):
        return {key: _pairs(first[key], value, count) for key, value in second.items()}
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.shape[1:] != second.shape[1:]:
        shapes = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in (first, second)]
        raise ConfigError(
            f"a doubled batch needs null and condition of one shape, got {shapes[0]} and {shapes[1]}.",
            hint="Use classifier_free, which calls twice.",
        )
    return torch.cat([part.expand(count, *part.shape[1:]) for part in (first, second)])


def _at(scale: Scale, t: Any) -> float:
    return scale(t) if callable(scale) else scale


def _batched(t: Any) -> bool:
    return isinstance(t, Tensor) and t.ndim > 0


def _one(t: Any) -> float:
    return float(t.reshape(-1)[0]) if isinstance(t, Tensor) else t
