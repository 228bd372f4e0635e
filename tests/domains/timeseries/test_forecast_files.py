"""Files of forecasts: what they hold, and that they come back as they were."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError
from domains.timeseries.data import Forecast, Quantiles
from domains.timeseries.formats import long_frame, nixtla_frame, read_forecasts, write_forecasts
from domains.timeseries.frequency import period

FREQS = ["h", "D", "B", "W-WED", "M", "Q-DEC", "Y-DEC", "15min", "int"]


def forecasts(freq: str = "h", windows: int = 1) -> list[Forecast]:
    gen = np.random.default_rng(0)
    start = period(5 if freq == "int" else "2024-01-03", freq)
    return [
        Forecast(name, start + 4 * w, gen.normal(size=(30, 4))) for w in range(windows) for name in ("a", "b")
    ]


@pytest.mark.parametrize("freq", FREQS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz"])
@pytest.mark.parametrize("windows", [1, 3])
def test_forecasts_come_back_as_they_were(freq: str, suffix: str, windows: int, tmp_path: Path) -> None:
    made = forecasts(freq, windows)
    stamp = "end" if freq in {"W-WED", "M"} else "start"
    path = write_forecasts(made, tmp_path / f"f{suffix}", stamp=stamp)
    read = read_forecasts(path, freq=freq)
    # Frames keep the order of series; a cutoff parts the windows.
    key = lambda f: (f.item_id, f.start.ordinal)  # noqa: E731
    for one, other in zip(sorted(read, key=key), sorted(made, key=key), strict=True):
        assert (one.item_id, one.start, len(one)) == (other.item_id, other.start, 4)
        assert np.array_equal(one.mean, other.mean)
        for level in (0.1, 0.5, 0.9):
            assert np.array_equal(one.quantile(level), other.quantile(level))
    if suffix == ".npz":
        assert all(isinstance(f, Forecast) for f in read)


def test_the_long_frame_has_the_columns_that_are_promised() -> None:
    frame = long_frame(forecasts())
    assert list(frame.columns) == ["item_id", "timestamp", "mean", *(f"0.{i}" for i in range(1, 10))]
    assert frame["timestamp"][1] == pd.Timestamp("2024-01-03 01:00")
    assert list(long_frame(forecasts(windows=2)).columns)[:3] == ["item_id", "timestamp", "cutoff"]
    assert long_frame(forecasts(windows=2))["cutoff"][0] == pd.Timestamp("2024-01-02 23:00")


def test_nixtlas_frame_has_nixtlas_names_and_reads_back(tmp_path: Path) -> None:
    made = forecasts("D")
    frame = nixtla_frame(made)
    bounds = [f"TSDiff-{side}-{percent}" for percent in (50, 80, 90) for side in ("lo", "hi")]
    assert list(frame.columns) == ["unique_id", "ds", "TSDiff", *bounds]
    assert frame["TSDiff-lo-80"][0] == made[0].quantile(0.1)[0]
    path = write_forecasts(made, tmp_path / "n.csv", nixtla="Mine")
    read = read_forecasts(path)[0]
    assert isinstance(read, Quantiles)
    assert read.levels == (0.05, 0.1, 0.25, 0.75, 0.9, 0.95)
    assert np.array_equal(read.mean, made[0].mean)
    assert read.quantile(0.5) == pytest.approx((made[0].quantile(0.25) + made[0].quantile(0.75)) / 2)


def test_one_column_of_points_is_a_forecast(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("unique_id,ds,AutoETS\na,2024-01-01,1\na,2024-01-02,2\na,2024-01-03,3\n")
    read = read_forecasts(tmp_path / "p.csv")[0]
    assert isinstance(read, Forecast)
    assert read.samples.tolist() == [[1, 2, 3]]


def test_json_lines_are_plain_json(tmp_path: Path) -> None:
    path = write_forecasts(forecasts(), tmp_path / "f.jsonl", levels=(0.5,))
    row = json.loads(path.read_text().splitlines()[0])
    assert set(row) == {"item_id", "start", "freq", "mean", "quantiles"}
    assert (row["start"], row["freq"], list(row["quantiles"])) == ("2024-01-03 00:00:00", "h", ["0.5"])


def test_csv_is_written_to_the_last_digit(tmp_path: Path) -> None:
    path = write_forecasts(forecasts(), tmp_path / "f.csv")
    with path.open() as file:
        first = next(csv.DictReader(file))
    assert float(first["0.5"]) == forecasts()[0].quantile(0.5)[0]


def test_a_file_is_replaced_only_when_asked_and_never_in_part(tmp_path: Path) -> None:
    path = write_forecasts(forecasts(), tmp_path / "f.npz")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        write_forecasts(forecasts(), path)
    ragged = [*forecasts(), Forecast("c", forecasts()[0].start, np.zeros((2, 2)))]
    with pytest.raises(ConfigError, match="2 different shapes"):
        write_forecasts(ragged, path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["f.npz"]


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    known = Quantiles("a", forecasts()[0].start, (0.5,), np.zeros((1, 4)))
    with pytest.raises(ConfigError, match="samples are wanted"):
        write_forecasts([known], tmp_path / "f.npz")
    with pytest.raises(ConfigError, match=r"unknown type of forecasts '.txt'"):
        write_forecasts([known], tmp_path / "f.txt")
