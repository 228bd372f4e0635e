"""Control of the shipped song model: what DITTO-2 and DITTO reach, and what they cost.

    python -m tests.benchmarks.music_control                   # prints the table
    python -m tests.benchmarks.music_control --write           # and keeps it in results/music_control.json

Songs of 6 s in the shipped model's own styles, without words. Loudness: smooth curves about the level of the
uncontrolled song, 6 dB of standard deviation. Melody: the first notes of hymn tunes within an octave above
middle C. Structure: ABA. Each figure is read from a FLAC file that was written and read again; `plain` is the
song that the model makes of the same noise.

DITTO-2 differentiates through one step, the student's where one ships and the teacher's otherwise; DITTO
through all steps of the decoder's plan, checkpointed, on the first few targets only, at the same decoder.
Everything on one thread.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.run import sample
from core.state import Seeds
from domains.music.audio import write_audio
from domains.music.control import (
    ControlSettings,
    Loudness,
    Melody,
    Run,
    SpecReader,
    Structure,
    WaveReader,
    control,
    pattern,
)
from domains.music.control.features import loudness
from domains.music.control.reports import measured
from domains.music.frames import FRAME_RATE
from domains.music.generation import calls_of, condition, embedded, prepared
from domains.music.guidance import Counted
from domains.music.style import TagStyle
from domains.music.weights import shipped
from domains.music.workflows.opening import open_song

RESULTS = Path(__file__).parent / "results" / "music_control.json"
FRAMES = 128
STYLES = ("piano", "organ", "strings", "guitar-pop", "synth-pop")
FIGURES = {
    "loudness": ("loudness_mse_db2", "loudness_r"),
    "melody": ("melody_accuracy",),
    "structure": ("structure_mse",),
}


def curve(level: float, gen: np.random.Generator) -> Tensor:
    """A smooth curve about a level, 6 dB of standard deviation, (FRAMES,)."""
    points = gen.normal(0, 1, 6)
    found = np.interp(np.linspace(0, 5, FRAMES), np.arange(6), points)
    found = (found - found.mean()) / found.std()
    return torch.from_numpy(level + 6 * found).float()


def tune(gen: np.random.Generator) -> Tensor:
    """Eight notes of a major scale in small steps, (FRAMES,)."""
    scale, at, out = [0, 2, 4, 5, 7, 9, 11], int(gen.integers(7)), []
    for _ in range(8):
        out.append(scale[at % 7])
        at += int(gen.integers(-2, 3))
    return torch.tensor(out).repeat_interleave(FRAMES // 8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--song", default="song")
    parser.add_argument("--student", default="student")
    parser.add_argument("--curves", type=int, default=20)
    parser.add_argument("--tunes", type=int, default=10)
    parser.add_argument("--forms", type=int, default=5)
    parser.add_argument("--slow", type=int, default=2, help="targets of each kind that DITTO gets too")
    parser.add_argument("--steps", type=int, default=8, help="of the decoder")
    parser.add_argument("--iterations", type=int, default=70)
    parser.add_argument("--lr", type=float, default=2e-2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = _Study(args)
    rows: list[dict[str, Any]] = []
    counts = {"loudness": args.curves, "melody": args.tunes, "structure": args.forms}
    for kind, count in counts.items():
        for i in range(count):
            methods = ["DITTO-2", "DITTO"] if i < args.slow else ["DITTO-2"]
            for method in methods:
                rows.append(study.row(kind, i, method))
                print(rows[-1], flush=True)
    found = summary(rows)
    print(json.dumps(found, indent=1))
    if args.write:
        settings = {
            name: value for name, value in vars(args).items() if name not in ("song", "student", "write")
        }
        settings |= {
            "surrogate": "student" if study.student else "teacher, one step",
            "seconds": FRAMES / FRAME_RATE,
        }
        RESULTS.write_text(
            json.dumps({"settings": settings, "summary": found, "rows": rows}, indent=1) + "\n", "utf-8"
        )


class _Study:
    """The models, and one control at a time."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.opened = open_song(args.song, None, torch.device("cpu"))
        there = Path(args.student).exists() or (shipped("student") / "model.safetensors").is_file()
        self.student = open_song(args.student, None, torch.device("cpu")) if there else None
        self.tags = TagStyle(self.opened.model.vocabulary)

    def row(self, kind: str, i: int, method: str) -> dict[str, Any]:
        """One control, measured from files."""
        model, codec = self.opened.model, self.opened.codec
        gen = np.random.default_rng(i)
        style = self.tags.text(STYLES[i % len(STYLES)])
        like = torch.zeros(1, model.channels, FRAMES)
        noise = model.denoiser.process.prior(like, Seeds([i]), 1.0)
        decoder = self.run(self.opened.model, self.args.steps, style)
        source = model if self.student is None else self.student.model
        surrogate = decoder if method == "DITTO" else self.run(source, 1, style)
        plain = sample(decoder.plan, decoder.denoiser, noise.clone(), cond=decoder.cond)
        with torch.no_grad():
            level = float(loudness(WaveReader(codec)(plain).spectrum(1024)).mean())
        targets: dict[str, Callable[[], Any]] = {
            "loudness": lambda: Loudness(curve(level, gen)),
            "melody": lambda: Melody(tune(gen)),
            "structure": lambda: Structure(pattern("ABA", FRAMES)),
        }
        target = targets[kind]()
        settings = ControlSettings(iterations=self.args.iterations, lr=self.args.lr)
        start = time.process_time()
        found = control(
            surrogate, decoder, noise, target, SpecReader(codec), settings, judge=WaveReader(codec)
        )
        spent = time.process_time() - start
        before, after = (self.figures(x, target) for x in (plain, found.latent))
        return {
            "kind": kind,
            "target": i,
            "method": method,
            **{f"{name}, plain": before[name] for name in FIGURES[kind]},
            **{f"{name}, controlled": after[name] for name in FIGURES[kind]},
            "loss_before": float(found.before[0]),
            "loss_after": float(found.after[0]),
            "best_iteration": int(found.best[0]),
            "calls": found.calls,
            "processor_s": round(spent, 2),
        }

    def run(self, model: Any, steps: int, style: Tensor | None) -> Run:
        """A walk of this many steps."""
        sampling = model.config.sampling.model_copy(update={"steps": steps})
        cond = embedded(model, condition(model, FRAMES, style=style), FRAMES)
        plan, denoiser = prepared(model, Counted(model.denoiser), sampling, None, False, 1.0)
        return Run(plan, denoiser, cond, calls_of(model, sampling))

    def figures(self, latent: Tensor, target: Any) -> dict[str, float]:
        """Figures of a song, from its file."""
        model = self.opened.model
        wave = WaveReader(self.opened.codec)(latent).wave
        assert wave is not None
        with TemporaryDirectory() as folder:
            path = Path(folder) / "song.flac"
            write_audio(path, wave.detach().clamp(-1, 1), model.rate)
            return measured(path, target, rate=model.rate, hop=model.hop, frames=FRAMES)


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means of each kind and method; DITTO-2 also on the targets that DITTO had."""
    out: dict[str, dict[str, Any]] = {}
    for kind in FIGURES:
        slow = {row["target"] for row in rows if row["kind"] == kind and row["method"] == "DITTO"}
        groups = {
            "DITTO-2": [r for r in rows if r["kind"] == kind and r["method"] == "DITTO-2"],
            "DITTO-2, same targets": [
                r for r in rows if r["kind"] == kind and r["method"] == "DITTO-2" and r["target"] in slow
            ],
            "DITTO": [r for r in rows if r["kind"] == kind and r["method"] == "DITTO"],
        }
        for name, mine in groups.items():
            if mine:
                out[f"{kind}, {name}"] = {"n": len(mine)} | {
                    key: round(float(np.mean([row[key] for row in mine])), 4)
                    for key in mine[0]
                    if key not in ("kind", "target", "method")
                }
    return out


if __name__ == "__main__":
    main()
