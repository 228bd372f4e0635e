"""Four-node orbit counts in closed form: how often each node takes each of 15 roles in connected subgraphs.

With adjacency A, d = A 1, C = A o A^2 (common neighbours of the ends of an edge), t = C 1 / 2, c2(x) =
x (x - 1) / 2 and, per edge, e_ij = edges among the common neighbours of i and j, every count of an induced
subgraph of 2 to 4 nodes is a linear equation of counts already known: orbits 14, 13, 12 ... 4 follow one
another.

Source: Hocevar & Demsar 2014, Bioinformatics 30(4), ORCA, for orbits and their numbers; the equations are
those of section 7 of this project's specification and are tested against enumeration.
"""

from typing import Any

import numpy as np

from core.errors import DataError

__all__ = ["orbit_counts"]

Array = np.ndarray[Any, np.dtype[Any]]
# Edges whose common neighbourhoods are held at once.
CHUNK = 4096


def orbit_counts(adjacency: Array) -> Array:
    """Count the orbits of every node.

    Args:
        adjacency: (n, n), 0/1, symmetric, zero diagonal. Dense products: fit for up to about 1000 nodes.

    Returns:
        (n, 15) int64, orbits 0 to 14 in ORCA's numbering.

    Raises:
        DataError: the adjacency is not 0/1, symmetric and loop-free.
    """
    a = np.asarray(adjacency, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise DataError(f"an adjacency is (n, n), got {a.shape}.")
    if not (np.isin(a, (0, 1)).all() and (a == a.T).all() and not a.diagonal().any()):
        raise DataError("orbits need a 0/1 adjacency, symmetric and without self-loops.")
    d = a.sum(1)
    square = a @ a
    c = a * square
    t = c.sum(1) / 2
    e = _edges_among_common(a)
    row_e = e.sum(1)
    o = np.zeros((len(a), 15))
    o[:, 0] = d
    o[:, 1] = a @ (d - 1) - 2 * t
    o[:, 2] = _pairs(d) - t
    o[:, 3] = t
    o14 = row_e / 3
    o13 = (a * _pairs(c)).sum(1) - row_e
    o12 = ((a @ c) * a).sum(1) / 2 - t - 3 * o14
    o11 = t * (d - 2) - 2 * o13 - 3 * o14
    o10 = c @ d - 4 * t - 2 * o12 - 2 * o13 - 6 * o14
    o9 = a @ t - 2 * t - 2 * o12 - 3 * o14
    apart = _pairs(square)
    np.fill_diagonal(apart, 0)
    o8 = apart.sum(1) - o12 - o13 - 3 * o14
    o7 = d * (d - 1) * (d - 2) / 6 - o11 - o13 - o14
    o6 = a @ _pairs(d - 1) - o9 - o10 - 2 * o12 - o13 - 3 * o14
    one, two = a @ (d - 1), a @ (a @ d)
    o5 = (d - 1) * one - 2 * t - 2 * o8 - 2 * o11 - o10 - 4 * o13 - 2 * o12 - 6 * o14
    o4 = two - d**2 - one - 2 * t - 2 * o8 - 2 * o9 - o10 - 2 * o13 - 4 * o12 - 6 * o14
    for k, values in enumerate((o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14), 4):
        o[:, k] = values
    return np.rint(o).astype(np.int64)


def _pairs(x: Array) -> Array:
    return x * (x - 1) / 2


def _edges_among_common(a: Array) -> Array:
    """(n, n): for each edge, the edges among the common neighbours of its ends; 0 elsewhere."""
    found = np.zeros_like(a)
    u, v = np.nonzero(np.triu(a))
    for at in range(0, len(u), CHUNK):
        i, j = u[at : at + CHUNK], v[at : at + CHUNK]
        common = a[i] * a[j]
        found[i, j] = found[j, i] = ((common @ a) * common).sum(1) / 2
    return found
