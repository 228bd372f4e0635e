"""Scores of other things than whole songs: codecs, control, edits, and what a song costs to make."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.device import choose_device
from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.codec.augment import lossy as through_mp3
from domains.music.frames import RATE
from domains.music.metrics.interval import bootstrap
from domains.music.metrics.reconstruction import reconstruction
from domains.music.metrics.speed import measure_cost
from domains.music.metrics.steadiness import seam
from domains.music.sidecar import read_sidecar, request_of, sidecar_path
from domains.music.workflows.calibrating import through
from domains.music.workflows.making import make, prepare
from domains.music.workflows.opening import open_codec, open_song

__all__ = ["evaluate_codec", "evaluate_control", "evaluate_cost", "evaluate_edits"]

SAME_CLOCK = ("edit", "relyric", "accompany")  # edits that leave every second where it was
EDGE_S = 0.1  # no border is nearer to an end of the song


def evaluate_codec(
    recordings: Sequence[Path],
    *,
    codec: str | None = None,
    stoi: bool = True,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What a codec makes of recordings, and of the same after MP3 of the lowest quality."""
    coder, file = open_codec(codec)
    waves = [read_audio(path, coder.rate, channels=1) for path in recordings]
    ready(Outlook((f"reconstruct {len(waves)} recordings with {file}",)))
    passed = through(coder)
    found: dict[str, list[Any]] = {"lossless in": [], "MP3 in": [], "MP3 alone": []}
    for number, wave in enumerate(waves):
        x = wave.samples[0]
        lossy = through_mp3(x[None], coder.rate, 0.99)[0, : len(x)]
        made = {"lossless in": passed(x), "MP3 in": passed(lossy), "MP3 alone": lossy}
        for name, y in made.items():
            found[name].append(reconstruction(y, x, coder.rate, stoi=stoi))
        progress("reconstruct", number + 1, len(waves))
    rows = []
    for name, parts in found.items():
        row: dict[str, Any] = {"row": name}
        for key in asdict(parts[0]):
            values = [getattr(part, key) for part in parts if getattr(part, key) is not None]
            if values:
                row[key] = str(bootstrap(values, seed=seed))
        rows.append(row)
    return {"codec": str(file), "recordings": len(waves), "rows": rows}


def evaluate_control(songs: Sequence[Path], *, seed: int = 0) -> dict[str, Any]:
    """Figures of controlled songs before and after, from their sidecars, with intervals over songs.

    Raises:
        DataError: a song that was not controlled.
    """
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for path in songs:
        control = read_sidecar(sidecar_path(path)).get("control")
        if not control:
            raise DataError(f"{path} was not controlled.", hint="Make songs with: suffuse music control.")
        for name in control["saved_before"]:
            before.setdefault(name, []).append(control["saved_before"][name])
            after.setdefault(name, []).append(control["saved_after"][name])
    rows = [
        {
            "figure": name,
            "uncontrolled": str(bootstrap(before[name], seed=seed)),
            "controlled": str(bootstrap(after[name], seed=seed)),
        }
        for name in before
    ]
    return {"songs": len(songs), "rows": rows}


def evaluate_edits(songs: Sequence[Path], *, seed: int = 0) -> dict[str, Any]:
    """Seams of edited songs: the spectral jump at each border of what was drawn over the song's median jump.

    Returns:
        Report: rows "edited"; "recording", the one before at the same places, where the edit kept its clock;
        "hard cut", the edited song up to the border and another part of it behind; 1 is inaudible.

    Raises:
        DataError: a song that is no edit, or whose recording is gone.
    """
    found: dict[str, list[float]] = {"edited": [], "recording": [], "hard cut": []}
    for path in songs:
        record = read_sidecar(sidecar_path(path))
        if "hidden_s" not in record:
            raise DataError(f"{path} is no edit of a recording.", hint="Make one: suffuse music edit, ...")
        wave = read_audio(path, RATE, channels=1).samples[0]
        borders = _borders(record["hidden_s"], len(wave) / RATE)
        if record["operation"] == "loop":  # the turn from the end to the beginning is a border too
            found["edited"] += seam(wave.roll(len(wave) // 2), RATE, [len(wave) // 2 / RATE])
        found["edited"] += seam(wave, RATE, borders)
        found["hard cut"] += [seam(_cut(wave, at), RATE, [at])[0] for at in borders]
        if record["operation"] in SAME_CLOCK and borders:
            found["recording"] += seam(_recording(record), RATE, borders)
    rows = [
        {"row": name, "seam": str(bootstrap(values, seed=seed)), "borders": len(values)}
        for name, values in found.items()
        if values
    ]
    if not rows:
        raise DataError(
            "no edit has a border inside the song.", hint="Edit spans that do not reach its ends."
        )
    return {"songs": len(songs), "rows": rows}


def evaluate_cost(
    songs: Sequence[Path],
    *,
    runs: int = 3,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What songs cost: each is made again from its sidecar, once to warm up and then `runs` times.

    Returns:
        Report: wall seconds per second of audio, decoding included (1 is as fast as it plays), calls of the
        network, peak memory, and the device; nothing is written.

    Raises:
        ConfigError: a controlled song, which reports its own time.
    """
    where, note = choose_device(device)
    scenes = []
    for path in songs:
        request = request_of(read_sidecar(sidecar_path(path)), path)
        if request.operation == "control":
            raise ConfigError(f"{path} was controlled; its report says what that took.")
        request = request.model_copy(update={"device": str(where)})
        opened = open_song(request.model, request.codec, where)
        scenes.append((path, request, opened, prepare(request, opened)))
    plan = f"make {len(songs)} songs {runs + 1} times each; only warm runs are timed"
    ready(Outlook((plan, *([note] if note else [])), device=str(where)))
    rows = []
    for number, (path, request, opened, scene) in enumerate(scenes):

        def once(request: Any = request, opened: Any = opened, scene: Any = scene) -> int:
            return make(request, opened, scene).calls

        cost = measure_cost(once, scene.seconds, device=where, runs=runs)
        rows.append(
            {
                "song": path.name,
                "seconds": round(scene.seconds, 2),
                "real_time_factor": round(cost.rtf, 4),
                "nfe": cost.evaluations,
                "peak_mb": round(cost.peak_bytes / 1e6),
                "runs": cost.runs,
            }
        )
        progress("time", number + 1, len(scenes), f"{cost.rtf:.3g} of real time")
    return {"songs": len(songs), "device": cost.device, "rows": rows}


def _borders(hidden: Sequence[Sequence[float]], seconds: float) -> list[float]:
    """Times between what was kept and what was drawn, away from the ends of the song."""
    return [at for span in hidden for at in span if EDGE_S < at < seconds - EDGE_S]


def _cut(wave: Tensor, at_s: float) -> Tensor:
    """The song up to a time, and from there on what it plays half its length later."""
    at = round(at_s * RATE)
    return torch.cat([wave[:at], wave.roll(-(len(wave) // 2))[at:]])


def _recording(record: dict[str, Any]) -> Tensor:
    """The recording that was edited, a mix, at 22,050 Hz."""
    parts = [read_audio(Path(item["file"]), RATE, channels=1).samples[0] for item in record["inputs"]]
    whole = torch.stack(parts).sum(0)
    crop = record["request"].get("crop")
    return whole if crop is None else whole[round(crop[0] * RATE) : round(crop[1] * RATE)]
