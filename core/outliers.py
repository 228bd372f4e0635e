"""How far samples lie from where the data are dense: nearest-neighbour distances of three kinds.

    neighbour_distance     mean distance to the k nearest data points
    local_outlier_factor   density around the neighbours over that around the point; 1 inside a cluster
    rarity                 radius of the smallest neighbourhood of a data point that contains the sample

All take samples (n, d) and reference data (m, d), in a feature space where distances mean something. Values
of the data themselves, the yardstick, come from `own=True`, where a point is not its own neighbour.

Sources: Breunig et al. 2000, SIGMOD, definitions 5 to 7 (local outlier factor); Han et al. 2023,
arXiv:2206.08549, eq. 1 (rarity score).
"""

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = ["local_outlier_factor", "neighbour_distance", "rarity"]


def neighbour_distance(x: Tensor, data: Tensor, *, k: int = 5, own: bool = False) -> Tensor:
    """Mean distance to the k nearest data points, (n,).

    Args:
        own: x are the data themselves, in the same order.
    """
    return _nearest(x, data, k, own)[0].mean(1)


def local_outlier_factor(x: Tensor, data: Tensor, *, k: int = 20, own: bool = False) -> Tensor:
    """Mean reachability density of the k neighbours over that of the point, (n,); over 1 outside clusters."""
    distances, index = _nearest(data, data, k, own=True)
    radius = distances[:, -1]
    density = _density(distances, radius[index])
    mine, where = _nearest(x, data, k, own)
    return density[where].mean(1) / _density(mine, radius[where])


def rarity(x: Tensor, data: Tensor, *, k: int = 3) -> Tensor:
    """Smallest k-neighbour radius among the data points whose ball contains the sample, (n,).

    Large in thin regions. NaN outside every ball: such a sample is not rare but off the data.
    """
    radius = _nearest(data, data, k, own=True)[0][:, -1]
    distance = _distances(x, data)
    inside = torch.where(distance <= radius, radius, torch.inf).amin(1)
    return inside.masked_fill(inside.isinf(), torch.nan)


def _density(distances: Tensor, radius: Tensor) -> Tensor:
    """Inverse of the mean reachability distance, (n,)."""
    return 1 / (torch.maximum(distances, radius).mean(1) + 1e-10)


def _nearest(x: Tensor, data: Tensor, k: int, own: bool) -> tuple[Tensor, Tensor]:
    """Distances (n, k), rising, and indices of the k nearest data points."""
    if not 1 <= k <= len(data) - own:
        raise ConfigError(f"k must lie in [1, {len(data) - own}], got {k}.")
    if own and len(x) != len(data):
        raise ConfigError(f"own=True needs the data themselves, got {len(x)} samples and {len(data)} points.")
    distance = _distances(x, data)
    if own:
        distance = distance + torch.diag(distance.new_full((len(x),), torch.inf))
    found = distance.topk(k, dim=1, largest=False)
    return found.values, found.indices


def _distances(x: Tensor, data: Tensor) -> Tensor:
    return torch.cdist(x, data, compute_mode="donot_use_mm_for_euclid_dist")
