"""Imputation: samples of what is missing anywhere in a series, given all the rest.

Windows of L points are laid over a series with half of each overlapping the next; a window is sampled under
guidance by whatever is known in it, before and after a gap alike. Each missing point is taken from the window
in which it lies most central. Known values are returned as they are: guidance is soft, its own values there
are only near them.

With `sequential` the windows are sampled from left to right and each takes what its sample was given before
as known, so that long gaps stay consistent across windows; else they are independent.

The masks of the published study hide half of a context at test time: RM at random positions, BM-B a block at
its beginning, BM-E a block at its end, next to the forecast (`with_scenario`).

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 3.1 and 5.1. Windows beyond the last one are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.train.samples import mixed_seed
from domains.timeseries.conditional import hidden
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Array, Series, quantile_of
from domains.timeseries.forecasting import check_series, over_ranks
from domains.timeseries.metrics import LEVELS, mean_weighted_quantile_loss
from domains.timeseries.sampling import Job, check_sampling, in_units, run_jobs
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import cut_span, filled

__all__ = ["Imputed", "Spot", "imputation_scores", "impute", "spots", "with_scenario"]


@dataclass(frozen=True)
class Imputed:
    """A series with its gaps sampled.

    Attributes:
        series: as it was given, NaN where unknown.
        missing: positions that were sampled, (n,).
        samples: at those positions, (S, n), in the unit of the data.
    """

    series: Series
    missing: Array
    samples: Array

    @property
    def completed(self) -> Series:
        """The series with the median of the samples in its gaps."""
        target = self.series.target.copy()
        if len(self.missing):
            target[self.missing] = np.median(self.samples, axis=0)
        return replace(self.series, target=target)

    def path(self, sample: int) -> Array:
        """One completed path, (T,)."""
        target = self.series.target.copy()
        target[self.missing] = self.samples[sample]
        return target


@dataclass(frozen=True)
class Spot:
    """A window of a series, and the missing positions that are taken from it."""

    end: int
    missing: Array


def impute(
    model: SeriesModel,
    series: Sequence[Series],
    sampling: SampleConfig | None = None,
    *,
    known: Sequence[Array] | None = None,
    sequential: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Imputed]:
    """Sample the missing values of every series.

    Args:
        model: unconditional, of the same frequency.
        known: per series which values may be used, (T,), booleans; all that are not NaN by default. Others
        are
            sampled as if they were missing.
        sequential: see the module docstring.
        seed: same seed, same samples, whatever else is asked for at once.

    Returns:
        One result per series, in order; a series without gaps comes back with no samples.

    Raises:
        ConfigError: the model is conditional, or masks do not fit.
        DataError, ModelMismatch: as for forecasts.
    """
    if model.kind != "tsdiff":
        raise ConfigError(
            f"imputation needs an unconditional model, got one of kind '{model.kind}'.",
            hint="Use a tsdiff one.",
        )
    sampling = model.sampling if sampling is None else sampling
    check_sampling(model, sampling)
    if known is not None:
        series = _masked(series, known)
    for item in series:
        check_series(model, item)
    most = max((int(np.isnan(item.target).sum()) for item in series), default=0)

    def some(index: list[int]) -> Array:
        out = np.zeros((len(index), sampling.num_samples, most))
        for row, i in zip(out, index, strict=True):
            found = _one(model, series[i], sampling, sequential, seed, progress)
            row[:, : found.shape[1]] = found
        return out

    samples = over_ranks(len(series), (sampling.num_samples, most), some)
    out = []
    for item, rows in zip(series, samples, strict=True):
        missing = np.flatnonzero(np.isnan(item.target))
        out.append(Imputed(item, missing, rows[:, : len(missing)]))
    return out


def spots(target: Array, length: int) -> list[Spot]:
    """Windows that cover the gaps of a sequence (T,), left to right; each missing position in one of them."""
    n = len(target)
    missing = np.flatnonzero(np.isnan(target))
    if n <= length:
        return [Spot(n, missing)] if len(missing) else []
    starts = np.unique([*range(0, n - length, max(1, length // 2)), n - length])
    centre = starts + (length - 1) / 2
    inside = (missing[:, None] >= starts) & (missing[:, None] < starts + length)
    owner = np.where(inside, np.abs(missing[:, None] - centre), np.inf).argmin(1)
    return [Spot(int(starts[i]) + length, missing[owner == i]) for i in np.unique(owner)]


def _one(
    model: SeriesModel, item: Series, sampling: SampleConfig, sequential: bool, seed: int, progress: Progress
) -> Array:
    """Samples of the missing values of one series, (S, missing)."""
    count, length = sampling.num_samples, model.shape.length
    places = spots(item.target, length)
    paths = np.tile(item.target, (count, 1))

    def job(spot: Spot, target: Array, samples: range) -> Job:
        key = (item.item_id, str(item.start + (spot.end - length)), "gap")
        return Job(cut_span(target, spot.end, model.shape), key, samples, count)

    def keep(spot: Spot, rows: Array, samples: range) -> None:
        paths[samples.start : samples.stop, spot.missing] = rows[:, spot.missing - (spot.end - length)]

    stage = f"impute {item.item_id}"
    if not sequential:
        jobs = [job(spot, item.target, range(count)) for spot in places]
        found = run_jobs(model, jobs, sampling, seed=seed, stage=stage, progress=progress)
        for spot, one, rows in zip(places, jobs, found, strict=True):
            keep(spot, in_units(rows, one.cut.scale), one.samples)
    else:
        for spot in places:
            jobs = [job(spot, paths[i], range(i, i + 1)) for i in range(count)]
            found = run_jobs(model, jobs, sampling, seed=seed, stage=stage, progress=progress)
            for one, rows in zip(jobs, found, strict=True):
                keep(spot, in_units(rows, one.cut.scale), one.samples)
    return paths[:, np.isnan(item.target)]


def with_scenario(
    item: Series, scenario: str, context: int, *, missing: int | None = None, seed: int = 0
) -> Series:
    """Hide values of the last `context` points of a series, as the published study does.

    Args:
        scenario: "none", "RM", "BM-B" or "BM-E".
        context: C of the model.
        missing: how many; half of the context by default.
        seed: with the name of the series it decides the positions of "RM".
    """
    if len(item) < context:
        raise DataError(
            f"series '{item.item_id}' has {len(item)} points, the scenario hides some of its last {context}."
        )
    gen = np.random.default_rng(mixed_seed(seed, "scenario", item.item_id, str(item.end)))
    mask = hidden(scenario, context, context // 2 if missing is None else missing, gen)
    target = item.target.copy()
    target[len(target) - context :][mask] = np.nan
    return replace(item, target=target)


def imputation_scores(imputed: Sequence[Imputed], truth: Sequence[Array]) -> dict[str, float]:
    """Mean weighted quantile loss at sampled positions whose truth is known, beside that of straight lines.

    Args:
        truth: per series the true values, (T,), NaN where unknown.
    """
    labels, quantiles, lines = [], [], []
    for item, true in zip(imputed, truth, strict=True):
        labels.append(true[item.missing])
        quantiles.append(np.stack([quantile_of(item.samples, level) for level in LEVELS]))
        lines.append(filled(item.series.target)[item.missing])
    label, quantile, line = np.concatenate(labels), np.concatenate(quantiles, axis=1), np.concatenate(lines)
    if not np.isfinite(label).any():
        raise DataError("the truth of no sampled position is known, so there is nothing to score.")
    point = np.broadcast_to(line, (len(LEVELS), 1, len(line)))
    return {
        "mean_wql": mean_weighted_quantile_loss(label[None], quantile[:, None]),
        "mean_wql_straight_lines": mean_weighted_quantile_loss(label[None], point),
        "positions": int(np.isfinite(label).sum()),
    }


def _masked(series: Sequence[Series], known: Sequence[Array]) -> list[Series]:
    if len(known) != len(series):
        raise ConfigError(f"got {len(known)} masks for {len(series)} series.")
    out = []
    for item, mask in zip(series, known, strict=True):
        if np.shape(mask) != item.target.shape:
            raise ConfigError(
                f"the mask of '{item.item_id}' has shape {np.shape(mask)}, the series {item.target.shape}."
            )
        out.append(replace(item, target=np.where(mask, item.target, np.nan)))
    return out
