"""Which earlier values of a series go along with a window, as further channels.

    h                   24 x {1 .. 7, 14, 21, 28}        10 lags, 672 hours of history
    D, B                30 x {1 .. 12}                   12 lags, 360 days
    any other           season x {1 .. 7, 14, 21, 28}    with the season of `frequency.seasonality`

Channel c > 0 of a window holds the series `lags[c - 1]` points earlier, so lags are part of what is noised
and denoised, not a condition. A lag reaches back before the window: "auto" keeps those that leave at least
one training window with all its lags in the shortest series that is long enough to train on.

Source: Kollovieh et al. 2023, arXiv:2307.11494, and its code (hourly, daily and business-daily lists); the
rule for other frequencies and the cut are ours.
"""

from collections.abc import Sequence

import numpy as np

from core.errors import ConfigError
from domains.timeseries.data import Array
from domains.timeseries.frequency import canonical, seasonality

__all__ = ["chosen_lags", "lag_list", "lagged"]

WEEKS = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)


def lag_list(freq: str, season: int | None = None) -> tuple[int, ...]:
    """The full list of lags of a frequency, in points, increasing.

    Args:
        season: points per season, where it is not that of the frequency.
    """
    name = canonical(freq)
    if name in ("D", "B") and season is None:
        return tuple(30 * k for k in range(1, 13))
    step = seasonality(name) if season is None else season
    return tuple(step * k for k in WEEKS)


def chosen_lags(
    lags: str | Sequence[int], freq: str, window: int, lengths: Sequence[int], season: int | None = None
) -> tuple[int, ...]:
    """The lags that a model is trained with.

    Args:
        lags: "auto", "none", or a list of points.
        window: L = C + P.
        lengths: of the training series.

    Raises:
        ConfigError: an unknown word, or a lag below 1.
    """
    if isinstance(lags, str):
        if lags == "none":
            return ()
        if lags != "auto":
            raise ConfigError(f"lags must be 'auto', 'none' or a list of points, got '{lags}'.")
        room = min((n for n in lengths if n >= window), default=window) - window
        return tuple(lag for lag in lag_list(freq, season) if lag <= room)
    out = tuple(sorted({int(lag) for lag in lags}))
    if out and out[0] < 1:
        raise ConfigError(f"a lag is a number of points >= 1, got {out[0]}.")
    return out


def lagged(values: Array, lags: Sequence[int], window: int) -> Array:
    """The channels of the last window of a sequence.

    Args:
        values: (..., window + max lag) or longer.

    Returns:
        (..., 1 + lags, window): the sequence itself, then each lag.
    """
    n = values.shape[-1]
    return np.stack([values[..., n - window - lag : n - lag] for lag in (0, *lags)], axis=-2)
