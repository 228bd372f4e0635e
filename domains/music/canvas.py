"""The canvas of an edit: latents and waves of what is there, and which frames of it are given.

Spans are in seconds; -1 stands for the song's edge. The model draws whole frames around them, and the
original wave is pasted back where it was not asked to change: beyond a fade of 20 ms at each border, which
lies on the original's side, samples are those of the original to the last bit.

Rows R of a wave are the channels of the stems, stem by stem: voice and backing of two mono stems, left and
right of one stereo mix.

    fade    cos(pi u / 2) original + sin(pi u / 2) made,  u from 0 to 1 towards the border (equal power)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.music.codec import chunked

__all__ = ["Canvas", "canvas_of", "paste", "spans_of"]

FADE_S = 0.02
EDGE = -1.0


@dataclass(frozen=True)
class Canvas:
    """What an edit starts from.

    Attributes:
        wave: (R, N), the original where it is given; anything elsewhere.
        latents: (1, stems x C, L).
        keep: (1, stems, L), 1 in frames whose latents are given.
        given: (R, N) bool, samples that stay.
        notes: what a user should know.
    """

    wave: Tensor
    latents: Tensor
    keep: Tensor
    given: Tensor
    notes: tuple[str, ...] = ()

    def without(self, first: int, last: int, hop: int, *, stem: int | None = None) -> "Canvas":
        """Hide samples `first` to `last`, and the frames they touch, in all stems or in one."""
        keep, given = self.keep.clone(), self.given.clone()
        each = len(given) // keep.shape[1]  # rows of a stem
        rows = slice(None) if stem is None else slice(stem * each, (stem + 1) * each)
        keep[:, slice(None) if stem is None else stem, first // hop : -(-last // hop)] = 0
        given[rows, first:last] = False
        return replace(self, keep=keep, given=given)


def spans_of(spans: Sequence[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Spans in order, edges filled in.

    Args:
        spans: (start, end) in seconds; -1 for the start or the end of the song.
        seconds: length of the song.

    Raises:
        ConfigError: a span is reversed, empty, outside the song, or overlaps another; it is named.
    """
    out = []
    for start, end in spans:
        first = 0.0 if start == EDGE else start
        last = seconds if end == EDGE else end
        name = f"the span {start:g} to {end:g} s"
        if not (math.isfinite(first) and math.isfinite(last)) or first >= last:
            raise ConfigError(f"{name} is empty or reversed.", hint="Give start before end, as in 12.5:18.")
        if first < 0 or last > seconds + 1e-6:
            raise ConfigError(f"{name} lies outside the song of {seconds:.2f} s.")
        out.append((first, min(last, seconds)))
    out.sort()
    for (_, end), (start, later) in pairwise(out):
        if start < end:
            raise ConfigError(f"the span {start:g} to {later:g} s overlaps the one before, to {end:g} s.")
    if not out:
        raise ConfigError("an edit needs at least one span.", hint="Give one, as in --span 12.5:18.")
    return out


def canvas_of(model: Any, codec: Any, wave: Tensor) -> Canvas:
    """A song on the canvas, all of it given; the codec's means, so that encoding draws nothing.

    Args:
        wave: (R, N) of all stems, or one stem's rows of a mix, at the codec's rate, [-1, 1].

    Raises:
        DataError: another number of stems than the model's.
        ModelMismatch: a codec of another rate, hop or number of channels.
    """
    model.check_codec(codec)
    stems, each, notes = model.net.stems, codec.wave_channels, []
    if wave.ndim == 2 and wave.shape[0] == each and stems == 2:
        wave = torch.cat([torch.zeros_like(wave), wave])
        notes.append("the song came as a mix: it is taken for the backing, and its voice stays part of that")
    if wave.ndim != 2 or wave.shape[0] != stems * each or wave.shape[1] == 0:
        raise DataError(f"expected waves ({stems * each}, samples), got {tuple(wave.shape)}.")
    with torch.no_grad():
        law = chunked.encode(codec, wave.unflatten(0, (stems, each)))
    latents = law.mean.reshape(1, -1, law.mean.shape[-1])
    given = torch.ones_like(wave, dtype=torch.bool)
    return Canvas(wave, latents, torch.ones(1, stems, latents.shape[-1]), given, tuple(notes))


def paste(original: Tensor, made: Tensor, given: Tensor, *, rate: int) -> Tensor:
    """The original where it is given, what was made elsewhere.

    Args:
        original: (R, N).
        made: (R, N) or longer.
        given: (R, N) bool, where the original stays.
        rate: samples a second.

    Returns:
        (R, N): bits of `original` beyond the fades, bits of `made` where nothing is given.
    """
    total = original.shape[1]
    fade = round(FADE_S * rate)
    out = made[:, :total].clone()
    for row in range(len(original)):
        for first, last in _runs(given[row]):
            size = min(fade, (last - first) // 2)
            ramp = (torch.arange(size, dtype=torch.float64) + 0.5) / max(size, 1) * math.pi / 2
            up, down = ramp.sin().to(out), ramp.cos().to(out)
            low = 0 if first == 0 else size
            high = 0 if last >= total else size
            body = slice(first + low, last - high)
            out[row, body] = original[row, body]
            if low:
                at = slice(first, first + low)
                out[row, at] = up * original[row, at] + down * made[row, at]
            if high:
                at = slice(last - high, last)
                out[row, at] = down * original[row, at] + up * made[row, at]
    return out


def _runs(given: Tensor) -> list[tuple[int, int]]:
    """First sample and end of every run of True in (N,)."""
    none = torch.zeros(1, dtype=torch.int8)
    edges = torch.diff(torch.cat([none, given.cpu().to(torch.int8), none]))
    starts, ends = (edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist()
    return list(zip(starts, ends, strict=True))
