"""The baselines reproduce the reference scores of the data, and closed forms where there are any."""

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.baselines import context_of, ridge, seasonal_naive
from domains.timeseries.data import Instance, Series, Table, split
from domains.timeseries.formats import read_table
from domains.timeseries.metrics import score

START = pd.Period("2024-01-01", freq="h")

# Folder, test instances, mean weighted quantile loss of seasonal naive and of ridge, from the data's README.
REFERENCE = [
    ("exchange_rate_nips", 40, 0.0107, 0.0107),
    ("m4_hourly", 414, 0.0483, 0.0395),
    ("solar_ghi_hourly", 28, 0.2384, 0.3017),
    ("wiki_two_daily", 10, 0.5140, 0.6814),
    ("pjm_hourly", 77, 0.0717, 0.0493),
    ("beijing_air_hourly", 60, 0.6397, 0.6667),
    pytest.param("metr_la_week", 1449, 0.1054, 0.0788, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "n", "naive", "linear"), REFERENCE)
def test_the_reference_scores_are_reproduced(
    name: str, n: int, naive: float, linear: float, real_data
) -> None:
    table = read_table(real_data(f"timeseries/{name}"))
    training, instances = split(table)
    assert len(instances) == n
    found = [
        score(forecasts, instances, season=table.season).mean_wql
        for forecasts in (seasonal_naive(instances, season=table.season), ridge(training, instances))
    ]
    # The README prints four decimals.
    assert found == pytest.approx([naive, linear], abs=0.6e-4)


def instance(values: list[float], p: int = 5) -> Instance:
    return Instance(Series("a", START, np.array(values)), np.zeros(p))


def test_the_last_season_repeats() -> None:
    forecast = seasonal_naive([instance([9, 9, 1, 2, 3], 7)], season=3)[0]
    assert forecast.samples.tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert forecast.start == START + 5


def test_missing_values_are_filled_forward_before_a_season_repeats() -> None:
    nan = float("nan")
    assert seasonal_naive([instance([1, 2, nan, 4])], season=2)[0].samples.tolist() == [[2, 4, 2, 4, 2]]
    assert seasonal_naive([instance([nan, 2, 3])], season=3)[0].samples.tolist() == [[2, 2, 3, 2, 2]]
    assert seasonal_naive([instance([nan, nan])], season=2)[0].samples.tolist() == [[0, 0, 0, 0, 0]]


def test_a_history_shorter_than_a_season_repeats_its_last_value() -> None:
    assert seasonal_naive([instance([1, 2])], season=24)[0].samples.tolist() == [[2, 2, 2, 2, 2]]


def test_a_season_below_one_point_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 point"):
        seasonal_naive([instance([1, 2])], season=0)


def sines(n: int = 4, length: int = 200) -> Table:
    gen = np.random.default_rng(0)
    t = np.arange(length)
    series = [
        Series(f"s{i}", START, 10.0**i * (3 + np.sin(2 * np.pi * (t / 12 + gen.random())))) for i in range(n)
    ]
    return Table(tuple(series), "h", name="sines")


def test_ridge_continues_a_sine_at_any_scale() -> None:
    training, instances = split(sines(), 10)
    forecasts = ridge(training, instances, context_length=24, penalty=1e-6, windows=500)
    for forecast, each in zip(forecasts, instances, strict=True):
        # A sine with a mean obeys a linear recurrence: a linear map of 24 points is exact but for the
        # penalty.
        assert forecast.samples[0] == pytest.approx(each.label, rel=1e-4)


def test_ridge_does_not_depend_on_what_else_is_forecast() -> None:
    training, instances = split(sines(), 10)
    together = ridge(training, instances, context_length=24)
    alone = ridge(training, instances[2:3], context_length=24)
    assert together[2].samples == pytest.approx(alone[0].samples)


def test_ridge_continues_a_short_history_to_the_left_by_its_first_value() -> None:
    training, instances = split(sines(), 10)
    short = Instance(instances[0].series.cut(185), instances[0].label)
    padded = np.concatenate([np.full(19, short.series.target[0]), short.series.target])
    long = Instance(Series("s0", short.series.end - 24, padded), short.label)
    found = ridge(training, [short, long], context_length=24)
    assert found[0].samples == pytest.approx(found[1].samples)


def test_ridge_says_which_context_would_work() -> None:
    training, instances = split(sines(length=60), 10)
    with pytest.raises(
        DataError, match=r"no series has the 48 \+ 10 points of a window: the longest has 50"
    ) as caught:
        ridge(training, instances, context_length=48)
    assert caught.value.hint == "The largest context length that works is 40."


def test_the_context_fits_the_longest_series() -> None:
    assert context_of(sines(length=200), 10) == 72  # three seasons of 24 hours
    assert context_of(sines(length=60), 10) == 50
    assert context_of(sines(length=200), 48) == 96
