"""Layers that the networks of graphs share: ELU and MLPs on rows or columns, and what tells them the time."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError

__all__ = ["EMBEDDING", "Bend", "Clock", "Film", "Head", "columns", "glorot", "mlp"]

EMBEDDING = 64  # width of the embedding of time and condition
TILE = 2048  # pairs that the last MLP takes at once: 76 channels of them are .6 MB


class _Bend(torch.autograd.Function):
    """ELU, as max(h, 0) + exp(min(h, 0)) - 1; torch's own spends three times as long on expm1."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        low = h.clamp(max=0).exp_()
        out = h.clamp(min=0).add_(low).sub_(1)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        return grad * (out.clamp(max=0) + 1)


class Bend(nn.Module):
    """ELU of Clevert et al. 2016, arXiv:1511.07289, of what a linear map has just made: without gradients its
    memory is written over.
    """

    def forward(self, h: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            low = h.clamp(max=0).exp_()
            return h.clamp_(min=0).add_(low).sub_(1)
        return _Bend.apply(h)


def mlp(layers: int, width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear maps with ELU between them."""
    if layers < 1:
        raise ConfigError(f"an MLP needs at least 1 layer, got {layers}.")
    sizes = [width, *[hidden] * (layers - 1), out]
    parts: list[nn.Module] = []
    for i in range(layers):
        parts.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < layers - 1:
            parts.append(Bend())
    return nn.Sequential(*parts)


def columns(layers: nn.Sequential, h: Tensor, gain: float = 1.0) -> Tensor:
    """`gain` times an MLP on columns: (out, P) of (in, P)."""
    last = len(layers) - 1
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            g = gain if i == last else 1.0
            h = torch.addmm(layer.bias[:, None], layer.weight, h, beta=g, alpha=g)
        else:
            h = layer(h)
    return h


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
        """(P, out) of rows (P, width) with the graph of each."""
        if self.film is None:
            return self.mlp(h)
        return self.mlp[2:](self.film(self.mlp[:2](h), emb, graph))

    def columns(self, h: Tensor, emb: Tensor | None, graph: Tensor | None) -> Tensor:
        """(out, P) of columns (width, P). Without gradients they go in tiles that the cache holds."""
        if self.film is not None:
            return self.forward(h.T, emb, graph).T
        if h.requires_grad:
            return columns(self.mlp, h)
        return torch.cat([columns(self.mlp, part) for part in h.split(TILE, 1)], 1)
