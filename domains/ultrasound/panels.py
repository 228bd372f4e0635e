"""The parts that ultrasound pictures are drawn from: one style, B-mode panels, region outlines, CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError
from core.palette import COLOURS, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "ROI_COLOURS",
    "STYLE",
    "Extent",
    "draw_outlines",
    "draw_panel",
    "figure",
    "from_zero",
    "roi_legend",
    "style",
    "tallness",
    "write_csv",
    "write_image_csv",
    "write_levels_csv",
]

Array = np.ndarray[Any, np.dtype[Any]]
Extent = tuple[float, float, float, float]

ROI_COLOURS: Mapping[str, str] = {"tissue": "#E69F00", "cavity": "#56B4E9", "static": "#009E73"}


def style() -> Any:
    """Context in which figures have this domain's style; matplotlib's own settings return after it."""
    import matplotlib as mpl

    settings: Any = dict(STYLE)  # matplotlib types its keys as literals
    return mpl.rc_context(settings)


def figure(width: float, height: float) -> "Figure":
    """Make a figure outside pyplot's global state; saving as PNG uses the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    FigureCanvasAgg(fig)
    return fig


def draw_panel(
    fig: "Figure",
    ax: "Axes",
    image: Array,
    extent_mm: Extent | None,
    *,
    cmap: str,
    span: tuple[float, float],
    unit: str,
) -> None:
    """Draw an image (row, col) with its bar: equal aspect, depth down, mm axes when the extent is known."""
    ax.set_facecolor("black")
    shown = ax.imshow(image, cmap=cmap, vmin=span[0], vmax=span[1], extent=extent_mm, interpolation="nearest")
    ax.set_aspect("equal")
    ax.set_xlabel("lateral (mm)" if extent_mm else "column (px)")
    ax.set_ylabel("depth (mm)" if extent_mm else "row (px)")
    # A bar inside the axes' own coordinates stays as tall as the picture, whatever its aspect.
    fig.colorbar(shown, cax=ax.inset_axes((1.03, 0, 0.04, 1)), label=unit)


def draw_outlines(
    ax: "Axes", rois: Mapping[str, Array], shape: tuple[int, ...], extent_mm: Extent | None
) -> None:
    """Draw the border of each region halfway between its pixels and the others."""
    left, right, bottom, top = extent_mm or (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    x = left + (np.arange(-1, shape[1] + 1) + 0.5) / shape[1] * (right - left)
    y = top + (np.arange(-1, shape[0] + 1) + 0.5) / shape[0] * (bottom - top)
    for index, (name, mask) in enumerate(rois.items()):
        if mask.shape != shape:
            raise DataError(f"ROI '{name}' has shape {mask.shape}, the image {shape} (row, col).")
        padded = np.pad(np.asarray(mask, dtype=float), 1)
        ax.contour(x, y, padded, levels=[0.5], colors=[_roi_colour(name, index)], linewidths=1.2)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def roi_legend(fig: "Figure", rois: Mapping[str, Array]) -> None:
    """Name the outlines above the figure."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_roi_colour(name, i), label=name) for i, name in enumerate(rois)]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _roi_colour(name: str, index: int) -> str:
    return ROI_COLOURS.get(name, COLOURS[(index + 3) % len(COLOURS)])


def tallness(image: Array, extent_mm: Extent | None) -> float:
    """Height over width of the picture, held within what a page can show."""
    left, right, bottom, top = extent_mm or (0, image.shape[1], image.shape[0], 0)
    return float(np.clip(abs((bottom - top) / (right - left)), 0.3, 2.5))


def from_zero(image: Array) -> tuple[float, float]:
    """Colour limits of a magnitude: 0 to its 99.5th percentile, so that one pixel does not set the scale."""
    top = float(np.nanpercentile(image, 99.5)) if np.isfinite(image).any() else 0.0
    return 0.0, top if top > 0 else 1.0


def write_csv(out: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a table beside a picture, under its stem with the suffix .csv."""
    path = out.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_image_csv(out: Path, images: Mapping[str, Array], number: str = "%.5g") -> Path:
    """Write pictures as a table beside their figure: columns panel and row, then one per image column.

    Args:
        images: (row, col) by panel, of one shape; the names hold no comma.
        number: format of a level.
    """
    columns = next(iter(images.values())).shape[1]
    lines = [",".join(["panel", "row", *(f"col_{column}" for column in range(columns))])]
    for panel, image in images.items():
        lines += [f"{panel},{row},{values}" for row, values in enumerate(_csv_lines(image, number))]
    return _write_lines(out, lines)


def write_levels_csv(out: Path, image: Array, number: str = "%.3f") -> Path:
    """Write one picture (row, col) as a bare table beside its figure, one line per row."""
    return _write_lines(out, _csv_lines(image, number))


def _csv_lines(image: Array, number: str) -> list[str]:
    """Rows of an image as lines of a table.

    One format for the whole row takes a quarter of the time of one for every number; a figure shows up to a
    million.
    """
    together = ",".join([number] * image.shape[1])
    return [together % tuple(values) for values in image.tolist()]


def _write_lines(out: Path, lines: Sequence[str]) -> Path:
    path = out.with_suffix(".csv")
    path.write_text("".join(f"{line}\r\n" for line in lines), "utf-8", newline="")
    return path
