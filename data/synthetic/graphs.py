"""Random graphs whose law or whose property is known: communities, block models, trees, planar graphs, grids.

A graph is (n, edges): its number of nodes, and (E, 2) int64 node numbers u < v, sorted. Every function draws
from a `numpy.random.Generator` and returns one graph.

Source: the sets of You et al. 2018, arXiv:1802.08773 (communities, grid) and Martinkus et al. 2022,
arXiv:2204.01613 (planar, block model), drawn anew; Pruefer 1918 (trees).
"""

from typing import Any

import numpy as np

from core.errors import ConfigError

__all__ = ["Graph", "blocks", "communities", "connected", "grid", "planar", "sbm", "tree"]

Array = np.ndarray[Any, np.dtype[Any]]
Graph = tuple[int, Array]


def blocks(sizes: tuple[int, ...] | list[int], p_in: float, p_out: float, gen: np.random.Generator) -> Graph:
    """A stochastic block model: pairs of one block are joined with p_in, others with p_out, independently."""
    if not (0 <= p_in <= 1 and 0 <= p_out <= 1):
        raise ConfigError(f"probabilities lie in [0, 1], got p_in={p_in} and p_out={p_out}.")
    block = np.repeat(np.arange(len(sizes)), sizes)
    u, v = np.triu_indices(len(block), 1)
    chance = np.where(block[u] == block[v], p_in, p_out)
    kept = gen.random(len(u)) < chance
    return len(block), np.stack([u[kept], v[kept]], 1).astype(np.int64)


def communities(
    gen: np.random.Generator,
    *,
    low: int = 6,
    high: int = 10,
    p_in: float = 0.7,
    p_out: float = 0.05,
    tries: int = 1000,
) -> Graph:
    """Two communities of equal size, uniform in [low, high], redrawn until the whole is connected.

    Raises:
        ConfigError: no connected graph came up in `tries` draws.
    """
    for _ in range(tries):
        size = int(gen.integers(low, high + 1))
        graph = blocks((size, size), p_in, p_out, gen)
        if connected(graph):
            return graph
    raise ConfigError(f"no connected graph in {tries} draws.", hint="Raise p_in or p_out.")


def sbm(gen: np.random.Generator) -> Graph:
    """Two to five blocks of 20 to 40 nodes, p_in 0.3 and p_out 0.005, redrawn until connected."""
    while True:
        sizes = gen.integers(20, 41, size=int(gen.integers(2, 6))).tolist()
        graph = blocks(sizes, 0.3, 0.005, gen)
        if connected(graph):
            return graph


def tree(gen: np.random.Generator, n: int = 64) -> Graph:
    """A uniformly random labelled tree of n >= 2 nodes, decoded from its Pruefer sequence."""
    if n < 2:
        raise ConfigError(f"a tree needs at least 2 nodes, got {n}.")
    code = gen.integers(0, n, size=n - 2).tolist()
    left = np.bincount(np.asarray(code, np.int64), minlength=n) + 1
    pairs = []
    for node in code:
        leaf = int(np.flatnonzero(left == 1)[0])
        pairs.append((leaf, node))
        left[leaf] -= 1
        left[node] -= 1
    u, v = np.flatnonzero(left == 1).tolist()
    pairs.append((u, v))
    return n, _sorted(np.asarray(pairs, np.int64))


def planar(gen: np.random.Generator, n: int = 64) -> Graph:
    """The Delaunay triangulation of n >= 4 uniform points in the square: connected and planar."""
    from scipy.spatial import Delaunay

    if n < 4:
        raise ConfigError(f"a triangulation needs at least 4 points, got {n}.")
    corners = Delaunay(gen.random((n, 2))).simplices
    return n, _sorted(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]]))


def grid(rows: int, columns: int) -> Graph:
    """The lattice of rows x columns nodes."""
    at = np.arange(rows * columns).reshape(rows, columns)
    along = np.stack([at[:, :-1].ravel(), at[:, 1:].ravel()], 1)
    down = np.stack([at[:-1].ravel(), at[1:].ravel()], 1)
    return rows * columns, _sorted(np.concatenate([along, down]))


def connected(graph: Graph) -> bool:
    """Whether every node is reached from the first."""
    n, edges = graph
    links = np.zeros((n, n), bool)
    links[edges[:, 0], edges[:, 1]] = links[edges[:, 1], edges[:, 0]] = True
    seen = np.zeros(n, bool)
    front = np.arange(n) == 0
    while front.any():
        seen |= front
        front = links[front].any(0) & ~seen
    return bool(seen.all())


def _sorted(pairs: Array) -> Array:
    return np.unique(np.sort(pairs, 1), axis=0).astype(np.int64)
