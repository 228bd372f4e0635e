"""Reading tables: what a stranger's file holds arrives on its grid, and nothing moves on the way."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.timeseries.data import Series, Table, split
from domains.timeseries.formats import read_table
from domains.timeseries.frequency import period, times

NAN = float("nan")


def write(tmp_path: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    return path


def same(one: Table, other: Table) -> None:
    assert one.freq == other.freq
    assert [item.item_id for item in one] == [item.item_id for item in other]
    for a, b in zip(one, other, strict=True):
        assert a.start == b.start
        assert np.array_equal(a.target, b.target, equal_nan=True)


FREQS = [
    "h",
    "D",
    "B",
    "W-WED",
    "M",
    "Q-DEC",
    "Q-NOV",
    "Y-DEC",
    "Y-MAR",
    "15min",
    "2h",
    "s",
    "3D",
    "4M",
    "ms",
]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FREQS), st.sampled_from(["start", "end"]), st.integers(0, 2**32 - 1))
def test_gaps_and_disorder_move_nothing(freq: str, stamp: str, seed: int) -> None:
    gen = np.random.default_rng(seed)
    base = freq.lstrip("0123456789").split("-")[0]
    # Weeks are named by the day they are stamped with, the last; what lasts a day or less has one stamp.
    stamp = "end" if base == "W" else stamp if freq in {"M", "Q-DEC", "Q-NOV", "Y-DEC", "Y-MAR"} else "start"
    n = 60
    start = period(f"20{gen.integers(10, 40)}-{gen.integers(1, 13):02d}-{gen.integers(1, 28):02d}", freq)
    index = times(start, n, stamp)
    kept = np.sort(gen.choice(n, 50, replace=False))
    kept[0], kept[-1] = 0, n - 1
    kept = np.unique(kept)
    values = gen.normal(size=n)
    order = gen.permutation(len(kept))
    frame = pd.DataFrame({"ds": index[kept][order], "y": values[kept][order]})
    frame.insert(0, "unique_id", "a")
    table = read_table(frame)
    expected = np.full(n, NAN)
    expected[kept] = values[kept]
    assert table.freq == freq
    assert table.series[0].start == start
    assert np.array_equal(table.series[0].target, expected, equal_nan=True)
    # What is written again has the stamps that were read.
    assert (times(start, n, table.stamp) == index).all()
    assert any(f"{n - len(kept)} missing times" in note for note in table.notes) == (n - len(kept) > 1)


def test_a_long_table_with_the_names_of_nixtla_or_gluonts_needs_no_options(tmp_path: Path) -> None:
    body = "a,2024-01-01,1\na,2024-01-02,\nb,2024-01-02,3\na,2024-01-03,2\nb,2024-01-03,4\nb,2024-01-04,5\n"
    one = read_table(write(tmp_path, "unique_id,ds,y\n" + body))
    other = read_table(write(tmp_path, "item_id,timestamp,target\n" + body, "b.csv"))
    same(one, other)
    assert one.series[0].target.tolist() == pytest.approx([1, NAN, 2], nan_ok=True)
    assert one.series[1].target.tolist() == [3, 4, 5]
    assert one.series[1].start == pd.Period("2024-01-02", freq="D")
    assert one.notes == ("1 empty cell in column 'y' read as missing.",)


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path, "what,when,how,much\na,2024-01-01,x,1\na,2024-01-02,y,2\na,2024-01-03,z,3\n")
    table = read_table(path, id_col="what", time_col="when", target_col="much")
    assert table.series[0].target.tolist() == [1, 2, 3]
    assert table.notes == ("columns not read: how.",)


def test_a_wide_table_has_one_column_a_series(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "date;north;south\n2024-01;1,5;2\n2024-02;;3\n2024-03;2,5;4\n"))
    assert table.freq == "M"
    assert [item.item_id for item in table] == ["north", "south"]
    assert table.series[0].target.tolist() == pytest.approx([1.5, NAN, 2.5], nan_ok=True)


def test_dates_in_the_header_mean_one_row_a_series(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "page,2024-01-01,2024-01-02,2024-01-03\nx,1,2,3\ny,4,,6\n"))
    assert [item.item_id for item in table] == ["x", "y"]
    assert table.series[1].target.tolist() == pytest.approx([4, NAN, 6], nan_ok=True)


def test_several_columns_may_tell_series_apart(tmp_path: Path) -> None:
    lines = [f"2024-01-0{d},{s},{i},{10 * s + i}" for s in (1, 2) for i in (1, 2) for d in (1, 2, 3)]
    path = write(tmp_path, "date,store,item,sales\n" + "\n".join(lines))
    for options in ({}, {"id_col": "store,item"}):
        table = read_table(path, **options)
        assert [item.item_id for item in table] == ["1/1", "1/2", "2/1", "2/2"]
        assert table.notes == ("series told apart by columns 'store', 'item'.",)


def test_one_column_of_text_beside_one_of_numbers_holds_the_ids(tmp_path: Path) -> None:
    body = "2024-01-01,Bonn,1\n2024-01-02,Bonn,2\n2024-01-03,Bonn,3\n2024-01-01,Ulm,4\n2024-01-02,Ulm,5\n"
    table = read_table(write(tmp_path, "date,city,sales\n" + body))
    assert [(item.item_id, len(item)) for item in table] == [("Bonn", 3), ("Ulm", 2)]
    assert table.notes == ("series told apart by column 'city'.",)


# Text cells, and the number each is; the column's other cells decide on the decimal mark.
NUMBERS = [
    (["1.5", "2", " 3 "], [1.5, 2, 3]),
    (["1,5", "2", "-3,25"], [1.5, 2, -3.25]),
    (["1.234,5", "2,0", "3"], [1234.5, 2, 3]),
    (["1,234.5", "2.0", "3"], [1234.5, 2, 3]),
    (["1'234,5", "1 234,5", "3"], [1234.5, 1234.5, 3]),
    (["1e-3", "2E2", ".5"], [0.001, 200, 0.5]),
    (["1,5e3", "2,0", "3"], [1500, 2, 3]),
    (["", "NaN", "3"], [NAN, NAN, 3]),
    (["n/a", "-", "3", "?"], [NAN, NAN, 3, NAN]),
    (["1", "2", "closed", "4"], [1, 2, NAN, 4]),
    (["0.1", "0.30000000000000004", "123456789.123456789"], [0.1, 0.1 + 0.2, 123456789.123456789]),
]


@pytest.mark.parametrize(("cells", "numbers"), NUMBERS)
def test_cells_are_read_as_the_numbers_they_are(cells: list[str], numbers: list[float]) -> None:
    days = pd.date_range("2024-01-01", periods=len(cells)).strftime("%Y-%m-%d")
    table = read_table(pd.DataFrame({"date": days, "y": cells}))
    assert np.array_equal(table.series[0].target, np.array(numbers), equal_nan=True)


def test_a_doubtful_mark_is_settled_by_the_caller() -> None:
    frame = pd.DataFrame({"date": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": ["1,234", "2", "3"]})
    assert read_table(frame, decimal=",").series[0].target[0] == 1.234
    assert read_table(frame, decimal=".").series[0].target[0] == 1234


# Three times as text, the frequency they mean and the first period.
TIMES = [
    (["2024-01-31", "2024-02-29", "2024-03-31"], "M", "2024-01"),
    (["2024-01-01", "2024-02-01", "2024-03-01"], "M", "2024-01"),
    (["01.02.2024", "02.02.2024", "03.02.2024"], "D", "2024-02-01"),
    (["13/02/2024", "14/02/2024", "15/02/2024"], "D", "2024-02-13"),
    (["02/13/2024", "02/14/2024", "02/15/2024"], "D", "2024-02-13"),
    (["13/02/2024 10:00", "13/02/2024 11:00", "13/02/2024 12:00"], "h", "2024-02-13 10:00"),
    (["2024Q1", "2024Q2", "2024Q3"], "Q-DEC", "2024Q1"),
    (["2024-Q4", "2025-Q1", "2025-Q2"], "Q-DEC", "2024Q4"),
    (["2024-03-31", "2024-06-30", "2024-09-30"], "Q-DEC", "2024Q1"),
    (["2024-02-29", "2024-05-31", "2024-08-31"], "Q-NOV", "2024Q1"),
    (["20240101", "20240102", "20240103"], "D", "2024-01-01"),
    (["202401", "202402", "202403"], "M", "2024-01"),
    (["Jan 2024", "Feb 2024", "Mar 2024"], "M", "2024-01"),
    (["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z"], "h", "2024-01-01 00:00"),
    (["2024-01-01 00:00:00.0", "2024-01-01 00:00:00.2", "2024-01-01 00:00:00.4"], "200ms", "2024-01-01"),
    (["2024-01-03", "2024-01-10", "2024-01-17"], "W-WED", "2024-01-03"),
    (["2024-01-05", "2024-01-08", "2024-01-09"], "B", "2024-01-05"),
    (["2020", "2021", "2022"], "Y-DEC", "2020"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "freq", "first"), TIMES, ids=[cells[0] for cells, _, _ in TIMES])
def test_times_are_read_as_the_periods_they_mean(cells: list[str], freq: str, first: str) -> None:
    table = read_table(pd.DataFrame({"year": cells, "y": [1.0, 2.0, 3.0]}))
    assert table.freq == freq
    assert table.series[0].start == pd.Period(first, freq=freq)
    assert table.series[0].target.tolist() == [1, 2, 3]


def test_times_of_a_zone_become_utc_with_a_note() -> None:
    index = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")  # the clock goes forward
    frame = pd.DataFrame({"y": np.arange(72.0)}, index=index)
    text = pd.DataFrame({"t": [moment.isoformat() for moment in index], "y": np.arange(72.0)})
    for table in (read_table(frame), read_table(text)):
        assert table.series[0].start == pd.Period("2024-03-29 23:00", freq="h")
        assert table.series[0].target.tolist() == list(range(72))
        assert "to UTC" in table.notes[0]


def test_days_of_a_zone_stay_the_days_they_are() -> None:
    index = pd.date_range("2024-03-28", periods=6, freq="D", tz="Europe/Berlin")
    table = read_table(pd.DataFrame({"y": np.arange(6.0)}, index=index))
    assert (table.freq, str(table.series[0].start)) == ("D", "2024-03-28")
    assert "kept as days" in table.notes[0]


def test_whole_numbers_count_steps_when_asked() -> None:
    table = read_table(pd.DataFrame({"step": [7, 8, 10], "y": [1.0, 2.0, 3.0]}), freq="int", time_col="step")
    assert table.freq == "int"
    assert list(times(table.series[0].start, 4)) == [7, 8, 9, 10]
    assert table.series[0].target.tolist() == pytest.approx([1, 2, NAN, 3], nan_ok=True)


def test_half_past_stays_half_past() -> None:
    index = pd.date_range("2024-01-01 00:30", periods=5, freq="h")
    table = read_table(pd.DataFrame({"y": np.arange(5.0)}, index=index))
    assert list(times(table.series[0].start, 5, table.stamp)) == list(index)


def test_times_that_stray_are_kept_in_their_period_with_a_note() -> None:
    stray = pd.date_range("2024-01-01", periods=40, freq="15min") + pd.to_timedelta(
        np.arange(40) % 7, unit="s"
    )
    table = read_table(pd.DataFrame({"t": stray, "y": np.arange(40.0)}), freq="15min")
    assert table.series[0].target.tolist() == list(range(40))
    assert "34 of 40 times lie inside their period of '15min', by up to 0 days 00:00:06" in table.notes[0]


@pytest.mark.parametrize("freq", ["H", "h", "1h"])
def test_a_frequency_is_taken_in_any_spelling(freq: str) -> None:
    index = pd.date_range("2024-01-01", periods=2, freq="h")
    assert read_table(pd.DataFrame({"y": [1.0, 2.0]}, index=index), freq=freq).freq == "h"


def test_indexes_of_pandas_are_columns_too() -> None:
    days = pd.date_range("2024-01-01", periods=3)
    by_period = pd.Series([1.0, 2, 3], index=pd.period_range("2024-01", periods=3, freq="M"), name="a")
    assert read_table(by_period).freq == "M"
    pairs = pd.MultiIndex.from_product([["a", "b"], days], names=["item_id", "timestamp"])
    table = read_table(pd.DataFrame({"target": range(6)}, index=pairs))
    assert [item.target.tolist() for item in table] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "encoding", "separator"),
    [
        ("a.csv", "utf-8-sig", ","),
        ("a.csv", "utf-16", ";"),
        ("a.tsv", "utf-8", "\t"),
        ("a.txt", "cp1252", "|"),
    ],
)
def test_text_is_read_in_any_encoding_and_separator(
    name: str, encoding: str, separator: str, tmp_path: Path
) -> None:
    rows = [["Zeit", "Köln"], ["2024-01-01", "1"], ["2024-01-02", "2"], ["2024-01-03", "3"]]
    path = write(tmp_path, "\n".join(separator.join(row) for row in rows), name, encoding)
    assert read_table(path).series[0].item_id == "Köln"


def test_a_comment_above_the_header_and_packing_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(
        gzip.compress(b"# a comment, with commas\n\ndate,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n")
    )
    table = read_table(path)
    assert table.name == "a"
    assert table.notes == ("2 lines before the header skipped.",)


def test_the_built_in_tables_are_what_they_say() -> None:
    found = {name: read_table(name) for name in ("co2", "elnino", "macrodata", "simulated", "sunspots")}
    assert {name: (len(t), t.longest, t.freq) for name, t in found.items()} == {
        "co2": (1, 2284, "W-SAT"),
        "elnino": (1, 732, "M"),
        "macrodata": (12, 203, "Q-DEC"),
        "simulated": (32, 960, "h"),
        "sunspots": (1, 309, "Y-DEC"),
    }
    assert np.isnan(found["co2"].series[0].target).sum() == 59
    assert found["elnino"].series[0].target[0] == pytest.approx(23.11)
    assert str(found["elnino"].series[0].start) == "1950-01"
    assert found["sunspots"].series[0].target[-1] == pytest.approx(2.9)
    for table in found.values():
        assert split(table)[1]


def test_real_folders_state_their_windows(real_data) -> None:
    table = read_table(real_data("timeseries/wiki_two_daily"))
    assert (table.name, table.freq, table.seasonality, table.season) == ("wiki_two_daily", "D", 7, 7)
    assert (table.prediction_length, table.context_length, table.rolling_windows) == (30, 360, 5)
    assert [len(item) for item in table] == [2964, 2922]
    assert table.series[0].category == (0,)


def test_a_table_passes_through() -> None:
    table = Table((Series("a", pd.Period("2024", freq="Y"), np.zeros(3)),), "Y-DEC")
    assert read_table(table) is table
