"""Pictures of ultrasound results, each with its numbers beside it as CSV.

Images are Cartesian dB levels (row, col) relative to a common peak; scan conversion is the caller's.
`extent_mm` is (left, right, bottom, top) of the outer pixel edges in mm, depth growing downwards, so that
bottom > top; None labels the axes in pixels. Every function writes `out` (PNG) and the CSV of the same stem,
and returns both paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.panels import (
    COLOURS,
    Extent,
    draw_outlines,
    draw_panel,
    figure,
    from_zero,
    roi_legend,
    style,
    tallness,
    write_csv,
    write_image_csv,
    write_levels_csv,
)

__all__ = ["plot_bmode", "plot_comparison", "plot_histograms", "plot_scores"]

Array = np.ndarray[Any, np.dtype[Any]]


def plot_bmode(
    image_db: Array,
    out: Path,
    *,
    extent_mm: Extent | None = None,
    dynamic_range_db: float = 60.0,
    rois: Mapping[str, Array] | None = None,
) -> tuple[Path, Path]:
    """Draw one B-mode image: grey, dB bar, equal aspect, depth down.

    Args:
        image_db: (row, col), dB; levels below -dynamic_range_db and NaN (outside the sector) are black.
        out: PNG to write; the CSV holds the image, one line per row.
        rois: masks (row, col) drawn as coloured outlines.
    """
    image = _image(image_db, "the image")
    with style():
        fig = figure(5.2, 4.2 * tallness(image, extent_mm) + 0.8)
        ax = fig.subplots()
        draw_panel(fig, ax, image, extent_mm, cmap="gray", span=(-dynamic_range_db, 0), unit="dB")
        draw_outlines(ax, rois or {}, image.shape, extent_mm)
        if rois:
            roi_legend(fig, rois)
        fig.savefig(out)
    return out, write_levels_csv(out, image)


def plot_comparison(
    hazy_db: Array,
    dehazed_db: Array,
    out: Path,
    *,
    haze_db: Array | None = None,
    deviation_db: Array | None = None,
    residual: Array | None = None,
    rois: Mapping[str, Array] | None = None,
    extent_mm: Extent | None = None,
    dynamic_range_db: float = 60.0,
) -> tuple[Path, Path]:
    """Draw what went in and what came out side by side, with the parts that explain the difference.

    Panels in order: hazy, dehazed, haze (grey, dB), standard deviation over samples (viridis, dB), residual
    (viridis, share of the input's peak); those not given are left out.

    Args:
        hazy_db: (row, col), dB.
        dehazed_db: same shape and peak.
        out: PNG to write; the CSV has columns panel, row, then one per image column.
        haze_db: haze estimate, same shape and peak.
        deviation_db: standard deviation of the dB image over posterior samples, dB >= 0.
        residual: |y - x - gamma h| over the peak of |y|, linear, >= 0.
        rois: masks (row, col) drawn as coloured outlines on every panel.
    """
    grey, span = "gray", (-dynamic_range_db, 0.0)
    panels: list[tuple[str, Array, str, tuple[float, float] | None, str]] = [
        ("hazy", hazy_db, grey, span, "dB"),
        ("dehazed", dehazed_db, grey, span, "dB"),
    ]
    if haze_db is not None:
        panels.append(("haze", haze_db, grey, span, "dB"))
    if deviation_db is not None:
        panels.append(("standard deviation", deviation_db, "viridis", None, "dB"))
    if residual is not None:
        panels.append(("residual", residual, "viridis", None, "share of peak"))
    first = _image(hazy_db, "hazy")
    with style():
        fig = figure(3.8 * len(panels), 2.9 * tallness(first, extent_mm) + 1.0)
        axes = fig.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        shown: dict[str, Array] = {}
        for ax, (name, values, cmap, limits, unit) in zip(axes, panels, strict=True):
            image = _image(values, name, first.shape)
            draw_panel(fig, ax, image, extent_mm, cmap=cmap, span=limits or from_zero(image), unit=unit)
            draw_outlines(ax, rois or {}, image.shape, extent_mm)
            ax.set_title(name)
            ax.label_outer()
            shown[name] = image
        if rois:
            roi_legend(fig, rois)
        fig.savefig(out)
    return out, write_image_csv(out, shown)


def plot_scores(
    scores: Mapping[str, Mapping[str, float | None]],
    out: Path,
    *,
    yardstick: str = "hazy",
    labels: Mapping[str, str] | None = None,
) -> tuple[Path, Path]:
    """Draw methods against metrics: a panel of bars per metric, the hazy input as a dashed line.

    Args:
        scores: method to metric to value; None and NaN stay blank.
        out: PNG to write; the CSV has a row per method and a column per metric.
        yardstick: the method drawn as line; it must be among the methods.
        labels: axis label of each metric with its unit, such as {"psnr_db": "PSNR (dB)"}.
    """
    if yardstick not in scores:
        raise DataError(
            f"the yardstick '{yardstick}' is not among the methods: {', '.join(scores) or 'none'}.",
            hint="Score the input too, or name another method with yardstick=.",
        )
    methods = [name for name in scores if name != yardstick]
    metrics = list(dict.fromkeys(metric for values in scores.values() for metric in values))
    if not methods or not metrics:
        raise DataError(
            "there is nothing to compare: give at least one method beside the yardstick and one metric."
        )
    with style():
        fig = figure(1.2 + 2.1 * len(metrics), 0.9 + 0.34 * len(methods))
        axes = fig.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
        at = np.arange(len(methods))
        for ax, metric in zip(axes, metrics, strict=True):
            values = np.array([_number(scores[m].get(metric)) for m in methods])
            bars = ax.barh(
                at, np.nan_to_num(values), color=[COLOURS[i % len(COLOURS)] for i in at], height=0.7
            )
            base = _number(scores[yardstick].get(metric))
            ax.bar_label(bars, ["n/a" if np.isnan(v) else f"{v:.3g}" for v in values], padding=2, fontsize=8)
            if np.isfinite(base):
                ax.axvline(base, color="#444444", linestyle="--", linewidth=1, label=yardstick)
            ax.set_xlabel((labels or {}).get(metric, metric))
            ax.axvline(0, color="black", linewidth=0.8)
            ax.set_xlim(_bar_span([*values, base]))
        axes[0].set_yticks(at, methods)
        axes[0].invert_yaxis()
        handles, names = axes[0].get_legend_handles_labels()
        if handles:
            fig.legend(handles, names, loc="outside upper right")
        fig.savefig(out)
    table = [
        [m, *(_cell(_number(scores[m].get(metric))) for metric in metrics)] for m in [yardstick, *methods]
    ]
    return out, write_csv(out, ["method", *metrics], table)


def plot_histograms(
    before_db: Array,
    after_db: Array,
    rois: Mapping[str, Array],
    out: Path,
    *,
    bins: int = 64,
    dynamic_range_db: float = 60.0,
) -> tuple[Path, Path]:
    """Draw the levels of tissue and cavity before and after: what gCNR, KS and level are read from.

    Args:
        before_db: (row, col) or (frame, row, col), dB.
        after_db: same shape and peak.
        rois: masks (row, col) or of the images' shape; one panel each.
        out: PNG to write; the CSV has level_db (bin centre) and a column of shares per region and time.
        bins: equal bins over [-dynamic_range_db, 0].
    """
    if not rois:
        raise DataError("there is no region to draw.", hint="Give ROIs such as tissue and cavity.")
    if before_db.shape != after_db.shape:
        raise DataError(f"expected images of equal shape, got {before_db.shape} and {after_db.shape}.")
    edges = np.linspace(-dynamic_range_db, 0, bins + 1)
    shares: dict[str, Array] = {}
    with style():
        fig = figure(1 + 2.8 * len(rois), 2.5)
        axes = fig.subplots(1, len(rois), squeeze=False, sharey=True)[0]
        for ax, (name, mask) in zip(axes, rois.items(), strict=True):
            inside = np.broadcast_to(np.asarray(mask, dtype=bool), before_db.shape)
            for when, image, colour in (("before", before_db, "#777777"), ("after", after_db, COLOURS[0])):
                levels = np.clip(image[inside], -dynamic_range_db, 0)
                share = np.histogram(levels, edges)[0] / max(levels.size, 1)
                shares[f"{name}_{when}"] = share
                ax.stairs(share, edges, fill=True, color=colour, alpha=0.35)
                ax.stairs(share, edges, color=colour, linewidth=1.2, label=when)
            ax.set_xlabel(f"{name} level (dB)")
        axes[0].set_ylabel("share of pixels per bin")
        axes[0].legend()
        fig.savefig(out)
    centres = (edges[:-1] + edges[1:]) / 2
    table = [[f"{c:.4f}", *(f"{share[i]:.6f}" for share in shares.values())] for i, c in enumerate(centres)]
    return out, write_csv(out, ["level_db", *shares], table)


def _image(values: Array, name: str, shape: tuple[int, ...] | None = None) -> Array:
    image = np.asarray(values, dtype=np.float64)
    if image.ndim != 2 or (shape is not None and image.shape != shape):
        expected = "(row, col)" if shape is None else str(shape)
        raise DataError(
            f"{name} must have shape {expected}, got {image.shape}.", hint="Draw one frame at a time."
        )
    return image


def _bar_span(values: Sequence[float]) -> tuple[float, float]:
    """Limits of a bar axis: from 0, with room for the labels on the sides that bars grow to."""
    low, high = (float(f([0.0, *values])) for f in (np.nanmin, np.nanmax))
    room = (high - low) or 1.0
    return low - (0.3 if low < 0 else 0.04) * room, high + (0.3 if high > 0 or low == 0 else 0.04) * room


def _number(value: float | None) -> float:
    return float("nan") if value is None or not np.isfinite(value) else float(value)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
