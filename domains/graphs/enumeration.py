"""All small molecules of a vocabulary: a closed set, so that novelty and coverage of samples are exact.

Every connected molecule of k + 1 heavy atoms has an atom whose removal leaves a connected molecule of k, with
hydrogens in place of the bonds it had. So adding one atom in every way to every molecule of k atoms reaches
all of k + 1, and canonical SMILES tell which are the same. Valences are those of neutral atoms; nothing is
said of strain.
"""

import itertools
from collections.abc import Iterator, Mapping

from rdkit import Chem, rdBase

from core.errors import ConfigError
from core.progress import Progress, silent
from domains.graphs.molecules import Entry
from domains.graphs.valency import to_mol

__all__ = ["COUNTS", "enumerate_molecules"]

VALENCE: Mapping[str, int] = {"C": 4, "N": 3, "O": 2, "F": 1}
COUNTS = (4, 19, 94, 621, 4715)
"""Molecules of C, N, O and F with 1, 2, 3 ... heavy atoms."""


def enumerate_molecules(
    max_atoms: int, atoms: tuple[str, ...] = tuple(VALENCE), *, progress: Progress = silent
) -> tuple[str, ...]:
    """Canonical SMILES of every connected neutral molecule of 1 to `max_atoms` heavy atoms.

    Args:
        max_atoms: at least 1; each further atom takes about ten times as long.
        atoms: a choice of C, N, O and F.

    Returns:
        Ordered by size and then by string.

    Raises:
        ConfigError: an element has no valence here.
    """
    if strange := [symbol for symbol in atoms if symbol not in VALENCE]:
        raise ConfigError(f"element {strange[0]} cannot be enumerated (known: {', '.join(VALENCE)}).")
    if max_atoms < 1:
        raise ConfigError(f"molecules have at least 1 atom, got max_atoms={max_atoms}.")
    with rdBase.BlockLogs():
        level: dict[str, Entry] = {_smiles([i], [], [], atoms): ([i], [], []) for i in range(len(atoms))}
        found = sorted(level)
        for k in range(1, max_atoms):
            grown: dict[str, Entry] = {}
            for done, entry in enumerate(level.values()):
                for larger in _grow(entry, atoms):
                    grown.setdefault(_smiles(*larger, atoms), larger)
                progress(f"{k + 1} atoms", done + 1, len(level))
            level = grown
            found += sorted(level)
    return tuple(found)


def _grow(entry: Entry, atoms: tuple[str, ...]) -> Iterator[Entry]:
    """Every molecule of one atom more, several times where it has symmetry."""
    labels, pairs, orders = entry
    free = [VALENCE[atoms[label]] for label in labels]
    for (u, v), order in zip(pairs, orders, strict=True):
        free[u] -= order
        free[v] -= order
    for new, symbol in enumerate(atoms):
        ways = [range(min(3, VALENCE[symbol], left) + 1) for left in free]
        for bonds in itertools.product(*ways):
            if 0 < sum(bonds) <= VALENCE[symbol]:
                ends = [(i, len(labels)) for i, order in enumerate(bonds) if order]
                yield [*labels, new], [*pairs, *ends], [*orders, *(order for order in bonds if order)]


def _smiles(
    labels: list[int], pairs: list[tuple[int, int]], orders: list[int], atoms: tuple[str, ...]
) -> str:
    mol = to_mol(labels, pairs, orders, atoms)
    Chem.SanitizeMol(mol)
    return Chem.MolToSmiles(mol, isomericSmiles=False)
