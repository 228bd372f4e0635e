"""Lyrics on the frames of a song: which phone begins on which frame, in which section, sung by whom.

A line's phones are written one a frame from the frame of its stamp on, a full stop after the last; every
other frame holds the filler 0. The model finds out itself how long each phone sounds. A line whose frames are
still taken begins right after the line before, and what passes the end of the song is cut; both are told.

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.3 and the public code for what it leaves
open. Deviation: the last line is sung too, and phones that find no room are named instead of vanishing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from core.errors import unknown
from domains.music.frames import FRAME_RATE, seconds_of
from domains.music.lrc.events import SECTIONS, SINGERS, Line, Lyrics, Problem, stamp_text
from domains.music.phones.inventory import BOUNDARY, COMMA, FILLER, STOP
from domains.music.phones.phonemise import encode, word_ids, words_of
from domains.music.phones.scripts import check_language, check_script

__all__ = ["Alignment", "FramedLyrics", "frame_of", "frame_phones", "line_ids", "phone_counts"]

Alignment = Literal["sentence", "word", "none"]


class FramedLyrics(NamedTuple):
    """Lyrics on frames.

    Attributes:
        ids: (L,) int64, 0 to 363; 0 where no phone begins.
        sections: (L,) int64, 1 + index in `SECTIONS`; 0 where none is said.
        singers: (L,) int64, 1 + index in `SINGERS`; 0 where none is said.
        problems: what will not be sung as asked.
    """

    ids: Tensor
    sections: Tensor
    singers: Tensor
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Piece:
    """Phones that want to begin at a frame; `line` carries their stamp for messages."""

    frame: int
    ids: tuple[int, ...]
    line: Line
    ends_line: bool = True


def frame_of(seconds: float) -> int:
    """The frame that a moment falls into."""
    return int(seconds * FRAME_RATE + 1e-6)


def frame_phones(
    lyrics: Lyrics,
    frames: int,
    alignment: Alignment | str = "sentence",
    *,
    language: str = "en",
    boundaries: bool = True,
    punctuation: bool = False,
) -> FramedLyrics:
    """Write lyrics onto frames.

    Args:
        frames: L, length of the song.
        alignment: "sentence" puts each line at its stamp; "word" puts each word at its own, where it has one;
            "none" writes all phones from the first frame on, the ablation of the paper.
        boundaries: write "_" between words.
        punctuation: keep the marks inside lines, as the published model reads them.

    Raises:
        ConfigError: an unknown alignment or language.
        DataError: letters without phone rules; the line is named.
        MissingExtra: a word needs espeak-ng, which is absent.
    """
    if alignment not in get_args(Alignment):
        raise unknown("alignment", alignment, get_args(Alignment))
    check_language(language)
    problems: list[Problem] = []
    inside = []
    for line in lyrics.lines:
        check_script(line.text, language, where=f"line {line.number}" if line.number else "the lyrics")
        if alignment != "none" and frame_of(line.start_s) >= frames:
            message = (
                f"stamp {stamp_text(line.start_s)} lies beyond the length {stamp_text(seconds_of(frames))}"
            )
            problems.append(Problem("length", f"{message}; not sung", line.number))
        else:
            inside.append(line)
    pieces = [
        piece
        for line in inside
        for piece in _pieces(line, alignment, language, boundaries=boundaries, punctuation=punctuation)
    ]
    if alignment == "word":
        bare = [line for line in inside if not line.words]
        if bare:
            message = f"{len(bare)} of {len(inside)} lines have no word stamps; their own stamps are used"
            problems.append(Problem("words", message, note=True))
    ids, crowded = _write(pieces, frames, in_time=alignment != "none")
    return FramedLyrics(
        ids,
        _tags(lyrics, frames, "section", SECTIONS),
        _tags(lyrics, frames, "singer", SINGERS),
        tuple(problems + crowded),
    )


def line_ids(
    text: str, language: str = "en", *, boundaries: bool = True, punctuation: bool = False
) -> list[int]:
    """Numbers of a line: its phones, inner full stops as commas, a full stop at its end; empty if silent."""
    ids = encode(text, language, boundaries=boundaries, punctuation=punctuation)
    while ids and ids[-1] == STOP:
        ids.pop()
    return [COMMA if number == STOP else number for number in ids] + [STOP] if ids else []


def phone_counts(lyrics: Lyrics, language: str = "en") -> list[int]:
    """Frames that each line takes: phones, word boundaries and the full stop."""
    return [len(line_ids(line.text, language)) for line in lyrics.lines]


def _pieces(
    line: Line, alignment: str, language: str, *, boundaries: bool, punctuation: bool
) -> list[_Piece]:
    if alignment != "word" or not line.words:
        ids = line_ids(line.text, language, boundaries=boundaries, punctuation=punctuation)
        return [_Piece(frame_of(line.start_s), tuple(ids), line)] if ids else []
    pieces = []
    for index, word in enumerate(line.words):
        last = index == len(line.words) - 1
        parts = words_of(word.text, punctuation=punctuation)
        ids = [COMMA if n == STOP else n for part in parts for n in word_ids(part, language)]
        if ids:
            ids += [STOP] if last else [BOUNDARY] if boundaries else []
            pieces.append(_Piece(frame_of(word.start_s), tuple(ids), line, ends_line=last))
    return pieces


def _write(pieces: Sequence[_Piece], frames: int, *, in_time: bool) -> tuple[Tensor, list[Problem]]:
    """Place pieces in order, each at its frame or right after the one before."""
    ids = torch.full((frames,), FILLER, dtype=torch.int64)
    problems: list[Problem] = []
    free = 0
    for index, piece in enumerate(pieces):
        start = max(piece.frame, free) if in_time else free
        size = len(piece.ids)
        room = max(min(size, frames - start), 0)
        ids[start : start + room] = torch.tensor(piece.ids[:room], dtype=torch.int64)
        free = start + room
        if not in_time:
            if room < size:
                message = f"{size} phones in {room} frames at the end; the song is too short for the words"
                problems.append(Problem("density", message, piece.line.number))
            continue
        following = pieces[index + 1].frame if index + 1 < len(pieces) else frames
        own = min(following, frames) - piece.frame
        if size > own or room < size:
            problems.append(_crowded(piece, max(own, 0), last=index + 1 == len(pieces)))
    return ids, problems


def _crowded(piece: _Piece, own: int, *, last: bool) -> Problem:
    size = len(piece.ids)
    wanted = stamp_text(-(-(piece.frame + size) * 100 // FRAME_RATE) / 100)
    what = "song" if last else "line" if piece.ends_line else "word"
    advice = f"let the song last until {wanted}" if last else f"begin the next {what} at {wanted} or later"
    message = (
        f"{size} phones in {own} frames at {stamp_text(piece.line.start_s)}; words will be skipped. "
        f"Suggestion: {advice}"
    )
    return Problem("density", message, piece.line.number)


def _tags(lyrics: Lyrics, frames: int, kind: str, names: Sequence[str]) -> Tensor:
    """Number of the section or singer on each frame, (L,)."""
    marks = [
        (event.start_s, event.name)
        for event in lyrics.events
        if event.kind == kind and event.start_s is not None
    ]
    if not lyrics.events:  # lyrics that were not read from a file
        own = [(line.start_s, getattr(line, kind)) for line in lyrics.lines]
        marks = [(start, name) for start, name in own if name is not None]
    found = torch.zeros(frames, dtype=torch.int64)
    for start, name in sorted(marks, key=lambda mark: mark[0]):
        found[frame_of(start) :] = 1 + names.index(name)
    return found
