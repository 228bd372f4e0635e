"""The two score networks of GDSS, over nodes (B, N, F) and edges (B, N, N) of padded graphs.

    GCN        D^-1/2 (A with ones on the diagonal) D^-1/2 X W + b,   D = row sums, at least 1
    nodes      GCN layers with tanh; their outputs and X, concatenated, through a 3-layer MLP
    edges      powers A, A^2 .. as channels; attention blocks; all channels, concatenated, through a 3-layer
               MLP at every pair
    block      per channel q, k, v by GCNs; map mean_h tanh(q_h k_h^T / sqrt(width)), made symmetric;
               X <- tanh MLP(v of all channels);   channels <- 2 MLP(maps, channels)

Every function of a pair is symmetric and no layer reads a diagonal, so pairs are computed once each, for
nodes that exist only: P = sum n (n - 1) / 2 rows instead of B N^2. The channels of a block are one batched
product. The block adds its transpose to what its MLP gives, hence the factor 2.

Parameters of the published sizes (nodes / edges): community_small 72,434 / 134,369. The last block's X is not
read by anything; its weights exist, as published, and are not trained.

`time_input="film"` tells both networks the time, which the published ones are not told: a sinusoidal
embedding scales and shifts every hidden layer of X and the hidden layer of the last MLP. A condition (B, K)
enters the same way, with NaN for "not given".

Source: Jo, Lee & Hwang 2022, arXiv:2202.02514, section 3.3 and appendix B; its code for the details.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError

__all__ = ["EdgeNet", "Film", "NodeNet", "Pairs", "ScoreNets", "pairs_of", "parameters", "propagation"]

EMBEDDING = 64  # width of the embedding of time and condition
TimeInput = Literal["none", "film"]


class Pairs(NamedTuple):
    """Pairs u < v of existing nodes, graph after graph.

    Attributes:
        upper, lower: (P,) position of (u, v) and of (v, u) in a flat (B N N).
        graph: (P,) which graph.
        shape: B, N.
    """

    upper: Tensor
    lower: Tensor
    graph: Tensor
    shape: tuple[int, int]

    def gather(self, dense: Tensor) -> Tensor:
        """(P, C) values of (B, N, N, C) at (u, v)."""
        return dense.reshape(-1, dense.shape[-1]).index_select(0, self.upper)

    def even(self, dense: Tensor) -> Tensor:
        """(P, C) mean of (B, N, N, C) at (u, v) and at (v, u)."""
        flat = dense.reshape(-1, dense.shape[-1])
        return (flat.index_select(0, self.upper) + flat.index_select(0, self.lower)) / 2

    def spread(self, values: Tensor) -> Tensor:
        """(B, N, N, C), symmetric with zero diagonal, of (P, C)."""
        b, n = self.shape
        out = values.new_zeros(b * n * n, values.shape[-1])
        both = torch.cat([self.upper, self.lower])
        return out.index_copy(0, both, torch.cat([values, values])).reshape(b, n, n, -1)


def pairs_of(mask: Tensor) -> Pairs:
    """The pairs of a node mask (B, N)."""
    b, n = mask.shape
    u, v = torch.triu_indices(n, n, 1, device=mask.device)
    graph, k = (mask[:, u] & mask[:, v]).nonzero(as_tuple=True)
    base = graph * n * n
    return Pairs(base + u[k] * n + v[k], base + v[k] * n + u[k], graph, (b, n))


def propagation(adjacency: Tensor) -> Tensor:
    """D^-1/2 (A with ones on the diagonal) D^-1/2 of real adjacencies (B, N, N) or (B, N, C, N), with A equal
    to its transpose over the two N; D is at least 1.
    """
    n = adjacency.shape[-1]
    eye = torch.eye(n, dtype=torch.bool, device=adjacency.device)
    eye = eye if adjacency.ndim == 3 else eye[:, None]
    loops = adjacency.masked_fill(eye, 1.0)
    scale = loops.sum(-1).clamp(min=1).rsqrt()
    if adjacency.ndim == 3:
        return scale.unsqueeze(-1) * loops * scale.unsqueeze(-2)
    return scale.unsqueeze(-1) * loops * scale.transpose(1, 2).unsqueeze(1)


def mlp(layers: int, width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear maps with ELU between them."""
    if layers < 1:
        raise ConfigError(f"an MLP needs at least 1 layer, got {layers}.")
    sizes = [width, *[hidden] * (layers - 1), out]
    parts: list[nn.Module] = []
    for i in range(layers):
        parts.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < layers - 1:
            parts.append(nn.ELU())
    return nn.Sequential(*parts)


def glorot(*shape: int) -> nn.Parameter:
    """Weights (in, out), uniform with variance 2 / (in + out)."""
    bound = math.sqrt(6 / (shape[0] + shape[-1]))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class Clock(nn.Module):
    """Embedding (B, 64) of times (B,) in [0, 1] and of a condition (B, K) in which NaN is "not given"."""

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.conditions = conditions
        self.mix = nn.Linear(EMBEDDING + 2 * conditions, EMBEDDING)

    def forward(self, t: Tensor, cond: Tensor | None) -> Tensor:
        rates = torch.exp(
            torch.arange(EMBEDDING // 2, device=t.device, dtype=t.dtype) * -(math.log(1e3) / (EMBEDDING / 2))
        )
        angle = 1000 * t[:, None] * rates
        parts = [angle.sin(), angle.cos()]
        if self.conditions:
            if cond is None:
                cond = t.new_full((len(t), self.conditions), math.nan)
            if cond.shape[-1] != self.conditions:
                raise ConfigError(
                    f"the network is conditioned on {self.conditions} numbers, got {cond.shape[-1]}."
                )
            given = ~cond.isnan()
            parts += [
                torch.nan_to_num(cond.to(t), nan=0.0).expand(len(t), -1),
                given.to(t).expand(len(t), -1),
            ]
        return F.silu(self.mix(torch.cat(parts, 1)))


class Film(nn.Module):
    """h -> (1 + a) h + b with a and b read off the embedding of each graph; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(EMBEDDING, 2 * width)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, h: Tensor, emb: Tensor | None, graph: Tensor | None = None) -> Tensor:
        """h is (B, N, W), or (P, W) with the graph of each row."""
        if emb is None:
            return h
        a, b = self.read(emb).chunk(2, -1)
        if graph is None:
            return (1 + a[:, None]) * h + b[:, None]
        return (1 + a.index_select(0, graph)) * h + b.index_select(0, graph)


class Head(nn.Module):
    """A 3-layer ELU MLP with hidden width twice that of its input; `Film` after the first layer."""

    def __init__(self, width: int, out: int, film: bool) -> None:
        super().__init__()
        self.mlp = mlp(3, width, 2 * width, out)
        self.film = Film(2 * width) if film else None

    def forward(self, h: Tensor, emb: Tensor | None, graph: Tensor | None) -> Tensor:
        first = self.mlp[1](self.mlp[0](h))
        if self.film is not None:
            first = self.film(first, emb, graph)
        for layer in list(self.mlp)[2:]:
            first = layer(first)
        return first


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
        at = mask.flatten().nonzero().flatten()
        rows = torch.cat(seen, -1).flatten(0, 1).index_select(0, at)
        graph = at // mask.shape[1] if emb is not None else None
        out = self.head(rows, emb, graph)
        return out.new_zeros(mask.numel(), out.shape[1]).index_copy(0, at, out).reshape(nodes.shape)


class Block(nn.Module):
    """Attention over several adjacency channels: see the module docstring.

    Args:
        features: width of X that comes in.
        attention: width of queries and keys.
        width: of values and of X that goes out.
        before, after: channels.
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
        last: bool,
    ) -> None:
        super().__init__()
        if attention % heads:
            raise ConfigError(f"{heads} heads do not divide a width of {attention}.")
        self.channels, self.heads, self.width, self.attention, self.last = (
            before,
            heads,
            width,
            attention,
            last,
        )
        self.asks = glorot(features, before, 2, attention)
        self.says = glorot(features, before, width)
        self.asks_bias = nn.Parameter(torch.zeros(before, 2, attention))
        self.says_bias = nn.Parameter(torch.zeros(before, width))
        hidden = 2 * max(before, after)
        self.values = mlp(2, before * width, hidden, width)
        self.maps = mlp(linears, 2 * before, hidden, after)
        self.film = Film(width) if film and not last else None
        if last:
            for part in (self.says, self.says_bias, *self.values.parameters()):
                part.requires_grad_(False)

    def forward(
        self, x: Tensor, channels: Tensor, mask: Tensor, pairs: Pairs, emb: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Next X (B, N, width) and channels (P, after)."""
        b, n = mask.shape
        c, h, a = self.channels, self.heads, self.attention
        spread = propagation(pairs.spread(channels).transpose(2, 3))  # (B, N, C, N), one matrix per channel
        mixed = torch.bmm(spread.reshape(b, n * c, n), x).reshape(b * n, c, -1)
        weight = self.asks.permute(1, 0, 2, 3).flatten(2)
        asked = torch.baddbmm(self.asks_bias.reshape(c, 1, 2 * a), mixed.transpose(0, 1), weight)
        q, k = asked.reshape(c, b, n, 2, h, a // h).permute(3, 0, 1, 4, 2, 5)
        maps = torch.tanh(torch.matmul(q / math.sqrt(self.width), k.mT)).sum(2)  # (C, B, N, N)
        seen = torch.cat([pairs.even(maps.permute(1, 2, 3, 0)) / h, channels], 1)
        if not self.last:
            x = torch.tanh(self._said(mixed).reshape(b, n, -1) * mask.unsqueeze(-1))
            if self.film is not None:
                x = self.film(x, emb)
        return x, 2 * self.maps(seen)

    def _said(self, mixed: Tensor) -> Tensor:
        """The MLP of the values of all channels, (B N, width). Nothing bends between the value maps and its
        first layer, so that both are one matrix.
        """
        first = cast(nn.Linear, self.values[0])
        read = first.weight.reshape(-1, self.channels, self.width)  # hidden, C, width
        whole = torch.einsum("fcw,hcw->hcf", self.says, read).flatten(1)
        offset = first.bias + torch.einsum("cw,hcw->h", self.says_bias, read)
        return self.values[2](self.values[1](F.linear(mixed.flatten(1), whole, offset)))


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
                last=i == layers - 1,
            )
            for i in range(layers)
        )
        self.head = Head(sum(sizes), 1, film)

    def forward(self, nodes: Tensor, edges: Tensor, mask: Tensor, emb: Tensor | None = None) -> Tensor:
        """(B, N, N), symmetric, zero on the diagonal and where the mask (B, N) is off."""
        pairs = pairs_of(mask)
        power, tower = edges, [edges]
        for _ in range(self.powers - 1):
            power = power @ edges
            tower.append(power)
        channels = pairs.gather(torch.stack(tower, -1))
        x, seen = nodes, [channels]
        for block in self.blocks:
            x, channels = block(x, channels, mask, pairs, emb)
            seen.append(channels)
        out = self.head(torch.cat(seen, 1), emb, pairs.graph)
        return pairs.spread(out).squeeze(-1)


class ScoreNets(nn.Module):
    """Both networks as one, `net(x, t, cond) -> {"nodes", "edges"}`, with no weight in common.

    Args:
        features: F.
        nodes: settings of `NodeNet`: depth, width.
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
        self.nodes = NodeNet(features, **nodes, film=film)
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
