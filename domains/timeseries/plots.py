"""Pictures of forecasts, imputations and refinements, each with its numbers beside it as CSV.

Bands are the central 50 and 90 % of the samples (80 % where a forecast knows no more), the line is the
median. Every function writes `out` (PNG or SVG) and the CSV of the same stem, and returns both paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError
from core.palette import COLOURS
from domains.timeseries.data import Array, Forecast, Series
from domains.timeseries.frequency import times
from domains.timeseries.metrics import Predicted
from domains.timeseries.panels import axis, cell, figure, finish, panels, style, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_forecasts", "plot_imputation", "plot_refinement", "plot_scores"]

INK = "#444444"
BAND, LINE, TRUTH = COLOURS[0], COLOURS[0], "black"
# Width of the outer band: the first of these that the forecast knows.
OUTER = (0.9, 0.8)
INNER = 0.5


def plot_forecasts(
    forecasts: Sequence[Predicted],
    histories: Sequence[Series],
    out: Path,
    *,
    truths: Sequence[Array | None] | None = None,
    others: Mapping[str, Sequence[Predicted]] | None = None,
    tail: int | None = None,
    stamp: str = "start",
    unit: str = "",
) -> tuple[Path, Path]:
    """Draw fan charts, one panel a series: the end of the history, median, 50 and 90 % bands, the truth.

    Args:
        forecasts: at least one.
        histories: of the same series, ending where the forecasts start.
        truths: (P,) each, where known.
        others: further forecasts of the same series, drawn as the line of their medians, such as a baseline.
        tail: points of history to draw; None takes three times the forecast's length.
        stamp: which moment of a period its time is; the table's.
        unit: of the values, for the axis.
    """
    _same_length(forecasts, histories, "histories")
    known = list(truths) if truths is not None else [None] * len(forecasts)
    _same_length(forecasts, known, "truths")
    rows: list[list[str]] = []
    with style():
        fig, axes = panels(len(forecasts))
        for i, (forecast, history, truth) in enumerate(zip(forecasts, histories, known, strict=True)):
            ax = axes[i]
            shown = history.cut(max(0, len(history) - (tail or 3 * len(forecast))))
            _draw_history(ax, shown, stamp)
            at = axis(times(forecast.start, len(forecast), stamp))
            bounds = _draw_fan(ax, at, forecast)
            for j, (name, several) in enumerate((others or {}).items()):
                ax.plot(at, several[i].quantile(0.5), color=COLOURS[j + 1], lw=1, ls="--", label=name)
            if truth is not None:
                ax.plot(at, truth, color=TRUTH, lw=1, label="truth")
            ax.set_title(forecast.item_id, loc="left")
            ax.set_ylabel(f"value ({unit})" if unit else "value")
            rows += _fan_rows(forecast, shown, bounds, truth, stamp)
        finish(fig, axes, at)
        fig.savefig(out)
    return out, write_csv(out, ["item_id", "timestamp", "part", "value", *_BOUNDS], rows)


def plot_imputation(
    series: Series,
    samples: Array,
    out: Path,
    *,
    truth: Array | None = None,
    stamp: str = "start",
    unit: str = "",
) -> tuple[Path, Path]:
    """Draw a series with gaps and what fills them.

    Args:
        series: (T,), NaN where values are missing.
        samples: (S, T); read only where values are missing.
        truth: (T,), where the missing values are known.
    """
    if samples.ndim != 2 or samples.shape[1] != len(series):
        raise DataError(
            f"expected samples (S, {len(series)}), got {samples.shape}.", hint="One column a point."
        )
    missing = np.isnan(series.target)
    filled = Forecast(series.item_id, series.start, np.where(missing, samples, series.target))
    at = axis(times(series.start, len(series), stamp))
    with style():
        fig, axes = panels(1, width=7.5)
        ax = axes[0]
        bounds = _bounds(filled)
        # Bands reach to the observed neighbours of a gap, so that it has no open end.
        near = missing | np.append(missing[1:], False) | np.insert(missing[:-1], 0, False)
        for low, high, alpha, label in (("low", "high", 0.25, "90 %"), ("q25", "q75", 0.45, "50 %")):
            band = (bounds[low], bounds[high])
            ax.fill_between(at, *band, where=near, color=BAND, alpha=alpha, lw=0, label=label)
        ax.plot(at, np.where(near, bounds["median"], np.nan), color=LINE, lw=1.2, label="median")
        ax.plot(at, series.target, color=INK, lw=0.8, marker=".", ms=3, label="observed")
        if truth is not None:
            ax.plot(at, np.where(missing, truth, np.nan), "x", color=COLOURS[3], ms=4, label="truth")
        ax.set_ylabel(f"value ({unit})" if unit else "value")
        ax.set_title(series.item_id, loc="left")
        finish(fig, [ax], at)
        fig.savefig(out)
    stamps = times(series.start, len(series), stamp)
    rows = [
        [series.item_id, str(stamps[t]), "missing" if missing[t] else "observed", cell(series.target[t])]
        + ([cell(bounds[name][t]) for name in _BOUNDS] if missing[t] else [""] * len(_BOUNDS))
        + ([cell(truth[t])] if truth is not None else [])
        for t in range(len(series))
    ]
    header = ["item_id", "timestamp", "part", "value", *_BOUNDS, *(["truth"] if truth is not None else [])]
    return out, write_csv(out, header, rows)


def plot_refinement(
    before: Predicted,
    after: Predicted,
    history: Series,
    out: Path,
    *,
    truth: Array | None = None,
    names: tuple[str, str] = ("before", "after"),
    tail: int | None = None,
    stamp: str = "start",
    unit: str = "",
) -> tuple[Path, Path]:
    """Draw the forecast of a base model and what refinement made of it, side by side on one scale."""
    rows: list[list[str]] = []
    with style():
        fig, axes = panels(2, share=True)
        for ax, name, forecast in zip(axes, names, (before, after), strict=True):
            shown = history.cut(max(0, len(history) - (tail or 3 * len(forecast))))
            _draw_history(ax, shown, stamp)
            at = axis(times(forecast.start, len(forecast), stamp))
            bounds = _draw_fan(ax, at, forecast)
            if truth is not None:
                ax.plot(at, truth, color=TRUTH, lw=1, label="truth")
            ax.set_title(f"{forecast.item_id}, {name}", loc="left")
            rows += [[name, *row] for row in _fan_rows(forecast, shown, bounds, truth, stamp)]
        axes[0].set_ylabel(f"value ({unit})" if unit else "value")
        finish(fig, axes, at)
        fig.savefig(out)
    return out, write_csv(out, ["when", "item_id", "timestamp", "part", "value", *_BOUNDS], rows)


def plot_scores(scores: Mapping[str, float | None], out: Path, *, label: str) -> tuple[Path, Path]:
    """Draw one metric of several models as bars, the lowest value being the best.

    Args:
        scores: model to value; None stays blank.
        label: of the axis, such as "mean weighted quantile loss".
    """
    names = list(scores)
    values = [float("nan") if scores[name] is None else float(scores[name] or 0) for name in names]
    with style():
        fig = figure(5.0, 0.8 + 0.34 * len(names))
        ax = fig.subplots()
        at = np.arange(len(names))
        bars = ax.barh(at, np.nan_to_num(values), color=[COLOURS[i % len(COLOURS)] for i in at], height=0.7)
        ax.bar_label(bars, ["n/a" if np.isnan(v) else f"{v:.4g}" for v in values], padding=2, fontsize=8)
        ax.set_yticks(at, names)
        ax.invert_yaxis()
        ax.set_xlabel(label)
        ax.margins(x=0.15)
        fig.savefig(out)
    table = [[name, cell(value)] for name, value in zip(names, values, strict=True)]
    return out, write_csv(out, ["model", label], table)


_BOUNDS = ("low", "q25", "median", "q75", "high")


def _bounds(forecast: Predicted) -> dict[str, Array]:
    outer = next((w for w in OUTER if not np.isnan(forecast.quantile(0.5 - w / 2)).any()), 0.0)
    levels = (0.5 - outer / 2, 0.5 - INNER / 2, 0.5, 0.5 + INNER / 2, 0.5 + outer / 2)
    return {name: forecast.quantile(level) for name, level in zip(_BOUNDS, levels, strict=True)}


def _draw_history(ax: "Axes", shown: Series, stamp: str) -> None:
    ax.plot(axis(times(shown.start, len(shown), stamp)), shown.target, color=INK, lw=0.8, label="history")


def _draw_fan(ax: "Axes", at: Any, forecast: Predicted) -> dict[str, Array]:
    bounds = _bounds(forecast)
    outer = next((w for w in OUTER if not np.isnan(forecast.quantile(0.5 - w / 2)).any()), 0.0)
    if (bounds["high"] != bounds["low"]).any():
        label = f"{100 * outer:.0f} %"
        ax.fill_between(at, bounds["low"], bounds["high"], color=BAND, alpha=0.25, lw=0, label=label)
        ax.fill_between(at, bounds["q25"], bounds["q75"], color=BAND, alpha=0.45, lw=0, label="50 %")
    ax.plot(at, bounds["median"], color=LINE, lw=1.2, label="median")
    return bounds


def _fan_rows(
    forecast: Predicted, shown: Series, bounds: dict[str, Array], truth: Array | None, stamp: str
) -> list[list[str]]:
    before = times(shown.start, len(shown), stamp)
    after = times(forecast.start, len(forecast), stamp)
    rows = [
        [forecast.item_id, str(before[t]), "history", cell(shown.target[t])] + [""] * len(_BOUNDS)
        for t in range(len(shown))
    ]
    for t in range(len(forecast)):
        value = "" if truth is None else cell(truth[t])
        cells = [cell(bounds[name][t]) for name in _BOUNDS]
        rows.append([forecast.item_id, str(after[t]), "forecast", value, *cells])
    return rows


def _same_length(first: Sequence[Any], second: Sequence[Any], what: str) -> None:
    if len(first) != len(second):
        raise DataError(
            f"expected {what} for {len(first)} forecasts, got {len(second)}.", hint="Give one each, in order."
        )
