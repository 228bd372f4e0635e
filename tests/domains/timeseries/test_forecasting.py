"""Forecasts: one stream of random numbers per series and sample, and histories of every kind."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.errors import ConfigError, DataError, ModelMismatch
from core.plan import LangevinRow, Row
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Series
from domains.timeseries.forecasting import forecast, job_of, key_of, over_ranks
from domains.timeseries.sampling import ddim_times, plan_of, run_jobs
from domains.timeseries.windows import cut
from tests.domains.timeseries import two_processes
from tests.domains.timeseries.exact import DDPM, covariance, gaussian_model, hours, sines, untrained

ROOT = Path(__file__).resolve().parents[3]
FAST = SampleConfig(sampler="ddim", num_steps=5, num_samples=9, scale=1.0)


def drawn(found: object) -> list[np.ndarray]:
    return [item.samples for item in found.forecasts]


@pytest.mark.parametrize("lags", [(), (6, 9)])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_series_is_forecast_the_same_alone_and_in_a_batch(sampler: str, lags: tuple[int, ...]) -> None:
    model = untrained(lags=lags)
    sampling = FAST.model_copy(update={"sampler": sampler})
    series = list(sines(4, 60).series)
    together = drawn(forecast(model, series, sampling, seed=3))
    alone = drawn(forecast(model, series[2:3], sampling, seed=3))
    assert np.array_equal(alone[0], together[2])
    backwards = drawn(forecast(model, series[::-1], sampling, seed=3))
    assert all(np.array_equal(a, b) for a, b in zip(backwards, together[::-1], strict=True))


def test_other_series_windows_seeds_and_samples_have_other_noise() -> None:
    model, series = untrained(), sines(1, 60).series[0]
    free = FAST.model_copy(update={"guidance": "none"})
    first = drawn(forecast(model, [series], free, seed=3))[0]
    named = Series("other", series.start, series.target)
    later = Series(series.item_id, series.start + 1, series.target)
    for item, seed in ((series, 4), (named, 3), (later, 3)):
        assert not np.allclose(drawn(forecast(model, [item], free, seed=seed))[0], first)
    assert not np.allclose(first[0], first[1])


def test_levels_and_noise_survive_being_cut_into_chunks() -> None:
    model, item = untrained(), sines(1, 60).series[0]
    piece, key = cut(item, model.shape), key_of(item)
    whole = run_jobs(model, [job_of(model, piece, key, range(9), 9)], FAST, seed=1)[0]
    parts = [job_of(model, piece, key, some, 9) for some in (range(0, 4), range(4, 5), range(5, 9))]
    chunks = torch.cat([run_jobs(model, [part], FAST, seed=1)[0] for part in parts])
    # Other batch sizes round differently in the last bit; five steps keep that below 1e-5.
    assert torch.allclose(chunks, whole, atol=1e-5)
    # Levels numbered within the chunk would be another ensemble.
    wrong = run_jobs(model, [job_of(model, piece, key, range(4), 4)], FAST, seed=1)[0]
    assert not torch.allclose(wrong, whole[:4], atol=1e-3)


@pytest.mark.slow
def test_two_processes_forecast_what_one_does(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(two_processes.__file__), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one = two_processes.samples()
    assert np.array_equal(np.load(tmp_path / "rank-0.npy"), one)
    assert np.array_equal(np.load(tmp_path / "rank-1.npy"), one)


def test_work_is_put_back_in_order() -> None:
    assert over_ranks(3, (2,), lambda own: np.array([[i, -i] for i in own])).tolist() == [
        [0, 0],
        [1, -1],
        [2, -2],
    ]
    assert over_ranks(0, (2,), lambda own: np.zeros((0, 2))).shape == (0, 2)


def test_a_forecast_follows_its_series_in_the_unit_of_the_data() -> None:
    model, item = untrained(), sines(1, 60).series[0]
    found = forecast(model, [item], FAST, seed=0)
    (one,) = found.forecasts
    assert (one.item_id, one.start, one.samples.shape) == ("s0", item.end, (9, 6))
    assert (found.calls, found.blocks, found.sampling) == (5, 1, FAST)
    # Ten times the series is ten times the forecast: the scale is the only unit.
    tenfold = forecast(model, [hours(10 * item.target, "s0", "2024-01-01")], FAST, seed=0)
    assert drawn(tenfold)[0] == pytest.approx(10 * one.samples, rel=1e-4)


def test_guidance_pulls_a_forecast_to_the_exact_conditional_mean() -> None:
    model = gaussian_model(8, 4)
    item = hours(np.sin(2 * np.pi * np.arange(40) / 6) * np.exp(-np.arange(40)[::-1] / 30))
    sampling = SampleConfig(sampler="ddpm", guidance="mse", scale=8.0, num_samples=64)
    samples = drawn(forecast(model, [item], sampling, seed=0))[0]
    full = covariance(model.shape).numpy()
    mean = full[8:, :8] @ np.linalg.solve(full[:8, :8], item.target[-8:])
    free = drawn(forecast(model, [item], sampling.model_copy(update={"guidance": "none"}), seed=0))[0]
    gap, freely = np.abs(samples.mean(0) - mean).max(), np.abs(free.mean(0) - mean).max()
    # 64 samples of deviation below 1: standard error of a mean at most 0.12, and guidance is soft.
    assert gap < 0.3
    assert gap < 0.5 * freely


@pytest.mark.parametrize("horizon", [1, 6, 7, 15])
def test_a_longer_horizon_is_reached_in_blocks_that_continue_each_sample(horizon: int) -> None:
    model, item = untrained(), sines(1, 60).series[0]
    found = forecast(model, [item], FAST, horizon=horizon, seed=2)
    assert drawn(found)[0].shape == (9, horizon)
    assert found.blocks == -(-horizon // 6)
    assert ("blocks" in " ".join(found.notes)) == (horizon > 6)
    plain = drawn(forecast(model, [item], FAST, seed=2))[0]
    assert np.array_equal(drawn(found)[0][:, :6], plain[:, :horizon])


def test_every_history_is_answered_with_a_note_on_what_was_missing() -> None:
    model = untrained(lags=(24,))
    series = [
        hours(np.ones(5), "short"),
        hours(np.r_[np.ones(40), np.zeros(12)], "zero"),
        hours(np.r_[np.ones(40), np.full(12, np.nan)], "gone"),
        hours(np.where(np.arange(60) % 3, 1.0, np.nan), "gaps"),
        hours(np.ones(20), "no lags"),
    ]
    found = forecast(model, series, FAST)
    assert all(np.isfinite(rows).all() for rows in drawn(found))
    notes = " ".join(found.notes)
    assert "'zero', 'gone' is all missing or zero" in notes
    assert "'short' is shorter than the context of 12 points" in notes
    assert "1 series have less than the 36 points of history" in notes


def test_few_levels_are_warned_about() -> None:
    few = FAST.model_copy(update={"num_samples": 4})
    assert "fewer than 9" in forecast(untrained(), list(sines(1, 30).series), few).notes[0]


def test_what_cannot_be_forecast_is_refused_by_name() -> None:
    model, good = untrained(), hours(np.ones(30))
    cases = [
        ({"series": [hours(np.full(30, np.nan), "x")]}, DataError, "'x' has no value"),
        ({"series": [hours([1, np.inf], "x")]}, DataError, "'x' has an infinite value at 2024-01-01 01:00"),
        ({"sampling": FAST.model_copy(update={"scale": 0.0})}, ConfigError, "must be positive, got 0.0"),
        (
            {"sampling": FAST.model_copy(update={"placement": "reference"})},
            ConfigError,
            "defined for the sampler ddpm",
        ),
        ({"sampling": FAST.model_copy(update={"sampler": "euler"})}, ConfigError, "kind 'tsflow'"),
        ({"horizon": 0}, ConfigError, "at least 1 point"),
    ]
    for changes, kind, text in cases:
        options = {"series": [good], "sampling": FAST, **changes}
        with pytest.raises(kind, match=text):
            forecast(model, options.pop("series"), options.pop("sampling"), **options)
    daily = Series("d", pd.Period("2024-01-01", freq="D"), np.ones(30))
    with pytest.raises(ModelMismatch, match="'d' has frequency 'D', the model was trained on 'h'"):
        forecast(model, [daily], FAST)


def test_sub_sequences_of_steps_are_those_of_the_published_code() -> None:
    assert ddim_times(100, 25)[:3] == [97, 93, 89]
    assert ddim_times(100, 25)[-3:] == [5, 1, 0]
    assert len(ddim_times(100, 100)) == 101
    quadratic = ddim_times(100, 10, "quadratic")
    # Steps are the whole parts of the squares of ten numbers equally spaced from 0 to sqrt(90).
    assert quadratic == [91, 72, 55, 41, 28, 18, 11, 5, 2, 1, 0]
    with pytest.raises(ConfigError, match="1 to 100"):
        ddim_times(100, 101)


def test_each_sampler_makes_its_plan() -> None:
    model = untrained()
    ddpm = plan_of(model, SampleConfig(sampler="ddpm"))
    assert (ddpm.name, ddpm.evaluations, ddpm.start, ddpm.end) == ("ancestral", 100, 100, 0)
    ddim = plan_of(model, SampleConfig(sampler="ddim", num_steps=20, eta=0.5))
    assert (ddim.name, ddim.evaluations, ddim.stochastic) == ("ddim", 20, True)
    core = plan_of(model, SampleConfig(sampler="default", num_steps=10))
    assert (core.name, core.evaluations) == ("adams", 10)
    assert all(isinstance(row, Row) and not isinstance(row, LangevinRow) for row in core.rows)
    assert core.start == pytest.approx(DDPM.ends[1])
