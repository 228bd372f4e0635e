"""Numbers of graphs and molecules by name: known values, wishes, and what cannot be measured."""

import math

import networkx as nx
import numpy as np
import pytest
from rdkit import Chem

from core.errors import ConfigError, DataError
from domains.graphs.data import KINDS, GraphSet, Kind, Ragged
from domains.graphs.descriptors import Wish, computable, descriptor, measured, values_of, wishes_of
from domains.graphs.exchange import ragged_of_networkx

QM9, PLAIN = KINDS["qm9"], Kind("plain", (), 6, 6)


def test_descriptors_of_graphs_have_their_values() -> None:
    # A triangle with a tail: 4 edges of 6, one triangle; clustering 1, 1, 1/3 and 0.
    graph = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
    known = {"edges": 4, "density": 4 / 6, "triangles": 1, "clustering": (2 + 1 / 3) / 4, "components": 1}
    for name, value in known.items():
        assert measured([graph], name, PLAIN)[0] == pytest.approx(value), name


def test_descriptors_of_molecules_are_those_of_rdkit() -> None:
    ethanol = Chem.MolFromSmiles("CCO")
    assert measured([ethanol], "weight", QM9)[0] == pytest.approx(46.07, abs=0.01)
    assert measured([ethanol], "TPSA", QM9)[0] == pytest.approx(20.23)
    assert measured([ethanol, None], "NumHDonors", QM9).tolist()[:1] == [1.0]
    assert math.isnan(measured([None], "qed", QM9)[0])
    assert not computable("boiling", QM9)
    with pytest.raises(ConfigError, match="'tpsa' cannot be computed") as caught:
        descriptor("tpsa", QM9)
    assert caught.value.hint == "Did you mean 'TPSA'?"


def test_wishes_are_read_and_rewarded_in_standard_deviations() -> None:
    assert wishes_of(["qed=0.9, logp", "sa"]) == (
        Wish("qed", "near", 0.9),
        Wish("logp", "max"),
        Wish("sa", "min"),
    )
    assert wishes_of(["sa=max"]) == (Wish("sa", "max"),)
    assert Wish("logp", "max").reward(3.0, mean=1.0, std=2.0) == 1
    assert Wish("logp", "min").reward(3.0, mean=1.0, std=2.0) == -1
    assert Wish("logp", "near", 4.0).reward(3.0, mean=1.0, std=2.0) == -0.5
    for text in ("=3", "qed=", "qed=inf", "qed=much"):
        with pytest.raises(ConfigError):
            wishes_of([text])


def test_values_are_computed_before_columns_and_holes_name_their_row() -> None:
    ragged = ragged_of_networkx([nx.path_graph(3), nx.cycle_graph(3), nx.path_graph(2)])
    found = GraphSet(
        PLAIN,
        ragged,
        {"train": np.asarray([0, 1]), "test": np.asarray([2])},
        rows=np.asarray([4, 7, 9]),
        properties={"edges": np.zeros(3), "weight": np.asarray([1.0, math.nan, 3.0])},
    )
    assert values_of(found, ["edges"]) == {"edges": [2, 3]}
    assert values_of(found, ["weight"], "test") == {"weight": [3.0]}
    with pytest.raises(DataError, match="property 'weight', row 8"):
        values_of(found, ["weight"])
    with pytest.raises(ConfigError, match="neither computable nor a column of 'plain'"):
        values_of(found, ["colour"])


def test_ragged_sets_are_joined_in_order() -> None:
    parts = [ragged_of_networkx([nx.path_graph(n), nx.cycle_graph(n)]) for n in (3, 4)]
    joined = Ragged.cat(parts)
    assert joined.sizes.tolist() == [3, 3, 4, 4]
    again = joined.take([2, 3])
    for name in ("labels", "counts", "pairs", "orders"):
        assert np.array_equal(getattr(again, name), getattr(parts[1], name)), name
    assert len(Ragged.cat([])) == 0
