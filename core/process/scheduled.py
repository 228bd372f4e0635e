"""Processes on a schedule: x_t = alpha(t) x_0 + sigma(t) eps, with eps of any fixed law.

t = 0 is data; alpha / sigma decreases in t. A process is indexed equally well by its noise-to-signal ratio
`ratio = sigma / alpha`, in which all of them are the same variance-exploding process x / alpha. `time(ratio)`
inverts the schedule in closed form. Schedules accept Python numbers (float64, for plans) and tensors (for
training). `time(0)` is the end of the process, where sigma = 0.

What needs no more than the schedule asks for a `Scheduled` process: grids, deterministic plans, wrapped
networks, the denoising objective. What needs normal noise asks for a `Gaussian` one: fresh noise in a reverse
step, scores of the noisy density, exact ancestral kernels, likelihoods.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from core.state import Euclidean, Source, Space, State, per_sample, tree_map

__all__ = ["Coeffs", "Scheduled", "Time", "fitted"]

Time: TypeAlias = Any  # float | Tensor: a schedule returns what it was given


class Coeffs(NamedTuple):
    """alpha, sigma, f = d log alpha / dt and g^2 = d sigma^2 / dt - 2 f sigma^2 at one time; floats or
    tensors as the time was.
    """

    alpha: Time
    sigma: Time
    f: Time
    g2: Time


def fitted(value: Time, like: Tensor) -> Time:
    """A schedule value, float or (B,), so that it multiplies `like` (B, ...)."""
    return per_sample(value.to(like.real.dtype), like) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Scheduled:
    """What every process can do, given `alpha`, `sigma`, `f`, `g2`, `time`, and the law of its noise."""

    space: Space = field(default_factory=Euclidean, kw_only=True)

    def alpha(self, t: Time) -> Time:
        raise NotImplementedError

    def sigma(self, t: Time) -> Time:
        raise NotImplementedError

    def f(self, t: Time) -> Time:
        raise NotImplementedError

    def g2(self, t: Time) -> Time:
        raise NotImplementedError

    def time(self, ratio: float) -> float:
        """The time at which sigma / alpha equals `ratio`."""
        raise NotImplementedError

    def noise(self, like: Any, gen: Source | None, mask: Tensor | None = None) -> Any:
        """Draw eps, shaped like `like`."""
        raise NotImplementedError

    def log_kernel(self, square: Tensor, t: Time, dim: Any) -> Tensor:
        """log q(x_t given x_0) up to a term that no x_0 changes.

        Args:
            square: |x_t - alpha x_0|^2, any shape.
            t: scalar, or a tensor that broadcasts with `square`.
            dim: degrees of freedom of the state.
        """
        raise NotImplementedError

    @property
    def ends(self) -> tuple[float, float]:
        """Times that training and sampling cover, (near data, noise)."""
        return 1e-3, 1.0

    def coeffs(self, t: Time) -> Coeffs:
        """alpha, sigma, f, g^2 at time t."""
        return Coeffs(self.alpha(t), self.sigma(t), self.f(t), self.g2(t))

    def ratio(self, t: Time) -> Time:
        """Noise-to-signal ratio sigma / alpha; infinite where no signal is left."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        if isinstance(alpha, Tensor):
            return sigma / alpha
        return sigma / alpha if alpha > 0 else math.inf

    def rates(self, t: Time) -> tuple[Time, Time]:
        """d alpha / dt and d sigma / dt."""
        alpha, sigma, f, g2 = self.coeffs(t)
        return f * alpha, (g2 / 2 + f * sigma**2) / sigma

    def perturb(self, x0: State, t: Time, gen: Source | None) -> tuple[State, State]:
        """Corrupt clean data.

        Args:
            x0: clean state, (B, ...).
            t: scalar or (B,).
            gen: source of the noise.

        Returns:
            x_t and the noise eps that made it.
        """
        eps = self.noise(x0, gen)
        return self.mix(x0, eps, t), eps

    def mix(self, x0: State, eps: State, t: Time) -> State:
        """alpha x_0 + sigma eps, with t a scalar or (B,)."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        return tree_map(lambda a, e: fitted(alpha, a) * a + fitted(sigma, e) * e, x0, eps)

    def scaled(self, eps: State, t: Time) -> State:
        """sigma eps, the noise end of the process when t is large."""
        sigma = self.sigma(t)
        return tree_map(lambda e: fitted(sigma, e) * e, eps)

    def prior(self, like: State, gen: Source | None, t: float | None = None) -> State:
        """Draw from the noise end (or from the noise alone at time t), shaped like `like`."""
        return self.scaled(self.noise(like, gen), self.ends[1] if t is None else t)
