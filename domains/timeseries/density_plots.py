"""Pictures of what a model finds likely: strange points of series, and windows drawn from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from domains.timeseries.data import Array, Series
from domains.timeseries.frequency import times
from domains.timeseries.panels import axis, cell, figure, finish, panels, style, write_csv

__all__ = ["plot_anomalies", "plot_windows"]

INK, STRANGE, REAL = "#333333", "#D55E00", "#0072B2"


def plot_anomalies(
    series: Sequence[Series], scores: Sequence[Array], out: Path, *, stamp: str = "start", share: float = 0.01
) -> tuple[Path, Path]:
    """Draw each series with its strangest points marked, and their scores as stems below the curve.

    Args:
        scores: (T,) each, NaN where nothing was scored.
        share: of the scored points that is marked.

    Returns:
        The PNG, and the CSV with a row per scored point.
    """
    rows: list[list[str]] = []
    with style():
        fig, axes = panels(len(series))
        for ax, item, score in zip(axes, series, scores, strict=True):
            known = np.isfinite(score)
            scored = np.flatnonzero(known)
            first = max(0, scored[0] - len(scored)) if len(scored) else 0  # as much before as was scored
            item, score, known = item.cut(first), score[first:], known[first:]
            at = times(item.start, len(item), stamp)
            ax.plot(axis(at), item.target, color=INK, lw=0.8, label="series")
            if known.any():
                limit = np.quantile(score[known], 1 - share)
                marked = known & (score >= limit)
                ax.scatter(
                    axis(at)[marked], item.target[marked], s=14, color=STRANGE, zorder=3, label="strangest"
                )
            ax.set_title(item.item_id)
            rows += [
                [item.item_id, str(at[t]), cell(item.target[t]), cell(score[t])]
                for t in np.flatnonzero(known)
            ]
        finish(fig, axes, axis(at))
        fig.savefig(out)
    return out, write_csv(out, ["item_id", "timestamp", "target", "score"], rows)


def plot_windows(
    windows: Array, out: Path, *, real: Array | None = None, context: int, shown: int = 6
) -> tuple[Path, Path]:
    """Draw synthetic windows, and as many real ones beside them, in scaled units.

    Args:
        windows: (n, L). real: (m, L).
        context: C, where a line is drawn.
    """
    sets = [("synthetic", windows[:shown], STRANGE)]
    if real is not None:
        sets.append(("real", real[:shown], REAL))
    with style():
        fig = figure(4.2 * len(sets), 1.0 + 0.9 * min(shown, len(windows)))
        axes = fig.subplots(min(shown, len(windows)), len(sets), squeeze=False, sharex=True)
        for column, (name, some, colour) in enumerate(sets):
            for ax, window in zip(axes[:, column], some, strict=False):
                ax.plot(window, color=colour, lw=0.8)
                ax.axvline(context - 0.5, color="0.6", lw=0.6, ls=":")
            axes[0, column].set_title(name)
            axes[-1, column].set_xlabel("point of the window")
        fig.savefig(out)
    rows = [
        [name, str(i), *(f"{v:.5g}" for v in window)]
        for name, some, _ in sets
        for i, window in enumerate(some)
    ]
    return out, write_csv(out, ["kind", "window", *(f"t{t}" for t in range(windows.shape[1]))], rows)
