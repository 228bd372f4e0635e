"""Low rank over frames: the nuclear norm of a cine, its subgradient, and the step that shrinks it.

A cine (B, F, H, W) is read as one matrix per sample, F frames by H W pixels; what stands still has rank one
in it. The nuclear norm |L|_* is the sum of the singular values of L = U S V^T. It has

    subgradient       U V^T, over the singular values that are not zero
    proximal step     argmin_Z |Z - L|_F^2 / 2 + tau |Z|_*  =  U max(S - tau, 0) V^T

Sources: Watson 1992, Linear Algebra and its Applications 170, 33-45 (subgradient); Cai, Candes & Shen 2010,
arXiv:0810.3286, theorem 2.1 (singular value thresholding).
"""

import torch
from torch import Tensor

__all__ = ["as_matrix", "nuclear_norm", "nuclear_subgradient", "rank_of", "shrink_singular"]

# Singular values below this share of the largest count as zero: they are rounding, and have no direction.
NOTHING = {torch.float32: 1e-5, torch.float64: 1e-11}


def as_matrix(cine: Tensor) -> Tensor:
    """Frames by pixels, (B, F, H W), of a cine (B, F, H, W)."""
    return cine.flatten(2)


def nuclear_norm(cine: Tensor) -> Tensor:
    """Sum of the singular values of each sample, (B,)."""
    return torch.linalg.svdvals(as_matrix(cine)).sum(-1)


def nuclear_subgradient(cine: Tensor) -> Tensor:
    """U V^T of each sample, like the cine; zero where the cine is."""
    u, s, vh = torch.linalg.svd(as_matrix(cine), full_matrices=False)
    return ((u * _present(s).to(u.dtype)[:, None, :]) @ vh).reshape(cine.shape)


def shrink_singular(cine: Tensor, tau: float) -> Tensor:
    """Every singular value lowered by `tau`, at least to zero; like the cine."""
    u, s, vh = torch.linalg.svd(as_matrix(cine), full_matrices=False)
    return ((u * (s - tau).clamp_min(0)[:, None, :]) @ vh).reshape(cine.shape)


def rank_of(cine: Tensor) -> Tensor:
    """Number of singular values of each sample that are not zero, (B,)."""
    return _present(torch.linalg.svdvals(as_matrix(cine))).sum(-1)


def _present(s: Tensor) -> Tensor:
    return s > NOTHING.get(s.dtype, 1e-5) * s.amax(-1, keepdim=True)
