"""The Linear Predictive Score: its regression against scikit-learn, its windows, and what it tells apart."""

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.baselines import ridge
from domains.timeseries.data import Series, Table, split
from domains.timeseries.formats import read_table
from domains.timeseries.lps import (
    fill_forward,
    fit_ridge,
    linear_predictive_score,
    predict_linear,
    real_windows,
)
from domains.timeseries.metrics import score

START = pd.Period("2024-01-01", freq="h")
NAN = float("nan")


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
def test_the_regression_is_scikit_learns_ridge(penalty: float) -> None:
    from sklearn.linear_model import Ridge

    gen = np.random.default_rng(0)
    x, y = 3 + gen.normal(size=(50, 8)), gen.normal(size=(50, 3))
    theirs = Ridge(alpha=penalty).fit(x, y)
    ours = fit_ridge(x, y, penalty=penalty)
    assert ours.weights == pytest.approx(theirs.coef_.T, abs=1e-10)
    assert ours.intercept == pytest.approx(theirs.intercept_, abs=1e-10)


def test_a_penalised_intercept_would_be_another_model() -> None:
    gen = np.random.default_rng(0)
    x, y = 3 + gen.normal(size=(50, 8)), 5 + gen.normal(size=(50, 3))
    with_ones = np.column_stack([x, np.ones(50)])
    wrong = np.linalg.solve(with_ones.T @ with_ones + np.eye(9), with_ones.T @ y)
    assert np.abs(wrong[:8] - fit_ridge(x, y).weights).max() > 0.01


def test_the_gradient_of_the_ridge_vanishes_at_its_solution() -> None:
    gen = np.random.default_rng(1)
    x, y = gen.normal(size=(30, 40)), gen.normal(size=(30, 2))  # more weights than windows
    model = fit_ridge(x, y, penalty=1.0)
    residual = y - model(x)
    assert x.T @ residual == pytest.approx(model.weights, abs=1e-9)
    assert residual.sum(axis=0) == pytest.approx(0, abs=1e-9)


def test_missing_values_are_filled_forward() -> None:
    assert fill_forward(np.array([1, NAN, NAN, 4, NAN])).tolist() == [1, 1, 1, 4, 4]
    assert np.isnan(fill_forward(np.array([NAN, 2.0]))[0])


def test_windows_are_scaled_by_their_context() -> None:
    series = [Series("a", START, -np.arange(100.0)), Series("b", START, 1e6 * np.ones(50))]
    gen = np.random.default_rng(0)
    windows = real_windows(series, 200, context_length=10, prediction_length=5, gen=gen)
    assert windows.shape == (200, 15)
    assert np.abs(windows[:, :10]).mean(axis=1) == pytest.approx(1.0)


def test_a_long_series_is_not_over_weighted() -> None:
    series = [Series("a", START, np.ones(2000)), Series("b", START, -np.ones(30))]
    gen = np.random.default_rng(0)
    windows = real_windows(series, 4000, context_length=10, prediction_length=5, gen=gen)
    # A fair coin over 4000 draws: standard error 0.008.
    assert (windows[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.03)


def test_windows_before_the_first_value_and_short_series_are_left_out() -> None:
    series = [
        Series("a", START, np.concatenate([np.full(20, NAN), np.ones(20)])),
        Series("b", START, np.ones(5)),
    ]
    gen = np.random.default_rng(0)
    windows = real_windows(series, 500, context_length=10, prediction_length=5, gen=gen)
    assert 0 < len(windows) < 500
    assert np.isfinite(windows).all()


def test_a_window_of_zeros_stays_zero() -> None:
    gen = np.random.default_rng(0)
    windows = real_windows(
        [Series("a", START, np.zeros(30))], 5, context_length=10, prediction_length=5, gen=gen
    )
    assert not windows.any()


def test_the_score_of_real_windows_is_that_of_the_ridge_baseline() -> None:
    table = read_table("elnino")
    training, instances = split(table)
    gen = np.random.default_rng(0)
    windows = real_windows(training, 10_000, context_length=60, prediction_length=12, gen=gen)
    found = linear_predictive_score(windows, instances, prediction_length=12)
    baseline = ridge(training, instances, context_length=60, seed=0)
    assert found == pytest.approx(score(baseline, instances, season=12).mean_wql)


def test_windows_without_their_shape_score_worse() -> None:
    table = read_table("simulated")
    training, instances = split(table)
    gen = np.random.default_rng(0)
    windows = real_windows(training, 2000, context_length=48, prediction_length=24, gen=gen)
    shuffled = gen.permuted(windows, axis=1)
    real, broken = (linear_predictive_score(w, instances, prediction_length=24) for w in (windows, shuffled))
    assert real < 0.8 * broken


def test_the_score_does_not_depend_on_the_scale_of_the_series() -> None:
    t = np.arange(120)
    small = Table((Series("a", START, 2 + np.sin(t / 3)),), "h")
    large = Table((Series("a", START, 1000 * (2 + np.sin(t / 3))),), "h")
    found = []
    for table in (small, large):
        training, instances = split(table, 8)
        gen = np.random.default_rng(0)
        windows = real_windows(training, 300, context_length=16, prediction_length=8, gen=gen)
        found.append(linear_predictive_score(windows, instances, prediction_length=8))
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_predictions_are_scaled_by_their_own_history() -> None:
    model = fit_ridge(np.eye(4), np.eye(4)[:, :2], penalty=1e-9)
    _, instances = split(Table((Series("a", START, np.array([2.0, 2, 6, 6, 1, 1])),), "h"), 2)
    one = predict_linear(model, instances)
    _, tenfold = split(Table((Series("a", START, 10 * np.array([2.0, 2, 6, 6, 1, 1])),), "h"), 2)
    assert predict_linear(model, tenfold) == pytest.approx(10 * one)


def test_windows_that_cannot_be_scored_are_refused() -> None:
    _, instances = split(Table((Series("a", START, np.arange(20.0)),), "h"), 4)
    with pytest.raises(ConfigError, match="no context"):
        linear_predictive_score(np.ones((3, 4)), instances, prediction_length=4)
    with pytest.raises(DataError, match="NaN or infinite"):
        linear_predictive_score(np.full((3, 8), NAN), instances, prediction_length=4)
