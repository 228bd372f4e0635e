"""Valid, unique and novel: what share of generated graphs has the property, and repeats neither one another
nor the training set. Graphs are compared by isomorphism, within classes of one Weisfeiler-Lehman hash.

| property | valid means                                                                                |
| -------- | ------------------------------------------------------------------------------------------ |
| planar   | connected and planar                                                                       |
| tree     | connected and without a cycle                                                              |
| sbm      | 2 to 5 blocks of 20 to 40 nodes whose densities fit 0.3 inside and 0.005 between            |

The published SBM figures infer blocks with graph-tool, which no package index carries. Here blocks are the
clusters of the informative eigenvectors of the Bethe Hessian, so that SBM figures are NOT comparable with
published ones; stand them beside the share of the training set that passes.

Source: Martinkus et al. 2022, arXiv:2204.01613, section 5 and appendix (properties, Wald test); Saade,
Krzakala & Zdeborova 2014, arXiv:1406.1880 (Bethe Hessian).
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from core.errors import unknown
from core.progress import Progress, silent
from domains.graphs.data import Array, Ragged
from domains.graphs.exchange import to_networkx

__all__ = ["VALID", "blocks_of", "classes", "is_planar", "is_sbm", "is_tree", "vun"]

P_IN, P_OUT, LEVEL = 0.3, 0.005, 0.9


def is_planar(graph: nx.Graph) -> bool:
    return bool(len(graph) and nx.is_connected(graph) and nx.check_planarity(graph)[0])


def is_tree(graph: nx.Graph) -> bool:
    return bool(len(graph) and nx.is_tree(graph))


def blocks_of(a: Array, seed: int = 0) -> Array:
    """(n,) block of each node: as many blocks as the Bethe Hessian has negative eigenvalues, at most 8."""
    from scipy.cluster.vq import kmeans2

    d = a.sum(1)
    if not d.any():
        return np.zeros(len(a), np.int64)
    r = np.sqrt(max((d**2).sum() / d.sum() - 1, 1e-9))
    values, vectors = np.linalg.eigh((r**2 - 1) * np.eye(len(a)) - r * a + np.diag(d))
    k = int(np.clip((values < 0).sum(), 1, 8))
    rows = vectors[:, :k]
    best: tuple[float, Array] | None = None
    for start in range(3):
        centres, label = kmeans2(rows, k, minit="++", rng=np.random.default_rng([seed, start]))
        cost = float(((rows - centres[label]) ** 2).sum())
        if best is None or cost < best[0]:
            best = cost, label
    assert best is not None
    return np.unique(best[1], return_inverse=True)[1]


def is_sbm(graph: nx.Graph) -> bool:
    """Whether the blocks found have the sizes and densities of the published set."""
    from scipy.stats import chi2

    a = nx.to_numpy_array(graph, weight=None)
    block = blocks_of(a)
    sizes = np.bincount(block)
    if not 2 <= len(sizes) <= 5 or sizes.min() < 20 or sizes.max() > 40:
        return False
    chances = []
    for i in range(len(sizes)):
        for j in range(i, len(sizes)):
            inside = a[np.ix_(block == i, block == j)]
            pairs = sizes[i] * (sizes[i] - 1) if i == j else sizes[i] * sizes[j]
            p, due = inside.sum() / pairs, P_IN if i == j else P_OUT
            chances.append(1 - chi2.cdf((p - due) ** 2 / (p * (1 - p) + 1e-6), 1))
    return bool(np.mean(chances) > LEVEL)


VALID = {"planar": is_planar, "sbm": is_sbm, "tree": is_tree}


def classes(graphs: Sequence[nx.Graph], known: Sequence[nx.Graph] = ()) -> tuple[list[bool], list[bool]]:
    """Whether each graph is the first of its isomorphism class, and whether `known` lacks its class."""
    table: dict[str, list[tuple[nx.Graph, bool]]] = defaultdict(list)
    for graph in known:
        table[_hash(graph)].append((graph, True))
    first, new = [], []
    for graph in graphs:
        bucket = table[_hash(graph)]
        alike = [old for other, old in bucket if nx.is_isomorphic(graph, other)]
        first.append(False not in alike)
        new.append(True not in alike)
        bucket.append((graph, False))
    return first, new


def _hash(graph: nx.Graph) -> str:
    with warnings.catch_warnings():
        # NetworkX warns that hashes differ from those before 3.5; none is kept.
        warnings.simplefilter("ignore", UserWarning)
        return str(nx.weisfeiler_lehman_graph_hash(graph, iterations=4)) if len(graph) else ""


def vun(
    gen: Ragged, train: Ragged, prop: str | None = None, *, progress: Progress = silent
) -> dict[str, Any]:
    """Shares in [0, 1] of all generated graphs, None for an empty set.

    Args:
        prop: a key of `VALID`; None asks for uniqueness and novelty alone.
    """
    if prop is not None and prop not in VALID:
        raise unknown("property of graphs", prop, VALID)
    graphs, known = to_networkx(gen), to_networkx(train)
    if not graphs:
        return {"valid": None, "unique": None, "novel": None, "vun": None}
    first, new = classes(graphs, known)
    valid: list[bool] = []
    if prop is not None:
        for i, graph in enumerate(graphs):
            valid.append(VALID[prop](graph))
            progress("validity", i + 1, len(graphs))
    every = [all(flags) for flags in zip(*([valid] if valid else []), first, new, strict=True)]
    return {
        "valid": float(np.mean(valid)) if valid else None,
        "unique": float(np.mean(first)),
        "novel": float(np.mean(new)),
        "vun": float(np.mean(every)),
    }
