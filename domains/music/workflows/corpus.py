"""Corpora to learn from: rendered from scores, or imported from a user's own recordings.

An imported song is `<id>/{mix.flac, song.lrc, song.json}` as a rendered one, without stems and without phone
times; models of one stem and of the alignment "sentence" or "word" learn from it.
"""

import csv
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError
from core.extras import require
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import FORMATS, check_header, read_audio
from domains.music.frames import RATE
from domains.music.lrc.events import Line, Lyrics
from domains.music.lrc.parse import read_lrc
from domains.music.lrc.write import to_lrc
from domains.music.render.corpus import hymns, plan_songs, render_corpus

__all__ = ["import_songs", "render_songs"]

INDEX = "JamendoLyrics.csv"
RESTRICTED = ("nc", "nd", "noncommercial", "non-commercial", "noderiv", "no-deriv")


@dataclass(frozen=True)
class Found:
    """A recording to import, its lyrics if any, and what is known of it."""

    name: str
    audio: Path
    lyrics: Lyrics | None
    tags: dict[str, str]
    licence: str = "not stated"
    problems: tuple[str, ...] = ()


def render_songs(
    folder: Path,
    *,
    minutes: float = 90.0,
    scores: Path | None = None,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Render a corpus from hymn scores, or go on with one; every page that shows it must say: synthetic.

    Raises:
        MissingExtra: espeak-ng, pyworld, FluidSynth or a sound font is absent; names the packages.
    """
    _check_folder(folder)
    collection = hymns(scores)
    plans = plan_songs(list(collection), minutes=minutes, seed=seed)
    plan = (
        f"render {len(plans)} songs, about {minutes:g} min, from {len(collection)} hymns into {folder}",
        f"about half as long as they last on one core: {minutes / 2:.0f} min; songs that are there stay",
        "the voice is a speech synthesiser that is made to sing: a synthetic corpus",
    )
    ready(Outlook(plan))
    songs = render_corpus(folder, minutes=minutes, scores=scores, seed=seed, progress=progress)
    splits = {name: sum(song.split == name for song in songs) for name in ("train", "validation", "test")}
    return {
        "corpus": str(folder),
        "songs": len(songs),
        "minutes": round(sum(song.duration_s for song in songs) / 60, 2),
        **{f"songs_{name}": count for name, count in splits.items()},
        "synthetic": True,
    }


def import_songs(
    source: Path,
    folder: Path,
    *,
    accept_licence: bool = False,
    held: float = 0.1,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Import recordings with their lyrics.

    Args:
        source: a folder of sound files, each with a `.lrc` and a `.txt` of the same stem where there are any;
            the text holds style words, "instrument: piano, voice: female". Or the JamendoLyrics folder.
        folder: where the corpus goes.
        accept_licence: take songs under non-commercial or no-derivatives terms too.
        held: share of songs for validation, and as many for the test, by song.

    Raises:
        DataError: no recordings, or none whose licence may be used.
    """
    if not source.is_dir():
        raise DataError(f"{source} is no folder.", hint="Name a folder of recordings.")
    _check_folder(folder)
    found = list(_jamendo(source) if (source / INDEX).is_file() else _plain(source))
    refused = [song for song in found if _restricted(song.licence) and not accept_licence]
    taken = [song for song in found if song not in refused]
    warnings = [f"{song.name} is left out: licence {song.licence}" for song in refused]
    warnings += [line for song in taken for line in song.problems]
    if not taken:
        raise DataError(
            f"{source} holds no song to import ({len(refused)} refused by their licence).",
            hint="Songs under NC or ND terms need --accept-licence." if refused else "Give .mp3, .flac, ...",
        )
    for song in taken:
        check_header(song.audio)
    ready(Outlook((f"import {len(taken)} of {len(found)} songs of {source} into {folder}",), tuple(warnings)))
    folder.mkdir(parents=True, exist_ok=True)
    splits = _splits(len(taken), held, seed)
    rows, seconds = [], 0.0
    for number, (song, split) in enumerate(zip(taken, splits, strict=True)):
        row = _import_one(song, split, folder)
        rows.append(row)
        seconds += row["duration_s"]
        progress("import songs", number + 1, len(taken))
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "index.jsonl").write_text(body, encoding="utf-8")
    return {
        "corpus": str(folder),
        "songs": len(rows),
        "refused": len(refused),
        "minutes": round(seconds / 60, 2),
        "with_lyrics": sum(song.lyrics is not None for song in taken),
        "licences": sorted({song.licence for song in taken}),
        "warnings": warnings,
    }


def _plain(source: Path) -> Iterator[Found]:
    """Sound files of a folder with same-stem lyrics and style words."""
    for audio in sorted(path for path in source.iterdir() if path.suffix.lower() in FORMATS):
        lyrics: Lyrics | None = None
        problems: tuple[str, ...] = ()
        if audio.with_suffix(".lrc").is_file():
            lyrics, said = read_lrc(audio.with_suffix(".lrc"))
            problems = tuple(f"{audio.stem}.lrc: {problem}" for problem in said)
        words = audio.with_suffix(".txt")
        tags = _tags(_text(words)) if words.is_file() else {}
        licence = audio.with_suffix(".licence")
        stated = _text(licence).strip() if licence.is_file() else "not stated"
        yield Found(audio.stem, audio, lyrics, tags, stated, problems)


def _jamendo(source: Path) -> Iterator[Found]:
    """Songs of a JamendoLyrics folder: mp3/, annotations/lines/ or lyrics/, and the index with licences."""
    for row in csv.DictReader(_text(source / INDEX).splitlines()):
        name = Path(row.get("Filepath") or "").stem
        audio = source / "mp3" / f"{name}.mp3"
        if not name or not audio.is_file():
            continue
        places = [source / "annotations" / "lines" / f"{name}.csv", source / "lyrics" / f"{name}.lines.csv"]
        lines = next((path for path in places if path.is_file()), None)
        licence = row.get("LicenseType") or row.get("License") or "not stated"
        tags = {"language": (row.get("Language") or "unknown").lower()}
        yield Found(name, audio, _timed(lines) if lines else None, tags, licence)


def _timed(path: Path) -> Lyrics:
    """Lyrics of a table of start, end and words, one row a line."""
    lines = []
    for number, row in enumerate(csv.reader(_text(path).splitlines()), start=1):
        try:
            lines.append(Line(float(row[0]), " ".join(row[2].split()), number=number))
        except (ValueError, IndexError):
            if number > 1:  # the first may be a heading
                raise DataError(f"{path}, line {number}: expected start, end, words.") from None
    return Lyrics(tuple(sorted(lines, key=lambda line: line.start_s)))


def _text(path: Path) -> str:
    """Text of a file in UTF-8.

    Raises:
        DataError: it is in another encoding, or cannot be read.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{err.object[err.start]:02x} at {err.start}.",
            hint="Save it as UTF-8.",
        ) from err
    except OSError as err:
        raise DataError(f"cannot read {path}: {err.strerror or err}.") from err


def _check_folder(folder: Path) -> None:
    """Refuse a corpus that would lie in a file.

    Raises:
        ConfigError: it would.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is a file; it cannot hold a corpus.", hint="Name a folder with --out.")


def _tags(text: str) -> dict[str, str]:
    """Style words: "field: tag" by comma or line; words without a field are of the field "style"."""
    found = {}
    for part in text.replace("\n", ",").split(","):
        name, colon, tag = part.partition(":")
        if colon and name.strip() and tag.strip():
            found[name.strip().lower()] = tag.strip().lower()
        elif part.strip():
            found["style"] = part.strip().lower()
    return found


def _restricted(licence: str) -> bool:
    words = licence.lower().replace("_", "-").replace("/", "-").replace(" ", "-").split("-")
    return any(word in RESTRICTED for word in words) or any(
        long in licence.lower() for long in RESTRICTED if len(long) > 2
    )


def _splits(count: int, held: float, seed: int) -> list[str]:
    """A split for each song: `held` of them validate, as many test, the rest train."""
    each = round(count * held) if count >= 3 else 0
    names = ["validation"] * each + ["test"] * each
    names += ["train"] * (count - len(names))
    random.Random(seed).shuffle(names)
    return names


def _import_one(song: Found, split: str, folder: Path) -> dict[str, Any]:
    soundfile = require("soundfile", extra="music")
    wave = read_audio(song.audio, RATE, channels=1)
    place = folder / song.name
    place.mkdir(parents=True, exist_ok=True)
    soundfile.write(place / "mix.flac", wave.samples[0].clamp(-1, 1).numpy(), RATE, subtype="PCM_16")
    lyrics = song.lyrics or Lyrics()
    (place / "song.lrc").write_text(to_lrc(lyrics), encoding="utf-8")
    facts: dict[str, Any] = {
        "title": lyrics.meta.get("ti", song.name),
        "source": song.audio.name,
        "licence": song.licence,
        "rate": RATE,
        "duration_s": wave.seconds,
        "split": split,
        "tags": song.tags,
        "lines": _lines(lyrics.lines),
    }
    (place / "song.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    return {"id": song.name, "split": split, "duration_s": wave.seconds, "tags": song.tags}


def _lines(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [{"start_s": round(line.start_s, 4), "text": line.text} for line in lines]
