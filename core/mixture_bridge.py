"""Interpolants between Gaussian mixtures, in closed form: the ground truth of `core.transport`.

With independent x_0 and x_1, given their components i and j the state is normal with mean a m_i + b n_j and
covariance S = a^2 C_i + b^2 E_j + gamma^2 I, and its speed is jointly normal with it, so

    E[speed given x, i, j] = a' m_i + b' n_j + (a a' C_i + b b' E_j + gamma gamma' I) S^-1 (x - mean),

and velocity and score are the means of these under the posterior of (i, j). Only gamma gamma' appears, so the
ends are no exception.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.analytic import Mixture
from core.errors import ConfigError
from core.process.interpolant import Interpolant
from core.process.scheduled import Time
from core.transport import Flow

__all__ = ["MixtureBridge", "normal"]


class Pairs(NamedTuple):
    """The components of x_t, K0 K1 of them, at one time or, with a leading axis B, at a time per sample."""

    mean: Tensor
    cov: Tensor
    drift: Tensor
    turn: Tensor


@dataclass(frozen=True, eq=False)
class MixtureBridge:
    """The exact field between two mixtures that are coupled independently.

    Args:
        start: law of x_0; N(0, I) for a one-sided interpolant.
        end: law of x_1, in the same dimension.
        process: the interpolant. A mirror one has x_0 = x_1, and `start` is not looked at.
    """

    start: Mixture
    end: Mixture
    process: Interpolant

    def __post_init__(self) -> None:
        if self.start.dim != self.end.dim:
            raise ConfigError(f"the ends have {self.start.dim} and {self.end.dim} dimensions.")
        eye = torch.eye(self.start.dim).to(self.start.covs)
        normal = (
            len(self.start.weights) == 1
            and not bool(self.start.means.any())
            and torch.equal(self.start.covs[0], eye)
        )
        if self.process.one_sided and not normal:
            raise ConfigError("a one-sided interpolant starts from N(0, I), got another mixture.")

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
        """Velocity and score at x (B, d)."""
        parts = self._pairs(t.to(x.dtype) if isinstance(t, Tensor) else t, x)
        root = torch.linalg.cholesky(parts.cov)
        off = x[:, None] - parts.mean
        solved = _applied(torch.cholesky_inverse(root), off)
        log_det = torch.diagonal(root, dim1=-2, dim2=-1).log().sum(-1)
        logits = self._weights.log().to(x) - (off * solved).sum(-1) / 2 - log_det
        probs = torch.softmax(logits, dim=1)[..., None]
        speed = parts.drift + _applied(parts.turn, solved)
        return Flow((probs * speed).sum(1), -(probs * solved).sum(1))

    def marginal(self, t: float) -> Mixture:
        """The law of x_t."""
        parts = self._pairs(t, self.end.means)
        return Mixture(self._weights, parts.mean[0], parts.cov[0])

    @property
    def _weights(self) -> Tensor:
        return (self.start.weights[:, None] * self.end.weights).flatten()

    def _pairs(self, t: Time, like: Tensor) -> Pairs:
        t = torch.as_tensor(t, dtype=torch.float64, device=like.device).reshape(-1, 1, 1, 1)
        (a, b), (da, db) = self.process.weights(t), self.process.rates(t)
        gamma, rate = self.process.noise_level(t), self.process.noise_rate(t)
        d = self.end.dim
        eye = torch.eye(d, dtype=torch.float64, device=like.device)
        m, n = self.start.means.double()[:, None], self.end.means.double()[None]
        c, e = self.start.covs.double()[:, None], self.end.covs.double()[None]

        def flat(value: Tensor) -> Tensor:
            return value.flatten(1, 2).to(like.dtype)

        a4, b4, da4, db4 = (v[..., None] for v in (a, b, da, db))
        return Pairs(
            flat(a * m + b * n),
            flat(a4**2 * c + b4**2 * e + gamma[..., None] ** 2 * eye),
            flat(da * m + db * n),
            flat(a4 * da4 * c + b4 * db4 * e + rate[..., None] * eye),
        )


def _applied(matrix: Tensor, v: Tensor) -> Tensor:
    """matrix (1 or B, K, d, d) times v (B, K, d)."""
    if len(matrix) == 1:
        return (v.transpose(0, 1) @ matrix[0].mT).transpose(0, 1)
    return (matrix @ v[..., None])[..., 0]


def normal(dim: int) -> Mixture:
    """N(0, I), the start of one-sided interpolants."""
    one = torch.ones(1, dtype=torch.float64)
    return Mixture(one, torch.zeros(1, dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)[None])
