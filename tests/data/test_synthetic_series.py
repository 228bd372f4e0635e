"""Seasonal Gaussian series: draws follow the stated covariance, and conditionals are exact."""

from math import sqrt

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from data.synthetic.series import SeasonalAR

PROCESS = SeasonalAR(season=6, amplitudes=(1.5, 0.5), phi=0.7, sigma=0.8, noise=0.3, level=4.0)


def test_draws_have_the_mean_and_the_covariance_that_are_stated() -> None:
    n = 20_000
    values = PROCESS.draw(n, 14, np.random.default_rng(0))
    stated = PROCESS.covariance(np.arange(14), np.arange(14))
    variance = stated[0, 0]
    assert values.mean(axis=0) == pytest.approx(4.0, abs=4.5 * sqrt(variance / n))
    # An entry of the sample covariance has a standard error of at most variance * sqrt(2 / n).
    assert np.cov(values.T) == pytest.approx(stated, abs=4.5 * variance * sqrt(2 / n))


def test_without_seasons_and_noise_the_forecast_is_the_textbook_one() -> None:
    process = SeasonalAR(amplitudes=(), phi=0.9, sigma=0.5, noise=0.0, level=1.0)
    history = np.array([1.0, 0.0, 3.0])
    law = process.conditional(history, 4)
    steps = np.arange(1, 5)
    assert law.mean == pytest.approx(1 + 2 * 0.9**steps)
    # Var of an AR(1) h steps ahead: sigma^2 (1 - phi^2h) / (1 - phi^2).
    assert law.deviation**2 == pytest.approx(0.25 * (1 - 0.81**steps) / (1 - 0.81))


def test_a_pure_season_is_known_after_it_was_seen() -> None:
    process = SeasonalAR(season=8, amplitudes=(2.0,), phi=0.0, sigma=0.0, noise=1e-4)
    values = process.draw(1, 40, np.random.default_rng(1))[0]
    law = process.conditional(values[:32], 8)
    # Thirty-two noisy points leave each coefficient a deviation of 1e-4 / sqrt(16).
    assert law.mean == pytest.approx(values[32:], abs=6e-4)
    assert law.deviation.max() < 1.2e-4


def test_missing_points_are_left_out_of_the_condition() -> None:
    values = PROCESS.draw(1, 20, np.random.default_rng(2))[0]
    holed = values.copy()
    holed[[3, 4, 19]] = np.nan
    law = PROCESS.conditional(holed, 3)
    seen = np.setdiff1d(np.arange(20), [3, 4, 19])
    joint = PROCESS.covariance(np.arange(23), np.arange(23))
    inverse = np.linalg.inv(joint[np.ix_(seen, seen)])
    across = joint[np.ix_([20, 21, 22], seen)]
    assert law.mean == pytest.approx(4 + across @ inverse @ (values[seen] - 4))
    assert law.covariance == pytest.approx(joint[20:, 20:] - across @ inverse @ across.T)
    # The wrong variant, missing points as zeros, gives another law.
    wrong = PROCESS.conditional(np.nan_to_num(holed), 3)
    assert np.abs(wrong.mean - law.mean).max() > 0.1


def test_nothing_seen_leaves_the_prior() -> None:
    law = PROCESS.conditional(np.full(5, np.nan), 2)
    assert law.mean.tolist() == [4.0, 4.0]
    assert law.covariance == pytest.approx(PROCESS.covariance(np.arange(2), np.arange(2)))


def test_forecasts_of_real_futures_are_calibrated() -> None:
    values = PROCESS.draw(1500, 30, np.random.default_rng(3))
    laws = [PROCESS.conditional(row[:24], 6) for row in values]
    standard = np.array(
        [(row[24:] - law.mean) / law.deviation for row, law in zip(values, laws, strict=True)]
    )
    # 1500 independent series: standard error 0.026 on each mean, 0.018 on each deviation.
    assert standard.mean(axis=0) == pytest.approx(0, abs=0.1)
    assert standard.std(axis=0) == pytest.approx(1, abs=0.075)
    below = values[:, 24:] <= np.array([law.quantile(0.1) for law in laws])
    assert below.mean() == pytest.approx(0.1, abs=0.02)


def test_samples_of_the_law_follow_it() -> None:
    law = PROCESS.conditional(PROCESS.draw(1, 20, np.random.default_rng(4))[0], 4)
    samples = law.draw(20_000, np.random.default_rng(5))
    assert samples.mean(axis=0) == pytest.approx(law.mean, abs=0.04)
    assert np.cov(samples.T) == pytest.approx(law.covariance, abs=0.06)


def test_the_same_seed_gives_the_same_series() -> None:
    one, two = (PROCESS.draw(3, 9, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, two)


def test_settings_out_of_bounds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\|phi\| < 1"):
        SeasonalAR(phi=1.0)
    with pytest.raises(DataError, match="a value for each of 2 times"):
        PROCESS.given(np.arange(2), np.zeros(1), np.arange(3))
