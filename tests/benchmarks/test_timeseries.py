"""The committed measurements of time series keep their limits.

`python -m tests.benchmarks.timeseries_cost --write` and `timeseries_quality --write` repeat them.
"""

import json
from typing import Any

import pytest

from domains.timeseries.weights import shipped
from tests.benchmarks.timeseries_cost import RESULTS as COST
from tests.benchmarks.timeseries_quality import MODELS
from tests.benchmarks.timeseries_quality import RESULTS as QUALITY

cost: dict[str, Any] = json.loads(COST.read_text("utf-8"))
quality: dict[str, Any] = json.loads(QUALITY.read_text("utf-8"))


def test_a_training_step_costs_less_than_seven_tenths_of_the_published_code() -> None:
    assert cost["training_ratio"] <= 0.7
    assert cost["reference"].startswith("commit 3eafeff")


def test_a_forecast_at_the_quality_of_the_full_sampler_costs_less_than_a_third() -> None:
    assert cost["forecast_ratio"]["ddim 25 steps"] <= 1 / 3
    # The same weights: 25 steps are not worse than 100 by more than a standard error of the score.
    full = min(row["mean_wql"] for name, row in quality["samplers"].items() if name.startswith("ddpm 100"))
    short = quality["samplers"]["ddim 25"]
    assert short["mean_wql"] <= full + short["standard_error"]


@pytest.mark.parametrize("name", ["TSDiff-Q, as shipped", "TSFlow, 32 Euler steps"])
def test_shipped_models_beat_both_baselines_on_the_named_instances(name: str) -> None:
    baselines = quality["baselines"]
    assert baselines["seasonal naive"]["mean_wql"] == pytest.approx(0.0581, abs=1e-4)
    assert baselines["ridge, context 312"]["mean_wql"] == pytest.approx(0.0561, abs=1e-4)
    assert quality["shipped"][name]["mean_wql"] < min(row["mean_wql"] for row in baselines.values())


@pytest.mark.parametrize("base", ["seasonal naive", "ridge"])
def test_refinement_lowers_the_loss_of_its_base(base: str) -> None:
    rows = quality["refinement"][base]
    before = rows["before"]["mean_wql"]
    assert all(row["mean_wql"] < before for name, row in rows.items() if name != "before")


def test_gaps_are_filled_better_than_by_straight_lines() -> None:
    gap = quality["missing"]["gap of 24 hours"]
    assert gap["mean_wql"] < 0.5 * gap["mean_wql_straight_lines"]


def test_synthetic_windows_teach_a_linear_forecaster_nearly_what_real_ones_do() -> None:
    found = quality["synthesis"]
    assert found["lps of synthetic windows"] < 1.1 * found["lps of real windows"]


def test_the_shipped_scale_has_the_least_scale_free_loss_on_held_out_points() -> None:
    rows = {name: row["scale_free"] for name, row in quality["tuning"].items() if name.startswith("scale")}
    card = json.loads((shipped(MODELS["tsdiff"]) / "card.json").read_text("utf-8"))
    assert min(rows, key=rows.__getitem__) == f"scale {card['sampling']['scale']:g}"
