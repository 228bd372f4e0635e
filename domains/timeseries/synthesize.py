"""Synthetic windows: unguided samples of an unconditional model, and the table they make for other
forecasters.

Windows are in scaled units: their context has a mean absolute value near 1. What they are worth is measured
by the Linear Predictive Score (`lps`), beside that of as many real windows, or by training any forecaster on
`as_table`.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 5.3.
"""

import numpy as np
import pandas as pd

from core.errors import ConfigError
from core.progress import Progress, silent
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Array, Series, Table
from domains.timeseries.forecasting import over_ranks
from domains.timeseries.frequency import period
from domains.timeseries.sampling import Job, in_units, run_jobs
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import Cut

__all__ = ["as_table", "synthesize"]


def synthesize(
    model: SeriesModel,
    n: int,
    *,
    sampling: SampleConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Array:
    """Draw windows.

    Args:
        model: unconditional.
        n: windows.
        sampling: its sampler and steps; 100-step DDPM, as published, by default. Guidance is left out.
        seed: window i is the same whatever n is.

    Returns:
        (n, L), channel 0, scaled units, float64.

    Raises:
        ConfigError: the model is conditional, or n is below 1.
    """
    if model.kind != "tsdiff":
        raise ConfigError(
            f"synthesis needs an unconditional model, got one of kind '{model.kind}'.",
            hint="Use a tsdiff one.",
        )
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}.")
    chosen = (sampling or SampleConfig(sampler="ddpm")).model_copy(update={"guidance": "none"})
    shape = model.shape
    nothing = np.zeros((shape.channels, shape.length))
    empty = Cut(nothing, nothing.astype(bool), 1.0, True)

    def some(index: list[int]) -> Array:
        # Runs of neighbouring numbers are one job each, so that pieces stay full.
        groups = np.split(np.array(index), np.flatnonzero(np.diff(index) != 1) + 1)
        jobs = [Job(empty, ("synthetic",), range(int(g[0]), int(g[-1]) + 1), n) for g in groups]
        drawn = run_jobs(model, jobs, chosen, seed=seed, stage="synthesize", progress=progress)
        return np.concatenate([in_units(rows, 1.0) for rows in drawn])

    return over_ranks(n, (shape.length,), some)


def as_table(windows: Array, freq: str, *, start: str = "2000-01-01") -> Table:
    """Windows (n, L) as a table of n series, for forecasters that train on tables."""
    first: pd.Period = period(0 if freq == "int" else start, freq)
    series = tuple(Series(f"synthetic-{i}", first, row) for i, row in enumerate(windows))
    return Table(series, freq, name="synthetic")
