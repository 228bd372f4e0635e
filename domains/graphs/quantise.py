"""Real-valued samples to graphs: thresholds on edges, types of atoms, and what is dropped on the way.

Generic graphs: an edge where A >= 0.5; then isolated nodes are dropped; a graph of which nothing is left
keeps one node. Molecules: bond orders at the thresholds 0.5, 1.5 and 2.5; an atom's type is the largest
feature ("argmax") or the first above 0.5, and an atom with none is virtual and removed ("threshold").

Source: Jo, Lee & Hwang 2022, arXiv:2202.02514, section 4 and its published settings.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from core.errors import ConfigError, NumericalError
from domains.graphs.data import Array, Graphs, Kind, Ragged

__all__ = ["Quantised", "Rule", "quantise"]

Rule = Literal["argmax", "threshold"]


@dataclass(frozen=True, eq=False)
class Quantised:
    """Graphs, and what quantisation took away.

    Args:
        ragged: one graph per sample, of 0 nodes where every atom is virtual.
        dropped: (B,) int64, nodes that the sample had and the graph has not.
    """

    ragged: Ragged
    dropped: Array

    def __len__(self) -> int:
        return len(self.ragged)


def quantise(graphs: Graphs, kind: Kind, rule: Rule = "argmax", *, keep_isolated: bool = False) -> Quantised:
    """Turn real-valued samples into graphs.

    Args:
        graphs: nodes (B, N, F) and edges (B, N, N), real-valued; the two triangles are averaged.
        rule: how the types of atoms are read; generic graphs ignore it.
        keep_isolated: keep the isolated nodes of generic graphs.

    Raises:
        NumericalError: a sample holds NaN or infinity.
    """
    if rule not in ("argmax", "threshold"):
        raise ConfigError(f"unknown quantisation rule '{rule}' (known: argmax, threshold).")
    if not (torch.isfinite(graphs.nodes).all() and torch.isfinite(graphs.edges).all()):
        bad = ~(
            torch.isfinite(graphs.nodes).flatten(1).all(1) & torch.isfinite(graphs.edges).flatten(1).all(1)
        )
        raise NumericalError(
            f"{int(bad.sum())} of {len(graphs)} samples hold NaN or infinity, first {int(bad.nonzero()[0])}.",
            hint="Take more steps, or a smaller snr.",
        )
    even = (graphs.edges + graphs.edges.mT) / 2
    if kind.molecular:
        orders = (even[..., None] >= torch.tensor([0.5, 1.5, 2.5], device=even.device)).sum(-1).to(even.dtype)
        kept = graphs.mask
        nodes = torch.nn.functional.one_hot(graphs.nodes.argmax(2), kind.features)
        if rule == "threshold":
            above = graphs.nodes > 0.5
            kept = kept & above.any(2)
            nodes = torch.nn.functional.one_hot(above.to(torch.uint8).argmax(2), kind.features)
    else:
        orders = (even >= 0.5).to(even.dtype)
        nodes = torch.zeros_like(graphs.nodes)
        kept = graphs.mask
    orders = torch.triu(orders, 1)
    orders = (orders + orders.mT) * (kept[:, :, None] & kept[:, None, :])
    if not kind.molecular and not keep_isolated:
        linked = kept & (orders.sum(2) > 0)
        nothing = ~linked.any(1)
        first = torch.zeros_like(kept).scatter(1, kept.to(torch.uint8).argmax(1, keepdim=True), True) & kept
        kept = torch.where(nothing[:, None], first, linked)
    left = Graphs(nodes.to(graphs.nodes.dtype), orders, kept)
    return Quantised(Ragged.of(left), (graphs.sizes - left.sizes).cpu().numpy())
