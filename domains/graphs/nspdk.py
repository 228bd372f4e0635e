"""The NSPDK kernel of molecules with a fixed hash, and its MMD in linear time.

A feature is a pair of rooted neighbourhoods: two atoms `d` bonds apart (0 to 4) with what lies within `r`
bonds of each (0 to 4). Bonds count as vertices half-way, so that a neighbourhood is a sequence of rings:
atoms, bonds, atoms. A ring is the multiset of (label, degree) in it; labels are element symbols and integer
bond orders, an aromatic bond counting as 1. Each pair gives a feature of both neighbourhoods and one of the
second alone, its context. Counts have length 1 within each (r, d), the whole vector has length 1, and
features fall into 2^16 buckets. The kernel is the inner product, so MMD = |mean phi(x) - mean phi(y)|^2.

Source: Costa & De Grave 2010, ICML (the kernel); the settings are those of the published molecule tables
(Jo, Lee & Hwang 2022, arXiv:2202.02514). Deviation: rings are hashed by a fixed 64-bit mixing function
(splitmix64, Steele et al. 2014) in place of Python's salted hash of strings, so that numbers repeat.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rdkit import Chem

from core.errors import ConfigError
from core.progress import Progress, silent
from domains.graphs.data import Array

__all__ = ["BUCKETS", "embed", "mean_embedding", "nspdk_mmd"]

BUCKETS = 1 << 16
RADIUS = DISTANCE = 4
_A, _B, _C = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(x: Array) -> Array:
    """splitmix64: a fixed bijection of 64-bit words."""
    x = x + _A
    x = (x ^ (x >> np.uint64(30))) * _B
    x = (x ^ (x >> np.uint64(27))) * _C
    return np.asarray(x ^ (x >> np.uint64(31)))


def embed(mol: Any) -> tuple[Array, Array]:
    """Buckets and values of one sanitised molecule's feature vector, which has length 1."""
    n = mol.GetNumAtoms()
    apart = Chem.GetDistanceMatrix(mol)
    atoms = _words([(atom.GetAtomicNum(), atom.GetDegree()) for atom in mol.GetAtoms()])
    ends = np.asarray([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]).reshape(-1, 2)
    bonds = _words([(int(b.GetBondTypeAsDouble()) + 1000, 2) for b in mol.GetBonds()])
    to_bond = np.minimum(apart[:, ends[:, 0]], apart[:, ends[:, 1]]) if len(ends) else np.zeros((n, 0))
    near = _neighbourhoods(apart, to_bond, atoms, bonds)
    # A pair of fragments has no distance: RDKit gives a number far above any radius.
    reach = np.where(apart < 1e6, apart, 0).max(1)
    codes = []
    for d in range(DISTANCE + 1):
        v, u = np.nonzero(apart == d)
        for r in range(RADIUS + 1):
            kept = (reach[v] >= r) & (reach[u] >= r)
            one, other = near[r, v[kept]], near[r, u[kept]]
            key = d * (RADIUS + 1) + r
            tag = np.uint64(key + 1)
            pair = _mix(_mix(np.minimum(one, other) + tag) ^ np.maximum(one, other))
            context = _mix(other * np.uint64(3) + tag)
            codes += [(word & np.uint64(BUCKETS - 1)) + np.uint64(key * BUCKETS) for word in (pair, context)]
    found, counts = np.unique(np.concatenate(codes).astype(np.int64), return_counts=True)
    keys, buckets = found // BUCKETS, found % BUCKETS
    values = counts / np.sqrt(np.bincount(keys, counts**2))[keys]
    where, back = np.unique(buckets, return_inverse=True)
    whole = np.bincount(back, values)
    return where, whole / np.sqrt((whole**2).sum())


def _words(pairs: Sequence[tuple[int, int]]) -> Array:
    """One word for each (label, degree)."""
    array = np.asarray(pairs, np.uint64).reshape(-1, 2)
    return _mix(array[:, 0] * np.uint64(1 << 16) + array[:, 1])


def _neighbourhoods(apart: Array, to_bond: Array, atoms: Array, bonds: Array) -> Array:
    """(RADIUS + 1, n) words: what lies within r bonds of each atom, ring by ring."""
    found = np.zeros((RADIUS + 1, len(atoms)), np.uint64)
    word = np.zeros(len(atoms), np.uint64)
    for r in range(RADIUS + 1):
        # A multiset is the sum of the words in it, modulo 2^64.
        word = _mix(word ^ _mix((apart == r).astype(np.uint64) @ atoms))
        found[r] = word
        if len(bonds):
            word = _mix(word ^ _mix((to_bond == r).astype(np.uint64) @ bonds))
    return found


def mean_embedding(mols: Sequence[Any], *, progress: Progress = silent, stage: str = "nspdk") -> Array:
    """(2^16,) mean feature vector of sanitised molecules.

    Raises:
        ConfigError: there is none.
    """
    if not len(mols):
        raise ConfigError("NSPDK needs at least one molecule.")
    total = np.zeros(BUCKETS)
    for i, mol in enumerate(mols):
        buckets, values = embed(mol)
        total[buckets] += values
        progress(stage, i + 1, len(mols))
    return total / len(mols)


def nspdk_mmd(x: Array, y: Array) -> float:
    """MMD of two mean embeddings, the biased V-statistic."""
    return float(((x - y) ** 2).sum())
