"""What a linear operator y = A x offers solvers, and the iteration that serves where no formula is known.

An operator that knows the eigenvectors of A^T A gives `along(x, h)`, which applies h(A^T A) for any function
h of the eigenvalues; pseudo-inverse, proximal steps and restoration in the singular basis follow from it. The
others (`spectral = False`) solve by conjugate gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, NumericalError

__all__ = ["NOTHING", "Linear", "Spectrum", "adjoint_gap", "conjugate_gradients"]

Spectrum = Callable[[Tensor], Tensor]  # eigenvalues of A^T A, >= 0 -> factors

# Eigenvalues below this share of the largest count as zero: float32 rounding of A^T A is about 1e-7.
NOTHING = 1e-6


class Linear:
    """What every linear operator can do, given `shape`, `A` and `At`."""

    shape: tuple[int, ...]
    spectral = True

    def A(self, x: Tensor) -> Tensor:
        """Measure states (B, *shape)."""
        raise NotImplementedError

    def At(self, y: Tensor) -> Tensor:
        """The adjoint: <A x, y> = <x, At y>."""
        raise NotImplementedError

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        """h(A^T A) x; `h` gets eigenvalues, of which those of the null space are exactly 0."""
        raise ConfigError(f"the singular vectors of {type(self).__name__} are not known in closed form.")

    def seen(self, y: Tensor) -> Tensor:
        """The measurement with zeros where nothing was measured."""
        return y

    def pinv(self, y: Tensor) -> Tensor:
        """The least-norm least-squares solution A^+ y."""
        return self.normal(self.At(y), 1.0, 0.0)

    def normal(self, v: Tensor, a: float, b: float) -> Tensor:
        """(a A^T A + b I)^-1 v; for b = 0 (and v in the range of A^T) the least-norm solution."""
        if not self.spectral:
            return conjugate_gradients(lambda x: a * self.At(self.A(x)) + b * x, v)

        def inverse(lam: Tensor) -> Tensor:
            total = a * lam + b
            return torch.where(total > 0, 1 / total.clamp_min(1e-30), 0.0)

        return self.along(v, inverse)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], v: Tensor, *, tolerance: float | None = None, most: int = 200
) -> Tensor:
    """Solve apply(x) = v for a symmetric, positive map, every sample on its own.

    Args:
        tolerance: residual norm, relative to |v|, at which a sample is done; 1e-5 in float32 and 1e-8 in
            float64 by default.
        most: iterations; a singular consistent system stops at its least-norm solution.

    Source: Hestenes & Stiefel 1952, J. Res. NBS 49(6), eq. 3:1.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, *([1] * (v.ndim - 1)))

    if tolerance is None:
        tolerance = 1e-8 if v.dtype == torch.float64 else 1e-5
    x, r, p = torch.zeros_like(v), v, v
    rr = dot(r, r)
    goal = tolerance**2 * rr
    for _ in range(most):
        if bool((rr <= goal).all()):
            break
        q = apply(p)
        step = torch.where(rr > goal, rr / dot(p, q).clamp_min(1e-30), 0.0)
        x, r = x + step * p, r - step * q
        after = dot(r, r)
        p = r + after / rr.clamp_min(1e-30) * p
        rr = after
    if not bool(torch.isfinite(x).all()):
        raise NumericalError("conjugate gradients diverged; the operator's At is not the adjoint of A.")
    return x


def adjoint_gap(operator: Any, gen: torch.Generator, *, batch: int = 2) -> float:
    """|<A x, y> - <x, At y>| / (|A x| |y|) for random x and y: 0 up to rounding when At is the adjoint."""
    x = torch.randn(batch, *operator.shape, generator=gen, dtype=torch.float64)
    ax = operator.A(x)
    y = torch.randn(ax.shape, generator=gen, dtype=ax.dtype)
    gap = (ax * y).sum() - (x * operator.At(y)).sum()
    return float(gap.abs() / (ax.norm() * y.norm()))
