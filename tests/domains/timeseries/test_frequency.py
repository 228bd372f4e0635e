"""Frequencies: every spelling of pandas, seasons as GluonTS counts them, and time stamps of periods."""

import logging
import warnings

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.frequency import (
    canonical,
    frequency_of,
    multiple_of,
    offset_alias,
    period,
    seasonality,
    times,
)

# Old and new spellings, and what a period of that frequency is called.
SPELLINGS = {
    "h": ["h", "H", "1h", "1H"],
    "D": ["D", "d", "1D"],
    "B": ["B", "1B"],
    "W-SUN": ["W", "W-SUN"],
    "W-WED": ["W-WED"],
    "M": ["M", "ME", "MS", "BM", "BME", "BMS"],
    "Q-DEC": ["Q", "QE", "QS", "Q-DEC", "QE-DEC", "QS-JAN", "QS-OCT", "Q-MAR"],
    "Q-NOV": ["Q-NOV", "QE-FEB", "QS-DEC"],
    "Y-DEC": ["Y", "YE", "YS", "A", "AS", "A-DEC", "YE-DEC", "YS-JAN"],
    "Y-MAR": ["Y-MAR", "YS-APR", "A-MAR"],
    "min": ["min", "T", "1min"],
    "s": ["s", "S"],
    "ms": ["ms", "L"],
    "us": ["us", "U"],
    "5min": ["5min", "5T"],
    "2h": ["2h", "2H"],
    "3M": ["3M", "3ME", "3MS"],
    "int": ["int"],
}


@pytest.mark.parametrize(("name", "spellings"), SPELLINGS.items())
def test_every_spelling_has_one_canonical_name(name: str, spellings: list[str]) -> None:
    assert {canonical(spelling) for spelling in spellings} == {name}


@pytest.mark.parametrize("name", [name for name in SPELLINGS if name != "int"])
def test_the_canonical_name_is_the_period_that_pandas_makes(name: str) -> None:
    moment = pd.Timestamp("2021-03-03 05:06:07")
    assert period(moment, name) == pd.Period(moment, freq=name)
    assert frequency_of(pd.Period(moment, freq=name)) == name


@pytest.mark.parametrize("name", [name for name in SPELLINGS if name != "int"])
def test_the_offset_alias_is_known_to_pandas_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offset = pd.tseries.frequencies.to_offset(offset_alias(name))
    assert offset.n == multiple_of(name)
    assert canonical(offset.freqstr) == name


@pytest.mark.parametrize(
    "freq", ["h", "D", "B", "W", "M", "Q", "Y", "min", "s", "15min", "2h", "7h", "3M", "30s"]
)
def test_seasons_are_those_of_gluonts(freq: str) -> None:
    from gluonts.time_feature import get_seasonality

    logging.getLogger("gluonts").setLevel(logging.ERROR)
    assert seasonality(freq) == get_seasonality(offset_alias(freq))


@pytest.mark.parametrize("freq", ["m", "0.5h", "C", "bh", "SME", "W-FOO", "h-MON", "", "hourly", "0h"])
def test_what_has_no_period_is_refused_with_the_list(freq: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown frequency .*known: ms, s, min, h, D, B"):
        canonical(freq)


def test_nanoseconds_are_refused_since_whole_numbers_take_their_place() -> None:
    with pytest.raises(ConfigError, match="nanosecond"):
        canonical("ns")


@pytest.mark.parametrize("freq", [name for name in SPELLINGS if name != "int"])
def test_time_stamps_lie_inside_their_periods_and_lead_back_to_them(freq: str) -> None:
    start = period("2021-03-01", freq)
    for stamp in ("start", "end"):
        if stamp == "end" and freq not in {
            "D",
            "B",
            "M",
            "3M",
            "W-SUN",
            "W-WED",
            "Q-DEC",
            "Q-NOV",
            "Y-DEC",
            "Y-MAR",
        }:
            continue
        index = times(start, 30, stamp)
        base = freq.lstrip("0123456789")
        back = pd.DatetimeIndex(index).to_period(base).asi8
        step = multiple_of(freq)
        offset = step - 1 if stamp == "end" else 0
        assert (back == start.ordinal + step * np.arange(30) + offset).all()


def test_a_month_may_be_stamped_by_its_last_day_or_its_middle() -> None:
    start = period("2024-01", "M")
    assert list(times(start, 2, "end")) == [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-29")]
    assert list(times(start, 2, "14 days")) == [pd.Timestamp("2024-01-15"), pd.Timestamp("2024-02-15")]


def test_whole_numbers_count_steps() -> None:
    start = period(-3, "int")
    assert frequency_of(start) == "int"
    assert list(times(start, 4)) == [-3, -2, -1, 0]
    assert period(7, "int") == start + 10


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(DataError, match="'soon' cannot be read as a date"):
        period("soon", "D")
    with pytest.raises(DataError, match="'x' cannot be read as a whole number"):
        period("x", "int")


@pytest.mark.parametrize("freq", ["B", "2B"])
def test_business_days_step_without_a_warning(freq: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r"(Period with BDay freq|PeriodDtype\[B\]) is deprecated")
        friday = period("2024-01-05", freq)
        assert str((friday + 1).start_time.date()) == ("2024-01-08" if freq == "B" else "2024-01-09")
