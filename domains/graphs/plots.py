"""Pictures of molecules and graphs in a grid, and a set's sizes and degrees; SVG or PNG by the extension."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.Scaffolds import MurckoScaffold

from core.atomic import replacing
from core.errors import ConfigError, DataError
from core.palette import COLOURS, STYLE
from domains.graphs.data import Ragged
from domains.graphs.exchange import to_networkx

__all__ = ["draw_graphs", "draw_molecules", "highlighted"]

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
