"""Scales of windows: what a model divides a series by, and what its answers are multiplied with.

    mean      mean absolute value of the observed context, never of the future
    history   the same over the context and all of the lags' reach before it
    none      1

Where nothing in the context was observed, or all of it is zero, the median scale of the training windows
takes its place, so that an answer never depends on what else is in the batch.

Source: `MeanScaler` of GluonTS, as Kollovieh et al. 2023, arXiv:2307.11494, use it. Deviation: the fallback,
which is the mean over the batch there.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from core.errors import unknown
from domains.timeseries.data import Array

__all__ = ["Scaling", "median_scale", "scale_of"]

Scaling: TypeAlias = Literal["mean", "history", "none"]

FLOOR = 1e-10


def scale_of(values: Array, observed: Array, kind: Scaling, fallback: float) -> Array:
    """Scale of each window.

    Args:
        values: what the scale is read from, (..., n); the context, or with "history" what lies before it too.
        observed: which of them are known, (..., n), booleans.
        fallback: scale where none is known, or all are zero.

    Returns:
        (...), positive, float64.
    """
    if kind not in get_args(Scaling):
        raise unknown("scaling", kind, get_args(Scaling))
    if kind == "none":
        return np.ones(values.shape[:-1])
    total = np.where(observed, np.abs(values), 0.0).sum(-1)
    scale = total / np.maximum(observed.sum(-1), 1)
    return np.where(scale > FLOOR, scale, fallback)


def median_scale(series: Sequence[Array]) -> float:
    """The median over series of the mean absolute value, NaN left out; 1 where every series is zero."""
    sizes = [float(np.nanmean(np.abs(x))) for x in series if np.isfinite(x).any()]
    found = [size for size in sizes if size > FLOOR]
    return float(np.median(found)) if found else 1.0
