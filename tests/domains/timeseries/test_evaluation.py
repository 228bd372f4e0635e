"""Evaluation: what is scored, beside what, and what a report says about it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.baselines import ridge, seasonal_naive
from domains.timeseries.data import Forecast, Series, Table, split
from domains.timeseries.evaluation import evaluate, evaluate_file, markdown_table, paired
from domains.timeseries.formats import read_table, write_forecasts, write_table
from domains.timeseries.formats.builtin import exact_forecasts

START = pd.Period("2024-01-01", freq="D")


def small(n: int = 5, length: int = 90) -> Table:
    gen = np.random.default_rng(0)
    t = np.arange(length)
    series = [
        Series(f"s{i}", START, 10 + 3 * np.sin(2 * np.pi * t / 7) + 0.3 * gen.normal(size=length))
        for i in range(n)
    ]
    return Table(tuple(series), "D", name="small", prediction_length=7, rolling_windows=2, seasonality=7)


def test_the_exact_law_beats_both_baselines_and_covers_what_it_says() -> None:
    table = read_table("simulated")
    _, instances = split(table)
    report = evaluate(table, exact_forecasts(instances), name="exact")
    assert report["beats"] == {"seasonal_naive": True, "ridge": True}
    assert report["warnings"] == []
    rows = {row["model"]: row for row in report["scores"]}
    assert list(rows) == ["exact", "seasonal_naive", "ridge"]
    assert rows["exact"]["mean_wql"] < 0.8 * rows["ridge"]["mean_wql"]
    # 32 series of 24 dependent points; a deviation of 4 % was found over seeds.
    assert rows["exact"]["coverage_80"] == pytest.approx(0.8, abs=0.12)


def test_forecasts_are_found_whatever_their_order() -> None:
    table = small()
    training, instances = split(table)
    forecasts = ridge(training, instances, context_length=21)
    one = evaluate(table, forecasts, context_length=21)
    other = evaluate(table, forecasts[::-1], context_length=21)
    assert one["scores"] == other["scores"]
    assert one["scores"][0]["mean_wql"] == one["scores"][2]["mean_wql"]


def test_a_part_of_the_instances_is_scored_with_a_warning_for_every_model() -> None:
    table = small()
    _, instances = split(table)
    report = evaluate(table, seasonal_naive(instances, season=7)[:3])
    assert report["instances"] == 3
    assert "only 3 of 10 test instances have a forecast" in report["warnings"][0]


def test_a_long_forecast_is_cut_to_each_window() -> None:
    table = small()
    _, instances = split(table)
    whole = [
        Forecast(i.series.item_id, i.series.end, np.tile(np.arange(14.0), (3, 1))) for i in instances[:5]
    ]
    found, kept = paired(whole, instances)
    assert len(kept) == 10
    assert found[0].mean.tolist() == list(range(7))
    assert found[5].mean.tolist() == list(range(7, 14))


def test_a_model_that_beats_nothing_says_so() -> None:
    table = small()
    _, instances = split(table)
    bad = [Forecast(i.series.item_id, i.series.end, np.zeros((1, 7))) for i in instances]
    report = evaluate(table, bad, name="zeros")
    assert report["beats"] == {"seasonal_naive": False, "ridge": False}
    assert report["warnings"][0].startswith("'zeros' (1.0000 mean wQL) beats neither seasonal_naive (0.0")


def test_a_model_that_beats_one_baseline_names_the_other() -> None:
    table = small()
    training, instances = split(table)
    report = evaluate(table, ridge(training, instances, context_length=21), context_length=21)
    naive, linear = (row["mean_wql"] for row in report["scores"][1:])
    assert report["warnings"] == [f"'model' ({linear:.4f} mean wQL) does not beat ridge ({linear:.4f})."]
    assert linear < naive


def test_series_too_short_for_ridge_are_scored_without_it() -> None:
    table = small(length=16)
    _, instances = split(table)
    report = evaluate(table, seasonal_naive(instances, season=7))
    assert [row["model"] for row in report["scores"]] == ["model", "seasonal_naive"]
    assert any(
        line.startswith("ridge is left out: no series has the 1 + 7 points") for line in report["warnings"]
    )


def test_no_fitting_forecast_names_what_was_due() -> None:
    table = small()
    stray = [Forecast("other", START, np.zeros((1, 7)))]
    with pytest.raises(
        DataError, match=r"due is for instance 's0' from 2024-03-17 over 7 points, .* 'other' from"
    ):
        evaluate(table, stray)


def test_other_models_are_scored_on_the_same_instances() -> None:
    table = small()
    _, instances = split(table)
    naive = seasonal_naive(instances, season=7)
    report = evaluate(table, naive, others={"last value": seasonal_naive(instances, season=1)})
    assert [row["model"] for row in report["scores"]] == ["model", "last value", "seasonal_naive", "ridge"]
    with pytest.raises(DataError, match="'half' has forecasts for 5 of 10"):
        evaluate(table, naive, others={"half": naive[:5]})


def test_the_markdown_table_marks_the_best_of_each_loss() -> None:
    report = {
        "data": "d", "instances": 2, "prediction_length": 3, "freq": "h", "season": 24,
        "quantile_rule": "numpy",
        "scores": [
            {"model": "a", "mean_wql": 0.5, "mean_wql_standard_error": 0.01, "nd": 0.4, "nrmse": 0.3,
             "mase": 1.0, "coverage_50": 0.5, "coverage_80": 0.8, "coverage_90": None, "width_90": None},
            {"model": "b_c", "mean_wql": 0.25, "mean_wql_standard_error": 0.02, "nd": 0.5, "nrmse": 0.2,
             "mase": None, "coverage_50": None, "coverage_80": None, "coverage_90": None, "width_90": None},
        ],
    }  # fmt: skip
    assert markdown_table(report).splitlines() == [
        "d: 2 test instances of 3 points, frequency h, season 24, quantiles by the numpy rule",
        "",
        "| model | mean wQL | ± s.e. | ND | NRMSE | MASE | 50 % covers | 80 % covers | 90 % covers "
        "| 90 % width |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| a | 0.5000 | 0.0100 | **0.4000** | 0.3000 | **1.0000** | 0.5000 | 0.8000 | - | - |",
        "| b c | **0.2500** | 0.0200 | 0.5000 | **0.2000** | - | - | - | - | - |",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".jsonl"])
def test_forecasts_score_the_same_from_any_file(suffix: str, tmp_path: Path) -> None:
    table = small()
    _, instances = split(table)
    gen = np.random.default_rng(0)
    forecasts = [Forecast(i.series.item_id, i.series.end, 10 + gen.normal(size=(40, 7))) for i in instances]
    expected = evaluate(table, forecasts)["scores"][0]
    write_table(table, tmp_path / "data")
    write_forecasts(forecasts, tmp_path / f"f{suffix}")
    found = evaluate_file(str(tmp_path / f"f{suffix}"), tmp_path / "data")["scores"][0]
    for key in ("mean_wql", "mean_wql_standard_error", "nd", "nrmse", "mase", "coverage_80"):
        assert found[key] == pytest.approx(expected[key], rel=1e-9)


def test_a_run_folder_is_scored_by_its_samples_and_writes_tables_and_figures(tmp_path: Path) -> None:
    table = small()
    _, instances = split(table)
    write_table(table, tmp_path / "data")
    (tmp_path / "run").mkdir()
    write_forecasts(seasonal_naive(instances, season=7), tmp_path / "run" / "forecasts.npz")
    out = tmp_path / "out"
    out.mkdir()
    report = evaluate_file(str(tmp_path / "run"), tmp_path / "data", folder=out, plots=2)
    assert report["figures"] == ["scores.png", "scores.csv", "forecasts.png", "forecasts.csv"]
    for name in (*report["figures"], "scores.md"):
        assert (out / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("subject", "options", "kind", "message"),
    [
        ("nothing.csv", {}, DataError, "there is no file nothing.csv"),
        ("ridge", {"rule": "gluont"}, ConfigError, "unknown quantile rule 'gluont'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(subject: str, options: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        evaluate_file(subject, "elnino", **options)


def test_data_that_do_not_state_a_horizon_ask_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n")
    with pytest.raises(ConfigError, match="does not say how many points are forecast") as caught:
        evaluate_file("ridge", tmp_path / "a.csv")
    assert caught.value.hint is not None
    assert "--prediction-length" in caught.value.hint
