"""Scores of likelihood and of points, on Gaussian windows whose density is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError
from core.state import Seeds
from domains.timeseries.anomaly import bound, log_density, score_points
from domains.timeseries.windows import cut_span
from tests.domains.timeseries.exact import covariance, gaussian_model, hours, untrained


def exact_density(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    law = torch.distributions.MultivariateNormal(torch.zeros(len(sigma), dtype=torch.float64), sigma)
    return law.log_prob(x.flatten(1).double())


def draws(n: int, sigma: torch.Tensor) -> torch.Tensor:
    root = torch.linalg.cholesky(sigma)
    gen = torch.Generator().manual_seed(0)
    return (torch.randn(n, len(sigma), generator=gen, dtype=torch.float64) @ root.T)[:, None]


def test_the_bound_lies_below_the_density_and_near_it() -> None:
    model = gaussian_model(6, 3)
    sigma = covariance(model.shape)
    x = draws(400, sigma)
    found, _ = bound(model.denoiser, x, Seeds(range(400)))
    exact = exact_density(x, sigma)
    gap = (exact - found).mean().item()
    # 400 windows: a standard error of the mean of about 0.1.
    assert -0.3 < gap < 3
    # It orders windows as the density does; with more levels there is less noise in that.
    fine, _ = bound(model.denoiser, x, Seeds(range(400)), levels=250)
    assert torch.corrcoef(torch.stack([exact, fine]))[0, 1] > 0.7
    assert (exact - fine).std() < 0.8 * (exact - found).std()


def test_the_bound_of_the_wrong_model_is_lower() -> None:
    model = gaussian_model(6, 3)
    sigma = covariance(model.shape)
    x = draws(200, sigma)
    flipped = x * torch.tensor([1.0, -1.0, 1.0] * 3, dtype=torch.float64)
    right, _ = bound(model.denoiser, x, Seeds(range(200)))
    wrong, _ = bound(model.denoiser, flipped, Seeds(range(200)))
    assert wrong.mean() < right.mean() - 2


def test_the_ode_gives_the_density_of_the_window_at_the_first_noising_step() -> None:
    model = gaussian_model(6, 3)
    sigma = covariance(model.shape)
    rows = draws(6, sigma)[:, 0].numpy()
    cuts = [cut_span(row, 9, model.shape) for row in rows]
    found, _ = log_density(model, cuts, [(str(i),) for i in range(6)], method="ode")
    exact = exact_density(torch.from_numpy(rows), sigma + 1e-4 * torch.eye(9, dtype=torch.float64)) / 9
    # Four random probes of the trace: an error of about 0.1 nat per entry.
    assert np.abs(found - exact.numpy()).mean() < 0.3


def test_densities_are_per_unit_of_the_data() -> None:
    model = untrained()
    item = np.sin(np.arange(18.0)) + 3
    keys = [("a",)]
    one, _ = log_density(model, [cut_span(item, 18, model.shape)], keys)
    ten, _ = log_density(model, [cut_span(10 * item, 18, model.shape)], keys)
    assert ten[0] == pytest.approx(one[0] - math.log(10), abs=1e-3)


def test_a_spike_stands_out_where_it_is() -> None:
    model = gaussian_model(9, 3)
    sigma = covariance(replace(model.shape, context=57))
    series = draws(1, sigma)[0, 0].numpy()
    series[50] += 6
    (found,) = score_points(model, [hours(series)])
    assert found.points.shape == (60,)
    assert np.isnan(found.points[:9]).all()
    assert int(np.nanargmax(found.points)) == 50
    assert found.ends.tolist() == list(range(12, 61, 3))
    assert int(found.log_density.argmin()) in [i for i, end in enumerate(found.ends) if end - 12 <= 50 < end]


def test_scores_do_not_depend_on_what_else_is_scored() -> None:
    model = untrained()
    series = [hours(np.random.default_rng(i).random(30) + 1, f"s{i}") for i in range(3)]
    together = score_points(model, series, last=6)
    alone = score_points(model, series[1:2], last=6)
    assert np.array_equal(alone[0].points, together[1].points, equal_nan=True)
    assert alone[0].ends.tolist() == [30]


def test_missing_points_have_no_score_and_short_series_no_window() -> None:
    model = untrained()
    target = np.ones(30)
    target[[25, 27]] = np.nan
    (found,) = score_points(model, [hours(target)])
    assert np.flatnonzero(np.isnan(found.points[12:])).tolist() == [13, 15]
    with pytest.raises(DataError, match="'a' has 5 points, a window of the model 18"):
        score_points(model, [hours(np.ones(5))])
    with pytest.raises(ConfigError, match="unknown method 'elbow'"):
        score_points(model, [hours(np.ones(30))], method="elbow")
    with pytest.raises(ConfigError, match="unconditional"):
        score_points(replace(model, kind="tsflow"), [hours(np.ones(30))])
