"""The picture of a noise search: every candidate's score against evaluations, and the second verifier's."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["plot_search"]


def plot_search(rows: Sequence[Mapping[str, Any]], out: Path, *, searched: str, second: str | None) -> Path:
    """Draw the candidates of `core.infer.search.tried`: finished samples filled, denoised ones on the way
    hollow, the best so far of each sample as a line; below, what was not searched on.

    Returns:
        The PNG; the CSV of the same stem has a row per candidate.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [("score", searched), *([("second", f"{second}, not searched on")] if second else [])]
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        fig = Figure(figsize=(6.4, 2.6 * len(names)), layout="constrained", dpi=130)
        FigureCanvasAgg(fig)
        axes = fig.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (key, label) in zip(axes, names, strict=True):
            for final, face in ((False, "none"), (True, "#0072B2")):
                shown = [row for row in rows if row["final"] is final]
                ax.scatter(
                    [row["evaluations"] for row in shown],
                    [row[key] for row in shown],
                    s=14,
                    facecolors=face,
                    edgecolors="#0072B2",
                    linewidths=0.6,
                    alpha=0.6,
                )
            ax.set_ylabel(label)
        for sample in sorted({row["sample"] for row in rows}):
            own = [row for row in rows if row["sample"] == sample and row["final"]]
            spent = sorted({row["evaluations"] for row in own})
            best = [max(row["score"] for row in own if row["evaluations"] <= at) for at in spent]
            axes[0].plot(spent, best, color="#D55E00", linewidth=1, drawstyle="steps-post")
        axes[-1].set_xlabel("evaluations of the network per sample")
        fig.savefig(out)
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("sample", "evaluations", "score", "second", "final"))
        writer.writeheader()
        writer.writerows(rows)
    return out
