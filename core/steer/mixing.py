"""Rules that weigh the models of a superposition: by their densities, until these agree, or evenly."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = ["And", "Average", "Or", "Rule", "Sight"]


class Sight(NamedTuple):
    """What a rule sees before a step; M models, B samples, n entries of all parts side by side.

    Attributes:
        log_q: log densities of the models at the state, (M, B), nats, float64.
        scores: z_i, (M, B, n).
        rates: a_i, (M, B).
        gain: weight of each entry in <z_i, sum_j k_j z_j>, (n,).
        closing: share of a standing gap of the densities that the step may close, 1 or 0.
    """

    log_q: Tensor
    scores: Tensor
    rates: Tensor
    gain: Tensor
    closing: float


class Rule(Protocol):
    """Chooses the weights of the models, (M, B), which sum to 1, and which samples were clamped, (B,)."""

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Or:
    """The mixture of the models, each weighted by its density.

    Args:
        temperature: T; 1 for the exact mixture, larger to commit to one model.
        bias: l, one number per model: log weights of the mixture.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]:
        tilt = sight.log_q.new_tensor(self.bias or [0.0] * len(sight.log_q))
        if len(tilt) != len(sight.log_q):
            raise ConfigError(f"Or has {len(tilt)} biases for {len(sight.log_q)} models.")
        return torch.softmax(self.temperature * sight.log_q + tilt[:, None], 0), _none(sight)


@dataclass(frozen=True)
class And:
    """States that all models find equally likely.

    Args:
        limit: largest |k|; 20 as published.
        feedback: share of the standing gap between the densities that a step closes; 0 as published, where
            what a clamped step left open stays open.
    """

    limit: float = 20.0
    feedback: float = 1.0

    def __post_init__(self) -> None:
        if not self.limit >= 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}.")

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]:
        count = len(sight.scores)
        if count == 1:
            return torch.ones_like(sight.log_q), _none(sight)
        ends = sight.rates + self.feedback * sight.closing * sight.log_q
        differ = sight.scores[:-1] - sight.scores[-1:]  # (M - 1, B, n)
        weighted = sight.gain * differ
        gap = ends[:-1] - ends[-1:] + (weighted * sight.scores.mean(0)).sum(-1)
        gram = torch.einsum("ibn,jbn->bij", weighted, differ).to(torch.float64)
        # Models that agree leave nothing to solve; the floor keeps the equations regular there.
        floor = 1e-14 * sight.scores.square().sum((0, 2)).to(torch.float64) + torch.finfo(torch.float64).tiny
        sign = torch.sign(sight.gain.mean())
        gram = gram + sign * floor[:, None, None] * torch.eye(count - 1, dtype=gram.dtype, device=gram.device)
        lean = -torch.linalg.solve(gram, gap.T[..., None])[..., 0].T
        lean = torch.cat([lean, -lean.sum(0, keepdim=True)])
        return self._clamped(lean)

    def _clamped(self, lean: Tensor) -> tuple[Tensor, Tensor]:
        """1 / M + lean, with the lean shortened until no entry exceeds the limit."""
        count = len(lean)
        room = torch.where(lean > 0, self.limit - 1 / count, self.limit + 1 / count)
        excess = (lean.abs() / room).amax(0)
        return 1 / count + lean / excess.clamp(min=1), excess > 1


@dataclass(frozen=True)
class Average:
    """Every model counts the same."""

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]:
        return torch.full_like(sight.log_q, 1 / len(sight.log_q)), _none(sight)


def _none(sight: Sight) -> Tensor:
    return torch.zeros(sight.log_q.shape[1], dtype=torch.bool, device=sight.log_q.device)
