"""The Poisson-flow process of PFGM++: variance exploding, with noise of polynomial tails.

Data of N dimensions are charges in N + D; the norm r of the D extra coordinates is the clock, and the kernel

    p_r(x given y)  proportional to  (|x - y|^2 + r^2)^(-(N + D) / 2)

is what their electric field replaces the normal law by. With r = sigma sqrt(D) the schedule is that of
Karras, and x = y + sigma eps where eps has one law for all sigma: |eps|^2 / D = B / (1 - B) with B ~
Beta(N/2, D/2), in a uniform direction. The squared norm of N normal numbers is chi-square with N degrees of
freedom and independent of their direction, and the ratio of two chi-squares is that B / (1 - B), so

    eps = z / sqrt(c),      z ~ N(0, I) in the process's space,      c ~ chi-square(D) / D,

a multivariate t. N is whatever the space says it is, sample by sample, and need not be set. c is drawn as a
logarithm, so that no draw has to be clipped however small D is. As D grows c tends to 1, and D = infinity is
the Gaussian process: `poisson` returns it.

The probability-flow ODE dx / d sigma = (x - D(x, sigma)) / sigma has the posterior mean under this kernel in
the place of the denoiser, so deterministic plans, wrapped networks and the denoising objective serve as they
are. No SDE with normal noise goes with it.

Sources: Xu et al. 2023, arXiv:2302.04265 (PFGM++), eqs. 4 and 5, proposition 1, section 4. The t-distributed
form of the noise is ours; the authors draw B and clip it to [1e-3, 1 - 1e-3].
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.process.gaussian import Karras
from core.process.scheduled import Scheduled, Time
from core.state import (
    Euclidean,
    Source,
    Space,
    State,
    batch_size,
    leaves,
    per_sample,
    randn,
    tree_map,
    uniform,
)

__all__ = ["Poisson", "poisson"]

PROPOSALS = 16  # a proposal is taken with probability 0.95 or more: all 16 fail once in 1e20 draws


@dataclass(frozen=True)
class Poisson(Scheduled):
    """Poisson flow with D extra dimensions, on the clock t = sigma: alpha = 1, sigma = t.

    Args:
        extra: D, any positive number; for infinity call `poisson`.
        sigma_min, sigma_max: levels that training and sampling cover.
    """

    extra: float = 128.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.extra < math.inf:
            raise ConfigError(
                f"a Poisson process needs a positive, finite number of extra dimensions, got {self.extra}.",
                hint="poisson(math.inf) gives the Gaussian process.",
            )
        if not 0 < self.sigma_min < self.sigma_max:
            raise ConfigError(
                f"Poisson needs 0 < sigma_min < sigma_max, got {self.sigma_min}, {self.sigma_max}."
            )

    @property
    def ends(self) -> tuple[float, float]:
        return self.sigma_min, self.sigma_max

    def alpha(self, t: Time) -> Time:
        return torch.ones_like(t) if isinstance(t, Tensor) else 1.0

    def sigma(self, t: Time) -> Time:
        return t

    def f(self, t: Time) -> Time:
        return torch.zeros_like(t) if isinstance(t, Tensor) else 0.0

    def g2(self, t: Time) -> Time:
        return 2 * t

    def time(self, ratio: float) -> float:
        return ratio

    def radius(self, t: Time) -> Time:
        """Norm r = sigma sqrt(D) of the extra coordinates."""
        return math.sqrt(self.extra) * self.sigma(t)

    def noise(self, like: State, gen: Source | None, mask: Tensor | None = None) -> State:
        """Draw eps; the leaves of a mapping are one vector and share their c."""
        z = self.space.noise(like, gen, mask)
        first = next(leaves(z))
        c = log_gamma(self.extra / 2, batch_size(z), gen, first.device) - math.log(self.extra / 2)
        stretch = torch.exp(-c / 2)
        return tree_map(lambda e: (per_sample(stretch, e) * e).to(e.dtype), z)

    def log_kernel(self, square: Tensor, t: Time, dim: Any) -> Tensor:
        return -(dim + self.extra) / 2 * torch.log1p(square / self.radius(t) ** 2)


def poisson(
    extra: float, *, sigma_min: float = 0.002, sigma_max: float = 80.0, space: Space | None = None
) -> Poisson | Karras:
    """The Poisson process with `extra` dimensions; the Gaussian `Karras` when there are infinitely many."""
    space = Euclidean() if space is None else space
    if extra == math.inf:
        return Karras(sigma_min, sigma_max, space=space)
    return Poisson(extra, sigma_min, sigma_max, space=space)


def log_gamma(shape: float, n: int, gen: Source | None, device: Any) -> Tensor:
    """Logarithms of n draws from Gamma(shape, 1), (n,), float64, one row of `gen` each.

    A fixed number of proposals per draw keeps samples independent of one another's luck, and the logarithm of
    Gamma(a) = Gamma(a + 1) U^(1 / a) does not underflow for small a.

    Source: Marsaglia & Tsang 2000, ACM Transactions on Mathematical Software 26(3), sections 2 and 6.
    """
    low = shape < 1
    d = shape + float(low) - 1 / 3
    x = randn(torch.empty(n, PROPOSALS, dtype=torch.float64, device=device), gen)
    u = uniform((n, PROPOSALS + 1), gen, dtype=torch.float64, device=device).clamp_min(2.0**-54)
    v = (1 + x / math.sqrt(9 * d)) ** 3
    log_v = v.clamp_min(1e-300).log()
    taken = (v > 0) & (u[:, 1:].log() < x**2 / 2 + d * (1 - v + log_v))
    first = taken.to(torch.uint8).argmax(1, keepdim=True)
    out = math.log(d) + log_v.gather(1, first)[:, 0]
    return out + u[:, 0].log() / shape if low else out
