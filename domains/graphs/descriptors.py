"""Numbers of a molecule or a graph by name, and what is wished of them.

    molecules   qed, logp, sa, weight, and every descriptor of RDKit by its own name: TPSA, NumHDonors ...
    graphs      edges, density, triangles, clustering (mean local), components

A name that can be computed always is: values of files come from other versions and other rules. Other names
are columns of the source.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import networkx as nx
import numpy as np
from rdkit import Chem, rdBase

from core.errors import ConfigError, DataError
from domains.graphs.data import Array, GraphSet, Kind, Ragged
from domains.graphs.exchange import to_networkx
from domains.graphs.metrics.molecular import PROPERTIES
from domains.graphs.valency import molecules_of

__all__ = [
    "GRAPHS",
    "Wish",
    "columns_of",
    "computable",
    "descriptor",
    "items_of",
    "measured",
    "values_of",
    "wishes_of",
]

GRAPHS: Mapping[str, Callable[[nx.Graph], float]] = {
    "clustering": nx.average_clustering,
    "components": nx.number_connected_components,
    "density": nx.density,
    "edges": nx.number_of_edges,
    "triangles": lambda graph: sum(nx.triangles(graph).values()) / 3,
}
LOWER = ("sa",)  # a lower value is better


@cache
def _rdkit() -> Mapping[str, Callable[[Any], float]]:
    from rdkit.Chem import Descriptors

    return dict(Descriptors.descList)


def _known(kind: Kind) -> Mapping[str, Callable[[Any], float]]:
    return {**_rdkit(), **PROPERTIES} if kind.molecular else GRAPHS


def computable(name: str, kind: Kind) -> bool:
    """Whether `descriptor` knows the name."""
    return name in _known(kind)


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that only a column of a table of molecules can give."""
    return tuple(name for name in names if name not in PROPERTIES and name not in _rdkit())


def descriptor(name: str, kind: Kind) -> Callable[[Any], float]:
    """A function of an RDKit molecule, or of a `networkx.Graph` for generic graphs.

    Raises:
        ConfigError: nothing is known by that name; the nearest name is in the hint.
    """
    known = _known(kind)
    if name in known:
        return known[name]
    few = f"{', '.join(sorted(PROPERTIES))}, and RDKit's descriptors" if kind.molecular else ", ".join(GRAPHS)
    lower = {key.lower(): key for key in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"Did you mean '{lower[near[0]]}'?" if near else None
    raise ConfigError(f"'{name}' cannot be computed of '{kind.name}' (known: {few}).", hint=hint)


def measured(items: Sequence[Any], name: str, kind: Kind) -> Array:
    """(n,) float64 values of molecules or graphs; NaN where there is none (None, or an empty graph)."""
    rule = descriptor(name, kind)
    with rdBase.BlockLogs():
        return np.asarray(
            [math.nan if item is None or not _size(item) else float(rule(item)) for item in items]
        )


def _size(item: Any) -> int:
    return len(item) if isinstance(item, nx.Graph) else int(item.GetNumAtoms())


def items_of(ragged: Ragged, kind: Kind, smiles: Sequence[str] = ()) -> list[Any]:
    """What descriptors are functions of: molecules of their SMILES, or graphs."""
    if kind.molecular and not smiles:
        return list(molecules_of(ragged, kind).mols)
    if kind.molecular:
        with rdBase.BlockLogs():
            return [Chem.MolFromSmiles(one) for one in smiles]
    return list(to_networkx(ragged))


def values_of(graphs: GraphSet, names: Sequence[str], split: str | None = "train") -> dict[str, list[float]]:
    """Properties of the graphs of a split, in its order: computed where possible, else the set's columns.

    Raises:
        ConfigError: a name is neither known nor a column.
        DataError: a value is missing or not finite; names column and row.
    """
    rows = graphs.at(split)
    found: dict[str, list[float]] = {}
    items: list[Any] | None = None
    for name in names:
        if computable(name, graphs.kind):
            if items is None:
                items = items_of(graphs.ragged.take(rows), graphs.kind, graphs.smiles_of(split))
            values = measured(items, name, graphs.kind)
        elif name in graphs.properties:
            values = np.asarray(graphs.properties[name])[rows]
        else:
            try:
                descriptor(name, graphs.kind)
            except ConfigError as error:
                have = ", ".join(sorted(graphs.properties)) or "none"
                raise ConfigError(
                    f"property '{name}' is neither computable nor a column of '{graphs.name}' "
                    f"(columns read: {have}).",
                    hint=error.hint or "Name a column of the file, or qed, logp, sa, weight, TPSA ...",
                ) from None
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            row = int(rows[bad[0]]) if graphs.rows is None else int(graphs.rows[rows[bad[0]]])
            raise DataError(
                f"'{graphs.name}', property '{name}', row {row + 1}: no finite value ({len(bad)} such rows).",
                hint="Fill the column in, or leave these rows out.",
            )
        found[name] = values.tolist()
    return found


@dataclass(frozen=True)
class Wish:
    """What is wished of a property: to raise it, to lower it, or to come near a value."""

    name: str
    aim: Literal["max", "min", "near"]
    value: float | None = None

    def reward(self, value: float, mean: float, std: float) -> float:
        """Larger is better, in standard deviations of the property."""
        if self.aim == "near":
            assert self.value is not None
            return -abs(value - self.value) / std
        return (value - mean) / std * (1 if self.aim == "max" else -1)

    def __str__(self) -> str:
        match self.aim:
            case "max":
                return f"raise {self.name}"
            case "min":
                return f"lower {self.name}"
        return f"{self.name} near {self.value:g}"


def wishes_of(texts: Sequence[str]) -> tuple[Wish, ...]:
    """Read wishes: NAME (raise it; lower sa), NAME=max, NAME=min, NAME=VALUE; several by comma.

    Raises:
        ConfigError: a wish cannot be read, or names a property twice.
    """
    found: list[Wish] = []
    for text in (word.strip() for line in texts for word in line.split(",")):
        name, mark, value = (part.strip() for part in text.partition("="))
        if not name or (mark and not value):
            raise ConfigError(f"'{text}' is no wish.", hint="Write qed, qed=max, sa=min or logp=2.5.")
        if not mark or value in ("max", "min"):
            aim: Literal["max", "min"] = "min" if value == "min" or (not mark and name in LOWER) else "max"
            found.append(Wish(name, aim))
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"'{text}': '{value}' is no number.", hint="Write qed=0.9, qed=max or sa=min.")
        found.append(Wish(name, "near", number))
    names = [wish.name for wish in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"property '{twice}' is wished for twice.")
    return tuple(found)
