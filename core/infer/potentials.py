"""Potentials: what a particle's weight is multiplied by at each row of a plan.

A potential folds over the rows: it may keep a memory per particle, which is resampled along with the state,
so nothing is hidden. With r a reward of the clean state, D the denoised state and lam the scale, the products
of the first three telescope to exp(lam r(x_0)):

    difference   log G = lam (r(D_i) - r(D_{i-1}))
    maximum      log G = lam max_{j <= i} r(D_j);     the last row divides by what was given before
    total        log G = lam sum_{j <= i} r(D_j);     the same
    ratio        log G = log pi_s(x_s) - log pi_t(x_t) + log L(x_t given x_s) - log K(x_s given x_t)

Rewards of intermediate states are read at the denoised state that the row computed anyway, so they cost no
network call and reach the weights one row after the state they belong to; the last row adds r(x_0).

Sources: rewards: Singhal et al. 2025, arXiv:2501.06848, section 3. ratio: Del Moral, Doucet & Jasra 2006,
JRSS B 68(3), eq. 11, with L the forward kernel of the process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.infer.kernels import log_forward, log_reverse
from core.plan.table import RedrawRow, TokenRow
from core.process.masking import tokens_and_free, with_tokens
from core.run import Step
from core.state import State, leaves

__all__ = [
    "LogDensity",
    "Potential",
    "Reward",
    "denoised",
    "difference",
    "maximum",
    "ratio",
    "rowwise",
    "total",
]

Reward: TypeAlias = Callable[[Any], Tensor]  # clean states (B, ...) -> (B,)
LogDensity: TypeAlias = Callable[[Any, float], Tensor]  # states (B, ...) at time t -> (B,)


@dataclass(frozen=True)
class Potential:
    """A fold over the rows of a run.

    Attributes:
        start: (x, t) -> log weight of the starting particles (B,) or None, and the first memory (or None).
        weigh: (step, memory, last) -> log weight of this row (B,), and the next memory.
        calls: denoiser calls that `weigh` makes, per row.
    """

    start: Callable[[Any, float], tuple[Tensor | None, State | None]]
    weigh: Callable[[Step, Any, bool], tuple[Tensor, Any]]
    calls: int = 0


def rowwise(log_weight: Callable[[Step], Tensor]) -> Potential:
    """A potential without memory: the log weight of each row, (B,), from its `Step`."""
    return Potential(lambda x, t: (None, None), lambda step, memory, last: (log_weight(step), None))


def difference(
    reward: Reward, *, scale: float = 1.0, trust: Callable[[float], float] | None = None
) -> Potential:
    """Weigh by the rise of the reward: small weights all along when the reward settles early.

    Args:
        trust: t -> share of the reward of a denoised state that counts, in [0, 1]; all of it by default. The
            reward of the final state counts in full, so the result is the same and its variance is not: small
            shares keep particles that a mean of many possible states would misjudge.
    """

    def weigh(step: Step, memory: Any, last: bool) -> tuple[Tensor, Any]:
        now = scale * reward(step.next if last else denoised(step)).to(torch.float64)
        if trust is not None and not last:
            now = trust(step.row.t) * now
        return _finite(memory["before"], now - memory["before"]), {"before": now}

    return Potential(lambda x, t: (None, {"before": _zeros(x)}), weigh)


def maximum(reward: Reward, *, scale: float = 1.0) -> Potential:
    """Weigh by the best reward so far: keeps particles that once looked good, pays back at the end."""
    return _paid_back(reward, scale, lambda peak, now: torch.maximum(peak, now), -torch.inf)


def total(reward: Reward, *, scale: float = 1.0) -> Potential:
    """Weigh by the sum of the rewards so far, and pay it back at the end."""
    return _paid_back(reward, scale, lambda sofar, now: sofar + now, 0.0)


def _paid_back(
    reward: Reward, scale: float, join: Callable[[Tensor, Tensor], Tensor], first: float
) -> Potential:
    def weigh(step: Step, memory: Any, last: bool) -> tuple[Tensor, Any]:
        if last:
            return _finite(memory["given"], scale * reward(step.next) - memory["given"]), memory
        kept = join(memory["kept"], reward(denoised(step)).to(torch.float64))
        return scale * kept, {"kept": kept, "given": memory["given"] + scale * kept}

    def start(x: Any, t: float) -> tuple[None, State]:
        return None, {"kept": _zeros(x) + first, "given": _zeros(x)}

    return Potential(start, weigh)


def ratio(process: Any, log_target: LogDensity, *, log_start: LogDensity | None = None) -> Potential:
    """Weigh so that the particles follow a sequence of densities pi_t exactly, whatever the row proposes.

    Args:
        process: the Gaussian process, or product of them, of the plan.
        log_target: log pi_t, up to one constant for all t; pi at the end of the plan is what is sampled.
        log_start: log density that the starting particles were drawn from; the target itself by default.
    """

    def start(x: Any, t: float) -> tuple[Tensor | None, None]:
        return (None if log_start is None else log_target(x, t) - log_start(x, t)), None

    def weigh(step: Step, memory: Any, last: bool) -> tuple[Tensor, None]:
        row = step.row
        if isinstance(row, TokenRow | RedrawRow):
            raise ConfigError("target ratios need linear rows, got a row of tokens.", hint="Use difference.")
        backward = log_reverse(process, row, step.noise, step.x)
        forward = log_forward(process, row, step.x, step.next)
        return log_target(step.next, row.s) - log_target(step.x, row.t) + forward - backward, None

    return Potential(start, weigh)


def denoised(step: Step) -> Any:
    """The denoised state of a row: the posterior mean; for tokens the likeliest token at every mask."""
    posterior: Posterior = step.posterior
    if not isinstance(step.row, TokenRow | RedrawRow):
        return posterior.mean
    tokens, free = tokens_and_free(step.x)
    guess = posterior.logits.argmax(-1).to(tokens.dtype)
    open_ = tokens == step.row.mask_token if isinstance(step.row, TokenRow) else torch.ones_like(tokens) > 0
    open_ = open_ if free is None else open_ & free
    return with_tokens(step.x, torch.where(open_, guess, tokens))


def _finite(before: Tensor, gain: Tensor) -> Tensor:
    """A particle that was at -inf has no weight already; taking -inf back must not give it any."""
    return torch.where(torch.isneginf(before), 0.0, gain)


def _zeros(x: Any) -> Tensor:
    leaf = next(leaves(x))
    return torch.zeros(len(leaf), dtype=torch.float64, device=leaf.device)
