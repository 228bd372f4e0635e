"""Pairs of nodes held once each, and the normalised adjacency that they spread to.

A symmetric function of a pair is one number, so networks over edges compute P = sum n (n - 1) / 2 columns,
channels first, (C, P), and spread them to (C, B, N, N) where matrices multiply. Spreading and gathering are
each other's adjoint: gradients are gathered too, and nothing is scattered.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Pairs", "normalised", "pairs_of", "propagation"]


class Pairs(NamedTuple):
    """Pairs u < v of existing nodes, graph after graph.

    Attributes:
        upper, lower: (P,) position of (u, v) and of (v, u) in a flat (B N N).
        place: (B N N,) the pair of each position, P where there is none, P + 1 on the diagonal.
        graph: (P,) which graph.
        shape: B, N.
    """

    upper: Tensor
    lower: Tensor
    place: Tensor
    graph: Tensor
    shape: tuple[int, int]

    def gather(self, dense: Tensor, gain: float = 0.5) -> Tensor:
        """(C, P) sum of (C, B, N, N) at (u, v) and at (v, u), times `gain`: their mean by default."""
        return _Gather.apply(dense, self, gain)

    def spread(self, values: Tensor, diagonal: float = 0.0) -> Tensor:
        """(C, B, N, N), symmetric with this diagonal, of (C, P)."""
        return _Spread.apply(values, self, diagonal)


class _Gather(torch.autograd.Function):
    """Sum of both positions of a pair; its adjoint is `_Spread`, so that no gradient is scattered."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, pairs: Pairs, gain: float) -> Tensor:
        ctx.pairs, ctx.gain = pairs, gain
        flat = dense.flatten(1)
        return flat.index_select(1, pairs.upper).add_(flat.index_select(1, pairs.lower)).mul_(gain)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Spread.apply(ctx.gain * grad, ctx.pairs, 0.0), None, None


class _Spread(torch.autograd.Function):
    """A pair to both of its positions; its adjoint is `_Gather`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, pairs: Pairs, diagonal: float) -> Tensor:
        ctx.pairs = pairs
        b, n = pairs.shape
        padded = values.new_zeros(len(values), values.shape[1] + 2)
        padded[:, :-2] = values
        padded[:, -1] = diagonal
        return padded.index_select(1, pairs.place).reshape(-1, b, n, n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(grad, ctx.pairs, 1.0), None, None


def pairs_of(mask: Tensor) -> Pairs:
    """The pairs of a node mask (B, N)."""
    b, n = mask.shape
    u, v = torch.triu_indices(n, n, 1, device=mask.device)
    graph, k = (mask[:, u] & mask[:, v]).nonzero(as_tuple=True)
    base = graph * n * n
    upper, lower = base + u[k] * n + v[k], base + v[k] * n + u[k]
    count = len(upper)
    place = torch.full((b * n * n,), count, device=mask.device)
    place.view(b, n * n)[:, :: n + 1] = count + 1
    place[upper] = place[lower] = torch.arange(count, device=mask.device)
    return Pairs(upper, lower, place, graph, (b, n))


def propagation(adjacency: Tensor) -> Tensor:
    """D^-1/2 (A with ones on the diagonal) D^-1/2 of real symmetric adjacencies (..., N, N); D is at least
    1.
    """
    eye = torch.eye(adjacency.shape[-1], dtype=torch.bool, device=adjacency.device)
    return normalised(adjacency.masked_fill(eye, 1.0))


def normalised(loops: Tensor) -> Tensor:
    """The same of adjacencies with ones on the diagonal."""
    scale = loops.sum(-1).clamp(min=1).rsqrt()
    return scale.unsqueeze(-1) * loops * scale.unsqueeze(-2)
