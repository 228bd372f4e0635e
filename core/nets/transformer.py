"""A transformer trunk: pre-norm blocks with rotary positions, bidirectional, causal or under any mask.

    h <- h + g_1 A(m_1(h)),   h <- h + g_2 M(m_2(h))

A attends by `scaled_dot_product_attention` (no bias), M has two layers with a tanh-GELU between. Without a
condition m is a layer norm and g = 1. With one, a vector c gives shift, scale and gate of each branch by a
layer that begins at zero: m(h) = (1 + scale) norm(h) + shift, so that a fresh block is the identity. Gated
blocks are those of LLaMA: the norm is by the root mean square, and M(h) = W_3 (silu(W_1 h) * W_2 h), no bias.

The last layer of each branch begins (2 depth)^-1/2 times smaller than usual, so that the branches together do
not drown the vectors that come in (Radford et al. 2019, section 2.3).

The trunk takes and gives vectors (B, L, width); embeddings and heads belong to the domain. A run that
continues a sequence hands on the keys and values of what came before (`Cache`), which is exact whenever the
earlier positions do not look ahead.

Sources: Vaswani et al. 2017, arXiv:1706.03762; Su et al. 2021, arXiv:2104.09864 (rotary positions); Peebles &
Xie 2022, arXiv:2212.09748 (conditions); Touvron et al. 2023, arXiv:2302.13971, section 2.2 (gated blocks).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError

__all__ = ["Cache", "Trunk", "block_causal", "rotary"]


class Cache(NamedTuple):
    """Keys and values of the positions before, one pair (B, heads, S, width / heads) per block."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Positions that are remembered."""
        return self.keys[0].shape[2]


class Trunk(nn.Module):
    """Blocks of a transformer.

    Args:
        width: of the vectors; a multiple of twice the number of heads.
        depth: blocks.
        heads: of the attention.
        ratio: width of the inner layer over that of the vectors.
        dropout: on the branches.
        told: width of the condition vector, or None for plain layer norms.
        base: of the rotary positions.
        gated: blocks of LLaMA.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        ratio: int = 4,
        dropout: float = 0.0,
        told: int | None = None,
        base: float = 10_000.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ConfigError(f"width must be a multiple of twice the {heads} heads, got {width}.")
        self.head_width, self.base = width // heads, base
        self.blocks = nn.ModuleList(
            _Block(width, heads, ratio, dropout, told, (2 * depth) ** -0.5, gated) for _ in range(depth)
        )

    def forward(
        self,
        h: Tensor,
        *,
        attend: Tensor | None = None,
        causal: bool = False,
        told: Tensor | None = None,
        positions: Tensor | None = None,
        past: Cache | None = None,
        added: Sequence[Tensor] = (),
    ) -> Tensor:
        """(B, L, width) -> (B, L, width).

        Args:
            attend: boolean, broadcast to (B, heads, L, S + L): which keys each query sees; None: all.
            causal: each position sees itself and those before; not together with `attend` or `past`.
            told: condition of each sequence, (B, told).
            positions: (L,) or (B, L); counted on from `past` by default.
            past: what came before, S positions.
            added: vectors (B, L, width) that are added after the first blocks, one entry per block.
        """
        return self._run(h, attend, causal, told, positions, past, added)[0]

    def extend(
        self,
        h: Tensor,
        *,
        attend: Tensor | None = None,
        told: Tensor | None = None,
        positions: Tensor | None = None,
        past: Cache | None = None,
    ) -> tuple[Tensor, Cache]:
        """The same, with the keys and values of past and present for the positions to come."""
        return self._run(h, attend, False, told, positions, past)

    def _run(
        self,
        h: Tensor,
        attend: Tensor | None,
        causal: bool,
        told: Tensor | None,
        positions: Tensor | None,
        past: Cache | None,
        added: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Cache]:
        if causal and (attend is not None or past is not None):
            raise ConfigError("causal attention takes no mask and no past.")
        if positions is None:
            start = past.length if past is not None else 0
            positions = torch.arange(start, start + h.shape[1], device=h.device)
        turn = rotary(positions, self.head_width, self.base, h.dtype)
        keys, values = [], []
        for i, block in enumerate(self.blocks):
            before = None if past is None else (past.keys[i], past.values[i])
            h, k, v = block(h, turn, attend, causal, told, before)
            h = h + added[i] if i < len(added) else h
            keys.append(k)
            values.append(v)
        return h, Cache(tuple(keys), tuple(values))


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        heads: int,
        ratio: int,
        dropout: float,
        told: int | None,
        shrink: float,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (
            nn.RMSNorm(width, eps=1e-6, elementwise_affine=told is None)
            if gated
            else nn.LayerNorm(width, elementwise_affine=told is None)
            for _ in range(2)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            _Gate(width, ratio * width) if gated else nn.Linear(width, ratio * width),
            nn.Identity() if gated else nn.GELU("tanh"),
            last := nn.Linear(ratio * width, width, bias=not gated),
        )
        with torch.no_grad():
            self.out.weight.mul_(shrink)
            last.weight.mul_(shrink)
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.tell = None
        if told is not None:
            self.tell = nn.Linear(told, 6 * width)
            nn.init.zeros_(self.tell.weight)
            nn.init.zeros_(self.tell.bias)

    def forward(
        self,
        h: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        causal: bool,
        told: Tensor | None,
        before: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mods: Sequence[Tensor | None] = [None] * 6
        if self.tell is not None:
            if told is None:
                raise ConfigError("this network is told a condition; got none.")
            mods = self.tell(told)[:, None].chunk(6, -1)
        branch, k, v = self._attend(_moved(self.norm1, h, mods[0], mods[1]), turn, attend, causal, before)
        h = h + _gated(self.drop(branch), mods[2])
        return h + _gated(self.drop(self.mlp(_moved(self.norm2, h, mods[3], mods[4]))), mods[5]), k, v

    def _attend(
        self,
        h: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        causal: bool,
        before: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = _turned(q, turn), _turned(k, turn)
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=attend, is_causal=causal)
        return self.out(seen.transpose(1, 2).flatten(2)), k, v


class _Gate(nn.Module):
    """silu(W_1 h) * W_2 h."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, 2 * inner, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        gate, value = self.both(h).chunk(2, -1)
        return functional.silu(gate) * value


def rotary(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, (..., 1, L, width / 2) for heads of `width`."""
    speed = torch.exp(
        torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) * (-math.log(base) / width)
    )
    angle = positions.to(torch.float32)[..., None] * speed
    angle = angle.unsqueeze(-3) if positions.ndim == 2 else angle
    return angle.cos().to(dtype), angle.sin().to(dtype)


def block_causal(length: int, block: int, *, copies: int = 1, device: torch.device | None = None) -> Tensor:
    """Which positions each may see when a text grows block by block, boolean.

    Args:
        copies: 1 gives (L, L): a block sees itself and the blocks before. 2 gives (2 L, 2 L) for a noisy copy
            followed by the clean one: a noisy block sees itself and earlier clean blocks, a clean block sees
            clean blocks up to itself.

    Source: Arriola et al. 2025, arXiv:2503.09573, section 4.1.
    """
    number = torch.arange(length, device=device) // block
    clean = number[:, None] >= number
    if copies == 1:
        return clean
    own, earlier = number[:, None] == number, number[:, None] > number
    return torch.cat([torch.cat([own, earlier], 1), torch.cat([torch.zeros_like(own), clean], 1)])


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def _moved(norm: nn.Module, h: Tensor, shift: Tensor | None, scale: Tensor | None) -> Tensor:
    plain = norm(h.float()).to(h.dtype) if h.dtype in (torch.float16, torch.bfloat16) else norm(h)
    return plain if shift is None or scale is None else plain * (1 + scale) + shift


def _gated(branch: Tensor, gate: Tensor | None) -> Tensor:
    return branch if gate is None else gate * branch
