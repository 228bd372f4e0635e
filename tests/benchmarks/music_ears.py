"""What the shipped recogniser and tagger are worth on rendered songs whose hymns they never met.

python -m tests.benchmarks.music_ears CORPUS            # prints the tables
python -m tests.benchmarks.music_ears CORPUS --write    # and keeps them in results and beside the weights

words    phone error rate and median line timing of mixes and voices of the test split, with the lyrics of
another
         song as the ceiling, and through the codec
style    accuracy of each field on the test split, and on the songs of the voice and the cell that
training lacks rows     the calibration of every metric, and which are informative
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.music.audio import read_audio
from domains.music.codec import load_codec
from domains.music.frames import RATE
from domains.music.metrics.calibration import RealSong, as_record, calibrate
from domains.music.metrics.interval import Estimate
from domains.music.metrics.styles import style_accuracy
from domains.music.metrics.words import deranged, per_own, sung_of_song, timing
from domains.music.recogniser import load_recogniser
from domains.music.render.corpus import HELD_CELL, HELD_VOICE, Song, read_index
from domains.music.tagger import load_tagger
from domains.music.weights import shipped

RESULTS = Path(__file__).parent / "results" / "music_ears.json"


def rounded(found: Estimate) -> dict[str, float | int]:
    """An estimate for JSON."""
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(found).items()
    }


def samples(songs: Sequence[Song], stem: str) -> list[Tensor]:
    """Mono waves of one stem."""
    return [read_audio(song.folder / f"{stem}.flac", RATE, channels=1).samples[0] for song in songs]


def coder() -> Callable[[Tensor], Tensor]:
    """The shipped codec as a function of a wave (T,)."""
    codec = load_codec(shipped("codec") / "model.safetensors")

    def through(wave: Tensor) -> Tensor:
        with torch.no_grad():
            return codec.decode(codec.encode(wave[None, None]).mean)[0, 0, : len(wave)]

    return through


def words(songs: Sequence[Song], through: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Error rates and timing by kind of input."""
    ear = load_recogniser(shipped("recogniser") / "model.safetensors")
    asked = [sung_of_song(song.facts()) for song in songs]
    mixes = samples(songs, "mix")
    kinds = {"mix": mixes, "voice": samples(songs, "voice"), "mix through codec": [through(w) for w in mixes]}
    out: dict[str, Any] = {}
    for kind, waves in kinds.items():
        heard = [ear.hear(wave, RATE) for wave in waves]
        out[kind] = {
            "per": rounded(per_own(heard, asked)),
            "per_shuffled": rounded(per_own(heard, deranged(asked))),
            "timing_s": rounded(timing(heard, asked)),
        }
    return out


def styles(songs: Sequence[Song]) -> dict[str, Any]:
    """Accuracy of each field by group of songs."""
    judge = load_tagger(shipped("tagger") / "model.safetensors")
    groups = {
        "all": list(songs),
        "held-out voice": [song for song in songs if song.facts()["voice"] == HELD_VOICE],
        "held-out cell": [
            song for song in songs if (song.tags["instrument"], song.tags["tempo"]) == HELD_CELL
        ],
    }
    out: dict[str, Any] = {}
    for group, members in groups.items():
        if members:
            waves, tags = samples(members, "mix"), [song.tags for song in members]
            out[group] = {
                field: rounded(style_accuracy(waves, RATE, tags, judge, field=field))
                for field in judge.settings.vocabulary
            }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    songs = [song for song in read_index(chosen.corpus) if song.split == "test"]
    through = coder()
    real = [
        RealSong(wave, sung_of_song(song.facts()), song.tags)
        for song, wave in zip(songs, samples(songs, "mix"), strict=True)
    ]
    rows = calibrate(
        real,
        load_recogniser(shipped("recogniser") / "model.safetensors"),
        load_tagger(shipped("tagger") / "model.safetensors"),
        through_codec=through,
    )
    found = {
        "songs": len(songs),
        "words": words(songs, through),
        "style": styles(songs),
        "calibration": as_record(rows),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(found, indent=1))
    if chosen.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        for part, scores in (("recogniser", found["words"]), ("tagger", found["style"])):
            path = shipped(part) / "scores.json"
            path.write_text(json.dumps({"songs": len(songs), **scores}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
