"""Drawn graphs: the densities that are stated, trees by Pruefer's count, grids by their formula."""

from collections import Counter

import numpy as np
import pytest

from core.errors import ConfigError
from data.synthetic.graphs import blocks, communities, connected, grid, planar, tree


def test_blocks_have_the_stated_densities() -> None:
    n, edges = blocks((60, 60), 0.3, 0.05, np.random.default_rng(0))
    inside = (edges[:, 0] < 60) == (edges[:, 1] < 60)
    # Standard errors: 0.0077 of 3540 pairs inside, 0.0036 of 3600 pairs between.
    assert inside.sum() / (2 * 60 * 59 / 2) == pytest.approx(0.3, abs=0.03)
    assert (~inside).sum() / 3600 == pytest.approx(0.05, abs=0.015)
    assert n == 120


def test_communities_are_connected_and_of_equal_size() -> None:
    gen = np.random.default_rng(0)
    for _ in range(20):
        graph = communities(gen)
        assert connected(graph)
        assert graph[0] in range(12, 21, 2)
    with pytest.raises(ConfigError, match="no connected graph in 3 draws"):
        communities(gen, p_out=0.0, tries=3)


def test_every_labelled_tree_is_equally_likely() -> None:
    """Cayley: 4^2 = 16 trees on 4 nodes. Of 3200 draws each comes 200 times, standard error 14."""
    gen = np.random.default_rng(0)
    found = Counter(tree(gen, 4)[1].tobytes() for _ in range(3200))
    assert len(found) == 16
    assert max(abs(n - 200) for n in found.values()) < 4.5 * 14


def test_triangulations_and_grids_have_their_number_of_edges() -> None:
    n, edges = planar(np.random.default_rng(0), 64)
    # A triangulation of n points with h on the hull has 3 n - 3 - h edges, 3 <= h <= n.
    assert 2 * n - 3 <= len(edges) <= 3 * n - 6
    assert connected((n, edges))
    assert len(grid(5, 7)[1]) == 5 * 6 + 4 * 7
    assert not connected((3, np.array([[0, 1]])))
