"""Training: objectives, the loop, averages of weights, checkpoints, several processes."""

from core.train.adapter import Adapted
from core.train.checkpoint import Checkpoint, Snapshot, denoiser_of, fill, load, save
from core.train.config import FitConfig, rate
from core.train.distil import Consistency, Trajectory, solved
from core.train.distributed import group, place
from core.train.ema import EMA, PowerEMA
from core.train.interpolant import Ends, Interpolation
from core.train.loop import fit
from core.train.mmd import MMDFinetune
from core.train.objective import (
    Denoising,
    LogNormal,
    LogUniform,
    Objective,
    UniformTime,
    data_std,
    within_variance,
)
from core.train.samples import Batch, Drawn, Samples, Shuffled, Streamed, mixed_seed, seeds_of

__all__ = [
    "EMA",
    "Adapted",
    "Batch",
    "Checkpoint",
    "Consistency",
    "Denoising",
    "Drawn",
    "Ends",
    "FitConfig",
    "Interpolation",
    "LogNormal",
    "LogUniform",
    "MMDFinetune",
    "Objective",
    "PowerEMA",
    "Samples",
    "Shuffled",
    "Snapshot",
    "Streamed",
    "Trajectory",
    "UniformTime",
    "data_std",
    "denoiser_of",
    "fill",
    "fit",
    "group",
    "load",
    "mixed_seed",
    "place",
    "rate",
    "save",
    "seeds_of",
    "solved",
    "within_variance",
]
