"""The two score networks of GDSS, over nodes (B, N, F) and edges (B, N, N) of padded graphs.

    GCN        D^-1/2 (A with ones on the diagonal) D^-1/2 X W + b,   D = row sums, at least 1
    nodes      GCN layers with tanh; their outputs and X, concatenated, through a 3-layer MLP
    edges      powers A, A^2 .. as channels; attention blocks; all channels, concatenated, through a 3-layer
               MLP at every pair
    block      per channel q, k, v by GCNs; map mean_h tanh(q_h k_h^T / sqrt(width)), made symmetric;
               X <- tanh MLP(v of all channels);   channels <- 2 MLP(maps, channels)

Every function of a pair is symmetric and no layer reads a diagonal, so pairs are computed once each, for
nodes that exist only: P = sum n (n - 1) / 2 columns instead of B N^2, channels first, (C, P). The channels of
a block are one batched product, and so are its queries, keys and values. The block adds its transpose to what
its MLP gives, hence the factor 2.

Parameters of the published sizes (nodes / edges): community_small 72,434 / 134,369. The last block's X is not
read by anything; its weights exist, as published, and are not trained.

The improved ZINC250k model has attention for the nodes too: blocks as for the edges, with a second tanh on
the X of each, and X of all of them through the MLP (`NodeAttention`).

`time_input="film"` tells both networks the time, which the published ones are not told: a sinusoidal
embedding scales and shifts every hidden layer of X and the hidden layer of the last MLP. A condition (B, K)
enters the same way, with NaN for "not given".

Source: Jo, Lee & Hwang 2022, arXiv:2202.02514, section 3.3 and appendix B; its code for the details.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError
from domains.graphs.layers import Clock, Film, Head, columns, glorot, mlp
from domains.graphs.pairs import Pairs, normalised, pairs_of, propagation

__all__ = ["EdgeNet", "NodeAttention", "NodeNet", "ScoreNets", "parameters"]

TimeInput = Literal["none", "film"]
Read = Literal["both", "nodes", "edges"]


class NodeNet(nn.Module):
    """Score network of the nodes: see the module docstring.

    Args:
        features: F.
        depth: GCN layers.
        width: of each.
        film: hidden layers are told the embedding.
    """

    def __init__(self, features: int, *, depth: int, width: int, film: bool = False) -> None:
        super().__init__()
        sizes = [features, *[width] * depth]
        self.weights = nn.ParameterList(glorot(sizes[i], sizes[i + 1]) for i in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(depth))
        self.films = nn.ModuleList(Film(width) for _ in range(depth if film else 0))
        self.head = Head(features + depth * width, features, film)

    def forward(self, nodes: Tensor, edges: Tensor, mask: Tensor, emb: Tensor | None = None) -> Tensor:
        """(B, N, F), zero where the mask (B, N) is off."""
        spread, x, seen = propagation(edges), nodes, [nodes]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.tanh(torch.matmul(spread, x @ weight) + bias)
            if self.films:
                x = self.films[i](x, emb)
            seen.append(x)
        return _existing(self.head, torch.cat(seen, -1), mask, emb)


def _existing(head: Head, h: Tensor, mask: Tensor, emb: Tensor | None) -> Tensor:
    """(B, N, out) of features (B, N, width), computed for nodes that exist and zero elsewhere."""
    at = mask.flatten().nonzero().flatten()
    graph = at // mask.shape[1] if emb is not None else None
    out = head(h.flatten(0, 1).index_select(0, at), emb, graph)
    return out.new_zeros(mask.numel(), out.shape[1]).index_copy(0, at, out).reshape(*mask.shape, -1)


def _powers(edges: Tensor, count: int, pairs: Pairs) -> Tensor:
    """(count, P) of A, A^2 .."""
    power, tower = edges, [edges]
    for _ in range(count - 1):
        power = power @ edges
        tower.append(power)
    return pairs.gather(torch.stack(tower))


class Block(nn.Module):
    """Attention over several adjacency channels: see the module docstring.

    Args:
        features: width of X that comes in.
        attention: width of queries and keys.
        width: of values and of X that goes out.
        before, after: channels.
        read: what somebody reads of the block; the rest is neither computed nor trained.
    """

    def __init__(
        self,
        features: int,
        attention: int,
        width: int,
        before: int,
        after: int,
        *,
        heads: int,
        linears: int,
        film: bool,
        read: Read = "both",
    ) -> None:
        super().__init__()
        if attention % heads:
            raise ConfigError(f"{heads} heads do not divide a width of {attention}.")
        self.channels, self.heads, self.width, self.attention = before, heads, width, attention
        self.read = read
        self.asks = glorot(features, before, 2, attention)
        self.says = glorot(features, before, width)
        self.asks_bias = nn.Parameter(torch.zeros(before, 2, attention))
        self.says_bias = nn.Parameter(torch.zeros(before, width))
        hidden = 2 * max(before, after)
        self.values = mlp(2, before * width, hidden, width)
        self.maps = mlp(linears, 2 * before, hidden, after)
        self.film = Film(width) if film and read != "edges" else None
        unread = {
            "both": [],
            "edges": [self.says, self.says_bias, *self.values.parameters()],
            "nodes": [self.asks, self.asks_bias, *self.maps.parameters()],
        }
        for part in unread[read]:
            part.requires_grad_(False)

    def forward(
        self, x: Tensor, channels: Tensor, mask: Tensor, pairs: Pairs, emb: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Next X (B, N, width) and channels (after, P); what nobody reads comes back as it was."""
        b, n = mask.shape
        c, a = self.channels, self.attention
        spread = normalised(pairs.spread(channels, 1.0)).reshape(c * b, n, n)
        mixed = torch.bmm(spread, x.expand(c, b, n, -1).reshape(c * b, n, -1)).reshape(c, b * n, -1)
        weight, offset = self._weights()
        told = torch.baddbmm(offset.unsqueeze(1), mixed, weight)
        asks = 0 if self.read == "nodes" else 2 * a
        asked, said = told.split([asks, told.shape[-1] - asks], -1)
        if self.read != "nodes":
            channels = columns(self.maps, torch.cat([self._maps(asked, pairs), channels]), 2.0)
        if self.read != "edges":
            first = said.sum(0)
            x = torch.tanh(self.values[2](self.values[1](first)).reshape(b, n, -1) * mask.unsqueeze(-1))
            if self.film is not None:
                x = self.film(x, emb)
        return x, channels

    def _maps(self, asked: Tensor, pairs: Pairs) -> Tensor:
        """Symmetric attention maps (C, P) of queries and keys (C, B N, 2 a)."""
        (b, n), c, h, d = pairs.shape, self.channels, self.heads, self.attention // self.heads
        q, k = asked.reshape(c, b, n, 2, h, d).permute(3, 0, 1, 4, 5, 2).reshape(2, c * b * h, d, n)
        maps = torch.bmm(q.mT, k).tanh_().reshape(c, b, h, n, n).sum(2)
        return pairs.gather(maps, 0.5 / h)

    def _weights(self) -> tuple[Tensor, Tensor]:
        """Of queries, keys and first layer of values, (C, F, 2 a + hidden), and their offsets. Nothing bends
        between the value maps and the first layer of their MLP, so that both are one matrix.
        """
        c = self.channels
        scale = self.width**-0.25  # of queries and of keys
        asks = scale * self.asks.permute(1, 0, 2, 3).flatten(2)
        asks_bias = scale * self.asks_bias.flatten(1)
        if self.read == "edges":
            return asks, asks_bias
        first = cast(nn.Linear, self.values[0])
        read = first.weight.reshape(-1, c, self.width).permute(1, 2, 0)  # C, width, hidden
        says = torch.bmm(self.says.transpose(0, 1), read)
        offset = torch.bmm(self.says_bias.unsqueeze(1), read).squeeze(1) + first.bias / c
        if self.read == "nodes":
            return says, offset
        return torch.cat([asks, says], 2), torch.cat([asks_bias, offset], 1)


class NodeAttention(nn.Module):
    """Score network of the nodes by attention: see the module docstring; settings as for `EdgeNet`."""

    def __init__(
        self,
        features: int,
        *,
        width: int,
        attention: int,
        depth: int,
        powers: int = 2,
        hidden: int = 8,
        final: int = 4,
        heads: int = 4,
        linears: int = 2,
        film: bool = False,
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ConfigError(f"attention over nodes needs 2 layers or more, got {depth}.")
        self.powers = powers
        sizes = [powers, *[hidden] * (depth - 1), final]
        self.blocks = nn.ModuleList(
            Block(
                features if i == 0 else width,
                width if i == 0 else attention,
                width,
                sizes[i],
                sizes[i + 1],
                heads=heads,
                linears=linears,
                film=film,
                read="nodes" if i == depth - 1 else "both",
            )
            for i in range(depth)
        )
        self.head = Head(features + depth * width, features, film)

    def forward(self, nodes: Tensor, edges: Tensor, mask: Tensor, emb: Tensor | None = None) -> Tensor:
        """(B, N, F), zero where the mask (B, N) is off."""
        pairs = pairs_of(mask)
        channels = _powers(edges, self.powers, pairs)
        x, seen = nodes, [nodes]
        for block in self.blocks:
            x, channels = block(x, channels, mask, pairs, emb)
            x = torch.tanh(x)
            seen.append(x)
        return _existing(self.head, torch.cat(seen, -1), mask, emb)


class EdgeNet(nn.Module):
    """Score network of the edges: see the module docstring.

    Args:
        features: F.
        width, attention: of X, and of queries and keys after the first block (whose width is that of X).
        layers: attention blocks.
        powers, hidden, final: adjacency channels at first, between blocks, and of the last block.
        heads, linears: of a block.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int,
        attention: int,
        layers: int,
        powers: int = 2,
        hidden: int = 8,
        final: int = 4,
        heads: int = 4,
        linears: int = 2,
        film: bool = False,
    ) -> None:
        super().__init__()
        if layers < 2 or powers < 1:
            raise ConfigError(f"the edge network needs 2 layers and 1 power or more, got {layers}, {powers}.")
        self.powers = powers
        sizes = [powers, *[hidden] * (layers - 1), final]
        self.blocks = nn.ModuleList(
            Block(
                features if i == 0 else width,
                width if i == 0 else attention,
                width,
                sizes[i],
                sizes[i + 1],
                heads=heads,
                linears=linears,
                film=film,
                read="edges" if i == layers - 1 else "both",
            )
            for i in range(layers)
        )
        self.head = Head(sum(sizes), 1, film)

    def forward(self, nodes: Tensor, edges: Tensor, mask: Tensor, emb: Tensor | None = None) -> Tensor:
        """(B, N, N), symmetric, zero on the diagonal and where the mask (B, N) is off."""
        pairs = pairs_of(mask)
        channels = _powers(edges, self.powers, pairs)
        x, seen = nodes, [channels]
        for block in self.blocks:
            x, channels = block(x, channels, mask, pairs, emb)
            seen.append(channels)
        return pairs.spread(self.head.columns(torch.cat(seen), emb, pairs.graph)).squeeze(0)


class ScoreNets(nn.Module):
    """Both networks as one, `net(x, t, cond) -> {"nodes", "edges"}`, with no weight in common.

    Args:
        features: F.
        nodes: settings of `NodeNet`: depth, width; with "attention" among them, of `NodeAttention`.
        edges: settings of `EdgeNet`.
        time_input: "none" as published, or "film".
        conditions: numbers K of the condition; needs "film".
    """

    def __init__(
        self,
        features: int,
        *,
        nodes: Mapping[str, int],
        edges: Mapping[str, int],
        time_input: TimeInput = "none",
        conditions: int = 0,
    ) -> None:
        super().__init__()
        if conditions and time_input == "none":
            raise ConfigError("a condition enters with the time.", hint="Set time_input='film'.")
        self.config: dict[str, Any] = {
            "kind": "gdss",
            "features": features,
            "nodes": dict(nodes),
            "edges": dict(edges),
            "time_input": time_input,
            "conditions": conditions,
        }
        film = time_input == "film"
        self.nodes = (NodeAttention if "attention" in nodes else NodeNet)(features, **nodes, film=film)
        self.edges = EdgeNet(features, **edges, film=film)
        self.clocks = nn.ModuleList(Clock(conditions) for _ in range(2 if film else 0))

    def forward(self, x: Mapping[str, Tensor], t: Tensor, cond: Tensor | None = None) -> dict[str, Tensor]:
        """What both networks say of a noisy state at times t (B,)."""
        emb = [clock(t, cond) for clock in self.clocks] or [None, None]
        nodes, edges, mask = x["nodes"], x["edges"], x["mask"]
        there = mask.any(0).nonzero()
        m = int(there[-1]) + 1 if len(there) else 1  # no graph of the batch has a node beyond it
        state = nodes[:, :m], edges[:, :m, :m], mask[:, :m]
        free = mask.shape[1] - m
        return {
            "nodes": F.pad(self.nodes(*state, emb[0]), (0, 0, 0, free)),
            "edges": F.pad(self.edges(*state, emb[1]), (0, free, 0, free)),
        }


def parameters(net: nn.Module) -> int:
    """Weights of a network, those that are not trained included."""
    return sum(p.numel() for p in net.parameters())
