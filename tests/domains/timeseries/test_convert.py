"""Conversion: every layout comes back as it was, or says what it does not keep."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.convert import convert_file, describe, info_file
from domains.timeseries.data import Series, Table
from domains.timeseries.formats import Reading, read_table, write_table
from domains.timeseries.frequency import period

NAN = float("nan")


def table(freq: str, stamp: str = "start", *, aligned: bool = True) -> Table:
    gen = np.random.default_rng(0)
    start = period(3 if freq == "int" else "2024-01-03", freq)
    series = []
    for i in range(3):
        values = gen.normal(size=30) * 10.0 ** (3 * i)
        values[[4, 5, 11]] = NAN
        series.append(Series(f"s{i}", start if aligned else start + i, values))
    return Table(tuple(series), freq, name="t", stamp=stamp)


def same(one: Table, other: Table) -> None:
    assert (one.freq, one.stamp) == (other.freq, other.stamp)
    for a, b in zip(one, other, strict=True):
        assert (a.item_id, a.start) == (b.item_id, b.start)
        assert np.array_equal(a.target, b.target, equal_nan=True)


CASES = [
    ("h", "start"),
    ("h", "0 days 00:30:00"),
    ("D", "start"),
    ("B", "start"),
    ("W-WED", "end"),
    ("M", "start"),
    ("M", "end"),
    ("Q-DEC", "end"),
    ("Y-DEC", "start"),
    ("15min", "start"),
    ("int", "start"),
]


@pytest.mark.parametrize(("freq", "stamp"), CASES)
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("t.csv", "long"),
        ("t.csv.gz", "nixtla"),
        ("t.tsv", "wide"),
        ("t.parquet", "long"),
        ("t.parquet", "wide"),
    ],
)
def test_frames_come_back_to_the_last_digit(
    freq: str, stamp: str, name: str, layout: str, tmp_path: Path
) -> None:
    write_table(table(freq, stamp), tmp_path / name, layout=layout)
    same(read_table(tmp_path / name, freq="int" if freq == "int" else None), table(freq, stamp))


@pytest.mark.parametrize(("freq", "stamp"), CASES)
def test_folders_keep_everything(freq: str, stamp: str, tmp_path: Path) -> None:
    from dataclasses import replace

    full = replace(
        table(freq, stamp), prediction_length=5, context_length=9, rolling_windows=2, seasonality=3
    )
    write_table(full, tmp_path / "folder")
    read = read_table(tmp_path / "folder")
    same(read, full)
    for key in ("name", "prediction_length", "context_length", "rolling_windows", "seasonality"):
        assert getattr(read, key) == getattr(full, key)


def test_series_of_different_spans_share_a_wide_axis_with_a_note(tmp_path: Path) -> None:
    notes = write_table(table("D", aligned=False), tmp_path / "w.csv", layout="wide")
    assert "cells before and after a series are empty" in notes[0]
    read = read_table(tmp_path / "w.csv")
    assert {len(item) for item in read} == {32}
    assert np.array_equal(read.series[2].target[2:], table("D").series[2].target, equal_nan=True)


def test_categories_are_named_when_a_frame_loses_them(tmp_path: Path) -> None:
    one = Table((Series("a", period("2024", "Y"), np.arange(4.0), (3,)),), "Y-DEC")
    assert "static categories are not kept" in write_table(one, tmp_path / "a.csv")[0]
    assert write_table(one, tmp_path / "a.jsonl") == ()
    assert read_table(tmp_path / "a.jsonl").series[0].category == (3,)


def test_a_strangers_file_is_converted_with_its_notes(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("Tag;Wert\n03.01.2024;1,5\n01.01.2024;2,5\n04.01.2024;k.A.\n", "cp1252")
    said = []
    report = convert_file(
        tmp_path / "in.csv", tmp_path / "out.csv", ready=lambda outlook: said.extend(outlook.plan)
    )
    assert (report["layout"], report["freq"], report["missing"]) == ("long", "D", 2)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "item_id,timestamp,target",
        "Wert,2024-01-01,2.5",
        "Wert,2024-01-02,",
        "Wert,2024-01-03,1.5",
        "Wert,2024-01-04,",
    ]
    assert len(report["notes"]) == 4
    assert [f"note: {note}" for note in report["notes"]] == said[2:]


def test_a_description_counts_what_is_there() -> None:
    facts = describe(table("M", "end"))
    assert (facts["series"], facts["points"], facts["missing"], facts["season"]) == (3, 90, 9, 12)
    assert (facts["first_time"], facts["last_time"]) == ("2024-01-31", "2026-06-30")
    assert facts["negative"] > 0


def test_info_shows_the_first_series(tmp_path: Path) -> None:
    write_table(table("h"), tmp_path / "t.csv")
    report = info_file(tmp_path / "t.csv", reading=Reading(id_col="item_id"))
    assert [row["item_id"] for row in report["first_series"]] == ["s0", "s1", "s2"]
    assert report["first_series"][0]["missing"] == 3


def test_an_output_that_cannot_be_is_refused_before_the_input_is_read(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("not a table")
    with pytest.raises(ConfigError, match=r"unknown output type '.xls'"):
        convert_file(source, tmp_path / "out.xls")
    with pytest.raises(
        ConfigError, match=r"'.csv' cannot hold the layout 'entries' \(it holds long, nixtla, wide\)"
    ):
        convert_file(source, tmp_path / "out.csv", layout="entries")
    with pytest.raises(ConfigError, match="unknown layout 'wid'"):
        convert_file(source, tmp_path / "out.csv", layout="wid")
    with pytest.raises(ConfigError, match="is the input"):
        convert_file(source, source, overwrite=True)
    (tmp_path / "there.csv").write_text("x")
    with pytest.raises(ConfigError, match="exists"):
        convert_file(source, tmp_path / "there.csv")
    with pytest.raises(DataError, match="no separator"):
        convert_file(source, tmp_path / "out.csv")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", "there.csv"]


def test_a_long_frame_keeps_times_as_times(tmp_path: Path) -> None:
    write_table(table("15min"), tmp_path / "t.parquet")
    assert pd.api.types.is_datetime64_any_dtype(pd.read_parquet(tmp_path / "t.parquet")["timestamp"])
