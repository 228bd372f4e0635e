"""Moves: Markov kernels that leave the current target invariant, applied to particles between rows.

They change no weight and no evidence; they give copies of one particle different places again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.infer.potentials import LogDensity
from core.state import Source, per_sample, randn, uniform

__all__ = ["Move", "langevin", "mala"]

Score = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Move:
    """A kernel on states.

    Attributes:
        apply: (x, t, gen) -> x, for the target at time t.
        calls: denoiser calls per application.
    """

    apply: Callable[[Any, float, Source | None], Any]
    calls: int = 0


def mala(
    log_target: LogDensity, score: Score, step: Callable[[float], float], *, n: int = 1, calls: int = 0
) -> Move:
    """Metropolis-adjusted Langevin moves: propose x + h s(x) + sqrt(2 h) xi, accept by the density.

    Args:
        log_target: log pi_t(x), (B,), up to a constant.
        score: its gradient, shaped like x. A wrong one costs acceptance, not exactness.
        step: t -> h, in squared units of the state; about a third of the target's variance per direction in
            a few dimensions.
        n: proposals per application; n + 1 evaluations of density and score.
        calls: denoiser calls in one evaluation.

    Source: Roberts & Tweedie 1996, Bernoulli 2(4), section 1.4.1.
    """
    _positive(n)

    def apply(x: Tensor, t: float, gen: Source | None) -> Tensor:
        h = step(t)
        log_p, slope = log_target(x, t), score(x, t)
        for _ in range(n):
            xi = randn(x, gen)
            there = x + h * slope + (2 * h) ** 0.5 * xi
            log_there, slope_there = log_target(there, t), score(there, t)
            back = x - there - h * slope_there
            gain = log_there - log_p + (_square(xi) / 2 - _square(back) / (4 * h)).to(log_p.dtype)
            chance = uniform((len(x), 1), gen, dtype=torch.float64, device=x.device)[:, 0]
            yes = chance.log() < gain
            x = torch.where(per_sample(yes, x), there, x)
            slope = torch.where(per_sample(yes, x), slope_there, slope)
            log_p = torch.where(yes, log_there, log_p)
        return x

    return Move(apply, calls * (n + 1))


def langevin(score: Score, step: Callable[[float], float], *, n: int = 1, calls: int = 0) -> Move:
    """Unadjusted Langevin moves, for targets without a density: biased by O(h). Arguments as for `mala`."""
    _positive(n)

    def apply(x: Tensor, t: float, gen: Source | None) -> Tensor:
        h = step(t)
        for _ in range(n):
            x = x + h * score(x, t) + (2 * h) ** 0.5 * randn(x, gen)
        return x

    return Move(apply, calls * n)


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _positive(n: int) -> None:
    if n < 1:
        raise ConfigError(f"a move needs at least 1 proposal, got {n}.")
