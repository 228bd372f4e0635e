"""GluonTS datasets in memory and in files, and conversions to other tools."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from domains.timeseries.data import Forecast, Quantiles, Series, Table, split
from domains.timeseries.formats import read_table, write_table
from domains.timeseries.formats.exchange import (
    fev_predictions,
    from_darts,
    from_gluonts_forecasts,
    read_fev,
    to_gluonts,
    to_sample_forecasts,
)

NAN = float("nan")
HOUR = pd.Period("2024-01-01", freq="h")


def table(freq: str = "h") -> Table:
    start = pd.Period("2024-01-03", freq=freq)
    gen = np.random.default_rng(0)
    values = gen.normal(size=(3, 40))
    values[1, 5:9] = NAN
    return Table(tuple(Series(f"s{i}", start + i, row, (i,)) for i, row in enumerate(values)), freq, name="t")


def same(one: Table, other: Table) -> None:
    assert one.freq == other.freq
    for a, b in zip(one, other, strict=True):
        assert (a.item_id, a.start, a.category) == (b.item_id, b.start, b.category)
        assert np.array_equal(a.target, b.target, equal_nan=True)


def test_a_list_of_entries_is_a_dataset_both_ways() -> None:
    same(read_table(to_gluonts(table())), table())


def test_datasets_of_gluonts_are_read() -> None:
    from gluonts.dataset.common import ListDataset
    from gluonts.dataset.pandas import PandasDataset

    entries = [{"start": "2024-01-01 05:00", "target": [1.0, NAN, 3.0], "item_id": "a"}]
    listed = read_table(ListDataset(entries, freq="h"))
    assert listed.series[0].start == HOUR + 5
    assert listed.series[0].target.tolist() == pytest.approx([1, NAN, 3], nan_ok=True)
    frame = pd.DataFrame({"target": [1.0, 2, 3]}, index=pd.date_range("2024-01-01", periods=3, freq="h"))
    assert read_table(PandasDataset({"a": frame})).series[0].item_id == "a"


@pytest.mark.parametrize("freq", ["h", "D", "B", "M", "W-SUN"])
@pytest.mark.parametrize("name", ["t.jsonl", "t.json.gz", "t.parquet", "folder"])
def test_entries_come_back_as_they_were(freq: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_table(table(freq), path, layout="entries" if name == "t.parquet" else None)
    same(read_table(path), table(freq))


@pytest.mark.parametrize("suffix", ["json", "parquet", "arrow"])
def test_files_of_gluonts_are_read_with_their_frequency(suffix: str, tmp_path: Path) -> None:
    from gluonts.dataset.arrow import ArrowWriter, ParquetWriter
    from gluonts.dataset.jsonl import JsonLinesWriter

    path = tmp_path / f"data.{suffix}"
    if suffix == "json":
        JsonLinesWriter(use_gzip=False).write_to_file(to_gluonts(table()), path)
    else:
        writer = ParquetWriter() if suffix == "parquet" else ArrowWriter()
        writer.write_to_file(to_gluonts(table()), path)
    same(read_table(path, freq="h"), table())
    with pytest.raises(DataError, match="the frequency is not known"):
        read_table(path)


def test_files_of_ours_are_read_by_gluonts(tmp_path: Path) -> None:
    from gluonts.dataset.common import FileDataset

    for name in ("t.jsonl", "t.parquet"):
        (tmp_path / name).mkdir()
        write_table(table(), tmp_path / name / name, layout="entries")
        found = list(FileDataset(tmp_path / name, freq="h"))
        for entry, item in zip(found, table(), strict=True):
            assert entry["start"] == item.start
            assert np.asarray(entry["target"]) == pytest.approx(item.target, rel=1e-6, nan_ok=True)


def archive(tmp_path: Path, k: int = 3, p: int = 4) -> tuple[Path, Table]:
    """A dataset as GluonTS stores rolling windows: prefixes, window by window."""
    whole = table()
    folder = tmp_path / "toy"
    for part in ("metadata", "train", "test"):
        (folder / part).mkdir(parents=True)
    facts = {"freq": "H", "prediction_length": p, "feat_static_cat": [{"name": "c", "cardinality": "3"}]}
    (folder / "metadata" / "metadata.json").write_text(json.dumps(facts))
    lines = {"train": [s.upto(len(s) - k * p) for s in whole], "test": []}
    lines["test"] = [s.upto(len(s) - (k - 1 - w) * p) for w in range(k) for s in whole]
    for part, series in lines.items():
        text = ""
        for item in series:
            row = {"start": str(item.start), "feat_static_cat": list(item.category)}
            row["target"] = ["NaN" if np.isnan(v) else v for v in item.target.tolist()]  # type: ignore[assignment]
            text += json.dumps(row) + "\n"
        (folder / part / "data.json").write_text(text)
    return folder, whole


def test_test_windows_of_a_gluonts_dataset_fold_back_into_their_series(tmp_path: Path) -> None:
    folder, whole = archive(tmp_path)
    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as packed:
        packed.add(folder, arcname="toy")
    for source in (folder, tmp_path / "toy.tar.gz"):
        found = read_table(source)
        assert (found.name, found.prediction_length, found.rolling_windows) == ("toy", 4, 3)
        for one, other in zip(found, whole, strict=True):
            assert np.array_equal(one.target, other.target, equal_nan=True)
        training, instances = split(found)
        assert {len(item) for item in training} == {28}
        assert len(instances) == 9


def test_the_horizon_of_an_old_archive_is_read_off_its_windows(tmp_path: Path) -> None:
    folder, whole = archive(tmp_path)
    (folder / "metadata" / "metadata.json").write_text('{"time_granularity": "1H"}')
    found = read_table(folder)
    assert (found.freq, found.prediction_length, found.rolling_windows) == ("h", 4, 3)
    assert len(found) == len(whole)


def test_windows_that_are_no_prefixes_stay_apart_with_a_note(tmp_path: Path) -> None:
    folder, _ = archive(tmp_path)
    test = folder / "test" / "data.json"
    lines = test.read_text().splitlines()
    row = json.loads(lines[0])
    row["target"][0] = 99.0
    test.write_text("\n".join([json.dumps(row), *lines[1:]]))
    found = read_table(folder)
    assert len(found) == 9
    assert "no prefixes" in found.notes[-1]


def test_forecasts_go_to_gluonts_and_back() -> None:
    from gluonts.model.forecast import QuantileForecast

    samples = np.random.default_rng(0).normal(size=(20, 4))
    ours = Forecast("a", HOUR, samples)
    theirs = to_sample_forecasts([ours])
    assert np.array_equal(theirs[0].quantile(0.3), ours.quantile(0.3))
    back = from_gluonts_forecasts(theirs)[0]
    assert isinstance(back, Forecast)
    assert np.array_equal(back.samples, samples)
    known = QuantileForecast(np.arange(12.0).reshape(3, 4), HOUR, ["0.1", "0.5", "0.9"], item_id="a")
    read = from_gluonts_forecasts([known], levels=(0.1, 0.5, 0.9))[0]
    assert isinstance(read, Quantiles)
    assert read.quantile(0.9).tolist() == [8, 9, 10, 11]


class FakeDarts:
    """A series with what `darts.TimeSeries` offers to readers."""

    def __init__(self, index: pd.Index, values: np.ndarray) -> None:
        self.time_index, self._values = index, values
        self.components = pd.Index([f"c{i}" for i in range(values.shape[1])])

    def all_values(self, copy: bool = True) -> np.ndarray:
        return self._values.copy() if copy else self._values


def test_darts_series_are_read_without_darts() -> None:
    days = pd.date_range("2024-01-01", periods=4)
    one = from_darts(FakeDarts(days, np.arange(8.0).reshape(4, 2, 1)))
    assert [(item.item_id, item.target.tolist()) for item in one] == [
        ("c0", [0, 2, 4, 6]),
        ("c1", [1, 3, 5, 7]),
    ]
    counted = from_darts(FakeDarts(pd.RangeIndex(3, 7), np.arange(4.0).reshape(4, 1, 1)))
    assert counted.freq == "int"
    with pytest.raises(DataError, match="holds 5 samples"):
        from_darts([FakeDarts(days, np.zeros((4, 1, 5)))])


def test_darts_series_are_made_where_darts_is_installed() -> None:
    pytest.importorskip("darts", reason="'darts' is not installed")
    from domains.timeseries.formats.exchange import to_darts

    samples = np.random.default_rng(0).normal(size=(7, 4))
    made = to_darts([Forecast("a", HOUR, samples)])[0]
    assert made.n_samples == 7
    assert np.array_equal(made.all_values()[:, 0, :].T, samples)


def test_fev_tasks_are_read_and_answered() -> None:
    rows = [
        {
            "id": f"s{i}",
            "timestamp": pd.date_range("2024-01-01", periods=4).to_numpy(),
            "target": [1.0, 2, 3, NAN],
        }
        for i in range(2)
    ]
    read = read_fev(rows)
    assert [item.item_id for item in read] == ["s0", "s1"]
    forecast = Forecast("s0", read.series[0].end, np.arange(11.0)[:, None])
    answer = fev_predictions([forecast], levels=(0.1, 0.9))
    assert answer == [{"predictions": [5.0], "0.1": [1.0], "0.9": [9.0]}]
