"""What a lyric file holds: lines and words with their times, sections, singers, and what is wrong with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.errors import ConfigError

__all__ = [
    "SECTIONS",
    "SINGERS",
    "Event",
    "Line",
    "Lyrics",
    "Problem",
    "Word",
    "refuse",
    "stamp_text",
    "timed_events",
]

# Parts of a song and voices, by the number they have on frames; 0 is "not said".
SECTIONS = ("intro", "verse", "prechorus", "chorus", "bridge", "instrumental", "outro")
SINGERS = ("female", "male", "duet", "choir")


@dataclass(frozen=True)
class Word:
    """One word with its time, s; `end_s` is None where only the next word tells it."""

    text: str
    start_s: float
    end_s: float | None = None


@dataclass(frozen=True)
class Line:
    """One sung line.

    Attributes:
        start_s: when it begins, s from the start of the song, offset applied.
        words: with times of their own; empty where the file gives none.
        number: line of the file, from 1.
        section: one of `SECTIONS`, or None.
        singer: one of `SINGERS`, or None.
    """

    start_s: float
    text: str
    words: tuple[Word, ...] = ()
    number: int = 0
    section: str | None = None
    singer: str | None = None


@dataclass(frozen=True)
class Event:
    """A section or singer tag: what holds from here on.

    Attributes:
        kind: "section" or "singer".
        name: one of `SECTIONS` or `SINGERS`.
        start_s: its own stamp, else that of the next line; None at the end of a file.
        number: line of the file, from 1.
    """

    kind: str
    name: str
    start_s: float | None
    number: int = 0


@dataclass(frozen=True)
class Lyrics:
    """Lines by time, with what the file says about the song.

    Attributes:
        lines: sorted by start; lines of the same start keep their order in the file.
        meta: "ti", "ar" and other tags as they stand.
        events: sections and singers by their order in the file.
        unstamped: words without a time, by line of the file; they are not sung.
    """

    lines: tuple[Line, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    unstamped: tuple[tuple[int, str], ...] = ()

    @property
    def instrumental(self) -> bool:
        """Whether there is nothing to sing."""
        return not self.lines


@dataclass(frozen=True)
class Problem:
    """Something that is doubtful about lyrics.

    Attributes:
        kind: a stable word, such as "order" or "density".
        message: the sentence to print.
        number: line of the file, from 1; 0 for the whole of it.
        note: nothing is wrong, but it has to be said; never fatal.
    """

    kind: str
    message: str
    number: int = 0
    note: bool = False

    def __str__(self) -> str:
        return f"line {self.number}: {self.message}" if self.number else self.message

    def row(self) -> dict[str, str | int]:
        """The problem as a row of a report."""
        return {"line": self.number, "kind": self.kind, "message": self.message}


def timed_events(events: Sequence[Event], lines: Sequence[Line]) -> tuple[Event, ...]:
    """Events at the start of the line that follows each in the file; None where no line does."""
    return tuple(
        replace(event, start_s=next((line.start_s for line in lines if line.number > event.number), None))
        for event in events
    )


def refuse(problems: Sequence[Problem], *, name: str = "the lyrics") -> None:
    """Make problems fatal, notes excepted.

    Raises:
        ConfigError: there is a problem; the first is told, and how many follow.
    """
    real = [problem for problem in problems if not problem.note]
    if real:
        more = f" ({len(real) - 1} more)" if len(real) > 1 else ""
        raise ConfigError(f"{name}: {real[0]}{more}", hint="See all of them: suffuse music lrc check.")


def stamp_text(seconds: float) -> str:
    """A time as mm:ss.xx, rounded to hundredths; minutes run on past 59."""
    sign, hundredths = ("-" if seconds < 0 else ""), math.floor(abs(seconds) * 100 + 0.5)
    return f"{sign}{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
