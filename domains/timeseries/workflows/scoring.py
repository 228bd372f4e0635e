"""Scoring the points of a table by how unlikely a model finds them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.timeseries.anomaly import score_points
from domains.timeseries.density_plots import plot_anomalies
from domains.timeseries.formats.frames import Reading
from domains.timeseries.frequency import times
from domains.timeseries.workflows.opening import evenly, opened

__all__ = ["score_file"]

METHODS = ("bound", "ode")


def score_file(
    run: str,
    data: str | Path,
    folder: Path,
    *,
    reading: Reading = Reading(),
    method: str = "bound",
    last: int | None = None,
    top: int = 10,
    plots: int = 4,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a score for every point, higher where it is stranger, and the log density of every window.

    Args:
        method: "bound" (the variational bound; scores points too) or "ode" (the exact ODE, windows only).
        last: points at the end that are scored; all by default.
        top: strangest points in the report.

    Returns:
        Report: the strangest points, each with how many median deviations it stands above its series.
    """
    if method not in METHODS:
        raise ConfigError(f"method is one of {', '.join(METHODS)}, got '{method}'.")
    found = opened(run, data, reading, device)
    line = f"score {len(found.table)} series by the {method} of the likelihood"
    ready(Outlook((*found.plan, line), device=str(found.device)))
    scored = score_points(
        found.model,
        list(found.table),
        method=method,  # type: ignore[arg-type]  # checked above
        last=last,
        seed=seed,
        progress=progress,
    )
    frames, windows = [], []
    for item, one in zip(found.table, scored, strict=True):
        at = times(item.start, len(item), found.table.stamp)
        frames.append(
            pd.DataFrame(
                {
                    "item_id": item.item_id,
                    "timestamp": at,
                    "target": item.target,
                    "score": one.points,
                    "deviations": _deviations(one.points),
                }
            )
        )
        ends = times(item.start, len(item) + 1, found.table.stamp)[one.ends - 1]
        windows.append(
            pd.DataFrame({"item_id": item.item_id, "window_end": ends, "log_density": one.log_density})
        )
    table = pd.concat(frames, ignore_index=True)
    _write(table, folder / "scores.parquet", overwrite)
    _write(pd.concat(windows, ignore_index=True), folder / "windows.parquet", overwrite)
    chosen = evenly(len(scored), plots)
    if method == "bound" and chosen:
        plot_anomalies(
            [found.table.series[i] for i in chosen],
            [scored[i].points for i in chosen],
            folder / "scores.png",
            stamp=found.table.stamp,
        )
    ranked = table.dropna(subset=["deviations"]).nlargest(top, "deviations")
    return {
        "run": run,
        "data": str(data),
        "method": method,
        "points": int(table["score"].notna().sum()),
        "mean_log_density": float(np.nanmean([one.log_density.mean() for one in scored])),
        "strangest": [
            {
                "item_id": row.item_id,
                "timestamp": str(row.timestamp),
                "target": float(row.target),
                "score": float(row.score),
                "deviations": float(row.deviations),
            }
            for row in ranked.itertuples()
        ],
    }


def _deviations(points: np.ndarray) -> np.ndarray:
    """(score - median) / (1.4826 median absolute deviation) within the series."""
    known = points[np.isfinite(points)]
    if not len(known):
        return np.full(len(points), np.nan)
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle))
    return (points - middle) / max(spread, 1e-12)


def _write(frame: pd.DataFrame, path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; nothing was overwritten.", hint="Pass --force.")
    frame.to_parquet(path, index=False)
