"""A small U-Net for denoising, in one or two dimensions, of any input size.

    stem -> [blocks, halve] per level -> block at the lowest -> [double, join, blocks] per level -> head

One residual block is norm, SiLU, 3-wide convolution, norm, scale and shift by the noise level, SiLU, 3-wide
convolution; the last convolution starts at zero, so that a new network is the identity of its skips and its
head returns 0. Levels halve by averaging and double by repetition; the skip of a level joins by
concatenation.

The noise level c_noise (B,) enters as cosines and sines of 16 fixed frequencies, spaced geometrically from
1/8 to 8 periods per unit of c_noise (a factor e^4 in the noise level), through two dense layers, as a scale
and a shift per channel and block.

Two norms are offered. "group" averages over the whole input, so that the answer at one point depends weakly
on all of it. "local" divides each point by the root mean square of its own channels: the answer then depends
on nothing beyond `receptive_field` and moves with the input, so that tiles that overlap by it give the whole
frame exactly.

Sources: Ronneberger et al. 2015, arXiv:1505.04597 (the shape); Karras et al. 2022, arXiv:2206.00364, appendix
F (noise level); Wu & He 2018, arXiv:1803.08494 (group norm); Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4
(root-mean-square norm). Deviations: fixed in place of random frequencies, no convolution in the resampling,
no dropout.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError, unknown

__all__ = ["Norm", "UNet"]

Norm: TypeAlias = Literal["group", "local"]

CONV = {1: nn.Conv1d, 2: nn.Conv2d}
POOL = {1: F.avg_pool1d, 2: F.avg_pool2d}


class UNet(nn.Module):
    """A denoising network `net(x, c_noise, cond)`; see the module docstring.

    Args:
        in_channels: C of the noisy state.
        out_channels: channels of the answer.
        widths: channels per level, full resolution first; (16, 32, 48) is the size for training on a CPU.
        blocks: residual blocks per level, on the way down and again on the way up.
        attention: which levels attend over all their points, one flag per level; none by default. A network
            that attends should be run at the size it was trained at.
        dim: 1 for (B, C, T), 2 for (B, C, H, W).
        cond_channels: channels of `cond`, which is concatenated to x; 0 for an unconditional network.
        norm: "group" or "local".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 48),
        blocks: int = 1,
        attention: Sequence[bool] = (),
        dim: Literal[1, 2] = 2,
        cond_channels: int = 0,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        flags = tuple(attention) or (False,) * len(widths)
        _check(widths, blocks, flags, dim, norm)
        self.config: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "blocks": blocks,
            "attention": list(flags),
            "dim": dim,
            "cond_channels": cond_channels,
            "norm": norm,
        }
        self.dim = dim
        self.cond_channels = cond_channels
        self.multiple = 2 ** (len(widths) - 1)
        emb = 4 * widths[0]
        self.noise = NoiseLevel(emb)
        self.stem = CONV[dim](in_channels + cond_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        here = widths[0]
        for width, flag in zip(widths, flags, strict=True):
            self.down.append(Level(here, width, blocks, emb, dim, norm, flag))
            here = width
        self.middle = Level(here, here, 1, emb, dim, norm, flags[-1])
        for width, flag in zip(widths[-2::-1], flags[-2::-1], strict=True):
            self.up.append(Level(here + width, width, blocks, emb, dim, norm, flag))
            here = width
        self.head_norm = _norm(norm, here)
        self.head = CONV[dim](here, out_channels, 3, padding=1)
        _silence(self.head)
        if dim == 2:
            # One thread, 528 x 96, 16 channels: a convolution takes 1.6 ms in this layout, else 3.8 ms.
            self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """Answer, (B, out_channels, ...), to x (B, in_channels, ...) of any size and c_noise (B,).

        Sizes that the levels cannot halve are padded by reflection at their far ends and cut back.
        """
        size = x.shape[2:]
        h = _pad(self._joined(x, cond), self.multiple)
        if self.dim == 2:
            h = h.contiguous(memory_format=torch.channels_last)
        emb = self.noise(c_noise)
        h = self.stem(h)
        skips = []
        for i, level in enumerate(self.down):
            if i:
                h = POOL[self.dim](h, 2)
            h = level(h, emb)
            skips.append(h)
        h = self.middle(skips.pop(), emb)
        for level in self.up:
            h = level(torch.cat([F.interpolate(h, scale_factor=2.0), skips.pop()], 1), emb)
        h = self.head(_silu(self.head_norm(h)))
        return h[(..., *(slice(n) for n in size))]

    @property
    def receptive_field(self) -> int | None:
        """How many points to each side the answer depends on; None where it depends on all of them.

        Tiles whose far and near ends start at multiples of 2^(levels - 1) and overlap by this much agree with
        the whole.
        """
        if any(self.config["attention"]) or self.config["norm"] == "group":
            return None
        reach = 2  # stem and head
        for i in range(len(self.down)):
            lowest = i == len(self.down) - 1
            convolutions = 2 * self.config["blocks"] * (1 if lowest else 2) + (2 if lowest else 0)
            reach += 2**i * convolutions + (
                0 if lowest else 2 * 2**i
            )  # resampling shifts by less than one coarse point
        return reach

    def _joined(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if (cond is None) == (self.cond_channels > 0) or (
            cond is not None and cond.shape[1] != self.cond_channels
        ):
            found = "none" if cond is None else f"shape {tuple(cond.shape)}"
            raise ConfigError(f"the U-Net takes a cond of {self.cond_channels} channels, got {found}.")
        return x if cond is None else torch.cat([x, cond.to(x.dtype)], 1)


class Level(nn.Module):
    """Residual blocks at one resolution, with attention after each where asked."""

    def __init__(
        self, c_in: int, c_out: int, blocks: int, emb: int, dim: int, norm: Norm, attention: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(c_out if i else c_in, c_out, emb, dim, norm) for i in range(blocks))
        self.attention = nn.ModuleList(Attention(c_out, norm) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, emb)
            if self.attention:
                x = self.attention[i](x)
        return x


class Block(nn.Module):
    """Residual block whose second norm is scaled and shifted by the noise level."""

    def __init__(self, c_in: int, c_out: int, emb: int, dim: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = _norm(norm, c_in)
        self.conv1 = CONV[dim](c_in, c_out, 3, padding=1)
        self.level = nn.Linear(emb, 2 * c_out)
        self.norm2 = _norm(norm, c_out)
        self.conv2 = CONV[dim](c_out, c_out, 3, padding=1)
        self.skip = CONV[dim](c_in, c_out, 1) if c_in != c_out else nn.Identity()
        _silence(self.conv2)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(_silu(self.norm1(x)))
        scale, shift = self.level(emb).reshape(*emb.shape[:1], -1, *([1] * (x.ndim - 2))).chunk(2, 1)
        h = self.conv2(_silu(_shifted(self.norm2(h), 1 + scale, shift)))
        return h.add_(self.skip(x)) if not torch.is_grad_enabled() else self.skip(x) + h


class Attention(nn.Module):
    """Residual self-attention over all points, with a head per 32 channels; its last layer starts at zero."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.heads = channels // 32 if channels % 32 == 0 else 1
        self.norm = _norm(norm, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        _silence(self.out)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.norm(x).flatten(2).mT  # (B, points, C)
        q, k, v = self.qkv(flat).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, points, C / heads)
        return x + self.out(mixed.transpose(1, 2).flatten(2)).mT.reshape(x.shape)


class NoiseLevel(nn.Module):
    """c_noise (B,) -> features (B, width)."""

    frequency: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequency", 2 * math.pi * torch.logspace(-3, 3, 16, base=2.0), persistent=False)
        self.layers = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, c_noise: Tensor) -> Tensor:
        angle = c_noise[:, None].to(self.frequency.dtype) * self.frequency
        return self.layers(torch.cat([angle.cos(), angle.sin()], 1))


class LocalNorm(nn.Module):
    """Each point divided by the root mean square of its channels, with a gain and an offset per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *([1] * (x.ndim - 2)))
        if torch.is_grad_enabled():
            square = x.square().mean(1, keepdim=True)
        else:  # the same number without a temporary as large as x
            square = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().div_(x.shape[1])
        return _shifted(x * torch.rsqrt(square + 1e-5), self.weight.reshape(shape), self.bias.reshape(shape))


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "local":
        return LocalNorm(channels)
    groups = next(n for n in (8, 4, 2, 1) if (channels % n == 0 and channels // n >= 4) or n == 1)
    return nn.GroupNorm(groups, channels)


def _silence(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


# The two below take a tensor that nobody else holds, and write into it where no gradient needs it: on a CPU,
# a fresh tensor of 3 MB costs more than the arithmetic.


def _silu(h: Tensor) -> Tensor:
    """SiLU."""
    return F.silu(h, inplace=not torch.is_grad_enabled())


def _shifted(h: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """gain h + offset."""
    if torch.is_grad_enabled():
        return torch.addcmul(offset, h, gain)
    return h.mul_(gain).add_(offset)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Extend each axis at its far end, by reflection as often as needed, to a multiple."""
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        if extra := -n % multiple:
            period = max(2 * (n - 1), 1)
            index = torch.arange(n + extra, device=x.device) % period
            x = x.index_select(axis, torch.minimum(index, period - index) if n > 1 else index)
    return x


def _check(widths: Sequence[int], blocks: int, flags: Sequence[bool], dim: int, norm: str) -> None:
    if not widths or min(widths) < 1 or blocks < 1:
        raise ConfigError(
            f"the U-Net needs positive widths and blocks, got widths={tuple(widths)}, blocks={blocks}."
        )
    if len(flags) != len(widths):
        raise ConfigError(
            f"attention has {len(flags)} flags for {len(widths)} levels.", hint="Give one flag per level."
        )
    if dim not in CONV:
        raise ConfigError(f"dim must be 1 or 2, got {dim}.")
    if norm not in get_args(Norm):
        raise unknown("norm", norm, get_args(Norm))
