"""Songs longer than the model's canvas: tiles from left to right, each told what is already there.

A tile covers the first frames that are still unknown. What it shares with earlier tiles, `overlap` frames or
more, is given as context, so that music, words and tempo go on. A short hidden span is put in the middle of
its tile; tiles without hidden frames are not drawn at all.

Clocks stay those of the song: a tile is told where in the song it begins and how long the song is.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from domains.music.frames import seconds_of

__all__ = ["cut", "filled", "shared", "tiles"]

BY_FRAME = ("phones", "sections", "singers", "valid", "context", "keep")  # last axis L
OVERLAP = 64  # frames, 3 s


def tiles(hidden: Tensor, longest: int, *, overlap: int = OVERLAP) -> Iterator[tuple[int, int]]:
    """First frame and end of each tile, in order.

    Args:
        hidden: (L,) bool, frames that must be drawn.
        longest: frames of a tile at most.
        overlap: frames of context on a side, where there are any.

    Raises:
        ConfigError: the overlap leaves no room.
    """
    if not 0 <= 2 * overlap < longest:
        raise ConfigError(
            f"an overlap of {overlap} frames on both sides leaves nothing of tiles of {longest}.",
            hint="Lower the overlap.",
        )
    frames = len(hidden)
    if frames <= longest:
        if bool(hidden.any()):
            yield 0, frames
        return
    left = hidden.clone()
    while bool(left.any()):
        first = int(left.nonzero()[0])
        shown = (~left[first:]).nonzero()
        end = first + int(shown[0]) if len(shown) else frames
        size = end - first
        ahead = (longest - size) // 2 if size <= longest - 2 * overlap else overlap
        start = min(max(first - ahead, 0), frames - longest)
        left[start : start + longest] = False
        yield start, start + longest


def shared(frames: int, longest: int) -> int:
    """Frames that neighbouring tiles share by default: 64 or a quarter of a tile, whichever is less, and down
    to half of that where it saves a tile.

    With n tiles of T frames, n T - (n - 1) shared >= frames.
    """
    overlap = min(OVERLAP, longest // 4)
    least = overlap // 2
    if frames <= longest:
        return overlap
    count = -(-(frames - least) // (longest - least))
    return min(overlap, (count * longest - frames) // (count - 1))


def cut(cond: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """The condition of a tile of a song."""
    out = dict(cond)
    for name in BY_FRAME:
        if name in out:
            out[name] = out[name][..., start:end]
    if "style" in out and out["style"].ndim == 3:
        out["style"] = out["style"][:, start:end]
    if "start" in out:
        out["start"] = out["start"] + seconds_of(start)
    return out


def filled(
    draw: Callable[[Mapping[str, Any], int, int], Tensor],
    cond: Mapping[str, Any],
    like: Tensor,
    longest: int,
    *,
    overlap: int = OVERLAP,
) -> Tensor:
    """A song of any length, (B, C, L).

    Args:
        draw: condition, first frame and end of one tile -> latents (B, C, frames).
        cond: of the whole song; `context` and `keep` hold what is given from the start.
        like: a tensor with the shape of the result.
        longest: frames of a tile at most.
    """
    count, _, frames = like.shape
    done = torch.zeros_like(like) if "context" not in cond else cond["context"].to(like.dtype).clone()
    stems = cond["keep"].shape[1] if "keep" in cond else 1
    known = (
        like.new_zeros(count, stems, frames) if "keep" not in cond else cond["keep"].to(like.dtype).clone()
    )
    hidden = (known < 1).any(1).any(0)
    for start, end in tiles(hidden, longest, overlap=overlap):
        told = cut({**cond, "context": done.clone(), "keep": known.clone()}, start, end)
        if not bool(told["keep"].any()):
            told = {name: value for name, value in told.items() if name not in ("context", "keep")}
        done[..., start:end] = draw(told, start, end)
        known[..., start:end] = 1
    return done
