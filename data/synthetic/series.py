"""Seasonal series with an exact law: a Gaussian process whose forecasts are known in closed form.

    x_t = level + sum_h a_h (A_h cos(2 pi h t / m) + B_h sin(2 pi h t / m)) + u_t + e_t
    u_t = phi u_{t-1} + innovation,   e_t ~ N(0, noise^2)

with A_h, B_h ~ N(0, 1) drawn once per series and u stationary. Hence x is a stationary Gaussian process with
mean `level` and covariance

    K(d) = sum_h a_h^2 cos(2 pi h d / m) + sigma^2 phi^|d| / (1 - phi^2) + noise^2 [d = 0]

so that the law of any points given any others is Gaussian with known mean and covariance, gaps included. A
forecast can be judged against it: no forecast has a smaller expected quantile loss than the exact one.

Source: Brockwell & Davis 1991, section 3.1 (autoregression) and 4.1 (harmonics with random coefficients);
Rasmussen & Williams 2006, eqs. 2.22 to 2.24 (conditional law).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError

__all__ = ["Exact", "SeasonalAR"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Exact:
    """The Gaussian law of some points.

    Args:
        mean: (P,).
        covariance: (P, P), symmetric, positive semi-definite.
    """

    mean: Array
    covariance: Array

    @property
    def deviation(self) -> Array:
        """(P,), the standard deviation of each point on its own."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def quantile(self, level: float) -> Array:
        """(P,), the quantile of each point at `level` in (0, 1)."""
        from statistics import NormalDist

        return self.mean + NormalDist().inv_cdf(level) * self.deviation

    def draw(self, n: int, gen: np.random.Generator) -> Array:
        """(n, P) samples of the joint law."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.mean + gen.standard_normal((n, len(self.mean))) @ root.T


@dataclass(frozen=True)
class SeasonalAR:
    """The process of this module.

    Args:
        season: m, points per season.
        amplitudes: a_1, a_2, ...: the deviation of each harmonic's two coefficients.
        phi: memory of the autoregressive part, in (-1, 1).
        sigma: deviation of its innovations.
        noise: deviation of the white noise on top.
        level: mean of every point.
    """

    season: int = 24
    amplitudes: tuple[float, ...] = (2.0, 1.0)
    phi: float = 0.8
    sigma: float = 0.6
    noise: float = 0.2
    level: float = 10.0

    def __post_init__(self) -> None:
        if self.season < 2 or not -1 < self.phi < 1 or self.sigma < 0 or self.noise < 0:
            raise ConfigError(
                f"expected season >= 2, |phi| < 1 and deviations >= 0, got season {self.season}, "
                f"phi {self.phi}, sigma {self.sigma}, noise {self.noise}.",
                hint="Choose values within these bounds.",
            )

    def covariance(self, first: Array, second: Array) -> Array:
        """(len(first), len(second)), K between the points at two sets of whole-number times."""
        distance = np.abs(np.subtract.outer(np.asarray(first), np.asarray(second)))
        total = self.sigma**2 / (1 - self.phi**2) * np.power(self.phi, distance, dtype=np.float64)
        for h, amplitude in enumerate(self.amplitudes, start=1):
            total = total + amplitude**2 * np.cos(2 * np.pi * h * distance / self.season)
        return total + self.noise**2 * (distance == 0)

    def draw(self, n: int, length: int, gen: np.random.Generator) -> Array:
        """(n, length) independent series."""
        times = np.arange(length)
        values = np.full((n, length), self.level, dtype=np.float64)
        for h, amplitude in enumerate(self.amplitudes, start=1):
            phase = 2 * np.pi * h * times / self.season
            cosine, sine = gen.standard_normal((2, n, 1))
            values += amplitude * (cosine * np.cos(phase) + sine * np.sin(phase))
        state = gen.standard_normal(n) * self.sigma / np.sqrt(1 - self.phi**2)
        for t in range(length):
            values[:, t] += state
            state = self.phi * state + self.sigma * gen.standard_normal(n)
        return values + self.noise * gen.standard_normal((n, length))

    def conditional(self, history: Array, horizon: int) -> Exact:
        """The exact law of the `horizon` points after a history.

        Args:
            history: (T,), NaN where a value is missing; those are left out of the condition.
            horizon: P.
        """
        seen = np.flatnonzero(~np.isnan(history))
        return self.given(seen, np.asarray(history)[seen], len(history) + np.arange(horizon))

    def given(self, seen: Array, values: Array, wanted: Array) -> Exact:
        """The exact law of the points at the times `wanted` given the values at the times `seen`."""
        if len(seen) != len(values) or np.isnan(values).any():
            raise DataError(
                f"expected a value for each of {len(seen)} times, got {len(values)}.",
                hint="Leave missing points out of both.",
            )
        weights, covariance = self.weights(seen, wanted)
        return Exact(self.level + weights @ (np.asarray(values, dtype=np.float64) - self.level), covariance)

    def weights(self, seen: Array, wanted: Array) -> tuple[Array, Array]:
        """What `given` needs of the times alone, worth keeping for many series seen at the same ones.

        Returns:
            (len(wanted), len(seen)), the weights of the deviations from the level, and the covariance of the
            law.
        """
        prior = self.covariance(wanted, wanted)
        across = self.covariance(wanted, seen)
        if not len(seen):
            return across, prior
        weights = np.linalg.solve(self.covariance(seen, seen), across.T).T
        covariance = prior - weights @ across.T
        return weights, (covariance + covariance.T) / 2
