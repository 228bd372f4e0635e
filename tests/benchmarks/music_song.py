"""What the shipped song model and its student score and cost, on songs that neither learned from.

    python -m tests.benchmarks.music_song --corpus CORPUS --latents LATENTS          # prints every part
    python -m tests.benchmarks.music_song --corpus CORPUS --latents LATENTS --only cost
    python -m tests.benchmarks.music_song --corpus CORPUS --latents LATENTS --write  # results/music_song.json


    cost      processor seconds on one thread, wall seconds on two, with decoding, and calls of the network
    quality   canvases of 11.9 s for the lyrics and tags of test songs: distance, style and phones

Rows of quality: the recordings themselves, what the codec makes of them, the teacher with 31 x 2 calls, the
student with 1, 2, 4 and 8. Columns, from `domains.music.metrics`: FAD-own to recordings of the other splits,
up to 96, so that the row of the recordings is the floor at this number of songs; accuracy of the instrument
and similarity to all tags; phone error rate against the lyrics asked and against those of another song, and
how much worse the latter is. Intervals are bootstrapped over songs, 95 %. Lyrics are written with guessed
onsets, "spread", as a user's are; --exact adds a row with the onsets of the recording. In "words
hidden" the teacher is told everything but the lyrics, as `alignment: none` would.

The corpus is synthetic, sung by a robot; no figure here is about real songs.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.state import Seeds
from domains.music.audio import read_audio
from domains.music.codec import chunked
from domains.music.conditions import hiding
from domains.music.config import Sampling
from domains.music.corpus_latents import read_songs
from domains.music.frames import HOP, RATE, frames_of, seconds_of
from domains.music.generation import compose, condition
from domains.music.metrics.frechet import frechet_of, own_embeddings
from domains.music.metrics.interval import bootstrap
from domains.music.metrics.styles import style_accuracy, style_similarity
from domains.music.metrics.words import Sung, deranged, per_own
from domains.music.model import SongModel, load_model
from domains.music.recogniser import edit_distance, labels_of, load_recogniser
from domains.music.songs import Song
from domains.music.tagger import load_tagger
from domains.music.weights import shipped
from domains.music.workflows.opening import digest, open_codec

RESULTS = Path(__file__).parent / "results" / "music_song.json"
CANVAS = 256
LEAD = 10  # frames before the first line
STUDENT_STEPS = (1, 2, 4, 8)
OTHERS = 96


@dataclass(frozen=True)
class Case:
    """One canvas of a test song: where it begins, its recording, and the phones sung in it."""

    song: Song
    start: int
    wave: Tensor
    sung: Sung

    @property
    def cut(self) -> slice:
        return slice(self.start, self.start + CANVAS)


def cases_of(songs: Sequence[Song], corpus: Path, count: int) -> list[Case]:
    """A canvas around the first line of each song that is long enough."""
    found: list[Case] = []
    for song in songs:
        if len(found) == count:
            break
        start = max((song.lines[0] if song.lines else 0) - LEAD, 0)
        if song.frames < start + CANVAS:
            continue
        wave = read_audio(corpus / song.name / "mix.flac", RATE, channels=1).samples
        low, high = seconds_of(start), seconds_of(start + CANVAS)
        card = json.loads((corpus / song.name / "song.json").read_text("utf-8"))
        inside = [ipa for first, last, ipa in card["phones"] if low <= (first + last) / 2 < high]
        if labels := labels_of(inside):
            sung = Sung(((0.0, tuple(labels)),))
            found.append(Case(song, start, wave[0, start * HOP : (start + CANVAS) * HOP], sung))
    return found


def conditions(model: SongModel, cases: Sequence[Case], alignment: int) -> dict[str, Any]:
    """What the model is told of these songs, side by side."""
    each = [
        condition(
            model,
            CANVAS,
            phones=case.song.phones[alignment, case.cut],
            sections=case.song.sections[case.cut],
            singers=case.song.singers[case.cut],
            style=model.tags.of(case.song.tags),
            start_s=seconds_of(case.start),
            total_s=seconds_of(case.song.frames),
        )
        for case in cases
    ]
    return {name: torch.cat([one[name] for one in each]) for name in each[0]}


def mixes(codec: Any, latents: Tensor, stems: int) -> list[Tensor]:
    """The mixed wave (N,) of each sample of latents (B, stems x C, L)."""
    out = []
    for one in latents:
        with torch.no_grad():
            waves = chunked.decode(codec, one.reshape(stems, -1, one.shape[-1]))
        out.append(waves.sum(0)[0])
    return out


def drawn(
    model: SongModel,
    codec: Any,
    cases: Sequence[Case],
    sampling: Sampling,
    *,
    alignment: int = 0,
    worded: bool = True,
    at_once: int = 8,
) -> tuple[list[Tensor], int]:
    """A wave for each case, seed i for case i, and the calls each took; lyrics are told if `worded`."""
    waves, calls = [], 0
    for k in range(0, len(cases), at_once):
        some = cases[k : k + at_once]
        seeds = Seeds(list(range(k, k + len(some))))
        cond = conditions(model, some, alignment)
        cond = cond if worded else hiding(cond, lyrics=True, count=len(some))
        made = compose(model, cond, CANVAS, seeds, sampling=sampling)
        waves += mixes(codec, made.latents, model.net.stems)
        calls = made.calls
    return waves, calls


@dataclass(frozen=True)
class Judge:
    """The recogniser and the tagger, and what waves are compared with."""

    recogniser: Any
    tagger: Any
    cases: Sequence[Case]
    real: Tensor

    def row(self, name: str, waves: Sequence[Tensor], calls: int) -> dict[str, Any]:
        """Scores of one wave per case."""
        tags = [case.song.tags for case in self.cases]
        asked = [case.sung for case in self.cases]
        others = deranged(asked)
        heard = [self.recogniser.hear(wave, RATE) for wave in waves]
        gaps = [
            edit_distance(other.labels, one.phones()) / len(other.labels)
            - edit_distance(own.labels, one.phones()) / len(own.labels)
            for one, own, other in zip(heard, asked, others, strict=True)
        ]
        distance = frechet_of(own_embeddings(waves, RATE, self.tagger), self.real)
        found = {
            "fad_own": distance.measured,
            "instrument": style_accuracy(waves, RATE, tags, self.tagger),
            "similarity": style_similarity(waves, RATE, tags, self.tagger),
            "per_asked": per_own(heard, asked),
            "per_other": per_own(heard, others),
            "per_gap": bootstrap(gaps),
        }
        plain = {
            key: [round(number, 4) for number in (one.value, one.low, one.high)] for key, one in found.items()
        }
        limit = None if distance.limit is None else round(distance.limit, 3)
        return {"name": name, "calls": calls, "n": len(waves), "fad_limit": limit, **plain}


def quality(
    teacher: SongModel,
    student: SongModel | None,
    codec: Any,
    cases: Sequence[Case],
    others: Sequence[Case],
    *,
    exact: bool = False,
) -> list[dict[str, Any]]:
    """The rows of the module docstring; `exact` adds the teacher with the phones at their own onsets."""
    tagger = load_tagger(shipped("tagger") / "model.safetensors")
    real = own_embeddings([case.wave for case in others], RATE, tagger)
    judge = Judge(load_recogniser(shipped("recogniser") / "model.safetensors"), tagger, cases, real)
    stems = teacher.net.stems
    rows = [judge.row("recordings", [case.wave for case in cases], 0)]
    kept = torch.stack([case.song.latents[:, case.cut] for case in cases])
    rows.append(judge.row("codec", mixes(codec, kept, stems), 0))
    own = teacher.config.sampling
    for alignment, name in enumerate(("spread", "phone") if exact else ("spread",)):
        waves, calls = drawn(teacher, codec, cases, own, alignment=alignment)
        rows.append(judge.row(f"teacher, {name}", waves, calls))
    waves, calls = drawn(teacher, codec, cases, own, worded=False)
    rows.append(judge.row("teacher, words hidden", waves, calls))
    if student is not None:
        for steps in STUDENT_STEPS:
            settings = student.config.sampling.model_copy(update={"steps": steps})
            waves, calls = drawn(student, codec, cases, settings)
            rows.append(judge.row(f"student, {steps} calls", waves, calls))
    return rows


def cost(teacher: SongModel, student: SongModel | None, codec: Any, repeats: int = 2) -> list[dict[str, Any]]:
    """Least seconds of some repeats after a warm-up, decoding included: of the processor for one thread, of
    the wall for two.
    """
    rows = []
    for seconds, threads in ((seconds_of(CANVAS), 1), (30.0, 1), (seconds_of(CANVAS), 2), (30.0, 2)):
        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        frames = frames_of(seconds)
        for name, model in (("teacher", teacher), ("student", student)):
            if model is None:
                continue
            cond = condition(
                model, frames, phones=torch.arange(frames) % 50, style=torch.zeros(model.net.style)
            )
            times, made = [], None
            for _ in range(repeats + 1):
                start = clock()
                made = compose(model, cond, frames, torch.Generator().manual_seed(0))
                mixes(codec, made.latents, model.net.stems)
                times.append(clock() - start)
            assert made is not None
            least = min(times[1:])
            record = {"name": name, "song_s": round(seconds, 2), "threads": threads}
            record |= {"tiles": made.tiles, "calls": made.calls}
            if threads == 1:
                rows.append(record | {"processor_s": round(least, 3)})
            else:
                rows.append(record | {"wall_s": round(least, 3), "rtf": round(least / seconds, 4)})
    return rows


def write(found: Mapping[str, Any]) -> None:
    """Keep the figures, and those of the shipped weights beside them."""
    old = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**old, **found}, indent=1) + "\n", "utf-8")
    if "quality" not in found:
        return
    rows = {row["name"]: row for row in found["quality"]}
    n = rows["recordings"]["n"]
    note = (
        f"synthetic hymns of the test split, {n} canvases of {seconds_of(CANVAS):.1f} s; distances at this "
        "number are noisy, read them beside the recordings' row"
    )
    first = {key: value for key, value in rows["teacher, spread"].items() if key != "name"}
    song = {"what": f"lyrics and tags to latents, {first['calls']} calls", "note": note, **first}
    jumps = [row for name, row in rows.items() if name.startswith("student")]
    student = {"what": "the same by jumps, by number of calls", "note": note, "rows": jumps}
    for name, scores in (("song", song), ("student", student)):
        anchors = {key: rows[key] for key in ("recordings", "codec")}
        (shipped(name) / "scores.json").write_text(json.dumps(scores | anchors, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=24, help="test songs at most")
    parser.add_argument("--only", choices=("cost", "quality"))
    parser.add_argument("--exact", action="store_true", help="also with the phones at their own onsets")
    parser.add_argument("--write", action="store_true", help="keep results, and the scores of the weights")
    asked = parser.parse_args()
    codec, codec_file = open_codec(None)
    teacher = load_model(shipped("song"))
    student = load_model(shipped("student")) if (shipped("student") / "model.safetensors").is_file() else None
    found: dict[str, Any] = {"weights_sha256": {"codec": digest(codec_file)}}
    for name, model in (("song", teacher), ("student", student)):
        if model is not None:
            found["weights_sha256"][name] = digest(shipped(name) / "model.safetensors")
    if asked.only != "cost":
        songs = read_songs(asked.latents, asked.corpus)
        cases = cases_of([song for song in songs if song.split == "test"], asked.corpus, asked.songs)
        others = cases_of([song for song in songs if song.split != "test"], asked.corpus, OTHERS)
        found["quality"] = quality(teacher, student, codec, cases, others, exact=asked.exact)
    if asked.only != "quality":
        found["cost"] = cost(teacher, student, codec)
    for name in ("quality", "cost"):
        for row in found.get(name, ()):
            print(json.dumps(row))
    if asked.write:
        write(found)


if __name__ == "__main__":
    main()
