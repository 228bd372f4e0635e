"""Graphs in memory from and to NetworkX and PyTorch Geometric.

Generic graphs carry no attributes. Molecules carry the element of a node ("element" in NetworkX, the one-hot
row `x` in PyTorch Geometric) and the kekulised order of a bond ("order"; `edge_attr`, (2E, 1)).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch

from core.errors import DataError
from core.extras import require
from domains.graphs.data import Graphs, Kind, Ragged, one_hot_degrees

__all__ = ["from_networkx", "from_pyg", "ragged_of_networkx", "to_networkx", "to_pyg"]


def to_networkx(graphs: Graphs | Ragged, kind: Kind | None = None) -> list[nx.Graph]:
    """One `networkx.Graph` each; elements and bond orders when the kind is molecular."""
    ragged = graphs if isinstance(graphs, Ragged) else Ragged.of(graphs)
    found = []
    node = edge = 0
    for n, e in zip(ragged.sizes.tolist(), ragged.counts.tolist(), strict=True):
        graph = nx.Graph()
        graph.add_nodes_from(range(n))
        pairs = ragged.pairs[edge : edge + e].tolist()
        if kind is not None and kind.molecular:
            for i, label in enumerate(ragged.labels[node : node + n].tolist()):
                graph.nodes[i]["element"] = kind.atoms[label]
            orders = ragged.orders[edge : edge + e].tolist()
            graph.add_edges_from((u, v, {"order": w}) for (u, v), w in zip(pairs, orders, strict=True))
        else:
            graph.add_edges_from(pairs)
        found.append(graph)
        node, edge = node + n, edge + e
    return found


def ragged_of_networkx(
    graphs: Iterable[nx.Graph], kind: Kind | None = None, *, names: Sequence[str] | None = None
) -> Ragged:
    """Check that graphs are simple and flatten them; nodes are numbered in their order.

    Args:
        kind: None and generic kinds read no attributes; molecular ones read "element" and "order".
        names: what to call each graph in messages.

    Raises:
        DataError: a graph is directed, weighted, a multigraph, empty, or has a self-loop; or an element or
            bond order is outside the vocabulary.
    """
    index = {symbol: i for i, symbol in enumerate(kind.atoms)} if kind is not None else {}
    entries: list[tuple[list[int], list[tuple[int, int]], list[int] | None]] = []
    for i, graph in enumerate(graphs):
        where = names[i] if names else f"graph {i}"
        _check_simple(graph, where)
        place = {node: k for k, node in enumerate(graph)}
        pairs = [(place[u], place[v]) for u, v in graph.edges]
        if not index:
            entries.append(([0] * len(place), pairs, None))
            continue
        labels = [_label(graph.nodes[node].get("element"), index, where) for node in graph]
        orders = [int(graph.edges[edge].get("order", 1)) for edge in graph.edges]
        if any(order not in (1, 2, 3) for order in orders):
            raise DataError(f"{where}: bond orders are 1, 2 or 3, got {sorted(set(orders))}.")
        entries.append((labels, pairs, orders))
    return Ragged.build(entries)


def from_networkx(graphs: Iterable[nx.Graph], kind: Kind) -> Graphs:
    """Padded graphs of `networkx` graphs; raises as `ragged_of_networkx` and `Ragged.dense` do."""
    return ragged_of_networkx(graphs, kind).dense(kind)


def _check_simple(graph: nx.Graph, where: str) -> None:
    def refuse(what: str, hint: str) -> DataError:
        return DataError(f"{where} {what}; simple graphs are needed.", hint=hint)

    if graph.is_directed():
        raise refuse("is directed", "Convert it: networkx.Graph(graph).")
    if graph.is_multigraph():
        raise refuse("is a multigraph", "Merge parallel edges: networkx.Graph(graph).")
    if not len(graph):
        raise refuse("is empty", "Leave out graphs without nodes.")
    if loop := next(nx.selfloop_edges(graph), None):
        raise refuse(f"has a self-loop at node {loop[0]}", "Remove self-loops first.")
    for u, v, weight in graph.edges(data="weight", default=1):
        if weight != 1:
            raise refuse(f"is weighted (edge {u}-{v} has {weight})", "Drop or threshold the weights first.")


def _label(symbol: Any, index: dict[str, int], where: str) -> int:
    if symbol not in index:
        raise DataError(
            f"{where}: element {symbol} is outside the vocabulary {', '.join(index)}.",
            hint="Nodes need the attribute 'element'; give the elements with --elements.",
        )
    return index[symbol]


def to_pyg(graphs: Graphs | Ragged, kind: Kind) -> list[Any]:
    """One `torch_geometric.data.Data` each: x (n, F), edge_index (2, 2E), edge_attr (2E, 1) for molecules."""
    data = require("torch_geometric.data", extra="graphs")
    dense = graphs if isinstance(graphs, Graphs) else graphs.dense(kind)
    found = []
    for nodes, edges, mask in zip(dense.nodes, dense.edges, dense.mask, strict=True):
        own = edges[mask][:, mask]
        ends = own.nonzero().T.contiguous()
        one = data.Data(x=nodes[mask], edge_index=ends, num_nodes=int(mask.sum()))
        if kind.molecular:
            one.edge_attr = own[ends[0], ends[1]].unsqueeze(1)
        found.append(one)
    return found


def from_pyg(data: Any, kind: Kind) -> Graphs:
    """Padded graphs of a list of `Data`, a `Batch` or an in-memory dataset.

    Molecules take `x` as one-hot types in the order of the kind, and `edge_attr` as bond orders. Generic
    graphs take `edge_index` alone; their features are degrees.

    Raises:
        DataError: a graph is directed or has self-loops or parallel edges, is too large, or `x` has another
            width.
    """
    module = require("torch_geometric.data", extra="graphs")
    dense = require("torch_geometric.utils", extra="graphs")
    several = data.to_data_list() if isinstance(data, module.Batch) else list(data)
    if not several:
        raise DataError("the list of PyTorch Geometric graphs is empty.")
    for i, one in enumerate(several):
        if not one.num_nodes:
            raise DataError(f"graph {i} is empty.")
        if one.num_nodes > kind.max_nodes:
            raise DataError(
                f"graph {i} has {one.num_nodes} nodes, '{kind.name}' holds {kind.max_nodes}.",
                hint="Raise --max-nodes, or leave such graphs out.",
            )
    batch = torch.arange(len(several)).repeat_interleave(torch.tensor([one.num_nodes for one in several]))
    offsets = np.cumsum([0] + [one.num_nodes for one in several[:-1]])
    index = torch.cat([one.edge_index + int(at) for one, at in zip(several, offsets, strict=True)], 1)
    counts = dense.to_dense_adj(index, batch, max_num_nodes=kind.max_nodes, batch_size=len(several))
    if len(bad := (counts > 1).flatten(1).any(1).nonzero()):
        raise DataError(f"graph {int(bad[0])} has parallel edges.", hint="Coalesce them first.")
    edges = counts
    if kind.molecular:
        orders = torch.cat([_orders(one, i) for i, one in enumerate(several)])
        edges = dense.to_dense_adj(index, batch, orders, kind.max_nodes, len(several))
    x = torch.zeros(len(batch), 1)
    if kind.molecular:
        x = torch.cat([_features(one, kind, i) for i, one in enumerate(several)])
    nodes, mask = dense.to_dense_batch(x, batch, max_num_nodes=kind.max_nodes, batch_size=len(several))
    if kind.molecular:
        return Graphs(nodes, edges, mask).checked()
    Graphs(nodes, edges, mask).checked()
    return Graphs(one_hot_degrees(edges, mask, kind.features), edges, mask)


def _orders(one: Any, i: int) -> torch.Tensor:
    if one.edge_attr is None:
        raise DataError(f"graph {i} has no edge_attr; molecules need bond orders 1, 2 or 3 there.")
    if not one.edge_index.shape[1]:
        return torch.zeros(0)
    orders = one.edge_attr.reshape(one.edge_index.shape[1], -1).to(torch.float32)
    if orders.shape[1] != 1 or not torch.isin(orders, torch.tensor([1.0, 2.0, 3.0])).all():
        raise DataError(f"graph {i}: edge_attr must hold one bond order 1, 2 or 3 per edge.")
    return orders[:, 0]


def _features(one: Any, kind: Kind, i: int) -> torch.Tensor:
    if one.x is None or one.x.shape[1:] != (kind.features,):
        shape = None if one.x is None else tuple(one.x.shape)
        raise DataError(f"graph {i}: x must be (n, {kind.features}) one-hot types, got {shape}.")
    return one.x.to(torch.float32)
