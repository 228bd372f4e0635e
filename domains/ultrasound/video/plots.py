"""Pictures of one frame side by side, named, with what tells them apart where that is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.panels import (
    Extent,
    draw_panel,
    figure,
    from_zero,
    style,
    tallness,
    write_image_csv,
)

__all__ = ["plot_pictures"]

Array = np.ndarray[Any, np.dtype[Any]]


def plot_pictures(
    pictures_db: Mapping[str, Array],
    out: Path,
    *,
    difference_db: Array | None = None,
    extent_mm: Extent | None = None,
    dynamic_range_db: float = 60.0,
) -> tuple[Path, Path]:
    """Draw pictures (grey, dB) and perhaps a difference (viridis, dB >= 0) side by side.

    Args:
        pictures_db: (row, col) by title.
        out: PNG to write; the CSV has columns panel, row, then one per image column.
        difference_db: (row, col), the last panel.
        extent_mm: left, right, bottom, top of the outer pixel edges; None labels the axes in pixels.
    """
    if not pictures_db:
        raise DataError("there is no picture to draw.")
    panels = {**pictures_db, **({} if difference_db is None else {"difference": difference_db})}
    first = next(iter(panels.values()))
    with style():
        fig = figure(3.8 * len(panels), 2.9 * tallness(first, extent_mm) + 1.0)
        axes = fig.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (name, image) in zip(axes, panels.items(), strict=True):
            grey = name in pictures_db
            span = (-dynamic_range_db, 0.0) if grey else from_zero(image)
            draw_panel(fig, ax, image, extent_mm, cmap="gray" if grey else "viridis", span=span, unit="dB")
            ax.set_title(name)
            ax.label_outer()
        fig.savefig(out)
    return out, write_image_csv(out, panels)
