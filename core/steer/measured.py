"""A measurement y = A(x_0) + noise of one state, as a change of the denoiser: Denoiser -> Denoiser.

Every rule calls the denoiser once per evaluation and answers with another posterior mean, so every plan runs
it. With D the denoiser's output, r = y - A(D) the residual, s the standard deviation of the measurement noise
and v(t) the variance of the clean state that the noisy one leaves open:

    rule      posterior mean that the plan sees                             through the network
    explicit  D + A^T (A A^T + s^2 / v)^-1 r                                no
    pigdm     D + (sigma^2 / alpha) (dD/dx)^T A^T (v A A^T + s^2)^-1 r      yes
    dps       D - zeta c_t c_s grad |r| / pull                              yes

`explicit` replaces the measured part of D by what was measured: entirely where the noise is small beside v
(A^+ in the limit), hardly where it is large. Its v may be anything: v = sigma^2 / (lambda alpha^2) is the
proximal step of DiffPIR, a constant v is that of RED. `pigdm` adds the score of a Gaussian likelihood; with a
Gaussian prior of variance d^2 the open variance is d^2 u^2 / (d^2 + u^2), u = sigma / alpha (`open_variance`;
d = 1 is the published choice). `dps` moves the state after the step by the gradient of the residual's norm,
hence 1 / pull; c = sqrt(alpha^2 + sigma^2) makes the move that of the variance-preserving state in which the
method was published, whatever the process.

Several observations add. `measured_score` is the likelihood score itself, for proposals of particle methods.

Sources: explicit: the null-space split of Wang et al. 2023, arXiv:2212.00490, eq. 13; Zhu et al. 2023,
arXiv:2305.08995, eq. 12 (DiffPIR). pigdm: Song et al. 2023 (ICLR, pseudoinverse-guided diffusion), eqs. 7 and
8. dps: Chung et al. 2023, arXiv:2209.14687, algorithm 1. Joint states: `core.steer.consistency`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan.table import Plan, Row
from core.process.gaussian import Gaussian
from core.state import per_sample
from core.steer.consistency import Steered
from core.steer.gradient import gradient

__all__ = [
    "Observation",
    "Solvable",
    "dps",
    "explicit",
    "log_likelihood",
    "measured_score",
    "open_variance",
    "pigdm",
    "rows_of",
]


class Solvable(Protocol):
    """What guidance asks of an operator; `core.inverse.operators` has them. Only `dps` does with A alone."""

    def A(self, x: Tensor) -> Tensor:
        """Measure states (B, ...) without noise; differentiable."""

    def At(self, y: Tensor) -> Tensor:
        """The adjoint of A."""

    def normal(self, v: Tensor, a: float, b: float) -> Tensor:
        """(a A^T A + b I)^-1 v; for b = 0 the least-norm solution."""


@dataclass(frozen=True)
class Observation:
    """What was measured and how.

    Attributes:
        operator: A, from the state to the measurement.
        y: the measurement, (B, ...).
        noise: standard deviation of the measurement noise, in the unit of y.
    """

    operator: Any
    y: Tensor
    noise: float

    def __post_init__(self) -> None:
        if not self.noise >= 0:
            raise ConfigError(f"the noise of a measurement must not be negative, got {self.noise}.")


def open_variance(process: Gaussian, t: float, data_std: float) -> float:
    """Variance d^2 s^2 / (d^2 + s^2) that x_t leaves open of a clean state of variance d^2, s = sigma /
    alpha.
    """
    ratio2 = process.ratio(t) ** 2
    return data_std**2 / (1 + data_std**2 / ratio2) if ratio2 > 0 else 0.0


def explicit(
    denoiser: Denoiser,
    observations: Observation | Sequence[Observation],
    variance: Callable[[float], float],
    *,
    blend: float = 1.0,
) -> Steered:
    """Replace the measured part of the denoised state. No network Jacobian; any linear operator.

    Args:
        variance: t -> v(t) of the module's table.
        blend: share of the replacement that is made.
    """
    several = _several(observations)

    def answer(x: Tensor, t: float, cond: Any) -> Tensor:
        mean = denoiser(x, t, cond).mean
        v = variance(t)
        moves = [v * _likelihood(seen, mean, v) for seen in several]
        return mean + blend * sum(moves)

    return Steered(denoiser.process, answer)


def pigdm(
    denoiser: Denoiser,
    observations: Observation | Sequence[Observation],
    *,
    data_std: float = 1.0,
    weight: float = 1.0,
    reach: float = math.inf,
) -> Steered:
    """Add the score of the measurement, with the likelihood variance v A A^T + noise^2.

    Args:
        data_std: d, root-mean-square standard deviation of clean states; 1 as published.
        weight: factor of the added score.
        reach: a sample moves at most this many times as far as would fit the measurement best along the
            direction of its move; infinite as published. With the right covariance in place of v I, 1 would
            never act; with v I, about 3 keeps strongly correlated states stable where d is small.
    """
    several = _several(observations)
    process = denoiser.process

    def answer(x: Tensor, t: float, cond: Any) -> Tensor:
        mean, score = measured_score(denoiser, several, x, t, cond, data_std=data_std)
        move = weight * process.sigma(t) ** 2 / process.alpha(t) * score
        if math.isfinite(reach):
            share = (reach * _best(several, mean, move)).clamp(0, 1)
            move = per_sample(share, move) * move
        return mean + move

    return Steered(process, answer)


def measured_score(
    denoiser: Denoiser,
    observations: Sequence[Observation],
    x: Tensor,
    t: float,
    cond: Any = None,
    *,
    data_std: float,
) -> tuple[Tensor, Tensor]:
    """The denoised state and (dD/dx)^T A^T (v A A^T + noise^2)^-1 (y - A D), summed over observations."""
    v = open_variance(denoiser.process, t, data_std)

    def along(state: Tensor) -> tuple[Tensor, Tensor]:
        mean = denoiser(state, t, cond).mean
        held = mean.detach()
        pull = sum(_likelihood(seen, held, v) for seen in observations)
        return (mean * pull).flatten(1).sum(1), mean

    score, mean = gradient(along, x)
    return mean, score


def log_likelihood(
    process: Gaussian, observations: Observation | Sequence[Observation], *, data_std: float = 1.0
) -> Callable[[Tensor, float], Tensor]:
    """The likelihood whose score `pigdm` adds, for `core.infer.twist`.

    Returns:
        (D, t) -> -(y - A D)^T (v A A^T + noise^2)^-1 (y - A D) / 2, (B,), nats up to a constant.

    Raises:
        ConfigError: a measurement without noise has no density.
    """
    several = _several(observations)
    if any(seen.noise == 0 for seen in several):
        raise ConfigError("a measurement without noise has no likelihood; expected noise > 0.")

    def log_l(mean: Tensor, t: float) -> Tensor:
        total = mean.new_zeros(len(mean))
        for seen in several:
            v, s2 = open_variance(process, t, data_std), seen.noise**2
            residual = seen.y - seen.operator.A(mean)
            held = residual.detach()
            inner = seen.operator.normal(seen.operator.At(held), v, s2)
            whitened = (held - v * seen.operator.A(inner)) / s2
            both = (residual * whitened).flatten(1).sum(1)
            total = total - both + both.detach() / 2  # the value of -both / 2, the gradient of -both
        return total

    return log_l


def dps(
    denoiser: Denoiser,
    observations: Observation | Sequence[Observation],
    plan: Plan,
    *,
    weight: float = 1.0,
) -> Steered:
    """Move the state after the step down the gradient of the residual's norm. Any differentiable operator.

    Args:
        plan: the plan that will be run; its rows say how a change of D counts.
        weight: zeta, the step in the variance-preserving state.
    """
    several = _several(observations)
    process, rows = denoiser.process, rows_of(plan)

    def answer(x: Tensor, t: float, cond: Any) -> Tensor:
        def loss(state: Tensor) -> tuple[Tensor, Tensor]:
            mean = denoiser(state, t, cond).mean
            norms = [(seen.y - seen.operator.A(mean)).flatten(1).norm(dim=1) for seen in several]
            return sum(norms[1:], norms[0]), mean

        grad, mean = gradient(loss, x)
        row = rows[t]
        scale = [(process.alpha(at) ** 2 + process.sigma(at) ** 2) ** 0.5 for at in (t, row.s)]
        return mean - weight * scale[0] * scale[1] / sum(row.pull) * grad

    return Steered(process, answer)


def rows_of(plan: Plan) -> dict[float, Row]:
    """Rows of a plan of one state, by time. Repeats of a level count as its last row.

    Raises:
        ConfigError: the plan has rows that are not linear, or belongs to a product process.
    """
    if not all(isinstance(row, Row) for row in plan.rows):
        raise ConfigError("this rule reads the linear rows of a plan of one state; the plan has others.")
    return {row.t: row for row in plan.rows if isinstance(row, Row)}


def _several(found: Observation | Sequence[Observation]) -> tuple[Observation, ...]:
    several = (found,) if isinstance(found, Observation) else tuple(found)
    if not several:
        raise ConfigError("guidance needs at least one observation, got none.")
    return several


def _best(several: Sequence[Observation], mean: Tensor, move: Tensor) -> Tensor:
    """The multiple of a move that brings the residual nearest to zero, (B,)."""
    along, size = mean.new_zeros(len(mean)), mean.new_zeros(len(mean))
    for seen in several:
        moved = seen.operator.A(move).flatten(1)
        along = along + ((seen.y - seen.operator.A(mean)).flatten(1) * moved).sum(1)
        size = size + moved.square().sum(1)
    return along / size.clamp_min(1e-30)


def _likelihood(seen: Observation, mean: Tensor, v: float) -> Tensor:
    """A^T (v A A^T + noise^2)^-1 (y - A D) = (v A^T A + noise^2)^-1 A^T (y - A D)."""
    residual = seen.operator.At(seen.y - seen.operator.A(mean))
    out: Tensor = seen.operator.normal(residual, v, seen.noise**2)
    return out
