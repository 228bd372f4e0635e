"""Properties of samples with guidance beside those without, each mean with its standard error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.graphs.data import Array, Ragged
from domains.graphs.descriptors import Wish, computable, items_of, measured
from domains.graphs.gdss import GraphModel
from domains.graphs.valency import Molecules, molecules_of

__all__ = ["Sampled", "compared", "sampled_of"]


@dataclass(frozen=True)
class Sampled:
    """One set of samples: as graphs, as molecules where they are some, and what descriptors measure."""

    ragged: Ragged
    molecules: Molecules | None
    items: Sequence[Any]


def sampled_of(ragged: Ragged, model: GraphModel) -> Sampled:
    if model.kind.molecular:
        found = molecules_of(ragged, model.kind)
        return Sampled(ragged, found, found.mols)
    return Sampled(ragged, None, items_of(ragged, model.kind))


def compared(
    wishes: Sequence[Wish], plain: Sampled, guided: Sampled, model: GraphModel
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Array]], list[str]]:
    """A row per property, the values behind it, and warnings."""
    rows, pictured, warnings = [], {}, []
    for wish in wishes:
        if not computable(wish.name, model.kind):
            warnings.append(
                f"'{wish.name}' is known to the model alone and cannot be measured on its samples."
            )
            continue
        sides = {}
        for name, each in (("without", plain), ("guided", guided)):
            values = measured(each.items, wish.name, model.kind)
            sides[name] = values[np.isfinite(values)]
        if min(map(len, sides.values())) < 2:
            warnings.append(f"'{wish.name}' could be measured on fewer than 2 samples of a set.")
            continue
        pictured[wish.name] = sides
        means = {name: float(values.mean()) for name, values in sides.items()}
        errors = {name: float(v.std(ddof=1)) / math.sqrt(len(v)) for name, v in sides.items()}
        row: dict[str, Any] = {"property": wish.name, "wish": str(wish)}
        for name in sides:
            row |= {name: means[name], f"{name}_standard_error": errors[name]}
        row |= {
            "change": means["guided"] - means["without"],
            "change_standard_error": math.hypot(*errors.values()),
        }
        if wish.value is not None:
            row |= {
                f"{name}_distance": float(np.abs(values - wish.value).mean())
                for name, values in sides.items()
            }
        rows.append(row)
        if _missed(wish, row):
            warnings.append(f"'{wish}' was not reached: the change is within two standard errors, or worse.")
    return rows, pictured, warnings


def _missed(wish: Wish, row: Mapping[str, Any]) -> bool:
    if wish.value is not None:
        return bool(row["guided_distance"] >= row["without_distance"])
    gain = row["change"] * (1 if wish.aim == "max" else -1)
    return bool(gain <= 2 * row["change_standard_error"])
