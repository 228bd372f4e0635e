"""Read GluonTS entries, one series a row: JSON lines, Parquet and Arrow files, and datasets in memory.

An entry has `start` and `target`, perhaps `item_id`, `feat_static_cat` and `freq`. Only the start is a time,
so the frequency is given by the caller, the entry, periods, or a file beside; the values do not tell it.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import DataError
from core.extras import require
from core.outlook import many
from domains.timeseries.data import Array, Series, Table
from domains.timeseries.formats.moments import read_moments
from domains.timeseries.frequency import INTEGER, canonical, frequency_of, period

__all__ = ["entries_of", "read_arrow", "read_entries", "read_json_lines"]

Entry = Mapping[str, Any]


def read_json_lines(path: Path) -> list[Entry]:
    """Read a file with one JSON object a line (or one JSON list of objects), ".gz" unpacked.

    Raises:
        DataError: a line is no JSON object; the message has its number.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as err:
        raise DataError(f"{path} cannot be read: {err}.", hint="Check the file.") from err
    entries: list[Entry] = []
    if text.lstrip().startswith("["):
        found = _json(text, path, "the list")
        entries = list(found) if isinstance(found, list) else []
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                entries.append(_json(line, path, f"line {number}"))
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(
            f"{path} has no entries of the form {{'start': ..., 'target': [...]}}.",
            hint="Write one JSON object a line.",
        )
    return entries


def _json(text: str, path: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as err:
        raise DataError(f"{path}: {where} is not JSON: {err}.", hint="Write one JSON object a line.") from err


def read_arrow(path: Path) -> pd.DataFrame:
    """Read a Parquet, Arrow or Feather file as a frame.

    Raises:
        DataError: the file is none of them.
        MissingExtra: pyarrow is not installed.
    """
    arrow = require("pyarrow", extra="timeseries")
    parquet = require("pyarrow.parquet", extra="timeseries")
    ipc = require("pyarrow.ipc", extra="timeseries")
    with path.open("rb") as file:
        head = file.read(6)
    try:
        if head[:4] == b"PAR1":
            return parquet.read_table(path).to_pandas()
        opened = ipc.open_file if head == b"ARROW1" else ipc.open_stream
        with path.open("rb") as file:
            return opened(file).read_all().to_pandas()
    except (arrow.ArrowInvalid, OSError) as err:
        raise DataError(
            f"{path} cannot be read as {path.suffix.lstrip('.') or 'a table'}: {str(err).splitlines()[0]}",
            hint="The file may be cut short; write it again.",
        ) from err


def read_entries(entries: Iterable[Entry], *, freq: str | None = None, source: str = "the dataset") -> Table:
    """Read entries into a table.

    Args:
        entries: any GluonTS dataset, or mappings with `start` and `target`.
        freq: the frequency, where neither entries nor periods state it.
        source: what messages call it.

    Raises:
        DataError: a field is absent, a target has several variables or is no number, infinite or empty, the
            frequency is not known, or an id comes twice.
    """
    series: list[Series] = []
    offsets: set[str] = set()
    given = canonical(freq) if freq else None
    for number, entry in enumerate(entries):
        name = str(entry.get("item_id", number))
        where = f"{source}: series '{name}'"
        for key in ("start", "target"):
            if entry.get(key) is None:
                raise DataError(f"{where} has no '{key}'.", hint="Each entry needs 'start' and 'target'.")
        stated = str(entry["freq"]) if isinstance(entry.get("freq"), str) else None
        start, offset = _start(entry["start"], given or (canonical(stated) if stated else None), where)
        offsets.add(offset)
        series.append(Series(name, start, _target(entry["target"], where), _category(entry, where)))
    if not series:
        raise DataError(f"{source}: there are no series.", hint="Give at least one.")
    first = series[0]
    for item in series:
        if item.freq != first.freq:
            raise DataError(
                f"{source}: mixed frequencies: series '{first.item_id}' is {first.freq}, "
                f"'{item.item_id}' is {item.freq}.",
                hint="A table holds one frequency: split the data.",
            )
    if len(offsets) == 1:
        return Table(tuple(series), first.freq, stamp=offsets.pop())
    note = f"starts lie at {len(offsets)} different moments within their period of '{first.freq}'."
    return Table(tuple(series), first.freq, (note,))


def _start(start: Any, freq: str | None, where: str) -> tuple[pd.Period, str]:
    """The period of a start, and the moment within it that was given."""
    if isinstance(start, pd.Period):
        if freq is not None and frequency_of(start) != freq:
            raise DataError(
                f"{where} has frequency '{frequency_of(start)}', '{freq}' was given.",
                hint="Leave --freq away, or resample first.",
            )
        return start, "start"
    if freq is None:
        raise DataError(
            f"{where}: the frequency is not known: one start does not tell it.",
            hint="Pass it with --freq, such as --freq h.",
        )
    moments = read_moments(pd.Series([start]), column="start", source=where, freq=freq)
    if freq == INTEGER:
        return period(int(moments.values[0]), INTEGER), "start"
    moment = pd.Timestamp(int(moments.values[0]))
    found = period(moment, freq)
    if not found.start_time <= moment <= found.end_time:
        raise DataError(f"{where} starts on {moment.date()}, no business day.", hint="Pass --freq D.")
    offset = moment - found.start_time
    return found, "start" if not offset else str(offset)


def _target(target: Any, where: str) -> Array:
    try:
        values = np.array(
            [np.nan if value is None else value for value in target]
            if isinstance(target, list | tuple)
            else target,
            dtype=np.float64,
        )
    except (TypeError, ValueError) as err:
        raise DataError(
            f"{where}: the target has values that are no numbers.", hint="Write null or NaN for missing ones."
        ) from err
    if values.ndim != 1 or not len(values):
        raise DataError(
            f"{where}: expected a target with one axis and a value at least, got shape {values.shape}.",
            hint="Give each variable as a series of its own.",
        )
    if np.isinf(values).any():
        raise DataError(
            f"{where}: {many(int(np.isinf(values).sum()), 'infinite value')}.",
            hint="Write null for missing values.",
        )
    if np.isnan(values).all():
        raise DataError(f"{where} has no value at all.", hint="Remove it, or fill in its values.")
    return values


def _category(entry: Entry, where: str) -> tuple[int, ...]:
    found = entry.get("feat_static_cat")
    if found is None:
        return ()
    try:
        return tuple(int(value) for value in np.atleast_1d(np.asarray(found)))
    except (TypeError, ValueError) as err:
        raise DataError(
            f"{where}: feat_static_cat holds no whole numbers.", hint="Number the categories from 0."
        ) from err


def entries_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of a frame as entries."""
    for row in frame.to_dict("records"):
        yield {str(key): value for key, value in row.items()}
