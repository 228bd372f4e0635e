"""Runs of a model over windows: plans, guidance, and one stream of random numbers per window and sample.

    sampler   plan                                                       guidance rule
    ddpm      ancestral on whole steps n .. 1, 0                         variance (two placements)
    ddim      DDIM on a sub-sequence of steps, eta in [0, 1]             score
    default   the core's third-order plan on its logistic grid           score
    euler     equal steps from noise to data, for "tsflow"               none

A row of a run is one sample of one window. Its noise comes from a seed made of the run's seed, the series,
the start of the window and the number of the sample, and its quantile level from that number, so a row is
the same alone, in a batch, in chunks and on any number of processes. A CPU takes one window at a time, in
pieces of a fixed size, so that not even the rounding depends on what else is asked for; a GPU takes `rows`
at once.

Source of the sub-sequences: the code of Kollovieh et al. 2023, arXiv:2307.11494 (`skip_factor`, uniform and
quadratic).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan import Plan, ancestral, ddim, default, euler
from core.process import LinearBetas
from core.progress import Progress, silent
from core.run import sample
from core.state import Seeds
from core.train.samples import mixed_seed
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Array
from domains.timeseries.guidance import Known, Rule, levels_of, self_guided
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import Cut

__all__ = ["Job", "check_sampling", "ddim_times", "plan_of", "run_jobs", "start_of", "steer_of"]

PIECE = 128  # rows that a CPU takes at once
STEPS = {"ddim": 25, "default": 25, "euler": 32}


@dataclass(frozen=True)
class Job:
    """One window to be sampled.

    Attributes:
        cut: the window.
        key: what its random numbers depend on beside the run's seed: the series and the window's start.
        samples: numbers of its samples, each below `of`.
        of: S, the size of the whole ensemble, which the quantile levels refer to.
        cond: what a conditional network is told, one tensor (F, L) per name; None for an unconditional one.
    """

    cut: Cut
    key: tuple[str, ...]
    samples: range
    of: int
    cond: dict[str, Tensor] | None = None


def ddim_times(n: int, steps: int, skip: str = "uniform") -> list[float]:
    """Decreasing times of a sub-sequence of the steps 1 .. n, then 0.

    Args:
        n: noising steps of the process.
        steps: calls wanted; the sub-sequence takes every (n // steps)-th step, so it may hold a few more.
        skip: "uniform", or "quadratic" with more of them near the data.
    """
    if not 1 <= steps <= n:
        raise ConfigError(f"a sub-sequence of {n} steps has 1 to {n} of them, got {steps}.")
    factor = n // steps
    if skip == "uniform":
        chosen = set(range(0, n, factor))
    else:
        count, share = n // factor, 1 - factor / n
        chosen = {int(v) for v in np.linspace(0, math.sqrt(n * share), count) ** 2}
    return [float(k + 1) for k in sorted(chosen, reverse=True)] + [0.0]


def plan_of(model: SeriesModel, sampling: SampleConfig) -> Plan:
    """The plan that a sampler name means for a model.

    Raises:
        ConfigError: the sampler does not suit the model's process.
    """
    process, steps = model.denoiser.process, sampling.num_steps
    if sampling.sampler == "euler":
        if isinstance(process, LinearBetas):
            raise ConfigError(
                "the sampler 'euler' is for models of kind 'tsflow'.", hint="Use ddpm, ddim or default."
            )
        n = steps or STEPS["euler"]
        return euler(process, [1 - i / n for i in range(n)] + [0.0])
    if not isinstance(process, LinearBetas):
        raise ConfigError(
            f"a model of kind '{model.kind}' is sampled by 'euler', got '{sampling.sampler}'.",
            hint="Leave the sampler out, or train a model of kind 'tsdiff'.",
        )
    if sampling.sampler == "ddpm":
        times = ddim_times(process.steps, steps or process.steps, sampling.skip)
        return ancestral(process, times)
    n = steps or STEPS[sampling.sampler]
    if sampling.sampler == "default":
        return default(process, n, data_std=model.denoiser.data_std)
    return ddim(process, ddim_times(process.steps, min(n, process.steps), sampling.skip), eta=sampling.eta)


def check_sampling(model: SeriesModel, sampling: SampleConfig) -> list[str]:
    """Refuse settings that cannot run, before long work; returns warnings about the others."""
    plan_of(model, sampling)
    notes = []
    if sampling.guidance != "none":
        if model.kind != "tsdiff":
            raise ConfigError(
                f"a model of kind '{model.kind}' is told the context and takes no guidance.",
                hint="Set guidance='none'.",
            )
        if not sampling.scale > 0:
            raise ConfigError(
                f"the guidance scale must be positive, got {sampling.scale}.",
                hint="Set guidance='none' to sample freely.",
            )
        if sampling.placement == "reference" and sampling.sampler != "ddpm":
            raise ConfigError(
                "the placement 'reference' is defined for the sampler ddpm.", hint="Use placement='paper'."
            )
        if sampling.guidance == "quantile" and sampling.num_samples < 9:
            notes.append(
                f"quantile guidance spreads {sampling.num_samples} samples over as many levels; with fewer "
                "than 9 the deciles of the result are rough."
            )
    return notes


def steer_of(
    denoiser: Denoiser, plan: Plan, sampling: SampleConfig, y: Tensor, mask: Tensor, levels: Tensor
) -> Denoiser:
    """The denoiser guided as the settings say.

    Args:
        y, mask: (B, channels, L).
        levels: (B,).
    """
    if sampling.guidance == "none":
        return denoiser
    energy = Known(y, mask, levels if sampling.guidance == "quantile" else None)
    rule: Rule = "variance" if sampling.sampler == "ddpm" else "score"
    return self_guided(denoiser, energy, sampling.scale, plan, rule=rule, placement=sampling.placement)


def start_of(model: SeriesModel, y: Tensor, seeds: Seeds, plan: Plan) -> Tensor:
    """Noise that a run begins with, like y (B, channels, L); a flow reads the context from y."""
    process = model.denoiser.process
    if isinstance(process, LinearBetas):
        # N(0, I), as published, though a little signal is left at the last step: sigma^2 = 1 - abar.
        return process.space.noise(y, seeds)
    return process.prior(y, seeds, plan.start)


def run_jobs(
    model: SeriesModel,
    jobs: Sequence[Job],
    sampling: SampleConfig,
    *,
    seed: int = 0,
    stage: str = "sample",
    progress: Progress = silent,
) -> list[Tensor]:
    """Sample every job.

    Returns:
        Per job its samples in scaled units, (len(job.samples), channels, L), float32, on the CPU.
    """
    plan = plan_of(model, sampling)
    device = next(model.denoiser.parameters()).device
    rows = [(number, index) for number, job in enumerate(jobs) for index in job.samples]
    out = [torch.empty(len(job.samples), *job.cut.values.shape) for job in jobs]
    pieces = _pieces(jobs, rows, device, sampling.rows)
    done = 0
    progress(stage, 0, len(rows), None)
    while pieces:
        piece = pieces.pop(0)
        try:
            found = _run(
                model, plan, [(jobs[number], index) for number, index in piece], sampling, seed, device
            )
        except torch.OutOfMemoryError:
            if len(piece) == 1:
                raise
            half = len(piece) // 2
            pieces[:0] = [piece[:half], piece[half:]]
            continue
        for (number, index), row in zip(piece, found, strict=True):
            out[number][index - jobs[number].samples.start] = row
        done += len(piece)
        progress(stage, done, len(rows), None)
    return out


def _pieces(
    jobs: Sequence[Job], rows: list[tuple[int, int]], device: torch.device, most: int
) -> list[list[tuple[int, int]]]:
    if device.type != "cpu":
        return [rows[i : i + most] for i in range(0, len(rows), most)]
    out: list[list[tuple[int, int]]] = []
    for _, own in groupby(rows, key=lambda row: jobs[row[0]].key):
        group = list(own)
        out += [group[i : i + PIECE] for i in range(0, len(group), PIECE)]
    return out


def _run(
    model: SeriesModel,
    plan: Plan,
    rows: Sequence[tuple[Job, int]],
    sampling: SampleConfig,
    seed: int,
    device: torch.device,
) -> Tensor:
    def stacked(pick: Callable[[Job], Any]) -> Tensor:
        return torch.stack([torch.as_tensor(pick(job)) for job, _ in rows]).to(device, torch.float32)

    y, mask = stacked(lambda job: job.cut.values), stacked(lambda job: job.cut.known)
    levels = torch.stack([levels_of(torch.tensor(index), job.of) for job, index in rows]).to(device)
    cond = None
    if (first := rows[0][0].cond) is not None:
        cond = {name: stacked(partial(_told, name)) for name in first}
    seeds = Seeds([mixed_seed(seed, *job.key, index) for job, index in rows])
    steered = steer_of(model.denoiser, plan, sampling, y, mask, levels)
    return sample(plan, steered, start_of(model, y, seeds, plan), seeds, cond).cpu()


def _told(name: str, job: Job) -> Tensor:
    assert job.cond is not None
    return job.cond[name]


def in_units(samples: Tensor, scale: float) -> Array:
    """Channel 0 in the unit of the data, (S, L), float64."""
    return samples[:, 0].double().numpy() * scale
