"""Synthetic windows: the law of the model, one stream per window, and what a linear forecaster learns."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigError
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Instance
from domains.timeseries.lps import linear_predictive_score
from domains.timeseries.synthesize import as_table, synthesize
from tests.domains.timeseries.exact import covariance, gaussian_model, hours, untrained

FAST = SampleConfig(sampler="ddim", num_steps=4)


def test_windows_have_the_law_of_the_model() -> None:
    model = gaussian_model(6, 3)
    windows = synthesize(model, 3000, sampling=SampleConfig(sampler="default", num_steps=25))
    exact = covariance(model.shape).numpy()
    # 3000 windows: standard error of a covariance at most sqrt(2 / n) = 0.026; the plan itself is within
    # 0.03.
    assert np.abs(np.cov(windows.T) - exact).max() < 0.12
    assert np.abs(windows.mean(0)).max() < 0.08


def test_a_window_belongs_to_its_number() -> None:
    model = untrained(lags=(6,))
    ten = synthesize(model, 10, sampling=FAST, seed=3)
    assert ten.shape == (10, 18)
    assert synthesize(model, 7, sampling=FAST, seed=3) == pytest.approx(ten[:7], abs=1e-5)
    assert not np.allclose(synthesize(model, 7, sampling=FAST, seed=4), ten[:7])
    assert not np.allclose(ten[0], ten[1])


def test_guidance_settings_have_no_say() -> None:
    model = untrained()
    loud = FAST.model_copy(update={"guidance": "mse", "scale": 50.0})
    assert np.array_equal(synthesize(model, 4, sampling=loud), synthesize(model, 4, sampling=FAST))


def test_a_linear_forecaster_learns_from_exact_windows_what_real_ones_would_teach() -> None:
    model = gaussian_model(6, 3)
    windows = synthesize(model, 2000, sampling=SampleConfig(sampler="default", num_steps=20))
    full = covariance(model.shape).numpy()
    root = np.linalg.cholesky(full + 1e-9 * np.eye(9))
    real = np.random.default_rng(0).standard_normal((400, 9)) @ root.T
    tests = [Instance(hours(row[:6] + 5, f"s{i}"), row[6:] + 5) for i, row in enumerate(real)]

    def shifted(rows: np.ndarray) -> np.ndarray:
        rows = rows + 5
        return rows / np.abs(rows[:, :6]).mean(1, keepdims=True)

    score = linear_predictive_score(shifted(windows), tests, prediction_length=3)
    fresh = shifted(np.random.default_rng(1).standard_normal((2000, 9)) @ root.T)
    yardstick = linear_predictive_score(fresh, tests, prediction_length=3)
    blank = linear_predictive_score(
        shifted(np.random.default_rng(2).standard_normal((2000, 9))), tests, prediction_length=3
    )
    assert score == pytest.approx(yardstick, rel=0.05)
    assert blank > 1.2 * yardstick


def test_windows_make_a_table_for_other_forecasters() -> None:
    table = as_table(np.ones((3, 18)), "h")
    assert (len(table), table.freq, len(table.series[2]), table.series[2].item_id) == (
        3,
        "h",
        18,
        "synthetic-2",
    )
    assert as_table(np.ones((1, 4)), "int").freq == "int"


def test_what_cannot_be_synthesized_is_refused() -> None:
    with pytest.raises(ConfigError, match="unconditional"):
        synthesize(replace(untrained(), kind="tsflow"), 3)
    with pytest.raises(ConfigError, match="at least 1"):
        synthesize(untrained(), 0)
