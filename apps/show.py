"""Results on standard output: tables for people, one JSON object for programs."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.plain import plain, to_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["say", "show"]


def say(line: str, *, quiet: bool = False) -> None:
    """Print one line of plan, note or warning on standard error."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def show(
    report: Mapping[str, Any], *, as_json: bool = False, title: str | None = None, folder: Path | None = None
) -> None:
    """Print a report.

    Single values and mappings become rows of one table, with dots between nested keys. A sequence of mappings
    becomes a table of its own, one column per key.

    Args:
        report: what to print; keys carry units, such as "gain_db".
        as_json: print exactly one JSON object and nothing else.
        title: heading of the first table.
        folder: the run folder, printed last; key "folder" in JSON.

    Raises:
        NumericalError: a number is NaN or infinite.
    """
    values = plain(report)
    if as_json:
        sys.stdout.write(to_json(values | ({"folder": str(folder)} if folder else {})))
        return
    from rich.console import Console

    # Without a terminal rich assumes 80 columns and cuts; files and pipes have no such limit.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    for table in _tables(values, title):
        console.print(table)
    if folder is not None:
        print(f"run folder: {folder}")


def _tables(values: Mapping[str, Any], title: str | None) -> "list[Table]":
    """Tables of a report, the single values first."""
    from rich import box
    from rich.table import Table

    single: list[tuple[str, Any]] = []
    several: list[tuple[str, list[Mapping[str, Any]]]] = []
    for key, value in _flatten(values):
        (several if _is_rows(value) else single).append((key, value))
    tables = []
    if single:
        table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right" if all(_is_number(value) for _, value in single) else "left")
        for key, value in single:
            table.add_row(key, _text(value))
        tables.append(table)
    for key, rows in several:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = Table(
            title=key if single or len(several) > 1 else title, title_justify="left", box=box.SIMPLE
        )
        for name in columns:
            numeric = all(_is_number(row.get(name)) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_text(row.get(name)) for name in columns))
        tables.append(table)
    return tables


def _flatten(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Pairs of dotted key and value, mappings opened."""
    pairs = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{before}{key}.")
        else:
            pairs.append((f"{before}{key}", value))
    return pairs


def _is_rows(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) > 0 and all(isinstance(row, Mapping) for row in value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _text(value: Any) -> str:
    """One cell: four significant digits for fractions, a dash for nothing."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(_text(item) for item in value) or "-"
        case Mapping():
            return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    return str(value)
