"""Composition: several models or conditions at once. Denoiser -> Denoiser, and they nest.

    composed  D_0 + sum_i w_i (D_i - D_0)        base D_0, one model or condition per concept
    both      w_1 = w_2 = 1                      AND
    without   w_1 = 1, w_2 < 0                   AND NOT
    either    sum_i k_i D_i,  k = softmax_i(log q_i(x_t) + l_i)      OR: exact, with densities

In scores this is s_0 + sum_i w_i (s_i - s_0). Without a base, s_0 = 0, that is D_0 = x / alpha; tokens
compose in log probabilities.

The sum of noisy scores is not the score of the noised product: noise does not distribute over products. It
is the score of pi_t, proportional to q_0 prod_i (q_i / q_0)^w_i at each t on its own, which is the product at
t = 0 and not what a run of the reverse process passes through on the way there. So plain composition stays
biased however many steps are taken. Two corrections make it right, both with `log_composed` as log pi_t:

    core.infer.mala                   moves that leave pi_t invariant at each level
    core.infer.fk_sample with ratio   weights pi_s(x_s) L(x_t given x_s) / (pi_t(x_t) K(x_s given x_t))

`core.steer.superpose` has an AND and an OR that need no densities in closed form.

Sources: Liu et al. 2022, arXiv:2206.01714, eqs. 11 and 12; Du et al. 2023, arXiv:2302.11552, section 4.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.infer.potentials import LogDensity
from core.process.gaussian import Gaussian
from core.state import per_sample, tree_map
from core.steer.guidance import Guided, spread_as

__all__ = ["both", "composed", "either", "log_composed", "without"]


def composed(
    models: Sequence[Denoiser],
    weights: Sequence[float] | None = None,
    *,
    base: Denoiser | None = None,
    rescale: float = 0.0,
) -> Guided:
    """Add what each model says beyond the base. One call of each, and of the base.

    Args:
        models: of one process; conditions are bound with `core.steer.guidance.given`.
        weights: w_i, one per model, 1 by default; negative to avoid a concept.
        base: the model without any concept. None adds the scores themselves: a product of densities.
        rescale: share of the answer that is brought to the spread of the last model's, in [0, 1]; means only.

    Raises:
        ConfigError: no model, another number of weights, or no base where the process is not Gaussian.
    """
    if not models:
        raise ConfigError("a composition needs at least one model, got none.")
    w = _weights(weights, len(models))
    process = models[0].process

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        answers = [model(x, t, cond) for model in models]
        ground = None if base is None else base(x, t, cond)
        if answers[0].logits is not None:
            logs = [torch.log_softmax(out.logits, -1) for out in answers]
            start = torch.zeros_like(logs[0]) if ground is None else torch.log_softmax(ground.logits, -1)
            return Posterior(logits=start + _added(w, logs, start))
        if ground is not None:
            start = ground.mean
        elif isinstance(process, Gaussian):
            start = tree_map(lambda a: a / process.alpha(t), x)
        else:
            raise ConfigError(
                f"scores add up under a Gaussian process, got {type(process).__name__}.",
                hint="Give the model without any concept as base=.",
            )
        means = [out.mean for out in answers]
        out = Posterior(mean=tree_map(lambda d, *each: d + _added(w, each, d), start, *means))
        return spread_as(answers[-1], out, rescale)

    return Guided(process, answer)


def both(first: Denoiser, second: Denoiser, *, base: Denoiser | None = None) -> Guided:
    """One AND the other, each once. See the module: on its own this is not the product's law."""
    return composed((first, second), base=base)


def without(wanted: Denoiser, unwanted: Denoiser, weight: float = 1.0, *, base: Denoiser) -> Guided:
    """One AND NOT the other.

    Args:
        weight: how strongly the unwanted concept repels, > 0.
    """
    if not weight > 0:
        raise ConfigError(f"the weight of what is unwanted must be positive, got {weight}.")
    return composed((wanted, unwanted), (1.0, -weight), base=base)


def either(
    models: Sequence[Denoiser], log_densities: Sequence[LogDensity], bias: Sequence[float] | None = None
) -> Guided:
    """One OR another: the exact denoiser of the mixture of the models.

    Args:
        log_densities: log q_i of noisy states (B, ...) at t -> (B,), one per model.
        bias: l_i, log weights of the mixture; even by default.
    """
    if len(log_densities) != len(models):
        raise ConfigError(f"got {len(log_densities)} densities for {len(models)} models.")
    tilt = [0.0] * len(models) if bias is None else list(bias)

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        logs = torch.stack([log_q(x, t) + add for log_q, add in zip(log_densities, tilt, strict=True)])
        k = torch.softmax(logs, 0)
        means = [model(x, t, cond).mean for model in models]

        def mixed(*each: Tensor) -> Any:
            return sum(per_sample(w.to(d.dtype), d) * d for w, d in zip(k, each, strict=True))

        return Posterior(mean=tree_map(mixed, *means))

    return Guided(models[0].process, answer)


def log_composed(
    log_densities: Sequence[LogDensity],
    weights: Sequence[float] | None = None,
    *,
    base: LogDensity | None = None,
) -> LogDensity:
    """log pi_t of a composition up to a constant: the target of moves and weights that make it exact."""
    w = _weights(weights, len(log_densities))

    def log_pi(x: Any, t: float) -> Any:
        start: Any = 0.0 if base is None else base(x, t)
        return start + sum(a * (log_q(x, t) - start) for a, log_q in zip(w, log_densities, strict=True))

    return log_pi


def _weights(weights: Sequence[float] | None, count: int) -> list[float]:
    found = [1.0] * count if weights is None else [float(w) for w in weights]
    if len(found) != count:
        raise ConfigError(f"got {len(found)} weights for {count} models.", hint="Give one per model.")
    return found


def _added(weights: Sequence[float], values: Sequence[Tensor], start: Tensor) -> Any:
    return sum(w * (value - start) for w, value in zip(weights, values, strict=True))
