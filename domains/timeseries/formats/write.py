"""Write tables: long or wide frames, GluonTS entries, folders of this project; whole files or nothing."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.atomic import replacing
from core.errors import ConfigError, unknown
from domains.timeseries.data import Series, Table
from domains.timeseries.formats.forecasts import start_text
from domains.timeseries.frequency import times

__all__ = ["LAYOUTS", "WRITABLE", "entries", "table_long", "table_wide", "write_table"]

LAYOUTS = ("long", "nixtla", "wide", "entries", "folder")
# What each suffix can hold; the first layout is the default. A name without suffix is a folder.
WRITABLE: dict[str, tuple[str, ...]] = {
    ".csv": ("long", "nixtla", "wide"),
    ".csv.gz": ("long", "nixtla", "wide"),
    ".tsv": ("long", "nixtla", "wide"),
    ".parquet": ("long", "nixtla", "wide", "entries"),
    ".jsonl": ("entries",),
    ".jsonl.gz": ("entries",),
    ".json": ("entries",),
    ".json.gz": ("entries",),
    "": ("folder",),
}
NAMES = {"long": ("item_id", "timestamp", "target"), "nixtla": ("unique_id", "ds", "y")}


def suffix_of(path: Path) -> str:
    """The suffix that chooses a format, ".csv.gz" as a whole."""
    name = path.name.lower()
    return "".join(Path(name).suffixes[-2:]) if name.endswith(".gz") else Path(name).suffix


def layout_for(path: Path, layout: str | None) -> str:
    """The layout to write, checked.

    Raises:
        ConfigError: the suffix is not known, or cannot hold the layout.
    """
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        raise unknown("output type", suffix, [name for name in WRITABLE if name])
    if layout is None:
        return WRITABLE[suffix][0]
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if layout not in WRITABLE[suffix]:
        raise ConfigError(
            f"'{suffix or 'a folder'}' cannot hold the layout '{layout}' (it holds "
            f"{', '.join(WRITABLE[suffix])}).",
            hint="Choose another output name or layout.",
        )
    return layout


def write_table(
    table: Table, path: Path, *, layout: str | None = None, overwrite: bool = False
) -> tuple[str, ...]:
    """Write a table.

    Args:
        path: its suffix chooses the format, see `WRITABLE`.
        layout: one of `LAYOUTS`; None takes the first that the suffix holds.
        overwrite: replace an existing file; a folder is never replaced.

    Returns:
        Notes on what the layout does not keep.
    """
    chosen = layout_for(path, layout)
    with replacing(path, overwrite=overwrite) as draft:
        if chosen == "folder":
            draft.mkdir()
            _write_rows(table, draft / "series.parquet")
            (draft / "dataset.json").write_text(json.dumps(_facts(table), indent=1), encoding="utf-8")
        elif chosen == "entries":
            _write_entries(table, draft)
        else:
            frame = table_wide(table) if chosen == "wide" else table_long(table, NAMES[chosen])
            _write_frame(frame, draft)
    return _lost(table, chosen)


def table_long(table: Table, names: tuple[str, str, str] = NAMES["long"]) -> pd.DataFrame:
    """One row per series and time; `names` are those of id, time and value."""
    lengths = [len(item) for item in table]
    stamps = [times(item.start, len(item), table.stamp).to_numpy() for item in table]
    return pd.DataFrame(
        {
            names[0]: np.repeat([item.item_id for item in table], lengths),
            names[1]: np.concatenate(stamps),
            names[2]: np.concatenate([item.target for item in table]),
        }
    )


def table_wide(table: Table) -> pd.DataFrame:
    """One row per time and one column per series, NaN where a series has not begun or has ended."""
    columns = [
        pd.Series(item.target, index=times(item.start, len(item), table.stamp), name=item.item_id)
        for item in table
    ]
    return pd.concat(columns, axis=1).sort_index().rename_axis("timestamp").reset_index()


def entries(table: Table) -> list[dict[str, Any]]:
    """The table as GluonTS reads it: item_id, start (a period), target, feat_static_cat where known."""
    return [
        {"item_id": item.item_id, "start": item.start, "target": item.target}
        | ({"feat_static_cat": np.array(item.category, dtype=np.int32)} if item.category else {})
        for item in table
    ]


def _write_frame(frame: pd.DataFrame, path: Path) -> None:
    suffix = suffix_of(path)
    if suffix == ".parquet":
        frame.to_parquet(path, index=False, compression="zstd")
        return
    packed = "gzip" if suffix.endswith(".gz") else None
    frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",", compression=packed)


def _write_entries(table: Table, path: Path) -> None:
    if path.suffix == ".parquet":
        _write_rows(table, path)
        return
    text = "".join(_line(item) + "\n" for item in table)
    raw = text.encode("utf-8")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def _line(item: Series) -> str:
    # GluonTS reads the word NaN as a missing value; JSON itself has none.
    values = ["NaN" if np.isnan(value) else value for value in item.target.tolist()]
    row: dict[str, Any] = {"item_id": item.item_id, "start": start_text(item.start), "freq": item.freq}
    row["target"] = values
    if item.category:
        row["feat_static_cat"] = list(item.category)
    return json.dumps(row, ensure_ascii=False)


def _write_rows(table: Table, path: Path) -> None:
    frame = pd.DataFrame(
        {
            "item_id": [item.item_id for item in table],
            "start": [start_text(item.start) for item in table],
            "freq": [item.freq for item in table],
            "target": [item.target for item in table],
        }
    )
    if any(item.category for item in table):
        frame["feat_static_cat"] = [np.array(item.category, dtype=np.int32) for item in table]
    frame.to_parquet(path, index=False, compression="zstd")


def _facts(table: Table) -> dict[str, Any]:
    lengths = [len(item) for item in table]
    missing = sum(int(np.isnan(item.target).sum()) for item in table)
    facts: dict[str, Any] = {"name": table.name, "freq": table.freq}
    for key in ("prediction_length", "context_length", "rolling_windows", "seasonality"):
        if getattr(table, key) is not None:
            facts[key] = getattr(table, key)
    return facts | {
        "stamp": table.stamp,
        "num_series": len(table),
        "min_length": min(lengths),
        "max_length": max(lengths),
        "median_length": float(np.median(lengths)),
        "missing_fraction": missing / sum(lengths),
    }


def _lost(table: Table, layout: str) -> tuple[str, ...]:
    notes = []
    if layout in {"long", "nixtla", "wide"} and any(item.category for item in table):
        notes.append("static categories are not kept in frames; write .jsonl or a folder to keep them.")
    spans = {(item.start.ordinal, len(item)) for item in table}
    if layout == "wide" and len(spans) > 1:
        notes.append(
            "series of different spans share one time axis: cells before and after a series are empty, and "
            "count as missing when the file is read."
        )
    if layout == "entries" and table.stamp != "start":
        notes.append(f"starts are written as the first moment of their period, not as its '{table.stamp}'.")
    return tuple(notes)
