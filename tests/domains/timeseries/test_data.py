"""Series, tables, the split into windows, and quantiles of forecasts."""

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, DataError
from domains.timeseries.data import Forecast, Quantiles, Series, Table, quantile_of, split
from domains.timeseries.formats import read_table


def series(n: int, name: str = "a", freq: str = "h") -> Series:
    return Series(name, pd.Period("2024-01-01", freq=freq), np.arange(n))


def table(*lengths: int) -> Table:
    return Table(tuple(series(n, f"s{i}") for i, n in enumerate(lengths)), "h", name="t")


def test_a_cut_moves_the_start_and_keeps_the_values() -> None:
    cut = series(10).cut(3, 7)
    assert cut.start == pd.Period("2024-01-01 03:00", freq="h")
    assert cut.target.tolist() == [3, 4, 5, 6]
    assert cut.end == pd.Period("2024-01-01 07:00", freq="h")
    assert series(10).upto(-4).target.tolist() == [0, 1, 2, 3, 4, 5]


def test_windows_follow_the_rule_of_the_benchmark() -> None:
    training, instances = split(table(20, 13), prediction_length=3, windows=2)
    assert [len(item) for item in training] == [14, 7]
    found = [(i.series.item_id, len(i.series), i.label.tolist()) for i in instances]
    # Window first, series second; window 1 is the oldest.
    assert found == [
        ("s0", 14, [14, 15, 16]),
        ("s1", 7, [7, 8, 9]),
        ("s0", 17, [17, 18, 19]),
        ("s1", 10, [10, 11, 12]),
    ]


def test_windows_are_those_that_gluonts_splits_off() -> None:
    from gluonts.dataset.split import split as gluonts_split

    data = table(50, 41)
    entries = [{"item_id": s.item_id, "start": s.start, "target": s.target} for s in data]
    _, template = gluonts_split(entries, offset=-12)
    theirs = {
        (inputs["item_id"], len(inputs["target"]), tuple(label["target"]))
        for inputs, label in template.generate_instances(prediction_length=4, windows=3)
    }
    _, ours = split(data, 4, 3)
    assert {(i.series.item_id, len(i.series), tuple(i.label)) for i in ours} == theirs


def test_a_table_that_states_its_windows_needs_no_arguments(real_data) -> None:
    data = read_table(real_data("timeseries/exchange_rate_nips"))
    training, instances = split(data)
    assert {len(item) for item in training} == {6071}
    assert len(instances) == 40
    assert [len(i.series) for i in instances[::8]] == [6071, 6101, 6131, 6161, 6191]


def test_series_without_a_point_before_their_windows_are_left_out_with_a_count() -> None:
    training, instances = split(table(20, 6), 3, 2)
    assert [item.item_id for item in training] == ["s0"]
    assert len(instances) == 2
    assert training.notes == ("1 of 2 series have at most 2 x 3 points and were left out.",)


@pytest.mark.parametrize(
    ("p", "k", "kind", "message"),
    [
        (None, 1, ConfigError, "prediction length is not known"),
        (0, 1, ConfigError, "at least 1"),
        (3, 0, ConfigError, "at least 1"),
        (10, 2, DataError, "no series is longer than the 2 x 10 points .* the longest has 20"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(p: int | None, k: int, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        split(table(20), p, k)


def test_a_table_holds_one_frequency_and_each_id_once() -> None:
    with pytest.raises(DataError, match="'a' has frequency 'D', the table 'h'"):
        Table((series(3, freq="D"),), "h")
    with pytest.raises(DataError, match="'a' is in the table twice"):
        Table((series(3), series(4)), "h")


def test_a_start_that_is_no_period_is_refused() -> None:
    with pytest.raises(DataError, match="start must be a pandas Period"):
        Series("a", "2024-01-01", np.zeros(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 9, 16, 100])
def test_quantiles_are_the_order_statistics_of_gluonts(n: int) -> None:
    from gluonts.model.forecast import SampleForecast

    samples = np.random.default_rng(n).normal(size=(n, 5))
    start = pd.Period("2024-01-01", freq="h")
    theirs = SampleForecast(samples=samples, start_date=start)
    ours = Forecast("a", start, samples)
    for level in (0.0, 0.05, 0.1, 0.25, 0.5, 0.77, 0.9, 1.0):
        assert ours.quantile(level).tolist() == theirs.quantile(level).tolist()
        assert ours.quantile(level, "numpy").tolist() == np.quantile(samples, level, axis=0).tolist()


def test_the_two_quantile_rules_differ_for_few_samples() -> None:
    samples = np.arange(10.0)[:, None]
    assert quantile_of(samples, 0.25) == 2.0
    assert quantile_of(samples, 0.25, "numpy") == 2.25


def test_nan_in_a_sample_is_not_sorted_away() -> None:
    samples = np.array([[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]])
    assert np.isnan(quantile_of(samples, 0.0)[0])
    assert quantile_of(samples, 0.5)[1] == 2.0


def test_known_quantiles_are_exact_and_between_them_linear() -> None:
    forecast = Quantiles("a", pd.Period("2024", freq="Y"), (0.1, 0.5, 0.9), np.array([[0.0], [1.0], [5.0]]))
    assert [forecast.quantile(level)[0] for level in (0.1, 0.3, 0.5, 0.6, 0.9)] == pytest.approx(
        [0, 0.5, 1, 2, 5]
    )
    assert np.isnan(forecast.quantile(0.05)[0])
    assert np.isnan(forecast.quantile(0.95)[0])
    assert forecast.mean.tolist() == [1.0]


def test_levels_that_do_not_increase_are_refused() -> None:
    with pytest.raises(DataError, match="rows for the levels"):
        Quantiles("a", pd.Period("2024", freq="Y"), (0.5, 0.1), np.zeros((2, 1)))
