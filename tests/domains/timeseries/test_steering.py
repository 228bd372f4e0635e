"""Particles against the exact conditional law of a Gaussian window."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigError
from domains.timeseries.steering import steered_forecast
from tests.domains.timeseries.exact import covariance, gaussian_model, hours, untrained


def conditional(model, context: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the future given a context read with noise."""
    c, full = model.shape.context, covariance(model.shape).numpy()
    gain = full[c:, :c] @ np.linalg.inv(full[:c, :c] + noise**2 * np.eye(c))
    return gain @ context, full[c:, c:] - gain @ full[:c, c:]


def test_particles_stand_for_the_conditional_law() -> None:
    model = gaussian_model(4, 2)
    item = hours(np.array([0.2, 1.1, 0.6, -0.7]))
    found = steered_forecast(model, [item], num_samples=2000, noise=0.5, law="normal", seed=0)
    samples = found.forecasts[0].samples
    mean, spread = conditional(model, item.target, 0.5)
    # About a thousand effective particles: standard error 0.03; 100 steps lose some 5 % of the variance.
    assert samples.mean(0) == pytest.approx(mean, abs=0.12)
    assert np.cov(samples.T) == pytest.approx(spread, abs=0.15)
    assert found.ess[0] > 200
    assert found.roots[0] > 50
    assert found.calls == 99


def test_particles_stand_for_the_law_under_laplace_noise_too() -> None:
    model = gaussian_model(4, 2)
    item = hours(np.array([0.2, 1.1, 0.6, -0.7]))
    found = steered_forecast(model, [item], num_samples=2000, noise=0.5, seed=0)
    samples = found.forecasts[0].samples
    # The same law by weighing a million draws of the model.
    root = np.linalg.cholesky(covariance(model.shape).numpy() + 1e-9 * np.eye(6))
    draws = np.random.default_rng(0).standard_normal((1_000_000, 6)) @ root.T
    weight = np.exp(-np.abs(draws[:, :4] - item.target).sum(1) / 0.5)
    mean = weight @ draws[:, 4:] / weight.sum()
    spread = np.cov(draws[:, 4:].T, aweights=weight)
    assert samples.mean(0) == pytest.approx(mean, abs=0.12)
    assert np.cov(samples.T) == pytest.approx(spread, abs=0.15)
    assert found.ess[0] > 200


def test_a_series_is_steered_the_same_alone_and_in_a_batch() -> None:
    model = untrained()
    series = [hours(np.random.default_rng(i).random(30) + 1, f"s{i}") for i in range(3)]
    together = steered_forecast(model, series, num_samples=8, num_steps=6, noise=0.5)
    alone = steered_forecast(model, series[1:2], num_samples=8, num_steps=6, noise=0.5)
    assert np.array_equal(alone.forecasts[0].samples, together.forecasts[1].samples)
    assert together.forecasts[0].samples.shape == (8, 6)
    assert together.forecasts[0].start == series[0].end


def test_what_cannot_be_steered_is_refused() -> None:
    item = hours(np.ones(30))
    with pytest.raises(ConfigError, match="unconditional"):
        steered_forecast(replace(untrained(), kind="tsflow"), [item])
    with pytest.raises(ConfigError, match="unknown law of noise 'cauchy'"):
        steered_forecast(untrained(), [item], law="cauchy")
    with pytest.raises(ConfigError, match="noise of known values"):
        steered_forecast(untrained(), [item], noise=0.0)
