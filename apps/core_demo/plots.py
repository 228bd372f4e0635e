"""Two pictures and their numbers: error against calls of the network, exact and steered clouds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.core_demo.samplers import Curve
from apps.core_demo.steering import Case

__all__ = ["plot_cases", "plot_curves"]

# Eight colours that stay apart in every common colour blindness (Okabe & Ito 2008), black last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c8c00", "#000000")
RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 130,
}


def plot_curves(curves: Sequence[Curve], floor: float, out: Path) -> Path:
    """Draw distance against calls, logarithmic on both axes, deterministic and stochastic rules apart.

    Returns:
        The PNG; the CSV of the same stem has a row per run.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(RC):
        fig = Figure(figsize=(10, 4.8), layout="constrained")
        FigureCanvasAgg(fig)
        axes: Any = fig.subplots(1, 2, sharey=True)
        for ax, stochastic in zip(axes, (False, True), strict=True):
            shown = [curve for curve in curves if curve.stochastic is stochastic]
            for index, curve in enumerate(shown):
                ax.plot(
                    curve.calls,
                    np.clip(curve.sw2, 0, 3),
                    color=COLOURS[index % len(COLOURS)],
                    marker="o",
                    markersize=3,
                    linewidth=2.4 if index == 0 and not stochastic else 1.2,
                    label=curve.name,
                )
            ax.axhline(floor, color="0.5", linestyle=":", label="floor: two exact sets")
            ax.set(xscale="log", yscale="log", xlim=(4, 100), ylim=(0.03, 3), xlabel="calls of the network")
            ax.set_xticks([5, 10, 20, 40, 80], labels=["5", "10", "20", "40", "80"])
            ax.minorticks_off()
            ax.set_title("with fresh noise" if stochastic else "deterministic", fontsize=9)
            ax.legend(fontsize=7.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        axes[0].set_yticks([0.05, 0.1, 0.3, 1, 3], labels=["0.05", "0.1", "0.3", "1", "3 or more"])
        axes[0].set_ylabel("sliced Wasserstein-2 to exact samples")
        fig.savefig(out)
    _write(
        out.with_suffix(".csv"),
        ("sampler", "calls", "sw2", "floor"),
        [(c.name, n, d, floor) for c in curves for n, d in zip(c.calls, c.sw2, strict=True)],
    )
    return out


def plot_cases(cases: Sequence[Case], out: Path, *, shown: int = 700) -> Path:
    """Draw each case: exact samples grey, steered ones in colour, distance and floor above.

    Returns:
        The PNG; the CSV of the same stem has the numbers of each case.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(RC):
        rows = -(-len(cases) // 4)
        fig = Figure(figsize=(10, 2.75 * rows), layout="constrained")
        FigureCanvasAgg(fig)
        axes: Any = fig.subplots(rows, 4, sharex=True, sharey=True, squeeze=False)
        for ax in axes.flat[len(cases) :]:
            ax.set_axis_off()
        for ax, case in zip(axes.flat, cases, strict=False):
            if case.exact is not None:
                ax.scatter(*case.exact[:shown].T, s=5, color="0.72", linewidths=0)
            ax.scatter(*case.steered[:shown].T, s=3, color=COLOURS[1], linewidths=0)
            score = "" if case.sw2 is None else f"\nSW2 {case.sw2:.3f}, floor {case.floor:.3f}"
            ax.set_title(f"{case.name}\n{case.question}{score}", fontsize=8)
            ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
        fig.savefig(out)
    _write(
        out.with_suffix(".csv"),
        ("method", "question", "sw2", "floor", "calls"),
        [(c.name, c.question, c.sw2, c.floor, c.calls) for c in cases],
    )
    return out


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
