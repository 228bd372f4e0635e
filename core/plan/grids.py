"""Grids of times: n evaluations need n + 1 decreasing times, and the last is usually zero noise.

All but `uniform` place points in the noise-to-signal ratio sigma / alpha, in which every Gaussian process is
the same, and translate them into the process's own time. A grid is a plain list: any decreasing list of times
serves as well.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from core.errors import ConfigError
from core.process.product import Product

__all__ = ["checked", "karras", "log", "logistic", "uniform"]


def uniform(process: Any, n: int) -> list[float]:
    """Times equally spaced between the ends of the process, without a final zero: n steps."""
    low, high = process.ends
    _positive(n)
    return [high + (low - high) * i / n for i in range(n + 1)]


def karras(
    process: Any, n: int, *, low: float | None = None, high: float | None = None, rho: float = 7.0
) -> list[float]:
    """Ratios equally spaced in ratio^(1/rho), then zero.

    Args:
        low, high: smallest and largest ratio sigma / alpha; the ends of the process by default.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """
    low, high = _range(process, low, high)
    a, b = high ** (1 / rho), low ** (1 / rho)
    return _times(process, [(a + (b - a) * u) ** rho for u in _unit(n)])


def log(process: Any, n: int, *, low: float | None = None, high: float | None = None) -> list[float]:
    """Ratios equally spaced in log ratio, then zero."""
    low, high = _range(process, low, high)
    return _times(process, [high * (low / high) ** u for u in _unit(n)])


def logistic(
    process: Any,
    n: int,
    *,
    data_std: float,
    low: float | None = None,
    high: float | None = None,
    shift: float = -0.5,
    scale: float = 1.6,
) -> list[float]:
    """Log ratios at equally spaced quantiles of a logistic law centred at ln data_std + shift, then zero.

    Points gather where the posterior mean of data of this standard deviation changes most. An infinite `high`
    is legal: the quantile 1 is where no signal is left.
    """
    low, high = _range(process, low, high, finite=False)
    centre = math.log(data_std) + shift

    def quantile(ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else 1 / (1 + math.exp(-(math.log(ratio) - centre) / scale))

    first, last = quantile(high), quantile(low)
    inner = [first + (last - first) * u for u in _unit(n)][1:-1]
    points = [math.exp(centre + scale * math.log(q / (1 - q))) for q in inner]
    return _times(process, [high, *points, low] if n > 1 else [high])


def checked(times: Sequence[float]) -> list[float]:
    """The times as floats, refused unless they are at least two and strictly monotone."""
    out = [float(t) for t in times]
    pairs = list(pairwise(out))
    if len(out) < 2 or not (all(a > b for a, b in pairs) or all(a < b for a, b in pairs)):
        raise ConfigError(
            f"a grid needs at least two strictly monotone times, got {out}.",
            hint="n + 1 values give n steps, from noise (large t) to data (small t).",
        )
    return out


def _unit(n: int) -> list[float]:
    _positive(n)
    return [i / (n - 1) for i in range(n)] if n > 1 else [0.0]


def _positive(n: int) -> None:
    if n < 1:
        raise ConfigError(f"a grid needs at least 1 step, got {n}.")


def _range(
    process: Any, low: float | None, high: float | None, *, finite: bool = True
) -> tuple[float, float]:
    (first, *_), (near, far) = _parts(process), process.ends
    low = first.ratio(near) if low is None else low
    high = first.ratio(far) if high is None else high
    if not 0 < low < high:
        raise ConfigError(f"a grid needs 0 < low < high, got {low} and {high}.")
    if finite and math.isinf(high):
        raise ConfigError(
            "the process has no signal at its noise end, so this grid has no first point.",
            hint="Give high=, or use the logistic grid, which may start at infinity.",
        )
    return low, high


def _parts(process: Any) -> list[Any]:
    """The parts of a product; its grids are made in the ratio of the first."""
    return list(process.parts.values()) if isinstance(process, Product) else [process]


def _times(process: Any, ratios: list[float]) -> list[float]:
    """Times of the ratios, then of zero noise; a product ends where the first of its parts gets there."""
    parts = _parts(process)
    return [*(parts[0].time(ratio) for ratio in ratios), max(part.time(0.0) for part in parts)]
