"""The supervised baseline: the prior's network trained by regression on simulated pairs of hazy and clean
lines.

It needs what joint sampling does not: pairs. It answers in one call, and knows only the haze it was trained
on.

Source: the NCSNv2 baseline of Stevens et al. 2024, IEEE TMI 43(10) 3546, section IV-C.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.process import Karras
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.samples import Batch, Drawn
from domains.ultrasound.companding import (
    compand_channels,
    expand_channels,
    from_channels,
    normalise,
    to_channels,
)
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.networks import build_net
from domains.ultrasound.simulate import mix

__all__ = ["Supervised", "dehaze_supervised", "train_supervised"]

LEVELS = (0.05, 0.4)  # haze levels of the training pairs


class Supervised(nn.Module):
    """Companded hazy channels in, companded clean channels out; a noise level it is not given stays at
    zero.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.process = Karras()  # the trainer stores one; this network has no noise

    def forward(self, y: Tensor) -> Tensor:
        """Clean channels (B, C, sample, line) of hazy ones: the input plus the network's correction."""
        return y + self.net(y, y.new_zeros(len(y)), None)


@dataclass(frozen=True)
class Regression:
    """Mean squared error of the companded clean lines, (B,)."""

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        return (denoiser(batch.cond) - batch.x0).square().flatten(1).mean(1)


def train_supervised(
    tissue: Tensor, haze: Tensor, config: PriorConfig, *, seed: int = 0, progress: Progress = silent
) -> Supervised:
    """Train on pairs: tissue alone against tissue plus haze at a random level.

    Args:
        tissue, haze: frames (n, sample, line), RF or IQ; any haze meets any tissue.
        config: network, patch and schedule, as for a prior of the same size.
    """
    with seeded(seed):
        model = Supervised(build_net(config, 2 if tissue.is_complex() else 1))

    def draw(gen: torch.Generator) -> Batch:
        i, j = (int(torch.randint(len(frames), (1,), generator=gen)) for frames in (tissue, haze))
        level = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * float(torch.rand(1, generator=gen))
        pair = mix(tissue[i : i + 1], haze[j : j + 1], level)
        rows, cols = config.patch
        top = int(torch.randint(tissue.shape[1] - rows + 1, (1,), generator=gen))
        left = int(torch.randint(tissue.shape[2] - cols + 1, (1,), generator=gen))
        clean, hazy = (
            compand_channels(to_channels(lines[:, top : top + rows, left : left + cols]))[0]
            for lines in (pair.tissue, pair.y)
        )
        return Batch(clean, hazy)

    settings = FitConfig(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        schedule=config.schedule,
        ema=EMA(config.ema) if config.ema else None,
        every_steps=None,
    )
    checkpoint = fit(
        Regression(), model, Drawn(draw), settings, seed=seed, stage="train supervised", progress=progress
    )
    model.net.load_state_dict(dict(checkpoint.weights))
    return model.eval().requires_grad_(False)


def dehaze_supervised(model: Supervised, lines: Tensor) -> Tensor:
    """Dehazed lines, like lines (frame, sample, line), in one call of the network."""
    scaled, peak = normalise(lines)
    with torch.no_grad():
        return from_channels(expand_channels(model(compand_channels(to_channels(scaled))))) * peak
