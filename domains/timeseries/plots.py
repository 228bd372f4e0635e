"""Pictures of forecasts, imputations and refinements, each with its numbers beside it as CSV.

Bands are the central 50 and 90 % of the samples (80 % where a forecast knows no more), the line is the
median. Every function writes `out` (PNG or SVG) and the CSV of the same stem, and returns both paths.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError
from core.palette import COLOURS, STYLE
from domains.timeseries.data import Array, Forecast, Series
from domains.timeseries.frequency import times
from domains.timeseries.metrics import Predicted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    with _style():
        fig, axes = _panels(len(forecasts))
        for i, (forecast, history, truth) in enumerate(zip(forecasts, histories, known, strict=True)):
            ax = axes[i]
            shown = history.cut(max(0, len(history) - (tail or 3 * len(forecast))))
            _draw_history(ax, shown, stamp)
            at = _axis(times(forecast.start, len(forecast), stamp))
            bounds = _draw_fan(ax, at, forecast)
            for j, (name, several) in enumerate((others or {}).items()):
                ax.plot(at, several[i].quantile(0.5), color=COLOURS[j + 1], lw=1, ls="--", label=name)
            if truth is not None:
                ax.plot(at, truth, color=TRUTH, lw=1, label="truth")
            ax.set_title(forecast.item_id, loc="left")
            ax.set_ylabel(f"value ({unit})" if unit else "value")
            rows += _fan_rows(forecast, shown, bounds, truth, stamp)
        _finish(fig, axes, at)
        fig.savefig(out)
    return out, _write_csv(out, ["item_id", "timestamp", "part", "value", *_BOUNDS], rows)


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
    at = _axis(times(series.start, len(series), stamp))
    with _style():
        fig, axes = _panels(1, width=7.5)
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
        _finish(fig, [ax], at)
        fig.savefig(out)
    stamps = times(series.start, len(series), stamp)
    rows = [
        [series.item_id, str(stamps[t]), "missing" if missing[t] else "observed", _cell(series.target[t])]
        + ([_cell(bounds[name][t]) for name in _BOUNDS] if missing[t] else [""] * len(_BOUNDS))
        + ([_cell(truth[t])] if truth is not None else [])
        for t in range(len(series))
    ]
    header = ["item_id", "timestamp", "part", "value", *_BOUNDS, *(["truth"] if truth is not None else [])]
    return out, _write_csv(out, header, rows)


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
    with _style():
        fig, axes = _panels(2, share=True)
        for ax, name, forecast in zip(axes, names, (before, after), strict=True):
            shown = history.cut(max(0, len(history) - (tail or 3 * len(forecast))))
            _draw_history(ax, shown, stamp)
            at = _axis(times(forecast.start, len(forecast), stamp))
            bounds = _draw_fan(ax, at, forecast)
            if truth is not None:
                ax.plot(at, truth, color=TRUTH, lw=1, label="truth")
            ax.set_title(f"{forecast.item_id}, {name}", loc="left")
            rows += [[name, *row] for row in _fan_rows(forecast, shown, bounds, truth, stamp)]
        axes[0].set_ylabel(f"value ({unit})" if unit else "value")
        _finish(fig, axes, at)
        fig.savefig(out)
    return out, _write_csv(out, ["when", "item_id", "timestamp", "part", "value", *_BOUNDS], rows)


def plot_scores(scores: Mapping[str, float | None], out: Path, *, label: str) -> tuple[Path, Path]:
    """Draw one metric of several models as bars, the lowest value being the best.

    Args:
        scores: model to value; None stays blank.
        label: of the axis, such as "mean weighted quantile loss".
    """
    names = list(scores)
    values = [float("nan") if scores[name] is None else float(scores[name] or 0) for name in names]
    with _style():
        fig = _figure(5.0, 0.8 + 0.34 * len(names))
        ax = fig.subplots()
        at = np.arange(len(names))
        bars = ax.barh(at, np.nan_to_num(values), color=[COLOURS[i % len(COLOURS)] for i in at], height=0.7)
        ax.bar_label(bars, ["n/a" if np.isnan(v) else f"{v:.4g}" for v in values], padding=2, fontsize=8)
        ax.set_yticks(at, names)
        ax.invert_yaxis()
        ax.set_xlabel(label)
        ax.margins(x=0.15)
        fig.savefig(out)
    table = [[name, _cell(value)] for name, value in zip(names, values, strict=True)]
    return out, _write_csv(out, ["model", label], table)


_BOUNDS = ("low", "q25", "median", "q75", "high")


def _bounds(forecast: Predicted) -> dict[str, Array]:
    outer = next((w for w in OUTER if not np.isnan(forecast.quantile(0.5 - w / 2)).any()), 0.0)
    levels = (0.5 - outer / 2, 0.5 - INNER / 2, 0.5, 0.5 + INNER / 2, 0.5 + outer / 2)
    return {name: forecast.quantile(level) for name, level in zip(_BOUNDS, levels, strict=True)}


def _draw_history(ax: "Axes", shown: Series, stamp: str) -> None:
    ax.plot(_axis(times(shown.start, len(shown), stamp)), shown.target, color=INK, lw=0.8, label="history")


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
        [forecast.item_id, str(before[t]), "history", _cell(shown.target[t])] + [""] * len(_BOUNDS)
        for t in range(len(shown))
    ]
    for t in range(len(forecast)):
        value = "" if truth is None else _cell(truth[t])
        cells = [_cell(bounds[name][t]) for name in _BOUNDS]
        rows.append([forecast.item_id, str(after[t]), "forecast", value, *cells])
    return rows


def _style() -> Any:
    import matplotlib as mpl

    settings: Any = dict(STYLE)  # matplotlib types its keys as literals
    return mpl.rc_context(settings)


def _figure(wide: float, tall: float) -> "Figure":
    """A figure outside pyplot's global state; saving as PNG uses the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(wide, tall))
    FigureCanvasAgg(fig)
    return fig


def _panels(n: int, *, width: float = 5.2, share: bool = False) -> tuple["Figure", list["Axes"]]:
    """A figure with `n` panels in one or two columns, with short dates below them."""
    if not n:
        raise DataError("there is no forecast to draw.", hint="Give at least one.")
    columns = 1 if n == 1 else 2
    rows = -(-n // columns)
    fig = _figure(width if columns == 1 else 2 * 4.2, 2.3 * rows + 0.6)
    axes = list(np.atleast_1d(np.asarray(fig.subplots(rows, columns, sharey=share, squeeze=False))).ravel())
    for ax in axes[n:]:
        ax.set_axis_off()
    return fig, axes[:n]


def _axis(index: Any) -> Any:
    """Times as matplotlib draws them: dates, or whole numbers."""
    return index.to_numpy()


def _finish(fig: "Figure", axes: Sequence["Axes"], at: Any) -> None:
    """Short dates below the panels, and above them one legend of all that is drawn in any."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    named: dict[str, Any] = {}
    for ax in axes:
        if np.issubdtype(at.dtype, np.datetime64):
            locator = AutoDateLocator(minticks=3, maxticks=8)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        else:
            ax.set_xlabel("step")
        handles, names = ax.get_legend_handles_labels()
        named |= dict(zip(names, handles, strict=True))
    order = sorted(named, key=lambda name: name == "truth")
    fig.legend([named[name] for name in order], order, loc="outside upper right", ncols=len(order))


def _same_length(first: Sequence[Any], second: Sequence[Any], what: str) -> None:
    if len(first) != len(second):
        raise DataError(
            f"expected {what} for {len(first)} forecasts, got {len(second)}.", hint="Give one each, in order."
        )


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _write_csv(out: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    path = out.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
