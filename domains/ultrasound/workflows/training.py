"""Training a prior of tissue or of haze, from simulated frames or from recordings."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError, DataError, ModelMismatch, unknown
from core.progress import Progress, silent
from core.train.checkpoint import fill
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.data import Geometry
from domains.ultrasound.formats.dispatch import detect
from domains.ultrasound.networks import build_net
from domains.ultrasound.prior import Role, load_prior, train_prior
from domains.ultrasound.signal import to_iq, to_rf
from domains.ultrasound.simulate import get_probe, training_frames
from domains.ultrasound.workflows.acquire import open_record
from domains.ultrasound.workflows.conversion import copy_whole
from domains.ultrasound.workflows.dehazing import phase_of
from domains.ultrasound.workflows.judging import sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once, check_output, many

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


def read_frames(path: Path, role: Role, domain: Domain) -> tuple[Frames, list[str]]:
    """Frames of one source from a file, or from every readable file of a folder, and warnings about them.

    A simulated file holds the truth: its tissue, or its haze, is taken rather than the mixture. RF and IQ are
    converted to the domain asked for. Frames of other sizes than the first are refused.

    Raises:
        DataError: no file, no phase, or mixed sizes (names the first two files that differ).
    """
    paths, warnings = [path], []
    if path.is_dir():
        visible = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        paths = [p for p in visible if p.stat().st_size == 0 or detect(p) is not None]
        if len(paths) < len(visible):
            warnings.append(f"{len(visible) - len(paths)} files of unknown type in {path} are skipped.")
    if not paths:
        raise DataError(
            f"{path} holds no files of a known type.",
            hint="Give a file, or a folder of files, with RF or IQ lines.",
        )
    found: list[np.ndarray] = []
    geometry, first = Geometry(), paths[0]
    for item in paths:
        record, said = open_record(item)
        warnings += said
        if record.kind == "raw_data":
            raise DataError(
                f"{item.name} holds raw_data, expected beamformed lines.",
                hint="Beamform it: suffuse ultrasound beamform.",
            )
        if phase_of(record) is None:
            raise DataError(
                f"no phase found: {item.name} holds an envelope or a log image, expected RF or IQ lines.",
                hint="Pictures and envelopes cannot train a prior of lines.",
            )
        if role in record.truth:
            record = record.with_values(record.truth[role], truth={})
        if record.domain != domain:
            record = to_iq(record) if domain == "iq" else to_rf(record)
        if found and record.values.shape[1:] != found[0].shape[1:]:
            one, other = (" x ".join(map(str, v.shape[1:])) for v in (found[0], record.values))
            raise DataError(
                f"frames differ: {first.name} has {one}, {item.name} has {other}; expected one size.",
                hint="Train on recordings of one size.",
            )
        geometry = record.geometry if not found else geometry
        found.append(record.values)
    kind = np.complex64 if domain == "iq" else np.float32
    lines = torch.from_numpy(np.concatenate(found).astype(kind))
    return (lines, geometry), list(dict.fromkeys(warnings))


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
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a prior of tissue or of haze and write its checkpoint.

    Args:
        out: the checkpoint, a safetensors file.
        data: lines to train on; simulated frames (`config.frames` of them) when None.
        start: a checkpoint of the same role, domain and network to fine-tune.
        folder: snapshots and the training log go here; default `<out>.run`.
        resume: go on from the newest snapshot in `folder`.

    Returns:
        Report: parameters, steps, final loss, the frames used, and the checkpoint's path.
    """
    if role not in get_args(Role):
        raise unknown("role", role, get_args(Role))
    if domain not in get_args(Domain):
        raise unknown("domain", domain, get_args(Domain))
    if config.sigma_min >= config.sigma_max:
        raise ConfigError(f"sigma_min {config.sigma_min} must lie below sigma_max {config.sigma_max}.")
    check_output(out, (".safetensors",), overwrite=overwrite or resume, source=start)
    where, note = choose_device(device)
    with torch.random.fork_rng(devices=[]):
        net = build_net(config, 2 if domain == "iq" else 1)
    before = load_prior(start, role) if start else None
    if before is not None:
        if before.domain != domain:
            raise ModelMismatch(
                f"the checkpoint to start from is {before.domain.upper()}, the training {domain.upper()}.",
                hint=f"Pass --domain {before.domain}, or start from another checkpoint.",
            )
        fill(net, before.checkpoint.weights)
    warnings: list[str] = []
    frames: Frames | None = None
    if data is not None:
        frames, warnings = read_frames(data, role, domain)
        if min(frames[0].shape[1:]) < 16:
            raise DataError(f"frames must be at least 16 x 16, got {tuple(frames[0].shape[1:])}.")
    source = (
        f"{many(len(frames[0]), 'frame')} of {data}" if frames else many(config.frames, "simulated frame")
    )
    parameters = sum(p.numel() for p in net.parameters())
    plan = (
        f"train a prior of {role} on {source} ({domain.upper()}), recipe {preset or 'none'}, seed {seed}",
        f"{config.steps} steps x {config.batch} patches of {config.patch[0]} x {config.patch[1]} = "
        f"{config.steps * config.batch} network calls with gradients, {parameters / 1e3:.0f} k parameters",
        f"{note or f'device: {where}'}; output: {out}",
    )
    ready(Outlook(plan, tuple(warnings), str(where)))
    if frames is None:
        progress("simulate", 0, config.frames, None)
        frames = simulated_frames(role, domain, config.frames, seed=seed)
        progress("simulate", config.frames, config.frames, None)
    lines, geometry = frames
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
    copy_whole(work / "model.safetensors", out)
    return {
        "role": role,
        "output": str(out),
        "output_sha256": sha256(out),
        "domain": domain,
        "frames": len(lines),
        "frame_shape": list(lines.shape[1:]),
        "parameters": parameters,
        "steps": config.steps,
        "loss": prior.checkpoint.training.get("loss"),
        "data_std": prior.denoiser.data_std,
        "seed": seed,
        "device": str(where),
        "warnings": warnings,
    }
