"""Read a table from whatever holds one: a file, a folder, a frame, a dataset of GluonTS, a built-in name."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import ConfigError, DataError
from data import store
from data.catalog import read_cards
from domains.timeseries.data import Table
from domains.timeseries.formats.builtin import BUILTIN, read_builtin
from domains.timeseries.formats.delimited import read_delimited
from domains.timeseries.formats.folders import read_archive, read_folder
from domains.timeseries.formats.frames import Reading, read_frame
from domains.timeseries.formats.rows import entries_of, read_arrow, read_entries, read_json_lines
from domains.timeseries.frequency import canonical

__all__ = ["KNOWN", "open_table", "read_table"]

# What a file name may end in, and what is then read.
KNOWN = {
    ".csv": "text, long or wide",
    ".tsv": "text, long or wide",
    ".txt": "text, long or wide",
    ".parquet": "a long or wide frame, or GluonTS entries",
    ".arrow": "a long or wide frame, or GluonTS entries",
    ".feather": "a long or wide frame, or GluonTS entries",
    ".json": "GluonTS entries, one a line",
    ".jsonl": "GluonTS entries, one a line",
    ".tar.gz": "a dataset of GluonTS",
}


def read_table(
    source: str | Path | pd.DataFrame | pd.Series | Table | Iterable[dict[str, Any]],
    *,
    id_col: str | None = None,
    time_col: str | None = None,
    target_col: str | None = None,
    freq: str | None = None,
    time_format: str | None = None,
    decimal: str | None = None,
) -> Table:
    """Read a table.

    Args:
        source: a path (see `KNOWN`; ".gz" after text and JSON is fine), a folder of this project's data or of
            a GluonTS dataset, a pandas frame long or wide, any GluonTS dataset, a name of `builtin.BUILTIN`,
            or a dataset of the catalogue that is on this machine.
        id_col, time_col, target_col, freq, time_format, decimal: see `frames.Reading`.

    Returns:
        The series on the grid of their frequency, NaN where values or times are missing. `notes` says what
        reading changed.

    Raises:
        DataError: the source cannot be used; one line names the file, the column and the series.
    """
    return open_table(source, Reading(id_col, time_col, target_col, freq, time_format, decimal))


def open_table(
    source: str | Path | pd.DataFrame | pd.Series | Table | Iterable[dict[str, Any]],
    reading: Reading = Reading(),
) -> Table:
    """`read_table` with its options in one value."""
    if reading.freq is not None:
        canonical(reading.freq)
    if isinstance(source, Table):
        return source
    if isinstance(source, pd.DataFrame):
        if {"start", "target"} <= set(source.columns) and not _scalar(source["target"]):
            return read_entries(entries_of(source), freq=reading.freq)
        return read_frame(source, reading)
    if isinstance(source, pd.Series):
        return read_frame(source, reading)
    if isinstance(source, str | Path):
        return _read_path(source, reading)
    if isinstance(source, Iterable):
        return read_entries(source, freq=reading.freq)  # type: ignore[arg-type]  # checked entry by entry
    raise ConfigError(
        f"a table cannot be read from {type(source).__name__}.",
        hint="Give a path, a pandas frame, or a GluonTS dataset.",
    )


def _read_path(source: str | Path, reading: Reading) -> Table:
    path = Path(source).expanduser()
    if not path.exists():
        if str(source) in BUILTIN:
            return read_builtin(str(source))
        if str(source) in {card.name for card in read_cards() if card.domain == "timeseries" and card.files}:
            return read_folder(store.path(str(source)), freq=reading.freq)
        raise DataError(
            f"there is no file or folder {path}.",
            hint=f"Give a path, or the name of a built-in table: {', '.join(sorted(BUILTIN))}.",
        )
    if path.is_dir():
        return read_folder(path, freq=reading.freq)
    name = path.name.lower()
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        return read_archive(path, freq=reading.freq)
    suffix = Path(name.removesuffix(".gz")).suffix
    table = _read_file(path, suffix, reading)
    return replace(table, name=table.name or path.name.split(".")[0])


def _read_file(path: Path, suffix: str, reading: Reading) -> Table:
    if suffix in {".json", ".jsonl"}:
        return read_entries(read_json_lines(path), freq=reading.freq, source=str(path))
    if suffix in {".parquet", ".arrow", ".feather"}:
        frame = read_arrow(path)
        if {"start", "target"} <= set(frame.columns) and not _scalar(frame["target"]):
            return read_entries(entries_of(frame), freq=reading.freq, source=str(path))
        return read_frame(frame, reading, source=str(path))
    if suffix in {".csv", ".tsv", ".txt"}:
        frame, notes = read_delimited(path)
        table = read_frame(frame, reading, source=str(path))
        return replace(table, notes=notes + table.notes)
    raise DataError(
        f"{path}: '{suffix or path.name}' is no known type of table (known: {', '.join(KNOWN)}).",
        hint="Save the table as CSV or Parquet.",
    )


def _scalar(column: pd.Series) -> bool:
    return not len(column) or not hasattr(column.iloc[0], "__len__") or isinstance(column.iloc[0], str)
