"""SMILES to graphs: kekulised, hydrogens implicit, stereo and formal charge dropped, the row map kept.

Each row is parsed, written as canonical SMILES without stereo, parsed again and kekulised, so that the order
of nodes is the canonical one. What cannot be a graph of the vocabulary is refused with its row, or left out
and counted where the caller allows it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from core.errors import DataError
from domains.graphs.data import Array, Ragged

__all__ = ["Accept", "Parsed", "canonical", "entry_of", "largest_fragment", "parse_molecules", "parse_smiles"]

Mol = Any
ORDERS: Mapping[Any, int] = {
    Chem.BondType.SINGLE: 1,
    Chem.BondType.DOUBLE: 2,
    Chem.BondType.TRIPLE: 3,
}
# Expected in a molecule unless a vocabulary is given; a metal is more often a counter-ion or a mistake.
ORGANIC = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
Entry = tuple[list[int], list[tuple[int, int]], list[int]]


@dataclass(frozen=True)
class Accept:
    """What becomes of rows that do not fit.

    Args:
        atoms: elements allowed, in the order of the features; None takes those of `ORGANIC` that occur.
        max_nodes: heavy atoms allowed; None takes the largest molecule.
        skip_invalid: leave out rows that RDKit cannot read or whose elements or bonds do not fit.
        drop_large: leave out molecules of more than `max_nodes` atoms.
        largest_fragment: keep the largest fragment of salts and mixtures.
    """

    atoms: tuple[str, ...] | None = None
    max_nodes: int | None = None
    skip_invalid: bool = False
    drop_large: bool = False
    largest_fragment: bool = False


@dataclass(frozen=True, eq=False)
class Parsed:
    """Molecules as graphs.

    Args:
        ragged: one graph per row kept.
        atoms: element of each label.
        smiles: canonical SMILES without stereo, charges kept; of the largest fragment where that was taken.
        rows: (G,) int64, 0-based row of the source.
        left_out: number of rows left out, by reason.
    """

    ragged: Ragged
    atoms: tuple[str, ...]
    smiles: tuple[str, ...]
    rows: Array
    left_out: Mapping[str, int]


def canonical(smiles: str) -> str | None:
    """Canonical SMILES without stereo; None where RDKit cannot read the string."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        return None if mol is None or not mol.GetNumAtoms() else Chem.MolToSmiles(mol, isomericSmiles=False)


def largest_fragment(mol: Mol) -> Mol:
    """The fragment with most heavy atoms; ties go to the heavier, then to the first.

    Deviation: the reference of the method takes the longest SMILES string.
    """
    parts = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)
    if len(parts) < 2:
        return mol
    return max(parts, key=lambda part: (part.GetNumHeavyAtoms(), sum(a.GetMass() for a in part.GetAtoms())))


def entry_of(mol: Mol, index: Mapping[str, int]) -> Entry:
    """Labels, pairs and bond orders of a molecule; aromatic bonds are kekulised on a copy.

    Raises:
        DataError: an element or a bond is outside the vocabulary; the message has no row yet.
    """
    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if strange := [symbol for symbol in symbols if symbol not in index]:
        # A metal before what merely did not occur elsewhere.
        first = min(strange, key=lambda symbol: symbol in ORGANIC)
        raise DataError(
            f"element {first} is outside the vocabulary {', '.join(index)}.",
            hint="Give the elements with --elements, or pass --skip-invalid to leave such rows out.",
        )
    pairs, orders = [], []
    for bond in mol.GetBonds():
        if (order := ORDERS.get(bond.GetBondType())) is None:
            raise DataError(
                f"has a bond of type {bond.GetBondType()}; single, double and triple ones are known.",
                hint="Pass --skip-invalid to leave such rows out.",
            )
        pairs.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        orders.append(order)
    return [index[symbol] for symbol in symbols], pairs, orders


def parse_smiles(
    lines: Sequence[str],
    accept: Accept = Accept(),
    *,
    source: str = "the list",
    numbers: Array | None = None,
) -> Parsed:
    """Read SMILES, one molecule a row; the arguments are those of `parse_molecules`."""
    mols = (_from_smiles(line) for line in lines)
    return parse_molecules(mols, lines, accept, source=source, numbers=numbers)


def _from_smiles(line: str) -> Mol | None:
    mol = Chem.MolFromSmiles(line)
    return mol if mol is not None and mol.GetNumAtoms() else None


def parse_molecules(
    mols: Iterable[Mol | None],
    texts: Sequence[str],
    accept: Accept = Accept(),
    *,
    source: str = "the list",
    numbers: Array | None = None,
) -> Parsed:
    """Read molecules of RDKit, None for one that it could not read.

    Args:
        texts: what to call each in messages: its SMILES or name.
        source: what to call the list.
        numbers: row of the source of each, from 0; None counts them.

    Raises:
        DataError: a row does not fit, or none is left; the message names source, row (from 1) and text.
    """
    if not len(texts):
        raise DataError(
            f"{source} holds no molecule.", hint="Give one SMILES a line, or an SDF with one record each."
        )
    left_out: Counter[str] = Counter()
    found: list[tuple[int, str, str, Mol]] = []
    of = np.arange(len(texts)) if numbers is None else numbers
    with rdBase.BlockLogs():
        for row, mol, text in zip(of.tolist(), mols, texts, strict=True):
            where = f"{source}, row {row + 1}: '{text}'"
            if mol is None:
                if not accept.skip_invalid:
                    raise DataError(
                        f"{where} is no molecule that RDKit can read.",
                        hint="Pass --skip-invalid to leave such rows out and count them.",
                    )
                left_out["unreadable"] += 1
                continue
            smiles = Chem.MolToSmiles(mol, isomericSmiles=False)
            mol = Chem.MolFromSmiles(smiles)
            if mol is not None and "." in smiles:
                if not accept.largest_fragment:
                    raise DataError(
                        f"{where} has {smiles.count('.') + 1} fragments (a salt or a mixture).",
                        hint="Pass --largest-fragment to keep the largest one.",
                    )
                left_out["smaller fragments"] += 1
                mol = Chem.MolFromSmiles(smiles := Chem.MolToSmiles(largest_fragment(mol)))
            if mol is None:
                left_out["unreadable"] += 1
                continue
            found.append((row, where, smiles, mol))
        return _collect(found, len(texts), accept, left_out, source)


def _collect(
    found: Sequence[tuple[int, str, str, Mol]],
    total: int,
    accept: Accept,
    left_out: Counter[str],
    source: str,
) -> Parsed:
    """Turn molecules into graphs, once it is known which elements there are."""
    if (atoms := accept.atoms) is None:
        limit = accept.max_nodes or max((mol.GetNumAtoms() for *_, mol in found), default=1)
        several = [
            {atom.GetSymbol() for atom in mol.GetAtoms()} for *_, mol in found if mol.GetNumAtoms() <= limit
        ]
        seen = set().union(*(own for own in several if own <= set(ORGANIC)))
        atoms = tuple(symbol for symbol in ORGANIC if symbol in seen) or ("C",)
    index = {symbol: i for i, symbol in enumerate(atoms)}
    entries: list[Entry] = []
    kept: list[tuple[int, str]] = []
    for row, where, smiles, mol in found:
        n = mol.GetNumAtoms()
        if accept.max_nodes is not None and n > accept.max_nodes:
            if not accept.drop_large:
                raise DataError(
                    f"{where} has {n} heavy atoms; at most {accept.max_nodes} are held.",
                    hint="Raise --max-nodes, or pass --drop-large to leave such rows out and count them.",
                )
            left_out["too large"] += 1
            continue
        try:
            entries.append(entry_of(mol, index))
        except DataError as error:
            if not accept.skip_invalid:
                raise DataError(f"{where}: {error}", hint=error.hint) from None
            left_out["outside the vocabulary"] += 1
            continue
        kept.append((row, smiles))
    if not kept:
        reasons = ", ".join(f"{reason} {n}" for reason, n in left_out.items())
        raise DataError(f"{source}: none of {total} molecules is left ({reasons}).")
    return Parsed(
        Ragged.build(entries),
        atoms,
        tuple(smiles for _, smiles in kept),
        np.asarray([row for row, _ in kept], np.int64),
        dict(left_out),
    )
