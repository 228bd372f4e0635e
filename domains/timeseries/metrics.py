"""Scores of probabilistic forecasts, in GluonTS's conventions: sums first, then the ratio.

    wQL_q  = 2 sum |(y - yhat_q) (1[y <= yhat_q] - q)| / sum |y|       over all series and points
    mean wQL = the mean of wQL_q over q = 0.1 ... 0.9                    ("CRPS" in this literature)
    ND     = sum |y - median| / sum |y|
    NRMSE  = sqrt(mean (y - mean)^2) / mean |y|
    MASE   = mean over points of |y - median| / seasonal error of the history
    coverage = share of labels inside a central interval;   width = mean interval width / mean |y|

Labels that are NaN are skipped. A mean over series of per-series ratios is another number, and not reported.
How quantiles are read off samples is the `rule` of `data.quantile_of`, and part of every result.

Source: Park et al. 2022 (weighted quantile loss); Hyndman & Koehler 2006,
doi:10.1016/j.ijforecast.2006.03.001 (MASE); `gluonts.ev.metrics` of GluonTS 0.17, with which the numbers
agree to 1e-6.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from core.errors import DataError
from domains.timeseries.data import Array, Instance, QuantileRule

__all__ = [
    "LEVELS",
    "Predicted",
    "Scores",
    "coverage",
    "mase",
    "mean_weighted_quantile_loss",
    "normalized_deviation",
    "nrmse",
    "quantile_losses",
    "score",
    "seasonal_error",
    "standard_error",
    "weighted_quantile_losses",
    "width",
]

LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INTERVALS = (50, 80, 90)


class Predicted(Protocol):
    """What can be scored: `data.Forecast` and `data.Quantiles` are such."""

    @property
    def item_id(self) -> str: ...

    @property
    def start(self) -> pd.Period: ...

    @property
    def mean(self) -> Array: ...

    def __len__(self) -> int: ...

    def quantile(self, level: float, rule: QuantileRule = "gluonts") -> Array: ...


@dataclass(frozen=True)
class Scores:
    """Scores over all instances; None where a number does not exist.

    Args:
        mean_wql: mean weighted quantile loss over the levels.
        mean_wql_standard_error: over instances, by linearising the ratio of sums.
        wql: per level.
        nd, nrmse, mase: see the module.
        coverage, width: per central interval, in percent of mass; None for point forecasts.
        instances, points: how many were scored; points with a label.
        mase_left_out: instances whose history has no seasonal error above 0.
        quantile_rule: how quantiles were read off samples.
    """

    mean_wql: float | None
    mean_wql_standard_error: float | None
    wql: dict[str, float | None]
    nd: float | None
    nrmse: float | None
    mase: float | None
    coverage: dict[str, float | None]
    width: dict[str, float | None]
    instances: int
    points: int
    mase_left_out: int
    quantile_rule: str

    def to_dict(self) -> dict[str, Any]:
        """The scores with one flat key each, as reports have them."""
        flat = asdict(self)
        for name in ("coverage", "width"):
            flat |= {f"{name}_{key}": value for key, value in flat.pop(name).items()}
        return flat


def quantile_losses(labels: Array, quantiles: Array, levels: Sequence[float]) -> Array:
    """Twice the quantile loss of every point.

    Args:
        labels: (N, P), NaN where unknown.
        quantiles: (Q, N, P), the forecast at each level.
        levels: Q of them, in (0, 1).

    Returns:
        (Q, N, P), >= 0, NaN where the label is.
    """
    q = np.asarray(levels)[:, None, None]
    return np.asarray(2 * np.abs((labels - quantiles) * ((labels <= quantiles) - q)))


def weighted_quantile_losses(labels: Array, quantiles: Array, levels: Sequence[float]) -> Array:
    """(Q,), the summed loss of each level over the summed absolute label; see `quantile_losses`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        summed = np.nansum(quantile_losses(labels, quantiles, levels), axis=(1, 2))
        return np.asarray(summed / np.nansum(np.abs(labels)))


def mean_weighted_quantile_loss(labels: Array, quantiles: Array, levels: Sequence[float] = LEVELS) -> float:
    """The mean of `weighted_quantile_losses` over levels."""
    return float(weighted_quantile_losses(labels, quantiles, levels).mean())


def normalized_deviation(labels: Array, median: Array) -> float:
    """ND of forecasts (N, P) against labels (N, P)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nansum(np.abs(labels - median)) / np.nansum(np.abs(labels)))


def nrmse(labels: Array, mean: Array) -> float:
    """NRMSE of forecasts (N, P) against labels (N, P)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(np.nanmean((labels - mean) ** 2)) / np.nanmean(np.abs(labels)))


def seasonal_error(history: Array, season: int) -> float:
    """Mean |y_t - y_{t-m}| of a history (T,) over the pairs that are both known; NaN when there is none.

    A history shorter than the season uses m = 1, as GluonTS does.
    """
    m = season if season <= len(history) else 1
    known = np.abs(history[m:] - history[:-m])
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def mase(labels: Array, median: Array, seasonal_errors: Array) -> tuple[float, int]:
    """MASE, and how many instances it leaves out because their seasonal error is 0 or unknown.

    Args:
        labels, median: (N, P).
        seasonal_errors: (N,).
    """
    usable = seasonal_errors > 0
    if not usable.any():
        return float("nan"), len(labels)
    scaled = np.abs(labels - median)[usable] / seasonal_errors[usable][:, None]
    known = scaled[~np.isnan(scaled)]
    return (float(known.mean()) if len(known) else float("nan")), int((~usable).sum())


def coverage(labels: Array, low: Array, high: Array) -> float:
    """Share of the known labels (N, P) inside [low, high]."""
    known = ~np.isnan(labels)
    inside = (labels >= low) & (labels <= high)
    return float(inside[known].mean()) if known.any() else float("nan")


def width(labels: Array, low: Array, high: Array) -> float:
    """Mean width of [low, high] over the mean absolute label, at known labels (N, P): the sharpness."""
    known = ~np.isnan(labels)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((high - low)[known].mean() / np.abs(labels[known]).mean())


def score(
    forecasts: Sequence[Predicted],
    instances: Sequence[Instance],
    *,
    season: int,
    levels: Sequence[float] = LEVELS,
    rule: QuantileRule = "gluonts",
) -> Scores:
    """Score forecasts against instances, paired in order.

    Args:
        forecasts: each of the series, start and length of its instance.
        instances: with labels of one length P.
        season: m of the MASE, points.
        levels: of the quantile losses; the median is always read.
        rule: how quantiles are read off samples.

    Raises:
        DataError: a forecast does not belong to its instance, holds NaN, or no label is known.
    """
    _check_pairs(forecasts, instances)
    labels = np.stack([instance.label for instance in instances])
    known = ~np.isnan(labels)
    if not known.any():
        raise DataError("no label is known.", hint="Score a part of the table whose values are there.")
    quantiles = _quantiles(forecasts, levels, rule)
    median = _quantiles(forecasts, (0.5,), rule)[0]
    mean = np.stack([forecast.mean for forecast in forecasts])
    errors = np.array([seasonal_error(instance.series.target, season) for instance in instances])
    scaled, left_out = mase(labels, median, errors)
    losses = weighted_quantile_losses(labels, quantiles, levels)
    covered: dict[str, float | None] = {}
    widths: dict[str, float | None] = {}
    for percent in INTERVALS:
        low, high = _quantiles(forecasts, (0.5 - percent / 200, 0.5 + percent / 200), rule)
        told = not np.isnan(low[known]).any() and bool((high != low).any())
        covered[str(percent)] = _finite(coverage(labels, low, high)) if told else None
        widths[str(percent)] = _finite(width(labels, low, high)) if told else None
    return Scores(
        mean_wql=_finite(float(losses.mean())),
        mean_wql_standard_error=_finite(standard_error(labels, quantiles, levels)),
        wql={f"{level:g}": _finite(float(loss)) for level, loss in zip(levels, losses, strict=True)},
        nd=_finite(normalized_deviation(labels, median)),
        nrmse=_finite(nrmse(labels, mean)),
        mase=_finite(scaled),
        coverage=covered,
        width=widths,
        instances=len(instances),
        points=int(known.sum()),
        mase_left_out=left_out,
        quantile_rule=rule,
    )


def _quantiles(forecasts: Sequence[Predicted], levels: Sequence[float], rule: QuantileRule) -> Array:
    """(Q, N, P)."""
    return np.stack([[forecast.quantile(level, rule) for forecast in forecasts] for level in levels])


def _check_pairs(forecasts: Sequence[Predicted], instances: Sequence[Instance]) -> None:
    if len(forecasts) != len(instances) or not instances:
        raise DataError(
            f"expected a forecast for each of {len(instances)} instances, got {len(forecasts)}.",
            hint="Forecast every test instance, in order.",
        )
    for forecast, instance in zip(forecasts, instances, strict=True):
        due = instance.series.end
        if forecast.item_id != instance.series.item_id or forecast.start != due:
            raise DataError(
                f"the forecast of '{forecast.item_id}' from {forecast.start} stands where that of "
                f"'{instance.series.item_id}' from {due} is due.",
                hint="Forecast every test instance, in order.",
            )
        if len(forecast) != len(instance.label):
            raise DataError(
                f"the forecast of '{forecast.item_id}' has {len(forecast)} points, its label "
                f"{len(instance.label)}.",
                hint="Forecast the prediction length.",
            )
        if np.isnan(forecast.mean).any():
            raise DataError(
                f"the forecast of '{forecast.item_id}' holds NaN.", hint="A forecast needs every value."
            )


def standard_error(labels: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Standard error over instances of a ratio of sums, linearised (Cochran 1977, eq. 2.46)."""
    n = len(labels)
    losses = np.nansum(quantile_losses(labels, quantiles, levels).mean(axis=0), axis=1)
    weights = np.nansum(np.abs(labels), axis=1)
    if n < 2 or not weights.sum() > 0:
        return float("nan")
    ratio = losses.sum() / weights.sum()
    return float(np.sqrt(n / (n - 1) * ((losses - ratio * weights) ** 2).sum()) / weights.sum())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
