"""Time shift against exposure bias: tell the network the noise level that the state really has.

In training the network sees x_t drawn from q_t; in sampling it sees what earlier, inexact steps made, whose
variance over the elements of one sample is not that of its nominal time. A shifted denoiser measures that
variance v, sample by sample, and evaluates the model at the time s near t whose expected variance

    alpha(s)^2 v0 + sigma(s)^2 (d - 1) / d

is closest to v, where d is the number of elements and v0 the mean variance within clean samples (stored in
checkpoints). v0 = 0 is the published rule. The plan's coefficients stay those of t. What they are combined
with is either the noise that the model predicts at s, as published,

    e = (x - alpha(s) D(x, s)) / sigma(s),     answer (x - sigma(t) e) / alpha(t),

or the clean state D(x, s) itself. It is no sampler: every plan runs it, with no more calls than before.

Source: Li et al. 2023, arXiv:2305.15583 (TS-DPM), eq. 10, algorithms 2 and 3. The term in v0 is ours.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior, noise_of
from core.errors import ConfigError, unknown
from core.plan.table import Plan
from core.process.gaussian import Gaussian
from core.process.scheduled import fitted
from core.run import steps
from core.state import Source, State, leaves

__all__ = ["Exposure", "Shifted", "exposure", "shifted"]

Holds: TypeAlias = Literal["noise", "data"]


@dataclass(frozen=True)
class Shifted:
    """A denoiser that is called at times matched to the variance of its input; see `shifted`."""

    denoiser: Denoiser
    levels: tuple[float, ...]
    window: float
    v0: float
    cutoff: float
    holds: Holds

    @property
    def process(self) -> Gaussian:
        return self.denoiser.process

    def candidates(self, t: float) -> list[float]:
        """Times that may take the place of t, nearest first; t is the first of them."""
        if t <= self.cutoff or t >= self.process.ends[1]:
            return [t]
        low, high = self._position(t) - self.window / 2, self._position(t) + self.window / 2
        near = self.levels[max(0, math.ceil(low)) : max(0, math.floor(high) + 1)]
        return [t, *sorted((s for s in near if s != t), key=lambda s: abs(s - t))]

    def times(self, x: Tensor, t: float) -> Tensor:
        """The time that each sample is evaluated at, (B,), float64. Of equal matches the nearest to t."""
        known, d = self.candidates(t), math.prod(x.shape[1:])
        expected = torch.tensor(
            [self.process.alpha(s) ** 2 * self.v0 + self.process.sigma(s) ** 2 * (d - 1) / d for s in known],
            dtype=torch.float64,
            device=x.device,
        )
        gap = (x.flatten(1).var(1, correction=0).double()[:, None] - expected).abs()
        # A variance-preserving process of unit-variance data has one variance for all times, up to rounding.
        equal = gap <= gap.min(1, keepdim=True).values + 1e-9 * expected[0]
        return torch.tensor(known, dtype=torch.float64, device=x.device)[equal.to(torch.uint8).argmax(1)]

    def __call__(self, x: Any, t: float, cond: Any = None) -> Posterior:
        if isinstance(x, Mapping):
            raise ConfigError("a time shift needs a tensor state, got a mapping.")
        if len(self.candidates(t)) == 1:
            return self.denoiser(x, t, cond)
        s = self.times(x, t)
        mean = self.denoiser(x, s, cond).mean
        if self.holds == "data":
            return Posterior(mean=mean)
        share = self.process.sigma(t) / self.process.sigma(s)
        keep, pull = (
            (1 - share) / self.process.alpha(t),
            share * self.process.alpha(s) / self.process.alpha(t),
        )
        return Posterior(mean=fitted(keep, x) * x + fitted(pull, x) * mean)

    def _position(self, t: float) -> float:
        """Place of t among the levels, counted from 0, between two of them in proportion."""
        i = min(max(bisect_left(self.levels, t), 1), len(self.levels) - 1)
        below, above = self.levels[i - 1], self.levels[i]
        return i - 1 + (t - below) / (above - below)


def shifted(
    denoiser: Denoiser,
    levels: Sequence[float],
    window: float,
    *,
    v0: float = 0.0,
    cutoff: float | None = None,
    holds: Holds = "noise",
) -> Shifted:
    """Evaluate a denoiser at the time that the variance of the state speaks for.

    Args:
        denoiser: model of a Gaussian process; it must take times of shape (B,).
        levels: times to choose from, such as the thousand that a model was trained at, in any order.
        window: width of the choice in levels, half on either side of t; 0 shifts nothing.
        v0: mean variance within clean samples, `core.train.within_variance`; 0 as published.
        cutoff: no shift at this time or below; at the noise end there is none either, since no step made
            that state.
        holds: what the plan's nominal coefficients are combined with, "noise" (published) or "data".

    Published settings, of 1000 levels: F-PNDM window 5, cutoff 550; DPM-Solver in 5 steps 30, 300; DEIS in 5
    steps 10, 900.

    Raises:
        ConfigError: the process is not Gaussian, or a setting is out of range.
    """
    if not isinstance(denoiser.process, Gaussian):
        raise ConfigError(f"a time shift needs a Gaussian process, got {type(denoiser.process).__name__}.")
    if holds not in get_args(Holds):
        raise unknown("choice of holds", holds, get_args(Holds))
    known = sorted({float(t) for t in levels if denoiser.process.sigma(float(t)) > 0})
    if len(known) < 2 or not window >= 0 or not v0 >= 0:
        raise ConfigError(
            f"a time shift needs at least 2 noisy levels, window >= 0 and v0 >= 0, got {len(known)} levels, "
            f"window {window} and v0 {v0}."
        )
    return Shifted(denoiser, tuple(known), window, v0, -math.inf if cutoff is None else cutoff, holds)


class Exposure(NamedTuple):
    """Per step: its time, and root mean squares of predicted noise over samples and elements.

    Attributes:
        times: of the steps.
        gap: of e(sampled state) - e(forward state), the two made from one clean state and one noise.
        sampled, forward: of e at the sampled states and at the forward ones.
    """

    times: tuple[float, ...]
    gap: tuple[float, ...]
    sampled: tuple[float, ...]
    forward: tuple[float, ...]


def exposure(plan: Plan, denoiser: Denoiser, x0: State, gen: Source, cond: Any = None) -> Exposure:
    """Measure how far the model's answers drift from those on states it was trained on.

    A run starts from x0 noised to the start of the plan; at every step the prediction on the state it has
    reached is compared with that on x0 noised, with the same noise, to the time of the step. Two calls of the
    denoiser per step.

    Source: the diagnosis of Li et al. 2023, arXiv:2305.15583, section 3.1.
    """
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise ConfigError(f"exposure needs a Gaussian process, got {type(process).__name__}.")
    rows = []
    start, eps = process.perturb(x0, plan.start, gen)
    with torch.no_grad():
        for step in steps(plan, denoiser, start, gen, cond):
            t = step.row.t
            x = process.mix(x0, eps, t)
            found = noise_of(process, step.x, step.posterior.mean, t)
            true = noise_of(process, x, denoiser(x, t, cond).mean, t)
            gap = [p - q for p, q in zip(leaves(found), leaves(true), strict=True)]
            rows.append((t, _rms(gap), _rms(list(leaves(found))), _rms(list(leaves(true)))))
    return Exposure(*zip(*rows, strict=True))


def _rms(parts: list[Tensor]) -> float:
    return math.sqrt(float(torch.cat([p.flatten() for p in parts]).double().square().mean()))
