"""TSDiff-Cond: what its network is told in training and in forecasting, and that it uses it."""

import numpy as np
import pytest
import torch

from core.errors import ConfigError
from domains.timeseries.conditional import ConditionalWindows, cond_of_cut
from domains.timeseries.config import SampleConfig, TrainConfig
from domains.timeseries.forecasting import forecast
from domains.timeseries.training import train
from domains.timeseries.tsdiff import load_model
from domains.timeseries.windows import Shape, Windows, cut
from tests.domains.timeseries.exact import hours, sines

CONFIG = TrainConfig(
    kind="tsdiff-cond", prediction_length=6, context_length=12, lags=(3, 24), hidden=8, blocks=1, states=4,
    steps=5, batch=8, validation_samples=9, validation_series=2,
)  # fmt: skip


def test_the_condition_is_lags_context_and_mask() -> None:
    shape = Shape(4, 3, lags=(2,), scaling="none")
    found = cond_of_cut(cut(hours([1, 2, 3, 4, np.nan, 6.0]), shape))["features"]
    assert found.tolist() == [
        [1, 2, 3, 4, 0, 6, 0],  # the series two points earlier: nothing beyond the last value
        [3, 4, 0, 6, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
    ]


def test_training_tells_what_a_forecast_would_know_and_asks_for_the_whole_window() -> None:
    series = (hours(np.arange(1.0, 41.0)),)
    shape = Shape(4, 3, lags=(2,), scaling="none")
    windows = Windows(series, shape)
    batch = ConditionalWindows(windows)(range(6), 0)
    assert batch.x0.shape == (6, 1, 7)
    for number, (x0, features) in enumerate(zip(batch.x0, batch.cond["features"], strict=True)):
        _, end = windows.place(number, 0)
        as_asked = cond_of_cut(cut(series[0].upto(end - 3), shape))["features"]
        assert torch.equal(features, as_asked)
        assert x0[0].tolist() == series[0].target[end - 7 : end].tolist()


@pytest.mark.parametrize("scenario", ["RM", "BM-B", "BM-E"])
def test_a_scenario_hides_half_of_the_context_and_its_part_of_the_scale(scenario: str) -> None:
    windows = Windows((hours(np.arange(1.0, 41.0)),), Shape(8, 3))
    batch = ConditionalWindows(windows, scenario)(range(20), 0)
    mask = batch.cond["features"][:, 1]
    assert (mask[:, :8].sum(1) == 4).all()
    assert not mask[:, 8:].any()
    shown = batch.cond["features"][:, 0]
    assert (shown.abs().sum(1) / 4).tolist() == pytest.approx([1.0] * 20, rel=1e-5)
    if scenario == "BM-B":
        assert (mask[:, 4:8] == 1).all()
    again = ConditionalWindows(windows, scenario)(range(5, 20), 0)
    assert torch.equal(again.cond["features"], batch.cond["features"][5:])


def test_gaps_are_hidden_from_the_network_and_from_its_loss() -> None:
    target = np.arange(1.0, 12.0)
    target[[6, 10]] = np.nan
    batch = ConditionalWindows(Windows((hours(target),), Shape(8, 3, scaling="none")))(range(1), 0)
    assert batch.cond["features"][0, 1].tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0]
    assert batch.cond["observed"][0, 0].tolist() == [True] * 6 + [False] + [True] * 3 + [False]


def test_a_conditional_model_is_trained_stored_and_forecasts_without_guidance(tmp_path) -> None:
    table = sines(4, 90)
    trained = train(
        table, CONFIG, folder=tmp_path, sampling=SampleConfig(sampler="ddpm", num_steps=5, guidance="none")
    )
    model = load_model(tmp_path)
    assert (model.kind, model.checkpoint.net["channels"], model.checkpoint.net["features"]) == (
        "tsdiff-cond",
        1,
        4,
    )
    assert list(trained.scores) == [5]
    found = forecast(model, list(table.series[:2]), seed=1)
    assert found.forecasts[0].samples.shape == (100, 6)
    again = forecast(model, list(table.series[1:2]), seed=1)
    assert np.array_equal(again.forecasts[0].samples, found.forecasts[1].samples)
    other = hours(table.series[1].target[::-1].copy(), "s1")
    moved = forecast(model, [other], seed=1)
    assert not np.allclose(moved.forecasts[0].samples, found.forecasts[1].samples)
    with pytest.raises(ConfigError, match="takes no guidance"):
        forecast(model, list(table.series), SampleConfig(guidance="quantile"))
