"""Phones, sections and singers as one vector a frame: a table, sinusoidal positions and ConvNeXt-V2 blocks.

    h <- h + W_2 grn(gelu(W_1 norm(conv_7 h)))          grn(g) = gamma (g n / mean n) + beta + g

conv_7 is depthwise, n the norm of each channel over the frames that exist, and its mean runs over channels.
Frames that padding adds are zero before every convolution, so they change nothing elsewhere.

Source: Woo et al. 2023 (ConvNeXt V2), arXiv:2301.00808, algorithm 1; their place in the network of songs:
Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.3, and its public code.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PhoneEmbedding", "hidden"]


class PhoneEmbedding(nn.Module):
    """Vectors of what is sung, (B, L, width).

    Args:
        phones: sounds of the inventory; 0 is the filler of frames without a new phone.
        width: of the vectors.
        blocks: ConvNeXt-V2 blocks.
        sections, singers: names of each, 0 standing for none; without names there is no table.
        null_row: one more row of the table for lyrics that are not told, so that they differ from silence.
    """

    def __init__(
        self,
        phones: int,
        width: int,
        blocks: int,
        *,
        sections: int = 0,
        singers: int = 0,
        null_row: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.null = width, phones + 1 if null_row else 0
        self.table = nn.Embedding(phones + 1 + null_row, width)
        self.sections = nn.Embedding(sections + 1, width, padding_idx=0) if sections else None
        self.singers = nn.Embedding(singers + 1, width, padding_idx=0) if singers else None
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))

    def forward(
        self,
        phones: Tensor,
        *,
        sections: Tensor | None = None,
        singers: Tensor | None = None,
        told: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Embed the lyrics.

        Args:
            phones: ids, (B, L).
            sections, singers: ids, (B, L); None or 0 where nothing is known.
            told: (B,) bool, False where the lyrics are hidden.
            valid: (B, L) bool, False where padding is.
        """
        if told is not None:
            phones = torch.where(told[:, None], phones, self.null)
        h = self.table(phones)
        for table, ids in ((self.sections, sections), (self.singers, singers)):
            if table is not None and ids is not None:
                h = h + table(ids if told is None else ids * told[:, None])
        h = h + positions(h.shape[1], self.width, h)
        for block in self.blocks:
            h = block(h, valid)
        return h


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, 2 * width)
        self.gamma = nn.Parameter(torch.zeros(2 * width))
        self.beta = nn.Parameter(torch.zeros(2 * width))
        self.down = nn.Linear(2 * width, width)

    def forward(self, h: Tensor, valid: Tensor | None) -> Tensor:
        inner = self.conv(hidden(h, valid).mT).mT
        inner = hidden(functional.gelu(self.up(self.norm(inner))), valid)
        size = inner.norm(dim=1, keepdim=True)
        share = size / (size.mean(-1, keepdim=True) + 1e-6)
        return h + self.down(self.gamma * (inner * share) + self.beta + inner)


def hidden(h: Tensor, valid: Tensor | None) -> Tensor:
    """Zero vectors (B, L, width) where padding is."""
    return h if valid is None else h * valid[..., None].to(h.dtype)


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Cosines and sines of each frame's number, (L, width), at speeds from 1 to 1 / 10,000 a frame."""
    speed = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    angle = torch.arange(length, device=like.device)[:, None] * speed
    return torch.cat([angle.cos(), angle.sin()], -1).to(like.dtype)
