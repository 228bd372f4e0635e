"""What a user asks of control, read from words and files: curves of loudness, tunes, forms.

loudness    crescendo, decrescendo, swell, dip, or a CSV file of `seconds,dB`
melody      a MIDI file
structure   letters such as ABA
"""

import csv
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError, unknown
from core.extras import require
from domains.music.frames import FRAME_RATE

__all__ = ["SHAPES", "Tune", "loudness_curve", "tune_classes", "tune_of"]

SHAPES = {
    "crescendo": ((0.0, -30.0), (1.0, -12.0)),
    "decrescendo": ((0.0, -12.0), (1.0, -30.0)),
    "swell": ((0.0, -30.0), (0.5, -12.0), (1.0, -30.0)),
    "dip": ((0.0, -12.0), (0.5, -30.0), (1.0, -12.0)),
}


def loudness_curve(asked: str | Path, frames: int) -> Tensor:
    """Loudness of each frame, dB of full scale, (frames,).

    Args:
        asked: a shape of `SHAPES`, or a CSV file with rows `seconds,dB`; straight lines between its points,
            and NaN, "does not matter", before the first and after the last.

    Raises:
        ConfigError: an unknown shape.
        DataError: a file that is no such table; the row is named.
    """
    name = str(asked)
    if name in SHAPES:
        at, level = np.array(SHAPES[name]).T
        return torch.from_numpy(np.interp(np.linspace(0, 1, frames), at, level)).float()
    path = Path(asked)
    if not path.is_file():
        raise unknown("loudness curve", name, SHAPES)
    seconds, levels = zip(*_points(path), strict=True)
    times = (np.arange(frames) + 0.5) / FRAME_RATE
    found = np.interp(times, seconds, levels, left=math.nan, right=math.nan)
    if np.isfinite(found).sum() < 2:
        raise DataError(
            f"{path.name} covers {seconds[0]:g} to {seconds[-1]:g} s, the song {frames / FRAME_RATE:.1f} s."
        )
    return torch.from_numpy(found).float()


def _points(path: Path) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for number, row in enumerate(csv.reader(path.read_text("utf-8-sig").splitlines()), 1):
        if not row or (number == 1 and not _number(row[0])):
            continue  # an empty line, or the heading
        if len(row) < 2 or not (_number(row[0]) and _number(row[1])):
            raise DataError(f"{path.name}, line {number}: expected 'seconds,dB', got '{','.join(row)}'.")
        out.append((float(row[0]), float(row[1])))
        if len(out) > 1 and out[-1][0] <= out[-2][0]:
            raise DataError(
                f"{path.name}, line {number}: times must rise, {out[-1][0]:g} s follows {out[-2][0]:g} s."
            )
    if len(out) < 2:
        raise DataError(f"{path.name} holds {len(out)} points, expected at least 2 rows 'seconds,dB'.")
    return out


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class Tune:
    """A melody of one voice.

    Attributes:
        notes: (start s, end s, MIDI pitch), in order.
        warnings: what was left out.
    """

    notes: tuple[tuple[float, float, int], ...]
    warnings: tuple[str, ...] = ()


def tune_of(path: Path, *, voice: int | None = None) -> Tune:
    """The melody of a MIDI file: its top line, or one of its voices.

    Args:
        voice: counted from 1: the tracks with notes, in order; None takes the highest note at every time.

    Raises:
        DataError: no MIDI file, no notes, or no such voice.
    """
    mido = require("mido", extra="music")
    try:
        tracks = _tracks(mido.MidiFile(path))
    except (OSError, EOFError, ValueError) as err:
        raise DataError(f"{path.name} cannot be read as MIDI: {err}.") from err
    if not tracks:
        raise DataError(f"{path.name} holds no notes.")
    if voice is not None:
        if not 1 <= voice <= len(tracks):
            raise DataError(f"{path.name} has voices 1 to {len(tracks)}, got {voice}.")
        tracks = [tracks[voice - 1]]
    notes = sorted(note for track in tracks for note in track)
    top = _top(notes)
    if len(top) == len(notes) and top == notes:
        return Tune(tuple(notes))
    return Tune(
        tuple(top),
        (f"{path.name} sounds several notes at once: the top line is used. Choose a voice for another.",),
    )


def _tracks(midi: object) -> list[list[tuple[float, float, int]]]:
    """Notes of each track that has any, times in seconds."""
    mido = require("mido", extra="music")
    tempi, tick = [(0, 500000)], 0
    for message in mido.merge_tracks(midi.tracks):  # type: ignore[attr-defined]
        tick += message.time
        if message.type == "set_tempo":
            tempi.append((tick, message.tempo))

    def seconds(at: int) -> float:
        total = 0.0
        for (begin, tempo), (end, _) in zip(tempi, [*tempi[1:], (at, 0)], strict=True):
            total += max(0, min(at, end) - begin) * tempo / 1e6 / midi.ticks_per_beat  # type: ignore[attr-defined]
        return total

    out = []
    for track in midi.tracks:  # type: ignore[attr-defined]
        now, notes = 0, []
        open_: dict[int, int] = {}
        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off") or message.channel == 9:
                continue
            begun = open_.pop(message.note, None)
            if begun is not None and now > begun:
                notes.append((seconds(begun), seconds(now), int(message.note)))
            if message.type == "note_on" and message.velocity > 0:
                open_[message.note] = now
        if notes:
            out.append(sorted(notes))
    return out


def _top(notes: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The highest note at every time; a note that is covered for a while returns after it."""
    edges = sorted({edge for start, end, _ in notes for edge in (start, end)})
    out: list[tuple[float, float, int]] = []
    for start, end in pairwise(edges):
        sounding = [note for note in notes if note[0] <= start and note[1] >= end]
        if not sounding:
            continue
        first, _, pitch = max(sounding, key=lambda note: note[2])
        if out and out[-1][2] == pitch and out[-1][1] == start and first < start:
            out[-1] = (out[-1][0], end, pitch)
        else:
            out.append((start, end, pitch))
    return out


def tune_classes(tune: Tune, frames: int, *, transpose: int = 0) -> Tensor:
    """Pitch class of each frame, (frames,), int64, C = 0; -1 where no note sounds."""
    out = torch.full((frames,), -1, dtype=torch.int64)
    for start, end, pitch in tune.notes:
        first, last = round(start * FRAME_RATE), round(end * FRAME_RATE)
        out[first : max(last, first + 1)] = (pitch + transpose) % 12
    return out
