"""The Linear Predictive Score: how well a linear map fitted to windows forecasts real series.

A ridge regression from the first C points of each window to its last P is fitted (penalty on the weights,
none on the intercept), real histories are divided by the mean absolute value of their last C points,
predicted, and multiplied back; the score is the mean weighted quantile loss of that point forecast. On
synthetic windows it says whether they hold what a forecaster needs; on real ones it is their yardstick, and
a baseline forecaster.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 5.3 and appendix B.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ConfigError, DataError
from domains.timeseries.data import Array, Instance, Series

__all__ = [
    "Linear",
    "contexts",
    "fill_forward",
    "fit_ridge",
    "linear_predictive_score",
    "predict_linear",
    "real_windows",
]

FLOOR = 1e-10


@dataclass(frozen=True)
class Linear:
    """A linear map from contexts to futures.

    Args:
        weights: (C, P).
        intercept: (P,).
    """

    weights: Array
    intercept: Array

    def __call__(self, contexts: Array) -> Array:
        """(N, C) to (N, P)."""
        return np.asarray(contexts @ self.weights + self.intercept)


def fill_forward(values: Array) -> Array:
    """Replace each NaN by the last value before it; NaN at the very start remain."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return np.asarray(values[np.maximum.accumulate(known)]) if len(values) else values


def fit_ridge(inputs: Array, targets: Array, *, penalty: float = 1.0) -> Linear:
    """Minimise |targets - inputs W - b|^2 + penalty |W|^2, the intercept b free.

    Args:
        inputs: (N, C), finite.
        targets: (N, P), finite.
        penalty: >= 0; above 0 the solution exists for any N >= 1.

    Source: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634.
    """
    mean_in, mean_out = inputs.mean(axis=0), targets.mean(axis=0)
    x, y = inputs - mean_in, targets - mean_out
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return Linear(weights, mean_out - mean_in @ weights)


def real_windows(
    series: Iterable[Series], n: int, *, context_length: int, prediction_length: int, gen: np.random.Generator
) -> Array:
    """Draw windows from real series, each divided by the mean absolute value of its context.

    A series is drawn uniformly, then a start within it, so that long series are not over-weighted. NaN is
    filled forward; windows that begin before the first value of their series are left out.

    Args:
        series: those shorter than C + P are skipped.
        n: draws.
        context_length, prediction_length: C and P, points.

    Returns:
        (at most n, C + P), float64, with mean absolute value 1 over the first C points.

    Raises:
        DataError: no series has C + P points; the message says the longest and the C that would do.
    """
    length = context_length + prediction_length
    filled = [fill_forward(item.target) for item in series]
    usable = [values for values in filled if len(values) >= length]
    if not usable:
        longest = max((len(values) for values in filled), default=0)
        raise too_short(longest, context_length, prediction_length)
    windows = np.empty((n, length))
    for i in range(n):
        values = usable[int(gen.integers(len(usable)))]
        at = int(gen.integers(len(values) - length + 1))
        windows[i] = values[at : at + length]
    windows = windows[~np.isnan(windows).any(axis=1)]
    scale = np.abs(windows[:, :context_length]).mean(axis=1, keepdims=True)
    return windows / np.where(scale > FLOOR, scale, 1.0)


def too_short(longest: int, context_length: int, prediction_length: int) -> DataError:
    """The error for series that are all shorter than a window."""
    fits = longest - prediction_length
    hint = (
        f"The largest context length that works is {fits}."
        if fits >= 1
        else f"Take a prediction length below {longest}, or longer series."
    )
    return DataError(
        f"no series has the {context_length} + {prediction_length} points of a window: the longest has "
        f"{longest}.",
        hint=hint,
    )


def contexts(instances: Sequence[Instance], context_length: int) -> Array:
    """(N, C), the last C points of each history, NaN filled forward.

    Short histories are continued to the left by their first value; one without any value is 0.
    """
    rows = np.zeros((len(instances), context_length))
    for row, instance in zip(rows, instances, strict=True):
        values = fill_forward(instance.series.target)[-context_length:]
        known = np.flatnonzero(~np.isnan(values))
        if len(known):
            values = values[known[0] :]
            row[context_length - len(values) :] = values
            row[: context_length - len(values)] = values[0]
    return rows


def predict_linear(model: Linear, instances: Sequence[Instance]) -> Array:
    """(N, P), the forecasts of a linear map fitted to scaled windows."""
    histories = contexts(instances, len(model.weights))
    scale = np.abs(histories).mean(axis=1, keepdims=True)
    scale = np.where(scale > FLOOR, scale, 1.0)
    return model(histories / scale) * scale


def linear_predictive_score(
    windows: Array, instances: Sequence[Instance], *, prediction_length: int, penalty: float = 1.0
) -> float:
    """Score windows by what a linear map learns from them.

    Args:
        windows: (N, C + P), scaled by their contexts; synthetic ones, or those of `real_windows`.
        instances: real tests with labels of P points.
        prediction_length: P.
        penalty: of the ridge.

    Returns:
        The mean weighted quantile loss over levels 0.1 to 0.9; lower is better. Compare it with the score of
        real windows.

    Raises:
        ConfigError: P leaves no context.
        DataError: windows are not finite.
    """
    from domains.timeseries.metrics import LEVELS, mean_weighted_quantile_loss

    if windows.ndim != 2 or not 0 < prediction_length < windows.shape[1]:
        raise ConfigError(
            f"windows of shape {windows.shape} have no context before {prediction_length} points to predict.",
            hint="Give windows of C + P points.",
        )
    if not np.isfinite(windows).all():
        raise DataError("some windows hold NaN or infinite values.", hint="Leave those windows out.")
    split = windows.shape[1] - prediction_length
    model = fit_ridge(windows[:, :split], windows[:, split:], penalty=penalty)
    predicted = predict_linear(model, instances)
    labels = np.stack([instance.label for instance in instances])
    return mean_weighted_quantile_loss(
        labels, np.broadcast_to(predicted, (len(LEVELS), *labels.shape)), LEVELS
    )
