"""Windows of L = C + P points: what a model is trained on and what it is asked about.

    shape     context C, prediction P and lags: which points of a series make a window
    Windows   training windows by number: one expected window of every series per pass, at a random place
    cut       the window of one series that a forecast, an imputation or a score is made from

A window is an array (1 + lags, L), the series and its lagged copies divided by one scale, and a mask of the
same shape that says which entries are known. Points before the start of a series are unknown; those of the
future are unknown in channel 0, and in the lag channels unless they were observed by then.

Training windows with gaps are filled in by straight lines, and the loss leaves those entries out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from core.errors import ConfigError, DataError
from core.train.samples import Batch, mixed_seed
from domains.timeseries.data import Array, Series, Table
from domains.timeseries.lags import lagged
from domains.timeseries.scaling import Scaling, median_scale, scale_of

__all__ = [
    "Cut",
    "Shape",
    "Windows",
    "cut",
    "cut_span",
    "fallback_of",
    "filled",
    "largest_context",
    "rescaled",
    "usable",
]


@dataclass(frozen=True)
class Shape:
    """Which points of a series make a window, and what they are divided by.

    Args:
        context: C.
        prediction: P.
        lags: points, increasing.
        scaling: see `domains.timeseries.scaling`.
        fallback: scale where the context says nothing.
    """

    context: int
    prediction: int
    lags: tuple[int, ...] = ()
    scaling: Scaling = "mean"
    fallback: float = 1.0

    def __post_init__(self) -> None:
        if self.context < 1 or self.prediction < 1:
            raise ConfigError(
                f"context and prediction must be at least 1, got {self.context} and {self.prediction}."
            )

    @property
    def length(self) -> int:
        """L = C + P."""
        return self.context + self.prediction

    @property
    def channels(self) -> int:
        """The series and its lags."""
        return 1 + len(self.lags)

    @property
    def reach(self) -> int:
        """Points that the longest lag looks back before the window."""
        return max(self.lags, default=0)

    @property
    def history(self) -> int:
        """Points before the forecast that a full window reads."""
        return self.context + self.reach


@dataclass(frozen=True)
class Cut:
    """One window in scaled units.

    Attributes:
        values: (1 + lags, L), 0 where unknown.
        known: (1 + lags, L), booleans.
        scale: what it was divided by.
        trusted: whether the scale was read from the context, not taken from training.
    """

    values: Array
    known: Array
    scale: float
    trusted: bool


def cut(series: Series, shape: Shape, *, known: Array | None = None) -> Cut:
    """The window whose last P points follow the series: what a forecast is made from.

    Args:
        known: which values of the series may be used, (T,); all that are not NaN by default.
    """
    n, future = len(series), np.full(shape.prediction, np.nan)
    target = series.target if known is None else np.where(known, series.target, np.nan)
    return cut_span(np.concatenate([target, future]), n + shape.prediction, shape)


def cut_span(target: Array, end: int, shape: Shape) -> Cut:
    """The window of a sequence (T,) that ends at `end`, NaN where unknown.

    Its scale is that of its context, or of all that is known in it where the context says nothing. Points
    outside of the sequence are unknown.
    """
    values = np.full(shape.length + shape.reach, np.nan)
    first = end - len(values)
    low, high = max(first, 0), min(end, len(target))
    values[low - first : high - first] = target[low:high]
    known = np.isfinite(values)
    before = len(values) - shape.prediction
    reading = slice(0 if shape.scaling == "history" else before - shape.context, before)
    if not _says_something(values[reading]):
        reading = slice(shape.reach, None)
    scale = float(scale_of(values[reading], known[reading], shape.scaling, shape.fallback))
    trusted = shape.scaling == "none" or _says_something(values[reading])
    scaled = np.where(known, values, 0.0) / scale
    return Cut(
        lagged(scaled, shape.lags, shape.length), lagged(known, shape.lags, shape.length), scale, trusted
    )


def _says_something(values: Array) -> bool:
    """Whether any value is known and not zero."""
    return bool((np.abs(values[np.isfinite(values)]) > 0).any())


def rescaled(values: Array, known: Array, shape: Shape) -> Array:
    """Scaled windows (B, channels, L) divided again by what the visible part of their context says.

    Args:
        known: (B, channels, L), what is visible.
    """
    if shape.scaling == "none":
        return values
    at = slice(0, shape.context)
    return values / scale_of(values[:, 0, at], known[:, 0, at], "mean", 1.0)[:, None, None]


def usable(table: Table, shape: Shape) -> tuple[list[Series], int]:
    """The series that hold a training window, and how many do not.

    Raises:
        DataError: none does; the message gives the longest series and the largest context that would work.
    """
    kept = [item for item in table if len(item) >= shape.length and np.isfinite(item.target).any()]
    if not kept:
        room = table.longest - shape.prediction
        hint = f"The largest context that works is {room}." if room >= 1 else "Give a shorter prediction."
        raise DataError(
            f"no series has the {shape.context} + {shape.prediction} points of a training window: the "
            f"longest has {table.longest}.",
            hint=hint,
        )
    return kept, len(table) - len(kept)


def largest_context(lengths: Sequence[int], prediction: int, wanted: int) -> int:
    """The largest context up to `wanted` that at least half of the series have room for; at least 1."""
    room = int(np.median(lengths)) - prediction if len(lengths) else wanted
    return max(1, min(wanted, room))


def filled(target: Array) -> Array:
    """The sequence with its gaps closed by straight lines, and its ends held; it must hold one value."""
    known = np.isfinite(target)
    if known.all():
        return target
    where = np.arange(len(target))
    return np.interp(where, where[known], target[known])


@dataclass(frozen=True)
class Windows:
    """Training windows by number, a pure function of (seed, number).

    Every pass over the table takes each series once, in an order drawn anew, at an end drawn uniformly among
    those with a full window (and all its lags, where the series is long enough). Long series are not
    favoured.

    Args:
        series: each with at least L points and one value.
        shape: of the windows; its fallback serves windows whose context says nothing.
    """

    series: tuple[Series, ...]
    shape: Shape

    def __call__(self, numbers: range, seed: int) -> Batch:
        """Windows (B, 1 + lags, L) float32; `cond["observed"]` is their mask where a table has gaps."""
        values, known = self.draw(numbers, seed)
        cond = None if self.whole else {"observed": torch.from_numpy(known)}
        return Batch(torch.from_numpy(values.astype(np.float32)), cond)

    def draw(self, numbers: range, seed: int) -> tuple[Array, Array]:
        """The same as arrays: scaled values, and which of them were observed."""
        shape, values, known = self.shape, [], []
        for number in numbers:
            item, end = self.place(number, seed)
            first = self._offsets[item] + end - shape.length - shape.reach
            at = slice(first, first + shape.length + shape.reach)
            values.append(self._values[at])
            known.append(self._known[at])
        drawn, seen = np.stack(values), np.stack(known)
        before = shape.length + shape.reach - shape.prediction
        start = 0 if shape.scaling == "history" else before - shape.context
        scale = scale_of(drawn[:, start:before], seen[:, start:before], shape.scaling, shape.fallback)
        scaled = drawn / scale[:, None]
        return lagged(scaled, shape.lags, shape.length), lagged(seen, shape.lags, shape.length)

    def place(self, number: int, seed: int) -> tuple[int, int]:
        """Which series a number takes, and where in it the window ends."""
        count = len(self.series)
        item = int(_order(count, mixed_seed(seed, "order", number // count))[number % count])
        n = len(self.series[item])
        low = min(n, self.shape.length + self.shape.reach)
        return item, low + mixed_seed(seed, "end", number) % (n - low + 1)

    @cached_property
    def _offsets(self) -> list[int]:
        """Where each series starts in the flat arrays, each led by the reach of the lags."""
        sizes = [self.shape.reach + len(item) for item in self.series]
        return [self.shape.reach + at for at in np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()]

    @cached_property
    def _values(self) -> Array:
        lead = np.zeros(self.shape.reach)
        return np.concatenate([part for item in self.series for part in (lead, filled(item.target))])

    @cached_property
    def _known(self) -> Array:
        lead = np.zeros(self.shape.reach, dtype=bool)
        return np.concatenate([part for item in self.series for part in (lead, np.isfinite(item.target))])

    @cached_property
    def whole(self) -> bool:
        """Whether every entry of every window was observed."""
        room = min(len(item) for item in self.series) >= self.shape.length + self.shape.reach
        return room and all(bool(np.isfinite(item.target).all()) for item in self.series)


@lru_cache(maxsize=8)
def _order(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).permutation(count)


def fallback_of(series: Sequence[Series]) -> float:
    """The median scale of training series, for windows whose context says nothing."""
    return median_scale([item.target for item in series])
