"""Forecasts: samples of the P points after a series, given its history.

The window of a forecast holds the last C known points and P unknown ones. An unconditional model is sampled
under guidance by the known entries (`guidance`), a conditional one is told them; channel 0 of the last P
points, times the scale, is the forecast. Series of any history are answered: what is missing on the left or
inside is unknown.

A horizon beyond P is reached block by block, each sample continued by itself from its own last block, as any
autoregressive model does; the result says so.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 3.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.train.distributed import place
from domains.timeseries.conditional import cond_of_cut
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Array, Forecast, Series
from domains.timeseries.sampling import Job, check_sampling, in_units, plan_of, run_jobs
from domains.timeseries.tsdiff import SeriesModel, check_frequency
from domains.timeseries.windows import Cut, Shape, cut

__all__ = ["Forecasts", "forecast", "job_of", "key_of", "over_ranks"]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts and how they were made.

    Attributes:
        forecasts: one per series, in order.
        notes: warnings, one line each.
        sampling: the settings, placement of the guidance included.
        calls: calls of the network per sample and block, forward passes.
        blocks: 1, or how many blocks of P the horizon took.
    """

    forecasts: list[Forecast]
    notes: tuple[str, ...]
    sampling: SampleConfig
    calls: int
    blocks: int


def forecast(
    model: SeriesModel,
    series: Sequence[Series],
    sampling: SampleConfig | None = None,
    *,
    horizon: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Forecasts:
    """Forecast every series from its end on.

    Args:
        model: of the same frequency.
        series: histories, NaN where unknown.
        sampling: how; the model's own recommendation by default.
        horizon: points; P by default, more are reached block by block.
        seed: same seed, same samples, whatever else is asked for at once. In a `core.train.group()` every
            process takes a part of the series and all of them get all forecasts.

    Raises:
        ModelMismatch: a series has another frequency.
        DataError: a series holds no value at all, or an infinite one.
        ConfigError: settings that cannot run.
    """
    sampling = model.sampling if sampling is None else sampling
    notes = check_sampling(model, sampling)
    for item in series:
        check_series(model, item)
    p = model.shape.prediction
    points = p if horizon is None else horizon
    if points < 1:
        raise ConfigError(f"the horizon must be at least 1 point, got {points}.")
    blocks = -(-points // p)
    if blocks > 1:
        notes.append(
            f"the horizon of {points} points exceeds the model's {p}: reached in {blocks} blocks, each "
            "sample continued from its own last block."
        )
    notes += _warnings(model.shape, series)

    def some(index: list[int]) -> Array:
        return _forecast([series[i] for i in index], model, sampling, blocks, seed, progress)[..., :points]

    samples = over_ranks(len(series), (sampling.num_samples, points), some, _device(model))
    found = [Forecast(item.item_id, item.end, rows) for item, rows in zip(series, samples, strict=True)]
    calls = plan_of(model, sampling).evaluations
    twice = sampling.guidance != "none" and sampling.placement == "reference"
    return Forecasts(found, tuple(notes), sampling, calls * (2 if twice else 1), blocks)


def _forecast(
    series: list[Series],
    model: SeriesModel,
    sampling: SampleConfig,
    blocks: int,
    seed: int,
    progress: Progress,
) -> Array:
    """Samples (N, S, blocks * P) in the unit of the data."""
    count, p = sampling.num_samples, model.shape.prediction
    jobs = [job_of(model, cut(item, model.shape), key_of(item), range(count), count) for item in series]
    drawn = run_jobs(model, jobs, sampling, seed=seed, stage="forecast", progress=progress)
    out = [in_units(rows, job.cut.scale)[:, -p:] for rows, job in zip(drawn, jobs, strict=True)]
    for block in range(1, blocks):
        jobs = []
        for item, rows in zip(series, out, strict=True):
            for index, row in enumerate(rows):
                longer = np.concatenate([item.target, row])
                piece = cut(Series(item.item_id, item.start, longer), model.shape)
                key = (*key_of(item), f"block {block}")
                jobs.append(job_of(model, piece, key, range(index, index + 1), count))
        drawn = run_jobs(model, jobs, sampling, seed=seed, stage=f"block {block + 1}", progress=progress)
        new = [in_units(rows, job.cut.scale)[0, -p:] for rows, job in zip(drawn, jobs, strict=True)]
        parts = np.array(new).reshape(len(series), count, p)
        out = [np.concatenate([rows, part], axis=1) for rows, part in zip(out, parts, strict=True)]
    return np.stack(out) if out else np.zeros((0, count, blocks * p))


def job_of(model: SeriesModel, piece: Cut, key: tuple[str, ...], samples: range, of: int) -> Job:
    """One window for a model of any kind; a conditional one is told what another is guided by."""
    if model.kind == "tsdiff":
        return Job(piece, key, samples, of)
    own = Cut(piece.values[:1], piece.known[:1], piece.scale, piece.trusted)
    return Job(own, key, samples, of, cond_of_cut(piece))


def key_of(item: Series) -> tuple[str, str]:
    """What the random numbers of a series depend on: its name, and where its forecast starts."""
    return item.item_id, str(item.end)


def check_series(model: SeriesModel, item: Series) -> None:
    """Refuse a series that no model can answer.

    Raises:
        ModelMismatch: another frequency than the model's.
        DataError: no value at all, or one that is infinite.
    """
    check_frequency(model, item)
    if np.isinf(item.target).any():
        at = int(np.flatnonzero(np.isinf(item.target))[0])
        raise DataError(
            f"series '{item.item_id}' has an infinite value at {item.start + at}.",
            hint="Write missing values as empty cells.",
        )
    if not np.isfinite(item.target).any():
        raise DataError(
            f"series '{item.item_id}' has no value at all.", hint="Leave the series out, or fill it."
        )


def over_ranks(
    count: int, shape: tuple[int, ...], work: Callable[[list[int]], Array], device: torch.device | None = None
) -> Array:
    """Spread items over the processes of a group; every process gets all results, in order.

    Args:
        count: items; process r of w takes r, r + w, ...
        shape: of one result.
        work: numbers of items -> their results, (n, *shape).
    """
    rank, world = place()
    own = list(range(rank, count, world))
    out = np.zeros((count, *shape))
    if own:
        out[own] = work(own)
    if world > 1:
        shared = torch.from_numpy(out)
        shared = shared.to(device) if dist.get_backend() == "nccl" else shared
        dist.all_reduce(shared)  # every result is zero everywhere but with the process that made it
        out = shared.cpu().numpy()
    return out


def _warnings(shape: Shape, series: Sequence[Series]) -> list[str]:
    notes = []
    silent_ones = [item.item_id for item in series if not cut(item, shape).trusted]
    if silent_ones:
        notes.append(
            f"the context of {_few(silent_ones)} is all missing or zero: the median scale of training, "
            f"{shape.fallback:.4g}, takes its place."
        )
    short = [item.item_id for item in series if len(item) < shape.context]
    if short:
        notes.append(
            f"{_few(short)} is shorter than the context of {shape.context} points: padded as unknown."
        )
    if shape.lags:
        lacking = sum(shape.context <= len(item) < shape.history for item in series)
        if lacking:
            notes.append(
                f"{lacking} series have less than the {shape.history} points of history that the lags reach: "
                "the lags before their start are left out of the guidance."
            )
    return notes


def _few(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _device(model: SeriesModel) -> torch.device:
    return next(model.denoiser.parameters()).device
