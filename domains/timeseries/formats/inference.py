"""Tell the frequency from the times themselves, gaps or not.

The step of a series is the greatest common divisor of its distances, counted in months where the distances
are months, in weeks or days where they are whole days, in nanoseconds below that. Gaps are multiples of the
step and do no harm; a series whose most common distance is another than its step is on no grid. Days without
weekends are business days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
import pandas as pd

from core.errors import DataError
from domains.timeseries.data import Array

__all__ = ["infer"]

DAY = 86_400_000_000_000
_UNITS = (
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True)
class Step:
    """One step: `n` of "month", "week", "day" or "ns"."""

    unit: str
    n: int


def infer(times: Sequence[Array], names: Sequence[str], source: str) -> str:
    """Infer the one frequency of several series.

    Args:
        times: per series (T,), int64 nanoseconds, strictly increasing.
        names: their ids, for messages.
        source: the file, for messages.

    Returns:
        The frequency in the spelling of `frequency.canonical`.

    Raises:
        DataError: every series has fewer than 3 points, a series is on no grid, or series differ.
    """
    found: dict[str, str] = {}
    short: list[Array] = []
    weekends = _has_weekends(times)
    for moments, name in zip(times, names, strict=True):
        if len(moments) < 3:
            short.append(moments)
            continue
        found.setdefault(_name(_step(moments, name, source), moments, weekends), name)
    if not found:
        raise DataError(
            f"{source}: the frequency cannot be told from series of fewer than 3 points.",
            hint="Pass it with --freq, such as --freq h or --freq D.",
        )
    if len(found) > 1:
        shown = ", ".join(f"'{name}' is {freq}" for freq, name in list(found.items())[:3])
        raise DataError(
            f"{source}: the series have mixed frequencies: {shown}.",
            hint="Split the data by frequency, resample them to one, or pass --freq.",
        )
    return next(iter(found))


def _step(moments: Array, name: str, source: str) -> Step:
    distances = np.diff(moments)
    whole_days = not (distances % DAY).any()
    if whole_days and distances.min() >= 28 * DAY:
        index = pd.DatetimeIndex(moments)
        months = np.diff(np.asarray(index.year) * 12 + np.asarray(index.month))
        same_day = len(set(index.day)) == 1 or bool(index.is_month_end.all())
        weeks = not (distances % (7 * DAY)).any()
        if months.min() >= 1 and (same_day or not weeks):
            return _checked(Step("month", _gcd(months)), months, name, source)
    if whole_days:
        days = distances // DAY
        n = _gcd(days)
        unit = "week" if n % 7 == 0 else "day"
        return _checked(Step(unit, n // 7 if unit == "week" else n), days, name, source)
    return _checked(Step("ns", _gcd(distances)), distances, name, source)


def _checked(step: Step, distances: Array, name: str, source: str) -> Step:
    """Refuse a step that hardly any distance has: stamps that lie on no grid."""
    n = step.n * (7 if step.unit == "week" else 1)
    values, counts = np.unique(distances, return_counts=True)
    common = int(values[np.argmax(counts)])
    filled = (len(distances) + 1) / (int(distances.sum()) // n + 1)
    # Business days have one distance in five of three days, and their step is the day.
    if filled < 0.1 or (step.unit == "ns" and common != n):
        unit = {"week": "day"}.get(step.unit, step.unit)
        odd = values[values != common]
        raise DataError(
            f"{source}: the times of series '{name}' are on no grid: most steps are {_said(common, unit)}, "
            f"others {_said(int(odd[0]) if len(odd) else common, unit)}.",
            hint="Resample to regular times first, or pass --freq to take the period each time falls in.",
        )
    return step


def _said(n: int, unit: str) -> str:
    if unit == "ns":
        return str(pd.Timedelta(n, "ns")).removeprefix("0 days ")
    return f"{n} {unit}{'s' if n != 1 else ''}"


def _gcd(values: Array) -> int:
    return int(reduce(gcd, (int(v) for v in np.unique(values))))


def _has_weekends(times: Sequence[Array]) -> bool:
    # 1970-01-01 was a Thursday: day 0 has weekday 3.
    return any(bool((((moments // DAY + 3) % 7) >= 5).any()) for moments in times)


def _name(step: Step, moments: Array, weekends: bool) -> str:
    many = f"{step.n}" if step.n > 1 else ""
    match step.unit:
        case "month":
            return _monthly(step.n, moments)
        case "week":
            return f"{many}W-{_WEEKDAYS[int(moments[0] // DAY + 3) % 7]}"
        case "day":
            # A week of daily data without a weekend in it says nothing; a step over one does.
            over = bool((np.diff(moments) // DAY == 3).any())
            return "B" if step.n == 1 and not weekends and over else f"{many}D"
    for unit, ns in _UNITS:
        if step.n % ns == 0:
            return f"{step.n // ns if step.n > ns else ''}{unit}"
    raise DataError(
        f"times lie {step.n} nanoseconds apart; less than a microsecond is not supported.",
        hint="Count the steps instead and pass freq='int'.",
    )


def _monthly(n: int, moments: Array) -> str:
    """Months, quarters or years; the latter two are named by the month they end in."""
    if n % 3 or n in (6, 9):
        return f"{n if n > 1 else ''}M"
    index = pd.DatetimeIndex(moments)
    month = int(index.month[0])
    last = month if bool(index.is_month_end.all()) else (month - 2) % 12 + 1
    if n % 12 == 0:
        return f"{n // 12 if n > 12 else ''}Y-{_MONTHS[last - 1]}"
    if n == 3:
        return f"Q-{_MONTHS[9 + (last - 1) % 3]}"
    return f"{n}M"
