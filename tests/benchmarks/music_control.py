"""Control of the shipped song models: what DITTO-2 and DITTO reach, and what they cost.

    python -m tests.benchmarks.music_control --corpus CORPUS              # prints the tables
    python -m tests.benchmarks.music_control --corpus CORPUS --write      # results/music_control.json
    python -m tests.benchmarks.music_control --only structure --slow 0    # one kind, without DITTO

Songs of 6 s, as published, in the shipped models' own styles, without words. Loudness: smooth curves about
the level of the uncontrolled song, 6 dB of standard deviation. Melody: tunes of eight notes in small steps of
a major scale. Structure: ABA and ABBA. Both methods, as published:

    DITTO     gradients through all 20 Euler steps of the song model under guidance; the same run decodes
    DITTO-2   gradients through one step of the student, which decodes with 4

All targets are asked of DITTO-2, in batches of five. The two methods are compared on the first `--slow`
curves, in one batch, with the same reader and the same, larger rate of Adam (`--compared-lr`), at which both
come to rest; "DITTO-2, compared" are these rows, and it may make more iterations. DITTO's calls are stored
here, which is the cheaper way; `repeated_iteration_s` is what an iteration costs with the published
checkpoints.

Figures are read from FLAC files that were written and read again; a song beyond full scale is lowered as a
whole, or clipped where its loudness is asked. `plain` is what the same decoder makes of the same noise.
FAD-own and the similarity to the asked style are those of `domains.music.metrics`, on songs of 6 s;
`recordings` are canvases of test songs, and all distances are to recordings of the other splits, so compare
rows of like n; `faded` are the uncontrolled songs brought to the curve by a gain: what the curve itself does.
Intervals are bootstrapped over targets, 95 %. Everything on one thread.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.run import sample
from core.state import Seeds
from domains.music.audio import read_audio, write_audio
from domains.music.control import (
    Controlled,
    ControlSettings,
    Loudness,
    Melody,
    Run,
    SpecReader,
    Structure,
    Target,
    WaveReader,
    control,
    pattern,
    rolled,
)
from domains.music.control.features import loudness, savgol
from domains.music.control.heard import FINE, heard_wave
from domains.music.control.reports import measured
from domains.music.corpus_latents import read_songs
from domains.music.frames import FRAME_RATE, HOP, RATE
from domains.music.generation import calls_of, condition, embedded, prepared
from domains.music.guidance import Counted
from domains.music.metrics.frechet import frechet_of, own_embeddings
from domains.music.metrics.interval import Estimate, bootstrap, resampled
from domains.music.metrics.styles import style_similarity
from domains.music.model import SongModel, load_model
from domains.music.style import TagStyle
from domains.music.tagger import load_tagger
from domains.music.weights import shipped
from domains.music.workflows.opening import digest, open_codec
from tests.benchmarks.music_song import OTHERS, cases_of

RESULTS = Path(__file__).parent / "results" / "music_control.json"
FRAMES = 128
AT_ONCE = 5
FEWEST = 6  # songs of a distance
STYLES = ("piano", "organ", "strings", "guitar-pop", "synth-pop")
FORMS = ("ABA", "ABBA")
KINDS = ("loudness", "melody", "structure")
FALLS = {"loudness": "loudness_mse_db2", "structure": "structure_mse"}
SEED = 0


def curve(level: float, number: int) -> Tensor:
    """A smooth curve about a level, 6 dB of standard deviation, (FRAMES,)."""
    points = np.random.default_rng(number).normal(0, 1, 6)
    found = np.interp(np.linspace(0, 5, FRAMES), np.arange(6), points)
    found = (found - found.mean()) / found.std()
    return torch.from_numpy(level + 6 * found).float()


def tune(number: int) -> Tensor:
    """Eight notes of a major scale in small steps, (FRAMES,)."""
    gen = np.random.default_rng(number)
    scale, at, out = [0, 2, 4, 5, 7, 9, 11], int(gen.integers(7)), []
    for _ in range(8):
        out.append(scale[at % 7])
        at += int(gen.integers(-2, 3))
    return torch.tensor(out).repeat_interleave(FRAMES // 8)


def asked_of(kind: str, numbers: Sequence[int], levels: Sequence[float]) -> tuple[Target, list[Target]]:
    """The target of a batch, and that of each song."""
    match kind:
        case "loudness":
            curves = [curve(level, number) for number, level in zip(numbers, levels, strict=True)]
            return Loudness(torch.stack(curves)), [Loudness(one) for one in curves]
        case "melody":
            tunes = [tune(number) for number in numbers]
            return Melody(torch.stack(tunes)), [Melody(one) for one in tunes]
    forms = [pattern(FORMS[number % len(FORMS)], FRAMES) for number in numbers]
    return Structure(torch.stack(forms)), [Structure(one) for one in forms]


def faded(wave: Tensor, target: Any) -> Tensor:
    """A song (N,) made to follow a curve of loudness by a gain alone, clipped at full scale."""
    level = loudness(heard_wave(wave[None], RATE, HOP).spectrum(FINE), savgol(target.window))[0]
    gain_db = torch.nn.functional.interpolate(
        (target.curve_db - level)[None, None], size=len(wave), mode="linear"
    )[0, 0]
    return (wave * 10 ** (gain_db / 20)).clamp(-1, 1)


@dataclass
class Study:
    """The models, and one batch of controls at a time; keeps the songs that were saved.

    Attributes:
        songs: waves by kind and by "plain", "faded" or "controlled", with their styles, of DITTO-2.
    """

    args: argparse.Namespace
    teacher: SongModel
    student: SongModel
    codec: Any
    songs: dict[tuple[str, str], list[tuple[Tensor, str]]] = field(default_factory=dict)

    def rows(self, kind: str, numbers: Sequence[int], method: str) -> list[dict[str, Any]]:
        """One control of several targets side by side, measured from files."""
        args, styles = self.args, [STYLES[number % len(STYLES)] for number in numbers]
        like = torch.zeros(len(numbers), self.teacher.channels, FRAMES)
        noise = self.teacher.denoiser.process.prior(like, Seeds(list(numbers)), 1.0)
        fast = self.run(self.student, args.decode_steps, styles)
        usual = sample(fast.plan, fast.denoiser, noise.clone(), cond=fast.cond)
        with torch.no_grad():
            levels = loudness(WaveReader(self.codec)(usual).spectrum(1024)).mean(1).tolist()
        target, each = asked_of(kind, numbers, levels)
        surrogate, decoder, iterations = self.run(self.student, 1, styles), fast, args.iterations
        lr = args.lr if method == "DITTO-2" else args.compared_lr
        if method == "DITTO":
            surrogate = decoder = self.run(self.teacher, args.ditto_steps, styles)
            usual = sample(decoder.plan, decoder.denoiser, noise.clone(), cond=decoder.cond)
            iterations = args.ditto_iterations
        how = ControlSettings(iterations=iterations, lr=lr, checkpointed=False)
        start = time.process_time()
        found = control(
            surrogate, decoder, noise, target, SpecReader(self.codec), how, judge=WaveReader(self.codec)
        )
        spent = (time.process_time() - start) / len(numbers)
        before, plain = self.saved(usual, each)
        after, made = self.saved(found.latent, each)
        if method == "DITTO-2":
            sets = {"plain": plain, "controlled": made}
            if kind == "loudness":
                sets["faded"] = [faded(wave, one) for wave, one in zip(plain, each, strict=True)]
            for name, waves in sets.items():
                self.songs.setdefault((kind, name), []).extend(zip(waves, styles, strict=True))
        return [
            {
                "kind": kind,
                "target": number,
                "method": method,
                **{f"{name}, plain": value for name, value in before[i].items()},
                **{f"{name}, controlled": value for name, value in after[i].items()},
                **_record(found, i),
                "iterations": iterations,
                "batch": len(numbers),
                "calls": found.calls,
                "processor_s": round(spent, 2),
            }
            for i, number in enumerate(numbers)
        ]

    def run(self, model: SongModel, steps: int, styles: Sequence[str]) -> Run:
        """A walk of this many steps, told these styles."""
        sampling = model.config.sampling.model_copy(update={"steps": steps})
        tags = TagStyle(model.vocabulary)
        each = [condition(model, FRAMES, style=tags.text(style)) for style in styles]
        cond = {name: torch.cat([one[name] for one in each]) for name in each[0]}
        plan, denoiser = prepared(model, Counted(model.denoiser), sampling, None, False, 1.0)
        return Run(plan, denoiser, embedded(model, cond, FRAMES), calls_of(model, sampling))

    def saved(self, latents: Tensor, each: Sequence[Target]) -> tuple[list[dict[str, float]], list[Tensor]]:
        """Figures and waves (N,) of songs, from their files."""
        with torch.no_grad():
            heard = WaveReader(self.codec)(latents).wave
        assert heard is not None
        figures: list[dict[str, float]] = []
        waves: list[Tensor] = []
        with TemporaryDirectory() as folder:
            for wave, target in zip(heard, each, strict=True):
                path = Path(folder) / f"{len(waves)}.flac"
                peak = 1.0 if isinstance(target, Loudness) else max(float(wave.abs().max()), 1.0)
                write_audio(path, wave[None].clamp(-peak, peak) / peak, RATE)
                figures.append(measured(path, target, rate=RATE, hop=HOP, frames=FRAMES))
                waves.append(read_audio(path, RATE, channels=1).samples[0])
        return figures, waves

    def repeated(self) -> float:
        """Processor seconds of one iteration of DITTO on one song with the published checkpoints."""
        run = self.run(self.teacher, self.args.ditto_steps, STYLES[:1])
        x = torch.zeros(1, self.teacher.channels, FRAMES, requires_grad=True)
        target, _ = asked_of("loudness", [0], [-20.0])
        start = time.process_time()
        target(SpecReader(self.codec)(rolled(run, x, checkpointed=True))).sum().backward()
        return round(time.process_time() - start, 2)


def _record(found: Controlled, i: int) -> dict[str, Any]:
    return {
        "loss_before": float(found.before[i]),
        "loss_after": float(found.after[i]),
        "best_iteration": int(found.best[i]),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means with intervals of each kind and method."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['kind']}, {row['method']}", []).append(row)
    return {name: _means(group[0]["kind"], group) for name, group in groups.items()}


def _means(kind: str, group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    plain = {"n": len(group)} | {
        key: _plain(bootstrap([float(row[key]) for row in group], seed=SEED))
        for key, value in group[0].items()
        if isinstance(value, int | float) and key not in ("target", "iterations", "batch")
    }
    if kind in FALLS:
        before, after = (
            np.array([row[f"{FALLS[kind]}, {when}"] for row in group]) for when in ("plain", "controlled")
        )
        fall = resampled(lambda i: float(1 - after[i].sum() / before[i].sum()), len(group), seed=SEED)
        plain["fall"] = _plain(fall)
    return plain


def quality(study: Study, corpus: Path, latents: Path) -> list[dict[str, Any]]:
    """Distance and similarity of uncontrolled and controlled songs, and of recordings."""
    tagger = load_tagger(shipped("tagger") / "model.safetensors")
    songs = read_songs(latents, corpus)
    size = FRAMES * HOP

    def canvases(splits: Sequence[str], most: int) -> list[tuple[Tensor, str]]:
        chosen = cases_of([song for song in songs if song.split in splits], corpus, most)
        return [(case.wave[:size], case.song.tags["instrument"]) for case in chosen]

    real = own_embeddings([wave for wave, _ in canvases(("train", "validation"), OTHERS)], RATE, tagger)
    sets = {("recordings", ""): canvases(("test",), OTHERS), **study.songs}
    out = []
    for (kind, name), group in sets.items():
        waves = [wave for wave, _ in group]
        if len(waves) < FEWEST:
            continue
        distance = frechet_of(own_embeddings(waves, RATE, tagger), real).measured
        tags = [{"instrument": style} for _, style in group]
        near = style_similarity(waves, RATE, tags, tagger, seed=SEED)
        row = {"kind": kind, "songs": name, "n": len(waves), "fad_own": _plain(distance)}
        out.append(row | {"similarity": _plain(near)})
    return out


def _plain(one: Estimate) -> list[float]:
    return [round(number, 4) for number in (one.value, one.low, one.high)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="without it no distances")
    parser.add_argument("--latents", type=Path, help="of the corpus; beside it where not given")
    parser.add_argument("--curves", type=int, default=20)
    parser.add_argument("--tunes", type=int, default=10)
    parser.add_argument("--forms", type=int, default=6)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--slow", type=int, default=2, help="curves that both methods are compared on")
    parser.add_argument("--ditto-steps", type=int, default=20)
    parser.add_argument("--ditto-iterations", type=int, default=70)
    parser.add_argument("--decode-steps", type=int, default=4, help="of the student")
    parser.add_argument("--iterations", type=int, default=80, help="of DITTO-2")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--compared-lr", type=float, default=5e-2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    codec, codec_file = open_codec(None)
    study = Study(args, load_model(shipped("song")), load_model(shipped("student")), codec)
    rows: list[dict[str, Any]] = []
    counts = dict(zip(KINDS, (args.curves, args.tunes, args.forms), strict=True))
    work = [
        (kind, list(range(first, min(first + AT_ONCE, counts[kind]))), "DITTO-2")
        for kind in ([args.only] if args.only else KINDS)
        for first in range(0, counts[kind], AT_ONCE)
    ]
    if args.slow:
        work += [("loudness", list(range(args.slow)), method) for method in ("DITTO-2, compared", "DITTO")]
    for kind, numbers, method in work:
        made = study.rows(kind, numbers, method)
        print(*map(json.dumps, made), sep="\n", flush=True)
        rows += made
    settings = {
        name: value
        for name, value in vars(args).items()
        if name not in ("corpus", "latents", "write", "only")
    }
    found: dict[str, Any] = {
        "command": "python -m tests.benchmarks.music_control --corpus CORPUS --write",
        "seed": SEED,
        "weights_sha256": {"codec": digest(codec_file)}
        | {name: digest(shipped(name) / "model.safetensors") for name in ("song", "student")},
        "settings": settings | {"seconds": FRAMES / FRAME_RATE},
        "summary": summary(rows),
    }
    if args.slow:
        found["repeated_iteration_s"] = study.repeated()
    if args.corpus is not None:
        found["quality"] = quality(study, args.corpus, args.latents or args.corpus.parent / "latents")
    found["processor_s"] = round(time.process_time() - begun, 1)
    print(json.dumps(found, indent=1))
    if args.write:
        RESULTS.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
