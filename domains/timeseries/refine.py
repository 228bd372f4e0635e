"""Refinement: move the forecast of any other model towards the density that a diffusion model has learned.

The samples of the base forecast are sorted per time step and put into the future of the window, y~. From
there

    E(y) = ELBO_tau(y) + lambda R(y, y~)
    ELBO_tau(y) = |eps - eps(sqrt(abar) y + sqrt(1 - abar) eps, tau)|^2

with fresh noise at every iteration and sums over all entries, is lowered or sampled:

    ml     y <- y - lr grad E                                                     gradient descent
    lmc    y <- y - lr grad E + sqrt(2 lr) noise_scale xi                         Langevin
    hmc    momenta drawn anew, `leapfrog` leapfrog steps of size lr, all accepted
    udld   underdamped Langevin: half a step of friction and noise, leapfrog, half a step again; momenta kept

    R       mse  sum (y - y~)^2            quantile  sum max(k e, (k - 1) e), e = y~ - y, k = i / (S + 1)

`anchor_future` says whether R sees the forecast part too: in the published code it does for "quantile" and
does not for "mse", and these are the defaults. Lag channels count as known throughout.

tau is the step whose loss is nearest to the mean loss over all steps. It is measured with several draws of
the noise here (one draw, as in the code, gives another tau at every run).

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 3.2, algorithms 2 and 3, and its code, which
multiplies the Langevin noise by 0.1 where the paper has a temperature under the root.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from core.denoise import Denoiser, noise_of
from core.errors import ConfigError, DataError
from core.process import LinearBetas
from core.progress import Progress, silent
from core.state import Seeds, randn
from core.steer.gradient import gradient
from core.train.samples import Samples, mixed_seed, seeds_of
from domains.timeseries.data import Array, Forecast, Series
from domains.timeseries.forecasting import check_series, key_of, over_ranks
from domains.timeseries.guidance import Known, levels_of
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import Windows, cut_span, filled

Slope: TypeAlias = Callable[[Tensor], tuple[Tensor, float]]  # windows -> gradient of E, mean of E

__all__ = ["RefineConfig", "Refined", "elbo", "refine", "representative_step"]


class RefineConfig(BaseModel):
    """How a forecast is refined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["ml", "lmc", "hmc", "udld"] = "ml"
    guidance: Literal["mse", "quantile"] = "quantile"
    iterations: int = Field(20, ge=1)
    lr: float = Field(0.1, gt=0, description="step size; 0.01 for exchange rates")
    fixed_step: int | None = Field(None, ge=1, description="tau; None: the representative step")
    weight: float = Field(1.0, ge=0, description="lambda")
    anchor_future: bool | None = Field(None, description="None: true for quantile, false for mse")
    noise_scale: float = Field(0.1, ge=0, description="lmc")
    leapfrog: int = Field(5, ge=1, description="hmc and udld: leapfrog steps an iteration")
    mass: float = Field(1.0, gt=0, description="hmc and udld")
    friction: float = Field(1.0, gt=0, description="udld")
    fresh: bool = Field(True, description="draw the noise of the ELBO anew at every iteration")
    num_samples: int = Field(100, ge=1, description="of a base forecast that has one path")

    @property
    def anchored(self) -> bool:
        """`anchor_future`, resolved."""
        return self.guidance == "quantile" if self.anchor_future is None else self.anchor_future


@dataclass(frozen=True)
class Refined:
    """Refined forecasts and how they were made.

    Attributes:
        forecasts: in the order of the base ones.
        step: tau.
        energy: mean over samples of E before each iteration and after the last, (N, iterations + 1).
        config: the settings.
    """

    forecasts: list[Forecast]
    step: int
    energy: Array
    config: RefineConfig


def refine(
    model: SeriesModel,
    base: Sequence[Forecast],
    series: Sequence[Series],
    config: RefineConfig | None = None,
    *,
    windows: Samples | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Refined:
    """Refine base forecasts of P points.

    Args:
        model: unconditional.
        base: samples (S, P) each, or one path, which is repeated.
        series: the histories that they continue, in the same order.
        windows: training windows that the representative step is measured on; those of `series` by default.
        seed: same seed, same result, whatever else is refined at once.

    Raises:
        ConfigError: the model is conditional.
        DataError: a forecast does not follow its series or has another length.
    """
    config = RefineConfig() if config is None else config
    if model.kind != "tsdiff":
        raise ConfigError(
            f"refinement needs an unconditional model, got one of kind '{model.kind}'.",
            hint="Use a tsdiff one.",
        )
    _check(model, base, series)
    step = config.fixed_step or representative_step(model, windows or _windows(model, series), seed=seed)
    counts = [len(item.samples) if len(item.samples) > 1 else config.num_samples for item in base]
    most, p, rounds = max(counts, default=1), model.shape.prediction, config.iterations + 1
    progress("refine", 0, len(base), None)
    done = 0

    def some(index: list[int]) -> Array:
        nonlocal done
        out = np.zeros((len(index), most * p + rounds))
        for row, i in zip(out, index, strict=True):
            found, energy = _one(model, base[i], series[i], counts[i], config, step, seed)
            row[: found.size], row[-rounds:] = found.ravel(), energy
            done += 1
            progress("refine", done, len(base), f"energy {energy[-1]:.4g}")
        return out

    rows = over_ranks(len(base), (most * p + rounds,), some)
    forecasts = [
        Forecast(item.item_id, item.start, row[: count * p].reshape(count, p))
        for item, row, count in zip(base, rows, counts, strict=True)
    ]
    return Refined(forecasts, step, rows[:, -rounds:], config)


def elbo(denoiser: Denoiser, y: Tensor, eps: Tensor, step: float) -> Tensor:
    """ELBO_tau of windows y (B, channels, L) with noise eps, (B,): the summed squared error of the noise."""
    x = denoiser.process.mix(y, eps, float(step))
    found: Any = noise_of(denoiser.process, x, denoiser(x, float(step)).mean, float(step))
    return (found - eps).square().flatten(1).sum(1)


def representative_step(
    model: SeriesModel, windows: Samples, *, n: int = 64, draws: int = 4, seed: int = 0
) -> int:
    """The step whose mean loss is nearest to the mean over all steps.

    Args:
        windows: by number; n of them are used.
        draws: of the noise per step and window.

    Returns:
        A step in 1 .. 100.
    """
    process = model.denoiser.process
    assert isinstance(process, LinearBetas)
    device = next(model.denoiser.parameters()).device
    y = windows(range(n), mixed_seed(seed, "representative")).x0.to(device)
    losses = []
    with torch.no_grad():
        for step in range(1, process.steps + 1):
            seeds = [
                seeds_of(range(n), mixed_seed(seed, step, draw), "noise", device) for draw in range(draws)
            ]
            losses.append(
                float(np.mean([float(elbo(model.denoiser, y, randn(y, s), step).mean()) for s in seeds]))
            )
    return 1 + int(np.abs(np.array(losses) - np.mean(losses)).argmin())


def _windows(model: SeriesModel, series: Sequence[Series]) -> Windows:
    kept = tuple(item for item in series if len(item) >= model.shape.length)
    if not kept:
        raise DataError(
            f"no series has the {model.shape.length} points that the representative step is measured on.",
            hint="Set fixed_step, for instance to 20.",
        )
    return Windows(kept, model.shape)


def _check(model: SeriesModel, base: Sequence[Forecast], series: Sequence[Series]) -> None:
    if len(base) != len(series):
        raise DataError(f"got {len(base)} forecasts for {len(series)} series.")
    for item, history in zip(base, series, strict=True):
        check_series(model, history)
        if item.item_id != history.item_id or item.start != history.end:
            raise DataError(
                f"the forecast of '{item.item_id}' from {item.start} does not follow the series "
                f"'{history.item_id}', which ends before {history.end}.",
                hint="Give the histories that the forecasts continue, in the same order.",
            )
        if len(item) != model.shape.prediction or not np.isfinite(item.samples).all():
            raise DataError(
                f"the forecast of '{item.item_id}' has {len(item)} points or holds gaps; the model refines "
                f"{model.shape.prediction} finite points."
            )


def _one(
    model: SeriesModel,
    base: Forecast,
    history: Series,
    count: int,
    config: RefineConfig,
    step: int,
    seed: int,
) -> tuple[Array, list[float]]:
    """Refined samples (S, P) of one forecast, and the mean energy along the way."""
    shape = model.shape
    samples = np.sort(np.repeat(base.samples, count if len(base.samples) == 1 else 1, axis=0), axis=0)
    closed = filled(history.target)
    spans = [cut_span(np.concatenate([closed, row]), len(closed) + len(row), shape) for row in samples]
    device = next(model.denoiser.parameters()).device
    start = torch.from_numpy(np.stack([span.values for span in spans])).to(device, torch.float32)
    mask = np.stack([span.known for span in spans]).astype(np.float32)
    if not config.anchored:
        mask[:, 0, shape.context :] = 0
    levels = levels_of(torch.arange(count), count).to(device) if config.guidance == "quantile" else None
    anchor = Known(start, torch.from_numpy(mask).to(device), levels)
    seeds = Seeds([mixed_seed(seed, *key_of(history), "refine", i) for i in range(count)])
    fixed = None if config.fresh else randn(start, seeds)

    def slope(y: Tensor) -> tuple[Tensor, float]:
        eps = randn(y, seeds) if fixed is None else fixed

        def energy(state: Tensor) -> tuple[Tensor, Tensor]:
            total = elbo(model.denoiser, state, eps, step) + config.weight * anchor(state)
            return total, total

        grad, total = gradient(energy, y)
        return grad, float(total.mean())

    y, trail = _moved(start, slope, config, seeds)
    future = y[:, 0, -shape.prediction :].double().cpu().numpy() * np.array([s.scale for s in spans])[:, None]
    return future, trail


def _moved(y: Tensor, slope: Slope, config: RefineConfig, seeds: Seeds) -> tuple[Tensor, list[float]]:
    """Run the chain from y; returns its end and the energies met."""
    trail: list[float] = []
    lr, momentum = config.lr, None
    for _ in range(config.iterations):
        if config.method in ("ml", "lmc"):
            grad, energy = slope(y)
            y = y - lr * grad
            if config.method == "lmc":
                y = y + math.sqrt(2 * lr) * config.noise_scale * randn(y, seeds)
        else:
            if momentum is None or config.method == "hmc":
                momentum = math.sqrt(config.mass) * randn(y, seeds)
            if config.method == "udld":
                momentum = _rubbed(momentum, config, seeds)
            y, momentum, energy = _leapfrog(y, momentum, slope, config)
            if config.method == "udld":
                momentum = _rubbed(momentum, config, seeds)
        trail.append(energy)
    trail.append(slope(y)[1])
    return y, trail


def _leapfrog(
    y: Tensor, momentum: Tensor, slope: Slope, config: RefineConfig
) -> tuple[Tensor, Tensor, float]:
    lr, first = config.lr, 0.0
    for number in range(config.leapfrog):
        grad, energy = slope(y)
        first = energy if number == 0 else first
        momentum = momentum - lr / 2 * grad
        y = y + lr / config.mass * momentum
        momentum = momentum - lr / 2 * slope(y)[0]
    return y, momentum, first


def _rubbed(momentum: Tensor, config: RefineConfig, seeds: Seeds) -> Tensor:
    """Half a step of friction and noise, by the midpoint rule."""
    half, rate = config.lr / 2, config.friction / config.mass
    noise = math.sqrt(2 * config.friction * half) * randn(momentum, seeds)
    return (momentum * (1 - half * rate / 2) + noise) / (1 + half * rate / 2)
