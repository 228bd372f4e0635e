"""To and from other tools in memory: GluonTS, Darts and fev, none of them imported before it is needed.

Nixtla's frames are in `forecasts.nixtla_frame` and `write.table_long`; `read_table` reads them back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.errors import DataError
from core.extras import require
from domains.timeseries.data import Forecast, QuantileRule, Quantiles, Table
from domains.timeseries.formats.frames import Reading, read_frame
from domains.timeseries.formats.write import entries
from domains.timeseries.frequency import times
from domains.timeseries.metrics import LEVELS, Predicted

__all__ = [
    "fev_predictions",
    "from_darts",
    "from_gluonts_forecasts",
    "read_fev",
    "to_darts",
    "to_gluonts",
    "to_sample_forecasts",
]


def to_gluonts(table: Table) -> list[dict[str, Any]]:
    """A GluonTS dataset: a list is one. Starts are periods; targets are float64."""
    return entries(table)


def to_sample_forecasts(forecasts: Sequence[Forecast]) -> list[Any]:
    """`gluonts.model.forecast.SampleForecast` objects.

    Raises:
        MissingExtra: GluonTS is not installed.
    """
    module = require("gluonts.model.forecast", extra="timeseries")
    return [
        module.SampleForecast(samples=f.samples, start_date=f.start, item_id=f.item_id) for f in forecasts
    ]


def from_gluonts_forecasts(forecasts: Iterable[Any], levels: Sequence[float] = LEVELS) -> list[Any]:
    """Forecasts of GluonTS as `data.Forecast` where they hold samples, else as `data.Quantiles`.

    Args:
        forecasts: what a GluonTS predictor yields.
        levels: read off those without samples.
    """
    found: list[Forecast | Quantiles] = []
    for number, forecast in enumerate(forecasts):
        name = str(number if forecast.item_id is None else forecast.item_id)
        if hasattr(forecast, "samples"):
            found.append(Forecast(name, forecast.start_date, np.asarray(forecast.samples)))
            continue
        rows = np.stack([np.asarray(forecast.quantile(level), dtype=np.float64) for level in levels])
        centre = np.asarray(forecast.mean, dtype=np.float64)
        found.append(
            Quantiles(
                name, forecast.start_date, tuple(levels), rows, None if np.isnan(centre).any() else centre
            )
        )
    return found


def from_darts(series: Any, *, freq: str | None = None) -> Table:
    """Series of Darts, one or several, univariate or not, as a table; each component is a series.

    Args:
        series: `darts.TimeSeries`, or a sequence of them.
        freq: where it cannot be told.

    Raises:
        DataError: a series is stochastic.
    """
    several = [series] if hasattr(series, "time_index") else list(series)
    frames = []
    for number, item in enumerate(several):
        values = np.asarray(item.all_values(copy=False))
        if values.shape[2] != 1:
            raise DataError(
                f"Darts series {number} holds {values.shape[2]} samples.",
                hint="Take its mean or a quantile first.",
            )
        for c, component in enumerate(item.components):
            name = str(component) if len(several) == 1 else f"{number}-{component}"
            frames.append(
                pd.DataFrame({"item_id": name, "timestamp": item.time_index, "target": values[:, c, 0]})
            )
    integer = all(pd.api.types.is_integer_dtype(item.time_index) for item in several)
    reading = Reading(freq="int" if integer and freq is None else freq)
    return read_frame(pd.concat(frames, ignore_index=True), reading, source="the Darts series")


def to_darts(forecasts: Sequence[Forecast], *, stamp: str = "start") -> list[Any]:
    """Stochastic `darts.TimeSeries`, one a forecast, with its samples.

    Raises:
        MissingExtra: Darts is not installed.
    """
    darts = require("darts", extra="darts")
    return [
        darts.TimeSeries.from_times_and_values(times(f.start, len(f), stamp), f.samples.T[:, None, :])
        for f in forecasts
    ]


def read_fev(
    past_data: Iterable[Mapping[str, Any]],
    *,
    id_column: str = "id",
    timestamp_column: str = "timestamp",
    target_column: str = "target",
    freq: str | None = None,
) -> Table:
    """The past data of a fev task window (rows with lists of times and values) as a table.

    Args:
        past_data: first of what `window.get_input_data()` returns.
        id_column, timestamp_column, target_column: the task's names.
    """
    frames = [
        pd.DataFrame(
            {
                "item_id": str(row[id_column]),
                "timestamp": np.asarray(row[timestamp_column]),
                "target": np.asarray(row[target_column], dtype=np.float64),
            }
        )
        for row in past_data
    ]
    if not frames:
        raise DataError("the past data of the task are empty.", hint="Load the task's dataset first.")
    return read_frame(pd.concat(frames, ignore_index=True), Reading(freq=freq), source="the task's past data")


def fev_predictions(
    forecasts: Sequence[Predicted], *, levels: Sequence[float] = LEVELS, rule: QuantileRule = "gluonts"
) -> list[dict[str, Any]]:
    """What a fev task window is scored by: per series, in order, "predictions" and a list per level."""
    return [
        {"predictions": f.mean.tolist()}
        | {f"{level:g}": f.quantile(level, rule).tolist() for level in levels}
        for f in forecasts
    ]
