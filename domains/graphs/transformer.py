"""A graph transformer that answers with the law of the clean graph, from a noisy one.

Three streams, nodes X (B, N, dx), pairs E (B, N, N, de) and the graph y (B, dy), and blocks of

    attention between nodes, its logits scaled and shifted by E, read and updated per head
    X <- X + out;  E <- E + linear(logits);  y modulates both, and reads their means
    a feed-forward layer on each stream, layer norm before each part

Pairs are symmetric throughout: what updates E is made symmetric, and its feed-forward acts on each pair
alone. So E is held once per pair u <= v, (B, T, de) with T = N (N + 1) / 2, and spread where attention reads
it. Beside the noisy graph, nodes and pairs are told random-walk return probabilities and walks between nodes
of 1 .. K steps of the adjacency clipped to [0, 3]; y is told the time, the share of nodes that exist, and the
condition.

Sources: Vignac et al. 2023, arXiv:2209.14734, section 3.2 and appendix B (streams); Dwivedi et al. 2022,
arXiv:2110.07875 (return probabilities); Jo, Kim & Hwang 2024, arXiv:2302.03596 (the clean graph as the
prediction of a diffusion). Smaller than published: see the presets.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError
from domains.graphs.layers import EMBEDDING, Clock

__all__ = ["GraphTransformer", "walks"]

WALKS = 6  # steps of the random walks that the network is told


def walks(edges: Tensor, mask: Tensor, steps: int = WALKS) -> Tensor:
    """(B, N, N, K) probabilities of walks of 1 .. K steps over real edges (B, N, N), made symmetric."""
    weight = edges.clamp(0, 3) * (mask[:, :, None] & mask[:, None, :])
    step = weight / weight.sum(-1, keepdim=True).clamp(min=1e-3)
    power, out = step, [step]
    for _ in range(steps - 1):
        power = power @ step
        out.append(power)
    tower = torch.stack(out, -1)
    return (tower + tower.transpose(1, 2)) / 2


class Triangle(NamedTuple):
    """Pairs u <= v of N nodes.

    Attributes:
        upper, lower: (T,) positions of (u, v) and (v, u) in a flat N N.
        place: (N N,) the pair of each position.
        often: (T,) how many positions have it, 1 or 2.
        n: N.
    """

    upper: Tensor
    lower: Tensor
    place: Tensor
    often: Tensor
    n: int

    @classmethod
    def of(cls, n: int, device: torch.device) -> "Triangle":
        u, v = torch.triu_indices(n, n, device=device)
        place = torch.empty(n * n, dtype=torch.long, device=device)
        place[u * n + v] = place[v * n + u] = torch.arange(len(u), device=device)
        return cls(u * n + v, v * n + u, place, 2 - (u == v).long(), n)

    def gather(self, dense: Tensor) -> Tensor:
        """(B, T, C) of a symmetric (B, N, N, C)."""
        return dense.flatten(1, 2).index_select(1, self.upper)

    def even(self, dense: Tensor) -> Tensor:
        """(B, T, C) mean of (B, C, N, N) over (u, v) and (v, u)."""
        flat = dense.flatten(2)
        return ((flat.index_select(2, self.upper) + flat.index_select(2, self.lower)) / 2).mT

    def spread(self, pairs: Tensor) -> Tensor:
        """Symmetric (B, C, N, N) of (B, T, C)."""
        return pairs.mT.index_select(2, self.place).unflatten(2, (self.n, self.n))


class Block(nn.Module):
    """One block; see the module docstring."""

    def __init__(self, nodes: int, pairs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_e = nn.LayerNorm(nodes), nn.LayerNorm(pairs)
        self.qkv = nn.Linear(nodes, 3 * nodes)
        self.gate = nn.Linear(pairs, 2 * heads)
        self.out = nn.Linear(nodes, nodes)
        self.edge = nn.Linear(heads, pairs)
        self.tell = nn.Linear(EMBEDDING, 2 * (nodes + pairs))
        self.hear = nn.Linear(nodes + pairs, EMBEDDING)
        self.feed_x = _feed(nodes)
        self.feed_e = _feed(pairs)
        nn.init.zeros_(self.tell.weight)
        nn.init.zeros_(self.tell.bias)

    def forward(
        self, x: Tensor, e: Tensor, y: Tensor, mask: Tensor, pair: Tensor, triangle: Triangle
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, n, width = x.shape
        h, d = self.heads, width // self.heads
        ax, bx, ae, be = self.tell(y).split([width, width, e.shape[-1], e.shape[-1]], -1)
        nx = self.norm_x(x) * (1 + ax[:, None]) + bx[:, None]
        ne = self.norm_e(e) * (1 + ae[:, None]) + be[:, None]
        q, k, v = self.qkv(nx).reshape(b, n, 3, h, d).permute(2, 0, 3, 1, 4)
        logits = q @ k.mT / math.sqrt(d)
        scale, shift = triangle.spread(self.gate(ne)).chunk(2, 1)
        logits = logits * (1 + scale) + shift
        shown = logits.masked_fill(~mask[:, None, None, :], -1e4)
        x = x + self.out((shown.softmax(-1) @ v).transpose(1, 2).reshape(b, n, width))
        e = e + self.edge(triangle.even(logits))
        x = (x + self.feed_x(x)) * mask.unsqueeze(-1)
        e = (e + self.feed_e(e)) * pair
        share = mask.sum(1, keepdim=True).clamp(min=1).to(x.dtype)
        means = torch.cat([x.sum(1) / share, triangle.often.to(e) @ e / share**2], 1)
        return x, e, y + F.silu(self.hear(means))


def _feed(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
    )


class GraphTransformer(nn.Module):
    """`net(x, t, cond) -> logits {"nodes" (B, N, F), "edges" (B, N, N, E)}`; see the module docstring.

    Args:
        features: F.
        orders: E, edge types: 2 for generic graphs, 4 for molecules (none, single, double, triple).
        depth: blocks.
        nodes, pairs: widths dx and de.
        heads: of attention.
        conditions: numbers K of the condition (B, K); NaN says "not given".
        leave: with the layers that answer; a regressor reads `hidden` alone.
    """

    target = "clean"

    def __init__(
        self,
        features: int,
        *,
        orders: int,
        depth: int,
        nodes: int,
        pairs: int,
        heads: int,
        conditions: int = 0,
        leave: bool = True,
    ) -> None:
        super().__init__()
        if nodes % heads:
            raise ConfigError(f"{heads} heads do not divide a width of {nodes}.")
        self.config: dict[str, Any] = {
            "kind": "transformer",
            "features": features,
            "orders": orders,
            "depth": depth,
            "nodes": nodes,
            "pairs": pairs,
            "heads": heads,
            "conditions": conditions,
        }
        self.clock = Clock(conditions)
        self.count = nn.Linear(1, EMBEDDING)
        self.enter_x = nn.Linear(features + WALKS, nodes)
        self.enter_e = nn.Linear(1 + WALKS, pairs)
        self.blocks = nn.ModuleList(Block(nodes, pairs, heads) for _ in range(depth))
        # Nothing reads what the last block tells the graph, nor, without an answer, its pairs.
        unread = ("hear.",) if leave else ("hear.", "edge.", "feed_e.")
        for name, weight in self.blocks[-1].named_parameters():
            weight.requires_grad_(not name.startswith(unread))
        if leave:
            self.leave_x = nn.Sequential(nn.LayerNorm(nodes), nn.Linear(nodes, features))
            self.leave_e = nn.Sequential(nn.LayerNorm(pairs), nn.Linear(pairs, orders))

    def hidden(self, x: Mapping[str, Tensor], t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The node stream after the last block, (B, N, dx), zero where the mask is off."""
        return self._streams(x, t, cond)[0]

    def forward(self, x: Mapping[str, Tensor], t: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of the clean graph; those of absent entries mean nothing."""
        h, e = self._streams(x, t, cond)
        triangle = Triangle.of(h.shape[1], h.device)
        return {"nodes": self.leave_x(h), "edges": triangle.spread(self.leave_e(e)).permute(0, 2, 3, 1)}

    def _streams(self, x: Mapping[str, Tensor], t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        nodes, edges, mask = x["nodes"], x["edges"], x["mask"]
        triangle = Triangle.of(mask.shape[1], mask.device)
        pair = triangle.gather((mask[:, :, None] & mask[:, None, :]).unsqueeze(-1))
        told = walks(edges, mask)
        returns = torch.diagonal(told, dim1=1, dim2=2).mT
        share = mask.sum(1, keepdim=True).to(nodes.dtype) / mask.shape[1]
        y = self.clock(t, cond) + self.count(share)
        h = self.enter_x(torch.cat([nodes, returns], -1)) * mask.unsqueeze(-1)
        e = self.enter_e(triangle.gather(torch.cat([edges.unsqueeze(-1), told], -1))) * pair
        for block in self.blocks:
            h, e, y = block(h, e, y, mask, pair, triangle)
        return h, e
