"""Hymn scores, and one verse of them in seconds: who sings what, when, at which pitch.

A hymn lists its notes as (MIDI pitch or None for a rest, quarters, 1 when it continues the previous
syllable). A note group is a note with flag 0 and the flag-1 notes after it; a verse gives one entry for each
group.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DataError

__all__ = ["Hymn", "Line", "Note", "Score", "Syllable", "Word", "perform", "read_hymns"]


@dataclass(frozen=True)
class Hymn:
    """One melody and its verses.

    Attributes:
        name: short name, unique in a collection.
        title: as printed.
        tonic: pitch class of the key, 0 (C) to 11.
        mode: "major" or "minor".
        beats_per_bar: quarter notes in a bar (1.5 times 2 in 6/8).
        pickup: length of the up-beat in quarters, 0 when there is none.
        notes: (MIDI pitch or None, quarters, continues the syllable before).
        verses: for each verse, one (syllable or None to hold, joined to the next, begins a line) a note
            group.
    """

    name: str
    title: str
    tonic: int
    mode: str
    beats_per_bar: float
    pickup: float
    notes: tuple[tuple[int | None, float, bool], ...]
    verses: tuple[tuple[tuple[str | None, bool, bool], ...], ...]


@dataclass(frozen=True)
class Note:
    """A sung note: MIDI pitch, start and duration in seconds."""

    pitch: int
    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Syllable:
    """Text of one syllable and the notes it is sung on, in order."""

    text: str
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Word:
    """The syllables of one word."""

    syllables: tuple[Syllable, ...]

    @property
    def text(self) -> str:
        return "".join(syllable.text for syllable in self.syllables)


@dataclass(frozen=True)
class Line:
    """A printed line: words in order."""

    words: tuple[Word, ...]

    @property
    def start_s(self) -> float:
        return self.words[0].syllables[0].notes[0].start_s

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Score:
    """One verse in time.

    Attributes:
        lines: what is sung.
        beats: time of every quarter note, from 0 to the end, in seconds.
        bars: start of every bar in seconds, the first at 0; the end of the last bar closes the list.
        tonic: pitch class of the key after transposition.
        mode: "major" or "minor".
        bpm: quarter notes a minute.
        duration_s: length of the piece with its introduction and its last bar.
    """

    lines: tuple[Line, ...]
    beats: tuple[float, ...]
    bars: tuple[float, ...]
    tonic: int
    mode: str
    bpm: float
    duration_s: float

    @property
    def notes(self) -> list[Note]:
        """Every sung note in order."""
        return [n for line in self.lines for word in line.words for s in word.syllables for n in s.notes]


def read_hymns(path: Path) -> tuple[Hymn, ...]:
    """Read a collection of hymns from JSON.

    Raises:
        DataError: the file is absent, is no such JSON, or a verse does not fit its notes.
    """
    try:
        songs = json.loads(path.read_text(encoding="utf-8"))
        hymns = tuple(parse_hymn(song) for song in songs)
    except OSError as err:
        raise DataError(f"cannot read the scores {path}: {err.strerror}.") from err
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as err:
        raise DataError(
            f"{path} is no collection of hymns ({type(err).__name__}: {err}).",
            hint="Expected a JSON list of objects with id, title, tonic, mode, time, pickup, notes, verses.",
        ) from err
    return hymns


def parse_hymn(song: dict[str, Any]) -> Hymn:
    """Build a hymn from its JSON object.

    Raises:
        DataError: a verse has another number of entries than the notes have groups.
    """
    notes = tuple((pitch, float(length), bool(tied)) for pitch, length, tied in song["notes"])
    groups = sum(pitch is not None and not tied for pitch, _, tied in notes)
    verses = tuple(
        tuple((text, bool(joined), bool(first)) for text, joined, first in verse) for verse in song["verses"]
    )
    for i, verse in enumerate(verses):
        if len(verse) != groups:
            raise DataError(
                f"verse {i + 1} of '{song['id']}' has {len(verse)} syllables for {groups} notes.",
                hint="Give one entry for each note that begins a syllable.",
            )
    beats, unit = song["time"]
    return Hymn(
        name=song["id"],
        title=song["title"],
        tonic=int(song["tonic"]),
        mode=song["mode"],
        beats_per_bar=beats * 4 / unit,
        pickup=float(song["pickup"]),
        notes=notes,
        verses=verses,
    )


def perform(hymn: Hymn, verse: int, *, bpm: float, transposition: int, octave: int = 0) -> Score:
    """Put one verse in time after one bar of introduction; one bar follows the last note.

    Args:
        hymn: the score.
        verse: index of the verse, from 0.
        bpm: quarter notes a minute.
        transposition: semitones added to the voice and to the key.
        octave: octaves added to the voice alone.

    Raises:
        DataError: no such verse, or one that begins with a hold.
    """
    if not 0 <= verse < len(hymn.verses):
        raise DataError(f"'{hymn.name}' has {len(hymn.verses)} verses, asked for number {verse + 1}.")
    quarter = 60.0 / bpm
    bar = hymn.beats_per_bar
    # The up-beat fills the end of the bar before the first full bar, so bar lines stay on the grid.
    now = bar + (bar - hymn.pickup if hymn.pickup else 0.0)
    shift = transposition + 12 * octave
    groups: list[list[Note]] = []
    for pitch, length, tied in hymn.notes:
        if pitch is not None:
            note = Note(pitch + shift, now * quarter, length * quarter)
            if tied and groups:
                groups[-1].append(note)
            else:
                groups.append([note])
        now += length
    bars = int(-(-(now - 1e-9) // bar)) + 1
    duration = bars * bar * quarter
    return Score(
        lines=_lines(hymn, hymn.verses[verse], groups),
        beats=tuple(i * quarter for i in range(round(bars * bar))),
        bars=tuple(i * bar * quarter for i in range(bars + 1)),
        tonic=(hymn.tonic + transposition) % 12,
        mode=hymn.mode,
        bpm=bpm,
        duration_s=duration,
    )


def _lines(
    hymn: Hymn, verse: Sequence[tuple[str | None, bool, bool]], groups: Sequence[Sequence[Note]]
) -> tuple[Line, ...]:
    """Join syllables to words and words to lines; a hold lengthens the syllable before it.

    A line begins where the print begins one, and where a capital follows a stop or comma after four syllables
    or more: some prints run several lines of a poem together.
    """
    lines: list[list[list[tuple[str, list[Note]]]]] = []
    joined = False
    for (text, joins, begins), notes in zip(verse, groups, strict=True):
        if text is None:
            if not lines:
                raise DataError(f"a verse of '{hymn.name}' begins with a hold.")
            lines[-1][-1][-1][1].extend(notes)
            continue
        if not lines or (not joined and (begins or _begins_line(lines[-1], text))):
            lines.append([])
        if joined and lines[-1]:
            lines[-1][-1].append((text, list(notes)))
        else:
            lines[-1].append([(text, list(notes))])
        joined = joins
    return tuple(
        Line(tuple(Word(tuple(Syllable(text, tuple(notes)) for text, notes in word)) for word in line))
        for line in lines
    )


def _begins_line(line: Sequence[Sequence[tuple[str, list[Note]]]], text: str) -> bool:
    """Whether a word opens a new line of the poem after the line so far."""
    syllables = sum(len(word) for word in line)
    return syllables >= 4 and line[-1][-1][0][-1:] in set(",;:.!?") and text[:1].isupper()
