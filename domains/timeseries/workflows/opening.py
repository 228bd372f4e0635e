"""Opening a model and a table together, and saying what they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import many
from domains.timeseries.config import SampleConfig, checked
from domains.timeseries.data import Instance, Quantiles, Table, split
from domains.timeseries.formats.builtin import exact_forecasts
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.tsdiff import SeriesModel, check_frequency, load_model
from domains.timeseries.weights import SHIPPED, shipped

__all__ = ["Opened", "beside", "evenly", "open_run", "opened", "sampling_of", "tests_of"]


@dataclass(frozen=True)
class Opened:
    """A model, the table it is used on, and where it runs.

    Attributes:
        plan: what both are, one line each.
        warnings: one line each.
    """

    model: SeriesModel
    table: Table
    device: torch.device
    plan: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def open_run(run: str) -> SeriesModel:
    """The model of a run folder, of a file, or one that ships with the project.

    Raises:
        CheckpointError: there is none, or it is no model of series.
    """
    if run in SHIPPED and not Path(run).exists():
        return load_model(shipped(run))
    return load_model(Path(run).expanduser())


def opened(run: str, data: str | Path, reading: Reading, device: str) -> Opened:
    """Open a model and a table of its frequency.

    Raises:
        CheckpointError, DataError: one of them cannot be read.
        ModelMismatch: the frequencies differ.
    """
    where, note = choose_device(device)
    model = open_run(run)
    table = open_table(data, reading)
    for item in table.series[:1]:
        check_frequency(model, item)
    shape = model.shape
    lines = (
        f"model {run}: {model.kind}, frequency {model.freq}, context {shape.context}, horizon "
        f"{shape.prediction} points, {sum(p.numel() for p in model.denoiser.parameters()):,} parameters",
        f"data {data}: {len(table)} series of up to {many(table.longest, 'point')}",
        *(f"note: {line}" for line in table.notes),
        *([note] if note else []),
    )
    return Opened(model.to(where), table, where, lines)


def sampling_of(model: SeriesModel, given: dict[str, Any]) -> SampleConfig:
    """The model's own recommendation with what was given on the command line.

    A sampler other than the recommended one starts from that sampler's number of steps and, for "ddpm", from
    the published scale where the data set has one.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    settings = model.sampling.model_dump()
    if changes.get("sampler", settings["sampler"]) != settings["sampler"]:
        settings["num_steps"] = None
    return checked(SampleConfig, {**settings, **changes})


def tests_of(opened: Opened, windows: int | None) -> list[Instance]:
    """The test windows of a table, P of the model each.

    Raises:
        ConfigError: fewer than one window.
    """
    count = windows if windows is not None else (opened.table.rolling_windows or 1)
    if count < 1:
        raise ConfigError(f"windows must be at least 1, got {count}.")
    return split(opened.table, opened.model.shape.prediction, count)[1]


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` positions out of `count`, spread evenly."""
    if count <= wanted:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, wanted).round()]


def beside(table: Table, instances: list[Instance]) -> dict[str, list[Quantiles]]:
    """The exact law of the future, where a table is simulated: the lowest loss to expect."""
    return {"exact law": exact_forecasts(instances)} if table.name == "simulated" else {}
