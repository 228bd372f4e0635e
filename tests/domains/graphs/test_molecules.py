"""SMILES to graphs and back: round trips, valency, correction, enumeration, and every refusal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from core.errors import ConfigError, DataError
from domains.graphs.data import KINDS, Kind, Ragged
from domains.graphs.enumeration import COUNTS, enumerate_molecules
from domains.graphs.formats.tables import read_smiles_list
from domains.graphs.generated import molecules_of_smiles
from domains.graphs.molecules import Accept, largest_fragment, parse_smiles
from domains.graphs.quantise import quantise
from domains.graphs.valency import correct, molecules_of, problems, to_mol

QM9 = KINDS["qm9"]
CARBON, NITROGEN, OXYGEN = range(3)
SMALL = enumerate_molecules(4)


def test_molecules_without_charges_survive_the_round_trip() -> None:
    parsed = parse_smiles(SMALL, Accept(QM9.atoms))
    found = molecules_of(parsed.ragged.dense(QM9), QM9)
    assert found.smiles == parsed.smiles == SMALL
    assert found.valid.all()
    assert found.rates()["corrected"] == 0


def test_published_molecules_survive_the_round_trip_but_for_charges(real_data) -> None:
    lines = read_smiles_list(real_data("graphs/qm9_smiles.txt.xz"))[::500]
    parsed = parse_smiles(lines, Accept(QM9.atoms, 9))
    found = molecules_of(parsed.ragged, QM9)
    assert found.valid.all()
    differ = [(a, b) for a, b in zip(found.smiles, parsed.smiles, strict=True) if a != b]
    assert all("+" in b for _, b in differ)
    assert len(differ) < 0.03 * len(lines)


def test_aromatic_rings_are_kekulised_and_stereo_and_charge_are_dropped() -> None:
    parsed = parse_smiles(["c1ccccc1", "C/C=C/C", "C[N+](=O)[O-]"])
    assert sorted(parsed.ragged.orders[:6].tolist()) == [1, 1, 1, 2, 2, 2]
    assert parsed.smiles[1] == "CC=CC"
    assert parsed.atoms == ("C", "N", "O")


def test_the_valency_step_charges_what_exceeds_its_valence_by_one() -> None:
    star = [(0, i) for i in range(1, 5)]
    ammonium = to_mol([NITROGEN, CARBON, CARBON, CARBON, CARBON], star, [1, 1, 1, 1], QM9.atoms)
    assert ammonium.GetAtomWithIdx(0).GetFormalCharge() == 1
    assert not problems(ammonium)
    oxonium = to_mol([OXYGEN, CARBON, CARBON, CARBON], star[:3], [1, 1, 1], QM9.atoms)
    assert oxonium.GetAtomWithIdx(0).GetFormalCharge() == 1
    assert not problems(oxonium)
    # 3 + 2 passes 4: no charge, and invalid.
    assert problems(to_mol([NITROGEN, CARBON, CARBON], [(0, 1), (0, 2)], [3, 2], QM9.atoms)) == [0]
    # A carbon is never charged.
    assert problems(to_mol([CARBON] * 6, [(0, i) for i in range(1, 6)], [1] * 5, QM9.atoms)) == [0]


def test_correction_lowers_the_highest_bond_and_takes_charges_back() -> None:
    mol, lowered = correct(to_mol([CARBON, CARBON, OXYGEN], [(0, 1), (0, 2)], [3, 2], QM9.atoms))
    assert (Chem.MolToSmiles(mol), lowered) == ("C=C=O", 1)
    # An oxonium at a carbon of five bonds: the bond between them goes, and the oxygen is neutral again.
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7)]
    mol, lowered = correct(
        to_mol([CARBON, OXYGEN, CARBON, CARBON, CARBON, CARBON, CARBON, CARBON], pairs, [1] * 7, QM9.atoms)
    )
    assert (Chem.MolToSmiles(mol), lowered) == ("CC(C)(C)C.COC", 1)
    assert all(atom.GetFormalCharge() == 0 for atom in mol.GetAtoms())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_after_correction_every_graph_is_a_molecule(seed: int) -> None:
    gen = np.random.default_rng(seed)
    n = int(gen.integers(1, 10))
    pairs = [(u, v) for v in range(n) for u in range(v) if gen.random() < 0.4]
    entry = (gen.integers(4, size=n).tolist(), pairs, gen.integers(1, 4, len(pairs)).tolist())
    found = molecules_of(Ragged.build([entry]), QM9)
    assert found.smiles[0] is not None
    assert Chem.MolFromSmiles(found.smiles[0]) is not None
    assert "." not in found.smiles[0]
    if not found.valid[0]:
        assert found.lowered[0] > 0
        assert molecules_of(Ragged.build([entry]), QM9, correction=False).smiles == (None,)


def test_the_fragment_kept_has_most_heavy_atoms_not_the_longest_string() -> None:
    mol = Chem.MolFromSmiles("[NH3+][O-].CCCC")
    assert Chem.MolToSmiles(largest_fragment(mol)) == "CCCC"
    tied = Chem.MolFromSmiles("CC.FF")
    assert Chem.MolToSmiles(largest_fragment(tied)) == "FF"


def test_a_raw_batch_is_quantised_by_its_thresholds() -> None:
    import torch

    from domains.graphs.data import Graphs

    kind = Kind("pair", ("C", "N"), 3, 2)
    nodes = torch.tensor([[[0.9, 0.8], [0.2, 0.4], [0.1, 0.9]]])
    edges = torch.tensor([[[9.0, 0.5, 1.5], [0.5, 0.0, 2.6], [1.5, 2.6, 0.0]]])
    raw = Graphs(nodes, edges, torch.ones(1, 3, dtype=torch.bool))
    whole = quantise(raw, kind)
    assert whole.ragged.labels.tolist() == [0, 1, 1]
    assert whole.ragged.orders.tolist() == [1, 2, 3]
    some = quantise(raw, kind, "threshold")
    # The second atom has no feature above 0.5: it is virtual; the first has two, and takes the first.
    assert (some.dropped.tolist(), some.ragged.labels.tolist()) == ([1], [0, 1])
    assert some.ragged.orders.tolist() == [2]
    generic = quantise(raw, Kind("any", (), 3, 2))
    assert generic.ragged.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_isolated_nodes_are_dropped_and_counted_and_one_node_is_always_left() -> None:
    import torch

    from domains.graphs.data import Graphs

    kind = Kind("any", (), 4, 3)
    edges = torch.zeros(2, 4, 4)
    edges[0, 1, 2] = edges[0, 2, 1] = 0.7
    mask = torch.tensor([[True, True, True, True], [False, True, True, False]])
    found = quantise(Graphs(torch.zeros(2, 4, 3), edges, mask), kind)
    assert found.ragged.sizes.tolist() == [2, 1]
    assert found.dropped.tolist() == [2, 1]
    assert found.ragged.pairs.tolist() == [[0, 1]]


def test_the_closed_set_has_the_stated_counts_and_known_members() -> None:
    sizes = [Chem.MolFromSmiles(smiles).GetNumAtoms() for smiles in SMALL]
    assert tuple(np.bincount(sizes)[1:]) == COUNTS[:4]
    # Two atoms, bonds up to the smaller valence and 3: CC, CN, CO, CF, NN, NO, NF, OO, OF, FF.
    assert COUNTS[1] == 3 + 3 + 2 + 1 + 3 + 2 + 1 + 2 + 1 + 1
    assert {"C1CC1", "C#CC#C", "C1=CC=C1", "NC(N)=O", "FC(F)F"} <= set(SMALL)
    # Hydrocarbons of three atoms: propane, propene, propyne, allene, cyclopropane, -ene, -yne and -diene.
    carbons = enumerate_molecules(3, ("C",))
    assert len([smiles for smiles in carbons if Chem.MolFromSmiles(smiles).GetNumAtoms() == 3]) == 9


def test_every_small_molecule_of_qm9_is_in_the_closed_set(real_data) -> None:
    lines = read_smiles_list(real_data("graphs/qm9_smiles.txt.xz"))[:50]
    parsed = parse_smiles(lines, Accept(QM9.atoms))
    small = [
        smiles
        for smiles, n in zip(parsed.smiles, parsed.ragged.sizes, strict=True)
        if n <= 4 and "+" not in smiles
    ]
    assert len(small) > 40
    assert set(small) <= set(SMALL)


def test_rows_keep_their_numbers_when_others_are_left_out() -> None:
    lines = ["CC", "C1C", "[Na+].CCO", "CCCCC", "[Cu+2]", "N"]
    accept = Accept(("C", "N", "O"), 4, skip_invalid=True, drop_large=True, largest_fragment=True)
    parsed = parse_smiles(lines, accept)
    assert parsed.rows.tolist() == [0, 2, 5]
    assert parsed.smiles == ("CC", "CCO", "N")
    assert parsed.left_out == {
        "unreadable": 1,
        "smaller fragments": 1,
        "too large": 1,
        "outside the vocabulary": 1,
    }


REFUSED = [
    (["CC", "C1C"], Accept(), r"row 2: 'C1C' is no molecule"),
    (["C(C)(C)(C)(C)C"], Accept(), r"row 1: .* is no molecule"),
    (["CC(=O)[O-].[Na+]"], Accept(), r"row 1: .*2 fragments"),
    (["CC[Cu]CC"], Accept(), r"element Cu is outside the vocabulary C"),
    (["CCS"], Accept(("C", "O")), r"element S is outside the vocabulary C, O"),
    (["C" * 80], Accept(max_nodes=38), r"80 heavy atoms; at most 38"),
    (["N->[Fe]"], Accept(("N", "Fe")), r"bond of type DATIVE"),
    ([], Accept(), "holds no molecule"),
    (["C1C"], Accept(skip_invalid=True), r"none of 1 molecules is left \(unreadable 1\)"),
]


@pytest.mark.parametrize(("lines", "accept", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_what_does_not_fit_is_named_with_its_row(lines: list[str], accept: Accept, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_smiles(lines, accept)


def test_an_element_that_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(ConfigError, match="element Si cannot be enumerated"):
        enumerate_molecules(2, ("C", "Si"))


def test_generated_strings_are_counted_valid_corrected_or_nothing() -> None:
    found = molecules_of_smiles(["CCO", "C(C)(C)(C)(C)C", "nonsense", "CC.O", ""])
    assert found.valid.tolist() == [True, False, False, True, False]
    assert found.smiles == ("CCO", "CC(C)(C)C", None, "CC", None)
    rates = found.rates()
    assert (rates["valid_without_correction"], rates["valid"], rates["fragmented"]) == (0.4, 0.6, 0.4)
    assert molecules_of_smiles([]).rates()["valid"] == 0
