"""Twisted proposals: a run steered by a likelihood, and the weights that correct it exactly.

With L(x_t, t) an estimate of log p(y given x_t), such as the likelihood of y at the denoised state, the
proposal follows its gradient and the weights repay it:

    D   = D_0 + (sigma^2 / alpha) grad L(x_t, t)                                what the row is fed
    w  *= exp(L(x_s, s) - L(x_t, t)) K_0(x_s given x_t) / K(x_s given x_t)      K_0: the row fed by D_0

The last row ends at the true likelihood of the clean state, so the product telescopes to it and the particles
stand for the plan's own law times that likelihood, whatever L was. A good L leaves little to the weights.

One call and one gradient per row: L(x_s, s) is read when the next row has called the network anyway, so a
weight arrives one row after the step it belongs to.

Source: Wu et al. 2023, arXiv:2306.17775, algorithm 1 (the twisted diffusion sampler).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.infer.kernels import log_shifted
from core.infer.potentials import Potential, Reward
from core.run import Step
from core.state import leaves, tree_map
from core.steer.gradient import gradient

__all__ = ["TwistedPosterior", "twist", "twisted"]

LogTwist = Callable[[Any, float], Tensor]


@dataclass(frozen=True, slots=True)
class TwistedPosterior(Posterior):
    """A steered answer that keeps what it was before.

    Attributes:
        change: steered minus plain mean.
        log_twist: L(x_t, t), (B,).
    """

    change: Any = None
    log_twist: Any = None


@dataclass(frozen=True)
class _Twisted:
    """See `twist`."""

    denoiser: Denoiser
    log_twist: LogTwist

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> TwistedPosterior:
        def value(state: Any) -> tuple[Tensor, Any]:
            mean = self.denoiser(state, t, cond).mean
            log_l = self.log_twist(mean, t)
            return log_l, {"mean": mean, "log": log_l}

        score, found = gradient(value, x)
        gain = self.process.sigma(t) ** 2 / self.process.alpha(t)
        change = tree_map(lambda g: gain * g, score)
        mean = tree_map(lambda d, c: d + c, found["mean"], change)
        return TwistedPosterior(mean=mean, change=change, log_twist=found["log"])


def twist(denoiser: Denoiser, log_twist: LogTwist) -> _Twisted:
    """Steer by the gradient of a likelihood of the denoised state, through the network.

    Args:
        log_twist: (denoised state (B, ...), t) -> (B,), nats, differentiable. It may widen with t, as
            `core.steer.measured.log_likelihood` does.
    """
    return _Twisted(denoiser, log_twist)


def twisted(process: Any, reward: Reward) -> Potential:
    """The weights of a run of `twist`: in the end the particles stand for exp(reward) of clean states.

    Args:
        process: of the plan.
        reward: log p(y given x_0), (B,), for the final states of the plan.

    Rows must draw fresh noise, the last one too (a grid that ends at a small positive noise).
    """

    def start(x: Any, t: float) -> tuple[None, Any]:
        zeros = torch.zeros(len(next(leaves(x))), dtype=torch.float64, device=next(leaves(x)).device)
        return None, {"log": zeros, "owed": zeros}

    def weigh(step: Step, memory: Any, last: bool) -> tuple[Tensor, Any]:
        answer = step.posterior
        if not isinstance(answer, TwistedPosterior):
            raise ConfigError("the weights of a twisted run need its denoiser.", hint="Wrap it with twist().")
        now = answer.log_twist.to(torch.float64)
        gain = now - memory["log"] + memory["owed"]
        owed = log_shifted(process, step.row, step.noise, answer.change, step.x)
        if last:
            gain = gain + owed + reward(step.next).to(torch.float64) - now
        return gain, {"log": now, "owed": owed}

    return Potential(start, weigh)
