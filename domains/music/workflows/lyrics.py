"""Lyrics on their own: what is wrong with a file, stamps for plain words, stamps from a recording."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.outlook import Outlook, Ready, at_once, check_output
from domains.music.frames import frames_of, seconds_of
from domains.music.lrc.draft import draft
from domains.music.lrc.events import Line, Lyrics, refuse, stamp_text
from domains.music.lrc.parse import read_lrc
from domains.music.lrc.write import write_lrc
from domains.music.lyrics import frame_of, frame_phones, line_ids
from domains.music.workflows.hearing import listen

__all__ = ["check_lyrics", "draft_lyrics", "fit_lyrics_file"]


def check_lyrics(
    path: Path,
    *,
    length_s: float | None = None,
    language: str = "en",
    alignment: str = "sentence",
    strict: bool = False,
) -> dict[str, Any]:
    """Everything that is doubtful about a lyric file, and its lines with the frames that they take.

    Args:
        length_s: of the song; None looks at the density of the lines only.
        strict: a problem is an error.

    Raises:
        ConfigError: strict, and there is a problem.
        DataError: the file cannot be read, or has letters without phone rules.
    """
    lyrics, problems = read_lrc(path)
    end = length_s if length_s is not None else _end(lyrics, language)
    framed = frame_phones(lyrics, frames_of(end), alignment, language=language)
    problems = (*problems, *framed.problems)
    if strict:
        refuse(problems, name=str(path))
    return {
        "file": str(path),
        "lines": len(lyrics.lines),
        "sections": sorted({event.name for event in lyrics.events}),
        "seconds": round(end, 2),
        "instrumental": lyrics.instrumental,
        "problems": [problem.row() for problem in problems],
        "sung": _rows(lyrics, frames_of(end), language),
        "warnings": [str(problem) for problem in problems],
    }


def draft_lyrics(
    words: Path,
    out: Path,
    *,
    bpm: float,
    beats_per_bar: int = 4,
    bars: int | None = None,
    intro_bars: int = 1,
    gap_bars: int = 1,
    language: str = "en",
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Put stamps on plain words, a proposal to edit.

    Raises:
        ConfigError: no words, stamps among them, too few bars, or the output exists.
        DataError: the file cannot be read.
    """
    check_output(out, (".lrc",), overwrite=overwrite, source=words)
    try:
        text = words.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "it is not UTF-8"
        raise DataError(f"cannot read the words {words}: {reason}.") from err
    lyrics, seconds = draft(
        text,
        bpm=bpm,
        beats_per_bar=beats_per_bar,
        bars=bars,
        intro_bars=intro_bars,
        gap_bars=gap_bars,
        language=language,
    )
    minutes, rest = divmod(seconds, 60)
    lyrics = replace(lyrics, meta={**lyrics.meta, "length": f"{int(minutes):02d}:{rest:05.2f}"})
    ready(Outlook((f"draft stamps for {len(lyrics.lines)} lines at {bpm:g} bpm: {seconds:.1f} s, to {out}",)))
    write_lrc(out, lyrics, overwrite=overwrite)
    problems = frame_phones(lyrics, frames_of(seconds), language=language).problems
    return {
        "output": str(out),
        "lines": len(lyrics.lines),
        "seconds": round(seconds, 2),
        "sung": _rows(lyrics, frames_of(seconds), language),
        "warnings": [str(problem) for problem in problems],
    }


def fit_lyrics_file(
    words: Path,
    recording: Path,
    out: Path,
    *,
    recogniser: str = "recogniser",
    language: str = "en",
    word_stamps: bool = True,
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Give words the times at which a recording sings them, by forced alignment with the recogniser.

    Args:
        words: .lrc or plain words, in the order they are sung; stamps they have are replaced.
        recording: the song; a voice alone fits better.
        word_stamps: write a stamp for each word as well.

    Returns:
        Report; `score` of a line is the mean log-probability a frame of its phones, which is low where the
        words are not those that are sung.
    """
    check_output(out, (".lrc",), overwrite=overwrite, source=words)
    lyrics, problems = read_lrc(words)
    if not lyrics.lines and not lyrics.unstamped:
        raise DataError(f"{words} has no words.", hint="Write one sung line a line.")
    heard = listen(recording, recogniser)
    ready(
        Outlook(
            (f"fit {words} to {recording}, {heard.seconds:.1f} s, to {out}",), heard.warnings, heard.device
        )
    )
    fitted = heard.fit(lyrics, language)
    found = fitted.lyrics
    if not word_stamps:
        found = replace(found, lines=tuple(replace(line, words=()) for line in found.lines))
    minutes, rest = divmod(heard.seconds, 60)
    found = replace(found, meta={**found.meta, "length": f"{int(minutes):02d}:{rest:05.2f}"})
    write_lrc(out, found, overwrite=overwrite)
    median = sorted(fitted.scores)[len(fitted.scores) // 2]
    poor = [
        f"line {line.number}: '{line.text}' fits badly (score {score:.2f}, median {median:.2f})"
        for line, score in zip(found.lines, fitted.scores, strict=True)
        if score < median - 2.0
    ]
    rows = [
        {"line": line.number, "start": stamp_text(line.start_s), "words": line.text, "score": round(score, 3)}
        for line, score in zip(found.lines, fitted.scores, strict=True)
    ]
    kept = [str(problem) for problem in problems if problem.kind not in ("unstamped", "empty", "order")]
    return {"output": str(out), "recording": str(recording), "fitted": rows, "warnings": [*kept, *poor]}


def _end(lyrics: Lyrics, language: str) -> float:
    """A length that leaves room for the last line."""
    if not lyrics.lines:
        return seconds_of(1)
    last = lyrics.lines[-1]
    return last.start_s + seconds_of(len(line_ids(last.text, language)) + 2)


def _rows(lyrics: Lyrics, frames: int, language: str) -> list[dict[str, Any]]:
    """Lines as rows: stamp, words, frames taken and frames there are."""
    starts = [frame_of(line.start_s) for line in lyrics.lines]
    ends = [*starts[1:], frames][: len(starts)]
    return [
        _row(line, start, end, language) for line, start, end in zip(lyrics.lines, starts, ends, strict=True)
    ]


def _row(line: Line, start: int, end: int, language: str) -> dict[str, Any]:
    return {
        "line": line.number,
        "start": stamp_text(line.start_s),
        "words": line.text,
        "phones": len(line_ids(line.text, language)),
        "frames": max(end - start, 0),
    }
