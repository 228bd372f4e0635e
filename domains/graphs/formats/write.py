"""Write generated graphs and molecules; `.npz` keeps raw graphs, so that validity can still be measured.

| extension   | holds                                                                    |
| ----------- | ------------------------------------------------------------------------ |
| .npz        | the graphs as they are: `read_npz`'s prepared layout, without splits     |
| .smi        | canonical SMILES, one a line; what is no molecule is left out            |
| .csv        | number of the sample, SMILES, and whether it was valid and was corrected |
| .sdf        | one record a molecule, V2000                                             |
| .edges      | generic graphs: one edge a line, a blank line between graphs             |
| .pt         | a list of PyTorch Geometric `Data`                                       |
"""

import csv
from pathlib import Path

import torch
from rdkit import Chem

from core.atomic import replacing
from core.errors import unknown
from domains.graphs.data import GraphSet, Kind, Ragged
from domains.graphs.exchange import to_networkx, to_pyg
from domains.graphs.formats.archives import write_npz
from domains.graphs.valency import Molecules, molecules_of

__all__ = ["WRITABLE", "suffixes", "write_samples"]

WRITABLE = (".npz", ".pt", ".smi", ".csv", ".sdf", ".edges")


def suffixes(kind: Kind) -> tuple[str, ...]:
    """Extensions that hold this kind."""
    return WRITABLE[:5] if kind.molecular else (".npz", ".pt", ".edges")


def write_samples(
    path: Path,
    ragged: Ragged,
    kind: Kind,
    *,
    molecules: Molecules | None = None,
    overwrite: bool = False,
) -> int:
    """Write quantised samples, complete or not at all.

    Args:
        molecules: what the samples became, where it is known already; else they are corrected here.

    Returns:
        Number of graphs or molecules written.

    Raises:
        ConfigError: the extension does not fit the kind, or the file exists.
    """
    suffix = path.suffix.lower()
    known = suffixes(kind)
    if suffix not in known:
        raise unknown(
            f"output type of {'molecules' if kind.molecular else 'graphs'}", suffix or path.name, known
        )
    if suffix == ".npz":
        write_npz(path, GraphSet(kind, ragged, {}), overwrite=overwrite)
        return len(ragged)
    with replacing(path, overwrite=overwrite) as draft:
        if suffix == ".pt":
            torch.save(to_pyg(ragged, kind), draft)
            return len(ragged)
        if suffix == ".edges":
            draft.write_text("\n".join(_edges(ragged)), encoding="utf-8")
            return len(ragged)
        found = molecules if molecules is not None else molecules_of(ragged, kind)
        _write_molecules(draft, suffix, found)
    return len(found.kept)


def _edges(ragged: Ragged) -> list[str]:
    """Nodes on lines of their own first, so that isolated ones are kept."""
    return [
        "\n".join([*map(str, graph), *(f"{u} {v}" for u, v in graph.edges), ""])
        for graph in to_networkx(ragged)
    ]


def _write_molecules(path: Path, suffix: str, found: Molecules) -> None:
    if suffix == ".smi":
        path.write_text("".join(f"{smiles}\n" for smiles in found.kept), encoding="utf-8")
    elif suffix == ".sdf":
        with Chem.SDWriter(str(path)) as writer:
            for mol in found.mols:
                if mol is not None:
                    writer.write(mol)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sample", "smiles", "valid_without_correction", "bonds_lowered"])
            for i, smiles in enumerate(found.smiles):
                if smiles is not None:
                    rows.writerow([i, smiles, int(found.valid[i]), int(found.lowered[i])])
