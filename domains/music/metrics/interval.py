"""Bootstrap intervals: how far a number would move with other songs.

Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3 (percentile interval).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError

__all__ = ["Estimate", "bootstrap", "ratio", "resampled"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, the items it was computed from and the seed of the resampling."""

    value: float
    low: float
    high: float
    n: int
    seed: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.n}"


def bootstrap(values: Sequence[float], *, draws: int = 1000, seed: int = 0) -> Estimate:
    """The mean of values with its percentile interval.

    Raises:
        ConfigError: there are no values.
    """
    data = np.asarray(values, dtype=np.float64)
    return resampled(lambda index: float(data[index].mean()), len(data), draws=draws, seed=seed)


def ratio(above: Sequence[float], below: Sequence[float], *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Sum of `above` over sum of `below`, items resampled in pairs: an error rate over songs."""
    up, down = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return resampled(
        lambda index: float(up[index].sum() / down[index].sum()), len(up), draws=draws, seed=seed
    )


def resampled(
    statistic: Callable[[NDArray[np.int_]], float], n: int, *, draws: int = 1000, seed: int = 0
) -> Estimate:
    """A statistic of n items with its percentile interval.

    Args:
        statistic: indices of items, with repeats -> the number.
        n: items.
        draws: resamples; the interval's ends have a relative error of about 1 / sqrt(0.025 draws).
        seed: of the resampling.

    Raises:
        ConfigError: there is no item.
    """
    if n < 1:
        raise ConfigError("an interval needs at least one item.")
    rng = np.random.default_rng(seed)
    found = [statistic(rng.integers(0, n, n)) for _ in range(draws)]
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return Estimate(statistic(np.arange(n)), low, high, n, seed)
