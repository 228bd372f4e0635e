"""Put values with times on the grid of their frequency: one place per period, NaN where a time is missing.

Nothing is shifted in silence. Times must lie in different periods; the place they have within the period (its
start, its end, half past) is kept as the stamp of the table, and where they have no common place a note says
how many and by how much. Every gap is filled with NaN and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import DataError
from core.outlook import many
from domains.timeseries.data import Array, Series
from domains.timeseries.formats.inference import infer
from domains.timeseries.formats.moments import Moments
from domains.timeseries.frequency import INTEGER, canonical, multiple_of, period

__all__ = ["Grid", "place"]

DAY = 86_400_000_000_000
# A grid this much longer than its values is a wrong date or a wrong frequency, not a series with gaps.
MOST_EMPTY = 200


@dataclass(frozen=True)
class Grid:
    """Series on their grid, the frequency, the stamp (see `data.Table`) and what was changed."""

    series: tuple[Series, ...]
    freq: str
    stamp: str
    notes: tuple[str, ...]


def place(ids: pd.Series, moments: Moments, values: Array, *, freq: str | None, source: str) -> Grid:
    """Put rows (id, time, value) on a grid.

    Args:
        ids: (n,), the series of each row; their order of first appearance is kept.
        moments: (n,) times.
        values: (n,) float64, NaN where missing.
        freq: None infers it, or takes the one of `moments`.
        source: the file, for messages.

    Raises:
        DataError: an id with a time twice, several times in one period, no common frequency, a value that is
            infinite, or a series without any value.
    """
    codes, unique = pd.factorize(ids, sort=False)
    names = [str(name) for name in unique]
    order = np.lexsort((moments.values, codes))
    at = np.flatnonzero(np.diff(codes[order])) + 1
    rows = np.split(order, at)
    times = [moments.values[index] for index in rows]
    _no_infinity(values, codes, names, source)
    _no_duplicates(times, names, moments, source)
    notes = [*moments.notes, *_sorted_note(rows)]
    if moments.integer:
        given: str = INTEGER
    else:
        given = canonical(freq) if freq else (moments.freq or infer(times, names, source))
    ordinals, stamp, more = _ordinals(moments, given, rows, names, source)
    notes += more
    series = []
    filled, holed = 0, 0
    step = multiple_of(given)
    for index, name in zip(rows, names, strict=True):
        target, start = _fill(ordinals[index], values[index], step, name, given, source)
        if np.isnan(target).all():
            raise DataError(
                f"{source}: series '{name}' has no value at all.", hint="Remove it, or fill in its values."
            )
        filled += len(target) - len(index)
        holed += len(target) > len(index)
        series.append(Series(name, _period(start, given), target))
    _common_step(series, ordinals, rows, step, given, source)
    if filled:
        total = sum(len(item) for item in series)
        notes.append(
            f"{many(filled, 'missing time')} in {holed} of {len(series)} series filled with NaN "
            f"({100 * filled / total:.2g} % of all points)."
        )
    return Grid(tuple(series), given, stamp, tuple(notes))


def _period(ordinal: int, freq: str) -> pd.Period:
    if freq == INTEGER:
        return period(ordinal, INTEGER)
    return pd.Period(ordinal=ordinal, freq=freq)


def _no_infinity(values: Array, codes: Array, names: Sequence[str], source: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        name = names[int(codes[int(np.argmax(infinite))])]
        raise DataError(
            f"{source}: {many(int(infinite.sum()), 'infinite value')}, the first in series '{name}'.",
            hint="Leave those cells empty: empty counts as missing.",
        )


def _no_duplicates(times: Sequence[Array], names: Sequence[str], moments: Moments, source: str) -> None:
    for series, name in zip(times, names, strict=True):
        same = np.diff(series) == 0
        if same.any():
            value = series[int(np.argmax(same))]
            shown = value if moments.integer else pd.Timestamp(int(value))
            more = f" ({int(same.sum())} repeated times in all)" if same.sum() > 1 else ""
            clock = "" if moments.integer else " If the clock was put back then, give the times in UTC."
            raise DataError(
                f"{source}: series '{name}' has the time {shown} more than once{more}.",
                hint=f"Keep one row per series and time.{clock}",
            )


def _sorted_note(rows: Sequence[Array]) -> list[str]:
    unsorted = sum(bool((np.diff(index) < 0).any()) for index in rows)
    if not unsorted:
        return []
    return [f"{unsorted} of {len(rows)} series not in order of time: sorted."]


def _ordinals(
    moments: Moments, freq: str, rows: Sequence[Array], names: Sequence[str], source: str
) -> tuple[Array, str, list[str]]:
    """The number of each row's period, the stamp, and notes."""
    if freq == INTEGER:
        return moments.values, "start", []
    index = pd.DatetimeIndex(moments.values)
    if freq.endswith("B") and bool((index.dayofweek >= 5).any()):
        wrong = index[index.dayofweek >= 5]
        raise DataError(
            f"{source}: {len(wrong)} times lie on weekends, the first {wrong[0].date()}; business days have "
            "none.",
            hint="Pass --freq D.",
        )
    ordinals = _aligned(np.asarray(index.to_period(freq).asi8), freq, rows)
    for series, name in zip(rows, names, strict=True):
        same = np.diff(ordinals[series]) == 0
        if same.any():
            first = index[series[int(np.argmax(same))]]
            raise DataError(
                f"{source}: series '{name}' has several times in one period of '{freq}', the first {first} "
                f"({int(same.sum())} too many in all).",
                hint="Pass the frequency the data have with --freq, or aggregate them to this one first.",
            )
    periods = pd.PeriodIndex.from_ordinals(ordinals, freq=freq)
    stamp, notes = _stamp(index, periods, freq)
    return ordinals, stamp, notes


def _aligned(ordinals: Array, freq: str, rows: Sequence[Array]) -> Array:
    """Ordinals on the steps of a multiple such as "15min", for which pandas counts single minutes.

    Series that keep to one step stay where they are, also from five past on; times that stray belong to the
    step they fall in, counted from midnight.
    """
    step = multiple_of(freq)
    if step == 1 or freq.lstrip("0123456789") not in {"h", "min", "s", "ms", "us"}:
        return ordinals
    if all(not ((ordinals[index] - ordinals[index[0]]) % step).any() for index in rows):
        return ordinals
    return ordinals - ordinals % step


def _stamp(index: pd.DatetimeIndex, periods: pd.PeriodIndex, freq: str) -> tuple[str, list[str]]:
    offset = np.asarray(index.asi8 - periods.to_timestamp(how="start").as_unit("ns").asi8)
    if not offset.any():
        return "start", []
    last = periods.to_timestamp(how="end").as_unit("ns").asi8
    if freq.lstrip("0123456789").split("-")[0] in {"D", "B", "W", "M", "Q", "Y"}:
        days = np.asarray(index.asi8) // DAY
        if (days == np.asarray(last) // DAY).all():
            return "end", []
    if (offset == offset[0]).all():
        return str(pd.Timedelta(int(offset[0]), "ns")), []
    moved = int((offset != 0).sum())
    return "start", [
        f"{moved} of {len(offset)} times lie inside their period of '{freq}', by up to "
        f"{pd.Timedelta(int(offset.max()), 'ns')}; each value is kept in the period it falls in."
    ]


def _fill(ordinals: Array, values: Array, step: int, name: str, freq: str, source: str) -> tuple[Array, int]:
    """Values on the full grid, and the number of its first period."""
    first = int(ordinals[0])
    places, rest = np.divmod(ordinals - first, step)
    if rest.any():
        raise DataError(
            f"{source}: series '{name}' has times between the steps of '{freq}'.",
            hint="Pass a finer frequency with --freq, or resample first.",
        )
    length = int(places[-1]) + 1
    if length > MOST_EMPTY * len(values) + 1000:
        raise DataError(
            f"{source}: series '{name}' has {len(values)} values over {length} periods of '{freq}'.",
            hint="Look for a wrong date at its ends, or pass a coarser frequency with --freq.",
        )
    target = np.full(length, np.nan)
    target[places] = values
    return target, first


def _common_step(
    series: Sequence[Series], ordinals: Array, rows: Sequence[Array], step: int, freq: str, source: str
) -> None:
    """Refuse a frequency finer than every distance in the data: most of the grid would be empty."""
    distances = [np.diff(ordinals[index]) // step for index in rows if len(index) >= 3]
    if not distances:
        return
    least = min(int(d.min()) for d in distances)
    if least > 1:
        hint = (
            f"Divide the times by {least}, so that they count steps."
            if freq == INTEGER
            else "Pass the frequency the data have, or leave --freq away."
        )
        raise DataError(
            f"{source}: the times step by {least} or more periods of '{freq}', never by one.", hint=hint
        )
