"""Tractable steering: the exact posterior of a probabilistic circuit, fused with what the denoiser says.

The noisy state is soft evidence on every variable, N(x_i; alpha x0_i, sigma^2); values that are known are
hard evidence. One pass up and one down give p_C(x0_i given x_t, known), exactly under the circuit, and with
it the dependence on the known part that a denoiser of the noisy state alone does not see. `Tractable` is that
posterior as a denoiser. `fused` blends it with a model's, variable by variable:

    p(x0_i)  proportional to  p_D(x0_i)^m  p_C(x0_i)^(1 - m)

and answers with the mean. The denoiser's law p_D is Gaussian about its mean D with the variance v(t) that the
noise leaves open, on the codes of a codebook where the circuit has categories. For Gaussian leaves p_C is
taken by its first two moments, so that the mean is (m v_C D + (1 - m) v mu_C) / (m v_C + (1 - m) v). For
masked tokens both laws are there and nothing is assumed.

The model is called once a step, and not at all by `Tractable`; m = 1 leaves the circuit out. `ramp` raises m
along a plan and drops the circuit at its end. Codes of several numbers serve the latent tokens of an
autoencoder.

Source: Liu et al. 2023, arXiv:2401.03349 (Tiramisu). The variance of p_D for pixels is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from core.circuit import Beliefs, Categorical, Circuit, Evidence, Likelihood, diffused, posterior
from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.plan.table import Plan
from core.process.masking import Masking

__all__ = ["Fused", "Known", "Tractable", "fused", "ramp"]


@dataclass(frozen=True)
class Known:
    """Clean values (B or 1, ...), shaped like the state, and where they are known (boolean, alike).

    A state of codes, (B, L, F), has one flag per code: `where` is (B or 1, L).
    """

    values: Tensor
    where: Tensor


@dataclass(frozen=True, eq=False)
class Tractable:
    """The exact denoiser of a circuit's density, E[x0 given x_t, known values].

    Args:
        circuit: density of the flattened clean state, one variable per entry (or per code).
        process: Gaussian, or `Masking` for a circuit of tokens.
        known: values that are given.
        codebook: (C,) or (C, F), the value of each category, for categorical leaves under a Gaussian process.
            With (C, F) the state is (B, L, F).
    """

    circuit: Circuit
    process: Any
    known: Known | None = None
    codebook: Tensor | None = None

    def __post_init__(self) -> None:
        discrete = isinstance(self.circuit.leaves, Categorical)
        if isinstance(self.process, Masking):
            if not discrete or self.codebook is not None:
                raise ConfigError("masked tokens need a circuit with categorical leaves, and no codebook.")
        elif discrete == (self.codebook is None):
            raise ConfigError(
                "under a Gaussian process categorical leaves need a codebook, and Gaussian leaves take none."
            )

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        """Posterior of the clean state, shaped like x; t is a float or (B,)."""
        found = self.beliefs(x, t)
        if isinstance(self.process, Masking):
            return Posterior(logits=_logits(found))
        return Posterior(mean=self.restore(self._mean(found).reshape(x.shape).to(x)))

    def beliefs(self, x: Tensor, t: Any) -> Beliefs:
        """The law of every variable given the noisy state and the known values."""
        if isinstance(self.process, Masking):
            return posterior(self.circuit, self._tokens(x)).beliefs
        flat = x.flatten(1) if self.codebook is None or self.codebook.ndim == 1 else x
        evidence = diffused(
            self.circuit,
            flat.to(self._dtype),
            self.process.alpha(t),
            self.process.sigma(t),
            codebook=self.codebook,
            known=self._given,
            where=None if self.known is None else self.known.where.flatten(1),
        )
        return posterior(self.circuit, evidence).beliefs

    def restore(self, x: Tensor) -> Tensor:
        """A clean state with the known values put in."""
        if self.known is None:
            return x
        where = self.known.where
        where = where.reshape(*where.shape, *([1] * (x.ndim - where.ndim)))
        return torch.where(where, self.known.values.to(x), x)

    @property
    def _dtype(self) -> torch.dtype:
        return self.circuit.weights[0].dtype

    def _mean(self, found: Beliefs) -> Tensor:
        if self.codebook is None:
            assert found.mean is not None
            return found.mean
        assert found.probs is not None
        return found.probs @ self.codebook.to(found.probs)

    @cached_property
    def _given(self) -> Evidence | None:
        """The known values as evidence, made once; elsewhere it means nothing."""
        if self.known is None:
            return None
        where, values = self.known.where.flatten(1), self.known.values
        if self.codebook is None:
            return self.circuit.leaves.observed(values.flatten(1).to(self._dtype), where)
        codes = self.codebook[:, None] if self.codebook.ndim == 1 else self.codebook
        states = values.reshape(len(values), -1, codes.shape[1]).to(codes)
        near = torch.cdist(states, codes[None].expand(len(states), -1, -1)).argmin(2)
        return self.circuit.leaves.observed(near, where)

    def _tokens(self, x: Tensor) -> Likelihood:
        """Tokens that are not masked, and known ones, as hard evidence."""
        there = x != self.process.mask_token
        if self.known is not None:
            x, there = self.restore(x), there | self.known.where
        assert isinstance(self.circuit.leaves, Categorical)
        return self.circuit.leaves.observed(x, there)


@dataclass(frozen=True, eq=False)
class Fused:
    """A model and a circuit as one denoiser; `fused` builds it."""

    denoiser: Denoiser
    tractable: Tractable
    weight: Callable[[float], float]
    variance: Callable[[float], float]

    @property
    def process(self) -> Any:
        """The process of both."""
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        """Fused posterior, shaped like x; t is one time for the whole batch."""
        if isinstance(t, Tensor):
            if t.ndim:
                raise ConfigError("fusion follows a plan: all samples share one time t.")
            t = float(t)
        model = self.denoiser(x, t, cond)
        m = self.weight(t)
        if isinstance(self.process, Masking):
            return Posterior(logits=model.logits if m == 1 else self._tokens(model.logits, x, t, m))
        mean = model.mean if m == 1 else self._fuse(model.mean, x, t, m)
        return Posterior(mean=self.tractable.restore(mean))

    def _tokens(self, logits: Tensor, x: Tensor, t: float, m: float) -> Tensor:
        exact = _logits(self.tractable.beliefs(x, t)).to(logits)
        return exact if m == 0 else m * logits.log_softmax(-1) + (1 - m) * exact

    def _fuse(self, mean: Tensor, x: Tensor, t: float, m: float) -> Tensor:
        found, v = self.tractable.beliefs(x, t), self.variance(t)
        code = self.tractable.codebook
        if code is None:
            assert found.mean is not None
            assert found.var is not None
            flat = mean.flatten(1).to(found.mean)
            ours, theirs = (1 - m) * v, m * found.var
            total = ours + theirs
            out = torch.where(total > 0, (theirs * flat + ours * found.mean) / total, found.mean)
            return out.reshape(x.shape).to(x)
        assert found.probs is not None
        code, states = code.to(found.probs), mean.to(found.probs)
        if code.ndim == 1:
            gap = (states.flatten(1)[..., None] - code).square_()
        else:
            gap = torch.cdist(states, code[None].expand(len(states), -1, -1)).square_()
        # A floor under the probabilities, far below what counts, spares the slow logarithm of zero.
        exact = found.probs.clamp_min(torch.finfo(code.dtype).tiny).log_()
        law = torch.softmax(exact.mul_(1 - m).add_(gap, alpha=-m / (2 * v)) if m else exact, dim=2)
        return (law @ code).reshape(x.shape).to(x)


def fused(
    denoiser: Denoiser,
    tractable: Tractable,
    weight: float | Callable[[float], float],
    *,
    variance: float | Callable[[float], float],
) -> Fused:
    """Blend a model with a circuit, variable by variable.

    Args:
        denoiser: the model; one call per evaluation.
        tractable: the circuit under the same process, with what is known.
        weight: m in [0, 1], the share of the model, or a function t -> m such as `ramp`. Values that are
            known are put in whatever m is.
        variance: of the model's law about its mean, or a function of t; for pixels
            `lambda t: open_variance(process, t, data_std)`, for latent codes half the published temperature.
    """
    if tractable.process != denoiser.process:
        raise ConfigError(
            f"the circuit is read under {tractable.process}, the denoiser has {denoiser.process}."
        )
    if not callable(weight) and not 0 <= weight <= 1:
        raise ConfigError(f"the weight of the model must lie in [0, 1], got {weight}.")
    return Fused(denoiser, tractable, _function(weight), _function(variance))


def ramp(
    plan: Plan, *, start: float = 0.4, stop: float = 1.0, power: float = 3.0, share: float = 0.8
) -> Callable[[float], float]:
    """Weights of the model along a plan: start + (stop - start) u^power, u the share of the plan done.

    Args:
        share: part of the plan, from the noisy end, in which the circuit is used; then m = 1.

    Source: the defaults of Liu et al. 2023, arXiv:2401.03349.
    """
    if not (0 <= start <= 1 and 0 <= stop <= 1 and power > 0 and 0 <= share <= 1):
        raise ConfigError(
            f"a ramp needs start, stop and share in [0, 1] and power > 0, "
            f"got {start}, {stop}, {share} and {power}."
        )
    n = len(plan.rows)
    table = {
        row.t: start + (stop - start) * (i / max(n - 1, 1)) ** power if i < share * n else 1.0
        for i, row in enumerate(plan.rows)
    }

    def weight(t: float) -> float:
        if t not in table:
            raise ConfigError(f"the ramp was made for another plan: it has no step at t={t:.4g}.")
        return table[t]

    return weight


def _function(value: float | Callable[[float], float]) -> Callable[[float], float]:
    return value if callable(value) else lambda t: value


def _logits(found: Beliefs) -> Tensor:
    """Log probabilities; -inf where the evidence rules a category out."""
    assert found.probs is not None
    return found.probs.log()
