"""Read delimited text (CSV, TSV, semicolons), packed or not, with whatever separator and encoding it has.

Every cell arrives as text; `numbers` and `moments` decide what it means.
"""

import csv
import gzip
import io
from collections import Counter
from pathlib import Path

import pandas as pd

from core.errors import DataError

__all__ = ["read_delimited"]

SEPARATORS = (",", ";", "\t", "|")


def read_delimited(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a text table.

    Args:
        path: UTF-8, UTF-16 or Latin text with a header line; ".gz" is unpacked.

    Returns:
        All cells as text ("" where empty), and notes on what was guessed.

    Raises:
        DataError: the file is empty or no table, or a row has more cells than the header.
    """
    text, notes = _decoded(path)
    lines = text.splitlines()
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].startswith("#")):
        skipped += 1
    if skipped == len(lines):
        raise DataError(f"{path}: the file is empty.", hint="Give a table with a header line.")
    separator = _separator(lines[skipped : skipped + 50], path)
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skiprows=skipped,
            index_col=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, ValueError, csv.Error) as err:
        said = str(err).strip().splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise DataError(
            f"{path} cannot be read as a table separated by '{_shown(separator)}': {said}.",
            hint="Every row needs as many cells as the header; put quotes around cells with separators.",
        ) from err
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    if skipped:
        notes.append(f"{skipped} lines before the header skipped.")
    return frame, tuple(notes)


def _decoded(path: Path) -> tuple[str, list[str]]:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as err:
        raise DataError(f"{path} cannot be read: {err}.", hint="Check the file.") from err
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16"), []
    if b"\x00" in raw[:4096]:
        raise DataError(
            f"{path} is not text.", hint="Save the table as CSV or Parquet; a spreadsheet can export CSV."
        )
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), ["text is not UTF-8: read as Windows Latin-1."]


def _separator(lines: list[str], path: Path) -> str:
    """The separator that gives the most lines the same number of cells, two at least."""
    best, best_score = "", (0, 0)
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator) if row)
        width, agreeing = widths.most_common(1)[0]
        score = (agreeing, width)
        if width > 1 and score > best_score:
            best, best_score = separator, score
    if not best:
        raise DataError(
            f"{path}: no separator found: no comma, semicolon, tab or bar splits its lines evenly.",
            hint="Give a table with a column of times and a column of values.",
        )
    return best


def _shown(separator: str) -> str:
    return "tab" if separator == "\t" else separator
