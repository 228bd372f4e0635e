"""Every bad input gets one line that names the file, the column or series, and a hint what to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError, SuffuseError
from domains.timeseries.formats import read_forecasts, read_table

DAYS = "2024-01-01,{}\n2024-01-02,{}\n2024-01-03,{}\n"

# Text of a CSV file, options, the message (a pattern), a part of the hint.
FILES = {
    "missing column": (
        "date,y\n" + DAYS.format(1, 2, 3),
        {"target_col": "z"},
        r"no column 'z'; the columns are 'date', 'y'",
        "--target-col",
    ),
    "misspelt column": (
        "date,sales\n" + DAYS.format(1, 2, 3),
        {"target_col": "sale"},
        r"no column 'sale'",
        "Did you mean 'sales'",
    ),
    "misspelt id": ("a,date,y\nx,2024-01-01,1\n", {"id_col": "b"}, r"no column 'b'", "--id-col"),
    "no times": ("a,b\n1,2\n3,4\n5,6\n", {}, r"no column of times among 'a', 'b'", "--time-col"),
    "bad date": (
        "date,y\n2024-01-01,1\n2024-01-32,2\n2024-02-02,3\n",
        {},
        r"column 'date': '2024-01-32' in row 2 cannot be read as a time",
        "--time-format",
    ),
    "bad date in another format": (
        "date,y\n01.01.2024,1\n02.01.2024,2\nsoon,3\n",
        {},
        r"'soon' in row 3",
        "--time-format",
    ),
    "another format than said": (
        "date,y\n" + DAYS.format(1, 2, 3),
        {"time_format": "%d.%m.%Y"},
        r"'2024-01-01' in row 1 is not written as '%d.%m.%Y'",
        "strptime",
    ),
    "no date": (
        "date,y\n2024-01-01,1\n,2\n2024-01-03,3\n",
        {},
        r"column 'date': 1 of 3 cells have no time, the first in row 2",
        "Remove those rows",
    ),
    "day or month": (
        "date,y\n01/02/2024,1\n01/03/2024,2\n01/04/2024,3\n",
        {},
        r"'01/02/2024' may be day first or month first",
        "%d/%m/%Y",
    ),
    "same time twice": (
        "date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n",
        {},
        r"series 'y' has the time 2024-01-02 00:00:00 more than once",
        "one row per series and time",
    ),
    "same time twice, by id": (
        "id,date,y\na,2024-01-01,1\nb,2024-01-01,2\nb,2024-01-01,3\n",
        {"freq": "D"},
        r"series 'b' has the time 2024-01-01",
        "one row",
    ),
    "ids not told": (
        "date,n,m,y\n2024-01-01,1,1,1\n2024-01-01,2,1,1\n",
        {},
        r"times repeat, and no column is known to hold the ids",
        "--id-col",
    ),
    "no id": (
        "id,date,y\na,2024-01-01,1\n,2024-01-02,2\n",
        {},
        r"column 'id': 1 of 2 rows have no id, the first in row 2",
        "Fill in",
    ),
    "mixed frequencies": (
        "id,ds,y\n" + "".join(f"a,2024-01-0{d},1\nb,2024-01-01 0{d}:00,1\n" for d in (1, 2, 3)),
        {},
        r"mixed frequencies: 'a' is D, 'b' is h",
        "--freq",
    ),
    "no grid": (
        "ds,y\n" + "".join(f"2024-01-01 {clock},1\n" for clock in ("00:00", "01:00", "02:00", "02:10")),
        {},
        r"series 'y' are on no grid: most steps are 01:00:00, others 00:10:00",
        "Resample",
    ),
    "too few to infer": (
        "ds,y\n2024-01-01,1\n2024-01-02,2\n",
        {},
        r"the frequency cannot be told from series of fewer than 3 points",
        "--freq",
    ),
    "unknown frequency": (
        "ds,y\n" + DAYS.format(1, 2, 3),
        {"freq": "fortnight"},
        r"unknown frequency 'fortnight'",
        "resample",
    ),
    "too fine a frequency": (
        "ds,y\n" + DAYS.format(1, 2, 3),
        {"freq": "h"},
        r"the times step by 24 or more periods of 'h', never by one",
        "--freq",
    ),
    "too coarse a frequency": (
        "ds,y\n" + DAYS.format(1, 2, 3),
        {"freq": "M"},
        r"series 'y' has several times in one period of 'M', the first 2024-01-01",
        "aggregate",
    ),
    "weekends on business days": (
        "ds,y\n2024-01-05,1\n2024-01-06,2\n2024-01-08,3\n",
        {"freq": "B"},
        r"1 times lie on weekends, the first 2024-01-06",
        "--freq D",
    ),
    "a date far away": (
        "ds,y\n2024-01-01,1\n2024-01-02,2\n2224-01-03,3\n",
        {"freq": "D"},
        r"series 'y' has 3 values over 73051 periods of 'D'",
        "wrong date",
    ),
    "infinite": (
        "ds,y\n" + DAYS.format(1, "inf", 3),
        {},
        r"1 infinite value, the first in series 'y'",
        "empty",
    ),
    "all missing": (
        "ds,y,z\n2024-01-01,1,\n2024-01-02,2,\n2024-01-03,3,\n",
        {},
        r"series 'z' has no value at all",
        "Remove",
    ),
    "text as values": (
        "ds,id,y\n2024-01-01,a,low\n2024-01-02,a,high\n2024-01-03,a,3\n",
        {"target_col": "y"},
        r"column 'y' is not numeric: 2 of 3 cells",
        "--target-col",
    ),
    "doubtful mark": (
        "ds,y\n" + DAYS.format('"1,234"', 2, 3),
        {},
        r"column 'y': cells such as '1,234' may have a decimal comma",
        "--decimal",
    ),
    "no such mark": (
        "ds,y\n" + DAYS.format(1, 2, 3),
        {"decimal": ";"},
        r"the decimal mark is '.' or ','",
        "one of the two",
    ),
    "values not told": (
        "id,ds,p,q\na,2024-01-01,1,2\na,2024-01-02,1,2\n",
        {},
        r"the column of values cannot be told from 'p', 'q'",
        "--target-col",
    ),
    "only times": (
        "ds,id\n2024-01-01,a\n2024-01-02,a\n",
        {},
        r"there is no column of values",
        "--target-col",
    ),
    "text beside numbers": (
        "ds,y1,note\n2024-01-01,1,ok\n2024-01-02,2,fine\n2024-01-03,3,bad\n",
        {},
        r"column 'note' holds no numbers; beside it are 'y1'",
        "--target-col",
    ),
    "some zones": (
        "ds,y\n2024-01-01T00:00Z,1\n2024-01-01T01:00,2\n2024-01-01T02:00Z,3\n",
        {},
        r"2 of 3 times carry a time zone, the others none",
        "or none",
    ),
    "numbers for times": (
        "t,y\n17,1\n18,2\n19,3\n",
        {},
        r"column 't' holds numbers such as 17, not times",
        "freq='int'",
    ),
    "fractions for steps": (
        "t,y\n1,1\n2.5,2\n3,3\n",
        {"freq": "int"},
        r"'2.5' in row 2 is no whole number",
        "count steps",
    ),
    "steps of five": (
        "t,y\n0,1\n5,2\n10,3\n",
        {"freq": "int"},
        r"the times step by 5 or more periods of 'int'",
        "Divide the times by 5",
    ),
    "clock put back, two columns": (
        "ds,y,z\n" + DAYS.format("1,1", "2,2", "3,3") + "2024-01-03,4,4\n",
        {},
        r"series 'y' has the time 2024-01-03 00:00:00 more than once",
        "clock",
    ),
    "empty": ("", {}, r"the file is empty", "header"),
    "header only": ("ds,y\n", {}, r"there are no rows", "at least one series"),
    "one column": ("y\n1\n2\n", {}, r"no separator found", "column of times"),
    "ragged": (
        "ds,y\n2024-01-01,1\n2024-01-02,2,3\n2024-01-03,3\n",
        {},
        r"Expected 2 fields in line 3, saw 3",
        "quotes",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_table_is_refused_in_one_line_with_what_to_do(name: str, tmp_path: Path) -> None:
    text, options, message, hint = FILES[name]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(SuffuseError, match=message) as caught:
        read_table(path, **options)
    assert "\n" not in str(caught.value)
    assert hint in (caught.value.hint or "")
    if isinstance(caught.value, DataError):
        assert "bad.csv" in str(caught.value)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([["2024-01-01", 1, 2], ["2024-01-02", 1, 2]], columns=["ds", "y", "y"])
    with pytest.raises(DataError, match="two columns are named 'y'"):
        read_table(frame)


ENTRIES = [
    ('{"start": "2024-01-01"}', {"freq": "D"}, r"series '0' has no 'target'"),
    ('{"target": [1, 2]}', {"freq": "D"}, r"series '0' has no 'start'"),
    ('{"start": "2024-01-01", "target": [1, 2]}', {}, r"the frequency is not known"),
    ('{"start": "soon", "target": [1, 2]}', {"freq": "D"}, r"'soon' in row 1 cannot be read as a time"),
    (
        '{"start": "2024-01-01", "target": ["x", 2]}',
        {"freq": "D"},
        r"the target has values that are no numbers",
    ),
    ('{"start": "2024-01-01", "target": [[1], [2]]}', {"freq": "D"}, r"expected a target with one axis"),
    ('{"start": "2024-01-01", "target": []}', {"freq": "D"}, r"expected a target with one axis and a value"),
    ('{"start": "2024-01-01", "target": ["Infinity", 1]}', {"freq": "D"}, r"1 infinite value"),
    ('{"start": "2024-01-01", "target": [null, "NaN"]}', {"freq": "D"}, r"has no value at all"),
    ('{"start": "2024-01-06", "target": [1, 2]}', {"freq": "B"}, r"starts on 2024-01-06, no business day"),
    (
        '{"start": "2024-01-01", "target": [1], "feat_static_cat": ["a"]}',
        {"freq": "D"},
        r"feat_static_cat holds no whole",
    ),
    (
        2 * '{"start": "2024-01-01", "target": [1], "item_id": 1}\n',
        {"freq": "D"},
        r"'1' is in the table twice",
    ),
    ('{"start": "2024-01-01", "target": [1]', {"freq": "D"}, r"line 1 is not JSON"),
    ("[1, 2]", {"freq": "D"}, r"has no entries"),
    ("", {"freq": "D"}, r"has no entries"),
]


@pytest.mark.parametrize(("text", "options", "message"), ENTRIES)
def test_a_bad_entry_is_refused(text: str, options: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(path, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 cut short", r"a.parquet cannot be read as parquet"),
        ("a.arrow", b"ARROW1 nonsense", r"a.arrow cannot be read as arrow"),
        ("a.csv", b"\x00\x01\x02", r"a.csv is not text"),
        ("a.csv.gz", b"\x1f\x8bnonsense", r"a.csv.gz cannot be read"),
        ("a.tar.gz", b"nonsense", r"a.tar.gz cannot be unpacked"),
        ("a.xlsx", b"PK\x03\x04", r"'.xlsx' is no known type of table"),
    ],
)
def test_a_broken_file_is_refused_by_name(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_an_absent_file_offers_the_built_in_tables() -> None:
    with pytest.raises(DataError, match=r"no file or folder nowhere\.csv") as caught:
        read_table("nowhere.csv")
    assert "co2, elnino" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no dataset"),
        ({"dataset.json": "{"}, r"dataset.json is not JSON"),
        ({"dataset.json": "{}"}, r"dataset.json has no 'freq'"),
        ({"dataset.json": '{"freq": "h"}'}, r"series.parquet is absent"),
    ],
)
def test_a_broken_folder_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path)


def test_a_folder_keeps_to_its_own_frequency(real_data) -> None:
    with pytest.raises(DataError, match="states the frequency 'D', 'h' was given"):
        read_table(real_data("timeseries/wiki_two_daily"), freq="h")


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(SuffuseError, match="a table cannot be read from int"):
        read_table(3)  # type: ignore[arg-type]


FORECASTS = [
    ("item_id,timestamp\na,2024-01-01\n", r"no column of forecasts among none"),
    ("timestamp,mean\n2024-01-01,1\n", r"is no table of forecasts"),
    (
        "item_id,timestamp,mean\na,2024-01-01,1\na,2024-01-01,2\na,2024-01-02,2\n",
        r"two forecasts of the same time",
    ),
    (
        "item_id,timestamp,mean\na,2024-01-01 01:00,1\na,2024-01-01 02:00,2\n",
        r"several forecasts in one period of 'D'",
    ),
    (
        "unique_id,ds,A-lo-80,A-hi-80,B-lo-80,B-hi-80\na,2024-01-01,1,2,3,4\n",
        r"forecasts of several models: A, B",
    ),
    ("item_id,timestamp,p,q\na,2024-01-01,1,2\n", r"no column of forecasts among 'p', 'q'"),
]


@pytest.mark.parametrize(("text", "message"), FORECASTS)
def test_a_bad_file_of_forecasts_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_forecasts(tmp_path / "f.csv", freq="D")


def test_forecasts_of_another_frequency_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", samples=np.zeros((1, 2, 3)), item_id=["a"], start=["2024-01-01"], freq="h")
    with pytest.raises(DataError, match="forecasts of frequency 'h', the data 'D'"):
        read_forecasts(tmp_path / "f.npz", freq="D")
    np.savez(tmp_path / "g.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="holds no samples of forecasts"):
        read_forecasts(tmp_path / "g.npz")
    (tmp_path / "h.jsonl").write_text('{"item_id": "a"}\n')
    with pytest.raises(DataError, match="line 1 is no forecast"):
        read_forecasts(tmp_path / "h.jsonl")
