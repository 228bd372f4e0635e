"""From a request to a wave: compose, or edit a recording; what `reproduce` runs again."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.state import Seeds
from domains.music import edit as edits
from domains.music.audio import read_audio
from domains.music.canvas import spans_of
from domains.music.config import Sampling
from domains.music.frames import frames_of, seconds_of
from domains.music.generation import calls_of, check_student, compose
from domains.music.model import SongModel
from domains.music.request import SongRequest
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.workflows.opening import Opened, digest
from domains.music.workflows.saving import Made, whole_frames
from domains.music.workflows.searching import Hunt, hunt_for, searched
from domains.music.workflows.telling import Told, length_of, sampling_notes, tell

__all__ = ["Scene", "check_tiles", "make", "prepare"]


class Scene:
    """A request with its files read and checked, ready to be made.

    Attributes:
        told: the condition.
        sampling: settings in force.
        wave: (stems, N) of the recording that is edited, or None.
        frames: of the canvas.
        seconds: of the new song.
        notes: what a user should know, for the plan.
        warnings: what is doubtful about lyrics and recordings.
        hunt: the search of its noise, or None.
    """

    def __init__(
        self,
        told: Told,
        sampling: Sampling,
        frames: int,
        seconds: float,
        wave: Tensor | None = None,
        notes: Sequence[str] = (),
        warnings: Sequence[str] = (),
        inputs: Sequence[dict[str, str]] = (),
        hunt: Hunt | None = None,
    ) -> None:
        self.told, self.sampling, self.frames, self.seconds = told, sampling, frames, seconds
        self.wave, self.notes, self.inputs, self.hunt = wave, tuple(notes), tuple(inputs), hunt
        self.warnings = (*told.warnings(), *warnings)


def prepare(request: SongRequest, opened: Opened) -> Scene:
    """Read and check everything that a request names; nothing is drawn.

    Raises:
        ConfigError: a span, length or style that cannot be; problems of the lyrics, when strict.
        DataError: a recording that cannot be used.
    """
    model = opened.model
    sampling = request.settings(model.config.sampling)
    notes = sampling_notes(request, model)
    wave: Tensor | None = None
    inputs: list[dict[str, str]] = []
    doubts: list[str] = []
    if request.operation in ("compose", "control"):
        seconds, why = length_of(request, model.max_frames)
        frames = frames_of(seconds)
        notes.append(f"length {seconds:.2f} s, {why}")
    else:
        wave, inputs, found, doubts = _recording(request, model)
        notes += found
        frames, seconds = _grown(request, wave, model)
    check_tiles(request, frames, model.max_frames)
    told = tell(request, model, frames, seconds)
    if model.student:
        check_student(sampling, told.negative)
    _check_edit(request, model, seconds)
    hunt = hunt_for(request, opened, told, frames)
    if hunt is not None:
        notes.append(hunt.plan())
    return Scene(told, sampling, frames, seconds, wave, notes, doubts, inputs, hunt)


def _check_edit(request: SongRequest, model: SongModel, seconds: float) -> None:
    """Refuse an edit that cannot be, before anything is drawn.

    Raises:
        ConfigError: a span or seam outside the song, or one stem of a model that has one.
    """
    match request.operation:
        case "edit":
            spans_of(request.spans, seconds)
        case "relyric" | "accompany":
            edits.check_stems(model)
            if request.spans:
                spans_of(request.spans, seconds)
        case "loop":
            edits.check_seam(request.seam_s, seconds)


def check_tiles(request: SongRequest, frames: int, longest: int) -> None:
    """Refuse a song beyond the model's canvas when tiles are not wanted, or overlap by too much.

    Raises:
        ConfigError: it is longer, or the overlap leaves nothing of a tile.
    """
    if frames > longest and not request.tile:
        raise ConfigError(
            f"the song of {seconds_of(frames):.1f} s is longer than the model's canvas of "
            f"{seconds_of(longest):.1f} s.",
            hint="Leave out --no-tile to make it of overlapping tiles, or ask for a shorter one.",
        )
    if frames > longest and request.overlap_s is not None and 2 * frames_of(request.overlap_s) >= longest:
        raise ConfigError(
            f"tiles of {seconds_of(longest):.1f} s cannot overlap by {request.overlap_s:g} s on both sides.",
            hint="Ask for less than half a tile.",
        )


def make(request: SongRequest, opened: Opened, scene: Scene, *, progress: Progress = silent) -> Made:
    """Draw what a request asks for; the same request on the same files gives the same samples on a CPU."""
    gen = Seeds([request.seed], opened.model.device)
    began = time.perf_counter()
    if scene.wave is None:
        made = _composed(request, opened, scene, gen, progress)
    else:
        made = _edited(request, opened, scene, scene.wave, gen, progress)
    record: dict[str, Any] = {**made.record, "notes": list(scene.notes)}
    if scene.told.style_audio is not None:
        record["style_audio"] = scene.told.style_audio
    if scene.inputs:
        record["inputs"] = list(scene.inputs)
        record |= _choice_of(request)
    return replace(
        made,
        seconds=time.perf_counter() - began,
        lyrics=scene.told.lyrics,
        problems=scene.told.problems,
        record=record,
    )


def _composed(request: SongRequest, opened: Opened, scene: Scene, gen: Seeds, progress: Progress) -> Made:
    overlap = None if request.overlap_s is None else frames_of(request.overlap_s)
    told = scene.told
    record: dict[str, Any] = {}
    if scene.hunt is not None:
        found, record = searched(scene.hunt, request, told, scene.frames, scene.sampling, overlap, progress)
    else:
        found = compose(
            opened.model,
            told.cond,
            scene.frames,
            gen,
            sampling=scene.sampling,
            negative=told.negative,
            overlap=overlap,
            progress=progress,
        )
    studio = edits.Studio(opened.model, opened.codec)
    wave = edits.decoded(studio, found.latents)
    wave = whole_frames(wave, round(scene.seconds * opened.model.rate))
    return Made(
        wave.cpu(),
        found.latents.cpu(),
        found.calls,
        found.tiles,
        0.0,
        told.lyrics,
        record=record,
        scaled=True,
    )


def _edited(
    request: SongRequest, opened: Opened, scene: Scene, wave: Tensor, gen: Seeds, progress: Progress
) -> Made:
    studio = edits.Studio(opened.model, opened.codec, scene.sampling, scene.told.negative, progress)
    cond = scene.told.cond
    match request.operation:
        case "edit":
            found = edits.edit(studio, wave, request.spans, cond, gen)
        case "extend":
            found = edits.extend(studio, wave, cond, gen, left_s=request.left_s, right_s=request.right_s)
        case "loop":
            found = edits.loop(studio, wave, cond, gen, seam_s=request.seam_s)
        case "relyric" | "accompany":
            stem = edits.VOICE if request.operation == "relyric" else edits.BACKING
            found = edits.redraw(studio, wave, cond, gen, stem, spans=request.spans or ((-1.0, -1.0),))
        case "variation":
            found = edits.variation(studio, wave, cond, gen, strength=request.strength)
        case _:
            raise ConfigError(f"'{request.operation}' is no edit of a recording.")
    record = {"hidden_s": _hidden(found.keep)}
    tiles = max(found.calls // max(calls_of(opened.model, scene.sampling), 1), 1)
    return Made(
        found.wave.cpu(),
        found.latents.cpu(),
        found.calls,
        tiles,
        0.0,
        scene.told.lyrics,
        notes=found.notes,
        record=record,
        scaled=request.operation == "variation",
    )


def _choice_of(request: SongRequest) -> dict[str, Any]:
    """What chose the song that is edited: what is kept of it was chosen too."""
    path = None if request.source is None else sidecar_path(Path(request.source))
    if path is None or not path.is_file():
        return {}
    search = read_sidecar(path).get("search")
    if not search:
        return {}
    return {
        "search": {"of": request.source, "verifiers": search["verifiers"], "networks": search["networks"]}
    }


def _hidden(keep: Tensor) -> list[list[float]]:
    """Spans that were drawn anew in any stem, s."""
    hidden = torch.cat([torch.zeros(1), (keep[0] < 1).any(0).float().cpu(), torch.zeros(1)]).diff()
    starts, ends = (hidden > 0).nonzero()[:, 0].tolist(), (hidden < 0).nonzero()[:, 0].tolist()
    return [[round(seconds_of(a), 3), round(seconds_of(b), 3)] for a, b in zip(starts, ends, strict=True)]


def _recording(
    request: SongRequest, model: SongModel
) -> tuple[Tensor, list[dict[str, str]], list[str], list[str]]:
    """The recording to edit, (stems, N) or (1, N) of a mix; its files with hashes; notes; warnings."""
    stems = [request.voice, request.backing]
    if any(stems) and not all(stems):
        raise ConfigError("one stem alone was given.", hint="Give both --voice and --backing, or neither.")
    named = [name for name in stems if name] or ([request.source] if request.source else [])
    if not named:
        raise ConfigError("there is no recording to edit.", hint="Name one with --in.")
    if len(named) == 2 and model.net.stems != 2:
        raise ConfigError(
            "this model knows a mix only, and two stems were given.", hint="Give the song with --in."
        )
    parts: list[Tensor] = []
    notes: list[str] = []
    warnings: list[str] = []
    for name in named:
        wave = read_audio(Path(name))
        if (wave.rate, wave.channels) != (model.rate, 1):
            notes.append(
                f"{name} is {wave.rate} Hz with {wave.channels} channels; the model works at {model.rate} Hz "
                "mono, and so is the result"
            )
            wave = read_audio(Path(name), model.rate, channels=1)
        parts.append(wave.samples)
        warnings += wave.warnings
    if len({part.shape[-1] for part in parts}) > 1:
        sizes = " and ".join(f"{part.shape[-1] / model.rate:.3f} s" for part in parts)
        raise DataError(f"the stems differ in length: {sizes}.", hint="Export both from one session.")
    whole = torch.cat(parts)
    if request.crop is not None:
        ((start, end),) = spans_of([request.crop], whole.shape[-1] / model.rate)
        whole = whole[:, round(start * model.rate) : round(end * model.rate)]
    return whole, [{"file": name, "sha256": digest(Path(name))} for name in named], notes, warnings


def _grown(request: SongRequest, wave: Tensor, model: SongModel) -> tuple[int, float]:
    """Frames and seconds of the song after the edit."""
    frames = math.ceil(wave.shape[-1] / model.hop)
    if request.operation != "extend":
        return frames, wave.shape[-1] / model.rate
    if request.left_s + request.right_s <= 0:
        raise ConfigError("an extension needs a length.", hint="Give --left or --right, in seconds.")
    frames += frames_of(request.left_s) + frames_of(request.right_s)
    return frames, seconds_of(frames)
