"""A model of windows whose answers are closed form: series whose covariance is a damped wave."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from core.denoise import wrap
from core.process import LinearBetas, to_record
from core.train.checkpoint import Checkpoint
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Series, Table
from domains.timeseries.networks import Backbone
from domains.timeseries.tsdiff import SeriesModel, series_card
from domains.timeseries.windows import Shape

__all__ = ["DDPM", "GaussianNet", "covariance", "gaussian_model", "hours", "kernel", "sines", "untrained"]

DDPM = LinearBetas(steps=100, first=1e-4, last=0.1)


def kernel(d: np.ndarray) -> np.ndarray:
    """Covariance of values d points apart, variance 1."""
    return np.exp(-np.abs(d) / 8) * np.cos(2 * np.pi * d / 6)


def covariance(shape: Shape) -> Tensor:
    """Covariance of the entries of a window, channel by channel, (channels L, channels L), float64."""
    at = np.concatenate([np.arange(shape.length) - lag for lag in (0, *shape.lags)]).astype(float)
    return torch.from_numpy(kernel(at[:, None] - at))


class GaussianNet(nn.Module):
    """The exact noise predictor of N(0, S) under a process: eps = sigma (alpha^2 S + sigma^2 I)^-1 x."""

    def __init__(self, covariance: Tensor, process: Any = DDPM) -> None:
        super().__init__()
        values, vectors = torch.linalg.eigh(covariance)
        self.values = nn.Parameter(values.clamp_min(0), requires_grad=False)
        self.vectors = nn.Parameter(vectors, requires_grad=False)
        self.process = process

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        alpha, sigma = (f(t.double()).to(x)[:, None] for f in (self.process.alpha, self.process.sigma))
        along = x.flatten(1) @ self.vectors.to(x)
        out = sigma * along / (alpha**2 * self.values.to(x) + sigma**2)
        return (out @ self.vectors.to(x).T).reshape(x.shape)


def gaussian_model(
    context: int = 8,
    prediction: int = 4,
    lags: tuple[int, ...] = (),
    *,
    scaling: str = "none",
    process: LinearBetas = DDPM,
) -> SeriesModel:
    """An exact model of windows of that kind of series."""
    shape = Shape(context, prediction, lags, scaling, 1.0)
    denoiser = wrap(GaussianNet(covariance(shape), process), process, predicts="eps", data_std=1.0)
    sampling = SampleConfig(sampler="ddpm", guidance="quantile", scale=4.0, num_samples=10)
    checkpoint = Checkpoint({}, {}, "eps", 1.0, role="tsdiff", training={"series": {}})
    return SeriesModel(denoiser, shape, "tsdiff", "h", 6, sampling, checkpoint)


def untrained(
    context: int = 12, prediction: int = 6, lags: tuple[int, ...] = (), seed: int = 0
) -> SeriesModel:
    """A model with a small network of random weights."""
    shape = Shape(context, prediction, lags, "mean", 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Backbone(shape.channels, hidden=8, blocks=2, states=4)
    denoiser = wrap(net, DDPM, predicts="eps", data_std=1.0).eval().requires_grad_(False)
    sampling = SampleConfig(sampler="ddim", num_steps=5, num_samples=10, scale=1.0)
    card = series_card(shape, "tsdiff", "h", 24, sampling, {})
    checkpoint = Checkpoint(
        net.state_dict(),
        to_record(DDPM),
        "eps",
        1.0,
        role="tsdiff",
        net=net.config,
        training={"series": card},
    )
    return SeriesModel(denoiser, shape, "tsdiff", "h", 24, sampling, checkpoint)


def hours(values: Any, item_id: str = "a", start: str = "2024-01-01") -> Series:
    """An hourly series."""
    return Series(item_id, pd.Period(start, freq="h"), np.asarray(values, dtype=float))


def sines(n: int, length: int, *, seed: int = 0, second: float = 12) -> Table:
    """Hourly series above zero: a daily and a `second` sine of random phases, noise of deviation 0.1."""
    gen = np.random.default_rng(seed)
    at = np.arange(length)
    rows = []
    for i in range(n):
        a, b = gen.uniform(0, 2 * np.pi, 2)
        wave = 3 + np.sin(2 * np.pi * at / 24 + a) + 0.5 * np.sin(2 * np.pi * at / second + b)
        rows.append(hours(wave + 0.1 * gen.standard_normal(length), f"s{i}"))
    return Table(tuple(rows), "h", name="sines")
