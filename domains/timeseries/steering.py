"""Forecasts by particles: samples of a window that compete for how well they explain what is known of it.

Self-guidance pulls every sample by a gradient of its own and stops there, so what it samples is not exactly
the model's law of the future given the past. Here S samples of one window are a group of particles: each is
pulled by the gradient of a likelihood of the known values, and weights repay what the pull took beyond the
model's own step, so that resampled groups stand for

    p(window) exp(-sum m |y - x| / b)            law "laplace"
    p(window) exp(-sum m (y - x)^2 / (2 b^2))    law "normal"

with b the noise that known values are read with. On the way the likelihood of y at the denoised window is
widened by what is still open, v(t) = d^2 r^2 / (d^2 + r^2), r = sigma / alpha and d the standard deviation of
the data: b becomes sqrt(v + b^2). One call and one gradient per step and particle: the cost of self-guidance.

The pull of the normal law grows with the misfit, and where known values are strongly correlated, as those of
a long
context are, it overshoots: runs of few steps diverge. That of the Laplace law is bounded.

Source: Wu et al. 2023, arXiv:2306.17775 (twisted diffusion sampler); the rows and weights are `core.infer`'s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from core.infer import fk_sample, twist, twisted
from core.plan import ancestral
from core.process import LinearBetas
from core.progress import Progress, silent
from core.state import Seeds
from core.steer.measured import open_variance
from core.train.samples import mixed_seed
from domains.timeseries.data import Array, Forecast, Series
from domains.timeseries.forecasting import check_series, key_of, over_ranks
from domains.timeseries.sampling import ddim_times, in_units
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import cut

__all__ = ["Law", "Steered", "steered_forecast"]

Law = Literal["laplace", "normal"]
Misfit = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Steered:
    """Forecasts by particles.

    Attributes:
        forecasts: one per series, equally weighted samples after a last resampling.
        ess: effective sample size at the end, before that resampling, per series, (N,).
        roots: how many of the starting particles have descendants at the end, per series, (N,).
        calls: of the network per particle, each with a gradient.
    """

    forecasts: list[Forecast]
    ess: Array
    roots: Array
    calls: int


def steered_forecast(
    model: SeriesModel,
    series: Sequence[Series],
    *,
    num_samples: int = 100,
    num_steps: int | None = None,
    noise: float = 0.1,
    law: Law = "laplace",
    ess_threshold: float = 0.5,
    seed: int = 0,
    progress: Progress = silent,
) -> Steered:
    """Forecast every series from its end on by twisted particles.

    Args:
        model: unconditional, of the same frequency.
        num_samples: S particles per series.
        num_steps: of the ancestral plan; all of the process by default.
        noise: b, scaled units.
        law: of that noise.
        ess_threshold: share of S below which the group is resampled.
        seed: same seed, same samples, whatever else is asked for at once.

    Raises:
        ConfigError: the model is conditional, or the noise is not positive.
    """
    process = model.denoiser.process
    if model.kind != "tsdiff" or not isinstance(process, LinearBetas):
        raise ConfigError(
            f"particles need an unconditional model, got one of kind '{model.kind}'.",
            hint="Use a tsdiff one.",
        )
    if not noise > 0:
        raise ConfigError(f"the noise of known values must be positive, got {noise}.")
    if law not in get_args(Law):
        raise unknown("law of noise", law, get_args(Law))
    for item in series:
        check_series(model, item)
    # The last time is the smallest noise that the model knows: weights need every row to draw.
    times = ddim_times(process.steps, num_steps or process.steps)[:-1]
    plan, p = ancestral(process, times), model.shape.prediction
    device = next(model.denoiser.parameters()).device
    done = 0

    def some(index: list[int]) -> Array:
        nonlocal done
        out = np.zeros((len(index), num_samples * p + 2))
        for row, i in zip(out, index, strict=True):
            piece = cut(series[i], model.shape)
            y, mask = (
                torch.from_numpy(a).to(device, torch.float32)[None] for a in (piece.values, piece.known)
            )

            def misfit(x0: Tensor, spread: float, y: Tensor = y, mask: Tensor = mask) -> Tensor:
                gap = (mask * (y - x0)).flatten(1).double()
                if law == "laplace":
                    return -gap.abs().sum(1) / math.sqrt(spread)
                return -gap.square().sum(1) / (2 * spread)

            def explained(x0: Tensor, t: float, misfit: Misfit = misfit) -> Tensor:
                return misfit(x0, open_variance(process, t, model.denoiser.data_std) + noise**2)

            def fits(x0: Tensor, misfit: Misfit = misfit) -> Tensor:
                return misfit(x0, noise**2)

            like = torch.zeros(num_samples, *piece.values.shape, device=device)
            seeds = Seeds([mixed_seed(seed, *key_of(series[i]), "particles")])
            x = process.space.noise(like, seeds.blocks(num_samples))
            found = fk_sample(
                plan,
                twist(model.denoiser, explained),
                twisted(process, fits),
                x,
                seeds,
                ess_threshold=ess_threshold,
            )
            ends = in_units(found.even(seeds).cpu(), piece.scale)[:, -p:]
            row[:-2] = ends.ravel()
            row[-2] = float(1 / found.log_w.exp().square().sum())
            row[-1] = len(torch.unique(found.roots()))
            done += 1
            progress("particles", done, len(series), None)
        return out

    rows = over_ranks(len(series), (num_samples * p + 2,), some, device)
    forecasts = [
        Forecast(item.item_id, item.end, row[:-2].reshape(num_samples, p))
        for item, row in zip(series, rows, strict=True)
    ]
    return Steered(forecasts, rows[:, -2], rows[:, -1], plan.evaluations)
