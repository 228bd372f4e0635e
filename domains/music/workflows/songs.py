"""What a user asks a song model for: a song, an edit of one, and either again from its sidecar."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.device import choose_device
from core.errors import CheckpointError, ConfigError, DataError, SuffuseError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.frames import seconds_of
from domains.music.generation import calls_of
from domains.music.lrc.events import Lyrics
from domains.music.lrc.parse import parse, read_lrc
from domains.music.lrc.write import to_lrc
from domains.music.request import SongRequest
from domains.music.sidecar import read_sidecar, request_of, sidecar_path
from domains.music.tiling import shared
from domains.music.workflows.controlling import Asked, control_file
from domains.music.workflows.making import Scene, make, prepare
from domains.music.workflows.opening import Opened, digest, open_song
from domains.music.workflows.saving import STEMS, Writing, check_outputs, save_song
from domains.music.workflows.searching import check_ears
from domains.music.workflows.telling import shifted

__all__ = ["inherited", "lyrics_text", "reproduce_file", "song_file"]


def song_file(
    request: SongRequest,
    writing: Writing,
    *,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make a song and write it with its stems, sidecar and picture.

    Returns:
        Report: files with their levels, calls of the network, seconds, problems of the lyrics.

    Raises:
        ConfigError, DataError, CheckpointError: what is wrong with request, files or weights.
    """
    where, note = choose_device(request.device)
    opened = open_song(request.model, request.codec, where)
    check_outputs(writing, opened.model.net.stems)
    scene = prepare(request, opened)
    ready(Outlook(_plan(request, opened, scene, writing, note), scene.warnings, str(where)))
    made = make(request, opened, scene, progress=progress)
    return save_song(made, opened, request, scene.sampling, writing, folder)


def reproduce_file(
    sidecar: Path,
    out: Path,
    *,
    device: str | None = None,
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make a song again from its sidecar and tell whether the samples are the same.

    Args:
        out: the new copy; depth and loudness are those of the first.
        device: another than the first; the samples may differ then.

    Raises:
        CheckpointError: the weights are not those that made the song.
        DataError: no sidecar, or a recording that has changed.
        SuffuseError: on a CPU as before, the samples differ.
    """
    record = read_sidecar(sidecar)
    request = request_of(record, sidecar)
    first = str(record.get("device", "cpu"))
    request = request.model_copy(update={"device": device or first})
    where, note = choose_device(request.device)
    opened = open_song(request.model, request.codec, where)
    for name, found in opened.hashes().items():
        asked = record["checkpoint_hash" if name == "model" else "codec_hash"]
        if found != asked:
            raise CheckpointError(
                f"the {name} at hand is {found[:12]}, the song was made with {asked[:12]}.",
                hint="Install the version that made it, or name its folder in the request of the sidecar.",
            )
    check_ears(request, record)
    _check_inputs(record)
    first_file = record["files"][0] if record.get("files") else {}
    depth = first_file.get("format")
    writing = Writing(
        out,
        depth=depth if depth in ("16", "24", "32f") and out.suffix.lower() in (".wav", ".flac") else None,
        stems=len(record.get("files", ())) > 1,
        overwrite=overwrite,
        gain=float(record.get("gain", 1.0)),
    )
    check_outputs(writing, opened.model.net.stems)
    before = torch.get_num_threads()
    torch.set_num_threads(int(record.get("threads", before)))  # sums run in another order with others
    try:
        report = _again(sidecar, request, opened, writing, note, folder, ready, progress)
    finally:
        torch.set_num_threads(before)
    same = report["samples_sha256"] == record["samples_sha256"]
    report = {**report, "identical": same, "asked_sha256": record["samples_sha256"]}
    if not same and str(where) == first == "cpu":
        raise SuffuseError(
            f"the samples differ from those of {sidecar}; {out} holds what came out.",
            hint="Another version of torch, or another processor, adds up in another order.",
        )
    return report


def _again(
    sidecar: Path,
    request: SongRequest,
    opened: Opened,
    writing: Writing,
    note: str | None,
    folder: Path | None,
    ready: Ready,
    progress: Progress,
) -> dict[str, Any]:
    """Make what a request asks for, controlled or not."""
    if request.operation == "control":
        asked = Asked(**request.targets)
        return control_file(request, asked, writing, folder=folder, ready=ready, progress=progress)
    scene = prepare(request, opened)
    plan = _plan(request, opened, scene, writing, note)
    ready(Outlook((f"reproduce {sidecar}", *plan), scene.warnings, str(opened.model.device)))
    made = make(request, opened, scene, progress=progress)
    return save_song(made, opened, request, scene.sampling, writing, folder)


def inherited(request: dict[str, Any], *, shift_s: float = 0.0) -> tuple[dict[str, Any], list[str]]:
    """Fill in lyrics, style and stems of an edit from the sidecar of the recording, where it has one.

    Args:
        request: fields of a `SongRequest`, with `source`.
        shift_s: added to the stamps of inherited lyrics, where the song grows to the left.

    Returns:
        The fields, and a note for each that was taken over.
    """
    source = request.get("source")
    if source is None or not sidecar_path(Path(source)).is_file():
        return request, []
    path = sidecar_path(Path(source))
    record = read_sidecar(path)
    own = record["request"]
    taken, notes = dict(request), []
    for name in ("lyrics", "style", "section_styles"):
        if not request.get(name) and own.get(name):
            taken[name] = own[name]
            notes.append(name.replace("_", " "))
    if "lyrics" in notes:
        taken["language"] = own.get("language", "en")
    if shift_s and "lyrics" in notes:
        taken["lyrics"] = to_lrc(shifted(parse(taken["lyrics"])[0], shift_s))
    stems = [Path(source).with_name(f"{Path(source).stem}-{name}{Path(source).suffix}") for name in STEMS]
    if not request.get("voice") and not request.get("backing") and all(stem.is_file() for stem in stems):
        taken["voice"], taken["backing"] = map(str, stems)
        notes.append("stems")
    return taken, [f"{', '.join(notes)} taken from {path.name}"] if notes else []


def lyrics_text(path: Path | None, hymn: str | None = None) -> str:
    """Text of the lyrics that a command names: a file, or a hymn that ships.

    Raises:
        ConfigError: both are named, or no hymn of this name.
        DataError: the file cannot be read.
    """
    if path is not None and hymn is not None:
        raise ConfigError("lyrics and a hymn were both given.", hint="Give one of --lrc and --hymn.")
    if hymn is not None:
        from importlib import resources

        from domains.music.hymns import hymns

        if hymn not in hymns():
            from core.errors import unknown

            raise unknown("hymn", hymn, hymns())
        return resources.files("domains.music.hymns").joinpath(f"{hymn}.lrc").read_text("utf-8")
    if path is None:
        return ""
    read_lrc(path)  # says what is wrong with the file itself
    return path.read_bytes().decode("utf-8-sig")


def _check_inputs(record: Mapping[str, Any]) -> None:
    """Refuse recordings that are not what they were."""
    named = [*record.get("inputs", ()), *([record["style_audio"]] if record.get("style_audio") else [])]
    for item in named:
        path = Path(item["file"])
        if not path.is_file():
            raise DataError(f"the recording {path} is not there any more.")
        if digest(path) != item["sha256"]:
            raise DataError(f"the recording {path} has changed since.", hint="Restore the file it was.")


def _plan(
    request: SongRequest, opened: Opened, scene: Scene, writing: Writing, note: str | None
) -> tuple[str, ...]:
    """What is about to happen, in lines."""
    model = opened.model
    lyrics = scene.told.lyrics
    size = sum(weight.numel() for weight in model.net.parameters())
    calls = calls_of(model, scene.sampling)
    tiles = ""
    if scene.frames > model.max_frames:
        share = shared(scene.frames, model.max_frames)
        shown = seconds_of(share) if request.overlap_s is None else request.overlap_s
        tiles = (
            f"; longer than the model's {seconds_of(model.max_frames):.1f} s: tiles that overlap by "
            f"{shown:.1f} s"
        )
    return (
        f"{request.operation} {scene.seconds:.1f} s with {opened.model_file} ({size / 1e6:.1f} M parameters)"
        + tiles,
        _words(lyrics),
        f"style: {request.style or 'open'}"
        + (f", and of {request.style_audio}" if request.style_audio else "")
        + (f", away from {request.negative}" if request.negative else ""),
        f"{calls} calls of the network a tile, seed {request.seed}; output: {writing.out}",
        *scene.notes,
        *([note] if note else []),
    )


def _words(lyrics: Lyrics) -> str:
    if lyrics.instrumental:
        return "no lyric lines: instrumental"
    title = f" of '{lyrics.meta['ti']}'" if "ti" in lyrics.meta else ""
    return f"{len(lyrics.lines)} lines{title}, from {lyrics.lines[0].start_s:.2f} s on"
