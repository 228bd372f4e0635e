"""Graphs to molecules: the valency step, correction with its rate, and the largest fragment.

A raw sample is a graph of atoms and bond orders that may break the rules of chemistry. Its bonds are added in
lower-triangle order; N or O that exceeds its valence by exactly one on the way becomes a cation. Whoever
passes RDKit's property sanitisation now is valid without correction. Correction lowers the highest bond of an
atom at fault until none is left, and keeps the largest fragment.

Source: Zang & Wang 2020, MoFlow, arXiv:2006.10137, appendix; the rule of Jo, Lee & Hwang 2022,
arXiv:2202.02514. Deviations: the rule names S too, but a charge mends no S that RDKit refuses (7 bonds
against 6); a cation whose bonds were lowered to its neutral valence is neutral again; fragments are
compared by heavy atoms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from domains.graphs.data import Array, Graphs, Kind, Ragged
from domains.graphs.molecules import largest_fragment

__all__ = ["Molecules", "correct", "molecules_of", "problems", "to_mol"]

Mol = Any
BONDS = (Chem.BondType.ZERO, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
# Valence of the atoms that turn into cations.
CATIONS = {"N": 3, "O": 2}


@dataclass(frozen=True, eq=False)
class Molecules:
    """What a batch of raw graphs became.

    Args:
        mols: one sanitised molecule a graph, None where nothing is left (or it is invalid and `correct` is
            off).
        smiles: their canonical SMILES without stereo, None likewise.
        valid: (B,) bool, valid without correction; an empty graph is not.
        connected: (B,) bool, one fragment before the largest is taken.
        lowered: (B,) int64, bond orders taken away by correction.
    """

    mols: tuple[Mol | None, ...]
    smiles: tuple[str | None, ...]
    valid: Array
    connected: Array
    lowered: Array

    def __len__(self) -> int:
        return len(self.mols)

    @property
    def kept(self) -> tuple[str, ...]:
        """SMILES of those that are molecules."""
        return tuple(smiles for smiles in self.smiles if smiles is not None)

    def rates(self) -> dict[str, Any]:
        """Counts, and shares of all graphs asked for in [0, 1]; 0 for an empty batch."""
        n, empty = len(self), sum(smiles is None for smiles in self.smiles)
        return {
            "graphs": n,
            "empty": empty,
            "valid_without_correction": float(self.valid.mean()) if n else 0.0,
            "valid_without_correction_of_nonempty": float(self.valid.sum() / (n - empty))
            if n > empty
            else None,
            "valid": (n - empty) / n if n else 0.0,
            "corrected": float((self.lowered > 0).mean()) if n else 0.0,
            "fragmented": float((~self.connected).mean()) if n else 0.0,
        }


def to_mol(
    labels: Sequence[int], pairs: Sequence[tuple[int, int]], orders: Sequence[int], atoms: Sequence[str]
) -> Mol:
    """An unsanitised molecule of a graph, cations set as the bonds went in.

    Args:
        labels: atom type of each node.
        pairs: bonded nodes, u < v.
        orders: 1 to 3 for each pair.
        atoms: element of each label.
    """
    mol = Chem.RWMol()
    for label in labels:
        mol.AddAtom(Chem.Atom(atoms[label]))
    used = [0] * len(labels)
    # Lower-triangle order: row by row of the larger node.
    for (u, v), order in sorted(zip(pairs, orders, strict=True), key=lambda bond: (bond[0][1], bond[0][0])):
        mol.AddBond(int(u), int(v), BONDS[order])
        for end in (int(u), int(v)):
            used[end] += int(order)
            if used[end] == CATIONS.get(atoms[labels[end]], -2) + 1:
                mol.GetAtomWithIdx(end).SetFormalCharge(1)
    return mol


def problems(mol: Mol) -> list[int]:
    """Atoms whose valence RDKit does not permit, in order."""
    with rdBase.BlockLogs():
        found = Chem.DetectChemistryProblems(mol, sanitizeOps=Chem.SANITIZE_PROPERTIES)
    return [problem.GetAtomIdx() for problem in found if problem.GetType() == "AtomValenceException"]


def correct(mol: Mol) -> tuple[Mol, int]:
    """Lower bonds until no atom exceeds its valence.

    Returns:
        A corrected copy, and the number of bond orders taken away. Of equal bonds the one to the first atom
        is lowered.
    """
    mol, lowered = Chem.RWMol(mol), 0
    while faults := problems(mol):
        atom = mol.GetAtomWithIdx(faults[0])
        bonds = [
            (int(bond.GetBondTypeAsDouble()), bond.GetOtherAtomIdx(faults[0])) for bond in atom.GetBonds()
        ]
        if not bonds:
            break
        order, other = max(bonds, key=lambda bond: (bond[0], -bond[1]))
        if order > 1:
            mol.GetBondBetweenAtoms(faults[0], other).SetBondType(BONDS[order - 1])
        else:
            mol.RemoveBond(faults[0], other)
        lowered += 1
        for end in (faults[0], other):
            _discharge(mol.GetAtomWithIdx(end))
    return mol, lowered


def _discharge(atom: Mol) -> None:
    """A cation that its neutral valence can hold is neutral."""
    used = sum(int(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds())
    if atom.GetFormalCharge() == 1 and used <= CATIONS.get(atom.GetSymbol(), -1):
        atom.SetFormalCharge(0)


def molecules_of(graphs: Graphs | Ragged, kind: Kind, *, correction: bool = True) -> Molecules:
    """Turn quantised graphs into molecules.

    Args:
        graphs: bond orders 0 to 3 and one-hot atom types; quantise real-valued samples first.
        correction: mend those that break a valence; off, they become None.
    """
    ragged = graphs if isinstance(graphs, Ragged) else Ragged.of(graphs)
    mols: list[Mol | None] = []
    smiles: list[str | None] = []
    valid, connected, lowered = [], [], []
    node, edge = 0, 0
    with rdBase.BlockLogs():
        for n, e in zip(ragged.sizes, ragged.counts, strict=True):
            raw = to_mol(
                ragged.labels[node : node + n].tolist(),
                ragged.pairs[edge : edge + e].tolist(),
                ragged.orders[edge : edge + e].tolist(),
                kind.atoms,
            )
            node, edge = node + n, edge + e
            good = n > 0 and not problems(raw)
            mol, taken = (raw, 0) if good or not correction else correct(raw)
            pieces = len(Chem.GetMolFrags(mol)) if n else 1
            kept = _finish(mol) if n and (good or correction) else None
            mols.append(kept)
            smiles.append(None if kept is None else Chem.MolToSmiles(kept, isomericSmiles=False))
            valid.append(good)
            connected.append(pieces < 2)
            lowered.append(taken)
    return Molecules(
        tuple(mols),
        tuple(smiles),
        np.asarray(valid, bool),
        np.asarray(connected, bool),
        np.asarray(lowered, np.int64),
    )


def _finish(mol: Mol) -> Mol | None:
    """The largest fragment, sanitised; None where RDKit refuses it, which correction rules out."""
    kept = Chem.Mol(largest_fragment(mol))
    return kept if Chem.SanitizeMol(kept, catchErrors=True) == Chem.SANITIZE_NONE else None
