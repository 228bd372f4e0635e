"""Structures are smooth and decomposable by construction, and Chow-Liu trees are the best trees."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.circuit import (
    Blueprint,
    Graph,
    Layout,
    Region,
    chow_liu,
    halving_tree,
    hidden_tree,
    mixture,
    random_tree,
    region_graph,
)
from core.errors import ConfigError
from tests.core.circuit.worlds import ternary


def test_a_product_of_shared_variables_is_refused() -> None:
    draw = Blueprint(2)
    a, b = draw.leaf(0), draw.leaf(0)
    with pytest.raises(ConfigError, match="not decomposable"):
        draw.product(a, b)


def test_a_sum_over_different_variables_is_refused() -> None:
    draw = Blueprint(2)
    a, b = draw.leaf(0), draw.leaf(1)
    with pytest.raises(ConfigError, match="not smooth"):
        draw.sum(a, b)


def test_graphs_written_by_hand_are_checked_too() -> None:
    leaf = Region("leaf", frozenset([0]), 2)
    with pytest.raises(ConfigError, match="root must be a sum of width 1"):
        Graph((leaf, Region("sum", frozenset([0]), 2, (0,))))
    with pytest.raises(ConfigError, match="does not come before"):
        Graph((Region("sum", frozenset([0]), 1, (0,)),))
    with pytest.raises(ConfigError, match="does not cover"):
        Graph((leaf, Region("sum", frozenset([0, 1]), 1, (0,))))
    with pytest.raises(ConfigError, match="without gaps"):
        Graph((Region("leaf", frozenset([1]), 1), Region("sum", frozenset([1]), 1, (0,))))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_every_builder_makes_a_circuit_of_all_variables(n: int, repeats: int, width: int, seed: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    parents = [-1] + [int(torch.randint(v, (), generator=gen)) for v in range(1, n)]
    trees = [random_tree(n, gen) for _ in range(repeats)]
    for graph in (mixture(n, width), region_graph(trees, width), hidden_tree(parents, width)):
        assert graph.variables == n
        layout = Layout.of(graph)
        assert sorted(set(layout.variables.tolist())) == list(range(n))
        # Inputs of a layer are rows below it: the passes may go layer by layer.
        assert all(int(layer.inputs.max()) < layer.start for layer in layout.layers)


def test_an_image_is_halved_across_its_longer_side_and_squares_into_rows() -> None:
    assert halving_tree(2, 4) == (((0, 1), (4, 5)), ((2, 3), (6, 7)))


def test_a_region_graph_of_an_image_is_as_deep_as_its_halvings() -> None:
    layers = Layout.of(region_graph([halving_tree(8, 8)], 2)).layers
    assert [layer.kind for layer in layers] == ["product", "sum"] * 6


def mutual_information(x: torch.Tensor, i: int, j: int) -> float:
    joint = torch.zeros(2, 2, dtype=torch.float64)
    for a, b in itertools.product(range(2), repeat=2):
        joint[a, b] = ((x[:, i] == a) & (x[:, j] == b)).sum() + 0.1
    joint = joint / joint.sum()
    return float((joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()).sum())


@pytest.mark.parametrize("seed", range(4))
def test_chow_liu_finds_the_best_of_all_trees(seed: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    base = torch.randint(2, (60, 5), generator=gen)
    x = base.clone()
    x[:, 1:] = torch.where(torch.rand(60, 4, generator=gen) < 0.6, base[:, :-1], base[:, 1:])
    pairs = {e: mutual_information(x, *e) for e in itertools.combinations(range(5), 2)}

    def spans(edges: tuple[tuple[int, int], ...]) -> bool:
        reached = {0}
        for _ in range(5):
            reached |= {v for e in edges if reached & set(e) for v in e}
        return len(reached) == 5

    best = max(sum(pairs[e] for e in edges) for edges in itertools.combinations(pairs, 4) if spans(edges))
    parents = chow_liu(x, 2)
    found = sum(pairs[min(v, p), max(v, p)] for v, p in enumerate(parents) if p >= 0)
    assert found == pytest.approx(best, abs=1e-12)


def test_chow_liu_recovers_a_chain_and_roots_it_in_the_middle() -> None:
    gen = torch.Generator().manual_seed(0)
    x = torch.zeros(500, 5, dtype=torch.long)
    x[:, 0] = torch.randint(2, (500,), generator=gen)
    for v in range(1, 5):
        x[:, v] = torch.where(torch.rand(500, generator=gen) < 0.15, 1 - x[:, v - 1], x[:, v - 1])
    assert chow_liu(x, 2) == [1, 2, -1, 2, 3]


def test_a_forest_is_refused() -> None:
    with pytest.raises(ConfigError, match="one root"):
        hidden_tree([-1, -1, 0], 2)


def test_weights_must_fit_and_be_positive() -> None:
    circuit = ternary("mixture", 3)
    with pytest.raises(ConfigError, match="must be positive"):
        type(circuit)(circuit.layout, (torch.tensor([[[0.0], [0.5], [0.5]]]),), circuit.leaves)
    with pytest.raises(ConfigError, match="has weights"):
        type(circuit)(circuit.layout, (torch.ones(1, 2, 1),), circuit.leaves)
    assert circuit.parameters == 2 + 3 * 3 * 2
