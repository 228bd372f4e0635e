"""Graphs in files that hold one each, or folders of them: GraphML, edge lists; and PyTorch Geometric
`.pt`."""

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import torch

from core.errors import DataError
from core.extras import require
from domains.graphs.data import GraphSet, Ragged
from domains.graphs.exchange import ragged_of_networkx
from domains.graphs.formats.archives import generic_kind

__all__ = ["EDGE_LISTS", "read_networks", "read_pt"]

EDGE_LISTS = (".edges", ".edgelist", ".el")
NETWORKS = (".graphml", *EDGE_LISTS)


def read_networks(path: Path) -> GraphSet:
    """Read one file, or every such file of a folder in the order of their names.

    Raises:
        DataError: a file cannot be read, or a graph is not simple; names file and fault.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in NETWORKS)
        if not files:
            raise DataError(f"the folder {path} holds no graph ({', '.join(NETWORKS)}).")
    graphs: list[nx.Graph] = []
    names: list[str] = []
    for file in files:
        several = _read_one(file)
        graphs += several
        names += [str(file) if len(several) == 1 else f"{file}, graph {i}" for i in range(len(several))]
    ragged = ragged_of_networkx(graphs, names=names)
    return GraphSet(generic_kind(path.name.split(".")[0], ragged), ragged, {})


def _read_one(path: Path) -> Sequence[nx.Graph]:
    try:
        if path.suffix.lower() == ".graphml":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [nx.read_graphml(path)]
        text = path.read_text("utf-8")
    except Exception as error:
        raise DataError(f"{path} cannot be read as a graph: {str(error).splitlines()[0]}.") from error
    # A blank line ends a graph.
    blocks = [block for block in text.replace("\r", "").split("\n\n") if block.strip()]
    if not blocks:
        raise DataError(f"{path} is empty.", hint="Write one edge a line: two node names.")
    return [_edge_list(block.splitlines(), path) for block in blocks]


def _edge_list(lines: Sequence[str], path: Path) -> nx.Graph:
    graph = nx.Graph()
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) == 1:
            graph.add_node(words[0])
            continue
        if len(words) > 3:
            raise DataError(
                f"{path}, line {number}: '{line}' is no edge.",
                hint="Write two node names, and a weight at most.",
            )
        weight = words[2] if len(words) == 3 else "1"
        try:
            value = float(weight)
        except ValueError:
            raise DataError(f"{path}, line {number}: weight '{weight}' is no number.") from None
        if graph.has_edge(words[0], words[1]):
            raise DataError(
                f"{path} is a multigraph (edge {words[0]}-{words[1]} twice, line {number}); simple graphs "
                "are needed.",
                hint="List each undirected edge once.",
            )
        graph.add_edge(words[0], words[1], weight=value)
    return graph


def read_pt(path: Path) -> GraphSet:
    """A list of PyTorch Geometric `Data` saved with `torch.save`; nothing in it is executed.

    Raises:
        DataError: it holds other objects than tensors and graphs of PyTorch Geometric.
    """
    data = require("torch_geometric.data.data", extra="graphs")
    storage = require("torch_geometric.data.storage", extra="graphs")
    plain = [data.Data, data.DataEdgeAttr, data.DataTensorAttr, storage.GlobalStorage]
    try:
        with torch.serialization.safe_globals(plain):
            found = torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read without running code it may hold.",
            hint="Save a list of torch_geometric Data with torch.save, or use .npz.",
        ) from error
    several = [found] if isinstance(found, data.Data) else found
    if not isinstance(several, list) or not several or not all(hasattr(one, "edge_index") for one in several):
        raise DataError(f"{path} holds no list of PyTorch Geometric graphs.")
    return _of_pyg(several, path)


def _of_pyg(several: Sequence[Any], path: Path) -> GraphSet:
    graphs = []
    for i, one in enumerate(several):
        where = f"{path}, graph {i}"
        pairs = [(int(u), int(v)) for u, v in one.edge_index.T]
        seen = set(pairs)
        if len(seen) < len(pairs):
            raise DataError(f"{where} is a multigraph (parallel edges); simple graphs are needed.")
        if lone := next(((u, v) for u, v in pairs if (v, u) not in seen), None):
            raise DataError(f"{where} is directed (edge {lone[0]}-{lone[1]} has no way back).")
        graph = nx.Graph()
        graph.add_nodes_from(range(int(one.num_nodes)))
        graph.add_edges_from(pairs)
        graphs.append(graph)
    names = [f"{path}, graph {i}" for i in range(len(graphs))]
    ragged: Ragged = ragged_of_networkx(graphs, names=names)
    return GraphSet(generic_kind(path.name.split(".")[0], ragged), ragged, {})
