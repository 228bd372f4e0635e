"""NSPDK features, FCD and the other metrics of molecules, where the answer is known or can be enumerated."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from rdkit import Chem

from core.errors import ConfigError, MissingExtra
from domains.graphs import nspdk, scoring
from domains.graphs.generated import molecules_of_smiles
from domains.graphs.metrics import molecular
from domains.graphs.metrics.fcd import Fit, fcd
from domains.graphs.nspdk import BUCKETS, embed, mean_embedding, nspdk_mmd

METHANE = [19543, 41079]
SMILES = ("CCO", "c1ccccc1O", "C1CC1N", "CC(=O)NC", "C#CCF", "OCC(O)CO")


def mols(*smiles: str) -> list[Chem.Mol]:
    return [Chem.MolFromSmiles(one) for one in smiles]


def reference(mol: Chem.Mol) -> Counter:
    """Feature counts by tuples in place of hashes, on the graph whose bonds are vertices, keyed by (r, d)."""
    n = mol.GetNumAtoms()
    label = {i: (atom.GetSymbol(), atom.GetDegree()) for i, atom in enumerate(mol.GetAtoms())}
    links: dict[int, set[int]] = {i: set() for i in range(n)}
    for k, bond in enumerate(mol.GetBonds(), n):
        label[k] = (int(bond.GetBondTypeAsDouble()), 2)
        links[k] = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        for end in links[k]:
            links[end].add(k)

    def rings(root: int) -> list[set[int]]:
        found, seen = [{root}], {root}
        while front := {u for v in found[-1] for u in links[v]} - seen:
            found.append(front)
            seen |= front
        return found

    around = {v: rings(v) for v in range(n)}
    near = {v: [tuple(sorted(map(str, (label[u] for u in ring)))) for ring in around[v]] for v in range(n)}
    counts: Counter = Counter()
    for v, d, r in product(range(n), range(0, 10, 2), range(0, 10, 2)):
        for u in around[v][d] if d < len(around[v]) else ():
            if u < n and r < len(near[v]) and r < len(near[u]):
                one, other = tuple(near[v][: r + 1]), tuple(near[u][: r + 1])
                counts[(r, d), "pair", *sorted((str(one), str(other)))] += 1
                counts[(r, d), "context", str(other)] += 1
    return counts


def kernel(x: Counter, y: Counter) -> float:
    """Inner product of the two feature vectors, normalised within each (r, d) and as a whole."""

    def vector(counts: Counter) -> dict:
        squares: Counter = Counter()
        for key, n in counts.items():
            squares[key[0]] += n**2
        scaled = {key: n / squares[key[0]] ** 0.5 for key, n in counts.items()}
        length = sum(value**2 for value in scaled.values()) ** 0.5
        return {key: value / length for key, value in scaled.items()}

    a, b = vector(x), vector(y)
    return sum(value * b.get(key, 0) for key, value in a.items())


def inner(x: str, y: str) -> float:
    """Inner product of two embeddings as they are, sparse."""
    one, other = (dict(zip(*map(np.ndarray.tolist, embed(mols(s)[0])), strict=True)) for s in (x, y))
    return float(sum(value * other.get(bucket, 0.0) for bucket, value in one.items()))


def test_the_kernel_equals_that_of_explicit_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 2^48 buckets nothing collides; with the published 2^16 a few of some hundred features do."""
    for buckets, tolerance in ((1 << 48, 1e-12), (1 << 16, 0.03)):
        monkeypatch.setattr(nspdk, "BUCKETS", buckets)
        for x, y in product(SMILES, SMILES):
            due = kernel(reference(mols(x)[0]), reference(mols(y)[0]))
            assert inner(x, y) == pytest.approx(due, abs=tolerance), (x, y, buckets)


def test_features_do_not_depend_on_the_order_of_atoms() -> None:
    mol = mols("CC(=O)Nc1ccc(O)cc1")[0]
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    for one, other in zip(embed(mol), embed(Chem.RenumberAtoms(mol, order)), strict=True):
        assert one == pytest.approx(other)


def test_a_vector_has_length_one_and_never_changes() -> None:
    buckets, values = embed(mols("OCC(O)CO")[0])
    assert (values**2).sum() == pytest.approx(1)
    assert buckets.max() < BUCKETS
    # Buckets of methane: other numbers here mean that figures no longer compare with stored ones.
    assert embed(mols("C")[0])[0].tolist() == METHANE


def test_the_linear_mmd_equals_the_sum_over_all_pairs() -> None:
    x, y = mols(*SMILES[:3]), mols(*SMILES[3:])
    rows = {id(mol): mean_embedding([mol]) for mol in (*x, *y)}

    def mean(one, other) -> float:
        return float(np.mean([rows[id(a)] @ rows[id(b)] for a in one for b in other]))

    due = mean(x, x) + mean(y, y) - 2 * mean(x, y)
    assert nspdk_mmd(mean_embedding(x), mean_embedding(y)) == pytest.approx(due, abs=1e-12)
    with pytest.raises(ConfigError, match="at least one molecule"):
        mean_embedding([])


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2."""
    x = Fit(np.array([0.0, 1.0]), np.diag([4.0, 1.0]), 600)
    y = Fit(np.array([3.0, 1.0]), np.diag([1.0, 9.0]), 600)
    assert fcd(x, y) == pytest.approx(9 + 1 + 4)
    assert fcd(x, x) == pytest.approx(0, abs=1e-9)


def test_properties_equal_the_published_values() -> None:
    """The first molecule of ZINC250k: logP and SA of the published file, QED of this RDKit."""
    mol = mols("CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1")
    values = {name: float(molecular.property_values(mol, name)[0]) for name in ("logp", "sa", "qed")}
    assert values["logp"] == pytest.approx(5.0506, abs=1e-4)
    assert values["sa"] == pytest.approx(2.0841, abs=1e-4)
    assert values["qed"] == pytest.approx(0.7319, abs=1e-3)


def test_scaffolds_and_fragments_are_compared_by_the_cosine_of_counts() -> None:
    x, y = mols("c1ccccc1C", "c1ccccc1O", "CCO"), mols("c1ccccc1", "C1CC1")
    assert molecular.scaffolds(x) == {"c1ccccc1": 2}
    assert molecular.cosine(molecular.scaffolds(x), molecular.scaffolds(y)) == pytest.approx(2**-0.5)
    assert molecular.cosine(molecular.scaffolds(mols("CC")), molecular.scaffolds(y)) is None


def test_diversity_and_neighbours_of_copies() -> None:
    same = molecular.fingerprints(mols("CCO", "CCO"))
    assert molecular.internal_diversity(same) == pytest.approx(0)
    assert molecular.nearest_similarity(same, molecular.fingerprints(mols("CCO", "CCC"))) == 1


def test_counts_of_a_known_set() -> None:
    gen = molecules_of_smiles(["CC", "CC", "CO", "C(C)(C)(C)(C)C"])
    rows, _ = scoring.score_molecules(gen, ["CO", "CN"], ["CC"], metrics=("unique", "novel", "coverage"))
    found = {row["metric"]: (row["value"], row["floor"]) for row in rows}
    # Distinct: CC, CO and neopentane, of four. CC is known. CC and CO of CC, CO, CN are reached.
    assert found == {"unique": (0.75, 1), "novel": (2 / 3, 1), "coverage": (2 / 3, 1 / 3)}


def test_an_absent_package_is_a_note_and_never_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: object, **kwargs: object) -> Fit:
        raise MissingExtra("'fcd_torch' is not installed.", hint="Install it.")

    monkeypatch.setattr(scoring, "fit", absent)
    rows, notes = scoring.score_molecules(molecules_of_smiles(SMILES), SMILES, metrics=("fcd",))
    assert rows == [{"metric": "fcd", "value": None, "floor": None}]
    assert "fcd is left out: 'fcd_torch' is not installed" in notes[0]


def test_too_few_molecules_for_fcd_are_counted() -> None:
    rows, notes = scoring.score_molecules(molecules_of_smiles(["CC"]), SMILES, metrics=("fcd",))
    assert rows[0]["value"] is None
    assert "there are 1 generated and 6" in notes[0]


@pytest.mark.slow
def test_fcd_of_a_set_with_itself_is_zero_and_with_another_is_not() -> None:
    pytest.importorskip("fcd_torch", reason="'fcd_torch' is not installed (extra 'graphs')")
    from domains.graphs.enumeration import enumerate_molecules
    from domains.graphs.metrics.fcd import fit

    small = enumerate_molecules(4)
    one, other = fit(small[:300]), fit(small[300:600])
    assert fcd(one, one) == pytest.approx(0, abs=1e-3)
    assert fcd(one, other) > 0.5
    assert one.singular
