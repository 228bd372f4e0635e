"""Generated molecules as they come: strings or raw graphs, valid or not, every one counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from core.errors import DataError
from domains.graphs.data import GraphSet
from domains.graphs.formats.archives import read_npz
from domains.graphs.formats.reading import Reading
from domains.graphs.formats.tables import OPENERS, read_smiles_list, sdf_records, table_molecules
from domains.graphs.molecules import largest_fragment
from domains.graphs.valency import Molecules, correct, molecules_of

__all__ = ["molecules_of_smiles", "read_generated"]


def molecules_of_smiles(lines: Sequence[str]) -> Molecules:
    """What a list of generated strings holds.

    A string that RDKit sanitises is valid; one that merely breaks a valence is corrected as a raw graph is;
    one that cannot be parsed is no molecule. Of several fragments the largest is taken.
    """
    with rdBase.BlockLogs():
        return _collect([_mend(line) for line in lines])


def _mend(line: str) -> tuple[Any | None, bool, bool, int]:
    """Molecule, whether it was valid and connected, and bond orders taken away."""
    mol = Chem.MolFromSmiles(line)
    if mol is not None and mol.GetNumAtoms():
        return mol, True, "." not in line, 0
    raw = Chem.MolFromSmiles(line, sanitize=False)
    if raw is None or not raw.GetNumAtoms():
        return None, False, True, 0
    mended, lowered = correct(raw)
    return mended, False, len(Chem.GetMolFrags(mended)) < 2, lowered


def _collect(found: Sequence[tuple[Any | None, bool, bool, int]]) -> Molecules:
    mols: list[Any | None] = []
    for mol, *_ in found:
        kept = None if mol is None else Chem.Mol(largest_fragment(mol))
        good = kept is not None and Chem.SanitizeMol(kept, catchErrors=True) == Chem.SANITIZE_NONE
        mols.append(kept if good else None)
    return Molecules(
        tuple(mols),
        tuple(None if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False) for mol in mols),
        np.asarray([valid for _, valid, _, _ in found], bool),
        np.asarray([connected for *_, connected, _ in found], bool),
        np.asarray([lowered for *_, lowered in found], np.int64),
    )


def read_generated(path: Path, reading: Reading = Reading()) -> Molecules:
    """Generated molecules of a file: SMILES list, table, SDF, or an archive of graphs.

    An empty file is an empty set. Nothing is refused for being invalid.

    Raises:
        DataError: the file cannot be read at all, or holds generic graphs.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}.", hint="Give a file of generated molecules.")
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() in OPENERS else path.suffix.lower()
    if path.stat().st_size == 0:
        return molecules_of_smiles([])
    if suffix in (".csv", ".tsv", ".parquet"):
        return molecules_of_smiles(table_molecules(path, reading)[0])
    if suffix in (".sdf", ".mol"):
        with rdBase.BlockLogs():
            return _collect([(mol, mol is not None, True, 0) for mol in sdf_records(path)])
    if suffix == ".npz":
        found: GraphSet = read_npz(path)
        if not found.kind.molecular:
            raise DataError(
                f"{path} holds generic graphs, the reference molecules.",
                hint="Give molecules, or a reference of graphs.",
            )
        return molecules_of(found.ragged, found.kind)
    if suffix not in (".smi", ".smiles", ".txt"):
        raise DataError(
            f"{path}: '{suffix or path.name}' is no known type of molecules "
            "(known: .smi, .smiles, .txt, .csv, .tsv, .parquet, .sdf, .mol, .npz)."
        )
    return molecules_of_smiles(read_smiles_list(path, empty=True))
