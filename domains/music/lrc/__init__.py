"""Lyrics with time stamps: .lrc read and written, drafted from plain words, fitted to a recording."""

from domains.music.lrc.events import SECTIONS, SINGERS, Event, Line, Lyrics, Problem, Word, stamp_text
from domains.music.lrc.parse import parse, read_lrc
from domains.music.lrc.write import to_lrc, write_lrc

__all__ = [
    "SECTIONS",
    "SINGERS",
    "Event",
    "Line",
    "Lyrics",
    "Problem",
    "Word",
    "parse",
    "read_lrc",
    "stamp_text",
    "to_lrc",
    "write_lrc",
]
