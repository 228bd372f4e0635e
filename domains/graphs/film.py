"""Films of graphs as they come out of noise: the graph above, its adjacency below, one column a graph.

Every frame of a graph has the layout of its last one, so that nodes stay in place. Edges are as dark as their
value in [0, 1] (of molecules: as wide as their bond order); nodes have the colour of their largest feature.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from core.atomic import refuse_existing, replacing
from core.errors import ConfigError
from core.palette import COLOURS, STYLE
from domains.graphs.data import Graphs, Kind

__all__ = ["SUFFIXES", "write_film"]

SUFFIXES = (".gif", "")
HOLD_MS = 1500  # the last frame


def write_film(
    frames: Sequence[Graphs],
    times: Sequence[float],
    kind: Kind,
    out: Path,
    *,
    fps: float = 12.0,
    overwrite: bool = False,
) -> int:
    """Write a GIF, or a folder of numbered PNG pictures.

    Args:
        frames: states of the same graphs, the first of them noise.
        times: of the frames, 1 is noise.
        out: .gif, or a folder that does not exist yet.
        fps: frames a second of the GIF; its last frame stays for 1.5 s.

    Returns:
        Pictures written.

    Raises:
        ConfigError: another extension, or the output exists.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{out} is neither .gif nor a folder.", hint="Choose film.gif, or a new folder.")
    if not frames:
        raise ConfigError("a film needs at least one frame.")
    from PIL import Image

    if out.suffix:
        pictures = [
            Image.open(io.BytesIO(png)).convert("P", palette=Image.Palette.ADAPTIVE)
            for png in _pngs(frames, times, kind)
        ]
        with replacing(out, overwrite=overwrite) as draft:
            pictures[0].save(
                draft,
                save_all=True,
                append_images=pictures[1:],
                duration=[round(1000 / fps)] * (len(pictures) - 1) + [HOLD_MS],
                loop=0,
            )
        return len(pictures)
    refuse_existing(out, overwrite=False)
    with replacing(out) as draft:
        draft.mkdir()
        for number, png in enumerate(_pngs(frames, times, kind)):
            (draft / f"frame-{number:03d}.png").write_bytes(png)
    return len(frames)


def _pngs(frames: Sequence[Graphs], times: Sequence[float], kind: Kind) -> Iterator[bytes]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {**STYLE, "figure.constrained_layout.use": False}
    count = len(frames[0])
    masks = frames[-1].mask.cpu().numpy()
    places = [_layout(frames[-1].edges[i].cpu().numpy(), masks[i]) for i in range(count)]
    top = 3.0 if kind.molecular else 1.0
    with rc_context(settings):
        for graphs, t in zip(frames, times, strict=True):
            fig = Figure(figsize=(2.2 * count, 4.4), dpi=80)
            FigureCanvasAgg(fig)
            axes = fig.subplots(2, count, squeeze=False)
            fig.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.93, wspace=0.06, hspace=0.04)
            fig.suptitle(f"t = {t:.2f}", fontsize=9)
            for i in range(count):
                n = int(masks[i].sum())
                edges = graphs.edges[i, :n, :n].cpu().numpy()
                types = graphs.nodes[i, :n].cpu().numpy().argmax(1)
                _draw(axes[0, i], edges, types, places[i], kind)
                axes[1, i].imshow(edges, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
                axes[1, i].set_axis_off()
            file = io.BytesIO()
            fig.savefig(file, format="png")
            yield file.getvalue()


def _layout(edges: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, 2) places of the nodes of a graph at its end."""
    n = int(mask.sum())
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(np.argwhere(np.triu(edges[:n, :n] >= 0.5, 1)).tolist())
    # Far parts of a graph would leave the picture: a spring holds them.
    connected = n > 1 and nx.is_connected(graph)
    where = nx.kamada_kawai_layout(graph) if connected and n <= 64 else nx.spring_layout(graph, seed=0)
    return np.asarray([where[i] for i in range(n)])


def _draw(
    ax: Any, edges: np.ndarray[Any, Any], types: np.ndarray[Any, Any], where: np.ndarray[Any, Any], kind: Kind
) -> None:
    from matplotlib.collections import LineCollection

    u, v = np.triu_indices(len(where), 1)
    value = edges[u, v]
    shade = np.clip(value, 0, 1)
    seen = shade > 0.05
    lines = LineCollection(
        [(where[a], where[b]) for a, b in zip(u[seen], v[seen], strict=True)],
        colors=[(0.3, 0.3, 0.3, float(alpha)) for alpha in shade[seen]],
        linewidths=np.clip(value[seen], 0.5, 3) * (1.6 if kind.molecular else 1.0),
    )
    ax.add_collection(lines)
    colours = [COLOURS[k % len(COLOURS)] for k in types] if kind.molecular else COLOURS[0]
    ax.scatter(*where.T, s=260 / max(len(where), 6) + 6, c=colours, zorder=2)
    if kind.molecular:
        for (x, y), label in zip(where, types, strict=True):
            ax.text(x, y, kind.atoms[label], fontsize=6, color="white", ha="center", va="center", zorder=3)
    reach = float(np.abs(where).max(initial=0.1)) * 1.2 + 0.05
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    ax.set_axis_off()
