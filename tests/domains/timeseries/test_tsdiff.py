"""The model: its loss, its training on the core's loop, its checkpoint, and what it learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.denoise import wrap
from core.errors import CheckpointError, ConfigError, DataError
from core.process import RectifiedFlow
from core.train.checkpoint import Checkpoint
from core.train.samples import Batch, seeds_of
from domains.timeseries.baselines import seasonal_naive
from domains.timeseries.config import DATASETS, SampleConfig, TrainConfig, default_context, preset_for
from domains.timeseries.data import Table, split
from domains.timeseries.forecasting import forecast
from domains.timeseries.metrics import score
from domains.timeseries.training import prepare, train
from domains.timeseries.tsdiff import WholeSteps, WindowLoss, load_model, model_of, output_weight, save_model
from tests.domains.timeseries.exact import DDPM, GaussianNet, covariance, hours, sines, untrained

TINY = TrainConfig(
    prediction_length=6, context_length=12, lags="none", hidden=8, blocks=1, states=4, steps=12, batch=8,
    lr=2e-3, ema=0.9, validation_samples=9, validation_series=3,
)  # fmt: skip
FAST = SampleConfig(sampler="ddim", num_steps=4, num_samples=9, scale=1.0)


def test_the_loss_is_the_squared_error_of_the_noise_over_observed_entries() -> None:
    torch.manual_seed(0)
    model = untrained()
    x0 = torch.randn(5, 1, 18)
    observed = torch.rand(5, 1, 18) > 0.3
    noise = seeds_of(range(5), 1, "noise")
    found = WindowLoss()(model.denoiser, Batch(x0, {"observed": observed}), noise)
    # The same draws, and the error of the network's own output.
    again = seeds_of(range(5), 1, "noise")
    u = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in again.generators])
    t = 1 + (u * 100).floor()
    eps = torch.cat([torch.randn(1, 1, 18, generator=g) for g in again.generators])
    x = DDPM.mix(x0, eps, t)
    error = (model.denoiser.net(x, t.float()) - eps).square()
    exact = (error * observed).flatten(1).sum(1) / observed.flatten(1).sum(1)
    assert torch.allclose(found, exact, rtol=1e-3)
    everywhere = WindowLoss()(model.denoiser, Batch(x0), seeds_of(range(5), 1, "noise"))
    assert torch.allclose(everywhere, error.flatten(1).mean(1), rtol=1e-3)


def test_a_flow_is_weighted_by_the_error_of_its_velocity() -> None:
    t = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    # D = x - t u, so an error of D is t times one of u.
    assert output_weight(RectifiedFlow(), "flow", t).tolist() == pytest.approx([16, 4, 1])
    assert output_weight(DDPM, "eps", t).tolist() == pytest.approx(
        ((DDPM.alpha(t) / DDPM.sigma(t)) ** 2).tolist()
    )


def test_training_times_are_the_whole_steps_evenly() -> None:
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    t = WholeSteps().times(DDPM, u)
    assert t.unique().tolist() == list(range(1, 101))
    assert (torch.bincount(t.long())[1:] == 1000).all()
    assert WholeSteps().times(DDPM, torch.ones(1)).tolist() == [100]


def test_the_exact_predictor_has_the_least_loss() -> None:
    gen = torch.Generator().manual_seed(0)
    shape = untrained().shape
    sigma = covariance(shape)
    exact = wrap(GaussianNet(sigma), DDPM, predicts="eps")
    off = wrap(GaussianNet(1.3 * sigma), DDPM, predicts="eps")
    root = torch.linalg.cholesky(sigma + 1e-9 * torch.eye(len(sigma)))
    x0 = (torch.randn(4000, len(sigma), generator=gen, dtype=torch.float64) @ root.T).reshape(4000, 1, -1)
    losses = [
        WindowLoss()(denoiser, Batch(x0), torch.Generator().manual_seed(1)).mean()
        for denoiser in (exact, off)
    ]
    assert losses[0] < losses[1]


def test_training_is_a_function_of_its_seed_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    table = sines(5, 80)
    whole = train(table, TINY, sampling=FAST, seed=1, folder=tmp_path / "whole")
    again = train(table, TINY, sampling=FAST, seed=1)
    other = train(table, TINY, sampling=FAST, seed=2)
    train(table, TINY.model_copy(update={"steps": 7}), sampling=FAST, seed=1, folder=tmp_path / "cut")
    resumed = train(table, TINY, sampling=FAST, seed=1, folder=tmp_path / "cut", resume=True)
    for name, value in whole.model.checkpoint.weights.items():
        assert torch.equal(value, again.model.checkpoint.weights[name])
        assert torch.equal(value, resumed.model.checkpoint.weights[name])
    assert whole.scores == again.scores == resumed.scores
    assert not torch.equal(
        whole.model.checkpoint.weights["mix.weight"], other.model.checkpoint.weights["mix.weight"]
    )


def test_a_checkpoint_holds_all_that_a_forecast_needs(tmp_path: Path) -> None:
    table = sines(5, 80)
    config = TINY.model_copy(update={"lags": (24, 30), "steps": 3})
    model = train(table, config, sampling=FAST, folder=tmp_path, preset="tiny").model
    card = json.loads((tmp_path / "card.json").read_text())
    for name, value in {
        "freq": "h", "context_length": 12, "prediction_length": 6, "lags": [24, 30], "scaling": "mean",
        "count": 5,
    }.items():  # fmt: skip
        assert card[name] == value
    assert card["median_scale"] == pytest.approx(3, abs=0.1)
    assert card["config"]["hidden"] == 8
    assert list(card["validation_mean_wql"]) == ["3"]
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_model(path)
        assert (loaded.shape, loaded.sampling, loaded.card) == (model.shape, FAST, card)
        one, two = (forecast(m, list(table.series[:2])).forecasts for m in (model, loaded))
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, two, strict=True))
    tuned = loaded.with_sampling(FAST.model_copy(update={"scale": 3.0}))
    save_model(tuned, tmp_path / "tuned")
    assert load_model(tmp_path / "tuned").sampling.scale == 3.0


def test_validation_points_are_kept_from_training_unless_asked_for() -> None:
    table = sines(6, 80)
    held = prepare(table, TINY)
    assert [len(item) for item in held.samples.series] == [74] * 6
    assert len(held.validation) == 3
    for instance in held.validation:
        source = table[instance.series.item_id].target
        assert instance.label.tolist() == source[-6:].tolist()
        assert len(instance.series) == 74
    seen = prepare(table, TINY.model_copy(update={"validation": "reference"}))
    assert [len(item) for item in seen.samples.series] == [80] * 6
    assert len(prepare(table, TINY.model_copy(update={"validation": "none"})).validation) == 0
    # A series with room for one window alone trains whole, and is not scored.
    short = Table((hours(np.ones(20) + np.arange(20), "a"), *table.series[:1]), "h")
    mixed = prepare(short, TINY)
    assert [len(item) for item in mixed.samples.series] == [20, 74]
    assert [instance.series.item_id for instance in mixed.validation] == ["s0"]


def test_the_best_weights_on_the_way_are_kept(tmp_path: Path) -> None:
    table = sines(5, 80)
    config = TINY.model_copy(update={"steps": 9, "validate_every": 4})
    trained = train(table, config, sampling=FAST, seed=1)
    assert list(trained.scores) == [4, 8, 9]
    best = min(trained.scores, key=lambda step: (trained.scores[step], -step))
    plain = train(table, TINY.model_copy(update={"steps": best}), sampling=FAST, seed=1)
    assert plain.scores[best] == trained.scores[best]
    for name, value in plain.model.checkpoint.weights.items():
        assert torch.equal(value, trained.model.checkpoint.weights[name])
    # A run that was stopped, between two scores or just after one, scores and chooses the same.
    for stop in (6, 8):
        part = config.model_copy(update={"steps": stop})
        train(table, part, sampling=FAST, seed=1, folder=tmp_path / str(stop))
        resumed = train(table, config, sampling=FAST, seed=1, folder=tmp_path / str(stop), resume=True)
        assert {step: resumed.scores[step] for step in (4, 8, 9)} == trained.scores
        if stop == 8:
            for name, value in trained.model.checkpoint.weights.items():
                assert torch.equal(value, resumed.model.checkpoint.weights[name])
    with pytest.raises(ConfigError, match="constant learning rate"):
        train(table, config.model_copy(update={"schedule": "cosine"}))


def test_what_cannot_be_trained_is_refused_with_what_would_work() -> None:
    with pytest.raises(DataError, match="12 \\+ 6 points") as caught:
        train(sines(3, 15), TINY)
    assert caught.value.hint == "The largest context that works is 9."
    bad = Table((hours(np.r_[np.ones(40), np.inf], "x"),), "h")
    with pytest.raises(DataError, match="'x' has infinite values"):
        train(bad, TINY)
    notes = prepare(Table((*sines(3, 80).series, hours(np.ones(5), "y")), "h"), TINY).notes
    assert "1 of 4 series are shorter than 12 + 6 points" in notes[0]
    with pytest.raises(CheckpointError, match="expected a model of time series"):
        model_of(Checkpoint({}, {}, "eps", 1.0, role="tissue"))


def test_gaps_in_a_table_train_without_a_say_of_what_fills_them() -> None:
    table = sines(4, 80)
    holes = [item.target.copy() for item in table]
    for target in holes:
        target[10:30] = np.nan
    cut = Table(tuple(hours(t, f"s{i}") for i, t in enumerate(holes)), "h")
    assert np.isfinite(train(cut, TINY, sampling=FAST).model.checkpoint.training["loss"])


def test_presets_are_those_of_the_published_experiments() -> None:
    paper = preset_for("paper", prediction_length=30, freq="B", dataset="exchange_rate_nips")
    assert (paper.context_length, paper.lags, paper.init_skip) == (360, "auto", True)
    assert (paper.hidden, paper.blocks, paper.states, paper.batch, paper.lr, paper.clip) == (
        64,
        3,
        64,
        64,
        1e-3,
        0.5,
    )
    assert (paper.steps, paper.ema) == (128_000, 0)
    m4 = preset_for("small", prediction_length=48, freq="h", dataset="m4_hourly")
    assert (m4.context_length, m4.lags, m4.init_skip) == (312, "none", False)
    tiny = preset_for("tiny", prediction_length=48, freq="h", changes={"steps": 5})
    assert (tiny.context_length, tiny.hidden, tiny.blocks, tiny.states, tiny.steps) == (96, 32, 2, 16, 5)
    assert [d.scale for d in DATASETS.values()] == [8, 4, 4, 8, 2, 2, 1, 2]
    assert default_context("tiny", "M", 12) == 36
    assert default_context("small", "D", 30) == 360
    with pytest.raises(ConfigError, match="unknown preset 'tinny'"):
        preset_for("tinny", prediction_length=4, freq="h")
    with pytest.raises(ConfigError, match="steps"):
        preset_for("tiny", prediction_length=4, freq="h", changes={"steps": 0})


@pytest.mark.slow
def test_two_sines_are_learned_to_half_the_loss_of_the_last_season() -> None:
    table = sines(40, 24 * 12, second=17)
    training, instances = split(table, 24)
    changes = {"steps": 1500, "lr": 4e-3, "ema": 0.99, "schedule": "cosine"}
    config = preset_for("tiny", prediction_length=24, freq="h", changes=changes)
    sampling = SampleConfig(sampler="ddim", num_steps=20, num_samples=32, scale=2)
    model = train(training, config, seed=0, sampling=sampling).model
    found = forecast(model, [instance.series for instance in instances])
    ours = score(found.forecasts, instances, season=24).mean_wql
    naive = score(seasonal_naive(instances, season=24), instances, season=24).mean_wql
    assert ours is not None
    assert naive is not None
    assert ours < 0.5 * naive
