"""A straight path from clean sequences to Gaussian-process noise that knows the beginning of the sequence.

    x_t = (1 - t) x_0 + t e,      e ~ N(m(y), S)      t = 0 is data, t = 1 noise

y is the first `context` points of x_0, and e a draw of a Gaussian process over all `length` points given y
with observation noise s: with K the kernel matrix, c the context and R = K_cc + s^2 I,

    m(y) = K_.c R^-1 y,      S = K - K_.c R^-1 K_c. + s^2 I

so the noise end is already a forecast, and what is left to learn is the way from it to the data. With
`context` = 0 the noise is N(0, K + s^2 I), whatever the data are. The law of e is fixed by the clean state,
which is all that training and a deterministic plan ask for; there is no score, since m depends on the data.

    kernel     k(d), d in points
    ou         v exp(-d / l)
    se         v exp(-d^2 / (2 l^2))
    periodic   v exp(-2 sin^2(pi d / p) / l^2), l in units of phase
    constant   v

Source: Kollovieh, Lienen, Luedke, Schwinn & Guennemann 2024, arXiv:2410.03024 (TSFlow), sections 3.1 and 3.2.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from core.process.scheduled import Scheduled, Time
from core.state import Source, randn

__all__ = ["KERNELS", "CorrelatedFlow", "Part"]

KERNELS = ("ou", "se", "periodic", "constant")


class Part(NamedTuple):
    """One kernel of the sum; `period` is read by "periodic" alone."""

    name: str
    variance: float = 1.0
    length: float = 1.0
    period: float = 1.0


@dataclass(frozen=True)
class CorrelatedFlow(Scheduled):
    """The process of the module docstring; states are (B, C, length), channels apart.

    Args:
        length: points of a sequence.
        context: how many of the first of them the noise is conditioned on.
        parts: kernels that are summed.
        noise_std: s.
    """

    length: int
    context: int
    parts: tuple[Part, ...] = (Part("ou", 1.0, 10.0),)
    noise_std: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "parts", tuple(Part(*part) for part in self.parts)
        )  # JSON makes lists of them
        if not 0 <= self.context < self.length or not self.parts or not self.noise_std > 0:
            raise ConfigError(
                f"a correlated flow needs 0 <= context < length, at least one kernel and noise_std > 0, got "
                f"context {self.context}, length {self.length}, {len(self.parts)} kernels and "
                f"{self.noise_std}."
            )
        for part in self.parts:
            if part.name not in KERNELS:
                raise unknown("kernel", part.name, KERNELS)
            if not (part.variance > 0 and part.length > 0 and part.period > 0):
                raise ConfigError(f"a kernel needs positive settings, got {part}.")

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

    def noise(self, like: Any, gen: Source | None, mask: Tensor | None = None) -> Tensor:
        """Draw e for sequences whose first `context` points `like` holds; the rest of it is not read."""
        gain, root = self._law
        z = randn(like, gen)
        out = z @ root.to(z).T
        return out + like[..., : self.context] @ gain.to(z).T if self.context else out

    def centre(self, like: Tensor) -> Tensor:
        """m(y), like `like`."""
        gain, _ = self._law
        return like[..., : self.context] @ gain.to(like).T

    @property
    def covariance(self) -> Tensor:
        """S, (length, length), float64."""
        _, root = self._law
        return root @ root.T

    @property
    def _law(self) -> tuple[Tensor, Tensor]:
        return _law(self.length, self.context, self.parts, self.noise_std)


def kernel_matrix(length: int, parts: tuple[Part, ...]) -> Tensor:
    """K, (length, length), float64."""
    at = torch.arange(length, dtype=torch.float64)
    d = (at[:, None] - at).abs()
    out = torch.zeros_like(d)
    for name, variance, scale, period in parts:
        match name:
            case "ou":
                k = torch.exp(-d / scale)
            case "se":
                k = torch.exp(-((d / scale) ** 2) / 2)
            case "periodic":
                k = torch.exp(-2 * torch.sin(math.pi * d / period) ** 2 / scale**2)
            case _:
                k = torch.ones_like(d)
        out = out + variance * k
    return out


@lru_cache(maxsize=8)
def _law(length: int, context: int, parts: tuple[Part, ...], noise: float) -> tuple[Tensor, Tensor]:
    """Gain (length, context) and root of the covariance (length, length), float64."""
    k = kernel_matrix(length, parts)
    eye = torch.eye(length, dtype=torch.float64)
    gain = k[:, :context]
    if context:
        root = torch.linalg.cholesky(k[:context, :context] + noise**2 * eye[:context, :context])
        gain = torch.cholesky_solve(k[:context], root).T
    spread = k - gain @ k[:context] + noise**2 * eye
    return gain, torch.linalg.cholesky(spread)
