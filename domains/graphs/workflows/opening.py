"""What every workflow with a model begins and ends with: the model, its settings, sizes, and the sidecar."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.atomic import replacing
from core.errors import CheckpointError, ConfigError, DataError, ModelMismatch
from core.outlook import check_output
from domains.graphs.config import GraphSampling, checked
from domains.graphs.data import Array, Kind
from domains.graphs.formats.reading import Reading
from domains.graphs.gdss import GraphModel, load_model
from domains.graphs.sampling import Drawn
from domains.graphs.sets import BUILTIN, NAMED, read_set
from domains.graphs.valency import Molecules
from domains.graphs.weights import SHIPPED, shipped

__all__ = [
    "check_pair",
    "counts_of",
    "fitting",
    "open_model",
    "rates_of",
    "sampling_of",
    "sidecar",
    "sizes_of",
    "write_sidecar",
]

VERSIONS = ("suffuse", "torch", "numpy", "rdkit", "networkx")


def open_model(run: str) -> GraphModel:
    """The model of a run folder or file, or one that ships with the project.

    Raises:
        CheckpointError: there is none, or it is no model of graphs.
    """
    if run in SHIPPED and not Path(run).exists():
        return load_model(shipped(run))
    path = Path(run).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"there is no model '{run}' (models that ship: {', '.join(SHIPPED)}).",
            hint="Give the folder of a training run, or train one: suffuse graphs train.",
        )
    return load_model(path)


def fitting(model: GraphModel, kind: Kind, what: str) -> None:
    """Refuse data of another vocabulary or size than the model's.

    Raises:
        ModelMismatch: names N, F and elements of both.
    """
    own = model.kind
    if (own.max_nodes, own.features, own.atoms) != (kind.max_nodes, kind.features, kind.atoms):
        raise ModelMismatch(
            f"the model is of N={own.max_nodes}, F={own.features}, elements {','.join(own.atoms) or 'none'}; "
            f"{what} is of N={kind.max_nodes}, F={kind.features}, elements {','.join(kind.atoms) or 'none'}.",
            hint="Train a model on these data, or prepare them with the model's --elements and --max-nodes.",
        )


def sampling_of(model: GraphModel, given: Mapping[str, Any]) -> GraphSampling:
    """The model's own settings with those that are given; None leaves the model's.

    Raises:
        ConfigError: a value is out of range.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    return checked(GraphSampling, {**model.sampling.model_dump(), **changes})


def sizes_of(text: str | None, count: int, model: GraphModel, seed: int) -> list[int] | int | None:
    """Read how many nodes each graph has.

    Args:
        text: "train" (or None), "fixed:12", a text file with one number a line, or a set or file of graphs
            whose sizes are drawn from.

    Raises:
        ConfigError: it is none of these, or a size is not in [1, N].
        DataError: the file has too few numbers, or cannot be read.
    """
    if text is None or text == "train":
        return None
    most = model.kind.max_nodes
    if text.startswith("fixed:"):
        word = text.removeprefix("fixed:")
        if not word.isdecimal() or not 1 <= int(word) <= most:
            raise ConfigError(f"sizes lie in [1, {most}], got '{text}'.", hint=f"Write fixed:{most}.")
        return int(word)
    path = Path(text).expanduser()
    if not path.is_file() and text not in (*NAMED, *BUILTIN):
        raise ConfigError(
            f"'{text}' are no sizes: there is no such file or set.",
            hint="Write train, fixed:12, or a file: one number a line, or graphs.",
        )
    if path.is_file() and (listed := _numbers(path)) is not None:
        if len(listed) < count:
            raise DataError(f"{path} holds {len(listed)} sizes for {count} graphs.", hint="One a line.")
        found = np.asarray(listed[:count])
    else:
        pool: Array = read_set(text, Reading(single=True)).ragged.sizes
        found = np.random.default_rng([seed, 2]).choice(pool, count)
    if int(found.min()) < 1 or int(found.max()) > most:
        raise ConfigError(
            f"{text}: sizes lie in [1, {most}] of the model, got {int(found.min())} to {int(found.max())}."
        )
    return [int(n) for n in found]


def _numbers(path: Path) -> list[int] | None:
    """The whole numbers of a text file, None where it holds anything else."""
    try:
        words = path.read_text("utf-8").split()
    except (UnicodeDecodeError, OSError):
        return None
    return [int(word) for word in words] if words and all(word.isdecimal() for word in words) else None


def sidecar(out: Path) -> Path:
    """The record beside an output: "made.smi" has "made.smi.json"."""
    return out.with_name(f"{out.name}.json")


def check_pair(out: Path, known: tuple[str, ...], *, overwrite: bool) -> None:
    """Refuse an output or its sidecar before any work is done."""
    check_output(out, known, overwrite=overwrite)
    check_output(sidecar(out), (".json",), overwrite=overwrite)


def write_sidecar(out: Path, made: str, entries: Mapping[str, Any], *, overwrite: bool) -> Path:
    """Write what an output is: how it was made, versions, counts."""
    versions: dict[str, str | None] = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    record = {"file": out.name, "made_by": made, **entries, "versions": versions}
    with replacing(sidecar(out), overwrite=overwrite) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return sidecar(out)


def rates_of(found: Molecules) -> dict[str, Any]:
    """Rates of molecules, uniqueness among them."""
    from domains.graphs.metrics.molecular import uniqueness

    return {**found.rates(), "unique": uniqueness(list(found.kept))}


def counts_of(drawn: Drawn, found: Molecules | None = None) -> dict[str, int]:
    """Whole numbers of a run: graphs drawn, nodes dropped, and what became of molecules."""
    counts = {"drawn": len(drawn.quantised), "dropped_nodes": int(drawn.quantised.dropped.sum())}
    if found is not None:
        counts |= {
            "corrected": int((found.lowered > 0).sum()),
            "fragmented": int((~found.connected).sum()),
            "empty": len(found) - len(found.kept),
            "duplicates": len(found.kept) - len(set(found.kept)),
        }
    return counts
