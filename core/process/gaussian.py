"""Gaussian processes: x_t = alpha(t) x_0 + sigma(t) eps, with eps ~ N(0, I) in the process's space.

Every process is the solution of the forward SDE dx = f x dt + g dW with

    f = d log alpha / dt,    g^2 = d sigma^2 / dt - 2 f sigma^2,

so a reverse step may draw fresh normal noise, and (alpha D - x) / sigma^2 is the score of the noisy density.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.process.scheduled import Coeffs, Scheduled, Time
from core.state import Source, State

__all__ = ["VE", "VP", "Coeffs", "CosineVP", "Gaussian", "Karras", "RectifiedFlow", "SigmaPower", "SubVP"]


def _ops(t: Time) -> Any:
    return torch if isinstance(t, Tensor) else math


@dataclass(frozen=True)
class Gaussian(Scheduled):
    """A process with normal noise, given `alpha`, `sigma`, `f`, `g2` and `time`."""

    def noise(self, like: State, gen: Source | None, mask: Tensor | None = None) -> State:
        return self.space.noise(like, gen, mask)

    def log_kernel(self, square: Tensor, t: Time, dim: Any) -> Tensor:
        return -square / (2 * self.sigma(t) ** 2)


@dataclass(frozen=True)
class VP(Gaussian):
    """Variance preserving: alpha = exp(-t^2 (b1 - b0) / 4 - t b0 / 2), sigma^2 = 1 - alpha^2.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 11 and appendix C.
    """

    b0: float = 0.1
    b1: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.b0 <= self.b1:
            raise ConfigError(f"VP needs 0 < b0 <= b1, got b0={self.b0}, b1={self.b1}.")

    def _log_alpha(self, t: Time) -> Time:
        return -(t**2) * (self.b1 - self.b0) / 4 - t * self.b0 / 2

    def alpha(self, t: Time) -> Time:
        return _ops(t).exp(self._log_alpha(t))

    def sigma(self, t: Time) -> Time:
        return _ops(t).sqrt(-_ops(t).expm1(2 * self._log_alpha(t)))

    def f(self, t: Time) -> Time:
        return -(self.b0 + t * (self.b1 - self.b0)) / 2

    def g2(self, t: Time) -> Time:
        return self.b0 + t * (self.b1 - self.b0)

    def time(self, ratio: float) -> float:
        return self._time_of(0.5 * math.log1p(ratio**2))

    def _time_of(self, minus_log_alpha: float) -> float:
        half = self.b0 / 2
        slope = (self.b1 - self.b0) / 4
        # The root of slope t^2 + half t = minus_log_alpha, in the form that does not cancel.
        return 2 * minus_log_alpha / (half + math.sqrt(half**2 + 4 * slope * minus_log_alpha))


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance preserving: alpha as VP, sigma = 1 - alpha^2.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 12.
    """

    def sigma(self, t: Time) -> Time:
        return -_ops(t).expm1(2 * self._log_alpha(t))

    def g2(self, t: Time) -> Time:
        beta = self.b0 + t * (self.b1 - self.b0)
        return beta * -_ops(t).expm1(4 * self._log_alpha(t))

    def time(self, ratio: float) -> float:
        return self._time_of(math.asinh(ratio / 2))


@dataclass(frozen=True)
class VE(Gaussian):
    """Variance exploding on a geometric clock: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 9.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ConfigError(f"VE needs 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}.")

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    def alpha(self, t: Time) -> Time:
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def sigma(self, t: Time) -> Time:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def f(self, t: Time) -> Time:
        return torch.zeros_like(t) if isinstance(t, Tensor) else 0.0

    def g2(self, t: Time) -> Time:
        return 2 * math.log(self.sigma_max / self.sigma_min) * self.sigma(t) ** 2

    def time(self, ratio: float) -> float:
        return (
            math.log(ratio / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)
            if ratio > 0
            else -math.inf
        )


@dataclass(frozen=True)
class Karras(Gaussian):
    """Variance exploding with the noise level as the clock: alpha = 1, sigma = t.

    Source: Karras et al. 2022, arXiv:2206.00364, table 1, last column.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ConfigError(
                f"Karras needs 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}."
            )

    @property
    def ends(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    def alpha(self, t: Time) -> Time:
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def sigma(self, t: Time) -> Time:
        return t

    def f(self, t: Time) -> Time:
        return torch.zeros_like(t) if isinstance(t, Tensor) else 0.0

    def g2(self, t: Time) -> Time:
        return 2 * t

    def time(self, ratio: float) -> float:
        return ratio


@dataclass(frozen=True)
class CosineVP(Gaussian):
    """Variance preserving with a cosine signal curve: alpha = cos(a), sigma = sin(a), a linear in t.

    `margin` keeps t in [0, 1] away from both ends of the quarter turn, so the signal-to-noise ratio stays
    finite there.

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17 with s = 0.
    """

    margin: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.margin < 0.5:
            raise ConfigError(f"margin must lie in (0, 0.5), got {self.margin}.")

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def _clean(self) -> float:
        """The time, just before 0, at which the curve reaches clean data (exactly, in floating point)."""
        return -self.margin / (1 - 2 * self.margin)

    def _angle(self, t: Time) -> Time:
        return (t - self._clean) * self._speed

    @property
    def _speed(self) -> float:
        return (1 - 2 * self.margin) * math.pi / 2

    def alpha(self, t: Time) -> Time:
        return _ops(t).cos(self._angle(t))

    def sigma(self, t: Time) -> Time:
        return _ops(t).sin(self._angle(t))

    def f(self, t: Time) -> Time:
        return -self._speed * _ops(t).tan(self._angle(t))

    def g2(self, t: Time) -> Time:
        return 2 * self._speed * _ops(t).tan(self._angle(t))

    def time(self, ratio: float) -> float:
        return self._clean + math.atan(ratio) / self._speed


@dataclass(frozen=True)
class RectifiedFlow(Gaussian):
    """The straight path from data to noise: alpha = 1 - t, sigma = t.

    Source: Liu et al. 2023, arXiv:2209.03003, eq. 1; Lipman et al. 2023, arXiv:2210.02747.
    """

    def alpha(self, t: Time) -> Time:
        return 1 - t

    def sigma(self, t: Time) -> Time:
        return t

    def f(self, t: Time) -> Time:
        return -1 / (1 - t)

    def g2(self, t: Time) -> Time:
        return 2 * t / (1 - t)

    def rates(self, t: Time) -> tuple[Time, Time]:
        one = torch.ones_like(t) if isinstance(t, Tensor) else 1.0
        return -one, one

    def time(self, ratio: float) -> float:
        return ratio / (1 + ratio) if math.isfinite(ratio) else 1.0


@dataclass(frozen=True)
class SigmaPower(Gaussian):
    """dx = base^t dW: alpha = 1, sigma^2 = (base^(2 t) - 1) / (2 ln base).

    Source: the process of joint dehazing, Stevens et al. 2024, IEEE TMI 43(10) 3546, with base 25.
    """

    base: float = 25.0

    def __post_init__(self) -> None:
        if not self.base > 1:
            raise ConfigError(f"SigmaPower needs base > 1, got {self.base}.")

    def alpha(self, t: Time) -> Time:
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def sigma(self, t: Time) -> Time:
        log = math.log(self.base)
        return _ops(t).sqrt(_ops(t).expm1(2 * log * t) / (2 * log))

    def f(self, t: Time) -> Time:
        return torch.zeros_like(t) if isinstance(t, Tensor) else 0.0

    def g2(self, t: Time) -> Time:
        return self.base ** (2 * t)

    def time(self, ratio: float) -> float:
        log = math.log(self.base)
        return math.log1p(2 * log * ratio**2) / (2 * log)
