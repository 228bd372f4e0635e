"""Which column of a frame is what: id, time, value; long or wide.

Long frames have one row per series and time, wide frames one row per time and one column per series. The
names that GluonTS and Nixtla use are recognised, and common words for them; what cannot be told is asked for,
with the columns that there are.
"""

import difflib
from dataclasses import dataclass

import pandas as pd

from core.errors import DataError
from domains.timeseries.formats.moments import looks_like_times
from domains.timeseries.formats.numbers import is_numeric

__all__ = ["IDS", "TARGETS", "TIMES", "Layout", "layout_of"]

IDS = ("item_id", "unique_id", "series_id", "id", "series")
# Names of parts of an id: where several of them are there, only together they tell series apart.
PARTS = ("store", "shop", "store_id", "item", "product", "sku", "sensor", "station", "dept", "region")
TIMES = (
    "timestamp", "ds", "time", "date", "datetime", "date_time", "period", "index", "week", "month", "quarter",
    "year", "day", "t", "step", "epoch", "datum", "zeit", "fecha", "",
)  # fmt: skip
TARGETS = ("target", "y", "value", "values")
OPTIONS = {"id": "--id-col", "time": "--time-col", "target": "--target-col"}


@dataclass(frozen=True)
class Layout:
    """What the columns are.

    Args:
        time: the column of times.
        values: the column of values of a long frame, or the series of a wide one.
        ids: the columns that tell series apart in a long frame; none for a wide frame or a single series.
        ignored: columns that are not read.
        guessed: `ids` were found by their looks, not by a name.
    """

    time: str
    values: tuple[str, ...]
    ids: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    guessed: bool = False


def layout_of(
    frame: pd.DataFrame, *, source: str, id_col: str | None, time_col: str | None, target_col: str | None
) -> Layout:
    """Tell what the columns of a frame are.

    Args:
        frame: with string column names and no index of meaning.
        source: the file, for messages.
        id_col, time_col, target_col: names that the caller gave; several ids with commas between,
            "store,item".

    Raises:
        DataError: a named column is absent, there is no column of times, or the columns of values cannot be
            told.
    """
    columns = [str(name) for name in frame.columns]
    given = _given_ids(id_col, columns)
    for role, name in (*(("id", name) for name in given), ("time", time_col), ("target", target_col)):
        if name is not None and name not in columns:
            raise _absent(role, name, columns, source)
    time = time_col or _time(frame, columns, taken={*given, target_col}, source=source)
    ids = given or _found_ids(columns, without={time, target_col})
    rest = [name for name in columns if name not in {time, *ids}]
    if target_col is not None:
        return Layout(time, (target_col,), ids, tuple(name for name in rest if name != target_col))
    if not rest:
        raise DataError(
            f"{source}: there is no column of values beside {_list([time, *ids])}.",
            hint="Add one named target, or name it with --target-col.",
        )
    numeric = [name for name in rest if is_numeric(frame[name])]
    named = _known(rest, TARGETS, without=set())
    if ids:
        target = named or (numeric[0] if len(numeric) == 1 else None)
        if target is None:
            raise DataError(
                f"{source}: the column of values cannot be told from {_list(rest)}.",
                hint="Name it with --target-col.",
            )
        return Layout(time, (target,), ids, tuple(name for name in rest if name != target))
    return _without_ids(frame, time, rest, numeric, named, source)


def _without_ids(
    frame: pd.DataFrame, time: str, rest: list[str], numeric: list[str], named: str | None, source: str
) -> Layout:
    text = [name for name in rest if name not in numeric and not _empty(frame[name])]
    # Two series of one span repeat half of the times; an hour that the clock repeats is no second series.
    repeats = len(rest) > 1 and float(frame[time].duplicated().mean()) > 0.3
    if not text and not repeats:
        return Layout(time, tuple(rest))
    value = named or (numeric[0] if len(numeric) == 1 else None)
    if repeats and len(text) == 1 and value is not None:
        return Layout(time, (value,), (text[0],), tuple(n for n in numeric if n != value), guessed=True)
    if repeats:
        example = text[0] if text else rest[0]
        raise DataError(
            f"{source}: times repeat, and no column is known to hold the ids of series: {_list(rest)}.",
            hint=f"Name it with --id-col, such as --id-col '{example}'; several with commas between.",
        )
    if named is not None:
        return Layout(time, (named,), (), tuple(name for name in rest if name != named))
    others = [name for name in rest if name != text[0]]
    raise DataError(
        f"{source}: column '{text[0]}' holds no numbers; beside it are {_list(others) or 'none'}.",
        hint="Name the column of values with --target-col, and that of ids, if any, with --id-col.",
    )


def _empty(cells: pd.Series) -> bool:
    return bool((cells.isna() | (cells.astype(str).str.strip() == "")).all())


def _time(frame: pd.DataFrame, columns: list[str], *, taken: set[str | None], source: str) -> str:
    free = [name for name in columns if name not in taken]
    known = [name for name in free if name.strip().lower() in TIMES or name.startswith("Unnamed:")]
    known.sort(key=lambda name: TIMES.index(name.strip().lower()) if name.strip().lower() in TIMES else 99)
    if known:
        return known[0]
    for name in free:
        if looks_like_times(frame[name]):
            return name
    raise DataError(
        f"{source}: no column of times among {_list(columns)}.",
        hint="Name it with --time-col; it should hold dates such as 2024-01-31, or steps with --freq int.",
    )


def _given_ids(id_col: str | None, columns: list[str]) -> tuple[str, ...]:
    if id_col is None:
        return ()
    return (id_col,) if id_col in columns else tuple(name.strip() for name in id_col.split(","))


def _found_ids(columns: list[str], without: set[str | None]) -> tuple[str, ...]:
    whole = _known(columns, IDS, without)
    if whole is not None:
        return (whole,)
    return tuple(name for name in columns if name.strip().lower() in PARTS and name not in without)


def _known(columns: list[str], names: tuple[str, ...], without: set[str | None]) -> str | None:
    by_name = {name.strip().lower(): name for name in reversed(columns) if name not in without}
    return next((by_name[name] for name in names if name in by_name), None)


def _absent(role: str, name: str, columns: list[str], source: str) -> DataError:
    near = difflib.get_close_matches(name, columns, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return DataError(
        f"{source}: there is no column '{name}'; the columns are {_list(columns)}.",
        hint=f"{guess}Name the right one with {OPTIONS[role]}.",
    )


def _list(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
