"""How long a token lasts: alpha(t), the probability that it is still there at time t in [0, 1].

    name         alpha(t)                                    settings
    linear       1 - t                                       -
    log-linear   1 - (1 - eps) t                             eps
    geometric    exp(-low^(1 - t) high^t)                    low, high
    cosine       1 - cos(pi (1 - t) / 2)                     -
    polynomial   1 - t^power                                 power

Total noise is -ln alpha and its rate -alpha' / alpha. Under the log-linear curve the expected number of
tokens that are gone grows linearly.

Sources: Lou, Meng & Ermon 2024, arXiv:2310.16834, section 5 (log-linear, geometric); Shi et al. 2024,
arXiv:2406.04329, table 4 (cosine, polynomial).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.errors import ConfigError, unknown

__all__ = ["LINEAR", "Curve", "Survival"]

Curve: TypeAlias = Literal["linear", "log-linear", "geometric", "cosine", "polynomial"]


@dataclass(frozen=True)
class Survival:
    """One of the curves of the module's table. Times are floats or tensors; results are of the same kind."""

    curve: Curve = "linear"
    eps: float = 1e-3
    low: float = 1e-4
    high: float = 20.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.curve not in get_args(Curve):
            raise unknown("curve of survival", self.curve, get_args(Curve))
        if not (0 <= self.eps < 1 and 0 < self.low < self.high and self.power > 0):
            raise ConfigError(
                f"survival needs 0 <= eps < 1, 0 < low < high and power > 0, got {self.eps}, {self.low}, "
                f"{self.high} and {self.power}."
            )

    def alpha(self, t: Any) -> Any:
        """Probability that a token is still there."""
        match self.curve:
            case "linear":
                return 1 - t
            case "log-linear":
                return 1 - (1 - self.eps) * t
            case "geometric":
                return _exp(-(self.low ** (1 - t)) * self.high**t)
            case "cosine":
                return 1 - _cos(math.pi * (1 - t) / 2)
            case _:
                return 1 - t**self.power

    def slope(self, t: Any) -> Any:
        """d alpha / dt, at most 0."""
        match self.curve:
            case "linear":
                return -1.0 + 0 * t
            case "log-linear":
                return -(1 - self.eps) + 0 * t
            case "geometric":
                total = self.low ** (1 - t) * self.high**t
                return -math.log(self.high / self.low) * total * _exp(-total)
            case "cosine":
                return -math.pi / 2 * _cos(math.pi * t / 2)
            case _:
                return -self.power * t ** (self.power - 1)


LINEAR = Survival()


def _exp(value: Any) -> Any:
    return torch.exp(value) if isinstance(value, Tensor) else math.exp(value)


def _cos(value: Any) -> Any:
    return torch.cos(value) if isinstance(value, Tensor) else math.cos(value)
