"""Edits of songs, one call each: what is not asked for stays as it was, to the last bit of the wave.

    edit         new music, and words, in spans
    extend       more before and after
    loop         the end made to lead into the beginning
    redraw       one stem of two: new words on the music that is there, or new music under the voice
    variation    the song again, from as much noise as asked; nothing is kept
    stitch       two songs with a passage between

All but `variation` hide frames and draw them with the rest as context. Songs longer than the model's canvas
are drawn in tiles around what is hidden. A condition describes the new song, frame by frame.

Source: Ning et al. 2025 (DiffRhythm), public code of version 1.2 (editing). Deviations: the user's wave is
pasted back instead of decoded, spans were trained, and each stem can be given alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.progress import Progress, silent
from core.state import Source
from domains.music.canvas import Canvas, canvas_of, paste, spans_of
from domains.music.codec import chunked
from domains.music.config import Sampling
from domains.music.generation import Composed, compose
from domains.music.model import SongModel

__all__ = [
    "BACKING",
    "VOICE",
    "Edited",
    "Studio",
    "check_seam",
    "check_stems",
    "decoded",
    "edit",
    "extend",
    "loop",
    "redraw",
    "stitch",
    "variation",
]

VOICE, BACKING = 0, 1


@dataclass(frozen=True)
class Edited:
    """A new song.

    Attributes:
        wave: (R, N) at the codec's rate, see `canvas`; the sum of the stems is the song.
        latents: (1, stems x C, L), for further edits.
        keep: (1, stems, L), 1 where the original was given.
        calls: evaluations of the network.
        notes: what a user should know.
    """

    wave: Tensor
    latents: Tensor
    keep: Tensor
    calls: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Studio:
    """The model, its codec, and how to draw: what every edit needs.

    Attributes:
        sampling: solver, steps, guidance; those of the model where None.
        negative: style (S,) to lead away from.
    """

    model: SongModel
    codec: Any
    sampling: Sampling | None = None
    negative: Tensor | None = None
    progress: Progress = silent


def edit(
    studio: Studio, wave: Tensor, spans: Sequence[tuple[float, float]], cond: Mapping[str, Any], gen: Source
) -> Edited:
    """Draw spans anew.

    Args:
        wave: (R, N) of all stems, or a mix.
        spans: (start, end) in seconds, -1 for an edge of the song.
        cond: of the whole song, one sample, from `generation.condition`.

    Raises:
        ConfigError: a span that cannot be; it is named.
    """
    canvas = canvas_of(studio.model, studio.codec, wave)
    for first, last in _samples(studio, spans, canvas.wave.shape[1]):
        canvas = canvas.without(first, last, studio.codec.hop)
    return _filled(studio, canvas, cond, gen)


def redraw(
    studio: Studio,
    wave: Tensor,
    cond: Mapping[str, Any],
    gen: Source,
    stem: int,
    *,
    spans: Sequence[tuple[float, float]] = ((-1.0, -1.0),),
) -> Edited:
    """Draw one stem anew in the spans; the other stays.

    Args:
        stem: `VOICE` sings other words on the same music, `BACKING` plays other music under the same voice.

    Raises:
        ConfigError: a model of one stem, or a span that cannot be.
    """
    check_stems(studio.model)
    canvas = canvas_of(studio.model, studio.codec, wave)
    for first, last in _samples(studio, spans, canvas.wave.shape[1]):
        canvas = canvas.without(first, last, studio.codec.hop, stem=stem)
    return _filled(studio, canvas, cond, gen)


def extend(
    studio: Studio,
    wave: Tensor,
    cond: Mapping[str, Any],
    gen: Source,
    *,
    left_s: float = 0.0,
    right_s: float = 0.0,
) -> Edited:
    """Go on after the end, and begin before the beginning; added lengths are rounded up to whole frames.

    Args:
        cond: of the longer song.

    Raises:
        ConfigError: nothing is added.
    """
    if min(left_s, right_s) < 0 or left_s + right_s <= 0:
        raise ConfigError(f"an extension needs a positive length, got left {left_s} s, right {right_s} s.")
    canvas = canvas_of(studio.model, studio.codec, wave)
    hop, rate = studio.codec.hop, studio.codec.rate
    left, right = (math.ceil(seconds * rate / hop - 1e-9) for seconds in (left_s, right_s))
    return _filled(studio, _padded(canvas, left, right, hop), cond, gen)


def loop(
    studio: Studio, wave: Tensor, cond: Mapping[str, Any], gen: Source, *, seam_s: float = 2.0
) -> Edited:
    """Let the song lead into itself: it is turned by half, and the seam in its middle drawn anew.

    Args:
        cond: of the song as it stands; it is turned with it.
        seam_s: length of what is drawn, half of it at the end and half at the beginning.

    Raises:
        ConfigError: a seam longer than half of the song.
    """
    total, hop = wave.shape[1], studio.codec.hop
    check_seam(seam_s, total / studio.codec.rate)
    turn = total // 2
    canvas = canvas_of(studio.model, studio.codec, wave.roll(turn, 1))
    half = round(seam_s * studio.codec.rate / 2)
    canvas = canvas.without(turn - half, turn + half, hop)
    told = dict(cond)
    for name in ("phones", "sections", "singers"):
        if name in told:
            told[name] = told[name].roll(turn // hop, -1)
    if told["style"].ndim == 3:
        told["style"] = told["style"].roll(turn // hop, 1)
    made = _filled(studio, canvas, told, gen)
    back = made.keep.shape[-1] - turn // hop
    return Edited(
        made.wave.roll(-turn, 1),
        made.latents.roll(back, -1),
        made.keep.roll(back, -1),
        made.calls,
        made.notes,
    )


def variation(
    studio: Studio, wave: Tensor, cond: Mapping[str, Any], gen: Source, *, strength: float = 0.6
) -> Edited:
    """The song again: its latents are noised up to the time `strength` in (0, 1], and drawn from there.

    Source: Meng et al. 2022 (SDEdit), arXiv:2108.01073.
    """
    if not 0 < strength <= 1:
        raise ConfigError(f"strength must lie in (0, 1], got {strength}.")
    canvas = canvas_of(studio.model, studio.codec, wave)
    made = compose(
        studio.model,
        cond,
        canvas.latents.shape[-1],
        gen,
        sampling=studio.sampling,
        negative=studio.negative,
        near=(canvas.latents, strength),
        progress=studio.progress,
    )
    new = decoded(studio, made.latents)[:, : canvas.wave.shape[1]]
    return Edited(new, made.latents, torch.zeros_like(canvas.keep), made.calls, canvas.notes)


def stitch(
    studio: Studio, first: Tensor, second: Tensor, cond: Mapping[str, Any], gen: Source, *, gap_s: float = 4.0
) -> Edited:
    """Two songs, and between them a passage of `gap_s` seconds, rounded up to whole frames.

    Args:
        cond: of the whole: frames of the first song, `ceil` of the gap, frames of the second.
    """
    if not gap_s > 0:
        raise ConfigError(f"the passage between two songs needs a positive length, got {gap_s} s.")
    hop = studio.codec.hop
    before, after = (canvas_of(studio.model, studio.codec, wave) for wave in (first, second))
    gap = math.ceil(gap_s * studio.codec.rate / hop - 1e-9)
    head = _padded(before, 0, gap, hop)
    return _filled(
        studio,
        Canvas(
            torch.cat([head.wave, after.wave], 1),
            torch.cat([head.latents, after.latents], 2),
            torch.cat([head.keep, after.keep], 2),
            torch.cat([head.given, after.given], 1),
            tuple(dict.fromkeys((*before.notes, *after.notes))),
        ),
        cond,
        gen,
    )


def check_stems(model: SongModel) -> None:
    """Refuse to draw one stem of a model that draws a mix.

    Raises:
        ConfigError: it does.
    """
    if model.net.stems != 2:
        raise ConfigError(
            "this model draws a mix; one part of it cannot be drawn alone.", hint="Use a model of two stems."
        )


def check_seam(seam_s: float, seconds: float) -> None:
    """Refuse a seam longer than half of a song of so many seconds.

    Raises:
        ConfigError: it is, or it has no length.
    """
    if not 0 < seam_s <= seconds / 2:
        raise ConfigError(
            f"a seam of {seam_s:g} s does not fit a song of {seconds:.2f} s.", hint="At most half of it."
        )


def decoded(studio: Studio, latents: Tensor) -> Tensor:
    """Waves of all stems, (R, hop L), of latents (1, stems x C, L)."""
    stems = studio.model.net.stems
    with torch.no_grad():
        return chunked.decode(studio.codec, latents.reshape(stems, -1, latents.shape[-1])).flatten(0, 1)


def _samples(studio: Studio, spans: Sequence[tuple[float, float]], total: int) -> list[tuple[int, int]]:
    """First and last sample of each span."""
    rate = studio.codec.rate
    return [(round(start * rate), round(end * rate)) for start, end in spans_of(spans, total / rate)]


def _padded(canvas: Canvas, left: int, right: int, hop: int) -> Canvas:
    """The canvas with frames to draw on both sides.

    With frames on the right, the last one of the song is drawn too where it is not whole: the codec filled it
    up with silence, which no longer follows.
    """
    pad, samples, frames = torch.nn.functional.pad, canvas.wave.shape[1], canvas.keep.shape[-1]
    keep = canvas.keep.clone()
    if right:
        keep[..., samples // hop :] = 0
    more = (left * hop, (frames + right) * hop - samples if right else 0)
    return Canvas(
        pad(canvas.wave, more),
        pad(canvas.latents, (left, right)),
        pad(keep, (left, right)),
        pad(canvas.given, more),
        canvas.notes,
    )


def _filled(studio: Studio, canvas: Canvas, cond: Mapping[str, Any], gen: Source) -> Edited:
    """Draw what is hidden, decode, paste the original back."""
    made: Composed = compose(
        studio.model,
        {**cond, "context": canvas.latents, "keep": canvas.keep},
        canvas.latents.shape[-1],
        gen,
        sampling=studio.sampling,
        negative=studio.negative,
        progress=studio.progress,
    )
    wave = paste(canvas.wave, decoded(studio, made.latents), canvas.given, rate=studio.codec.rate)
    return Edited(wave, made.latents, canvas.keep, made.calls, canvas.notes)
