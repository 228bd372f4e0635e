"""Padded and ragged graphs hold the same; conversions are round trips; faults name their graph."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.state import Masked, Spaces, Symmetric
from domains.graphs.data import Graphs, GraphSet, Kind, Ragged
from domains.graphs.exchange import from_networkx, from_pyg, ragged_of_networkx, to_networkx, to_pyg

GENERIC = Kind("any", (), 8, 8)
ORGANIC = Kind("any", ("C", "N", "O"), 8, 3)


def drawn(seed: int, n: int = 6, *, labels: int = 1) -> Ragged:
    """Graphs of 1 to 8 nodes, isolated nodes and single nodes among them."""
    gen = np.random.default_rng(seed)
    graphs = []
    for _ in range(n):
        size = int(gen.integers(1, 9))
        pairs = [(u, v) for v in range(size) for u in range(v) if gen.random() < 0.4]
        graphs.append(
            (gen.integers(labels, size=size).tolist(), pairs, gen.integers(1, 4, len(pairs)).tolist())
        )
    return Ragged.build(graphs)


def alike(x: Ragged, y: Ragged) -> bool:
    """The same graphs; edges may be listed in another order."""
    a, b = x.dense(ORGANIC), y.dense(ORGANIC)
    return all(bool((p == q).all()) for p, q in zip(a.state().values(), b.state().values(), strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_dense_and_ragged_are_inverse(seed: int) -> None:
    ragged = drawn(seed, labels=3)
    dense = ragged.dense(ORGANIC).checked()
    assert alike(Ragged.of(dense), ragged)
    assert dense.sizes.tolist() == ragged.sizes.tolist()
    rows = [3, 0, 3]
    assert alike(ragged.take(rows), Ragged.of(dense.take(rows)))


def test_isolated_nodes_and_single_atoms_are_nodes_and_not_padding() -> None:
    dense = Ragged.build([([0], [], []), ([1, 2, 0], [(0, 2)], [2])]).dense(ORGANIC)
    assert dense.mask.sum(1).tolist() == [1, 3]
    assert dense.nodes.sum((1, 2)).tolist() == [1.0, 3.0]
    # The mask of the reference loses the single atom and the isolated one.
    assert dense.linked().sizes.tolist() == [0, 2]


def test_features_of_generic_graphs_are_one_hot_degrees() -> None:
    dense = Ragged.build([([0] * 4, [(0, 1), (0, 2), (0, 3)], None)]).dense(GENERIC)
    assert dense.nodes[0].argmax(1).tolist()[:4] == [3, 1, 1, 1]
    assert dense.nodes[0, 4:].abs().sum() == 0


def test_the_state_lies_in_the_spaces_of_the_core() -> None:
    state = drawn(0, labels=3).dense(ORGANIC).state()
    spaces = Spaces({"nodes": Masked(), "edges": Symmetric()})
    projected = spaces.project(state)
    assert all(bool((projected[key] == state[key]).all()) for key in state)
    again = Graphs.from_state(state)
    assert again.edges is state["edges"]


@pytest.mark.parametrize("kind", [GENERIC, ORGANIC], ids=["generic", "molecular"])
def test_networkx_and_pytorch_geometric_are_round_trips(kind: Kind) -> None:
    dense = drawn(3, labels=3).dense(kind)
    if not kind.molecular:
        dense = Graphs(dense.nodes, (dense.edges > 0).float(), dense.mask)
    for again in (from_networkx(to_networkx(dense, kind), kind), from_pyg(to_pyg(dense, kind), kind)):
        for key, value in dense.state().items():
            assert bool((again.state()[key] == value).all()), key


def test_a_batch_of_pytorch_geometric_is_read_like_its_list() -> None:
    from torch_geometric.data import Batch

    dense = drawn(4, labels=3).dense(ORGANIC)
    several = to_pyg(dense, ORGANIC)
    again = from_pyg(Batch.from_data_list(several), ORGANIC)
    assert bool((again.edges == dense.edges).all())


REFUSED = [
    (nx.DiGraph([(0, 1)]), "is directed"),
    (nx.MultiGraph([(0, 1), (0, 1)]), "is a multigraph"),
    (nx.Graph([(0, 0)]), "self-loop at node 0"),
    (nx.Graph([(0, 1, {"weight": 0.5})]), r"weighted \(edge 0-1 has 0.5\)"),
    (nx.Graph(), "is empty"),
]


@pytest.mark.parametrize(("graph", "said"), REFUSED, ids=[said[:12] for _, said in REFUSED])
def test_a_graph_that_is_not_simple_is_named_with_its_property(graph: nx.Graph, said: str) -> None:
    with pytest.raises(DataError, match=f"graph 1 .*{said}"):
        ragged_of_networkx([nx.path_graph(3), graph])


def test_asymmetry_names_the_graph_and_the_largest_difference() -> None:
    dense = drawn(5).dense(GENERIC)
    edges = dense.edges.clone()
    edges[2, 0, 1] += 0.25
    with pytest.raises(DataError, match=r"graph 2: .*largest difference 0.25"):
        Graphs(dense.nodes, edges, dense.mask).checked()
    edges[2, 0, 1] = float("nan")
    with pytest.raises(DataError, match="graph 2: NaN or infinite edges"):
        Graphs(dense.nodes, edges, dense.mask).checked()


def test_a_degree_and_a_size_that_do_not_fit_are_said() -> None:
    star = Ragged.build([([0] * 5, [(0, i) for i in range(1, 5)], None)])
    with pytest.raises(DataError, match="degree 4; features=4 hold degrees up to 3"):
        star.dense(Kind("small", (), 8, 4))
    with pytest.raises(DataError, match="has 5 nodes, 'small' holds 4"):
        star.dense(Kind("small", (), 4, 8))


def test_splits_are_checked_and_follow_the_graphs_that_are_taken() -> None:
    ragged = drawn(6)
    found = GraphSet(GENERIC, ragged, {"train": np.array([0, 2, 5]), "test": np.array([1])})
    part = found.take(np.array([5, 1]))
    assert {name: at.tolist() for name, at in part.splits.items()} == {"train": [0], "test": [1]}
    with pytest.raises(DataError, match="names graph 6; there are 6"):
        GraphSet(GENERIC, ragged, {"test": np.array([0, 6])})
    with pytest.raises(DataError, match="names 1 graphs twice, first 3"):
        GraphSet(GENERIC, ragged, {"test": np.array([3, 3])})
    with pytest.raises(ConfigError, match="unknown split of 'any' 'tests'"):
        found.at("tests")


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"nodes \(B, N, F\)"):
        Graphs(torch.zeros(2, 3, 1), torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
