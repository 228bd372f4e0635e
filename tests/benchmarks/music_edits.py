"""What edits of the shipped song models do at their borders, and whether their songs are copies.

    python -m tests.benchmarks.music_edits --corpus CORPUS                  # prints every part
    python -m tests.benchmarks.music_edits --corpus CORPUS --only memory
    python -m tests.benchmarks.music_edits --corpus CORPUS --write          # results/music_edits.json

    edit      2 s in the middle of a canvas of 11.9 s, with the words of the song and with another song's
    extend    6 s after the canvas, with the words that follow
    loop      the canvas made to lead into itself, 2 s drawn around the wrap
    memory    songs composed for the words and tags of the test songs: the nearest training clip

Canvases are those of `music_song`, of test songs that no model learned from. Columns: `seam` is the
log-spectral jump at the borders over the median jump of the same song, its mean over borders, and `smooth`
the share of borders up to 1.5; `changed` counts samples beyond the fades that differ from the original;
`tempo` is the share of extensions whose tempo is within 3 % of the song's, octaves folded, and `tempo_off`
the median distance in per cent.

Rows to read them by: `recording`, nothing was done; `codec`, the true music where a model would draw, through
the codec; `cut`, another song's music put there hard, at the wrap of a loop the end against the beginning.
The tempo of `recording` is what the estimator says of the true continuation, that of `cut` what it says of
another song's, which is chance. A song is flagged as a copy where it is nearer to training than every test
recording, by style or by chords, which about 2 of n + 1 are by chance; `training` is what a copy would get:
training recordings through the codec. Intervals are bootstrapped over songs, 95 %. All on one thread;
`processor_s_each` is per song.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.state import Seeds
from domains.music import edit as edits
from domains.music.audio import read_audio
from domains.music.canvas import FADE_S, paste
from domains.music.corpus_latents import read_songs
from domains.music.frames import FRAME_RATE, HOP, RATE, seconds_of
from domains.music.generation import condition
from domains.music.metrics.beats import estimate_tempo, onset_strength
from domains.music.metrics.frechet import own_embeddings
from domains.music.metrics.interval import Estimate, bootstrap, resampled
from domains.music.metrics.memory import Nearest, flagged, nearest
from domains.music.metrics.steadiness import chroma, seam
from domains.music.model import SongModel, load_model
from domains.music.tagger import load_tagger
from domains.music.weights import shipped
from domains.music.workflows.opening import digest, open_codec
from tests.benchmarks.music_song import CANVAS, Case, cases_of, drawn, mixes

RESULTS = Path(__file__).parent / "results" / "music_edits.json"
PARTS = ("edit", "extend", "loop", "memory")
STEMS = ("voice", "backing")
SPAN_S, SEAM_S = 2.0, 2.0
ADDED = round(6 * FRAME_RATE)  # frames of an extension: one tile, with as much before it
BAR, NEAR = 1.5, 0.03
FADE = math.ceil(FADE_S * RATE)
SEED = 0


@dataclass(frozen=True)
class Scene:
    """A canvas of a test song with its stems (2, N), which go on for an extension where the song does."""

    case: Case
    stems: Tensor
    bpm: float

    @property
    def wave(self) -> Tensor:
        return self.stems[:, : CANVAS * HOP]

    @property
    def long(self) -> bool:
        return self.stems.shape[1] == (CANVAS + ADDED) * HOP


def scenes_of(cases: Sequence[Case], corpus: Path) -> list[Scene]:
    """The stems and the true tempo of each case."""
    out = []
    for case in cases:
        song, start = case.song, case.start
        parts = [
            read_audio(corpus / song.name / f"{stem}.flac", RATE, channels=1).samples[0] for stem in STEMS
        ]
        size = CANVAS + (ADDED if song.frames >= start + CANVAS + ADDED else 0)
        stems = torch.stack([part[start * HOP : (start + size) * HOP] for part in parts])
        card = json.loads((corpus / song.name / "song.json").read_text("utf-8"))
        out.append(Scene(case, stems, float(card["bpm"])))
    return out


def told(model: SongModel, scene: Scene, frames: int, words: Tensor | None = None) -> dict[str, Any]:
    """The condition of this many frames from the start of a scene; other phones where `words` are given."""
    song, start = scene.case.song, scene.case.start
    cut = slice(start, start + frames)
    return condition(
        model,
        frames,
        phones=song.phones[0, cut] if words is None else words,
        sections=song.sections[cut],
        singers=song.singers[cut],
        style=model.tags.of(song.tags),
        start_s=seconds_of(start),
        total_s=seconds_of(song.frames),
    )


@dataclass(frozen=True)
class Maker:
    """What fills a passage: a model, or a row to read it by."""

    name: str
    studio: edits.Studio
    how: str = "model"

    def edit(
        self, scene: Scene, other: Scene, first: int, last: int, words: Tensor | None
    ) -> tuple[Tensor, int]:
        """The song (2, N) with samples `first` to `last` made anew, and the calls."""
        wave = scene.wave
        match self.how:
            case "recording":
                return wave, 0
            case "cut":
                made = wave.clone()
                made[:, first:last] = other.wave[:, first:last]
                return made, 0
            case "codec":
                given = torch.ones_like(wave, dtype=torch.bool)
                given[:, first:last] = False
                return paste(wave, self.coded(scene, 0, CANVAS), given, rate=RATE), 0
        found = edits.edit(
            self.studio,
            wave,
            [(first / RATE, last / RATE)],
            told(self.studio.model, scene, CANVAS, words),
            _gen(),
        )
        return found.wave, found.calls

    def extend(self, scene: Scene, other: Scene) -> tuple[Tensor, int]:
        """The canvas and ADDED frames more."""
        size, full = CANVAS * HOP, (CANVAS + ADDED) * HOP
        match self.how:
            case "recording":
                return scene.stems, 0
            case "cut":
                return torch.cat([scene.wave, other.stems[:, size:]], 1), 0
            case "codec":
                given = torch.arange(full).expand(2, -1) < size
                return paste(scene.stems, self.coded(scene, 0, CANVAS + ADDED), given, rate=RATE), 0
        cond = told(self.studio.model, scene, CANVAS + ADDED)
        found = edits.extend(self.studio, scene.wave, cond, _gen(), right_s=seconds_of(ADDED))
        return found.wave, found.calls

    def loop(self, scene: Scene) -> tuple[Tensor, int]:
        """A canvas that leads into itself."""
        if self.how != "model":
            return scene.wave, 0
        found = edits.loop(
            self.studio, scene.wave, told(self.studio.model, scene, CANVAS), _gen(), seam_s=SEAM_S
        )
        return found.wave, found.calls

    def coded(self, scene: Scene, first: int, last: int) -> Tensor:
        latents = scene.case.song.latents[:, scene.case.start + first : scene.case.start + last]
        return edits.decoded(self.studio, latents[None])


def edited(makers: Sequence[Maker], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Rows of a passage made anew, with own words, and with another song's for the models."""
    middle = seconds_of(CANVAS) / 2
    borders = (middle - SPAN_S / 2, middle + SPAN_S / 2)
    first, last = (round(border * RATE) for border in borders)
    inside = slice(first // HOP, -(-last // HOP))

    def swapped(scene: Scene, other: Scene) -> Tensor:
        words = scene.case.song.phones[0, scene.case.cut].clone()
        words[inside] = other.case.song.phones[0, other.case.cut][inside]
        return words

    rows = []
    for maker in makers:
        for named in ("own words", "new words") if maker.how == "model" else ("",):
            clock = _Clock()
            seams, changed, calls = [], 0, 0
            for scene, other in _pairs(scenes):
                words = swapped(scene, other) if named == "new words" else None
                made, calls = maker.edit(scene, other, first, last, words)
                seams.append(seam(made.sum(0), RATE, borders))
                changed += changed_samples(scene.wave, made, [(0, first - FADE), (last + FADE, CANVAS * HOP)])
            rows.append(_row(maker, "edit", named, seams, calls, clock) | {"changed": changed})
    return rows


def extended(makers: Sequence[Maker], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Rows of what follows a canvas."""
    rows, size = [], CANVAS * HOP
    for maker in makers:
        clock = _Clock()
        seams, changed, off, calls = [], 0, [], 0
        for scene, other in _pairs([scene for scene in scenes if scene.long]):
            made, calls = maker.extend(scene, other)
            seams.append(seam(made.sum(0), RATE, [size / RATE]))
            changed += changed_samples(scene.wave, made[:, :size], [(0, size - FADE)])
            ratio = math.log2(estimate_tempo(onset_strength(made[:, size:].sum(0), RATE)) / scene.bpm)
            off.append(abs(2 ** (ratio - round(ratio)) - 1))
        row = _row(maker, "extend", "", seams, calls, clock) | {"changed": changed}
        row["tempo"] = _plain(bootstrap([float(one <= NEAR) for one in off], seed=SEED))
        values = np.array(off)
        median = resampled(lambda i, v=values: float(100 * np.median(v[i])), len(off), seed=SEED)  # type: ignore[misc]
        rows.append(row | {"tempo_off": _plain(median)})
    return rows


def looped(makers: Sequence[Maker], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Rows of the wrap, and for the models of the borders of what was drawn."""
    rows, size = [], CANVAS * HOP
    turn, half = size // 2, round(SEAM_S * RATE / 2)
    for maker in makers:
        clock = _Clock()
        wraps, borders, changed, calls = [], [], 0, 0
        for scene in scenes:
            made, calls = maker.loop(scene)
            turned = made.roll(turn, 1).sum(0)
            place = turn / 2 if maker.how == "recording" else turn  # within a recording, not at its wrap
            wraps.append(seam(turned, RATE, [place / RATE]))
            borders.append(seam(turned, RATE, [(turn - half) / RATE, (turn + half) / RATE]))
            changed += changed_samples(scene.wave, made, [(half + FADE, size - half - FADE)])
        row = _row(maker, "loop", "wrap", wraps, calls, clock) | {"changed": changed}
        rows.append(row)
        if maker.how == "model":
            rows.append(_row(maker, "loop", "borders", borders, calls, None))
    return rows


def memory(
    models: Mapping[str, SongModel], codec: Any, cases: Sequence[Case], training: Sequence[Case], corpus: Path
) -> list[dict[str, Any]]:
    """Rows of the nearest training clip: style over clips of 8 s, chords over whole songs."""
    tagger = load_tagger(shipped("tagger") / "model.safetensors")
    whole = [
        read_audio(corpus / case.song.name / "mix.flac", RATE, channels=1).samples[0] for case in training
    ]
    clips = own_embeddings(whole, RATE, tagger)
    chords = [chroma(wave, RATE) for wave in whole]

    def near(waves: Sequence[Tensor]) -> list[Nearest]:
        return [
            nearest(own_embeddings([wave], RATE, tagger)[0], chroma(wave, RATE), clips, chords)
            for wave in waves
        ]

    real = near([case.wave for case in cases])
    copied = training[: len(cases)]
    latents = torch.stack([case.song.latents[:, case.cut] for case in copied])
    rows: dict[str, list[Nearest]] = {"recording": real, "training": near(mixes(codec, latents, len(STEMS)))}
    for name, model in models.items():
        rows[name] = near(drawn(model, codec, cases, model.config.sampling)[0])
    out = []
    for name, found in rows.items():
        marks = [float(mark) for mark in flagged(found, real)]
        values = {
            "style": [one.style for one in found],
            "chords": [one.chroma for one in found],
            "flagged": marks,
        }
        out.append(
            {"part": "memory", "name": name, "n": len(found), "clips": len(clips), "songs": len(chords)}
            | {key: _plain(bootstrap(each, seed=SEED)) for key, each in values.items()}
        )
    return out


class _Clock:
    def __init__(self) -> None:
        self.start = time.process_time()

    def each(self, n: int) -> float:
        return round((time.process_time() - self.start) / n, 2)


def _row(
    maker: Maker, part: str, named: str, seams: Sequence[Sequence[float]], calls: int, clock: _Clock | None
) -> dict[str, Any]:
    each: list[NDArray[np.float64]] = [np.array(one) for one in seams]
    return {
        "part": part,
        "name": f"{maker.name}, {named}" if named else maker.name,
        "n": len(seams),
        "calls": calls,
        "processor_s_each": None if clock is None else clock.each(len(seams)),
        "seam": _plain(bootstrap([float(one.mean()) for one in each], seed=SEED)),
        "smooth": _plain(bootstrap([float((one <= BAR).mean()) for one in each], seed=SEED)),
    }


def _plain(one: Estimate) -> list[float]:
    return [round(number, 4) for number in (one.value, one.low, one.high)]


def _pairs(scenes: Sequence[Scene]) -> list[tuple[Scene, Scene]]:
    """Each scene, and the next one."""
    return list(zip(scenes, [*scenes[1:], scenes[0]], strict=True))


def changed_samples(before: Tensor, after: Tensor, kept: Sequence[tuple[int, int]]) -> int:
    """Samples of these ranges that differ."""
    return sum(int((before[:, first:last] != after[:, first:last]).sum()) for first, last in kept)


def _gen() -> Seeds:
    return Seeds([SEED])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--latents", type=Path, help="of the corpus; beside it where not given")
    parser.add_argument("--songs", type=int, default=24, help="test songs at most")
    parser.add_argument("--training", type=int, default=200, help="training songs at most")
    parser.add_argument("--models", nargs="+", default=["student", "song"])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    codec, codec_file = open_codec(None)
    models = {name: load_model(shipped(name)) for name in asked.models}
    songs = read_songs(asked.latents or asked.corpus.parent / "latents", asked.corpus)
    cases = cases_of([song for song in songs if song.split == "test"], asked.corpus, asked.songs)
    parts = [asked.only] if asked.only else list(PARTS)
    rows: list[dict[str, Any]] = []
    scenes = scenes_of(cases, asked.corpus) if parts != ["memory"] else []
    first = edits.Studio(next(iter(models.values())), codec)
    makers = [Maker(name, first, name) for name in ("recording", "codec", "cut")]
    makers += [Maker(name, edits.Studio(model, codec)) for name, model in models.items()]
    for part in parts:
        match part:
            case "edit":
                found = edited(makers, scenes)
            case "extend":
                found = extended(makers, scenes)
            case "loop":
                found = looped([maker for maker in makers if maker.how != "codec"], scenes)
            case _:
                trained = [song for song in songs if song.split == "train"]
                found = memory(
                    models, codec, cases, cases_of(trained, asked.corpus, asked.training), asked.corpus
                )
        for row in found:
            print(json.dumps(row), flush=True)
        rows += found
    record = {
        "command": "python -m tests.benchmarks.music_edits --corpus CORPUS --write",
        "seed": SEED,
        "weights_sha256": {"codec": digest(codec_file)}
        | {name: digest(shipped(name) / "model.safetensors") for name in models},
        "processor_s": round(time.process_time() - begun, 1),
        "rows": rows,
    }
    print(json.dumps({key: value for key, value in record.items() if key != "rows"}))
    if asked.write:
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
