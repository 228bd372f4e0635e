"""Scaffolds: what is known stays, closed atoms bond to nothing, and what cannot be held is refused."""

from typing import Any

import pytest
import torch
from rdkit import Chem

from core.errors import ConfigError, DataError
from domains.graphs.config import GraphSampling
from domains.graphs.data import KINDS
from domains.graphs.scaffold import grow, known_of, scaffold_of
from tests.domains.graphs.test_guidance import MODEL

QM9 = KINDS["qm9"]
FAST = GraphSampling(solver="ancestral", steps=5, corrector=False, quantise="argmax")


@pytest.mark.parametrize("method", ["explicit", "replacement"])
def test_the_scaffold_is_in_every_graph_and_closed_atoms_bond_to_nothing(method: Any) -> None:
    scaffold = scaffold_of("C1CC1O", QM9, attach=[0])
    grown = grow(MODEL, scaffold, 5, method=method, jumps=2, sampling=FAST)
    raw = grown.raw
    assert torch.equal(raw.edges[:, :4, :4], scaffold.orders.expand(5, 4, 4))
    assert raw.nodes[:, :4].argmax(-1).tolist() == [list(scaffold.labels)] * 5
    assert float(raw.edges[:, 1:4, 4:].abs().max()) == 0
    assert raw.checked() is raw
    assert int(raw.sizes.min()) >= 5
    assert 0 <= grown.rate <= 1


def test_a_graph_kept_is_one_that_holds_the_scaffold() -> None:
    scaffold = scaffold_of("C1CC1", QM9, attach=[])
    grown = grow(MODEL, scaffold, 4, sampling=FAST, sizes=3)  # no room for anything else
    assert grown.rate == 1
    assert set(grown.molecules.smiles) == {"C1CC1"}


def test_attachments_default_to_free_valences() -> None:
    scaffold = scaffold_of("CC(F)(F)F", QM9)
    assert scaffold.attach == (0,)
    mask = torch.ones(1, 9, dtype=torch.bool)
    known = known_of(scaffold, QM9, mask)
    assert not known.edges[0, 6]
    assert known.edges[1, 6]
    assert known.edges[:5, :5].all()


def test_aromatic_scaffolds_are_kekulised() -> None:
    scaffold = scaffold_of("c1ccncc1", QM9)
    assert sorted(scaffold.orders.sum(1).tolist()) == [3.0] * 6
    assert scaffold.query.HasSubstructMatch(Chem.MolFromSmiles("c1ccncc1"))


def test_scaffolds_that_cannot_be_held_are_refused() -> None:
    with pytest.raises(DataError, match="exceeds its valence"):
        scaffold_of("C(C)(C)(C)(C)C", QM9)
    with pytest.raises(DataError, match="10 heavy atoms"):
        scaffold_of("C" * 10, QM9)
    with pytest.raises(DataError, match="element Br"):
        scaffold_of("CBr", QM9)
    with pytest.raises(ConfigError, match="atom 1 of the scaffold cannot be an attachment"):
        scaffold_of("CC(F)(F)F", QM9, attach=[1])
    with pytest.raises(ConfigError, match="cannot hold 4 atoms"):
        grow(MODEL, scaffold_of("C1CC1O", QM9), 1, sampling=FAST, sizes=3)
    with pytest.raises(ConfigError, match="remember"):
        grow(
            MODEL,
            scaffold_of("C1CC1O", QM9),
            1,
            method="replacement",
            sampling=GraphSampling(solver="default", steps=4),
        )
    with pytest.raises(ConfigError, match="holds no molecules"):
        scaffold_of("C", KINDS["community_small"])
