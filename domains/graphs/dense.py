"""Padded graphs, what networks see: nodes (B, N, F), edges (B, N, N), mask (B, N).

The mask is carried from the data, so that a single atom or an isolated node is a node and not padding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import DataError

__all__ = ["Graphs", "one_hot_degrees"]


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
