"""What control reports: every figure read from audio that was saved and read again, before and after.

Source: DITTO's own measure is taken on decoded audio, arXiv:2401.12179, section 5; that it is read back from
the file, so that rounding, clipping and lossy coding count, is ours.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from domains.music.control.heard import heard_wave
from domains.music.control.optimise import Controlled, Tried
from domains.music.control.targets import Target

__all__ = ["measured", "summary", "write_history"]


def measured(path: Path, target: Target, *, rate: int, hop: int, frames: int) -> dict[str, float]:
    """Figures of a saved file, mixed to mono.

    Args:
        target: what was asked; parts that compare latents have nothing to say of a file.
        frames: of the song; what the file is longer by, such as a lossy codec's tail, is left out.
    """
    from domains.music.audio import read_audio

    wave = read_audio(path, rate, channels=1).samples[:, : frames * hop]
    wave = F.pad(wave, (0, frames * hop - wave.shape[-1]))
    return {name: float(value[0]) for name, value in target.report(heard_wave(wave, rate, hop)).items()}


def summary(found: Controlled, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Any]:
    """The report of one control, JSON values; `before` and `after` come from `measured`."""
    return {
        "loss_before": found.before.tolist(),
        "loss_surrogate": found.surrogate.tolist(),
        "loss_after": found.after.tolist(),
        "best_iteration": found.best.tolist(),
        "saved_before": dict(before),
        "saved_after": dict(after),
        "calls": found.calls,
        "seconds": round(found.seconds, 3),
    }


def write_history(path: Path, history: Sequence[Tried]) -> None:
    """One line of JSON an iteration."""
    path.write_text("".join(json.dumps(tried.row()) + "\n" for tried in history), "utf-8")
