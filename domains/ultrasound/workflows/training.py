"""Training a prior, and the supervised baseline that a dehazing is compared with."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.data import Geometry
from domains.ultrasound.prior import Prior, Role, load_prior, train_prior
from domains.ultrasound.signal import to_iq, to_rf
from domains.ultrasound.simulate import get_probe, training_frames
from domains.ultrasound.workflows.acquire import open_record

__all__ = ["Frames", "read_frames", "simulated_frames", "train_file"]

Domain = Literal["iq", "rf"]
Frames = tuple[torch.Tensor, Geometry]


def simulated_frames(role: Role, domain: Domain, n: int, *, seed: int = 0) -> Frames:
    """Frames of simulated hearts or simulated haze, (n, sample, line), and the geometry of their lines."""
    probe = get_probe("cardiac")
    lines = training_frames(n, what=role, seed=seed, domain=domain, probe=probe)
    g = probe.geometry()
    factor = round(len(probe.ranges_m(1)) / lines.shape[1])
    fs = (probe.fs_hz / factor) if domain == "iq" else probe.fs_hz
    return lines, replace(g, fs_hz=fs, fd_hz=probe.f0_hz if domain == "iq" else 0.0)


def read_frames(path: Path, role: Role, domain: Domain) -> Frames:
    """Frames of one source from a file, or from every readable file of a folder.

    A simulated file holds the truth: its tissue, or its haze, is taken rather than the mixture. RF and IQ are
    converted to the domain asked for. Frames of other sizes than the first are refused.

    Raises:
        DataError: no file, no phase, or mixed sizes (names the first two files that differ).
    """
    paths = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if not paths:
        raise DataError(
            f"{path} holds no files.", hint="Give a file, or a folder of files, with RF or IQ lines."
        )
    found: list[np.ndarray] = []
    geometry, first = Geometry(), paths[0]
    for item in paths:
        record, _ = open_record(item)
        if record.kind != "beamformed_data":
            raise DataError(f"{item.name} holds {record.kind}, expected beamformed RF or IQ lines.")
        if role in record.truth:
            record = record.with_values(record.truth[role], truth={})
        if record.domain != domain:
            record = to_iq(record) if domain == "iq" else to_rf(record)
        if found and record.values.shape[1:] != found[0].shape[1:]:
            raise DataError(
                f"{first.name} has frames of {found[0].shape[1:]}, {item.name} of {record.values.shape[1:]}.",
                hint="Train on recordings of one size.",
            )
        geometry = record.geometry if not found else geometry
        found.append(record.values)
    return torch.from_numpy(np.concatenate(found)), geometry


def train_file(
    role: Role,
    out: Path,
    config: PriorConfig,
    *,
    data: Path | None = None,
    domain: Domain = "iq",
    start: Path | None = None,
    folder: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    preset: str | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a prior of tissue or of haze and write its checkpoint.

    Args:
        out: the checkpoint, a safetensors file.
        data: lines to train on; simulated frames (`config.frames` of them) when None.
        start: a checkpoint of the same role to fine-tune.
        folder: snapshots and the training log go here; needed for `resume`.

    Returns:
        Report: parameters, steps, final loss, the frames used, and the checkpoint's path.
    """
    if out.exists() and not (overwrite or resume):
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another --out, or pass --force."
        )
    if out.suffix != ".safetensors":
        raise ConfigError(
            f"a checkpoint is a .safetensors file, got '{out.name}'.", hint="Give --out NAME.safetensors."
        )
    where, note = choose_device(device)
    before: Prior | None = load_prior(start, role) if start else None
    lines, geometry = (
        read_frames(data, role, domain) if data else simulated_frames(role, domain, config.frames, seed=seed)
    )
    work = folder if folder is not None else out.with_suffix(".run")
    work.mkdir(parents=True, exist_ok=True)
    prior = train_prior(
        lines,
        role,
        config,
        geometry=geometry,
        seed=seed,
        folder=work,
        resume=resume,
        start=before,
        device=where,
        preset=preset,
        progress=progress,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    shutil.copyfile(work / "model.safetensors", part)
    part.replace(out)
    return {
        "role": role,
        "output": str(out),
        "domain": domain,
        "frames": len(lines),
        "frame_shape": list(lines.shape[1:]),
        "parameters": sum(p.numel() for p in prior.denoiser.parameters()),
        "steps": config.steps,
        "loss": prior.checkpoint.training.get("loss"),
        "data_std": prior.denoiser.data_std,
        "device": str(where),
        "warnings": [note] if note else [],
    }
