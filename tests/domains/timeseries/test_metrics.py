"""Scores against loops over their formulas, against GluonTS, and where the answer is known."""

import logging
from math import sqrt

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from domains.timeseries.data import Array, Forecast, Instance, Series, Table, split
from domains.timeseries.metrics import (
    LEVELS,
    coverage,
    mase,
    mean_weighted_quantile_loss,
    nrmse,
    quantile_losses,
    score,
    seasonal_error,
    standard_error,
    weighted_quantile_losses,
    width,
)

START = pd.Period("2024-01-01", freq="h")


def random_case(gen: np.random.Generator, n: int = 6, p: int = 5, s: int = 25):
    """A table of series of different scales with gaps, its instances, and forecasts of them."""
    series = []
    for i in range(n):
        values = 10.0 ** (i % 3) * (5 + gen.normal(size=60 + 7 * i))
        values[gen.random(len(values)) < 0.1] = np.nan
        series.append(Series(f"s{i}", START + i, values))
    table = Table(tuple(series), "h", name="random")
    _, instances = split(table, p, 2)
    forecasts = [
        Forecast(
            i.series.item_id, i.series.end, np.nanmean(i.series.target) * (1 + gen.normal(size=(s, p)) / 5)
        )
        for i in instances
    ]
    return table, instances, forecasts


def test_the_quantile_loss_is_its_formula_point_by_point() -> None:
    gen = np.random.default_rng(0)
    labels, quantiles = gen.normal(size=(3, 4)), gen.normal(size=(9, 3, 4))
    found = quantile_losses(labels, quantiles, LEVELS)
    for q, level in enumerate(LEVELS):
        for i in range(3):
            for t in range(4):
                y, f = labels[i, t], quantiles[q, i, t]
                assert found[q, i, t] == pytest.approx(
                    2 * (level * (y - f) if y > f else (1 - level) * (f - y))
                )


def test_sums_come_first_and_then_the_ratio() -> None:
    labels = np.array([[1.0, 1.0], [100.0, 100.0]])
    forecast = np.array([[2.0, 2.0], [100.0, 100.0]])
    losses = weighted_quantile_losses(labels, forecast[None], [0.5])
    assert losses[0] == pytest.approx(2.0 / 202.0)
    # The mean of per-series ratios, the wrong variant, would be 0.5.
    wrong = np.mean(
        [weighted_quantile_losses(labels[i : i + 1], forecast[None, i : i + 1], [0.5])[0] for i in (0, 1)]
    )
    assert wrong == pytest.approx(0.5)


def test_a_point_forecast_scores_its_normalized_deviation() -> None:
    gen = np.random.default_rng(1)
    labels, point = gen.normal(size=(4, 6)), gen.normal(size=(4, 6))
    expected = np.abs(labels - point).sum() / np.abs(labels).sum()
    found = mean_weighted_quantile_loss(labels, np.broadcast_to(point, (9, 4, 6)))
    # Symmetric levels average to 1/2 on either side of the label.
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_gluonts(seed: int) -> None:
    from gluonts.dataset.split import split as gluonts_split
    from gluonts.ev.metrics import MASE, ND, NRMSE, Coverage, MeanWeightedSumQuantileLoss
    from gluonts.model.evaluation import evaluate_forecasts
    from gluonts.model.forecast import SampleForecast

    logging.getLogger("gluonts").setLevel(logging.ERROR)
    table, instances, forecasts = random_case(np.random.default_rng(seed))
    entries = [{"item_id": s.item_id, "start": s.start, "target": s.target} for s in table]
    _, template = gluonts_split(entries, offset=-10)
    # GluonTS goes series by series, we go window by window.
    order = [k * len(table) + i for i in range(len(table)) for k in range(2)]
    theirs = evaluate_forecasts(
        [
            SampleForecast(
                samples=forecasts[j].samples, start_date=forecasts[j].start, item_id=forecasts[j].item_id
            )
            for j in order
        ],
        test_data=template.generate_instances(prediction_length=5, windows=2),
        metrics=[MeanWeightedSumQuantileLoss(quantile_levels=LEVELS), ND(), NRMSE(), MASE(), Coverage(0.9)],
        axis=None,
    ).iloc[0]
    ours = score(forecasts, instances, season=24)
    assert ours.mean_wql == pytest.approx(theirs["mean_weighted_sum_quantile_loss"], abs=1e-6)
    assert ours.nd == pytest.approx(theirs["ND[0.5]"], abs=1e-6)
    assert ours.nrmse == pytest.approx(theirs["NRMSE[mean]"], abs=1e-6)
    assert ours.mase == pytest.approx(theirs["MASE[0.5]"], abs=1e-6)


def test_the_quantile_rule_changes_the_score_and_is_named_in_it() -> None:
    _, instances, forecasts = random_case(np.random.default_rng(0), s=9)
    one, other = (score(forecasts, instances, season=24, rule=rule) for rule in ("gluonts", "numpy"))
    assert (one.quantile_rule, other.quantile_rule) == ("gluonts", "numpy")
    assert one.mean_wql != pytest.approx(other.mean_wql, rel=1e-4)


def test_labels_that_are_missing_are_skipped() -> None:
    _, instances, forecasts = random_case(np.random.default_rng(2))
    known = sum(int((~np.isnan(i.label)).sum()) for i in instances)
    total = sum(len(i.label) for i in instances)
    assert known < total
    scores = score(forecasts, instances, season=24)
    assert scores.points == known
    filled = [Instance(i.series, np.where(np.isnan(i.label), 0.0, i.label)) for i in instances]
    assert score(forecasts, filled, season=24).mean_wql != pytest.approx(scores.mean_wql, rel=1e-3)


def test_the_seasonal_error_is_the_mean_step_over_known_pairs() -> None:
    history = np.array([1.0, 2.0, np.nan, 4.0, 8.0, 3.0])
    assert seasonal_error(history, 2) == pytest.approx((2 + 1) / 2)  # pairs (2, 4) and (4, 3)
    assert seasonal_error(history, 10) == pytest.approx((1 + 4 + 5) / 3)  # too short: the step is 1
    assert np.isnan(seasonal_error(np.array([1.0]), 1))


def test_mase_leaves_out_histories_that_do_not_vary() -> None:
    labels = np.array([[1.0, 2.0], [5.0, 5.0]])
    value, left_out = mase(labels, np.zeros((2, 2)), np.array([2.0, 0.0]))
    assert value == pytest.approx(0.75)
    assert left_out == 1


def test_coverage_and_width_of_a_known_interval() -> None:
    labels = np.array([[1.0, 2.0, 3.0, np.nan]])
    low, high = np.full((1, 4), 1.5), np.full((1, 4), 3.5)
    assert coverage(labels, low, high) == pytest.approx(2 / 3)
    assert width(labels, low, high) == pytest.approx(1.0)


def test_a_calibrated_forecast_covers_what_it_says() -> None:
    gen = np.random.default_rng(3)
    n = 2000
    instances = [Instance(Series("a", START, gen.normal(size=30)), 10 + gen.normal(size=1)) for _ in range(n)]
    forecasts = [Forecast("a", START + 30, 10 + gen.normal(size=(1001, 1))) for _ in range(n)]
    scores = score(forecasts, instances, season=1)
    for percent, share in scores.coverage.items():
        # A binomial share of 2000 draws; the samples' own quantiles add little.
        error = sqrt(int(percent) / 100 * (1 - int(percent) / 100) / n)
        assert share == pytest.approx(int(percent) / 100, abs=4 * error)
    # E quantile loss of N(0, 1) at its own quantile is 2 phi(z_q); the labels' mean is 10.
    from statistics import NormalDist

    normal = NormalDist()
    expected = np.mean([2 * normal.pdf(normal.inv_cdf(q)) for q in LEVELS]) / 10
    assert scores.mean_wql == pytest.approx(expected, abs=4 * (scores.mean_wql_standard_error or 0))


def test_a_point_forecast_has_no_coverage() -> None:
    _, instances, forecasts = random_case(np.random.default_rng(4), s=1)
    scores = score(forecasts, instances, season=24)
    assert set(scores.coverage.values()) == {None}
    assert scores.to_dict()["width_90"] is None


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    gen = np.random.default_rng(5)

    def once() -> tuple[float, float]:
        scale = np.exp(gen.normal(size=(60, 1)))
        labels = scale * (3 + gen.normal(size=(60, 4)))
        quantiles = np.broadcast_to(3 * scale, (9, 60, 4))
        return mean_weighted_quantile_loss(labels, quantiles), standard_error(labels, quantiles, LEVELS)

    draws: Array = np.array([once() for _ in range(400)])
    # The deviation of 400 draws is known to 4 %; linearising over 60 instances of heavy weights costs some
    # more.
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std(), rel=0.15)


def test_labels_that_are_all_zero_have_no_relative_score() -> None:
    instances = [Instance(Series("a", START, np.arange(9.0)), np.zeros(3))]
    scores = score([Forecast("a", START + 9, np.ones((5, 3)))], instances, season=1)
    assert scores.mean_wql is None
    assert scores.nd is None
    assert scores.nrmse is None
    assert scores.mase == pytest.approx(1.0)


def test_nrmse_is_the_root_mean_square_over_the_mean_label() -> None:
    assert nrmse(np.array([[1.0, 3.0]]), np.array([[2.0, 2.0]])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[1:], "expected a forecast for each of 12 instances, got 11"),
        (lambda f: [f[1], f[0], *f[2:]], "stands where that of 's0'"),
        (
            lambda f: [Forecast(f[0].item_id, f[0].start, f[0].samples[:, :3]), *f[1:]],
            "3 points, its label 5",
        ),
        (lambda f: [Forecast(f[0].item_id, f[0].start, f[0].samples * np.nan), *f[1:]], "holds NaN"),
        (lambda f: [Forecast(f[0].item_id, f[0].start + 1, f[0].samples), *f[1:]], "is due"),
    ],
)
def test_a_forecast_that_does_not_belong_is_refused(change, message: str) -> None:
    _, instances, forecasts = random_case(np.random.default_rng(6))
    with pytest.raises(DataError, match=message):
        score(change(forecasts), instances, season=24)


def test_no_known_label_is_refused() -> None:
    instances = [Instance(Series("a", START, np.arange(9.0)), np.full(3, np.nan))]
    with pytest.raises(DataError, match="no label is known"):
        score([Forecast("a", START + 9, np.ones((5, 3)))], instances, season=1)
