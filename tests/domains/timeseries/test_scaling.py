"""Scales: of the observed context alone, with a fallback that no other series has a say in."""

import numpy as np
import pytest

from core.errors import ConfigError
from domains.timeseries.scaling import median_scale, scale_of


def test_the_scale_is_the_mean_absolute_value_of_what_is_observed() -> None:
    values = np.array([[1.0, -3.0, 100.0], [2.0, 2.0, 2.0]])
    observed = np.array([[True, True, False], [True, False, True]])
    assert scale_of(values, observed, "mean", 7.0).tolist() == [2.0, 2.0]
    # The mean over all entries, missing ones as zero, would be another number.
    assert scale_of(values, observed, "mean", 7.0)[0] != np.abs(np.where(observed, values, 0)).mean(1)[0]


def test_an_empty_or_zero_context_takes_the_fallback() -> None:
    values = np.zeros((2, 3))
    observed = np.array([[True, True, True], [False, False, False]])
    assert scale_of(values, observed, "mean", 7.0).tolist() == [7.0, 7.0]


def test_no_scaling_is_one() -> None:
    assert scale_of(np.full((4, 3), 9.0), np.ones((4, 3), bool), "none", 7.0).tolist() == [1.0] * 4


def test_the_fallback_is_the_median_over_series() -> None:
    series = [
        np.array([1.0, np.nan, -1.0]),
        np.full(5, 10.0),
        np.full(3, 100.0),
        np.zeros(4),
        np.full(2, np.nan),
    ]
    assert median_scale(series) == 10.0
    assert median_scale([np.zeros(3)]) == 1.0


def test_an_unknown_scaling_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown scaling 'max'"):
        scale_of(np.ones(3), np.ones(3, bool), "max", 1.0)  # type: ignore[arg-type]
