"""Principal component pursuit: a matrix as low rank plus sparse.

    min |L|_* + lam |S|_1    subject to    L + S = M,

solved by the inexact augmented Lagrange multiplier method: with multiplier Z and penalty mu,

    L <- prox of |.|_* / mu        at M - S + Z / mu      (singular values lowered by 1 / mu)
    S <- prox of lam |.|_1 / mu    at M - L + Z / mu      (entries lowered by lam / mu)
    Z <- Z + mu (M - L - S),   mu <- rho mu.

Sources: Candes, Li, Ma & Wright 2011, J. ACM 58(3), arXiv:0912.3599, eq. 1.1, and lam = 1 / sqrt(max(n1,
n2)) of theorem 1.1; Lin, Chen & Ma 2010, arXiv:1009.5055, algorithm 5 (the iteration, mu_0 = 1.25 / |M|_2,
rho = 1.5).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ConfigError, DataError, NumericalError

__all__ = ["Pursuit", "pursue"]

GROWTH = 1.5
LIMIT = 1e7  # mu stays below this multiple of its start: beyond it nothing changes any more


@dataclass(frozen=True)
class Pursuit:
    """What was found: `low_rank` and `sparse`, like the matrix, the steps taken and |M - L - S|_F / |M|_F."""

    low_rank: Tensor
    sparse: Tensor
    steps: int
    residual: float


def pursue(
    matrix: Tensor, *, lam: float | None = None, tolerance: float = 1e-7, max_steps: int = 500
) -> Pursuit:
    """Split a matrix (n1, n2) into low rank and sparse, in float64.

    Args:
        lam: weight of the sparse part; None takes 1 / sqrt(max(n1, n2)).
        tolerance: residual at which the iteration ends.

    Raises:
        DataError: not a matrix, not finite, or all zero.
        NumericalError: the residual is still above the tolerance after `max_steps`.
    """
    if matrix.ndim != 2 or not bool(torch.isfinite(matrix).all()) or not bool(matrix.any()):
        raise DataError(
            f"principal component pursuit needs a finite matrix that is not zero, got {tuple(matrix.shape)}."
        )
    weight = max(matrix.shape) ** -0.5 if lam is None else lam
    if not weight > 0:
        raise ConfigError(f"lam must be positive, got {lam}.")
    m = matrix.double()
    top, total = float(torch.linalg.matrix_norm(m, 2)), float(m.norm())
    z = m / max(top, float(m.abs().max()) / weight)
    mu = first = 1.25 / top
    sparse = torch.zeros_like(m)
    residual = 1.0
    for step in range(1, max_steps + 1):
        u, s, vh = torch.linalg.svd(m - sparse + z / mu, full_matrices=False)
        low = (u * (s - 1 / mu).clamp_min(0)) @ vh
        rest = m - low + z / mu
        sparse = rest.sign() * (rest.abs() - weight / mu).clamp_min(0)
        gap = m - low - sparse
        residual = float(gap.norm()) / total
        if residual < tolerance:
            return Pursuit(low.to(matrix.dtype), sparse.to(matrix.dtype), step, residual)
        z = z + mu * gap
        mu = min(GROWTH * mu, LIMIT * first)
    raise NumericalError(
        f"principal component pursuit left a residual of {residual:.2g} after {max_steps} steps.",
        hint="Give more steps or a larger tolerance.",
    )
