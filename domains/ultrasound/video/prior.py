"""A prior of clean B-mode pictures: levels in [-1, 1], one channel, -1 black and 1 the brightest echo.

    level = 1 + 2 dB / range        of a picture in dB, range the display range, 60 dB by default
    level = v / 127.5 - 1           of an 8-bit picture

It is trained by the one trainer on patches, like the priors of lines, under the variance-exploding process
whose clock is the noise level, and is stored under the role "bmode". Pictures have no phase and no carrier;
what ties a prior to pictures is the size of a pixel, which it remembers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.denoise import Wrapped, wrap
from core.errors import CheckpointError, ConfigError, DataError
from core.process import Karras
from core.progress import Progress, silent
from core.seeded import seeded
from core.train.checkpoint import Checkpoint, denoiser_of, load
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Denoising, LogUniform, data_std
from core.train.samples import Drawn
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.networks import MonaiUNet, build_net, rebuild_net
from domains.ultrasound.scan_convert import layout_of, scan_convert
from domains.ultrasound.simulate import get_probe, training_frames
from domains.ultrasound.video.levels import db_to_level

__all__ = [
    "PIXEL_M",
    "ROLE",
    "PicturePrior",
    "load_picture_prior",
    "simulated_pictures",
    "train_picture_prior",
]

ROLE = "bmode"
PIXEL_M = 5e-4  # of simulated training pictures and of scan-converted recordings: about 240 x 290 pixels
SMALLEST = 16


@dataclass(frozen=True)
class PicturePrior:
    """A trained prior of pictures, ready to sample.

    Attributes:
        denoiser: D(x, sigma) of levels (B, 1, H, W).
        patch: rows and columns of a training patch.
        sigmas: smallest and largest noise level it was trained at, in levels.
        pixel_m: side of a pixel of the training pictures, metres; None where unknown.
        checkpoint: everything else that was stored.
    """

    denoiser: Wrapped
    patch: tuple[int, int]
    sigmas: tuple[float, float]
    pixel_m: float | None
    checkpoint: Checkpoint


def simulated_pictures(n: int, *, seed: int = 0, pixel_m: float = PIXEL_M) -> Tensor:
    """Scan-converted frames of simulated hearts without haze, levels (n, H, W), outside the sector -1.

    Args:
        n: hearts, a frame each; about .15 CPU-seconds each.
        seed: same seed, same pictures. They never meet those of `simulate` with that seed.
        pixel_m: side of a pixel, metres.
    """
    probe = get_probe("cardiac")
    frames = training_frames(n, what="tissue", seed=seed, probe=probe).abs()
    db = 20 * (frames / frames.amax((1, 2), keepdim=True)).clamp_min(1e-3).log10()
    layout = layout_of(probe.geometry(), frames.shape[1], pixel_m=pixel_m)
    return db_to_level(scan_convert(db.float(), layout, fill=-60.0))


def draw_picture(pictures: Tensor, config: PriorConfig, gen: torch.Generator) -> Tensor:
    """One training patch (1, *config.patch): a random place in a random picture, flipped left-right or not.

    With `config.brightness` an offset from that range moves every level but black, clipped to [-1, 1].
    """
    n, height, width = pictures.shape
    rows, cols = min(config.patch[0], height), min(config.patch[1], width)

    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=gen))

    i, top, left = draw(n), draw(height - rows + 1), draw(width - cols + 1)
    patch = pictures[i, top : top + rows, left : left + cols]
    if draw(2):
        patch = patch.flip(-1)
    if config.brightness is not None:
        low, high = config.brightness
        shift = low + (high - low) * float(torch.rand(1, generator=gen))
        patch = torch.where(patch > -1, (patch + shift).clamp(-1, 1), patch)
    return patch[None].contiguous()


def train_picture_prior(
    pictures: Tensor,
    config: PriorConfig,
    *,
    pixel_m: float | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    start: PicturePrior | None = None,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    progress: Progress = silent,
) -> PicturePrior:
    """Train a prior of pictures by denoising score matching on patches.

    Args:
        pictures: clean B-mode, levels in [-1, 1], (n, H, W).
        pixel_m: side of their pixels, stored.
        folder: receives snapshots, log and `model.safetensors`; None keeps everything in memory.
        start: a prior to go on from (fine-tuning).

    Raises:
        DataError: pictures smaller than 16 x 16, or levels outside [-1, 1].
    """
    if pictures.ndim != 3 or min(pictures.shape[1:]) < SMALLEST:
        raise DataError(f"pictures must be at least 16 x 16, got {tuple(pictures.shape)}.")
    if not bool(pictures.abs().max() <= 1 + 1e-6):
        raise DataError(
            "levels of pictures must lie in [-1, 1].", hint="Convert them with levels.db_to_level."
        )
    pictures = pictures.float()
    std = data_std(pictures) if start is None else start.denoiser.data_std
    with seeded(seed):
        net = build_net(config, 1)
    if start is not None:
        net.load_state_dict(start.denoiser.net.state_dict())  # type: ignore[union-attr]
    process = Karras(config.sigma_min, config.sigma_max)
    denoiser = wrap(net, process, predicts="edm", data_std=std).to(device)
    card = {
        "role": ROLE,
        "preset": preset,
        "v0": float(pictures.flatten(1).var(1).mean()),
        "net": {"kind": "monai" if isinstance(net, MonaiUNet) else "unet", **net.config},
        "training": {
            "domain": "picture",
            "pixel_m": pixel_m,
            "patch": list(config.patch),
            "frames": len(pictures),
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
        Drawn(lambda gen: draw_picture(pictures, config, gen)),
        settings,
        seed=seed,
        folder=folder,
        resume=resume,
        card=card,
        stage=f"train {ROLE}",
        progress=progress,
    )
    return picture_prior_of(checkpoint)


def load_picture_prior(path: Path) -> PicturePrior:
    """Read a prior of pictures from its checkpoint.

    Raises:
        CheckpointError: the file is missing, truncated, or has another role than "bmode".
    """
    return picture_prior_of(load(path, role=ROLE))


def picture_prior_of(checkpoint: Checkpoint) -> PicturePrior:
    """The prior that a checkpoint holds."""
    training, process = checkpoint.training, dict(checkpoint.process)
    if checkpoint.role != ROLE or "patch" not in training or "sigma_min" not in process:
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected a prior of B-mode pictures."
        )
    return PicturePrior(
        denoiser=denoiser_of(checkpoint, rebuild_net(dict(checkpoint.net))),
        patch=tuple(training["patch"]),
        sigmas=(process["sigma_min"], process["sigma_max"]),
        pixel_m=training.get("pixel_m"),
        checkpoint=checkpoint,
    )


def check_start(prior: PicturePrior, start_sigma: float) -> None:
    """Refuse a first noise level that the prior never saw."""
    low, high = prior.sigmas
    if not low < start_sigma <= high:
        raise ConfigError(
            f"start_sigma {start_sigma} lies outside the trained range ({low}, {high}] of the bmode prior.",
            hint=f"Choose a value up to {high}.",
        )


def pixel_warnings(prior: PicturePrior, pixel_m: tuple[float, float] | None) -> list[str]:
    """Say so when the pixels of a picture differ by more than a factor of 1.5 from those of the prior."""
    if prior.pixel_m is None or pixel_m is None:
        return []
    ratio = float(np.sqrt(pixel_m[0] * pixel_m[1])) / prior.pixel_m
    if 2 / 3 <= ratio <= 1.5:
        return []
    mine, theirs = 1e3 * prior.pixel_m * ratio, 1e3 * prior.pixel_m
    return [
        f"the pixels are {mine:.2g} mm, those of the prior {theirs:.2g} mm: "
        "speckle of another size may be taken for haze."
    ]
