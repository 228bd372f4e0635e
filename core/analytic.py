"""Gaussian mixtures with everything in closed form: the ground truth that methods are checked against.

For x_0 from a mixture of N(m_k, C_k) and x = alpha x_0 + sigma eps, the noisy density is the mixture of
N(alpha m_k, alpha^2 C_k + sigma^2 I); density, score, posterior mean and posterior covariance follow from
Gaussian algebra in the eigenbasis of each C_k, with no inverse that depends on the noise.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.process.gaussian import Gaussian, Karras
from core.state import Source, per_sample, randn, uniform

__all__ = ["Mixture"]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of K Gaussians in d dimensions, and the exact denoiser of it under `process`.

    Args:
        weights: (K,), positive; normalised here.
        means: (K, d).
        covs: (K, d, d), symmetric, positive semi-definite.
        process: the Gaussian process under which the mixture is called as a denoiser.
    """

    weights: Tensor
    means: Tensor
    covs: Tensor
    process: Gaussian = field(default_factory=Karras)

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.weights.shape != (k,) or self.covs.shape != (k, d, d):
            raise ConfigError(
                f"a mixture of {k} means in {d} dimensions needs weights ({k},) and covariances "
                f"({k}, {d}, {d}), got {tuple(self.weights.shape)} and {tuple(self.covs.shape)}."
            )
        object.__setattr__(self, "weights", self.weights / self.weights.sum())

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.covs)
        return values.clamp_min(0), vectors

    @cached_property
    def data_std(self) -> float:
        """Root-mean-square standard deviation over the coordinates."""
        return math.sqrt(float(torch.diagonal(self.cov()).mean()))

    def mean(self) -> Tensor:
        """Mean of the mixture, (d,)."""
        return self.weights @ self.means

    def cov(self) -> Tensor:
        """Covariance of the mixture, (d, d)."""
        off = self.means - self.mean()
        return torch.einsum("k,kij->ij", self.weights, self.covs + off[:, :, None] * off[:, None, :])

    def to(self, dtype: torch.dtype) -> "Mixture":
        """The same mixture in another precision."""
        return replace(
            self, weights=self.weights.to(dtype), means=self.means.to(dtype), covs=self.covs.to(dtype)
        )

    def under(self, process: Gaussian) -> "Mixture":
        """The same mixture as a denoiser of another process."""
        return replace(self, process=process)

    def sample(self, n: int, gen: Source) -> Tensor:
        """Draw n clean points, (n, d)."""
        which = torch.searchsorted(
            self.weights.cumsum(0), uniform((n,), gen, dtype=self.weights.dtype, device=self.means.device)
        ).clamp_max(len(self.weights) - 1)
        values, vectors = self._eigen
        z = randn(self.means.new_empty(n, self.dim), gen)
        return self.means[which] + torch.einsum("bij,bj->bi", vectors[which], values[which].sqrt() * z)

    def log_prob(self, x: Tensor, alpha: Any = 1.0, sigma: Any = 0.0) -> Tensor:
        """Log density of alpha x_0 + sigma eps at x (B, d), in nats, (B,)."""
        return torch.logsumexp(self._parts(x, alpha, sigma)[0], dim=1)

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """E[x_0 given x], (B, d)."""
        logits, means, _ = self._posterior(x, alpha, sigma)
        return torch.einsum("bk,bkd->bd", torch.softmax(logits, dim=1), means)

    def score(self, x: Tensor, alpha: Any = 1.0, sigma: Any = 0.0) -> Tensor:
        """Gradient of `log_prob`, (B, d)."""
        logits, along, spread = self._parts(x, alpha, sigma)
        _, vectors = self._eigen
        each = -torch.einsum("kij,bkj->bki", vectors, along / spread)
        return torch.einsum("bk,bkd->bd", torch.softmax(logits, dim=1), each)

    def posterior_cov(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """Cov[x_0 given x], (B, d, d)."""
        logits, means, within = self._posterior(x, alpha, sigma)
        probs = torch.softmax(logits, dim=1)
        _, vectors = self._eigen
        inner = torch.einsum("bkj,kij,klj->bil", probs[..., None] * within, vectors, vectors)
        off = means - torch.einsum("bk,bkd->bd", probs, means)[:, None]
        return inner + torch.einsum("bk,bki,bkj->bij", probs, off, off)

    def divergence(self, x: Tensor, t: Any) -> Tensor:
        """Trace of dD/dx = (alpha / sigma^2) Cov[x_0 given x], (B,)."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        logits, means, within = self._posterior(x, alpha, sigma)
        probs = torch.softmax(logits, dim=1)
        off = means - torch.einsum("bk,bkd->bd", probs, means)[:, None]
        return torch.einsum("bk,bk->b", probs, (within + off**2).sum(2)) * (alpha / sigma**2)

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.denoise(x, self.process.alpha(t), self.process.sigma(t)))

    def condition(self, a: Tensor, y: Tensor, noise_cov: Tensor) -> "Mixture":
        """The exact posterior given y = A x_0 + n, n ~ N(0, noise_cov); again a mixture.

        Args:
            a: (m, d). y: (m,). noise_cov: (m, m).
        """
        ac = a @ self.covs
        total = ac @ a.mT + noise_cov
        gain = torch.linalg.solve(total, ac).mT
        off = y - self.means @ a.mT
        means = self.means + torch.einsum("kdm,km->kd", gain, off)
        covs = self.covs - gain @ ac
        log_w = self.weights.log() + torch.distributions.MultivariateNormal(
            self.means.new_zeros(len(y)), total, validate_args=False
        ).log_prob(off)
        return replace(self, weights=torch.softmax(log_w, 0), means=means, covs=(covs + covs.mT) / 2)

    def product(self, other: "Mixture") -> "Mixture":
        """The normalised product of two densities; K1 K2 Gaussians."""
        k, j, d = len(self.weights), len(other.weights), self.dim
        c1, c2 = self.covs[:, None], other.covs[None]
        total = c1 + c2
        gain = torch.linalg.solve(total, c1.expand(k, j, d, d)).mT
        off = other.means[None] - self.means[:, None]
        means = self.means[:, None] + torch.einsum("kjde,kje->kjd", gain, off)
        covs = c1 - gain @ c1
        log_w = (
            self.weights.log()[:, None] + other.weights.log()[None]
        ) + torch.distributions.MultivariateNormal(
            self.means.new_zeros(d), total, validate_args=False
        ).log_prob(off)
        flat = covs.reshape(k * j, d, d)
        return replace(
            self,
            weights=torch.softmax(log_w.reshape(-1), 0),
            means=means.reshape(k * j, d),
            covs=(flat + flat.mT) / 2,
        )

    def _parts(self, x: Tensor, alpha: Any, sigma: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Joint log weights (B, K), offsets in the eigenbasis (B, K, d), and variances there (B or 1, K,
        d).
        """
        values, vectors = self._eigen
        alpha, sigma = (self._level(v, x) for v in (alpha, sigma))
        spread = alpha**2 * values + sigma**2
        along = torch.einsum("kij,bki->bkj", vectors, x[:, None] - alpha * self.means)
        quad = (along**2 / spread).sum(-1) + spread.log().sum(-1) + self.dim * math.log(2 * math.pi)
        return self.weights.log() - quad / 2, along, spread

    def _posterior(self, x: Tensor, alpha: Any, sigma: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Joint log weights, posterior mean of each component, and its variances in the eigenbasis."""
        logits, along, spread = self._parts(x, alpha, sigma)
        values, vectors = self._eigen
        alpha, sigma = (self._level(v, x) for v in (alpha, sigma))
        means = self.means + torch.einsum("kij,bkj->bki", vectors, alpha * values / spread * along)
        return logits, means, (values * sigma**2 / spread).expand(means.shape)

    def _level(self, value: Any, x: Tensor) -> Any:
        return (
            per_sample(value.to(x.dtype), x)[..., None] if isinstance(value, Tensor) and value.ndim else value
        )
