"""Frequencies: one spelling for all of pandas' old and new ones, seasons, and time stamps of periods.

pandas has two sets of names. Offsets say where in a month a date lies (MS, ME), periods do not (M); and
before pandas 2.2 hours were H, minutes T, seconds S. Here it is the period's name in its new spelling:

    h D B W-SUN M Q-DEC Y-DEC min s ms us, with a multiple in front where there is one (15min, 2h, 3M)

and "int" for series counted by whole numbers, which are kept as periods of one nanosecond since 1970.
"""

import re

import numpy as np
import pandas as pd

from core.errors import ConfigError, DataError

__all__ = [
    "INTEGER",
    "canonical",
    "frequency_of",
    "multiple_of",
    "offset_alias",
    "period",
    "seasonality",
    "times",
]

INTEGER = "int"
_TICK = "ns"

# Base spellings, in lower case, by the period they mean. Where in the period a date lies (its start, its end,
# its last business day) makes no other period; `Table.stamp` remembers the place.
_SPELLINGS = {
    "ns": "ns n",
    "us": "us u",
    "ms": "ms l",
    "s": "s",
    "min": "min t",
    "h": "h",
    "D": "d",
    "B": "b",
    "W": "w",
    "M": "m me bm bme bms",
    "Q": "q qe qs bq bqe bqs",
    "Y": "y ye ys a ae as by bye bys ba bas",
}
_BASES = {word: base for base, words in _SPELLINGS.items() for word in words.split()}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_SHAPE = re.compile(r"^\s*(\d*)\s*([A-Za-z]+)(?:-([A-Za-z]{3}))?\s*$")
# Points per season of one unit, as GluonTS 0.17 has them (gluonts.time_feature.seasonality).
_SEASONS = {"s": 3600, "min": 1440, "h": 24, "D": 1, "B": 5, "W": 1, "M": 12, "Q": 4}


def canonical(freq: str) -> str:
    """Spell a frequency as this package does: "H" is "h", "15T" is "15min", "MS" and "ME" are "M".

    Quarters and years that start with a month are named by the month they end with, as periods are: "QS"
    (first month January) is "Q-DEC" and "YS-APR" is "Y-MAR".

    Raises:
        ConfigError: pandas has no period of that name; the message lists what there is.
    """
    if freq == INTEGER:
        return INTEGER
    match = _SHAPE.match(freq)
    if match is None:
        raise _not_a_frequency(freq)
    number, name, anchor = match.groups()
    multiple = int(number or 1)
    base = _base(name)
    if base is None or multiple < 1:
        raise _not_a_frequency(freq)
    if base == _TICK:
        raise ConfigError(
            f"the frequency '{freq}' is not supported: series by the nanosecond are kept as whole numbers.",
            hint="Write freq='int' and give the times as integers.",
        )
    suffix = _anchor(freq, base, name, anchor)
    return f"{multiple if multiple > 1 else ''}{base}{suffix}"


def _base(name: str) -> str | None:
    # "MS" is the start of a month and "ms" a millisecond: case tells them apart, and only there.
    if name == "MS":
        return "M"
    if name in {"m", "mS", "Ms"}:
        return None
    return _BASES.get(name.lower())


def _anchor(freq: str, base: str, name: str, anchor: str | None) -> str:
    if base not in {"W", "Q", "Y"}:
        if anchor is not None:
            raise _not_a_frequency(freq)
        return ""
    allowed = _DAYS if base == "W" else _MONTHS
    starts = base != "W" and name.upper().endswith("S") and len(name) > 1
    default = "SUN" if base == "W" else ("JAN" if starts else "DEC")
    word = (anchor or default).upper()
    if word not in allowed:
        raise _not_a_frequency(freq)
    if starts:
        word = _MONTHS[(_MONTHS.index(word) - 1) % 12]
    if base == "Q":
        # A quarter ends in any of four months; pandas names it by each of them, this package by the last.
        word = _MONTHS[9 + _MONTHS.index(word) % 3]
    return f"-{word}"


def _not_a_frequency(freq: str) -> ConfigError:
    return ConfigError(
        f"unknown frequency '{freq}' (known: ms, s, min, h, D, B, W, M, Q, Y, with a number in front as in "
        "15min, with a day or month after it as in W-WED or Q-NOV, and int).",
        hint="Business hours, custom calendars and half months have no grid of periods: resample first.",
    )


def frequency_of(start: pd.Period) -> str:
    """The frequency of a period, in the spelling of `canonical`."""
    name = str(start.freqstr)
    return INTEGER if name == _TICK else canonical(name)


def multiple_of(freq: str) -> int:
    """The number in front: 15 for "15min", 1 for "h" and "int"."""
    match = re.match(r"^\d*", canonical(freq))
    return int(match[0]) if match and match[0] else 1


def offset_alias(freq: str) -> str:
    """The name that pandas' offsets and GluonTS use for it: "ME" for "M", "QE-DEC", "YE-DEC"."""
    name = canonical(freq)
    return re.sub(r"^(\d*[MQY])(?=$|-)", r"\1E", name)


def period(moment: object, freq: str) -> pd.Period:
    """The period that holds a moment.

    Args:
        moment: what pandas reads as a time, or a whole number when `freq` is "int".
        freq: any spelling that `canonical` knows.

    Raises:
        DataError: the moment cannot be read.
    """
    name = canonical(freq)
    try:
        if name == INTEGER:
            return pd.Period(ordinal=int(moment), freq=_TICK)  # type: ignore[call-overload]
        return pd.Period(moment, freq=name)
    except (ValueError, TypeError, OverflowError) as err:
        kind = "a whole number" if name == INTEGER else "a date"
        raise DataError(
            f"'{moment}' cannot be read as {kind}.", hint="Write dates as 2024-01-31 or 2024-01-31 13:00."
        ) from err


def times(start: pd.Period, n: int, stamp: str = "start") -> pd.Index:
    """Time stamps of `n` periods from `start` on.

    Args:
        start: the first period.
        n: how many.
        stamp: as in `data.Table`.

    Returns:
        A DatetimeIndex, or whole numbers (int64) for series of frequency "int".
    """
    if start.freqstr == _TICK:
        return pd.Index(start.ordinal + np.arange(n, dtype=np.int64))
    index = pd.PeriodIndex.from_ordinals(start.ordinal + start.freq.n * np.arange(n), freq=start.freq)
    if stamp == "start":
        return index.to_timestamp(how="start")
    if stamp == "end":
        return index.to_timestamp(how="end").normalize()
    return index.to_timestamp(how="start") + pd.Timedelta(stamp)


def seasonality(freq: str) -> int:
    """Points per season as GluonTS counts them.

    An hour of seconds, a day of minutes or hours, one day, 5 business days, one week, 12 months, 4 quarters,
    one year. A multiple divides the season, and it is 1 where it does not divide evenly.

    Daily data have a season of 1: a seasonal naive forecast is the last value unless the caller says 7.

    Source: `gluonts.time_feature.get_seasonality`, GluonTS 0.17.
    """
    name = canonical(freq)
    match = re.match(r"^(\d*)([A-Za-z]+)", name)
    assert match is not None
    multiple = int(match[1] or 1)
    season, rest = divmod(_SEASONS.get(match[2], 1), multiple)
    return season if not rest and season else 1
