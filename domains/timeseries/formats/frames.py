"""Read pandas frames, long or wide, into tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.errors import DataError
from core.outlook import many
from domains.timeseries.data import Table
from domains.timeseries.formats.columns import Layout, layout_of
from domains.timeseries.formats.grid import place
from domains.timeseries.formats.moments import Moments, read_moments
from domains.timeseries.formats.numbers import Column, read_numbers

__all__ = ["Reading", "read_frame"]


@dataclass(frozen=True)
class Reading:
    """How columns are to be read; None tells it from the data.

    Args:
        id_col: the column of series ids of a long frame; several with commas between, "store,item".
        time_col: the column of times.
        target_col: the column of values.
        freq: the frequency, in any spelling of `frequency.canonical`; "int" for whole numbers.
        time_format: how times are written, in the codes of strptime, such as "%d/%m/%Y".
        decimal: the decimal mark, "." or ",".
    """

    id_col: str | None = None
    time_col: str | None = None
    target_col: str | None = None
    freq: str | None = None
    time_format: str | None = None
    decimal: str | None = None


def read_frame(
    frame: pd.DataFrame | pd.Series, reading: Reading = Reading(), *, source: str = "the frame"
) -> Table:
    """Read a frame.

    Args:
        frame: long (id, time, value), wide (one column a series), or one series; times in a column or in the
            index, ids in a column or in the index beside them. A frame whose column names are dates, one row
            a series, is turned round.
        reading: which column is what.
        source: what messages call the frame.

    Raises:
        DataError: see `grid.place`, `moments.read_moments`, `numbers.read_numbers`, `columns.layout_of`.
    """
    table = _flat(frame, reading)
    if table.empty:
        raise DataError(f"{source}: there are no rows.", hint="Give at least one series with three values.")
    notes: list[str] = []
    if _dates_in_header(table, reading):
        table = _turned(table)
        notes.append("dates in the header: each row was read as one series.")
    columns = pd.Index(table.columns)
    if columns.duplicated().any():
        name = columns[columns.duplicated()][0]
        raise DataError(f"{source}: two columns are named '{name}'.", hint="Rename one of them.")
    layout = layout_of(
        table, source=source, id_col=reading.id_col, time_col=reading.time_col, target_col=reading.target_col
    )
    if layout.ignored:
        notes.append(f"columns not read: {', '.join(layout.ignored)}.")
    if layout.guessed or len(layout.ids) > 1:
        notes.append(f"series told apart by {_columns(list(layout.ids))}.")
    moments = read_moments(
        table[layout.time],
        column=layout.time,
        source=source,
        freq=reading.freq,
        time_format=reading.time_format,
    )
    read = {
        name: read_numbers(table[name], column=name, source=source, decimal=reading.decimal)
        for name in layout.values
    }
    notes += _cell_notes(read)
    ids, times, values = _rows(table, layout, moments, read, source)
    grid = place(ids, times, values, freq=reading.freq, source=source)
    return Table(grid.series, grid.freq, tuple(notes) + grid.notes, stamp=grid.stamp)


def _flat(frame: pd.DataFrame | pd.Series, reading: Reading) -> pd.DataFrame:
    """The frame with its index as columns, where the index says something, and string names."""
    if isinstance(frame, pd.Series):
        frame = frame.to_frame(str(frame.name) if frame.name is not None else reading.target_col or "target")
    index = frame.index
    told = isinstance(index, pd.MultiIndex | pd.DatetimeIndex | pd.PeriodIndex) or any(
        name is not None for name in index.names
    )
    if told:
        names = [str(name) if name is not None else f"index{i}" for i, name in enumerate(index.names)]
        if index.nlevels == 1 and index.names[0] is None:
            names = ["timestamp"]
        frame = frame.rename_axis(index=names).reset_index()
    else:
        frame = frame.reset_index(drop=True)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _dates_in_header(table: pd.DataFrame, reading: Reading) -> bool:
    if reading.time_col is not None or reading.target_col is not None or len(table.columns) < 4:
        return False
    named = pd.to_datetime(pd.Series(list(table.columns[1:])), format="ISO8601", errors="coerce")
    return bool(named.notna().all()) and all(len(name) >= 6 for name in table.columns[1:])


def _turned(table: pd.DataFrame) -> pd.DataFrame:
    turned = table.set_index(table.columns[0]).T
    turned.index.name = "timestamp"
    turned = turned.reset_index()
    return turned.set_axis([str(name) for name in turned.columns], axis=1)


def _rows(
    table: pd.DataFrame, layout: Layout, moments: Moments, read: dict[str, Column], source: str
) -> tuple[pd.Series, Moments, Any]:
    """Every value with its id and its time, one row each."""
    n, series = len(table), len(layout.values)
    if layout.ids:
        parts = [_named(table[name], name, source) for name in layout.ids]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined + "/" + part
        return joined, moments, read[layout.values[0]].values
    ids = pd.Series(np.repeat(np.array(layout.values, dtype=object), n))
    times = Moments(np.tile(moments.values, series), moments.integer, moments.freq, moments.notes)
    return ids, times, np.concatenate([read[name].values for name in layout.values])


def _named(ids: pd.Series, column: str, source: str) -> pd.Series:
    """Ids as text; whole numbers that a missing cell once turned into fractions lose their '.0'."""
    missing = np.asarray(ids.isna() | (ids.astype(str).str.strip() == ""))
    if missing.any():
        raise DataError(
            f"{source}: column '{column}': {int(missing.sum())} of {len(ids)} rows have no id, the first in "
            f"row {int(np.argmax(missing)) + 1}.",
            hint="Fill in the ids, or remove those rows.",
        )
    if pd.api.types.is_float_dtype(ids) and bool((ids == ids.round()).all()):
        ids = ids.astype(np.int64)
    return ids.astype(str).str.strip()


def _cell_notes(read: dict[str, Column]) -> list[str]:
    notes = []
    commas = [name for name, column in read.items() if column.commas]
    if commas:
        notes.append(f"decimal commas in {_columns(commas)}.")
    wrong = [name for name, column in read.items() if column.wrong]
    if wrong:
        total = sum(column.wrong for column in read.values())
        first = read[wrong[0]].first_wrong
        assert first is not None
        notes.append(
            f"{many(total, 'cell')} without a number in {_columns(wrong)} read as missing, the first "
            f"'{first[0]}' in row {first[1]}."
        )
    blank = [name for name, column in read.items() if column.blank]
    if blank:
        total = sum(column.blank for column in read.values())
        notes.append(f"{many(total, 'empty cell')} in {_columns(blank)} read as missing.")
    return notes


def _columns(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return (
        f"column {shown}"
        if len(names) == 1
        else f"columns {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    )
