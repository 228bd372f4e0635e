"""Many graphs as one list of nodes and one of edges, what files and large sets are: sum n + sum E numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError
from domains.graphs.dense import Graphs, one_hot_degrees
from domains.graphs.kinds import Kind

__all__ = ["Array", "Ragged"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Many graphs as flat lists.

    Args:
        sizes: (G,) int64, nodes of each graph.
        labels: (sum n,) int64, atom type of each node, graph after graph; zeros for generic graphs.
        counts: (G,) int64, edges of each graph.
        pairs: (sum E, 2) int64, local node numbers u < v, graph after graph.
        orders: (sum E,) int64, bond order 1 to 3; ones for generic graphs.
    """

    sizes: Array
    labels: Array
    counts: Array
    pairs: Array
    orders: Array

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def degrees(self) -> Array:
        """(sum n,) int64, neighbours of each node."""
        start = np.repeat(np.cumsum(self.sizes) - self.sizes, self.counts)
        ends = (self.pairs + start[:, None]).reshape(-1) if len(self.pairs) else np.zeros(0, np.int64)
        return np.bincount(ends.astype(np.int64), minlength=int(self.sizes.sum()))

    def take(self, rows: Array | Tensor | Sequence[int]) -> "Ragged":
        """These graphs, in this order."""
        at = np.asarray(rows, dtype=np.int64)
        nodes, edges = _spans(self.sizes, at), _spans(self.counts, at)
        return Ragged(
            self.sizes[at], self.labels[nodes], self.counts[at], self.pairs[edges], self.orders[edges]
        )

    def dense(self, kind: Kind) -> Graphs:
        """Pad to the kind's N and F.

        Raises:
            DataError: a graph has more nodes than N, or a degree that F does not hold.
        """
        if len(self) and int(self.sizes.max()) > kind.max_nodes:
            at = int(self.sizes.argmax())
            raise DataError(
                f"graph {at} has {int(self.sizes[at])} nodes, '{kind.name}' holds {kind.max_nodes}.",
                hint="Raise --max-nodes, or pass --drop-large to leave such graphs out.",
            )
        b, n = len(self), kind.max_nodes
        mask = torch.arange(n) < torch.as_tensor(self.sizes)[:, None]
        edges = torch.zeros(b, n, n)
        owner = np.repeat(np.arange(b), self.counts)
        u, v = self.pairs.reshape(-1, 2).T
        orders = torch.as_tensor(self.orders, dtype=torch.float32)
        edges[owner, u, v] = orders
        edges[owner, v, u] = orders
        if not kind.molecular:
            return Graphs(one_hot_degrees(edges, mask, kind.features), edges, mask)
        nodes = torch.zeros(b, n, kind.features)
        holder = np.repeat(np.arange(b), self.sizes)
        place = np.arange(len(holder)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        nodes[holder, place, self.labels] = 1.0
        return Graphs(nodes, edges, mask)

    @classmethod
    def of(cls, graphs: Graphs) -> "Ragged":
        """Flatten quantised graphs; absent nodes anywhere in the padding are dropped."""
        mask = graphs.mask.cpu().numpy()
        place = np.cumsum(mask, 1) - 1
        owner, u, v = np.nonzero(np.triu(graphs.edges.cpu().numpy(), 1))
        return cls(
            mask.sum(1).astype(np.int64),
            graphs.nodes.argmax(2).cpu().numpy()[mask].astype(np.int64),
            np.bincount(owner, minlength=len(graphs)).astype(np.int64),
            np.stack([place[owner, u], place[owner, v]], 1).astype(np.int64),
            np.rint(graphs.edges.cpu().numpy()[owner, u, v]).astype(np.int64),
        )

    @classmethod
    def cat(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """One of several, in order."""
        if not parts:
            return cls.build([])
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @classmethod
    def build(
        cls, graphs: Iterable[tuple[Sequence[int], Sequence[tuple[int, int]], Sequence[int] | None]]
    ) -> "Ragged":
        """From (labels, pairs, orders) of each graph; orders None means all 1."""
        sizes: list[int] = []
        labels: list[int] = []
        counts: list[int] = []
        pairs: list[tuple[int, int]] = []
        orders: list[int] = []
        for own, edges, strength in graphs:
            sizes.append(len(own))
            labels += own
            counts.append(len(edges))
            pairs += [(min(u, v), max(u, v)) for u, v in edges]
            orders += strength if strength is not None else [1] * len(edges)
        return cls(
            np.asarray(sizes, np.int64),
            np.asarray(labels, np.int64),
            np.asarray(counts, np.int64),
            np.asarray(pairs, np.int64).reshape(-1, 2),
            np.asarray(orders, np.int64),
        )


def _spans(lengths: Array, rows: Array) -> Array:
    """Positions of the elements of these rows in a flat list whose rows have these lengths."""
    starts = (np.cumsum(lengths) - lengths)[rows]
    long = lengths[rows]
    return np.repeat(starts - (np.cumsum(long) - long), long) + np.arange(int(long.sum()))
