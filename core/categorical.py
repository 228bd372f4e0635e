"""Draws from laws over categories, by inverting the cumulative law: the one place where this is done."""

import torch
from torch import Tensor

__all__ = ["drawn", "inverse"]

ALMOST_ONE = 1 - 2**-53


def inverse(weights: Tensor, points: Tensor) -> Tensor:
    """First index whose cumulated share exceeds each point; an index of zero weight is never one.

    Args:
        weights: (..., n), normalised or not.
        points: in [0, 1), (..., m).

    Returns:
        Indices, (..., m).
    """
    total = weights.cumsum(-1)
    total = total / total[..., -1:]
    return torch.searchsorted(total, points.clamp_max(ALMOST_ONE), right=True)


def drawn(logits: Tensor, points: Tensor) -> Tensor:
    """Categories of the law softmax(logits) at points in [0, 1): (K, V), (K,) -> (K,), in float64."""
    law = torch.softmax(logits.to(torch.float64), -1)
    return inverse(law, points[:, None])[:, 0].clamp_max(logits.shape[-1] - 1)
