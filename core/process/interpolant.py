"""Stochastic interpolants: x_t = a(t) x_0 + b(t) x_1 + gamma(t) z between any two laws, z ~ N(0, I).

Here t runs from 0, where x_0 is, to 1, where x_1 is; neither end need be noise. The choices:

    path            a(t)                              b(t)
    linear          1 - t                             t
    trigonometric   cos(pi t / 2)                     sin(pi t / 2)
    vp              sqrt(1 - gamma^2) cos(pi t / 2)   sqrt(1 - gamma^2) sin(pi t / 2)
    mirror          0                                 1                (from the law of x_1 back to itself)

    gamma           gamma(t)                          gamma gamma'
    brownian        sqrt(scale t (1 - t))             scale (1 - 2 t) / 2
    sine            sin^2(pi t)                       pi sin(pi t)^2 sin(2 pi t)
    none            0                                 0

With "vp" a^2 + b^2 + gamma^2 = 1. gamma' of the Brownian choice is infinite at both ends, but gamma gamma' is
not, and that is what is computed with; times stay within [tmin, 1 - tmin].

One-sided interpolants have x_0 ~ N(0, I) and gamma = 0: x_0 is the noise itself, and they are Gaussian
processes run from noise to data (see `core.transport`).

Source: Albergo, Boffi & Vanden-Eijnden 2023, arXiv:2303.08797, sections 2.1, 3.1, 3.2 and 4.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from core.process.scheduled import Time, fitted
from core.state import Euclidean, Space, State, tree_map

__all__ = ["Gamma", "Interpolant", "Path"]

Path: TypeAlias = Literal["linear", "trigonometric", "vp", "mirror"]
Gamma: TypeAlias = Literal["brownian", "sine", "none"]


@dataclass(frozen=True)
class Interpolant:
    """A bridge between two laws; the module docstring has the choices.

    Args:
        path: how the ends are mixed.
        gamma: how much noise is added on the way.
        scale: of "brownian".
        one_sided: x_0 is standard normal noise and plays the part of z.
        tmin: times run from tmin to 1 - tmin.
    """

    path: Path = "linear"
    gamma: Gamma = "brownian"
    scale: float = 2.0
    one_sided: bool = False
    tmin: float = 1e-3
    space: Space = field(default_factory=Euclidean, kw_only=True)

    def __post_init__(self) -> None:
        for what, value, known in (("path", self.path, Path), ("gamma", self.gamma, Gamma)):
            if value not in get_args(known):
                raise unknown(what, value, get_args(known))
        if not self.scale > 0 or not 0 < self.tmin < 0.5:
            raise ConfigError(
                f"an interpolant needs scale > 0 and 0 < tmin < 0.5, got {self.scale} and {self.tmin}."
            )
        if self.one_sided and (self.gamma != "none" or self.path == "mirror"):
            raise ConfigError(
                f"a one-sided interpolant has no other noise than x_0, got path '{self.path}' and gamma "
                f"'{self.gamma}'.",
                hint="Set gamma='none' and a path other than 'mirror'.",
            )
        if self.path == "mirror" and self.gamma == "none":
            raise ConfigError("a mirror interpolant without noise stands still.", hint="Give it a gamma.")
        if self.path == "vp" and (self.gamma == "sine" or (self.gamma == "brownian" and not self.scale < 4)):
            raise ConfigError(
                f"the path 'vp' needs gamma below 1 throughout, got '{self.gamma}' with scale {self.scale}.",
                hint="Use gamma='brownian' with scale below 4.",
            )

    @property
    def ends(self) -> tuple[float, float]:
        """Times covered, (near x_0, near x_1)."""
        return self.tmin, 1 - self.tmin

    def weights(self, t: Time) -> tuple[Time, Time]:
        """a and b at time t; floats or tensors as the time was."""
        if self.path == "linear":
            return 1 - t, t
        if self.path == "mirror":
            return 0 * t, 0 * t + 1
        ops, left = _ops(t), self._left(t)
        return left * ops.cos(math.pi / 2 * t), left * ops.sin(math.pi / 2 * t)

    def rates(self, t: Time) -> tuple[Time, Time]:
        """da/dt and db/dt."""
        if self.path == "linear":
            return 0 * t - 1, 0 * t + 1
        if self.path == "mirror":
            return 0 * t, 0 * t
        ops, left = _ops(t), self._left(t)
        slope = -self.noise_rate(t) / left if self.path == "vp" else 0.0
        cos, sin = ops.cos(math.pi / 2 * t), ops.sin(math.pi / 2 * t)
        turn = math.pi / 2 * left
        return slope * cos - turn * sin, slope * sin + turn * cos

    def noise_level(self, t: Time) -> Time:
        """gamma."""
        match self.gamma:
            case "brownian":
                return _ops(t).sqrt(self.scale * t * (1 - t))
            case "sine":
                return _ops(t).sin(math.pi * t) ** 2
        return 0 * t

    def noise_rate(self, t: Time) -> Time:
        """gamma gamma', half the derivative of gamma^2; finite at the ends, unlike gamma'."""
        match self.gamma:
            case "brownian":
                return self.scale * (1 - 2 * t) / 2
            case "sine":
                ops = _ops(t)
                return math.pi * ops.sin(math.pi * t) ** 2 * ops.sin(2 * math.pi * t)
        return 0 * t

    def level(self, t: Time) -> Time:
        """Scale of the normal part: the score of x_t is -E[noise given x_t] / level."""
        return self.weights(t)[0] if self.one_sided else self.noise_level(t)

    def time(self, ratio: float) -> float:
        """The time at which a / b equals `ratio`: for one-sided interpolants, the noise-to-signal ratio."""
        if self.path == "mirror":
            raise ConfigError("a mirror interpolant does not mix its ends, so no time has a given ratio.")
        if self.path == "linear":
            return 1 / (1 + ratio)
        return 1 - 2 / math.pi * math.atan(ratio)

    def blend(self, x0: State, x1: State, z: State, t: Time) -> Any:
        """x_t, with t a scalar or (B,)."""
        (a, b), gamma = self.weights(t), self.noise_level(t)
        return tree_map(lambda p, q, e: fitted(a, p) * p + fitted(b, p) * q + fitted(gamma, p) * e, x0, x1, z)

    def speed(self, x0: State, x1: State, z: State, t: Time) -> Any:
        """dx_t / dt at fixed x_0, x_1 and z, whose mean given x_t is the velocity. Not for t = 0 or 1."""
        a, b = self.rates(t)
        slope = 0 * t if self.gamma == "none" else self.noise_rate(t) / self.noise_level(t)
        return tree_map(lambda p, q, e: fitted(a, p) * p + fitted(b, p) * q + fitted(slope, p) * e, x0, x1, z)

    def _left(self, t: Time) -> Time:
        """sqrt(1 - gamma^2) for "vp", else 1."""
        if self.path != "vp":
            return 1.0
        return _ops(t).sqrt(1 - self.noise_level(t) ** 2)


def _ops(t: Time) -> Any:
    return torch if isinstance(t, Tensor) else math
