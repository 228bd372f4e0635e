"""What the pictures of time series share: the style, panels with short dates, and the CSV beside them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError
from core.palette import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["axis", "cell", "figure", "finish", "panels", "style", "write_csv"]


def style() -> Any:
    import matplotlib as mpl

    settings: Any = dict(STYLE)  # matplotlib types its keys as literals
    return mpl.rc_context(settings)


def figure(wide: float, tall: float) -> "Figure":
    """A figure outside pyplot's global state; saving as PNG uses the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(wide, tall))
    FigureCanvasAgg(fig)
    return fig


def panels(n: int, *, width: float = 5.2, share: bool = False) -> tuple["Figure", list["Axes"]]:
    """A figure with `n` panels in one or two columns, with short dates below them."""
    if not n:
        raise DataError("there is no forecast to draw.", hint="Give at least one.")
    columns = 1 if n == 1 else 2
    rows = -(-n // columns)
    fig = figure(width if columns == 1 else 2 * 4.2, 2.3 * rows + 0.6)
    axes = list(np.atleast_1d(np.asarray(fig.subplots(rows, columns, sharey=share, squeeze=False))).ravel())
    for ax in axes[n:]:
        ax.set_axis_off()
    return fig, axes[:n]


def axis(index: Any) -> Any:
    """Times as matplotlib draws them: dates, or whole numbers."""
    return index.to_numpy()


def finish(fig: "Figure", axes: Sequence["Axes"], at: Any) -> None:
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


def cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def write_csv(out: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    path = out.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
