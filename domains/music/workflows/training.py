"""Training from a corpus: song model, recogniser, tagger, and a student of a song model.

Each writes `model.safetensors` and its loss over the steps into the run folder, and prints a figure on songs
that it did not learn from, beside the same figure of an untrained one. `training_codec` holds the codec.
"""

import json
import shutil
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from core.device import choose_device
from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.codec.latents import INDEX, encode_corpus, encoder_digest
from domains.music.config import DistilConfig, SongConfig, checked, preset_for
from domains.music.corpus_latents import read_songs
from domains.music.distil import distil
from domains.music.frames import RATE
from domains.music.model import network, untrained
from domains.music.recogniser import per, save_recogniser
from domains.music.recogniser_training import RecogniserTraining, Recording, read_recordings, train_recogniser
from domains.music.songs import Song
from domains.music.style import TagStyle
from domains.music.tagger import save_tagger
from domains.music.tagger_training import TaggerTraining, train_tagger
from domains.music.training import evaluate_loss, train
from domains.music.workflows.learning import HELD, changed, draw_loss, mean, stems_of
from domains.music.workflows.opening import find, open_codec, open_song

__all__ = ["distil_file", "train_recogniser_file", "train_song_file", "train_tagger_file"]


def train_song_file(
    corpus: Path,
    folder: Path,
    *,
    codec: str | None = None,
    latents: Path | None = None,
    preset: str = "tiny",
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a song model; the corpus is encoded first where it is not.

    Args:
        codec: folder or file; the shipped one when None. It is copied beside the model.
        latents: folder of the encoded corpus; `folder`/latents when None.
        changes: settings that replace those of the preset.

    Returns:
        Report: flow loss on validation songs, beside that of an untrained network.
    """
    where, note = choose_device(device)
    coder, coder_file = open_codec(codec)
    given = {"channels": coder.channels, **(changes or {})}
    config = preset_for(preset, given)
    parts = ("voice", "backing") if config.stems == 2 else ("mix",)
    place = latents or folder / "latents"
    size = sum(weight.numel() for weight in network(config).parameters())
    first = "" if (place / INDEX).is_file() else ", made first: minutes for an hour of song"
    plan = (
        f"train a song model '{preset}' on {corpus}: {size / 1e6:.2f} M parameters, {config.stems} stems",
        f"latents of {coder_file} in {place}{first}",
        f"{config.steps:,} steps of {config.batch} crops of {config.crop} frames",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    encode_corpus(coder, corpus, place, stems=stems_of(corpus, parts), progress=progress)
    songs = _songs(place, corpus, config, encoder_digest(coder), progress)
    model = train(
        songs,
        config,
        seed=seed,
        folder=folder,
        resume=resume,
        device=where,
        preset=preset,
        source=_source_of(corpus),
        progress=progress,
    )
    if coder_file.resolve() != (folder / "codec.safetensors").resolve():
        shutil.copyfile(coder_file, folder / "codec.safetensors")
    draw_loss(folder)
    held = [song for song in songs if song.split == "validation"]
    report: dict[str, Any] = {
        "model": str(folder / "model.safetensors"),
        "parameters": size,
        "steps": config.steps,
        "songs": sum(song.split == "train" for song in songs),
        "songs_held": len(held),
        "synthetic": _source_of(corpus).startswith("rendered"),
    }
    if held:
        encoder = TagStyle(model.vocabulary) if model.vocabulary else None
        blank = untrained(config, style=encoder.length if encoder else None, seed=seed).to(where)
        report["flow_loss"] = evaluate_loss(model.denoiser, held, config, encoder)
        report["untrained_flow_loss"] = evaluate_loss(blank, held, config, encoder)
    return report


def train_recogniser_file(
    corpus: Path,
    folder: Path,
    *,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the recogniser; its error rate on validation songs stands beside that of other words."""
    settings = changed(RecogniserTraining(), {"steps": steps, "batch": batch})
    songs, held = read_recordings(corpus, "train"), _held(corpus)
    ready(
        Outlook(
            (
                f"train the recogniser on {len(songs)} songs of {corpus}",
                f"{settings.steps:,} steps of {settings.batch} crops of {settings.frames} frames",
            )
        )
    )
    model, checkpoint = train_recogniser(
        songs, settings, seed=seed, folder=folder, resume=resume, progress=progress
    )
    save_recogniser(folder / "model.safetensors", model, checkpoint)
    draw_loss(folder)
    heard = [model.hear(_mixed(song), RATE).phones() for song in held]
    asked = [[label for _, _, label in song.phones] for song in held]
    other = asked[1:] + asked[:1]
    return {
        "recogniser": str(folder / "model.safetensors"),
        "steps": settings.steps,
        "songs_held": len(held),
        "phone_error_rate": mean([per(a, h) for a, h in zip(asked, heard, strict=True)]),
        "phone_error_rate_of_other_words": mean([per(a, h) for a, h in zip(other, heard, strict=True)]),
    }


def train_tagger_file(
    corpus: Path,
    folder: Path,
    *,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the tagger; its accuracy on validation songs stands beside the share of the commonest tag."""
    settings = changed(TaggerTraining(), {"steps": steps, "batch": batch})
    songs, held = read_recordings(corpus, "train"), _held(corpus)
    ready(
        Outlook(
            (
                f"train the tagger on {len(songs)} songs of {corpus}",
                f"{settings.steps:,} steps of {settings.batch} clips of {settings.frames} frames",
            )
        )
    )
    model, checkpoint = train_tagger(
        songs, settings, seed=seed, folder=folder, resume=resume, progress=progress
    )
    save_tagger(folder / "model.safetensors", model, checkpoint)
    draw_loss(folder)
    rows = []
    found = [model.classify(_mixed(song), RATE) for song in held]
    for name in model.settings.vocabulary:
        true = [song.tags[name] for song in held]
        best = [max(chances[name].items(), key=itemgetter(1))[0] for chances in found]
        hits = [one == other for one, other in zip(best, true, strict=True)]
        common = max(true.count(tag) for tag in true) / len(true)
        rows.append({"field": name, "accuracy": sum(hits) / len(hits), "commonest_tag": common})
    return {
        "tagger": str(folder / "model.safetensors"),
        "steps": settings.steps,
        "songs_held": len(held),
        "fields": rows,
    }


def distil_file(
    teacher: str,
    corpus: Path,
    latents: Path,
    folder: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    jumps: int = 4,
    codec: str | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make a student of few steps.

    Args:
        latents: the encoded corpus that the teacher learned from.
        changes: fields of `DistilConfig`.
        jumps: that the student takes by default.
    """
    where, note = choose_device(device)
    config = checked(DistilConfig, changes or {})
    opened = open_song(teacher, codec, where)
    if opened.model.student:
        raise ConfigError("this model is a student already.", hint="Distil the model it came from.")
    if not (latents / INDEX).is_file():
        raise DataError(f"{latents} holds no latents.", hint="Encode the corpus: suffuse music encode.")
    plan = (
        f"distil {opened.model_file} by {config.kind}: {config.steps:,} steps of {config.batch} crops, "
        f"grid of {config.grid}, guidance from {config.low:g} to {config.high:g}",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    songs = _songs(latents, corpus, opened.model.config, encoder_digest(opened.codec), progress)
    student = distil(
        opened.model, songs, config, steps=jumps, seed=seed, folder=folder, resume=resume, progress=progress
    )
    shutil.copyfile(opened.codec_file, folder / "codec.safetensors")
    draw_loss(folder)
    return {
        "model": str(folder / "model.safetensors"),
        "kind": config.kind,
        "steps": config.steps,
        "calls": jumps,
        "teacher": str(find(teacher)),
        "parameters": sum(weight.numel() for weight in student.net.parameters()),
    }


def _songs(place: Path, corpus: Path, config: SongConfig, digest: str, progress: Progress) -> list[Song]:
    parts = ("voice", "backing") if config.stems == 2 else ("mix",)
    return read_songs(
        place, corpus, stems=parts, alignments=config.alignments, digest=digest, progress=progress
    )


def _source_of(corpus: Path) -> str:
    first = json.loads(next(iter(sorted(corpus.glob("*/song.json")))).read_text("utf-8"))
    return "rendered corpus (synthetic)" if "hymn" in first else f"recordings imported from {corpus.name}"


def _held(corpus: Path) -> list[Recording]:
    return read_recordings(corpus, "validation", limit=HELD)


def _mixed(song: Recording) -> torch.Tensor:
    return (song.voice.float() + song.backing.float()) / 32767
