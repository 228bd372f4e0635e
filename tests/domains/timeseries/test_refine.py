"""Refinement: its energy, the descent, the chains, and what they do to a Gaussian."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError
from core.state import Seeds, randn
from core.train.samples import mixed_seed
from domains.timeseries.data import Forecast, Series
from domains.timeseries.forecasting import key_of
from domains.timeseries.refine import RefineConfig, elbo, refine, representative_step
from domains.timeseries.windows import Windows
from tests.domains.timeseries.exact import DDPM, gaussian_model, hours, sines, untrained


def base(item: Series, samples: np.ndarray) -> Forecast:
    return Forecast(item.item_id, item.end, samples)


def wave(n: int = 40) -> Series:
    return hours(np.sin(2 * np.pi * np.arange(n) / 6))


def test_the_elbo_is_the_summed_error_of_the_noise() -> None:
    torch.manual_seed(0)
    model = untrained()
    y, eps = torch.randn(4, 1, 18), torch.randn(4, 1, 18)
    x = DDPM.alpha(20) * y + DDPM.sigma(20) * eps
    error = (model.denoiser.net(x, torch.full((4,), 20.0)) - eps).square().flatten(1).sum(1)
    assert torch.allclose(elbo(model.denoiser, y, eps, 20), error, rtol=1e-4)


@pytest.mark.parametrize("guidance", ["mse", "quantile"])
def test_descent_lowers_the_energy_when_the_noise_is_held(guidance: str) -> None:
    model, item = gaussian_model(8, 4), wave()
    config = RefineConfig(guidance=guidance, fresh=False, lr=0.02, fixed_step=20)
    off = item.target[-4:] * 0 + np.linspace(2, -2, 7)[:, None]
    found = refine(model, [base(item, off)], [item], config, seed=0)
    energy = found.energy[0]
    assert energy.shape == (21,)
    assert (np.diff(energy) < 1e-9).all()
    assert energy[-1] < 0.8 * energy[0]
    # Steps against the gradient raise it: with a step size of the wrong sign the energy would grow.
    assert energy[1] < energy[0]


def test_one_step_of_descent_is_the_base_less_the_gradient_of_the_energy() -> None:
    model, item = gaussian_model(8, 4), wave()
    samples = np.sort(np.random.default_rng(0).standard_normal((5, 4)), axis=0)
    config = RefineConfig(guidance="mse", iterations=1, lr=0.1, fixed_step=30)
    found = refine(model, [base(item, samples)], [item], config, seed=4)
    y = torch.from_numpy(np.concatenate([np.tile(item.target[-8:], (5, 1)), samples], 1))[:, None].float()
    seeds = Seeds([mixed_seed(4, *key_of(item), "refine", i) for i in range(5)])
    at = y.clone().requires_grad_()
    # The squared term is zero at the base forecast, and so is its gradient.
    (grad,) = torch.autograd.grad(elbo(model.denoiser, at, randn(y, seeds), 30).sum(), at)
    assert found.forecasts[0].samples == pytest.approx((y - 0.1 * grad)[:, 0, 8:].numpy(), abs=1e-5)


def test_the_anchor_reaches_the_future_as_in_the_published_code_unless_told_otherwise() -> None:
    assert RefineConfig(guidance="quantile").anchored
    assert not RefineConfig(guidance="mse").anchored
    assert RefineConfig(guidance="mse", anchor_future=True).anchored
    model, item = gaussian_model(8, 4), wave()
    off = np.full((5, 4), 2.0)
    moved = {}
    for anchor in (False, True):
        config = RefineConfig(guidance="mse", anchor_future=anchor, weight=3.0, fixed_step=20, lr=0.05)
        out = refine(model, [base(item, off)], [item], config).forecasts[0].samples
        moved[anchor] = np.abs(out - off).mean()
    assert moved[True] < 0.7 * moved[False]


@pytest.mark.parametrize("method", ["ml", "lmc", "hmc", "udld"])
def test_every_method_moves_a_bad_forecast_towards_the_conditional_mean(method: str) -> None:
    model, item = gaussian_model(8, 4), wave()
    lr = 0.1 if method in ("hmc", "udld") else 0.05
    config = RefineConfig(method=method, guidance="mse", lr=lr, fixed_step=15, iterations=30, leapfrog=2)
    bad = np.full((20, 4), 3.0)
    out = refine(model, [base(item, bad)], [item], config, seed=1).forecasts[0].samples
    truth = np.sin(2 * np.pi * np.arange(40, 44) / 6)
    assert np.isfinite(out).all()
    assert np.abs(out.mean(0) - truth).mean() < 0.75 * np.abs(bad.mean(0) - truth).mean()


def test_langevin_noise_is_the_scaled_one_of_the_published_code() -> None:
    model, item = gaussian_model(8, 4), wave()
    samples = np.zeros((400, 4))
    ends = {}
    for scale in (0.0, 0.1):
        config = RefineConfig(
            method="lmc", guidance="mse", iterations=1, lr=0.05, noise_scale=scale, fixed_step=15, fresh=False
        )
        ends[scale] = refine(model, [base(item, samples)], [item], config, seed=2).forecasts[0].samples
    noise = ends[0.1] - ends[0.0]
    # sqrt(2 eta) 0.1 = 0.0316; 1600 draws give it to 0.0006. A temperature under the root would give 0.1.
    assert noise.std() == pytest.approx(np.sqrt(2 * 0.05) * 0.1, abs=0.003)


def test_one_path_is_repeated_and_samples_are_sorted_to_their_levels() -> None:
    model, item = untrained(), sines(1, 60).series[0]
    config = RefineConfig(iterations=1, lr=1e-9, fixed_step=20, num_samples=12)
    path = np.linspace(2, 4, 6)[None]
    found = refine(model, [base(item, path)], [item], config)
    assert found.forecasts[0].samples == pytest.approx(np.repeat(path, 12, 0), rel=1e-5)
    mixed = np.random.default_rng(0).random((11, 6)) + 2
    found = refine(model, [base(item, mixed)], [item], config)
    assert found.forecasts[0].samples == pytest.approx(np.sort(mixed, axis=0), rel=1e-5)


def test_a_forecast_is_refined_the_same_alone_and_in_a_batch() -> None:
    model, series = untrained(), list(sines(3, 60).series)
    forecasts = [base(item, np.full((9, 6), 3.0)) for item in series]
    config = RefineConfig(method="lmc", fixed_step=20, iterations=3)
    together = refine(model, forecasts, series, config, seed=1).forecasts
    alone = refine(model, forecasts[1:2], series[1:2], config, seed=1).forecasts
    assert np.array_equal(alone[0].samples, together[1].samples)


def test_the_representative_step_has_the_mean_loss() -> None:
    model = gaussian_model(8, 4)
    windows = Windows(
        tuple(hours(np.random.default_rng(i).standard_normal(60), f"s{i}") for i in range(4)), model.shape
    )
    found = representative_step(model, windows, n=64, draws=2)
    y = windows(range(2000), 9).x0
    gen = torch.Generator().manual_seed(0)
    losses = [
        float(elbo(model.denoiser, y, torch.randn(y.shape, generator=gen), k).mean()) for k in range(1, 101)
    ]
    best = 1 + int(np.abs(np.array(losses) - np.mean(losses)).argmin())
    assert abs(found - best) <= 8
    assert representative_step(model, windows, n=64, draws=2) == found
    given = refine(
        model, [base(wave(), np.zeros((3, 4)))], [wave()], RefineConfig(fixed_step=7, iterations=1)
    )
    assert given.step == 7


def test_what_does_not_belong_together_is_refused() -> None:
    model, item = untrained(), sines(1, 60).series[0]
    config = RefineConfig(fixed_step=20)
    with pytest.raises(DataError, match="does not follow"):
        refine(model, [base(hours(np.ones(60), "x"), np.ones((2, 6)))], [item], config)
    with pytest.raises(DataError, match="2 points or holds gaps"):
        refine(model, [base(item, np.ones((2, 2)))], [item], config)
    with pytest.raises(ConfigError, match="unconditional"):
        refine(replace(model, kind="tsflow"), [base(item, np.ones((2, 6)))], [item], config)
    with pytest.raises(DataError, match="representative step"):
        refine(model, [base(hours(np.ones(10)), np.ones((2, 6)))], [hours(np.ones(10))], RefineConfig())
