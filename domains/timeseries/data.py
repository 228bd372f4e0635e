"""What every method here works on: series, tables of series, test instances and forecasts.

A series is a vector of numbers one period of `freq` apart; NaN is a missing value. Windows follow one rule
for every table, K windows of P points at the end of each series of length n:

    training series    target[: n - K P]
    instance k of K    history target[: n - P (K - k + 1)], label the P points after it; k = 1 is the oldest

Instances are ordered by window first and by series second, as GluonTS orders rolling test sets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from core.errors import ConfigError, DataError
from domains.timeseries.frequency import frequency_of, seasonality

__all__ = [
    "Array",
    "Forecast",
    "Instance",
    "QuantileRule",
    "Quantiles",
    "Series",
    "Table",
    "quantile_of",
    "split",
]

Array = np.ndarray[Any, np.dtype[Any]]
QuantileRule = Literal["gluonts", "numpy"]


@dataclass(frozen=True, eq=False)
class Series:
    """One series.

    Args:
        item_id: its name, unique within a table.
        start: the period of the first value; its frequency is that of the series.
        target: (T,), float64, NaN where a value is missing.
        category: static categories, whole numbers >= 0; GluonTS calls them `feat_static_cat`.
    """

    item_id: str
    start: pd.Period
    target: Array
    category: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.start, pd.Period):
            raise DataError(
                f"series '{self.item_id}': start must be a pandas Period, got {type(self.start).__name__}.",
                hint="Write pd.Period('2024-01-01', freq='h'), or read the series with formats.read_table.",
            )
        target = np.asarray(self.target, dtype=np.float64)
        if target.ndim != 1:
            raise DataError(f"series '{self.item_id}': target must have one axis, got shape {target.shape}.")
        object.__setattr__(self, "target", target)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def freq(self) -> str:
        """Frequency in the spelling of `frequency.canonical`; "int" for series counted by whole numbers."""
        return frequency_of(self.start)

    def upto(self, n: int) -> "Series":
        """The first `n` values; a negative `n` leaves out that many at the end, as a slice does."""
        return replace(self, target=self.target[:n])

    def cut(self, first: int, last: int | None = None) -> "Series":
        """The values from position `first` >= 0 up to, without, `last`; the start moves along."""
        if first < 0:
            raise ConfigError(f"cut needs a position >= 0, got {first}.", hint="Use len(series) - n instead.")
        return replace(self, start=self.start + first, target=self.target[first:last])

    @property
    def end(self) -> pd.Period:
        """The period after the last value: where a forecast starts."""
        return self.start + len(self)


@dataclass(frozen=True, eq=False)
class Table:
    """Series of one frequency, and what reading them changed.

    Args:
        series: in the order of the source; item_id is unique.
        freq: frequency of all of them, in the spelling of `frequency.canonical`.
        notes: what reading changed, one line each: gaps filled, rows sorted, cells that were no numbers.
        name: what to call the table in reports.
        prediction_length: P, if the source says; points.
        context_length: C, if the source says; points.
        rolling_windows: K, if the source says.
        seasonality: points per season, if the source says.
        stamp: which moment of a period its time stamp is: "start", "end" (the last day of it) or an offset
            from the start that pandas reads, such as "30min".
    """

    series: tuple[Series, ...]
    freq: str
    notes: tuple[str, ...] = ()
    name: str = ""
    prediction_length: int | None = None
    context_length: int | None = None
    rolling_windows: int | None = None
    seasonality: int | None = None
    stamp: str = "start"

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.series:
            if item.freq != self.freq:
                raise DataError(
                    f"series '{item.item_id}' has frequency '{item.freq}', the table '{self.freq}'.",
                    hint="A table holds one frequency: split the data, or resample them first.",
                )
            if item.item_id in seen:
                raise DataError(
                    f"the series '{item.item_id}' is in the table twice.", hint="Give each its own id."
                )
            seen.add(item.item_id)

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __getitem__(self, item_id: str) -> Series:
        for item in self.series:
            if item.item_id == item_id:
                return item
        shown = ", ".join(item.item_id for item in self.series[:5])
        raise DataError(f"there is no series '{item_id}' (the table has {len(self)}: {shown}, ...).")

    @property
    def season(self) -> int:
        """Points per season: `seasonality` where the source gives it, else GluonTS's for the frequency."""
        return self.seasonality or seasonality(self.freq)

    @property
    def longest(self) -> int:
        return max((len(item) for item in self.series), default=0)

    def noted(self, *notes: str) -> "Table":
        """The same table with further notes."""
        return replace(self, notes=self.notes + notes)


@dataclass(frozen=True, eq=False)
class Instance:
    """One test: a history without its label.

    Args:
        series: the history; the forecast starts at `series.end`.
        label: (P,), the true values, NaN where they are unknown.
    """

    series: Series
    label: Array


@dataclass(frozen=True, eq=False)
class Forecast:
    """Samples of the future of one series.

    Args:
        item_id: the series.
        start: period of the first forecast point.
        samples: (S, P), float64; a point forecast has S = 1.
    """

    item_id: str
    start: pd.Period
    samples: Array

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples, dtype=np.float64)
        if samples.ndim != 2 or not samples.shape[0]:
            raise DataError(
                f"forecast of '{self.item_id}': samples must be (S, P) with S >= 1, got {samples.shape}."
            )
        object.__setattr__(self, "samples", samples)

    def __len__(self) -> int:
        return int(self.samples.shape[1])

    @property
    def mean(self) -> Array:
        """(P,), the mean over samples."""
        return np.asarray(self.samples.mean(axis=0))

    def quantile(self, level: float, rule: QuantileRule = "gluonts") -> Array:
        """(P,), the quantile at `level` in [0, 1]; see `quantile_of` for the rules."""
        return quantile_of(self.samples, level, rule)


@dataclass(frozen=True, eq=False)
class Quantiles:
    """A forecast of which only quantiles are known, as files of forecasts have them.

    Args:
        item_id: the series.
        start: period of the first forecast point.
        levels: Q of them, increasing, in (0, 1).
        values: (Q, P), float64.
        centre: (P,), the mean where it is known; else the median stands for it.
    """

    item_id: str
    start: pd.Period
    levels: tuple[float, ...]
    values: Array
    centre: Array | None = None

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.values) or list(self.levels) != sorted(set(self.levels)):
            raise DataError(
                f"forecast of '{self.item_id}': {len(self.values)} rows for the levels {self.levels}.",
                hint="Give one row per level, levels increasing.",
            )

    def __len__(self) -> int:
        return int(self.values.shape[1])

    @property
    def mean(self) -> Array:
        """(P,), the mean, or the median where the mean is not known."""
        return self.quantile(0.5) if self.centre is None else self.centre

    def quantile(self, level: float, rule: QuantileRule = "gluonts") -> Array:
        """(P,), linear between the known levels and NaN outside them; `rule` makes no difference here."""
        levels = np.asarray(self.levels)
        at = int(np.argmin(np.abs(levels - level)))
        if abs(levels[at] - level) < 1e-9:
            return np.asarray(self.values[at])
        if not levels[0] < level < levels[-1]:
            return np.full(len(self), np.nan)
        above = int(np.searchsorted(levels, level))
        share = (level - levels[above - 1]) / (levels[above] - levels[above - 1])
        return np.asarray((1 - share) * self.values[above - 1] + share * self.values[above])


def quantile_of(samples: Array, level: float, rule: QuantileRule = "gluonts") -> Array:
    """Read a quantile off samples.

    Args:
        samples: (S, *).
        level: in [0, 1].
        rule: "gluonts" takes the order statistic at round((S - 1) level), halves to the even neighbour;
            "numpy" interpolates between neighbours. They differ visibly for small S.

    Returns:
        Shape (*); NaN where a sample is NaN.

    Source: `SampleForecast.quantile` of GluonTS 0.17; `numpy.quantile`, Hyndman & Fan 1996, type 7.
    """
    if not 0 <= level <= 1:
        raise ConfigError(f"a quantile level lies in [0, 1], got {level}.", hint="Write 0.9 for 90 %.")
    if rule == "numpy":
        return np.asarray(np.quantile(samples, level, axis=0))
    if rule != "gluonts":
        raise ConfigError(f"unknown quantile rule '{rule}' (known: gluonts, numpy).")
    ordered = np.sort(samples, axis=0)
    value = ordered[int(np.round((len(samples) - 1) * level))]
    return np.where(np.isnan(samples).any(axis=0), np.nan, value)


def split(
    table: Table, prediction_length: int | None = None, windows: int | None = None
) -> tuple[Table, list[Instance]]:
    """Split a table into its training part and its test instances.

    Args:
        table: whole series, labels included.
        prediction_length: P; None takes the table's.
        windows: K; None takes the table's, else 1.

    Returns:
        The training table (a note counts the series left out because they have no point before their first
        window), and the instances: window 1 of every series, then window 2, and so on.

    Raises:
        ConfigError: P is not known, or P or K is below 1.
        DataError: no series is longer than K P.
    """
    p = prediction_length if prediction_length is not None else table.prediction_length
    k = windows if windows is not None else (table.rolling_windows or 1)
    if p is None:
        raise ConfigError(
            "the prediction length is not known.", hint="Give one, such as prediction_length=24."
        )
    if p < 1 or k < 1:
        raise ConfigError(
            f"prediction length and windows must be at least 1, got {p} and {k}.", hint="Give whole numbers."
        )
    kept = [item for item in table.series if len(item) > k * p]
    if not kept:
        raise DataError(
            f"no series is longer than the {k} x {p} points that are held out for tests: "
            f"the longest has {table.longest}.",
            hint="Take a smaller prediction length or fewer windows.",
        )
    training = replace(table, series=tuple(item.upto(len(item) - k * p) for item in kept))
    if left_out := len(table) - len(kept):
        training = training.noted(
            f"{left_out} of {len(table)} series have at most {k} x {p} points and were left out."
        )
    return training, _instances(kept, p, k)


def _instances(kept: Sequence[Series], p: int, k: int) -> list[Instance]:
    instances = []
    for window in range(k):
        for item in kept:
            at = len(item) - p * (k - window)
            instances.append(Instance(item.upto(at), item.target[at : at + p]))
    return instances
