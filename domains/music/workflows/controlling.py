"""Control of a song by the noise that it starts from: loudness, melody, form, style and a seamless loop.

The song is made twice with the same seed: as the model would, and with the noise moved until it does what is
asked. Every figure of the report is read from the two saved files.

With a student, one of its steps is the surrogate and all of them decode (DITTO-2). With a song model the
surrogate is as many of its guided steps as are asked; all of them make it DITTO.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.device import choose_device
from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from core.state import Seeds
from domains.music import edit as edits
from domains.music.config import Sampling
from domains.music.control import (
    Controlled,
    ControlSettings,
    Heard,
    Loop,
    Loudness,
    Melody,
    Run,
    Similar,
    SpecReader,
    Structure,
    Sum,
    Target,
    WaveReader,
    control,
    loudness_curve,
    pattern,
    tune_classes,
    tune_of,
)
from domains.music.control.reports import measured, summary, write_history
from domains.music.frames import frames_of, seconds_of
from domains.music.generation import calls_of, embedded, prepared
from domains.music.guidance import Counted
from domains.music.mel import at_rate, log_mel
from domains.music.model import SongModel
from domains.music.plots import plot_curves
from domains.music.request import SongRequest
from domains.music.workflows.making import prepare
from domains.music.workflows.opening import Opened, open_song, open_tagger
from domains.music.workflows.saving import Made, Writing, check_outputs, save_song, whole_frames
from domains.music.workflows.telling import length_of

__all__ = ["Asked", "control_file"]

SPACES = ("wave", "spec")


@dataclass(frozen=True)
class Asked:
    """What control is asked for; a part that is None is not controlled.

    Attributes:
        loudness: a shape such as "crescendo", or a CSV file of `seconds,dB`.
        melody: a MIDI file.
        voice: which of its voices, from 1; None takes the top line.
        structure: letters such as "ABA".
        similar: style words that the tagger shall hear.
        loop_s: seconds of the end that shall be as the beginning.
        surrogate: steps that gradients pass through; those of the decoder make it DITTO.
        iterations, lr: of Adam; 70 and .005 as published.
        space: "wave", or "spec": cheaper, magnitudes before the inverse transform.
    """

    loudness: str | None = None
    melody: str | None = None
    voice: int | None = None
    structure: str | None = None
    similar: str | None = None
    loop_s: float | None = None
    surrogate: int = 1
    iterations: int = 80
    lr: float = 1e-2
    norm_weight: float = 0.0
    space: str = "spec"

    def targets(self, model: SongModel, frames: int) -> tuple[dict[str, Target], list[str]]:
        """Targets by name, and warnings about what they were read from.

        Raises:
            ConfigError: nothing is asked, or an unknown space or shape.
            DataError: a file that cannot be read.
        """
        if self.space not in SPACES:
            raise unknown("space of control", self.space, SPACES)
        found: dict[str, Target] = {}
        warnings: list[str] = []
        if self.loudness is not None:
            found["intensity"] = Loudness(loudness_curve(self.loudness, frames))
        if self.melody is not None:
            tune = tune_of(Path(self.melody), voice=self.voice)
            warnings += tune.warnings
            found["melody"] = Melody(tune_classes(tune, frames))
        if self.structure is not None:
            found["structure"] = Structure(pattern(self.structure, frames))
        if self.similar is not None:
            found["similar"] = _similar(self.similar)
        if self.loop_s is not None:
            found["loop"] = Loop(frames_of(self.loop_s))
        if not found:
            raise ConfigError(
                "nothing to control.",
                hint="Give --intensity, --melody, --structure, --similar or --loop.",
            )
        return found, warnings


def control_file(
    request: SongRequest,
    asked: Asked,
    writing: Writing,
    *,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make a song that does what is asked, and beside it what the model makes of the same seed.

    Args:
        request: operation "control"; sampling steps are those of the decoder.
        folder: receives the history, curves and the uncontrolled song.

    Returns:
        Report: control figures before and after, from the saved files; losses; calls; seconds.

    Raises:
        ConfigError: nothing is asked, or the song is longer than the model's canvas.
    """
    where, note = choose_device(request.device)
    opened = open_song(request.model, request.codec, where)
    check_outputs(writing, opened.model.net.stems)
    seconds, _ = length_of(request, opened.model.max_frames)
    if frames_of(seconds) > opened.model.max_frames:
        raise ConfigError(
            f"control works on one canvas of {seconds_of(opened.model.max_frames):.1f} s, the song has "
            f"{seconds:.1f} s.",
            hint="Ask for a shorter one with --length.",
        )
    scene = prepare(request, opened)
    targets, warnings = asked.targets(opened.model, scene.frames)
    target: Any = next(iter(targets.values())) if len(targets) == 1 else Sum(targets)
    steps = scene.sampling.steps
    how = "DITTO" if asked.surrogate == steps and not opened.model.student else "DITTO-2"
    plan = (
        f"control {', '.join(targets)} of {scene.seconds:.1f} s with {opened.model_file}, {how}",
        f"{asked.iterations} iterations through {asked.surrogate} of {steps} steps in the space "
        f"'{asked.space}'; output: {writing.out}",
        *scene.notes,
        *([note] if note else []),
    )
    ready(Outlook(plan, (*scene.told.warnings(), *warnings), str(where)))
    began = time.perf_counter()
    noise = _noise(opened, request, scene.frames)
    cond = embedded(opened.model, scene.told.cond, scene.frames)
    runs = {
        n: _run(opened.model, scene.sampling.model_copy(update={"steps": n}), cond, scene.told.negative)
        for n in {asked.surrogate, steps}
    }
    surrogate, decoder = runs[asked.surrogate], runs[steps]  # one run where they are the same: DITTO
    reader = WaveReader(opened.codec) if asked.space == "wave" else SpecReader(opened.codec)
    settings = ControlSettings(
        iterations=asked.iterations,
        lr=asked.lr,
        norm_weight=asked.norm_weight,
        check_every=max(min(10, asked.iterations), 1),
    )
    found = control(
        surrogate, decoder, noise, target, reader, settings, judge=WaveReader(opened.codec), progress=progress
    )
    spent = time.perf_counter() - began
    studio = edits.Studio(opened.model, opened.codec)
    samples = round(scene.seconds * opened.model.rate)
    plain = whole_frames(edits.decoded(studio, _walked(decoder, noise)), samples).cpu()
    made = Made(
        whole_frames(edits.decoded(studio, found.latent), samples).cpu(),
        found.latent.cpu(),
        found.calls,
        1,
        spent,
        scene.told.lyrics,
        scene.told.problems,
        tuple(warnings),
        {"notes": list(scene.notes), "control": {"asked": _asked(asked), "method": how}},
        scaled=asked.loudness is None,
    )
    report = save_song(made, opened, request, scene.sampling, writing, folder)
    if made.scaled:  # as the controlled one: nothing is clipped
        plain = plain / max(float(plain.sum(0).abs().max()), 1.0)
    report["control"] |= _figures(found, plain, target, writing, opened, scene.frames, folder)
    _amend(Path(report["sidecar"]), report["control"])
    return report


def _figures(
    found: Controlled,
    plain: Tensor,
    target: Any,
    writing: Writing,
    opened: Opened,
    frames: int,
    folder: Path | None,
) -> dict[str, Any]:
    """Figures of both songs as they are on disk."""
    from tempfile import TemporaryDirectory

    from domains.music.audio import write_audio

    model = opened.model
    with TemporaryDirectory() as temporary:
        place = Path(temporary) if folder is None else folder
        before = place / f"uncontrolled{writing.out.suffix}"
        write_audio(before, plain.sum(0, keepdim=True), model.rate, depth=writing.depth, overwrite=True)
        figures = [
            measured(path, target, rate=model.rate, hop=model.hop, frames=frames)
            for path in (before, writing.out)
        ]
    if folder is not None:
        write_history(folder / "history.jsonl", found.history)
        steps = [tried.iteration for tried in found.history]
        decoded = [tried for tried in found.history if tried.decoded is not None]
        curves = {
            "surrogate": (steps, [float(tried.surrogate.mean()) for tried in found.history]),
            "decoded": (
                [tried.iteration for tried in decoded],
                [float(tried.decoded.mean()) for tried in decoded if tried.decoded is not None],
            ),
        }
        plot_curves(curves, folder / "control.png", x="iteration", y="control loss")
    return summary(found, *figures)


def _noise(opened: Opened, request: SongRequest, frames: int) -> Tensor:
    model = opened.model
    like = torch.zeros(1, model.channels, frames, device=model.device)
    return model.denoiser.process.prior(like, Seeds([request.seed], model.device), 1.0)


def _run(model: SongModel, sampling: Sampling, cond: Mapping[str, Any], negative: Tensor | None) -> Run:
    """A deterministic walk with these settings."""
    plan, denoiser = prepared(model, Counted(model.denoiser), sampling, negative, False, 1.0)
    return Run(plan, denoiser, cond, calls_of(model, sampling))


def _walked(run: Run, noise: Tensor) -> Tensor:
    from core.run import sample

    with torch.no_grad():
        found: Tensor = sample(run.plan, run.denoiser, noise.clone(), cond=run.cond)
    return found


def _similar(words: str) -> Target:
    """Be heard by the tagger as these words."""
    tagger = open_tagger()
    vector = tagger.embed_tags(words)

    def embed(heard: Heard) -> Tensor:
        if heard.wave is None:
            raise ConfigError("similarity is heard in waves.", hint="Pass --space wave.")
        return tagger(torch.stack([log_mel(at_rate(wave, heard.rate)) for wave in heard.wave]))

    return Similar(embed, vector)


def _asked(asked: Asked) -> dict[str, Any]:
    return {name: value for name, value in vars(asked).items() if value is not None}


def _amend(sidecar: Path, record: Mapping[str, Any]) -> None:
    """Put the figures of control into the sidecar that was written before they were known."""
    whole = json.loads(sidecar.read_text("utf-8"))
    whole["control"] = dict(record)
    sidecar.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
