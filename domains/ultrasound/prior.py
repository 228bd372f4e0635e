"""Priors of tissue and of haze: what they are trained on, how, and how they are stored.

A prior is a denoiser of companded lines under the variance-exploding process whose clock is the noise level.
It remembers what it was trained on (role, RF or IQ, rate of sampling over centre frequency), so that it
refuses anything else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from core.denoise import Wrapped, wrap
from core.errors import CheckpointError, ConfigError, DataError, ModelMismatch, unknown
from core.process import Karras
from core.progress import Progress, silent
from core.train.checkpoint import Checkpoint, denoiser_of, load
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Denoising, LogUniform, data_std
from core.train.samples import Drawn
from domains.ultrasound.companding import MU, compand_channels, expand_channels, normalise, to_channels
from domains.ultrasound.config import BRIGHTNESS, PriorConfig
from domains.ultrasound.data import Geometry
from domains.ultrasound.networks import MonaiUNet, build_net, rebuild_net

__all__ = ["Prior", "Role", "check_match", "companded", "draw_patch", "load_prior", "train_prior"]

Role = Literal["tissue", "haze"]


@dataclass(frozen=True)
class Prior:
    """A trained prior, ready to sample.

    Attributes:
        denoiser: D(v, sigma) of companded channels (B, 1 or 2, sample, line).
        role: "tissue" or "haze".
        domain: "rf" or "iq".
        rate: sampling frequency over centre frequency of the training lines, or None where unknown.
        patch: samples and lines of a training patch.
        sigmas: smallest and largest noise level it was trained at, companded units.
        checkpoint: everything else that was stored.
    """

    denoiser: Wrapped
    role: Role
    domain: Literal["rf", "iq"]
    rate: float | None
    patch: tuple[int, int]
    sigmas: tuple[float, float]
    checkpoint: Checkpoint


def companded(lines: Tensor) -> Tensor:
    """Companded channels (n, 1 or 2, sample, line) of lines (n, sample, line), each frame scaled to peak
    1.
    """
    scaled, _ = normalise(lines)
    return compand_channels(to_channels(scaled))


def draw_patch(frames: Tensor, config: PriorConfig, gen: torch.Generator) -> Tensor:
    """One training patch: a random place in a random frame, flipped left-right or not, brighter or darker.

    Args:
        frames: companded, (n, C, sample, line).

    Returns:
        (C, *config.patch). A gain of (1 + mu)^b, b uniform in `config.brightness`, acts on the linear lines:
        it moves loud companded echoes by b and leaves silence silent.
    """
    n, _, height, width = frames.shape
    rows, cols = min(config.patch[0], height), min(config.patch[1], width)

    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=gen))

    i, top, left = draw(n), draw(height - rows + 1), draw(width - cols + 1)
    patch = frames[i, :, top : top + rows, left : left + cols]
    if draw(2):
        patch = patch.flip(-1)
    if config.brightness is None:
        return patch.contiguous()
    low, high = config.brightness
    gain = (1 + MU) ** (low + (high - low) * float(torch.rand(1, generator=gen)))
    return compand_channels(gain * expand_channels(patch[None]))[0]


def train_prior(
    lines: Tensor,
    role: Role,
    config: PriorConfig,
    *,
    geometry: Geometry | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    start: Prior | None = None,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    progress: Progress = silent,
) -> Prior:
    """Train one prior by denoising score matching on patches.

    Args:
        lines: frames of one source alone, (n, sample, line), complex IQ or real RF, linear.
        role: what they show.
        geometry: of the lines; its sampling over centre frequency is stored.
        folder: receives snapshots, log and `model.safetensors`; None keeps everything in memory.
        start: a prior to go on from instead of random weights (fine-tuning).

    Raises:
        DataError: frames smaller than 16 x 16, or not finite.
    """
    if role not in get_args(Role):
        raise unknown("role", role, get_args(Role))
    if min(lines.shape[1:]) < 16:
        raise DataError(f"frames must be at least 16 x 16, got {tuple(lines.shape[1:])}.")
    frames = companded(lines)
    if config.brightness is None:
        config = config.model_copy(update={"brightness": BRIGHTNESS[role]})
    std = data_std(frames)
    process = Karras(config.sigma_min, config.sigma_max)
    torch_gen = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_gen.get_state())
        net = build_net(config, frames.shape[1])
    if start is not None:
        net.load_state_dict(start.denoiser.net.state_dict())  # type: ignore[union-attr]
        std = start.denoiser.data_std
    denoiser = wrap(net, process, predicts="edm", data_std=std).to(device)
    card = {
        "role": role,
        "preset": preset,
        "v0": float(frames.flatten(1).var(1).mean()),
        "net": {"kind": "monai" if isinstance(net, MonaiUNet) else "unet", **net.config},
        "training": {
            "domain": "iq" if lines.is_complex() else "rf",
            "rate": _rate(geometry),
            "patch": list(config.patch),
            "frames": len(frames),
            "recipe": config.model_dump(mode="json"),
        },
    }
    settings = FitConfig(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        schedule=config.schedule,
        warmup=config.warmup,
        clip=1.0,
        ema=EMA(config.ema) if config.ema else None,
        every_steps=max(1, min(1000, config.steps // 4)),
        log_every=max(1, config.steps // 200),
    )
    checkpoint = fit(
        Denoising(times=LogUniform(config.sigma_min, config.sigma_max), weight="edm", data_std=std),
        denoiser,
        Drawn(lambda gen: draw_patch(frames, config, gen)),
        settings,
        seed=seed,
        folder=folder,
        resume=resume,
        card=card,
        stage=f"train {role}",
        progress=progress,
    )
    return prior_of(checkpoint)


def load_prior(path: Path, role: Role | None = None) -> Prior:
    """Read a prior from its checkpoint.

    Raises:
        CheckpointError: the file is missing, truncated, no ultrasound prior, or has another role.
    """
    return prior_of(load(path, role=role))


def prior_of(checkpoint: Checkpoint) -> Prior:
    """The prior that a checkpoint holds."""
    training = checkpoint.training
    process: dict[str, Any] = dict(checkpoint.process)
    if checkpoint.role not in get_args(Role) or "domain" not in training:
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected an ultrasound prior of tissue or "
            "haze."
        )
    return Prior(
        denoiser=denoiser_of(checkpoint, rebuild_net(dict(checkpoint.net))),
        role=checkpoint.role,  # type: ignore[arg-type]
        domain=training["domain"],
        rate=training["rate"],
        patch=tuple(training["patch"]),
        sigmas=(process["sigma_min"], process["sigma_max"]),
        checkpoint=checkpoint,
    )


def check_match(prior: Prior, domain: str | None, geometry: Geometry) -> None:
    """Refuse lines of another kind than the prior was trained on.

    Raises:
        ModelMismatch: RF against IQ, no phase at all, or a sampling rate per centre frequency beyond 10 %.
    """
    if domain is None:
        raise ModelMismatch(
            "no phase found: the input is an envelope or a log image.", hint="Use dehaze-video for pictures."
        )
    if domain != prior.domain:
        convert = (
            "demodulate it: suffuse ultrasound convert --to iq"
            if domain == "rf"
            else "train with --domain iq"
        )
        raise ModelMismatch(
            f"the input is {domain.upper()}, the {prior.role} prior was trained on {prior.domain.upper()}.",
            hint=f"Use a prior of the same kind, or {convert}.",
        )
    found = _rate(geometry)
    if prior.rate and found and abs(found / prior.rate - 1) > 0.1:
        raise ModelMismatch(
            f"the input has fs/f0 = {found:.3g}, the {prior.role} prior was trained at {prior.rate:.3g}.",
            hint="Resample the lines to the prior's rate, or train a prior on lines of this rate.",
        )


def check_range(prior: Prior, start_sigma: float) -> None:
    """Refuse a first noise level that the prior never saw."""
    low, high = prior.sigmas
    if not low < start_sigma <= high:
        raise ConfigError(
            f"start_sigma {start_sigma} lies outside the trained range ({low}, {high}] of the {prior.role} "
            "prior.",
            hint=f"Choose a value up to {high}.",
        )


def _rate(geometry: Geometry | None) -> float | None:
    """Sampling over centre frequency, or None where either is unknown."""
    if geometry is None or not geometry.fs_hz or not geometry.f0_hz:
        return None
    return geometry.fs_hz / geometry.f0_hz
