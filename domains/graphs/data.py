"""Sets of graphs with their splits, and the forms that their graphs have.

Letters: B graphs, N padded nodes, F node features. Two forms hold the same graphs:

    Graphs   dense and padded, what networks see         `dense`
    Ragged   flat lists, what files and large sets are   `ragged`

A `Kind` (`kinds`) says what the numbers mean. `sets.read_set` reads a named set or a file; `exchange`
converts from and to NetworkX and PyTorch Geometric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from core.errors import DataError, unknown
from domains.graphs.dense import Graphs, one_hot_degrees
from domains.graphs.kinds import KINDS, Kind
from domains.graphs.ragged import Array, Ragged

__all__ = ["KINDS", "Array", "GraphSet", "Graphs", "Kind", "Ragged", "one_hot_degrees"]


@dataclass(frozen=True, eq=False)
class GraphSet:
    """A data set: graphs, their kind, and which of them train and test.

    Args:
        kind: of all of them.
        ragged: G graphs.
        splits: row numbers by name: "train", "test", some sets "val".
        smiles: canonical SMILES of each graph of a molecular set, else ().
        rows: row of the source that each graph came from, (G,); rows that were dropped are missing here.
        properties: (G,) float64 values by name, where the source has such columns.
        notes: what reading changed, one line each.
    """

    kind: Kind
    ragged: Ragged
    splits: Mapping[str, Array]
    smiles: tuple[str, ...] = ()
    rows: Array | None = None
    properties: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, at in self.splits.items():
            if len(at) and (int(at.min()) < 0 or int(at.max()) >= len(self.ragged)):
                bad = next(int(i) for i in at if not 0 <= i < len(self.ragged))
                raise DataError(
                    f"split '{name}' of '{self.kind.name}' names graph {bad}; there are {len(self.ragged)}.",
                    hint="Ids count from 0.",
                )
            values, often = np.unique(at, return_counts=True)
            if len(values) < len(at):
                raise DataError(
                    f"split '{name}' of '{self.kind.name}' names {len(at) - len(values)} graphs twice, first "
                    f"{int(values[often > 1][0])}."
                )

    def __len__(self) -> int:
        return len(self.ragged)

    @property
    def name(self) -> str:
        return self.kind.name

    def at(self, split: str | None = None) -> Array:
        """Row numbers of a split; None takes every graph.

        Raises:
            ConfigError: there is no such split.
            DataError: it is empty.
        """
        if split is None:
            return np.arange(len(self))
        if split not in self.splits:
            raise unknown(f"split of '{self.name}'", split, self.splits)
        if not len(self.splits[split]):
            counts = ", ".join(f"{key} {len(rows)}" for key, rows in self.splits.items())
            raise DataError(f"split '{split}' of '{self.name}' is empty ({counts}).")
        return np.asarray(self.splits[split])

    def graphs(self, split: str | None = None) -> Graphs:
        """Dense graphs of a split."""
        return self.ragged.take(self.at(split)).dense(self.kind)

    def batch(self, rows: Array | Tensor | Sequence[int]) -> Graphs:
        """Dense graphs of these rows: what a loader of a large set calls."""
        return self.ragged.take(rows).dense(self.kind)

    def sizes(self, split: str | None = None) -> Array:
        """(n,) int64, nodes of each graph of a split."""
        return self.ragged.sizes[self.at(split)]

    def smiles_of(self, split: str | None = None) -> tuple[str, ...]:
        """Canonical SMILES of a split of a molecular set."""
        return tuple(self.smiles[i] for i in self.at(split)) if self.smiles else ()

    def take(self, rows: Array) -> "GraphSet":
        """These graphs alone; splits keep the rows that are still there, and empty ones go."""
        where = np.full(len(self), -1)
        where[rows] = np.arange(len(rows))
        splits = {name: where[at][where[at] >= 0] for name, at in self.splits.items()}
        return GraphSet(
            self.kind,
            self.ragged.take(rows),
            {name: at for name, at in splits.items() if len(at)},
            tuple(self.smiles[i] for i in rows) if self.smiles else (),
            None if self.rows is None else self.rows[rows],
            {name: values[rows] for name, values in self.properties.items()},
            self.notes,
        )

    def noted(self, *notes: str) -> "GraphSet":
        """The same set with further notes."""
        return replace(self, notes=self.notes + notes)
