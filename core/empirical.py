"""The exact denoiser of a finite data set: what a network that fits its training set perfectly would answer.

For points y_1 .. y_n of equal weight the posterior given x is a softmax of log q(x given y_i), and its mean
is the weighted mean of the points. It serves Gaussian and Poisson processes alike, and sampling with it
returns data points.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import DataError
from core.process.scheduled import Scheduled
from core.state import per_sample

__all__ = ["Empirical"]


@dataclass(frozen=True, eq=False)
class Empirical:
    """Posterior mean over a data set.

    Args:
        points: the data, (n, ...), at least one.
        process: how they are corrupted.
    """

    points: Tensor
    process: Scheduled

    def __post_init__(self) -> None:
        if self.points.ndim < 2 or len(self.points) == 0:
            raise DataError(f"expected data of shape (n, ...) with n > 0, got {tuple(self.points.shape)}.")

    def weights(self, x: Tensor, t: Any) -> Tensor:
        """Posterior probability of each point, (B, n), for x (B, ...) at time t, a scalar or (B,)."""
        flat, points = x.flatten(1), self.points.flatten(1).to(x.dtype)
        alpha = self.process.alpha(t)
        if isinstance(t, Tensor) and t.ndim:
            t, alpha = t.to(x.dtype)[:, None], per_sample(alpha.to(x.dtype), flat)
        if isinstance(alpha, Tensor) and alpha.ndim:
            square = (flat[:, None] - alpha[..., None] * points).square().sum(2)
        else:
            square = torch.cdist(flat, alpha * points, compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.softmax(self.process.log_kernel(square, t, flat.shape[1]), dim=1)

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        mean = self.weights(x, t) @ self.points.flatten(1).to(x.dtype)
        return Posterior(mean=mean.reshape(x.shape))
