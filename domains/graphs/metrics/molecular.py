"""Molecules against molecules: uniqueness, novelty, scaffolds, fragments, neighbours, diversity, properties.

Strings are canonical SMILES without stereo. Similarities of counts are cosines; fingerprints are Morgan of
radius 2 and 1024 bits.

Source: Polykovskiy et al. 2020, MOSES, arXiv:1811.12823, section 4 (scaffold, fragment and nearest-neighbour
similarity, internal diversity); Bemis & Murcko 1996; Degen et al. 2008 (BRICS); Bickerton et al. 2012 (QED);
Ertl & Schuffenhauer 2009 (SA); Wildman & Crippen 1999 (logP).
"""

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, DataStructs, RDConfig, rdBase
from rdkit.Chem import BRICS, QED, Crippen, Descriptors, rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from core.errors import MissingExtra, unknown
from domains.graphs.data import Array

__all__ = [
    "PROPERTIES",
    "cosine",
    "fingerprints",
    "fragments",
    "internal_diversity",
    "nearest_similarity",
    "novelty",
    "property_values",
    "sa_score",
    "scaffolds",
    "uniqueness",
    "wasserstein",
]

Mol = Any


def uniqueness(smiles: Sequence[str]) -> float | None:
    """Distinct strings over all, None where there are none."""
    return len(set(smiles)) / len(smiles) if smiles else None


def novelty(smiles: Sequence[str], train: Sequence[str]) -> float | None:
    """Share of the distinct strings that the training set does not have."""
    distinct = set(smiles)
    return len(distinct - set(train)) / len(distinct) if distinct else None


def scaffolds(mols: Sequence[Mol]) -> Counter[str]:
    """How often each Bemis-Murcko scaffold occurs; molecules without a ring have none."""
    found: Counter[str] = Counter()
    with rdBase.BlockLogs():
        for mol in mols:
            scaffold = Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False)
            if scaffold:
                found[scaffold] += 1
    return found


def fragments(mols: Sequence[Mol]) -> Counter[str]:
    """How often each BRICS fragment occurs."""
    found: Counter[str] = Counter()
    with rdBase.BlockLogs():
        for mol in mols:
            pieces = Chem.GetMolFrags(BRICS.BreakBRICSBonds(mol), asMols=True, sanitizeFrags=True)
            found.update(Chem.MolToSmiles(piece, isomericSmiles=False) for piece in pieces)
    return found


def cosine(x: Mapping[str, int], y: Mapping[str, int]) -> float | None:
    """Cosine of two tables of counts in [0, 1], None where one is empty."""
    if not x or not y:
        return None
    inner = sum(n * y.get(key, 0) for key, n in x.items())
    return inner / math.sqrt(sum(n**2 for n in x.values()) * sum(n**2 for n in y.values()))


def fingerprints(mols: Sequence[Mol]) -> list[Any]:
    """Morgan fingerprints of radius 2 and 1024 bits."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return [generator.GetFingerprint(mol) for mol in mols]


def nearest_similarity(x: Sequence[Any], y: Sequence[Any]) -> float | None:
    """Mean over x of the largest Tanimoto similarity to y."""
    if not x or not y:
        return None
    return float(np.mean([max(DataStructs.BulkTanimotoSimilarity(one, y)) for one in x]))


def internal_diversity(x: Sequence[Any]) -> float | None:
    """One minus the mean Tanimoto similarity of all pairs, a molecule with itself included."""
    if not x:
        return None
    return 1 - float(np.mean([np.mean(DataStructs.BulkTanimotoSimilarity(one, x)) for one in x]))


def wasserstein(x: Array, y: Array) -> float | None:
    """Wasserstein-1 of two samples of numbers, None where one is empty."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(x, y)) if len(x) and len(y) else None


@cache
def _sascorer() -> Any:
    """The module of the synthetic accessibility score, which ships beside RDKit."""
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise MissingExtra(f"RDKit has no {path}.", hint="Install RDKit from its wheel: pip install rdkit")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sa_score(mol: Mol) -> float:
    """Synthetic accessibility, from 1 (easy) to 10 (hard)."""
    with rdBase.BlockLogs():
        return float(_sascorer().calculateScore(mol))


PROPERTIES: Mapping[str, Callable[[Mol], float]] = {
    "logp": Crippen.MolLogP,  # type: ignore[attr-defined]  # set at import
    "qed": QED.qed,
    "sa": sa_score,
    "weight": Descriptors.MolWt,  # type: ignore[attr-defined]
}
"""logP (octanol and water), QED in [0, 1], SA in [1, 10], weight in g/mol."""


def property_values(mols: Sequence[Mol], name: str) -> Array:
    """(n,) values of a property.

    Raises:
        ConfigError: there is no such property.
    """
    if name not in PROPERTIES:
        raise unknown("property", name, PROPERTIES)
    with rdBase.BlockLogs():
        return np.asarray([PROPERTIES[name](mol) for mol in mols], dtype=np.float64)
