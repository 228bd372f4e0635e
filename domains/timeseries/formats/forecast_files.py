"""Read forecasts back: those of `forecasts.write_forecasts`, and frames of other tools in the same shapes."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import DataError, unknown
from domains.timeseries.data import Array, Forecast, Quantiles
from domains.timeseries.formats.columns import IDS, TIMES
from domains.timeseries.formats.delimited import read_delimited
from domains.timeseries.formats.inference import infer
from domains.timeseries.formats.moments import read_moments
from domains.timeseries.formats.numbers import is_numeric, read_numbers
from domains.timeseries.formats.rows import read_arrow, read_json_lines
from domains.timeseries.frequency import INTEGER, canonical, multiple_of, period

__all__ = ["frame_forecasts", "read_forecasts"]

_BOUND = re.compile(r"^(?P<model>.+)-(?P<side>lo|hi)-(?P<percent>\d{1,2}(?:\.\d+)?)$")
_POINT = ("mean", "predictions", "prediction", "forecast", "yhat", "target", "y", "median")


def read_forecasts(path: Path, *, freq: str | None = None) -> list[Forecast | Quantiles]:
    """Read a file of forecasts.

    Args:
        path: .csv, .parquet, .npz or .jsonl in the layouts of `formats.forecasts`.
        freq: the frequency of the data; None reads it from the file or tells it from the times.

    Raises:
        DataError: the file has no forecasts, two of the same time, or holes.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"there is no file {path}.", hint="Give a file of forecasts.")
    if suffix == ".npz":
        return list(_npz(path, freq))
    if suffix in {".jsonl", ".json"}:
        return [_entry(entry, path, number, freq) for number, entry in enumerate(read_json_lines(path), 1)]
    if suffix == ".csv":
        return frame_forecasts(read_delimited(path)[0], freq=freq, source=str(path))
    if suffix == ".parquet":
        return frame_forecasts(read_arrow(path), freq=freq, source=str(path))
    raise unknown("type of forecasts", suffix or path.name, [".csv", ".jsonl", ".npz", ".parquet"])


def _npz(path: Path, freq: str | None) -> list[Forecast]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            samples, ids = archive["samples"], archive["item_id"]
            starts, stated = archive["start"], str(archive["freq"]) if "freq" in archive else freq
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as err:
        raise DataError(
            f"{path} holds no samples of forecasts: {err}.", hint="Expected samples, item_id, start and freq."
        ) from err
    if stated is None:
        raise DataError(f"{path} states no frequency.", hint="Pass it with --freq.")
    if samples.ndim != 3 or len({len(samples), len(ids), len(starts)}) != 1:
        raise DataError(f"{path}: expected samples (n, S, P) with n ids and starts, got {samples.shape}.")
    return [
        Forecast(str(name), period(str(start), _same(stated, freq, str(path))), values)
        for name, start, values in zip(ids, starts, samples, strict=True)
    ]


def _entry(entry: Any, path: Path, number: int, freq: str | None) -> Quantiles:
    try:
        name, start, stated = str(entry["item_id"]), entry["start"], entry.get("freq", freq)
        quantiles = {float(level): np.asarray(v, dtype=np.float64) for level, v in entry["quantiles"].items()}
        centre = np.asarray(entry["mean"], dtype=np.float64) if "mean" in entry else None
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise DataError(
            f"{path}: line {number} is no forecast: {err}.",
            hint="Expected item_id, start, freq, mean and quantiles.",
        ) from err
    if stated is None:
        raise DataError(f"{path}: line {number} states no frequency.", hint="Pass it with --freq.")
    levels = tuple(sorted(quantiles))
    first = period(start, _same(str(stated), freq, str(path)))
    return Quantiles(name, first, levels, np.stack([quantiles[level] for level in levels]), centre)


def _same(stated: str, given: str | None, source: str) -> str:
    if given is not None and canonical(given) != canonical(stated):
        raise DataError(
            f"{source} has forecasts of frequency '{canonical(stated)}', the data '{canonical(given)}'.",
            hint="Evaluate them on the data they were made for.",
        )
    return canonical(stated)


def frame_forecasts(
    frame: pd.DataFrame, *, freq: str | None = None, source: str = "the frame"
) -> list[Forecast | Quantiles]:
    """Read a frame of forecasts: quantile columns "0.1", Nixtla's bounds, or one column of points.

    Args:
        frame: one row per series and time; a column `cutoff` parts several forecasts of a series.
        freq: as in `read_forecasts`.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    lower = {name.lower(): name for name in reversed(frame.columns)}
    ids = next((lower[name] for name in IDS if name in lower), None)
    time = next((lower[name] for name in TIMES if name in lower), None)
    if ids is None or time is None or frame.empty:
        raise DataError(
            f"{source} is no table of forecasts: columns {', '.join(map(repr, frame.columns[:8]))}.",
            hint="Expected item_id, timestamp, mean, 0.1 ... 0.9, or Nixtla's unique_id, ds, MODEL, "
            "MODEL-lo-80.",
        )
    columns, centre = _value_columns(frame, {ids, time, "cutoff"}, source)
    wanted = dict.fromkeys([*columns.values(), *([centre] if centre else [])])
    values = {name: read_numbers(frame[name], column=name, source=source).values for name in wanted}
    moments = read_moments(frame[time], column=time, source=source, freq=freq)
    names = frame[ids].astype(str).str.strip()
    group = names + "\0" + frame["cutoff"].astype(str) if "cutoff" in frame else names
    codes, _ = pd.factorize(group, sort=False)
    order = np.lexsort((moments.values, codes))
    runs = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    name = (
        freq
        or moments.freq
        or infer([moments.values[run] for run in runs], [names[r[0]] for r in runs], source)
    )
    ordinals = _ordinals(moments.values, name)
    found: list[Forecast | Quantiles] = []
    for run in runs:
        if (np.diff(ordinals[run]) == 0).any():
            raise _same_time(
                names[run[0]], canonical(name), bool((np.diff(moments.values[run]) == 0).any()), source
            )
        found += _runs(run, ordinals, names[run[0]], canonical(name), columns, centre, values)
    return found


def _ordinals(moments: Array, freq: str) -> Array:
    if canonical(freq) == INTEGER:
        return moments
    return np.asarray(pd.DatetimeIndex(moments).to_period(canonical(freq)).asi8)


def _same_time(name: str, freq: str, exactly: bool, source: str) -> DataError:
    if exactly:
        return DataError(
            f"{source}: series '{name}' has two forecasts of the same time.",
            hint="Part them with a column cutoff: the last time of each history.",
        )
    return DataError(
        f"{source}: series '{name}' has several forecasts in one period of '{freq}', the data's frequency.",
        hint="Evaluate forecasts on the data they were made for.",
    )


def _runs(
    run: Array,
    ordinals: Array,
    name: str,
    freq: str,
    columns: dict[float, str],
    centre: str | None,
    values: dict[str, Array],
) -> list[Forecast | Quantiles]:
    """The forecasts of one series: a new one starts after every hole."""
    steps = np.diff(ordinals[run])
    found: list[Forecast | Quantiles] = []
    for part in np.split(run, np.flatnonzero(steps != multiple_of(freq)) + 1):
        ordinal = int(ordinals[part[0]])
        start = period(ordinal, freq) if freq == INTEGER else pd.Period(ordinal=ordinal, freq=freq)
        mean = values[centre][part] if centre else None
        if not columns:
            assert mean is not None
            found.append(Forecast(name, start, mean[None]))
            continue
        levels = tuple(sorted(columns))
        rows = np.stack([values[columns[level]][part] for level in levels])
        found.append(Quantiles(name, start, levels, rows, mean))
    return found


def _value_columns(frame: pd.DataFrame, taken: set[str], source: str) -> tuple[dict[float, str], str | None]:
    """The column of each level, and the one of the mean."""
    rest = [name for name in frame.columns if name not in taken]
    levels = {level: name for name in rest if (level := _level(name)) is not None}
    lower = {name.lower(): name for name in reversed(rest)}
    centre = next((lower[name] for name in _POINT if name in lower), None)
    if levels:
        return levels, centre
    bounds = {name: match for name in rest if (match := _BOUND.match(name))}
    models = list(dict.fromkeys(match["model"] for match in bounds.values()))
    if len(models) > 1:
        raise DataError(
            f"{source} has forecasts of several models: {', '.join(models[:5])}.",
            hint="Keep the columns of one.",
        )
    if models:
        levels = {_bound_level(match): name for name, match in bounds.items()}
        median = models[0] if models[0] in rest else None
        return levels, median
    numeric = [name for name in rest if is_numeric(frame[name])]
    point = centre or (numeric[0] if len(numeric) == 1 else None)
    if point is None:
        raise DataError(
            f"{source}: no column of forecasts among {', '.join(map(repr, rest[:8])) or 'none'}.",
            hint="Name the columns mean and 0.1 ... 0.9, or leave one column of point forecasts.",
        )
    return {}, point


def _level(name: str) -> float | None:
    try:
        level = float(name.removeprefix("q").removeprefix("p"))
    except ValueError:
        return None
    return level if 0 < level < 1 else None


def _bound_level(match: re.Match[str]) -> float:
    half = float(match["percent"]) / 200
    return round(0.5 - half if match["side"] == "lo" else 0.5 + half, 9)


def cut(forecast: Forecast | Quantiles, start: pd.Period, length: int) -> Forecast | Quantiles | None:
    """The part of a forecast that starts at a period and has a length; None where it does not reach."""
    behind = (start.ordinal - forecast.start.ordinal) // start.freq.n
    if behind < 0 or behind + length > len(forecast):
        return None
    span = slice(behind, behind + length)
    if isinstance(forecast, Forecast):
        return Forecast(forecast.item_id, start, forecast.samples[:, span])
    centre = None if forecast.centre is None else forecast.centre[span]
    return Quantiles(forecast.item_id, start, forecast.levels, forecast.values[:, span], centre)


def pick(
    forecasts: Sequence[Forecast | Quantiles], start: pd.Period, length: int
) -> Forecast | Quantiles | None:
    """The forecast made for a start: the one that begins there, else one that covers it."""
    exact = [f for f in forecasts if f.start == start and len(f) >= length]
    for forecast in [*exact, *forecasts]:
        if (found := cut(forecast, start, length)) is not None:
            return found
    return None
