"""The process of DDPM: n noising steps of given variances beta_1 .. beta_n.

    x_k = sqrt(1 - beta_k) x_{k-1} + sqrt(beta_k) z,     so     alpha(k)^2 = abar_k = prod_{j <= k} (1 -
    beta_j)

and sigma^2 = 1 - alpha^2. Time counts steps: t = 0 is data, t = k the state after k of them, t = n the noise
end. Between whole steps beta acts at a constant rate, -ln(1 - beta_k) per step, which makes it a
variance-preserving process at every t whose values at whole t are the table's to the last bit. So plans may
use any times, and the `ancestral` plan on n, n - 1 .. 0 is DDPM's sampler:

    mean      sqrt(abar_{k-1}) beta_k / (1 - abar_k) D + sqrt(1 - beta_k) (1 - abar_{k-1}) / (1 - abar_k) x_k
    variance  beta_k (1 - abar_{k-1}) / (1 - abar_k)

Source: Ho et al. 2020, arXiv:2006.11239, eqs. 2, 4 and 7; beta linear in k: section 4. The continuation
between steps is ours.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.process.gaussian import Gaussian
from core.process.scheduled import Time

__all__ = ["LinearBetas"]


@dataclass(frozen=True)
class LinearBetas(Gaussian):
    """Betas that rise linearly from `first` to `last` over `steps` steps.

    Args:
        steps: n; 1000 in DDPM for images, 100 in TSDiff for series.
        first, last: beta_1 and beta_n.
    """

    steps: int = 1000
    first: float = 1e-4
    last: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ConfigError(f"LinearBetas needs at least 2 steps, got {self.steps}.")
        if not 0 < self.first <= self.last < 1:
            raise ConfigError(f"LinearBetas needs 0 < first <= last < 1, got {self.first} and {self.last}.")

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last noising step."""
        return 1.0, float(self.steps)

    @property
    def betas(self) -> tuple[float, ...]:
        """beta_1 .. beta_n."""
        return tuple(self.first + (self.last - self.first) * k / (self.steps - 1) for k in range(self.steps))

    def alpha(self, t: Time) -> Time:
        return _ops(t).exp(-self._decay(t))

    def sigma(self, t: Time) -> Time:
        return _ops(t).sqrt(-_ops(t).expm1(-2 * self._decay(t)))

    def f(self, t: Time) -> Time:
        return -self._rate(t)

    def g2(self, t: Time) -> Time:
        return 2 * self._rate(t)

    def time(self, ratio: float) -> float:
        table = self._table
        decay = 0.5 * math.log1p(ratio**2)
        k = min(max(bisect_left(table, decay), 1), self.steps)  # past the end at the rate of the last step
        return k - 1 + (decay - table[k - 1]) / (table[k] - table[k - 1])

    @property
    def _table(self) -> tuple[float, ...]:
        return _decays(self.steps, self.first, self.last)

    def _decay(self, t: Time) -> Time:
        """-ln alpha."""
        table = self._table
        if isinstance(t, Tensor):
            known = torch.tensor(table, dtype=torch.float64, device=t.device)
            k = t.floor().clamp(0, self.steps - 1).long()
            low = known[k]
            return low + (t - k) * (known[k + 1] - low)
        k = min(max(math.floor(t), 0), self.steps - 1)
        return table[k] + (t - k) * (table[k + 1] - table[k])

    def _rate(self, t: Time) -> Time:
        """d(-ln alpha) / dt; at a whole t that of the step which ends there."""
        table = self._table
        if isinstance(t, Tensor):
            known = torch.tensor(table, dtype=torch.float64, device=t.device)
            k = (t.ceil() - 1).clamp(0, self.steps - 1).long()
            return known[k + 1] - known[k]
        k = min(max(math.ceil(t) - 1, 0), self.steps - 1)
        return table[k + 1] - table[k]


@lru_cache(maxsize=16)
def _decays(steps: int, first: float, last: float) -> tuple[float, ...]:
    """-ln alpha after 0 .. n steps."""
    out = [0.0]
    for k in range(steps):
        beta = first + (last - first) * k / (steps - 1)
        out.append(out[-1] - 0.5 * math.log1p(-beta))
    return tuple(out)


def _ops(t: Time) -> Any:
    return torch if isinstance(t, Tensor) else math
