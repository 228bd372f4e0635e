"""Training a prior of B-mode pictures, from simulated hearts or from films and recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.train.checkpoint import fill
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.formats.dispatch import detect
from domains.ultrasound.networks import build_net
from domains.ultrasound.video.levels import cine_of
from domains.ultrasound.video.prior import (
    PIXEL_M,
    ROLE,
    load_picture_prior,
    simulated_pictures,
    train_picture_prior,
)
from domains.ultrasound.workflows.acquire import open_record
from domains.ultrasound.workflows.conversion import copy_whole
from domains.ultrasound.workflows.judging import sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once, check_output, many

__all__ = ["read_pictures", "train_bmode_file"]

Pictures = tuple[torch.Tensor, float | None]


def read_pictures(path: Path) -> tuple[Pictures, list[str]]:
    """Levels (n, H, W) of all frames of a file, or of every readable file of a folder; their pixel size.

    A simulated file holds the truth: its tissue is taken rather than the mixture.

    Raises:
        DataError: no file, no picture, or mixed sizes (names the first two files that differ).
    """
    paths, warnings = [path], []
    if path.is_dir():
        visible = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        paths = [p for p in visible if p.stat().st_size == 0 or detect(p) is not None]
        if len(paths) < len(visible):
            warnings.append(f"{len(visible) - len(paths)} files of unknown type in {path} are skipped.")
    if not paths:
        raise DataError(f"{path} holds no files of a known type.", hint="Give films, pictures or recordings.")
    found: list[np.ndarray] = []
    pixel_m: float | None = None
    for item in paths:
        record, said = open_record(item)
        if "tissue" in record.truth:
            record = record.with_values(record.truth["tissue"], truth={})
        cine = cine_of(record, pixel_m=PIXEL_M)
        warnings += [*said, *cine.notes]
        if found and cine.levels.shape[1:] != found[0].shape[1:]:
            one, other = (" x ".join(map(str, v.shape[1:])) for v in (found[0], cine.levels))
            raise DataError(
                f"frames differ: {paths[0].name} has {one}, {item.name} has {other}; expected one size.",
                hint="Train on pictures of one size.",
            )
        side = cine.record.geometry.pixel_m
        pixel_m = float((side[0] * side[1]) ** 0.5) if side is not None and not found else pixel_m
        found.append(cine.levels)
    levels = torch.from_numpy(np.concatenate(found))
    return (levels, pixel_m), [w for w in dict.fromkeys(warnings) if "patient identity" not in w]


def train_bmode_file(
    out: Path,
    config: PriorConfig,
    *,
    data: Path | None = None,
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
    """Train a prior of clean B-mode pictures and write its checkpoint.

    Args:
        out: the checkpoint, a safetensors file.
        config: noise levels are in units of picture levels, which span [-1, 1].
        data: films, pictures or recordings; simulated hearts (`config.frames` of them) when None.
        start: a checkpoint of the same network to fine-tune.
        folder: snapshots and the training log go here; default `<out>.run`.
        resume: go on from the newest snapshot in `folder`.

    Returns:
        Report: parameters, steps, final loss, the pictures used, and the checkpoint's path.
    """
    if config.sigma_min >= config.sigma_max:
        raise ConfigError(f"sigma_min {config.sigma_min} must lie below sigma_max {config.sigma_max}.")
    check_output(out, (".safetensors",), overwrite=overwrite or resume, source=start)
    where, note = choose_device(device)
    with torch.random.fork_rng(devices=[]):
        net = build_net(config, 1)
    before = load_picture_prior(start) if start else None
    if before is not None:
        fill(net, before.checkpoint.weights)
    warnings: list[str] = []
    pictures: Pictures | None = None
    if data is not None:
        pictures, warnings = read_pictures(data)
    source = f"{many(len(pictures[0]), 'frame')} of {data}" if pictures else ""
    parameters = sum(p.numel() for p in net.parameters())
    plan = (
        f"train a prior of {ROLE} on {source or many(config.frames, 'simulated picture')}, "
        f"recipe {preset or 'none'}, seed {seed}",
        f"{config.steps} steps x {config.batch} patches of {config.patch[0]} x {config.patch[1]} = "
        f"{config.steps * config.batch} network calls with gradients, {parameters / 1e3:.0f} k parameters",
        f"{note or f'device: {where}'}; output: {out}",
    )
    ready(Outlook(plan, tuple(warnings), str(where)))
    if pictures is None:
        progress("simulate", 0, config.frames, None)
        pictures = simulated_pictures(config.frames, seed=seed), PIXEL_M
        progress("simulate", config.frames, config.frames, None)
    levels, pixel_m = pictures
    work = folder if folder is not None else out.with_suffix(".run")
    work.mkdir(parents=True, exist_ok=True)
    prior = train_picture_prior(
        levels,
        config,
        pixel_m=pixel_m,
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
        "role": ROLE,
        "output": str(out),
        "output_sha256": sha256(out),
        "frames": len(levels),
        "frame_shape": list(levels.shape[1:]),
        "pixel_m": pixel_m,
        "parameters": parameters,
        "steps": config.steps,
        "loss": prior.checkpoint.training.get("loss"),
        "data_std": prior.denoiser.data_std,
        "seed": seed,
        "device": str(where),
        "warnings": warnings,
    }
