"""What a user asks of data alone: prepare a set once, and draw what a file holds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError, unknown
from core.outlook import Outlook, Ready, at_once, check_output, many
from core.progress import Progress, silent
from domains.graphs.formats.archives import write_npz
from domains.graphs.formats.reading import Reading
from domains.graphs.generated import read_generated
from domains.graphs.metrics.molecular import PROPERTIES, property_values
from domains.graphs.plots import draw_graphs, draw_molecules
from domains.graphs.sets import BUILTIN, NAMED, read_set
from domains.graphs.workflows.evaluating import split_name

__all__ = ["draw_file", "prepare_file"]


def prepare_file(
    source: str,
    out: Path,
    reading: Reading = Reading(),
    *,
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Read a set, check it, and write it as one archive that opens at once.

    Args:
        source: what `sets.read_set` reads.
        out: .npz.

    Returns:
        Kind, numbers of graphs, nodes and edges, splits, and what reading left out.
    """
    check_output(out, (".npz",), overwrite=overwrite, source=Path(source))
    if not out.parent.is_dir():
        raise ConfigError(f"the folder {out.parent} does not exist.", hint="Create it first.")
    found = read_set(source, reading)
    ragged, kind = found.ragged, found.kind
    ready(
        Outlook(
            (
                f"prepare {source}: {many(len(found), 'graph')} of up to {int(ragged.sizes.max())} nodes",
                f"write {out}",
                *(f"note: {note}" for note in found.notes),
            )
        )
    )
    write_npz(out, found, overwrite=overwrite)
    progress("write", 1, 1)
    return {
        "source": source,
        "out": str(out),
        **kind.to_dict(),
        "graphs": len(found),
        "nodes_mean": float(ragged.sizes.mean()),
        "nodes_max": int(ragged.sizes.max()),
        "edges_mean": float(ragged.counts.mean()),
        "splits": {name: len(at) for name, at in found.splits.items()},
        "properties": sorted(found.properties),
        "notes": list(found.notes),
        "warnings": [],
    }


def draw_file(
    source: str,
    out: Path,
    *,
    columns: int = 5,
    rows: int = 4,
    legends: Sequence[str] = (),
    highlight: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw the first graphs or molecules of a set or a file.

    Args:
        source: what `sets.read_set` reads, or "name:split"; invalid molecules are left out and counted.
        out: .svg or .png.
        legends: properties to write below molecules, keys of `molecular.PROPERTIES`.
        highlight: "scaffold", or a SMARTS.
    """
    if columns < 1 or rows < 1:
        raise ConfigError(f"a grid has at least one cell, got {columns} x {rows}.")
    for name in legends:
        if name not in PROPERTIES:
            raise unknown("property", name, PROPERTIES)
    check_output(out, (".svg", ".png"), overwrite=overwrite, source=Path(source))
    name, split = split_name(source, None)
    path = Path(name).expanduser()
    if path.is_file() and re.search(
        r"\.(smi|smiles|txt|csv|tsv|parquet|sdf|mol)(\.(gz|xz|bz2))?$", path.name, re.I
    ):
        return _molecules(source, read_generated(path), out, columns, rows, legends, highlight, overwrite)
    found = read_set(
        name, Reading(split=split, single=True, limit=None if path.exists() else _few(name, columns * rows))
    )
    if found.kind.molecular:
        from domains.graphs.valency import molecules_of

        few = found.ragged.take(range(min(len(found), columns * rows)))
        drawn = molecules_of(few, found.kind)
        return _molecules(source, drawn, out, columns, rows, legends, highlight, overwrite)
    if legends or highlight:
        raise DataError(f"{source} holds generic graphs; legends and highlights are for molecules.")
    draw_graphs(found.ragged, out, columns=columns, rows=rows, overwrite=overwrite)
    return {"source": source, "out": str(out), "drawn": min(len(found), columns * rows), "left_out": 0}


def _few(name: str, cells: int) -> int | None:
    """Molecules of a large published set to parse."""
    return cells if name in NAMED and name not in BUILTIN else None


def _molecules(
    source: str,
    found: Any,
    out: Path,
    columns: int,
    rows: int,
    legends: Sequence[str],
    highlight: str | None,
    overwrite: bool,
) -> dict[str, Any]:
    mols = [mol for mol in found.mols if mol is not None][: columns * rows]
    values = {name: property_values(mols, name) for name in legends}
    texts = [", ".join(f"{name} {values[name][i]:.2f}" for name in legends) for i in range(len(mols))]
    draw_molecules(
        mols, out, columns=columns, rows=rows, legends=texts, highlight=highlight, overwrite=overwrite
    )
    invalid = sum(mol is None for mol in found.mols)
    return {"source": source, "out": str(out), "drawn": len(mols), "left_out": invalid}
