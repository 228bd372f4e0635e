"""Read times from cells: ISO and common national formats, time zones, periods and whole numbers.

A format is accepted only when it fits every cell. Dates such as 03/04/2020 that fit both orders are asked
about, not guessed. Times with a zone become UTC; days of a zone, midnights all, stay the days they are.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from core.errors import DataError
from domains.timeseries.data import Array
from domains.timeseries.frequency import INTEGER, canonical

__all__ = ["Moments", "looks_like_times", "read_moments"]

_ZONED = re.compile(r"(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
_ZONE = re.compile(r"\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
_DATED = re.compile(r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T\s].*)?$")
_QUARTER = re.compile(r"^(\d{4})[-\s]?[qQ]([1-4])$")
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
# Formats beside ISO 8601. The first group holds the orders that can be mistaken for one another.
_TWO_ORDERS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y")
_ONE_ORDER = (
    "%d.%m.%Y", "%d.%m.%y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y",
    "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y",
    "%m/%Y", "%Y/%m", "%m.%Y", "%Y%m", "%YM%m", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%dT%H%M%S",
)  # fmt: skip
_YEAR_NAMES = frozenset({"year", "years", "yr", "jahr", "año", "annee", "année", "anno"})


@dataclass(frozen=True)
class Moments:
    """The times of a column.

    Args:
        values: int64, nanoseconds since 1970 without a zone, or whole numbers when `integer`.
        integer: the column counts steps instead of telling times.
        freq: the frequency, where the column itself has one (periods, quarters, months, years).
        notes: what reading changed.
    """

    values: Array
    integer: bool = False
    freq: str | None = None
    notes: tuple[str, ...] = field(default=())


def read_moments(
    cells: pd.Series, *, column: str, source: str, freq: str | None = None, time_format: str | None = None
) -> Moments:
    """Read one column of times.

    Args:
        cells: dates, periods, text or whole numbers.
        column, source: names for messages.
        freq: the frequency the caller gave; "int" takes the cells as whole numbers.
        time_format: how text is written, in the codes of strptime, such as "%d/%m/%Y".

    Raises:
        DataError: a cell is empty or no time, the order of day and month cannot be told, or only some cells
            carry a time zone.
    """
    missing = np.asarray(cells.isna())
    if cells.dtype == object or pd.api.types.is_string_dtype(cells):
        missing = missing | np.array([str(cell).strip() == "" for cell in cells], dtype=bool)
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise DataError(
            f"{source}: column '{column}': {int(missing.sum())} of {len(cells)} cells have no time, the "
            f"first in row {row}.",
            hint="Remove those rows, or fill in their times.",
        )
    if freq == INTEGER:
        return Moments(_whole(cells, column, source), integer=True)
    if isinstance(cells.dtype, pd.PeriodDtype):
        name = canonical(str(cells.dtype.freq.freqstr))
        return Moments(_ns(cells.dt.to_timestamp(how="start"), column, source), freq=name)
    if pd.api.types.is_datetime64_any_dtype(cells):
        return _dated(cells, column, source)
    if pd.api.types.is_numeric_dtype(cells):
        return _counted(cells, column, source, freq)
    if all(isinstance(cell, datetime) for cell in cells):
        return _objects(cells, column, source)
    text = cells.astype(str).str.strip()
    if time_format is not None:
        return _formatted(text, column, source, time_format)
    return _text(text, column, source, freq)


def looks_like_times(cells: pd.Series) -> bool:
    """Whether most of the first hundred cells look like times and not like plain numbers."""
    head = cells.head(100)
    if pd.api.types.is_datetime64_any_dtype(head) or isinstance(head.dtype, pd.PeriodDtype):
        return True
    if pd.api.types.is_numeric_dtype(head) or not len(head):
        return False
    text = [str(cell).strip() for cell in head]
    if sum(bool(_DATED.match(cell)) for cell in text) > 0.5 * len(text):
        return True
    if all(re.fullmatch(r"[+-]?\d*[.,]?\d*", cell) for cell in text):
        return False
    try:
        read_moments(head, column="", source="")
    except DataError:
        return False
    return True


def _whole(cells: pd.Series, column: str, source: str) -> Array:
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.isnan(numbers) | (numbers != np.round(numbers)) | (np.abs(numbers) > 2**53)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{source}: column '{column}': '{cells.iloc[at]}' in row {at + 1} is no whole number.",
            hint="Frequency 'int' needs times that count steps: 0, 1, 2 ...",
        )
    return numbers.astype(np.int64)


def _ns(times: Any, column: str, source: str) -> Array:
    try:
        index = pd.DatetimeIndex(times).as_unit("ns")
    except (pd.errors.OutOfBoundsDatetime, OverflowError) as err:
        raise DataError(
            f"{source}: column '{column}' has dates outside the years 1678 to 2261.",
            hint="Count the steps instead and pass freq='int'.",
        ) from err
    return np.asarray(index.asi8)


def _dated(cells: pd.Series, column: str, source: str) -> Moments:
    index = pd.DatetimeIndex(cells)
    if index.tz is None:
        return Moments(_ns(index, column, source))
    local = _ns(index.tz_localize(None), column, source)
    return _zoned(local, index.tz_convert("UTC"), str(index.tz), column)


def _objects(cells: pd.Series, column: str, source: str) -> Moments:
    zones = [cell.tzinfo is not None for cell in cells]
    _all_or_none(np.array(zones), column, source)
    if not zones[0]:
        return Moments(_ns([pd.Timestamp(cell) for cell in cells], column, source))
    local = [pd.Timestamp(cell).tz_localize(None) for cell in cells]
    return _zoned(
        _ns(local, column, source), pd.DatetimeIndex(pd.to_datetime(cells, utc=True)), "several", column
    )


def _zoned(local: Array, utc: pd.DatetimeIndex, zone: str, column: str) -> Moments:
    day = 86_400_000_000_000
    if zone in {"UTC", "+00:00", "Z"}:
        return Moments(
            np.asarray(utc.tz_localize(None).as_unit("ns").asi8), notes=(f"times in '{column}' are UTC.",)
        )
    if len(local) and not (local % day).any():
        return Moments(
            local,
            notes=(f"times in '{column}' are midnights of zone {zone}: kept as days, the zone was dropped.",),
        )
    return Moments(
        np.asarray(utc.tz_localize(None).as_unit("ns").asi8),
        notes=(f"times in '{column}' were converted from zone {zone} to UTC.",),
    )


def _counted(cells: pd.Series, column: str, source: str, freq: str | None) -> Moments:
    """Numbers as times: years, yyyymm or yyyymmdd where that is plain, else a question."""
    numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    yearly = freq is not None and canonical(freq).startswith("Y")
    whole = bool((numbers == np.round(numbers)).all())
    plausible = whole and numbers.min() >= 1678 and numbers.max() <= 2261
    if plausible and (yearly or (freq is None and column.strip().lower() in _YEAR_NAMES)):
        years = pd.Series(numbers.astype(np.int64)).astype(str)
        stamps = pd.to_datetime(years, format="%Y")
        return Moments(_ns(stamps, column, source), freq=freq or "Y-DEC")
    if whole and numbers.min() > 17_000_101 and numbers.max() < 22_620_000:
        return _formatted(cells.astype(np.int64).astype(str), column, source, "%Y%m%d")
    raise DataError(
        f"{source}: column '{column}' holds numbers such as {cells.iloc[0]}, not times.",
        hint="Pass freq='int' (--freq int) if they count steps, 'Y' if they are years.",
    )


def _formatted(text: pd.Series, column: str, source: str, time_format: str) -> Moments:
    parsed = pd.to_datetime(text, format=time_format, errors="coerce", utc="%z" in time_format)
    if parsed.isna().any():
        at = int(np.argmax(parsed.isna()))
        raise DataError(
            f"{source}: column '{column}': '{text.iloc[at]}' in row {at + 1} is not written as "
            f"'{time_format}'.",
            hint="See the codes of Python's strptime: %d day, %m month, %Y year, %H hour, %M minute.",
        )
    if "%z" in time_format:
        return _dated(parsed, column, source)
    return Moments(_ns(parsed, column, source))


def _text(text: pd.Series, column: str, source: str, freq: str | None) -> Moments:
    zoned = np.array([bool(_ZONED.search(cell)) and ":" in cell for cell in text])
    _all_or_none(zoned, column, source)
    if zoned[0]:
        utc = _parsed(text, "ISO8601", utc=True)
        local = _parsed(text.str.replace(_ZONE, "", regex=True), "ISO8601")
        if utc is not None and local is not None:
            zone = _zone_name(text)
            return _zoned(_ns(local, column, source), pd.DatetimeIndex(utc), zone, column)
    if all(_QUARTER.match(cell) for cell in text):
        months = [f"{m[1]}-{3 * int(m[2]) - 2:02d}-01" for m in map(_QUARTER.match, text) if m]
        return Moments(_ns(pd.to_datetime(pd.Series(months)), column, source), freq="Q-DEC")
    if all(re.fullmatch(r"\d{1,7}|\d{9,}", cell) for cell in text) and not all(len(c) == 6 for c in text):
        return _counted(pd.to_numeric(text), column, source, freq)
    iso = None if all(re.fullmatch(r"\d+", cell) for cell in text) else _parsed(text, "ISO8601")
    if iso is not None:
        return Moments(_ns(iso, column, source))
    return _national(text, column, source)


def _national(text: pd.Series, column: str, source: str) -> Moments:
    for clock in _CLOCKS:
        fits = [order + clock for order in _TWO_ORDERS if _fits(text, order + clock)]
        if len(fits) > 1:
            raise DataError(
                f"{source}: column '{column}': dates such as '{text.iloc[0]}' may be day first or month "
                "first.",
                hint=f"Say which with --time-format '{fits[0]}' or '{fits[1]}'.",
            )
        fits += [f for f in _one_order(clock) if not fits and _fits(text, f)]
        if fits:
            parsed = _parsed(text, fits[0])
            assert parsed is not None
            return Moments(_ns(parsed, column, source))
    at, cell = _first_unreadable(text)
    raise DataError(
        f"{source}: column '{column}': '{cell}' in row {at + 1} cannot be read as a time.",
        hint="Write 2024-01-31 or 2024-01-31 13:00, or say how it is written with --time-format.",
    )


def _one_order(clock: str) -> list[str]:
    return [order + clock for order in _ONE_ORDER if not (clock and "%H" in order)]


def _fits(text: pd.Series, time_format: str) -> bool:
    # One cell settles most formats; only those that fit it are tried on the whole column.
    return _parsed(text.head(1), time_format) is not None and _parsed(text, time_format) is not None


def _parsed(text: pd.Series, time_format: str, *, utc: bool = False) -> pd.Series | None:
    try:
        return pd.to_datetime(text, format=time_format, utc=utc)
    except (ValueError, pd.errors.OutOfBoundsDatetime):
        return None


def _first_unreadable(text: pd.Series) -> tuple[int, str]:
    """The cell that keeps the format of most of the others from fitting."""
    formats = ["ISO8601"]
    for clock in _CLOCKS:
        formats += [*(order + clock for order in _TWO_ORDERS), *_one_order(clock)]
    wrong = [pd.to_datetime(text, format=f, errors="coerce").isna() for f in formats]
    fewest = min(wrong, key=lambda mask: int(mask.sum()))
    at = int(np.argmax(fewest))
    return at, str(text.iloc[at])


def _zone_name(text: pd.Series) -> str:
    zones = sorted({match[0].strip() for match in map(_ZONE.search, text) if match})
    if set(zones) <= {"Z", "UTC", "GMT", "+00:00", "+0000"}:
        return "UTC"
    return " and ".join(zones[:3])


def _all_or_none(zoned: Array, column: str, source: str) -> None:
    if zoned.any() and not zoned.all():
        raise DataError(
            f"{source}: column '{column}': {int(zoned.sum())} of {len(zoned)} times carry a time zone, the "
            "others none.",
            hint="Give all of them a zone, or none.",
        )
