"""Convert tables between files: CSV and Parquet long or wide, GluonTS entries, folders of this project."""

from pathlib import Path
from typing import Any

import numpy as np

from core.outlook import Outlook, Ready, at_once, check_output, many
from domains.timeseries.data import Table
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.formats.write import WRITABLE, layout_for, suffix_of, write_table
from domains.timeseries.frequency import times

__all__ = ["convert_file", "describe", "info_file"]


def describe(table: Table) -> dict[str, Any]:
    """What a table holds: frequency, sizes, span, missing values, range."""
    lengths = np.array([len(item) for item in table])
    values = np.concatenate([item.target for item in table])
    starts = [times(item.start, 1, table.stamp)[0] for item in table]
    ends = [times(item.end - 1, 1, table.stamp)[0] for item in table]
    return {
        "name": table.name,
        "freq": table.freq,
        "season": table.season,
        "series": len(table),
        "points": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "first_time": _said(min(starts)),
        "last_time": _said(max(ends)),
        "missing": int(np.isnan(values).sum()),
        "missing_percent": round(100 * float(np.isnan(values).mean()), 3),
        "lowest": float(np.nanmin(values)),
        "highest": float(np.nanmax(values)),
        "negative": int((values < 0).sum()),
        "prediction_length": table.prediction_length,
        "context_length": table.context_length,
        "rolling_windows": table.rolling_windows,
    }


def _said(moment: object) -> str:
    return str(moment).removesuffix(" 00:00:00")


def info_file(source: str | Path, *, reading: Reading = Reading()) -> dict[str, Any]:
    """Say what a source was read as.

    Returns:
        The facts of `describe`, the first series, and notes on what reading changed.
    """
    table = open_table(source, reading)
    shown = [
        {
            "item_id": item.item_id,
            "start": _said(times(item.start, 1, table.stamp)[0]),
            "length": len(item),
            "missing": int(np.isnan(item.target).sum()),
            "mean": float(np.nanmean(item.target)),
        }
        for item in table.series[:8]
    ]
    return {"source": str(source), **describe(table), "first_series": shown, "notes": list(table.notes)}


def convert_file(
    source: str | Path,
    out: Path,
    *,
    layout: str | None = None,
    reading: Reading = Reading(),
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Read a table and write it in another format.

    Args:
        source: what `formats.read_table` reads.
        out: the suffix chooses the format, see `formats.write.WRITABLE`; a name without one is a folder.
        layout: one of `formats.write.LAYOUTS`; None takes the first that the suffix holds.
        overwrite: replace an existing file; a folder is never replaced.

    Raises:
        ConfigError: the output exists, is the input, or cannot hold the layout.
        DataError: the input cannot be used.
    """
    chosen = layout_for(out, layout)
    suffixes = (*WRITABLE, *{Path(f"x{suffix}").suffix for suffix in WRITABLE})
    path = Path(source)
    check_output(out, suffixes, overwrite=overwrite, source=path if path.exists() else None)
    table = open_table(source, reading)
    plan = (
        f"convert {source}: {len(table)} series, {many(sum(map(len, table)), 'point')}, "
        f"frequency {table.freq}",
        f"output: {out}, {chosen}{f' ({suffix_of(out)})' if suffix_of(out) else ''}",
        *(f"note: {note}" for note in table.notes),
    )
    ready(Outlook(plan))
    out.parent.mkdir(parents=True, exist_ok=True)
    lost = write_table(table, out, layout=chosen, overwrite=overwrite)
    return {
        "source": str(source),
        "output": str(out),
        "layout": chosen,
        **describe(table),
        "notes": list(table.notes),
        "warnings": list(lost),
    }
