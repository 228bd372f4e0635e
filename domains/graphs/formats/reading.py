"""How a source is to be read: which column, which rows, what becomes of rows that do not fit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import ConfigError, DataError
from domains.graphs.data import Array
from domains.graphs.molecules import Accept

__all__ = ["Reading", "held_out", "read_split_file", "splits_of"]


@dataclass(frozen=True)
class Reading:
    """Settings of every reader.

    Args:
        accept: vocabulary, size, and what becomes of molecules that do not fit.
        smiles_col: column of SMILES; None finds it.
        properties: columns of numbers to read along.
        split_file: JSON with row numbers of the source, from 0: {"test": [...]}, with "train" and "val" too,
            or a bare list of test rows.
        split: read the rows of this split alone; of a source with known splits.
        limit: read at most this many rows, drawn with `seed`.
        test_share: share of a source without splits that is held out for tests.
        seed: of both draws.
        features: F of generic graphs; None takes the largest degree plus 1.
        single: allow generic graphs of one node, as samples may have them.
        data_dir: folder searched first for named sets.
    """

    accept: Accept = field(default_factory=Accept)
    smiles_col: str | None = None
    properties: tuple[str, ...] = ()
    split_file: Path | None = None
    split: str | None = None
    limit: int | None = None
    test_share: float = 0.2
    seed: int = 0
    features: int | None = None
    single: bool = False
    data_dir: Path | None = None


def held_out(n: int, share: float, seed: int) -> dict[str, Array]:
    """Split n rows at random: "train" and "test", each in order and neither empty where n >= 2."""
    if not 0 <= share < 1:
        raise ConfigError(f"the share of test rows lies in [0, 1), got {share}.")
    order = np.random.default_rng(seed).permutation(n)
    tests = min(max(round(n * share), 1 if share else 0), n - 1) if n > 1 else 0
    return {"train": np.sort(order[tests:]), "test": np.sort(order[:tests])}


def read_split_file(path: Path) -> dict[str, Array]:
    """Row numbers by split.

    Raises:
        DataError: the file is no such JSON.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}.", hint="Give a JSON file of row numbers.")
    try:
        values = json.loads(path.read_text("utf-8"))
        named: Mapping[str, Sequence[int]] = values if isinstance(values, dict) else {"test": values}
        return {name: np.asarray(rows, np.int64).reshape(-1) for name, rows in named.items()}
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path} is no list of row numbers: {error}.",
            hint='Write {"train": [0, 1], "test": [2]}, or a list of test rows; rows count from 0.',
        ) from error


def splits_of(named: Mapping[str, Array], total: int, rows: Array, *, source: str) -> dict[str, Array]:
    """Turn row numbers of the source into numbers of the graphs that were kept.

    Args:
        named: rows of the source; without "train" it is what no other split has.
        total: rows of the source.
        rows: (G,) the row that each kept graph came from.

    Raises:
        DataError: a row is out of range or named twice, or train or test is empty.
    """
    full = dict(named)
    for name, at in full.items():
        if len(bad := at[(at < 0) | (at >= total)]):
            raise DataError(
                f"{source}: split '{name}' has {len(bad)} of {len(at)} ids out of range, first "
                f"{int(bad[0])}; there are {total} rows.",
                hint="Ids are row numbers and count from 0.",
            )
        values, often = np.unique(at, return_counts=True)
        if len(values) < len(at):
            raise DataError(
                f"{source}: split '{name}' names {len(at) - len(values)} ids twice, first "
                f"{int(values[often > 1][0])}."
            )
    if "train" not in full:
        taken = np.concatenate([*full.values(), np.zeros(0, np.int64)])
        full["train"] = np.setdiff1d(np.arange(total), taken)
    where = np.full(total, -1)
    where[rows] = np.arange(len(rows))
    found = {name: where[at][where[at] >= 0] for name, at in full.items()}
    if any(not len(found.get(name, ())) for name in ("train", "test")):
        counts = ", ".join(f"{name} {len(at)} of {len(full[name])}" for name, at in found.items())
        raise DataError(
            f"{source}: the train or test split is empty once rows that do not fit are gone ({counts})."
        )
    return found
