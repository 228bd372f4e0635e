"""Windows: which points they hold, what is known of them, and training windows as a function of a number."""

import numpy as np
import pytest
import torch

from core.errors import DataError
from domains.timeseries.data import Table
from domains.timeseries.windows import Shape, Windows, cut, cut_span, filled, largest_context, usable
from tests.domains.timeseries.exact import hours


def test_a_window_holds_the_context_and_an_unknown_future() -> None:
    found = cut(hours([9.0, 1, 2, 3, 6]), Shape(3, 2))
    # The mean absolute context is (2 + 3 + 6) / 3.
    assert found.scale == pytest.approx(11 / 3)
    assert found.values[0] * found.scale == pytest.approx([2, 3, 6, 0, 0])
    assert found.known.tolist() == [[True, True, True, False, False]]
    assert found.trusted


def test_lag_channels_know_what_lies_before_the_forecast() -> None:
    found = cut(hours(np.arange(1.0, 13.0)), Shape(4, 3, lags=(2, 5), scaling="none"))
    assert found.values.tolist() == [
        [9, 10, 11, 12, 0, 0, 0],
        [7, 8, 9, 10, 11, 12, 0],
        [4, 5, 6, 7, 8, 9, 10],
    ]
    assert found.known[1].tolist() == [True] * 6 + [False]
    assert found.known[2].all()


def test_short_series_and_gaps_are_unknown_and_zero() -> None:
    found = cut(hours([5.0, np.nan, 5.0]), Shape(5, 1, lags=(2,)))
    assert found.known[0].tolist() == [False, False, True, False, True, False]
    assert found.known[1].tolist() == [False, False, False, False, True, False]
    assert found.values[0].tolist() == [0, 0, 1, 0, 1, 0]


def test_values_that_may_not_be_used_do_not_reach_scale_or_window() -> None:
    known = np.array([True, True, False, False])
    found = cut(hours([1.0, 1.0, 50.0, 50.0]), Shape(4, 1), known=known)
    assert found.scale == 1
    assert found.known[0].tolist() == [True, True, False, False, False]


def test_a_silent_context_takes_the_fallback_and_says_so() -> None:
    found = cut(hours([3.0, 0, 0, 0]), Shape(3, 1, fallback=4.0))
    assert (found.scale, found.trusted) == (4.0, False)


def test_a_gap_over_the_context_is_scaled_by_what_is_known_after_it() -> None:
    found = cut_span(np.array([np.nan, np.nan, np.nan, 4.0, 8.0]), 5, Shape(3, 2, fallback=9.0))
    assert (found.scale, found.trusted) == (6.0, True)
    assert found.known.tolist() == [[False, False, False, True, True]]


def test_history_scaling_reads_the_reach_of_the_lags_too() -> None:
    series = hours([10.0, 10.0, 1.0, 1.0])
    assert cut(series, Shape(2, 1, lags=(2,), scaling="mean")).scale == 1
    assert cut(series, Shape(2, 1, lags=(2,), scaling="history")).scale == 5.5


def test_a_window_may_end_anywhere() -> None:
    found = cut_span(np.arange(10.0), 6, Shape(2, 2, scaling="none"))
    assert found.values.tolist() == [[2, 3, 4, 5]]
    assert found.known.all()


def test_training_windows_are_stretches_of_their_series_scaled_by_their_context() -> None:
    series = (hours(np.arange(1.0, 31.0), "a"), hours(100 * np.arange(1.0, 21.0), "b"))
    shape = Shape(4, 2, lags=(3,))
    windows = Windows(series, shape)
    values, known = windows.draw(range(50), 0)
    assert values.shape == (50, 2, 6)
    assert known.all()
    for number, row in enumerate(values):
        item, end = windows.place(number, 0)
        target = series[item].target
        scale = np.abs(target[end - 6 : end - 2]).mean()
        assert row[0] == pytest.approx(target[end - 6 : end] / scale)
        assert row[1] == pytest.approx(target[end - 9 : end - 3] / scale)


def test_every_pass_takes_each_series_once_and_long_ones_no_more_often() -> None:
    windows = Windows(
        (hours(np.ones(500), "a"), hours(np.ones(8), "b"), hours(np.ones(60), "c")), Shape(4, 2)
    )
    items = [windows.place(number, 1)[0] for number in range(300)]
    assert all(sorted(items[i : i + 3]) == [0, 1, 2] for i in range(0, 300, 3))
    ends = [windows.place(number, 1)[1] for number in range(3000) if windows.place(number, 1)[0] == 1]
    # Ends 6, 7 and 8 of the short series: a third each, standard error 0.015 of 1000 draws.
    assert [ends.count(end) / 1000 for end in (6, 7, 8)] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_a_window_is_a_function_of_seed_and_number() -> None:
    windows = Windows((hours(np.random.default_rng(0).random(90) + 1),), Shape(6, 2))
    whole = windows(range(8), 3).x0
    assert torch.equal(windows(range(5, 8), 3).x0, whole[5:])
    assert not torch.equal(windows(range(8), 4).x0, whole)
    assert whole.dtype == torch.float32


def test_gaps_are_closed_by_lines_and_left_out_of_the_loss() -> None:
    target = np.array([1.0, np.nan, 3.0, 4.0, np.nan, np.nan])
    assert filled(target).tolist() == [1, 2, 3, 4, 4, 4]
    batch = Windows((hours(target),), Shape(4, 2, scaling="none"))(range(1), 0)
    assert batch.x0[0, 0].tolist() == [1, 2, 3, 4, 4, 4]
    assert batch.cond["observed"][0, 0].tolist() == [True, False, True, True, False, False]
    assert Windows((hours(np.ones(6)),), Shape(4, 2))(range(1), 0).cond is None


def test_series_too_short_for_their_lags_train_with_the_missing_ones_left_out() -> None:
    batch = Windows((hours(np.arange(1.0, 9.0)),), Shape(4, 2, lags=(4,), scaling="none"))(range(1), 0)
    assert batch.x0[0, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert batch.cond["observed"][0, 1].tolist() == [False, False, True, True, True, True]


def test_series_without_a_window_are_counted_or_refused_with_the_context_that_works() -> None:
    table = Table((hours(np.ones(10), "a"), hours(np.ones(5), "b"), hours(np.full(12, np.nan), "c")), "h")
    kept, out = usable(table, Shape(6, 2))
    assert ([item.item_id for item in kept], out) == (["a"], 2)
    with pytest.raises(DataError, match="20 \\+ 2 points") as caught:
        usable(table, Shape(20, 2))
    assert caught.value.hint == "The largest context that works is 10."


def test_the_context_that_half_of_the_series_have_room_for() -> None:
    assert largest_context([30, 40, 50], 10, 100) == 30
    assert largest_context([30, 40, 50], 10, 20) == 20
