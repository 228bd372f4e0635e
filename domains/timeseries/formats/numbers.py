"""Read numbers from cells: blanks, words for missing, decimal commas, thousands, and what is no number.

A column of numbers passes through. A column of text is read as a whole: its decimal mark is the one that more
of its cells fit, and cells that could mean two numbers ("1,234" and nothing plainer) are asked about, not
guessed. Cells that are no number count as missing where most of the column is numeric, with a count.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import ConfigError, DataError
from domains.timeseries.data import Array

__all__ = ["Column", "is_numeric", "read_numbers"]

MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", ".", "?", "missing", "<na>"}
)
_EXPONENT = r"(?:[eE][+-]?\d+)?$"
# With a point as decimal mark and commas between thousands; and the other way round, where thousands may also
# be parted by a blank or an apostrophe.
_POINT = re.compile(r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?" + _EXPONENT)
_COMMA = re.compile(r"^[+-]?(?:\d+|\d{1,3}(?:[.\s']\d{3})+)(?:,\d+)?" + _EXPONENT)
_PLAIN = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)" + _EXPONENT)


@dataclass(frozen=True)
class Column:
    """The numbers of one column.

    Args:
        values: float64, NaN where missing.
        blank: cells that are empty or a word for missing.
        wrong: cells that are no number, read as missing.
        first_wrong: the first of them and its row, counted from 1.
        commas: the decimal mark of the column is a comma.
    """

    values: Array
    blank: int = 0
    wrong: int = 0
    first_wrong: tuple[str, int] | None = None
    commas: bool = False


def is_numeric(cells: pd.Series) -> bool:
    """Whether a column can be read as numbers: no text, or text that mostly fits one (2000 cells tell)."""
    if pd.api.types.is_bool_dtype(cells) or pd.api.types.is_datetime64_any_dtype(cells):
        return False
    if pd.api.types.is_numeric_dtype(cells):
        return True
    text = _text(cells.iloc[:: max(1, len(cells) // 2000)])
    rest = [cell for cell in text if cell.lower() not in MISSING]
    fits = sum(bool(_PLAIN.match(c) or _POINT.match(c) or _COMMA.match(c)) for c in rest)
    return bool(rest) and 2 * fits > len(rest)


def read_numbers(cells: pd.Series, *, column: str, source: str, decimal: str | None = None) -> Column:
    """Read one column.

    Args:
        cells: of any type.
        column: its name, for messages.
        source: the file, for messages.
        decimal: "." or ","; None tells it from the cells.

    Raises:
        ConfigError: `decimal` is something else.
        DataError: at most half of the cells are numbers, or the decimal mark cannot be told.
    """
    if decimal not in (None, ".", ","):
        raise ConfigError(f"the decimal mark is '.' or ',', got '{decimal}'.", hint="Pass one of the two.")
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_complex_dtype(cells):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return Column(values, blank=int(np.isnan(values).sum()))
    text = _text(cells)
    blank = np.array([cell.lower() in MISSING for cell in text], dtype=bool)
    values = np.full(len(text), np.nan)
    kept = [cell for cell, empty in zip(text, blank, strict=True) if not empty]
    mark = decimal or _mark(kept, column, source)
    read = np.array([_number(cell, mark) for cell in kept], dtype=np.float64)
    wrong = np.isnan(read)
    if kept and 2 * int(wrong.sum()) >= len(kept):
        example = kept[int(np.argmax(wrong))]
        raise DataError(
            f"{source}: column '{column}' is not numeric: {int(wrong.sum())} of {len(kept)} cells are no "
            f"numbers, such as '{example}'.",
            hint="Name the column of values (--target-col), or the decimal mark (--decimal ',').",
        )
    values[~blank] = read
    first = None
    if wrong.any():
        at = int(np.flatnonzero(~blank)[int(np.argmax(wrong))])
        first = (text[at], at + 1)
    return Column(values, int(blank.sum()), int(wrong.sum()), first, mark == ",")


def _text(cells: pd.Series) -> list[str]:
    filled = cells.astype(object).where(cells.notna(), "")
    return [str(cell).strip() for cell in filled]


def _mark(kept: list[str], column: str, source: str) -> str:
    """The decimal mark that more of the cells with a comma fit."""
    doubtful = [cell for cell in kept if "," in cell]
    point = sum(bool(_POINT.match(cell)) for cell in doubtful)
    comma = sum(bool(_COMMA.match(cell)) for cell in doubtful)
    if point == comma and point:
        raise DataError(
            f"{source}: column '{column}': cells such as '{doubtful[0]}' may have a decimal comma or a comma "
            "between thousands.",
            hint="Say which with --decimal ',' or --decimal '.'.",
        )
    return "," if comma > point else "."


def _number(cell: str, mark: str) -> float:
    """One cell as a number; NaN when it is none."""
    if mark == "," and ("," in cell or "." in cell):
        if not _COMMA.match(cell):
            return float("nan")
        cell = re.sub(r"[.\s']", "", cell).replace(",", ".")
    elif _POINT.match(cell):
        cell = cell.replace(",", "")
    if _PLAIN.match(cell):
        return float(cell)
    return {"inf": np.inf, "+inf": np.inf, "infinity": np.inf, "-inf": -np.inf, "-infinity": -np.inf}.get(
        cell.lower(), float("nan")
    )
