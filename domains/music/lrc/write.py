"""Write .lrc: what `parse` reads back as the same lyrics."""

from collections.abc import Sequence
from pathlib import Path

from core.outlook import check_output
from domains.music.lrc.events import Lyrics, Word, stamp_text

__all__ = ["to_lrc", "write_lrc"]


def to_lrc(lyrics: Lyrics) -> str:
    """Text of lyrics: tags, then lines and the sections and singers between them, by time.

    Times are rounded to hundredths of a second. The offset is part of the times already and is left out.
    """
    rows = [f"[{key}:{value}]" for key, value in lyrics.meta.items() if key != "offset"]
    timed = [
        (event.start_s, 0, event.number, f"[{event.name}]")
        for event in lyrics.events
        if event.start_s is not None
    ]
    timed += [(line.start_s, 1, 0, _body(line.text, line.words)) for line in lyrics.lines]
    rows += [f"[{stamp_text(time)}]{body}" for time, _, _, body in sorted(timed, key=lambda row: row[:3])]
    rows += [f"[{event.name}]" for event in lyrics.events if event.start_s is None]
    rows += [text for _, text in lyrics.unstamped]
    return "".join(f"{row}\n" for row in rows)


def write_lrc(path: Path, lyrics: Lyrics, *, overwrite: bool = False) -> None:
    """Write lyrics to a file in UTF-8.

    Raises:
        ConfigError: the file exists, or is no .lrc.
    """
    check_output(path, (".lrc",), overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_lrc(lyrics), encoding="utf-8")


def _body(text: str, words: Sequence[Word]) -> str:
    if not words:
        return text
    marked = " ".join(f"<{stamp_text(word.start_s)}>{word.text}" for word in words)
    last = words[-1].end_s
    return marked if last is None else f"{marked} <{stamp_text(last)}>"
