"""Pictures of molecules and graphs in a grid, SVG or PNG by the extension; curves of losses, and
properties."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.Scaffolds import MurckoScaffold

from core.atomic import replacing
from core.errors import ConfigError, DataError
from core.palette import COLOURS, STYLE
from domains.graphs.data import Ragged
from domains.graphs.exchange import to_networkx

__all__ = ["draw_graphs", "draw_molecules", "highlighted", "plot_losses", "plot_properties"]

CELL_PX = 200


def highlighted(mol: Any, what: str) -> list[int]:
    """Atoms to mark: those of the Bemis-Murcko scaffold ("scaffold"), or of the first match of a SMARTS.

    Raises:
        ConfigError: it is no SMARTS.
    """
    with rdBase.BlockLogs():
        if what == "scaffold":
            pattern = MurckoScaffold.GetScaffoldForMol(mol)
        elif (pattern := Chem.MolFromSmarts(what)) is None:
            raise ConfigError(f"'{what}' is no SMARTS.", hint="Write 'scaffold', or a pattern: 'c1ccccc1'.")
        return list(mol.GetSubstructMatch(pattern)) if pattern.GetNumAtoms() else []


def draw_molecules(
    mols: Sequence[Any],
    out: Path,
    *,
    columns: int = 5,
    rows: int = 4,
    legends: Sequence[str] | None = None,
    highlight: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw the first columns x rows molecules.

    Args:
        mols: sanitised.
        out: .svg or .png.
        legends: text below each.
        highlight: see `highlighted`.
    """
    shown = list(mols[: columns * rows])
    if not shown:
        raise DataError("there is no molecule to draw.", hint="Give a file with at least one valid molecule.")
    # RDKit has no drawing of nothing, so the last row may be shorter than the others but not missing.
    height = -(-len(shown) // columns)
    width = min(columns, len(shown))
    size = (width * CELL_PX, height * CELL_PX, CELL_PX, CELL_PX)
    svg = _suffix(out) == ".svg"
    picture = rdMolDraw2D.MolDraw2DSVG(*size) if svg else rdMolDraw2D.MolDraw2DCairo(*size)
    marks = [highlighted(mol, highlight) if highlight else [] for mol in shown]
    with rdBase.BlockLogs():
        picture.DrawMolecules(
            [rdMolDraw2D.PrepareMolForDrawing(mol) for mol in shown],
            legends=list(legends[: len(shown)]) if legends else [""] * len(shown),
            highlightAtoms=marks,
        )
    picture.FinishDrawing()
    text = picture.GetDrawingText()
    with replacing(out, overwrite=overwrite) as draft:
        draft.write_bytes(text.encode() if isinstance(text, str) else text)
    return out


def draw_graphs(
    ragged: Ragged, out: Path, *, columns: int = 5, rows: int = 4, overwrite: bool = False
) -> Path:
    """Draw the first columns x rows graphs, each with its number of nodes and edges."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _suffix(out)
    shown = min(len(ragged), columns * rows)
    if not shown:
        raise DataError("there is no graph to draw.", hint="Give a file with at least one graph.")
    width, height = min(columns, shown), -(-shown // columns)
    graphs = to_networkx(ragged.take(range(shown)))
    settings: Any = dict(STYLE)
    with rc_context(settings), replacing(out, overwrite=overwrite) as draft:
        fig = Figure(figsize=(1.9 * width, 1.9 * height))
        FigureCanvasAgg(fig)
        axes = fig.subplots(height, width, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, graph in zip(axes, graphs, strict=False):
            where = nx.kamada_kawai_layout(graph) if len(graph) <= 64 else nx.spring_layout(graph, seed=0)
            nx.draw_networkx_edges(graph, where, ax=ax, width=0.6, edge_color="#999999")
            nx.draw_networkx_nodes(graph, where, ax=ax, node_size=200 / len(graph) + 4, node_color=COLOURS[0])
            ax.set_title(f"{len(graph)} nodes, {graph.number_of_edges()} edges", fontsize=7)
        fig.savefig(draft)
    return out


def _suffix(out: Path) -> str:
    suffix = out.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise ConfigError(f"{out} is neither .svg nor .png.", hint="Choose one of these extensions.")
    return suffix


@contextmanager
def figure(width: float, height: float, out: Path) -> Iterator[Any]:
    """A figure in the suite's style, saved as `out` when the block ends well; an earlier one is replaced."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = dict(STYLE)
    with rc_context(settings):
        fig = Figure(figsize=(width, height))
        FigureCanvasAgg(fig)
        yield fig
        with replacing(out, overwrite=True) as draft:
            fig.savefig(draft)


def plot_losses(log: Path, out: Path) -> Path:
    """Draw the losses of a run's `log.jsonl` with their running mean, the numbers beside them as CSV."""
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    steps, losses = [row["step"] for row in rows], np.asarray([row["loss"] for row in rows])
    window = max(len(losses) // 20, 1)
    total = np.concatenate([[0.0], losses.cumsum()])
    start = np.maximum(np.arange(len(losses)) + 1 - window, 0)
    means = (total[1:] - total[start]) / (np.arange(len(losses)) + 1 - start)
    write_columns(out.with_suffix(".csv"), {"step": steps, "loss": losses, "running_mean": means})
    with figure(5.0, 3.0, out) as fig:
        ax = fig.subplots()
        ax.plot(steps, losses, color=COLOURS[4], linewidth=0.6, label="loss")
        ax.plot(steps, means, color=COLOURS[0], label=f"mean of {window} logged steps")
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        if losses.min() > 0 and losses.max() > 20 * losses.min():
            ax.set_yscale("log")
        ax.legend()
    return out


def plot_properties(
    values: Mapping[str, Mapping[str, np.ndarray[Any, np.dtype[Any]]]],
    out: Path,
    *,
    marks: Mapping[str, float] | None = None,
) -> Path:
    """Histograms of properties, one panel each, the numbers beside them as CSV.

    Args:
        values: property -> set, such as "guided" -> finite values.
        marks: property -> value that was wished for.
    """
    columns: dict[str, list[Any]] = {"property": [], "set": [], "value": []}
    for name, sets in values.items():
        for key, several in sets.items():
            columns["property"] += [name] * len(several)
            columns["set"] += [key] * len(several)
            columns["value"] += several.tolist()
    write_columns(out.with_suffix(".csv"), columns)
    with figure(3.4 * len(values), 2.8, out) as fig:
        axes = fig.subplots(1, len(values), squeeze=False)[0]
        for ax, (name, sets) in zip(axes, values.items(), strict=True):
            pooled = np.concatenate([*sets.values(), np.zeros(0)])
            edges = np.histogram_bin_edges(pooled, bins=25) if len(pooled) else 10
            for colour, (key, several) in zip(COLOURS, sets.items(), strict=False):
                share = np.full(len(several), 1 / max(len(several), 1))
                ax.hist(several, bins=edges, weights=share, color=colour, alpha=0.55, label=key)
            if marks is not None and name in marks:
                ax.axvline(marks[name], color=COLOURS[7], linestyle="--", linewidth=1, label="wished for")
            ax.set_xlabel(name)
            ax.set_ylabel("share")
        axes[0].legend()
    return out


def write_columns(out: Path, columns: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]) -> None:
    """Write columns of equal length as CSV, in place of an earlier file."""
    with replacing(out, overwrite=True) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
