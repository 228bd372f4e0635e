"""Orbit counts against enumeration of every subgraph of up to four nodes, and known graphs."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from domains.graphs.orbits import orbit_counts

# Each orbit as a graph and one of its nodes, in ORCA's numbering (Hocevar & Demsar 2014, figure 1).
ORBITS = {
    0: ([(0, 1)], 0),
    1: ([(0, 1), (1, 2)], 0),
    2: ([(0, 1), (1, 2)], 1),
    3: ([(0, 1), (1, 2), (0, 2)], 0),
    4: ([(0, 1), (1, 2), (2, 3)], 0),
    5: ([(0, 1), (1, 2), (2, 3)], 1),
    6: ([(0, 1), (0, 2), (0, 3)], 1),
    7: ([(0, 1), (0, 2), (0, 3)], 0),
    8: ([(0, 1), (1, 2), (2, 3), (3, 0)], 0),
    9: ([(0, 1), (1, 2), (0, 2), (2, 3)], 3),
    10: ([(0, 1), (1, 2), (0, 2), (2, 3)], 0),
    11: ([(0, 1), (1, 2), (0, 2), (2, 3)], 2),
    12: ([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], 1),
    13: ([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], 0),
    14: ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], 0),
}


def signature(a: np.ndarray, node: int) -> tuple:
    """Size, edges, own degree, and degrees of all: tells the 15 orbits of connected graphs apart."""
    d = a.sum(1)
    near = tuple(sorted(d[a[node] > 0].tolist()))
    return len(a), int(a.sum()) // 2, int(d[node]), tuple(sorted(d.tolist())), near


def adjacency(edges: list[tuple[int, int]], n: int) -> np.ndarray:
    a = np.zeros((n, n), int)
    for u, v in edges:
        a[u, v] = a[v, u] = 1
    return a


SIGNATURES = {
    signature(adjacency(edges, 1 + max(map(max, edges))), node): orbit
    for orbit, (edges, node) in ORBITS.items()
}


def enumerated(a: np.ndarray) -> np.ndarray:
    """Count by looking at every connected induced subgraph."""
    counts = np.zeros((len(a), 15), int)
    for size in (2, 3, 4):
        for nodes in itertools.combinations(range(len(a)), size):
            part = a[np.ix_(nodes, nodes)]
            if nx.is_connected(nx.from_numpy_array(part)):
                for i, node in enumerate(nodes):
                    counts[node, SIGNATURES[signature(part, i)]] += 1
    return counts


def random_graph(n: int, p: float, seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < p, 1)
    return (upper + upper.T).astype(int)


def test_the_fifteen_orbits_are_told_apart() -> None:
    assert len(SIGNATURES) == 15


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.floats(0.1, 0.95), st.integers(0, 10**6))
def test_the_closed_form_equals_enumeration(n: int, p: float, seed: int) -> None:
    a = random_graph(n, p, seed)
    assert (orbit_counts(a) == enumerated(a)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_counts_follow_a_permutation_of_the_nodes(seed: int) -> None:
    a = random_graph(20, 0.4, seed)
    order = np.random.default_rng(seed).permutation(20)
    assert (orbit_counts(a[np.ix_(order, order)]) == orbit_counts(a)[order]).all()


def test_complete_graphs_have_cliques_alone() -> None:
    counts = orbit_counts(1 - np.eye(6, dtype=int))
    assert (counts == [5, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]).all()


def test_triangles_left_out_of_open_wedges_are_caught() -> None:
    """The deliberately wrong o2 = c2(d) counts triangles as wedges: enumeration must tell."""
    a = random_graph(8, 0.6, 0)
    d = a.sum(1)
    assert (d * (d - 1) // 2 != enumerated(a)[:, 2]).any()


@pytest.mark.parametrize(
    "bad", [np.eye(3), np.triu(np.ones((3, 3)), 1), np.full((2, 2), 0.5), np.zeros((2, 3))]
)
def test_what_is_no_simple_graph_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        orbit_counts(bad)
