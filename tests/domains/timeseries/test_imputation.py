"""Imputation: which window a gap is taken from, what stays untouched, and exact Gaussian bridges."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.conditional import hidden
from domains.timeseries.config import SampleConfig
from domains.timeseries.imputation import imputation_scores, impute, spots, with_scenario
from tests.domains.timeseries.exact import covariance, gaussian_model, hours, sines, untrained

FAST = SampleConfig(sampler="ddim", num_steps=5, num_samples=9, scale=1.0)


def test_every_gap_is_taken_from_the_window_in_which_it_lies_most_central() -> None:
    target = np.ones(50)
    target[[0, 7, 12, 13, 30, 49]] = np.nan
    found = spots(target, 20)
    # Windows start at 0, 10, 20 and 30; their centres are 9.5, 19.5, 29.5 and 39.5.
    assert [(spot.end, spot.missing.tolist()) for spot in found] == [
        (20, [0, 7, 12, 13]), (40, [30]), (50, [49]),
    ]  # fmt: skip
    assert spots(np.ones(50), 20) == []
    (only,) = spots(np.r_[np.nan, np.ones(4)], 20)
    assert (only.end, only.missing.tolist()) == (5, [0])


@pytest.mark.parametrize("length", [18, 19, 40, 61])
def test_windows_cover_every_gap_once(length: int) -> None:
    gen = np.random.default_rng(length)
    target = np.where(gen.random(length) < 0.4, np.nan, 1.0)
    found = spots(target, 18)
    assert (
        sorted(np.concatenate([spot.missing for spot in found])) == np.flatnonzero(np.isnan(target)).tolist()
    )
    for spot in found:
        assert max(18, 0) <= spot.end <= length
        assert ((spot.missing >= spot.end - 18) & (spot.missing < spot.end)).all()


@pytest.mark.parametrize("sequential", [False, True])
def test_known_values_stay_and_missing_ones_get_samples(sequential: bool) -> None:
    model, item = untrained(), sines(1, 60).series[0]
    target = item.target.copy()
    target[[3, 20, 21, 22, 40, 59]] = np.nan
    (found,) = impute(model, [hours(target)], FAST, sequential=sequential)
    assert found.missing.tolist() == [3, 20, 21, 22, 40, 59]
    assert found.samples.shape == (9, 6)
    assert np.isfinite(found.samples).all()
    known = np.isfinite(target)
    assert np.array_equal(found.completed.target[known], target[known])
    assert np.array_equal(found.path(2)[known], target[known])
    assert found.path(2)[20] == found.samples[2, 1]


def test_a_series_is_imputed_the_same_alone_and_in_a_batch() -> None:
    model = untrained()
    series = []
    for i, item in enumerate(sines(3, 60).series):
        target = item.target.copy()
        target[10 + i : 14 + 2 * i] = np.nan
        series.append(hours(target, item.item_id))
    together = impute(model, series, FAST, seed=5)
    alone = impute(model, series[1:2], FAST, seed=5)
    assert np.array_equal(alone[0].samples, together[1].samples)


def test_a_mask_hides_values_as_if_they_were_missing() -> None:
    model, item = untrained(), sines(1, 40).series[0]
    known = np.ones(40, dtype=bool)
    known[30:34] = False
    (masked,) = impute(model, [item], FAST, known=[known])
    (missing,) = impute(model, [hours(np.where(known, item.target, np.nan), "s0")], FAST)
    assert np.array_equal(masked.samples, missing.samples)
    (complete,) = impute(model, [item], FAST)
    assert complete.samples.shape == (9, 0)
    with pytest.raises(ConfigError, match="shape \\(3,\\)"):
        impute(model, [item], FAST, known=[np.ones(3, bool)])


def test_later_windows_take_earlier_imputations_as_known_in_sequence_only() -> None:
    model = untrained()
    target = sines(1, 60).series[0].target.copy()
    target[10:45] = np.nan
    item = hours(target)
    apart = impute(model, [item], FAST)[0].samples
    chained = impute(model, [item], FAST, sequential=True)[0].samples
    first = spots(target, model.shape.length)[0].missing
    at = np.searchsorted(np.flatnonzero(np.isnan(target)), first)
    assert np.allclose(apart[:, at], chained[:, at], atol=1e-4)
    rest = np.setdiff1d(np.arange(apart.shape[1]), at)
    assert not np.allclose(apart[:, rest], chained[:, rest], atol=1e-3)


def test_a_gap_between_known_values_is_bridged_near_the_exact_conditional_mean() -> None:
    model = gaussian_model(9, 3)
    at = np.arange(12)
    item = hours(np.sin(2 * np.pi * at / 6))
    missing = [5, 6]
    known = np.setdiff1d(at, missing)
    mask = np.isin(at, known)
    sampling = SampleConfig(sampler="ddpm", guidance="mse", scale=8.0, num_samples=64)
    (found,) = impute(model, [item], sampling, known=[mask])
    full = covariance(model.shape).numpy()
    exact = full[np.ix_(missing, known)] @ np.linalg.solve(full[np.ix_(known, known)], item.target[known])
    # 64 samples of a bridge of deviation below 0.6: standard error 0.08.
    assert found.samples.mean(0) == pytest.approx(exact, abs=0.3)
    assert found.samples.std(0).max() < 0.8


def test_scenarios_hide_half_of_the_context_where_they_say() -> None:
    gen = np.random.default_rng(0)
    random = hidden("RM", 12, 6, gen)
    assert random.sum() == 6
    assert hidden("BM-B", 12, 6, gen).tolist() == [True] * 6 + [False] * 6
    assert hidden("BM-E", 12, 6, gen).tolist() == [False] * 6 + [True] * 6
    assert not hidden("none", 12, 6, gen).any()
    item = hours(np.arange(1.0, 31.0))
    for name in ("RM", "BM-B", "BM-E"):
        out = with_scenario(item, name, 12)
        gone = np.isnan(out.target)
        assert gone.sum() == 6
        assert not gone[:18].any()
        assert np.array_equal(with_scenario(item, name, 12).target, out.target, equal_nan=True)
    assert np.isnan(with_scenario(item, "BM-E", 12, missing=3).target[-3:]).all()
    with pytest.raises(ConfigError, match="unknown scenario"):
        hidden("BM-C", 12, 6, gen)
    with pytest.raises(DataError, match="has 5 points"):
        with_scenario(hours(np.ones(5)), "RM", 12)


def test_scores_stand_beside_those_of_straight_lines() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    item = hours([1.0, np.nan, 5.0, 4.0])
    (found,) = impute(untrained(), [item], FAST)
    exact = type(found)(item, found.missing, np.full((9, 1), 2.0))
    scores = imputation_scores([exact], [truth])
    # The line gives 3 where 2 is true: an error of 1, at every level, relative to 2.
    assert scores == {"mean_wql": 0.0, "mean_wql_straight_lines": pytest.approx(0.5), "positions": 1}
    with pytest.raises(DataError, match="nothing to score"):
        imputation_scores([exact], [np.full(4, np.nan)])


def test_a_conditional_model_cannot_impute() -> None:
    with pytest.raises(ConfigError, match="unconditional"):
        impute(replace(untrained(), kind="tsdiff-cond"), [hours(np.ones(30))], FAST)
