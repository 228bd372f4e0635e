"""How alike two sets of graphs are: MMD over degrees, clustering, four-node orbits and spectra.

Each graph becomes one vector; MMD is the biased V-statistic mean k(x, x') + mean k(y, y') - 2 mean k(x, y).
Two kernels are in use and their numbers must never share a table:

| metric     | vector of a graph                                  | "emd"                            | "tv"
| | ---------- | -------------------------------------------------- | -------------------------------- |
----------- | | degree     | histogram of degrees, sum 1                        | W in bins, sigma 1 | sigma
1     | | clustering | histogram of local clustering, 100 bins, sum 1     | W / 100, sigma 0.1 | sigma 0.1 |
| orbit      | mean over nodes of the 15 orbit counts             | Euclidean distance, sigma 30     | sigma
30    | | spectral   | eigenvalues of the normalised Laplacian, 200 bins  | W in bins, sigma 1 | sigma 1 |

k = exp(-distance^2 / (2 sigma^2)). W is the earth mover distance in one dimension: the L1 distance of the two
cumulative histograms. "tv" takes half the L1 distance of the vectors themselves.

Source: "emd" as in the tables of You et al. 2018, arXiv:1802.08773, and Jo, Lee & Hwang 2022,
arXiv:2202.02514; "tv" as in Liao et al. 2019, arXiv:1910.00760, and Martinkus et al. 2022, arXiv:2204.01613.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from core.progress import Progress, silent
from domains.graphs.data import Array, Ragged
from domains.graphs.orbits import orbit_counts

__all__ = ["METRICS", "Kernel", "Vectors", "adjacencies", "clustering", "mmd", "mmd_table", "vectors"]

Kernel = Literal["emd", "tv"]
METRICS = ("degree", "clustering", "orbit", "spectral")
SIGMA = {"degree": 1.0, "clustering": 0.1, "orbit": 30.0, "spectral": 1.0}
BINS = {"clustering": 100, "spectral": 200}
Vectors = Mapping[str, Sequence[Array]]


def adjacencies(ragged: Ragged) -> Iterator[Array]:
    """(n, n) float64 0/1 adjacency of each graph that has nodes; bond orders count as 1."""
    edge = 0
    for n, e in zip(ragged.sizes.tolist(), ragged.counts.tolist(), strict=True):
        if n:
            a = np.zeros((n, n))
            u, v = ragged.pairs[edge : edge + e].T
            a[u, v] = a[v, u] = 1.0
            yield a
        edge += e


def clustering(a: Array) -> Array:
    """(n,) local clustering coefficients in [0, 1]: triangles over pairs of neighbours, 0 below two."""
    d = a.sum(1)
    pairs = d * (d - 1)
    return ((a @ a) * a).sum(1) / np.where(pairs > 0, pairs, 1)


def _spectrum(a: Array) -> Array:
    """(n,) eigenvalues of the normalised Laplacian, in [0, 2]; 0 for an isolated node."""
    d = a.sum(1)
    scale = np.where(d > 0, d, 1) ** -0.5
    values = np.linalg.eigvalsh(np.diag((d > 0).astype(float)) - scale[:, None] * a * scale)
    # The 2 of a bipartite graph may round to just above 2, which would drop it from the histogram.
    return np.clip(values, 0.0, 2.0)


def _histogram(values: Array, bins: int, low: float, high: float) -> Array:
    return np.histogram(values, bins=bins, range=(low, high))[0] / len(values)


def vectors(
    ragged: Ragged, metrics: Sequence[str] = METRICS, *, progress: Progress = silent, stage: str = "graphs"
) -> Vectors:
    """The vectors of every graph that has nodes, by metric.

    Raises:
        ConfigError: a metric is not known.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise unknown("metric of graphs", metric, METRICS)
    found: dict[str, list[Array]] = {metric: [] for metric in metrics}
    for i, a in enumerate(adjacencies(ragged)):
        for metric in metrics:
            match metric:
                case "degree":
                    own = np.bincount(a.sum(1).astype(np.int64)) / len(a)
                case "clustering":
                    own = _histogram(clustering(a), BINS[metric], 0.0, 1.0)
                case "orbit":
                    own = orbit_counts(a).mean(0)
                case _:
                    own = _histogram(_spectrum(a), BINS[metric], -1e-5, 2.0)
            found[metric].append(own)
        progress(stage, i + 1, len(ragged))
    return found


def mmd(x: Sequence[Array], y: Sequence[Array], metric: str, kernel: Kernel = "emd") -> float:
    """MMD of two sets of vectors of one metric, the biased V-statistic.

    Raises:
        ConfigError: the kernel is not known, or a set is empty.
    """
    if kernel not in ("emd", "tv"):
        raise unknown("kernel", kernel, ("emd", "tv"))
    if not len(x) or not len(y):
        raise ConfigError(f"MMD needs graphs on both sides, got {len(x)} and {len(y)}.")
    width = max(len(one) for one in (*x, *y))
    a, b = _padded(x, width), _padded(y, width)
    if kernel == "emd" and metric != "orbit":
        a, b = a.cumsum(1), b.cumsum(1)

    def mean(one: Tensor, other: Tensor) -> float:
        if kernel == "emd" and metric == "orbit":
            distance = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
        else:
            distance = torch.cdist(one, other, p=1.0) / (2 if kernel == "tv" else 1)
        if kernel == "emd" and metric == "clustering":
            distance = distance / BINS[metric]
        return float(torch.exp(-(distance**2) / (2 * SIGMA[metric] ** 2)).mean())

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def mmd_table(gen: Vectors, ref: Vectors, kernel: Kernel = "emd") -> dict[str, float | None]:
    """MMD by metric, None where a side has no graph; "mean" is that of degree, clustering and orbit."""
    table: dict[str, float | None] = {
        metric: mmd(gen[metric], ref[metric], metric, kernel)
        if len(gen[metric]) and len(ref[metric])
        else None
        for metric in gen
    }
    three = [table.get(metric) for metric in METRICS[:3]]
    known = [value for value in three if value is not None]
    return table | {"mean": sum(known) / 3 if len(known) == 3 else None}


def _padded(several: Sequence[Array], width: int) -> Tensor:
    out = torch.zeros(len(several), width, dtype=torch.float64)
    for row, own in zip(out, several, strict=True):
        row[: len(own)] = torch.as_tensor(own, dtype=torch.float64)
    return out
