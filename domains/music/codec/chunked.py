"""Long songs piece by piece: memory of one piece, and the result of the whole.

A piece overlaps its neighbours by twice the codec's reach, so that what a piece knows too little about is
never used, and results are cross-faded over the middle of the overlap. Of the decoder only the network runs
in pieces (`outline`); the cheap rest (`voiced`) runs over the whole, since a phase runs on from the first
frame.

The published decoder takes 128 frames with 32 of overlap and discards half of each; that is `frames=128` here
for a codec with a reach of 16 or less.

Source: DiffRhythm, public code (chunks of the decoder).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from domains.music.codec.protocol import Law, fitted

__all__ = ["decode", "encode"]


def encode(codec: Any, wave: Tensor, *, frames: int | None = None) -> Law:
    """The law that `codec.encode` gives, made piece by piece.

    Args:
        wave: (B, channels, samples).
        frames: latent frames of a piece, overlaps included; the codec's `piece` if None.

    Raises:
        ConfigError: pieces no longer than four times the codec's reach.
    """
    whole = fitted(codec, wave)

    def piece(start: int, stop: int) -> Tensor:
        return torch.stack(codec.encode(whole[..., start * codec.hop : stop * codec.hop]), 1)

    joined = _joined(piece, whole.shape[-1] // codec.hop, frames or codec.piece, codec.reach)
    return Law(joined[:, 0], joined[:, 1])


def decode(codec: Any, latent: Tensor, *, frames: int | None = None) -> Tensor:
    """The wave that `codec.decode` gives, its network run piece by piece.

    Args:
        latent: (B, C, L), standardised.
        frames: latent frames of a piece, overlaps included; the codec's `piece` if None.

    Raises:
        ConfigError: pieces no longer than four times the codec's reach.
    """

    def piece(start: int, stop: int) -> Tensor:
        return codec.outline(latent[..., start:stop])

    return codec.voiced(_joined(piece, latent.shape[-1], frames or codec.piece, codec.reach))


def _joined(piece: Callable[[int, int], Tensor], length: int, frames: int, reach: int) -> Tensor:
    """Pieces of a sequence of `length` latent frames, cross-faded where they overlap."""
    if frames <= 4 * reach:
        raise ConfigError(
            f"pieces of {frames} frames are too short for a codec with a reach of {reach}.",
            hint=f"Take at least {4 * reach + 1}.",
        )
    if length <= frames:
        return piece(0, length)
    overlap = 2 * reach + 2
    starts = [*range(0, length - frames, frames - overlap), length - frames]
    out: Tensor | None = None
    end = 0
    for start in starts:
        found = piece(start, start + frames)
        scale = found.shape[-1] // frames
        if out is None:
            out, end = found.new_zeros(*found.shape[:-1], length * scale), start + frames
            out[..., : end * scale] = found
            continue
        # Both know everything between `reach` after the start of this piece and `reach` before the last
        # one's end.
        first, last = start + reach, end - reach
        ramp = (torch.arange((last - first) * scale, dtype=found.dtype, device=found.device) + 0.5) / (
            (last - first) * scale
        )
        fade = slice(first * scale, last * scale)
        mine = found[..., (first - start) * scale :]
        out[..., fade] = torch.lerp(out[..., fade], mine[..., : len(ramp)], ramp)
        out[..., last * scale : (start + frames) * scale] = mine[..., len(ramp) :]
        end = start + frames
    assert out is not None
    return out
