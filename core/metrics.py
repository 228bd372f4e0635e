"""Distances between samples, each with the yardstick it needs.

All take samples as (n, d) tensors. A distance between two finite samples of one law is not zero: `floor`
measures how large it is at the sizes used, and belongs beside every result.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = ["effective_sample_size", "floor", "frechet", "mmd2", "polynomial", "rbf", "sliced_wasserstein"]


def sliced_wasserstein(x: Tensor, y: Tensor, *, directions: int = 128, seed: int = 7) -> float:
    """Sliced Wasserstein-2: root of the mean over directions and order statistics of squared differences.

    Args:
        x, y: samples of equal size, (n, d).
        directions: unit directions, drawn from `seed`.

    Raises:
        ConfigError: the sizes differ.
    """
    if x.shape != y.shape:
        raise ConfigError(
            f"sliced Wasserstein needs samples of equal size, got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    gen = torch.Generator().manual_seed(seed)
    axes = torch.randn(x.shape[1], directions, generator=gen, dtype=torch.float64).to(x)
    axes = axes / axes.norm(dim=0)
    gap = (x @ axes).sort(dim=0).values - (y @ axes).sort(dim=0).values
    return float(gap.square().mean().sqrt())


def floor(distance: Callable[[Tensor, Tensor], float], draw: Callable[[], Tensor]) -> float:
    """The distance between two independent exact samples: what a perfect sampler would score."""
    return distance(draw(), draw())


def rbf(bandwidths: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean of Gaussian kernels exp(-|x - y|^2 / (2 b^2)); returns a function of (n, d), (m, d) -> (n, m)."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        square = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.stack([torch.exp(-square / (2 * b**2)) for b in bandwidths]).mean(0)

    return kernel


def polynomial(degree: int = 3) -> Callable[[Tensor, Tensor], Tensor]:
    """The kernel (x.y / d + 1)^degree; with degree 3 the one of the kernel inception distance.

    Source: Binkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    return lambda x, y: (x @ y.T / x.shape[1] + 1) ** degree


def mmd2(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy; may be slightly negative. Differentiable.

    Source: Gretton et al. 2012, JMLR 13, eq. 3.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ConfigError(f"the unbiased MMD needs at least 2 samples on each side, got {n} and {m}.")
    kx, ky = kernel(x, x), kernel(y, y)
    within = (kx.sum() - kx.diagonal().sum()) / (n * (n - 1)) + (ky.sum() - ky.diagonal().sum()) / (
        m * (m - 1)
    )
    return within - 2 * kernel(x, y).mean()


def frechet(x: Tensor, y: Tensor) -> float:
    """Frechet distance between Gaussian fits: |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)).

    Source: Dowson & Landau 1982, J. Multivariate Analysis 12(3), eq. 16.
    """
    x, y = x.to(torch.float64), y.to(torch.float64)
    cx, cy = torch.cov(x.T).reshape(x.shape[1], -1), torch.cov(y.T).reshape(y.shape[1], -1)
    values, vectors = torch.linalg.eigh(cx)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cy @ root).clamp_min(0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + cx.trace() + cy.trace() - 2 * cross)


def effective_sample_size(log_weights: Tensor, dim: int = 0) -> Any:
    """1 / sum of squared normalised weights: n for equal weights, 1 when one carries all."""
    return 1 / torch.softmax(log_weights, dim=dim).square().sum(dim)
