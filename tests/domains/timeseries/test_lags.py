"""Lag lists per frequency, their cut to short series, and the channels they make."""

import numpy as np
import pytest

from core.errors import ConfigError
from domains.timeseries.lags import chosen_lags, lag_list, lagged


def test_the_lists_are_those_of_the_published_code() -> None:
    assert lag_list("H") == tuple(24 * k for k in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28))
    assert lag_list("D") == lag_list("B") == tuple(range(30, 361, 30))


@pytest.mark.parametrize(
    ("freq", "first", "last"),
    [("ME", 12, 336), ("W-SUN", 1, 28), ("5min", 288, 8064), ("Q", 4, 112), ("YE", 1, 28), ("2h", 12, 336)],
)
def test_every_other_frequency_takes_multiples_of_its_season(freq: str, first: int, last: int) -> None:
    lags = lag_list(freq)
    assert (lags[0], lags[-1], len(lags)) == (first, last, 10)


def test_a_table_may_name_its_own_season() -> None:
    assert lag_list("D", 7) == tuple(7 * k for k in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28))


def test_auto_keeps_what_leaves_a_whole_window_in_the_shortest_kept_series() -> None:
    # 700 points and a window of 360 leave 340: 24 .. 168 and 336, but not 504.
    assert chosen_lags("auto", "h", 360, [700, 960, 100]) == (24, 48, 72, 96, 120, 144, 168, 336)
    assert chosen_lags("auto", "h", 360, [365]) == ()
    assert chosen_lags("none", "h", 360, [5000]) == ()
    assert chosen_lags([48, 24, 24], "h", 360, [400]) == (24, 48)


def test_words_and_lags_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="'auto', 'none'"):
        chosen_lags("all", "h", 10, [100])
    with pytest.raises(ConfigError, match=">= 1"):
        chosen_lags([0, 24], "h", 10, [100])


def test_a_lag_channel_holds_the_series_that_many_points_earlier() -> None:
    out = lagged(np.arange(20.0), (3, 5), 6)
    assert out.tolist() == [list(range(14, 20)), list(range(11, 17)), list(range(9, 15))]
