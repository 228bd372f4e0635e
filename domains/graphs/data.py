"""What every method here works on: padded graphs, the kind of graph they are, and sets of them.

Letters: B graphs, N padded nodes, F node features. Two forms hold the same graphs:

    Graphs   dense and padded, what networks see: nodes (B, N, F), edges (B, N, N), mask (B, N)
    Ragged   one list of nodes and one of edges, what files and large sets are: sum n + sum E numbers

The mask is carried from the data, so that a single atom or an isolated node is a node and not padding.
`sets.read_set` reads a named set or a file; `exchange` converts from and to NetworkX and PyTorch Geometric.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, DataError, unknown

__all__ = ["KINDS", "Array", "GraphSet", "Graphs", "Kind", "Ragged", "one_hot_degrees"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Kind:
    """What the numbers of a set of graphs mean.

    Args:
        name: of the set, for reports and checkpoints.
        atoms: element of each node feature; () for generic graphs, whose node features are one-hot degrees.
        max_nodes: N, padded nodes.
        features: F; for molecules the number of elements, for generic graphs the largest degree plus 1.
    """

    name: str
    atoms: tuple[str, ...]
    max_nodes: int
    features: int

    def __post_init__(self) -> None:
        if self.max_nodes < 1 or self.features < 1:
            raise ConfigError(
                f"kind '{self.name}': max_nodes and features must be at least 1, got {self.max_nodes} and "
                f"{self.features}."
            )
        if self.atoms and len(self.atoms) != self.features:
            raise ConfigError(
                f"kind '{self.name}': {len(self.atoms)} elements for {self.features} features.",
                hint="A molecule has one feature per element.",
            )

    @property
    def molecular(self) -> bool:
        return bool(self.atoms)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for checkpoints and sidecars; `from_dict` is the inverse."""
        return {
            "name": self.name,
            "atoms": list(self.atoms),
            "max_nodes": self.max_nodes,
            "features": self.features,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kind":
        return cls(values["name"], tuple(values["atoms"]), values["max_nodes"], values["features"])


ZINC_ATOMS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("community_small", (), 20, 10),
        Kind("ego_small", (), 18, 17),
        Kind("enzymes", (), 125, 10),
        Kind("grid", (), 361, 5),
        Kind("comm20", (), 20, 10),
        Kind("qm9", ("C", "N", "O", "F"), 9, 4),
        Kind("zinc250k", ZINC_ATOMS, 38, 9),
    )
}
"""The published sets; Jo, Lee & Hwang 2022, arXiv:2202.02514, and for comm20 Martinkus et al. 2022."""


@dataclass(frozen=True, eq=False)
class Graphs:
    """Padded graphs, or real-valued states on their way to becoming graphs.

    Args:
        nodes: (B, N, F) float; one-hot atom types or one-hot degrees; zero where the mask is off.
        edges: (B, N, N) float, symmetric, zero diagonal; 0/1, or the kekulised bond order 0 to 3.
        mask: (B, N) bool, true for nodes that exist.
    """

    nodes: Tensor
    edges: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        b, n = self.mask.shape if self.mask.ndim == 2 else (-1, -1)
        if self.nodes.shape[:2] != (b, n) or self.nodes.ndim != 3 or self.edges.shape != (b, n, n):
            raise DataError(
                f"graphs need nodes (B, N, F), edges (B, N, N) and mask (B, N), got "
                f"{tuple(self.nodes.shape)}, {tuple(self.edges.shape)} and {tuple(self.mask.shape)}."
            )

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def sizes(self) -> Tensor:
        """(B,) int64, nodes of each graph."""
        return self.mask.sum(1)

    def take(self, rows: Tensor | Sequence[int]) -> "Graphs":
        """These graphs, in this order; a row may be taken more than once."""
        at = torch.as_tensor(rows, dtype=torch.long, device=self.mask.device)
        return Graphs(self.nodes[at], self.edges[at], self.mask[at])

    def to(self, device: str | torch.device) -> "Graphs":
        return Graphs(self.nodes.to(device), self.edges.to(device), self.mask.to(device))

    def state(self) -> dict[str, Tensor]:
        """The core's state: spaces are `Masked()` for nodes and `Symmetric()` for edges."""
        return {"nodes": self.nodes, "edges": self.edges, "mask": self.mask}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Graphs":
        """The inverse of `state`."""
        return cls(state["nodes"], state["edges"], state["mask"])

    @classmethod
    def cat(cls, parts: Iterable["Graphs"]) -> "Graphs":
        """One batch of several of equal N and F."""
        several = list(parts)
        return cls(
            torch.cat([part.nodes for part in several]),
            torch.cat([part.edges for part in several]),
            torch.cat([part.mask for part in several]),
        )

    def linked(self) -> "Graphs":
        """The same with the mask of the reference: nodes that have an edge. For comparisons alone.

        Single atoms and isolated nodes become padding.
        """
        mask = (self.edges != 0).any(2)
        return Graphs(self.nodes * mask.unsqueeze(-1), self.edges, mask)

    def checked(self) -> "Graphs":
        """The same graphs, once they are known to be finite, symmetric, loop-free and masked.

        Raises:
            DataError: names the first graph at fault and the fault.
        """
        for what, tensor in (("node features", self.nodes), ("edges", self.edges)):
            if len(bad := _rows_where(~torch.isfinite(tensor))):
                raise DataError(f"graph {bad[0]}: NaN or infinite {what} ({len(bad)} graphs have some).")
        gap = (self.edges - self.edges.mT).abs().flatten(1).amax(1) if self.edges.numel() else self.edges
        if gap.numel() and float(gap.max()) > 0:
            at = int(gap.argmax())
            raise DataError(
                f"graph {at}: the adjacency is not symmetric (largest difference {float(gap[at]):g}).",
                hint="Undirected graphs are needed: symmetrise them first.",
            )
        if len(bad := _rows_where(torch.diagonal(self.edges, dim1=1, dim2=2) != 0)):
            raise DataError(f"graph {bad[0]} has a self-loop.", hint="Remove self-loops first.")
        if len(bad := _rows_where(~self.mask.any(1, keepdim=True))):
            raise DataError(f"graph {bad[0]} is empty ({len(bad)} graphs have no node).")
        outside = (self.nodes != 0).any(2) | (self.edges != 0).any(2)
        if len(bad := _rows_where(outside & ~self.mask)):
            raise DataError(f"graph {bad[0]}: a node that the mask calls absent has features or edges.")
        return self


def _rows_where(fault: Tensor) -> list[int]:
    return fault.flatten(1).any(1).nonzero().flatten().tolist()


def one_hot_degrees(edges: Tensor, mask: Tensor, features: int) -> Tensor:
    """(B, N, F) float32 one-hot degrees of 0/1 adjacencies (B, N, N); absent nodes are zero.

    Raises:
        DataError: a degree does not fit; degrees 0 to F - 1 do.
    """
    degrees = (edges > 0).sum(2)
    if degrees.numel() and int(degrees.max()) >= features:
        at = int(degrees.flatten(1).amax(1).argmax())
        raise DataError(
            f"graph {at} has a node of degree {int(degrees[at].max())}; features={features} hold degrees up "
            f"to {features - 1}.",
            hint=f"Pass features={int(degrees.max()) + 1}, or leave the graph out.",
        )
    hot = torch.nn.functional.one_hot(degrees, features).to(torch.float32)
    return hot * mask.unsqueeze(-1)


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


@dataclass(frozen=True, eq=False)
class GraphSet:
    """A data set: graphs, their kind, and which of them train and test.

    Args:
        kind: of all of them.
        ragged: G graphs.
        splits: row numbers by name: "train", "test", some sets "val".
        smiles: canonical SMILES of each graph of a molecular set, else ().
        rows: row of the source that each graph came from, (G,); rows that were dropped are missing here.
        properties: (G,) float64 values by name, where the source has such columns.
        notes: what reading changed, one line each.
    """

    kind: Kind
    ragged: Ragged
    splits: Mapping[str, Array]
    smiles: tuple[str, ...] = ()
    rows: Array | None = None
    properties: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, at in self.splits.items():
            if len(at) and (int(at.min()) < 0 or int(at.max()) >= len(self.ragged)):
                bad = next(int(i) for i in at if not 0 <= i < len(self.ragged))
                raise DataError(
                    f"split '{name}' of '{self.kind.name}' names graph {bad}; there are {len(self.ragged)}.",
                    hint="Ids count from 0.",
                )
            values, often = np.unique(at, return_counts=True)
            if len(values) < len(at):
                raise DataError(
                    f"split '{name}' of '{self.kind.name}' names {len(at) - len(values)} graphs twice, first "
                    f"{int(values[often > 1][0])}."
                )

    def __len__(self) -> int:
        return len(self.ragged)

    @property
    def name(self) -> str:
        return self.kind.name

    def at(self, split: str | None = None) -> Array:
        """Row numbers of a split; None takes every graph.

        Raises:
            ConfigError: there is no such split.
            DataError: it is empty.
        """
        if split is None:
            return np.arange(len(self))
        if split not in self.splits:
            raise unknown(f"split of '{self.name}'", split, self.splits)
        if not len(self.splits[split]):
            counts = ", ".join(f"{key} {len(rows)}" for key, rows in self.splits.items())
            raise DataError(f"split '{split}' of '{self.name}' is empty ({counts}).")
        return np.asarray(self.splits[split])

    def graphs(self, split: str | None = None) -> Graphs:
        """Dense graphs of a split."""
        return self.ragged.take(self.at(split)).dense(self.kind)

    def batch(self, rows: Array | Tensor | Sequence[int]) -> Graphs:
        """Dense graphs of these rows: what a loader of a large set calls."""
        return self.ragged.take(rows).dense(self.kind)

    def sizes(self, split: str | None = None) -> Array:
        """(n,) int64, nodes of each graph of a split."""
        return self.ragged.sizes[self.at(split)]

    def smiles_of(self, split: str | None = None) -> tuple[str, ...]:
        """Canonical SMILES of a split of a molecular set."""
        return tuple(self.smiles[i] for i in self.at(split)) if self.smiles else ()

    def take(self, rows: Array) -> "GraphSet":
        """These graphs alone; splits keep the rows that are still there, and empty ones go."""
        where = np.full(len(self), -1)
        where[rows] = np.arange(len(rows))
        splits = {name: where[at][where[at] >= 0] for name, at in self.splits.items()}
        return GraphSet(
            self.kind,
            self.ragged.take(rows),
            {name: at for name, at in splits.items() if len(at)},
            tuple(self.smiles[i] for i in rows) if self.smiles else (),
            None if self.rows is None else self.rows[rows],
            {name: values[rows] for name, values in self.properties.items()},
            self.notes,
        )

    def noted(self, *notes: str) -> "GraphSet":
        """The same set with further notes."""
        return replace(self, notes=self.notes + notes)
