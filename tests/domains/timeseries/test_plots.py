"""Pictures of forecasts: the numbers beside them are those of the forecasts, and odd inputs are drawn too."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from domains.timeseries.data import Forecast, Quantiles, Series
from domains.timeseries.frequency import period
from domains.timeseries.plots import plot_forecasts, plot_imputation, plot_refinement, plot_scores

START = pd.Period("2024-01-01", freq="h")


def case(start: pd.Period = START, p: int = 6) -> tuple[Series, Forecast]:
    gen = np.random.default_rng(0)
    history = Series("a", start, gen.normal(size=40))
    return history, Forecast("a", history.end, gen.normal(size=(50, p)))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_fan_chart_has_its_numbers_beside_it(tmp_path: Path) -> None:
    history, forecast = case()
    truth = np.arange(6.0)
    png, table = plot_forecasts([forecast], [history], tmp_path / "f.png", truths=[truth])
    assert png.read_bytes()[:4] == b"\x89PNG"
    read = rows(table)
    assert [row["part"] for row in read] == ["history"] * 18 + ["forecast"] * 6
    assert read[0]["timestamp"] == str(history.cut(22).start.start_time)
    last = read[-1]
    assert float(last["value"]) == 5.0
    for name, level in (("low", 0.05), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("high", 0.95)):
        assert float(last[name]) == pytest.approx(forecast.quantile(level)[-1], rel=1e-5)


def test_forecasts_known_by_quantiles_show_the_band_they_have(tmp_path: Path) -> None:
    history, _ = case()
    levels = tuple(round(0.1 * i, 1) for i in range(1, 10))
    forecast = Quantiles("a", history.end, levels, np.arange(9.0)[:, None] + np.zeros((9, 4)))
    _, table = plot_forecasts([forecast], [history], tmp_path / "f.png")
    last = rows(table)[-1]
    assert (float(last["low"]), float(last["q25"]), float(last["high"])) == (0.0, 1.5, 8.0)
    assert last["value"] == ""


@pytest.mark.parametrize(
    "start", [period(5, "int"), pd.Period("2024-01", freq="M"), pd.Period("1700", freq="Y")]
)
def test_any_frequency_is_drawn_with_point_forecasts_and_baselines(start: pd.Period, tmp_path: Path) -> None:
    history, forecast = case(start)
    point = Forecast("a", history.end, forecast.samples[:1])
    many = {"naive": [point] * 3}
    png, _ = plot_forecasts([point] * 3, [history] * 3, tmp_path / "f.svg", others=many, unit="MW", tail=5)
    assert "<svg" in png.read_text()


def test_an_imputation_fills_only_what_is_missing(tmp_path: Path) -> None:
    gen = np.random.default_rng(0)
    truth = gen.normal(size=30)
    target = truth.copy()
    target[[0, 10, 11, 29]] = np.nan
    samples = gen.normal(size=(20, 30))
    png, table = plot_imputation(Series("a", START, target), samples, tmp_path / "i.png", truth=truth)
    assert png.stat().st_size > 0
    read = rows(table)
    assert [i for i, row in enumerate(read) if row["part"] == "missing"] == [0, 10, 11, 29]
    assert float(read[10]["median"]) == pytest.approx(
        Forecast("a", START, samples).quantile(0.5)[10], rel=1e-5
    )
    assert float(read[10]["truth"]) == pytest.approx(truth[10], rel=1e-5)
    assert read[1]["median"] == ""


def test_a_refinement_shows_both_on_one_scale(tmp_path: Path) -> None:
    history, forecast = case()
    base = Forecast("a", history.end, forecast.samples[:1] + 5)
    png, table = plot_refinement(base, forecast, history, tmp_path / "r.png", truth=np.zeros(6))
    assert png.stat().st_size > 0
    assert [row["when"] for row in rows(table)] == ["before"] * 24 + ["after"] * 24


def test_scores_are_drawn_with_blanks_where_there_are_none(tmp_path: Path) -> None:
    _, table = plot_scores({"a": 0.25, "b": None}, tmp_path / "s.png", label="mean wQL")
    assert [list(row.values()) for row in rows(table)] == [["a", "0.25"], ["b", ""]]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    history, forecast = case()
    with pytest.raises(DataError, match="no forecast to draw"):
        plot_forecasts([], [], tmp_path / "f.png")
    with pytest.raises(DataError, match="histories for 1 forecasts, got 2"):
        plot_forecasts([forecast], [history, history], tmp_path / "f.png")
    with pytest.raises(DataError, match=r"expected samples \(S, 40\)"):
        plot_imputation(history, np.zeros((3, 5)), tmp_path / "i.png")
