"""A rendered corpus as songs to learn from: latents on disk, with the lyrics and tags beside the recordings.

    latents   <id>.safetensors with "voice" and "backing" (C, L), standardised; `codec.latents` writes them
    corpus    <id>/song.json (split, tags) and <id>/song.lrc

Lyrics are written onto frames exactly as they are for a user's file, once per alignment: those of
`lyrics.frame_phones`, "spread" of `onsets`, or "phone", every phone on the frame where it begins in the
recording, which only a rendered song tells.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from core.errors import DataError, unknown
from core.progress import Progress, silent
from domains.music.codec.latents import INDEX, read_latents
from domains.music.lrc import parse
from domains.music.lyrics import Alignment, frame_of, frame_phones
from domains.music.onsets import spread_phones
from domains.music.phones.inventory import ids_of
from domains.music.songs import Song

__all__ = ["read_songs"]


def read_songs(
    latents: Path,
    corpus: Path,
    *,
    stems: Sequence[str] = ("voice", "backing"),
    alignments: Sequence[str] = ("spread", "phone"),
    splits: Sequence[str] | None = None,
    digest: str | None = None,
    progress: Progress = silent,
) -> list[Song]:
    """Read songs with their latents.

    Args:
        latents: folder with `latents.json` and one file a song.
        corpus: folder of the recordings' lyrics and cards.
        stems: whose latents are put side by side, in this order.
        alignments: how lyrics are written; a crop takes one of them.
        splits: which songs; None takes all.
        digest: of the encoder that must have made the latents.

    Raises:
        DataError: no songs, or a song without card or lyrics; it is named.
    """
    if not (latents / INDEX).is_file():
        raise DataError(f"{latents} holds no latents.", hint="Encode the corpus first: suffuse music encode.")
    names = json.loads((latents / INDEX).read_text("utf-8"))["songs"]
    songs = []
    for done, name in enumerate(names):
        folder = corpus / name
        if not (folder / "song.json").is_file() or not (folder / "song.lrc").is_file():
            raise DataError(f"song '{name}' has latents and no song.json or song.lrc in {corpus}.")
        card = json.loads((folder / "song.json").read_text("utf-8"))
        if splits is None or card["split"] in splits:
            songs.append(_song(name, card, folder / "song.lrc", latents, stems, alignments, digest))
        progress("read songs", done + 1, len(names))
    if not songs:
        raise DataError(f"none of the {len(names)} songs is in the splits {list(splits or ())}.")
    return songs


def _song(
    name: str,
    card: dict[str, Any],
    lyrics: Path,
    latents: Path,
    stems: Sequence[str],
    alignments: Sequence[str],
    digest: str | None,
) -> Song:
    found = read_latents(latents / f"{name}.safetensors", digest=digest)
    if missing := [stem for stem in stems if stem not in found]:
        raise DataError(f"song '{name}' has no latents of {', '.join(missing)} (found: {', '.join(found)}).")
    x0 = torch.cat([found[stem] for stem in stems])
    frames = x0.shape[-1]
    words, _ = parse(lyrics.read_text("utf-8"))
    marks = frame_phones(words, frames)

    def written(how: str) -> Tensor:
        if how == "phone":
            return _onsets(card["phones"], frames)
        return (
            spread_phones(words, frames) if how == "spread" else frame_phones(words, frames, _known(how)).ids
        )

    return Song(
        name=name,
        latents=x0,
        phones=torch.stack([written(how) for how in alignments]),
        sections=marks.sections,
        singers=marks.singers,
        lines=tuple(frame_of(line.start_s) for line in words.lines if frame_of(line.start_s) < frames),
        tags={str(key): str(value) for key, value in card["tags"].items()},
        split=str(card["split"]),
    )


def _known(how: str) -> Alignment:
    for name in get_args(Alignment):
        if name == how:
            return name
    raise unknown("alignment", how, (*get_args(Alignment), "spread", "phone"))


def _onsets(phones: Sequence[Sequence[Any]], frames: int) -> Tensor:
    """Each phone on the frame where it begins, or on the next free one, (L,)."""
    out = torch.zeros(frames, dtype=torch.int64)
    free = 0
    for start, _, ipa in phones:
        for number in ids_of([ipa]):
            place = max(frame_of(start), free)
            if place < frames:
                out[place] = number
                free = place + 1
    return out
