"""Read .lrc: every line becomes an event or a problem, and none is dropped without a word.

Understood are `[mm:ss]`, `[mm:ss.xx]`, `[mm:ss.xxx]`, `[h:mm:ss]` with or without a fraction, several stamps
before one line, word stamps `<mm:ss.xx>`, tags such as `[ti:...]`, `[offset:...]` in ms (a positive one makes
lines come sooner), sections such as `[verse]` or `[Chorus 2]`, singers such as `[female]`, and comments
(lines that begin with `#`).
"""

import re
from dataclasses import replace
from pathlib import Path

from core.errors import DataError
from domains.music.lrc.events import (
    SECTIONS,
    SINGERS,
    Event,
    Line,
    Lyrics,
    Problem,
    Word,
    refuse,
    stamp_text,
)

__all__ = ["parse", "read_lrc"]

STAMP = re.compile(r"^(-)?(?:(\d+):)?(\d+):(\d+)(?:[.,](\d{1,3}))?$")
TIMELIKE = re.compile(r"^[-+\dOol\s]+[:.][\dOol:.,\s]*$")  # meant as a stamp, though it is none
BRACKET = re.compile(r"^\s*\[([^\[\]]*)\]")
INNER = re.compile(r"\[([^\[\]]*)\]")
WORD_STAMP = re.compile(r"<([^<>]*)>")
META = re.compile(r"^\s*([A-Za-z#][\w ]*)\s*:(.*)$")
KNOWN_META = ("ti", "ar", "al", "au", "by", "la", "length", "offset", "re", "ve", "tool", "key", "bpm", "#")
SECTION_NAMES = {name: name for name in SECTIONS} | {
    "pre-chorus": "prechorus",
    "pre chorus": "prechorus",
    "refrain": "chorus",
    "hook": "chorus",
    "inst": "instrumental",
    "solo": "instrumental",
    "break": "instrumental",
    "interlude": "instrumental",
    "start": "intro",
    "end": "outro",
}
SINGER_NAMES = {name: name for name in SINGERS} | {
    "woman": "female",
    "man": "male",
    "both": "duet",
    "all": "choir",
    "chorus singers": "choir",
}


def read_lrc(path: Path, *, strict: bool = False) -> tuple[Lyrics, tuple[Problem, ...]]:
    """Read a lyric file in UTF-8, with or without a byte-order mark; see `parse`.

    Raises:
        ConfigError: strict, and there is a problem.
        DataError: no such file, or it is not UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise DataError(f"cannot read the lyrics {path}: {err.strerror or err}.") from err
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[err.start]:02x} in line {line}.",
            hint=f"Save it as UTF-8, or convert it: iconv -f {_likely(data)} -t utf-8.",
        ) from err
    found, problems = parse(text)
    if strict:
        refuse(problems, name=str(path))
    return found, problems


def _likely(data: bytes) -> str:
    """The encoding that a text has which is not UTF-8: by its mark, else the commonest."""
    return "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"


def parse(text: str, *, strict: bool = False) -> tuple[Lyrics, tuple[Problem, ...]]:
    """Lyrics of a text, and what is wrong with it in the order of its lines.

    Lines are sorted by time; a negative time becomes 0; words without a time are kept aside as `unstamped`.

    Raises:
        ConfigError: strict, and there is a problem.
    """
    reader = _Reader()
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        reader.take(number, line)
    found, problems = reader.finish()
    if strict:
        refuse(problems)
    return found, problems


class _Reader:
    """What has been read so far."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.meta: dict[str, str] = {}
        self.events: list[Event] = []
        self.unstamped: list[tuple[int, str]] = []
        self.problems: list[Problem] = []
        self.offset_s = 0.0
        self.latest: tuple[float, int] | None = None  # first stamp of the line before, and its number
        self.waiting: list[int] = []  # events without a stamp of their own
        self.section: str | None = None
        self.singer: str | None = None

    def take(self, number: int, line: str) -> None:
        """Read one line of the file."""
        rest, times, faulty = line, [], False
        if line.lstrip().startswith("#"):
            return
        while match := BRACKET.match(rest):
            inner = match.group(1).strip()
            time = self._stamp(number, inner)
            if time is not None:
                times.append(time)
            elif TIMELIKE.match(inner) or STAMP.match(inner):
                faulty = True
            else:
                self._tag(number, inner, times)
            rest = rest[match.end() :]
        text, words = self._words(number, self._without_tags(number, rest.strip()))
        if times:
            self._check_order(number, times)
            if text:
                self._add(number, times, text, words)
        elif text and not faulty:
            self.unstamped.append((number, text))
            self._say("unstamped", number, f"'{_short(text)}' has no time stamp and is not sung")
        elif text and faulty:
            self.unstamped.append((number, text))
            self._say("unstamped", number, f"'{_short(text)}' is not sung: its stamp cannot be read")

    def finish(self) -> tuple[Lyrics, tuple[Problem, ...]]:
        """Apply the offset, sort, and close open tags."""
        moved = []
        for line in self.lines:
            start = line.start_s - self.offset_s
            if start < 0:
                why = "negative" if not self.offset_s else "negative after the offset"
                self._say("negative", line.number, f"stamp {stamp_text(start)} is {why}; set to 00:00.00")
            words = tuple(
                replace(
                    word,
                    start_s=max(word.start_s - self.offset_s, 0.0),
                    end_s=None if word.end_s is None else max(word.end_s - self.offset_s, 0.0),
                )
                for word in line.words
            )
            moved.append(replace(line, start_s=max(start, 0.0), words=words))
        moved.sort(key=lambda line: line.start_s)
        events = tuple(
            event
            if event.start_s is None
            else replace(event, start_s=max(event.start_s - self.offset_s, 0.0))
            for event in self.events
        )
        if not moved:
            if self.unstamped:
                message = "no line has a time stamp: draft them with 'suffuse music lrc draft'"
                self.problems.append(Problem("unstamped", message))
            else:
                message = "no lyric lines: the song will be instrumental"
                self.problems.append(Problem("empty", message, note=True))
        problems = tuple(sorted(self.problems, key=lambda problem: problem.number or 10**9))
        return Lyrics(tuple(moved), self.meta, events, tuple(self.unstamped)), problems

    def _say(self, kind: str, number: int, message: str) -> None:
        self.problems.append(Problem(kind, message, number))

    def _stamp(self, number: int, inner: str) -> float | None:
        """Seconds of a stamp; None, after saying why, where it is none."""
        match = STAMP.match(inner)
        if match is None:
            if TIMELIKE.match(inner):
                self._say("malformed", number, f"stamp [{inner}] cannot be read; expected [mm:ss.xx]")
            return None
        sign, hours, minutes, seconds, fraction = match.groups()
        if int(seconds) > 59 or (hours is not None and int(minutes) > 59):
            self._say("malformed", number, f"stamp [{inner}] has more than 59 seconds or minutes")
            return None
        time = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
        time += int(fraction or 0) / 10 ** len(fraction or "")
        return -time if sign else float(time)

    def _without_tags(self, number: int, text: str) -> str:
        """Words without the brackets that stand among them, each told."""
        for inner in INNER.findall(text):
            self._say("tag", number, f"[{inner}] stands inside the words and has no effect")
        return INNER.sub(" ", text).strip()

    def _tag(self, number: int, inner: str, times: list[float]) -> None:
        """Take what stands in brackets and is no stamp."""
        name = re.sub(r"[\s:]*\(?x?\d*\)?$", "", inner.lower()).strip(" :")
        at = times[0] if times else None
        if name in SINGER_NAMES:
            self.singer = SINGER_NAMES[name]
            self._event(Event("singer", self.singer, at, number))
        elif name in SECTION_NAMES:
            self.section = SECTION_NAMES[name]
            self._event(Event("section", self.section, at, number))
        elif meta := META.match(inner):
            key, value = meta.group(1).strip().lower(), meta.group(2).strip()
            if key == "offset":
                self._offset(number, value)
            elif key not in KNOWN_META:
                self._say("tag", number, f"unknown tag [{inner}] is kept and has no effect")
            self.meta[key] = value
        elif inner:
            self._say("tag", number, f"unknown tag [{inner}] has no effect")
        else:
            self._say("malformed", number, "empty brackets []")

    def _event(self, event: Event) -> None:
        if event.start_s is None:
            self.waiting.append(len(self.events))
        self.events.append(event)

    def _offset(self, number: int, value: str) -> None:
        try:
            self.offset_s = int(value) / 1000
        except ValueError:
            self._say("malformed", number, f"offset '{value}' is no number of milliseconds; none is applied")

    def _check_order(self, number: int, times: list[float]) -> None:
        if self.latest is not None and times[0] < self.latest[0]:
            before = stamp_text(self.latest[0])
            message = f"stamp {stamp_text(times[0])} comes before {before} of line {self.latest[1]}; sorted"
            self._say("order", number, message)
        self.latest = (times[0], number)
        for index in self.waiting:
            self.events[index] = replace(self.events[index], start_s=times[0])
        self.waiting.clear()

    def _words(self, number: int, text: str) -> tuple[str, tuple[Word, ...]]:
        """Plain text of a line, and its words with stamps where all of them can be used."""
        pieces = WORD_STAMP.split(text)
        plain = re.sub(r"\s+", " ", "".join(pieces[::2])).strip()
        if len(pieces) == 1:
            return plain, ()
        times = [self._word_stamp(number, inner.strip()) for inner in pieces[1::2]]
        if any(time is None for time in times):
            return plain, ()
        known = [time for time in times if time is not None]
        if known != sorted(known):
            self._say("order", number, "word stamps are not in order; the line's own stamp is used")
            return plain, ()
        if pieces[0].strip():
            self._say("words", number, f"'{_short(pieces[0])}' stands before the first word stamp")
            return plain, ()
        return plain, _joined(known, pieces[2::2])

    def _word_stamp(self, number: int, inner: str) -> float | None:
        time = self._stamp(number, inner)
        if time is None and not TIMELIKE.match(inner) and not STAMP.match(inner):
            self._say("malformed", number, f"word stamp <{inner}> cannot be read")
        return time

    def _add(self, number: int, times: list[float], text: str, words: tuple[Word, ...]) -> None:
        if words and len(times) > 1:
            self._say("words", number, "word stamps hold for the first of several stamps only")
        for index, time in enumerate(times):
            own = words if index == 0 else ()
            self.lines.append(Line(time, text, own, number, self.section, self.singer))


def _joined(times: list[float], pieces: list[str]) -> tuple[Word, ...]:
    """Words of stamped pieces; pieces without a space between them are syllables of one word."""
    words: list[Word] = []
    open_word = False
    for time, piece in zip(times, pieces, strict=True):
        if words and words[-1].end_s is None and not (open_word and piece[:1].strip()):
            words[-1] = replace(words[-1], end_s=time)
        if open_word and piece[:1].strip():
            words[-1] = replace(words[-1], text=words[-1].text + piece.strip())
        elif piece.strip():
            words.append(Word(piece.strip(), time))
        open_word = bool(piece[-1:].strip())
    return tuple(words)


def _short(text: str) -> str:
    """A text as it fits in a message."""
    text = text.strip()
    return text if len(text) <= 40 else f"{text[:37]}..."
