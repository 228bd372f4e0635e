"""Pictures of an anomaly map: the picture, what the prior expected, and how far apart they are."""

from pathlib import Path
from typing import Any

import numpy as np

from domains.ultrasound.panels import Extent, draw_panel, figure, from_zero, style, tallness, write_csv

__all__ = ["plot_anomaly"]

Array = np.ndarray[Any, np.dtype[Any]]


def plot_anomaly(
    picture_db: Array,
    expected_db: Array,
    difference_db: Array,
    out: Path,
    *,
    extent_mm: Extent | None = None,
    dynamic_range_db: float = 60.0,
) -> tuple[Path, Path]:
    """Draw a picture, its reconstruction (grey, dB) and their difference (viridis, dB >= 0) side by side.

    Args:
        picture_db, expected_db, difference_db: (row, col).
        out: PNG to write; the CSV has columns panel, row, then one per image column.
        extent_mm: left, right, bottom, top of the outer pixel edges; None labels the axes in pixels.
    """
    panels = (("picture", picture_db), ("expected", expected_db), ("difference", difference_db))
    rows: list[list[str]] = []
    with style():
        fig = figure(3.8 * len(panels), 2.9 * tallness(picture_db, extent_mm) + 1.0)
        axes = fig.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (name, image) in zip(axes, panels, strict=True):
            grey = name != "difference"
            span = (-dynamic_range_db, 0.0) if grey else from_zero(image)
            draw_panel(fig, ax, image, extent_mm, cmap="gray" if grey else "viridis", span=span, unit="dB")
            ax.set_title(name)
            ax.label_outer()
            rows += [[name, str(i), *(f"{v:.5g}" for v in line)] for i, line in enumerate(image)]
        fig.savefig(out)
    return out, write_csv(out, ["panel", "row", *(f"col_{c}" for c in range(picture_db.shape[1]))], rows)
