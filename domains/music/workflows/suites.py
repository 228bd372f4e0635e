"""Scores of other things than whole songs: codecs, control, edits, and what a song costs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.codec.augment import lossy as through_mp3
from domains.music.metrics.interval import bootstrap
from domains.music.metrics.reconstruction import reconstruction
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.workflows.calibrating import through
from domains.music.workflows.opening import open_codec

__all__ = ["evaluate_codec", "evaluate_control"]


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
