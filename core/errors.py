"""The errors a user can meet, and the exit code of each.

| class            | means                                                  | exit code |
| ---------------- | ------------------------------------------------------ | --------- |
| `SuffuseError`   | the family; every message may carry a `hint`           | 1         |
| `ConfigError`    | a setting is wrong or missing                          | 2         |
| `DataError`      | an input file or array cannot be used                  | 3         |
| `GeometryError`  | a `DataError`: the acquisition geometry is incomplete  | 3         |
| `MissingExtra`   | an optional package or codec is absent                 | 4         |
| `NumericalError` | numbers diverged; nothing was written                  | 4         |
| `CheckpointError`| weights cannot be read or have another role            | 5         |
| `ModelMismatch`  | a `CheckpointError`: the data are not what the weights were trained on | 5 |

A message says what was found and what was expected; the hint says what to do.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GeometryError",
    "MissingExtra",
    "ModelMismatch",
    "NumericalError",
    "SuffuseError",
    "unknown",
]


class SuffuseError(Exception):
    """What went wrong, in one line, with an optional hint on how to mend it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(SuffuseError):
    """A setting is wrong or missing."""

    exit_code = 2


class DataError(SuffuseError):
    """An input file or array cannot be used."""

    exit_code = 3


class GeometryError(DataError):
    """The acquisition geometry lacks a field that the operation needs."""


class MissingExtra(SuffuseError):
    """An optional package or codec is absent."""

    exit_code = 4


class NumericalError(SuffuseError):
    """Numbers diverged or turned into NaN; the run stopped and wrote nothing."""

    exit_code = 4


class CheckpointError(SuffuseError):
    """Weights cannot be read, or do not fit the model asked for."""

    exit_code = 5


class ModelMismatch(CheckpointError):
    """The data are not of the kind that the weights were trained on."""


def unknown(what: str, found: str, known: Iterable[str]) -> ConfigError:
    """Build the error for a misspelt name: the value, the allowed set and the nearest name."""
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else None
    return ConfigError(f"unknown {what} '{found}' (known: {', '.join(names)}).", hint=hint)
