"""Songs to learn from: latents with lyrics on their frames and tags, and crops of them by number.

Sample number n is a function of (seed, n): which song, where the crop begins, how its lyrics are aligned,
which tags are left open. Songs are drawn in proportion to their length. Most crops begin up to a second
before a line, so that the phones of a line and its sound are seen together; some are told as songs of their
own, start 0 and the length of the crop, so that short songs are known.

A song may hold its lyrics in several alignments, (V, L); each crop takes one of them.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.errors import DataError
from core.train.samples import Batch, mixed_seed, stacked
from domains.music.frames import seconds_of
from domains.music.style import TagStyle

__all__ = ["Song", "SongSamples", "vocabulary_of"]

LEAD = 21  # frames before a line where a crop may begin, about a second


@dataclass(frozen=True)
class Song:
    """One song.

    Attributes:
        name: for messages.
        latents: (channels of all stems, L), standardised.
        phones: (V, L) int64, the lyrics in V alignments.
        sections, singers: (L,) int64, 0 where none is said.
        lines: frames where lines begin.
        tags: one tag per field of style.
        split: "train", "validation" or "test".
        style: vector (S,), where the encoder is not "tags".
    """

    name: str
    latents: Tensor
    phones: Tensor
    sections: Tensor
    singers: Tensor
    lines: tuple[int, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"
    style: Tensor | None = None

    def __post_init__(self) -> None:
        frames = self.latents.shape[-1]
        for name in ("phones", "sections", "singers"):
            if getattr(self, name).shape[-1] != frames:
                raise DataError(
                    f"song '{self.name}' has {frames} frames of latents, "
                    f"{getattr(self, name).shape[-1]} of {name}.",
                    hint="Encode it again: latents and lyrics must come from one recording.",
                )

    @property
    def frames(self) -> int:
        return self.latents.shape[-1]


def vocabulary_of(songs: Sequence[Song]) -> dict[str, tuple[str, ...]]:
    """The tags that occur, by field, in order of the alphabet."""
    found: dict[str, set[str]] = {}
    for song in songs:
        for name, tag in song.tags.items():
            found.setdefault(name, set()).add(tag)
    return {name: tuple(sorted(tags)) for name, tags in sorted(found.items())}


@dataclass(frozen=True)
class SongSamples:
    """Crops by number, as the core's loop asks for them.

    Args:
        songs: what is drawn from.
        crop: frames of a sample; shorter songs are padded, `valid` says where.
        encoder: of the tags; None takes `Song.style`.
        excerpt: share of crops that are told as songs of their own.
        from_line: share of crops that begin shortly before a line.
        open_tag: probability that a field of the style is left open.
    """

    songs: Sequence[Song]
    crop: int
    encoder: TagStyle | None = None
    excerpt: float = 0.25
    from_line: float = 0.7
    open_tag: float = 0.1
    _ends: list[int] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.songs:
            raise DataError("there is no song to train on.", hint="Render or import some first.")
        self._ends.extend(accumulate(song.frames for song in self.songs))

    def __call__(self, numbers: range, seed: int) -> Batch:
        return stacked([self.one(n, seed) for n in numbers])

    def one(self, number: int, seed: int) -> Batch:
        """The sample with this number: latents (C, crop) and its condition."""
        gen = torch.Generator().manual_seed(mixed_seed(seed, "crop", number))
        u = torch.rand(8, generator=gen, dtype=torch.float64).tolist()
        song = self.songs[bisect(self._ends, int(u[0] * self._ends[-1]))]
        spare = max(song.frames - self.crop, 0)
        start = int(u[1] * (spare + 1))
        if song.lines and u[2] < self.from_line:
            start = min(max(song.lines[int(u[3] * len(song.lines))] - int(u[4] * LEAD), 0), spare)
        alone = u[5] < self.excerpt
        size = min(song.frames - start, self.crop)
        cond: dict[str, Any] = {
            "phones": self._cut(song.phones[int(u[6] * len(song.phones))], start),
            "sections": self._cut(song.sections, start),
            "singers": self._cut(song.singers, start),
            "style": self._style(song, gen),
            "start": torch.tensor(0.0 if alone else seconds_of(start)),
            "total": torch.tensor(seconds_of(size if alone else song.frames)),
            "valid": torch.arange(self.crop) < size,
        }
        return Batch(self._cut(song.latents, start), cond)

    def _cut(self, whole: Tensor, start: int) -> Tensor:
        piece = whole[..., start : start + self.crop]
        return functional.pad(piece, (0, self.crop - piece.shape[-1]))

    def _style(self, song: Song, gen: torch.Generator) -> Tensor:
        if self.encoder is None:
            if song.style is None:
                raise DataError(f"song '{song.name}' has no style vector.", hint="Compute styles first.")
            return song.style
        closed = torch.rand(len(song.tags), generator=gen) >= self.open_tag
        told = [item for item, told in zip(song.tags.items(), closed.tolist(), strict=True) if told]
        return self.encoder.of(dict(told))
