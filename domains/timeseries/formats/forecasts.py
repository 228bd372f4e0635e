"""Write and read forecasts.

| file               | holds                                                                              |
| ------------------ | ---------------------------------------------------------------------------------- |
| `.csv`, `.parquet` | long frame: item_id, timestamp, mean, 0.1 ... 0.9                                   |
| the same, Nixtla's | unique_id, ds, MODEL, MODEL-lo-80, MODEL-hi-80 ...                                  |
| `.npz`             | samples (n, S, P), item_id (n,), start (n,), freq: everything, nothing rounded      |
| `.jsonl`           | one object a forecast: item_id, start, freq, mean, quantiles                        |

A frame with several forecasts of one series has a column `cutoff` too, the last time of each history.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.atomic import replacing
from core.errors import ConfigError, DataError, unknown
from domains.timeseries.data import Forecast, QuantileRule
from domains.timeseries.frequency import INTEGER, frequency_of, times
from domains.timeseries.metrics import LEVELS, Predicted

__all__ = ["INTERVALS", "long_frame", "nixtla_frame", "write_forecasts"]

INTERVALS = (50, 80, 90)


def long_frame(
    forecasts: Sequence[Predicted],
    *,
    levels: Sequence[float] = LEVELS,
    rule: QuantileRule = "gluonts",
    stamp: str = "start",
) -> pd.DataFrame:
    """One row per forecast point: item_id, timestamp, mean and a column per level.

    Args:
        levels: each names a column, "0.1".
        rule: how quantiles are read off samples.
        stamp: which moment of a period its time is; the table's, see `data.Table`.
    """
    columns = {f"{level:g}": [f.quantile(level, rule) for f in forecasts] for level in levels}
    return _frame(forecasts, ("item_id", "timestamp"), {"mean": [f.mean for f in forecasts]} | columns, stamp)


def nixtla_frame(
    forecasts: Sequence[Predicted],
    *,
    model: str = "TSDiff",
    intervals: Sequence[int] = INTERVALS,
    rule: QuantileRule = "gluonts",
    stamp: str = "start",
) -> pd.DataFrame:
    """The frame that Nixtla's tools exchange: unique_id, ds, the mean as MODEL, bounds of central intervals.

    Args:
        model: heads the columns.
        intervals: percent of mass between MODEL-lo-X and MODEL-hi-X.
    """
    columns = {model: [f.mean for f in forecasts]}
    for percent in intervals:
        for side, level in (("lo", 0.5 - percent / 200), ("hi", 0.5 + percent / 200)):
            columns[f"{model}-{side}-{percent}"] = [f.quantile(level, rule) for f in forecasts]
    return _frame(forecasts, ("unique_id", "ds"), columns, stamp)


def _frame(
    forecasts: Sequence[Predicted], names: tuple[str, str], columns: dict[str, list[Any]], stamp: str
) -> pd.DataFrame:
    lengths = [len(f) for f in forecasts]
    stamps = [times(f.start, len(f), stamp) for f in forecasts]
    frame = pd.DataFrame({names[0]: np.repeat([f.item_id for f in forecasts], lengths)})
    frame[names[1]] = np.concatenate([s.to_numpy() for s in stamps]) if stamps else []
    if any(n > 1 for n in Counter(f.item_id for f in forecasts).values()):
        cutoffs = [times(f.start - 1, 1, stamp)[0] for f in forecasts]
        frame["cutoff"] = np.repeat(np.array(cutoffs, dtype=stamps[0].dtype), lengths)
    for name, values in columns.items():
        frame[name] = np.concatenate(values) if values else []
    return frame


def write_forecasts(
    forecasts: Sequence[Predicted],
    path: Path,
    *,
    levels: Sequence[float] = LEVELS,
    rule: QuantileRule = "gluonts",
    stamp: str = "start",
    nixtla: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write forecasts, the whole file or nothing.

    Args:
        path: the suffix chooses the format, see the module.
        nixtla: name of the model, for Nixtla's column names; None for this project's.
        overwrite: replace an existing file.

    Raises:
        ConfigError: the suffix is another, the file exists, or samples are wanted of what has none.
    """
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet", ".npz", ".jsonl"}:
        raise unknown("type of forecasts", suffix or path.name, [".csv", ".jsonl", ".npz", ".parquet"])
    with replacing(path, overwrite=overwrite) as draft:
        if suffix == ".npz":
            np.savez_compressed(draft, **_arrays(forecasts))
        elif suffix == ".jsonl":
            lines = [_line(forecast, levels, rule) for forecast in forecasts]
            draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            frame = (
                long_frame(forecasts, levels=levels, rule=rule, stamp=stamp)
                if nixtla is None
                else nixtla_frame(forecasts, model=nixtla, rule=rule, stamp=stamp)
            )
            if suffix == ".csv":
                frame.to_csv(draft, index=False)
            else:
                frame.to_parquet(draft, index=False, compression="zstd")
    return path


def _arrays(forecasts: Sequence[Predicted]) -> dict[str, Any]:
    sampled = [forecast for forecast in forecasts if isinstance(forecast, Forecast)]
    if len(sampled) != len(forecasts) or not sampled:
        raise ConfigError("samples are wanted, and the forecasts have none.", hint="Write .csv or .parquet.")
    shapes = {forecast.samples.shape for forecast in sampled}
    if len(shapes) > 1:
        raise ConfigError(
            f"the forecasts have {len(shapes)} different shapes, such as {sorted(shapes)[:2]}.",
            hint="Write .parquet, or files of one shape each.",
        )
    return {
        "samples": np.stack([forecast.samples for forecast in sampled]),
        "item_id": np.array([forecast.item_id for forecast in sampled]),
        "start": np.array([start_text(forecast.start) for forecast in sampled]),
        "freq": np.array(frequency_of(sampled[0].start)),
    }


def start_text(start: pd.Period) -> str:
    """A start as text: the first moment of the period, or a whole number."""
    first = times(start, 1)[0]
    return str(first) if frequency_of(start) == INTEGER else first.isoformat(sep=" ")


def _line(forecast: Predicted, levels: Sequence[float], rule: QuantileRule) -> str:
    values = {
        "item_id": forecast.item_id,
        "start": start_text(forecast.start),
        "freq": frequency_of(forecast.start),
        "mean": forecast.mean.tolist(),
        "quantiles": {f"{level:g}": forecast.quantile(level, rule).tolist() for level in levels},
    }
    try:
        return json.dumps(values, allow_nan=False, ensure_ascii=False)
    except ValueError as err:
        raise DataError(
            f"the forecast of '{forecast.item_id}' holds NaN or infinite values at the levels asked for.",
            hint="Ask for levels that are known, or write .csv.",
        ) from err
