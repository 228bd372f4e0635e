"""DDRM, and hard consistency with a noised measurement (MCG, ILVR): updates in the singular basis of A.

With lambda an eigenvalue of A^T A, r = sigma / alpha, D the denoiser's output, b = A^+ y, and s the lower
level, DDRM makes x_s / alpha_s from

    lambda        mean                                  standard deviation
    0             D + q r_s / r_t (x_t / alpha_t - D)   eta r_s
    r_s < n       D + q r_s / n (b - D)                 eta r_s
    else          (1 - eta_b) D + eta_b b               sqrt(r_s^2 - eta_b^2 n^2)

with q = sqrt(1 - eta^2) and n = noise / sqrt(lambda) the noise of that coefficient of b,

and MCG and ILVR replace, after every step, the measured part of the state by that of the measurement, noised
to the same level: mean b and standard deviation r_s where lambda > 0. The mean is a steered denoiser and the
noise a shaped one, so a plan runs both.

Sources: Kawar et al. 2022, arXiv:2201.11793, eqs. 7 and 8 (eta .85, eta_b 1); Chung et al. 2022,
arXiv:2206.00941, eqs. 14 and 15 (MCG); Choi et al. 2021, arXiv:2108.02938, eq. 8 (ILVR, whose low-pass filter
is A^+ A here).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.inverse.guided import walk
from core.inverse.plans import Shaped, renoise
from core.inverse.problem import Kind, Problem
from core.plan import Plan, Row, ddim
from core.state import Source
from core.steer import measured
from core.steer.consistency import Steered
from core.steer.measured import rows_of

__all__ = ["DDRM", "ILVR", "MCG"]


@dataclass(frozen=True)
class DDRM:
    """Denoising diffusion restoration.

    Attributes:
        eta: share of fresh noise where nothing, or nothing useful yet, was measured.
        eta_b: trust in the measurement where it is less noisy than the state.
        temperature: factor of all noise; 1 as published. Below 1 the result moves from a sample towards the
            posterior mean (a widely used implementation has 0.707).
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    eta: float = 0.85
    eta_b: float = 1.0
    temperature: float = 1.0
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "ddrm"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = False

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        process, noise = problem.process, problem.seen.noise
        times = problem.times(nfe, low=self.low, high=self.high)
        plan = renoise(process, times, share=self.eta**2)
        old = math.sqrt(1 - self.eta**2)

        def mean(x: Tensor, t: float, row: Row, clean: Tensor, b: Tensor) -> Tensor:
            r_t, r_s = process.ratio(t), process.ratio(row.s)

            def trust(lam: Tensor) -> Tensor:
                weak = r_s * lam.sqrt() < noise
                low = old * r_s * lam.sqrt() / max(noise, 1e-30)
                return torch.where(lam > 0, torch.where(weak, low, self.eta_b), 0.0)

            free = problem.linear.along(x / process.alpha(t) - clean, lambda lam: (lam == 0).to(lam.dtype))
            return clean + old * r_s / r_t * free + problem.linear.along(b - clean, trust)

        def deviation(row: Row) -> Callable[[Tensor], Tensor]:
            r_s = process.ratio(row.s)

            def spread(lam: Tensor) -> Tensor:
                left = r_s**2 - (self.eta_b * noise) ** 2 / lam.clamp_min(1e-30)
                strong = (lam > 0) & (r_s * lam.sqrt() >= noise)
                return self.temperature * torch.where(strong, left.clamp_min(0).sqrt(), self.eta * r_s)

            return spread

        return _walk(problem, problem.prior, plan, mean, deviation, gen)


@dataclass(frozen=True)
class ILVR:
    """Iterative latent refinement: the measured part of every state is that of the noised measurement.

    Attributes:
        eta: noise of the DDIM step between.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    eta: float = 1.0
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "ilvr"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = False

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        plan = ddim(problem.process, problem.times(nfe, low=self.low, high=self.high), eta=self.eta)
        return _replaced(problem, problem.prior, plan, gen)


@dataclass(frozen=True)
class MCG:
    """Manifold-constrained gradients: the gradient step of DPS, then the replacement of ILVR.

    Attributes:
        weight: zeta of `steer.measured.dps`.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    weight: float = 1.0
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "mcg"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = False

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        plan = ddim(problem.process, problem.times(nfe, low=self.low, high=self.high), eta=1.0)
        model = measured.dps(problem.prior, problem.seen, plan, weight=self.weight)
        return _replaced(problem, model, plan, gen)


def _replaced(problem: Problem, model: Any, plan: Plan, gen: Source | None) -> Tensor:
    """Walk a plan whose every state has its measured part replaced by b plus noise of its level."""
    process = problem.process

    def mean(x: Tensor, t: float, row: Row, clean: Tensor, b: Tensor) -> Tensor:
        stepped = (row.keep * x + row.pull[0] * clean) / process.alpha(row.s)
        return stepped + problem.linear.along(b - stepped, lambda lam: (lam > 0).to(lam.dtype))

    def deviation(row: Row) -> Callable[[Tensor], Tensor]:
        level, fresh = process.ratio(row.s), row.fresh / process.alpha(row.s)
        return lambda lam: torch.where(lam > 0, level, fresh)

    return _walk(problem, model, plan, mean, deviation, gen)


def _walk(
    problem: Problem,
    model: Any,
    plan: Plan,
    mean: Callable[[Tensor, float, Row, Tensor, Tensor], Tensor],
    deviation: Callable[[Row], Callable[[Tensor], Tensor]],
    gen: Source | None,
) -> Tensor:
    """Walk a plan to states alpha_s (mean + deviation(A^T A) xi).

    Args:
        mean: (x, t, row, D, b) -> mean of x_s / alpha_s.
        deviation: row -> function of the eigenvalues.
    """
    process, operator = problem.process, problem.linear
    b = operator.pinv(problem.seen.y)
    rows = rows_of(plan)

    def answer(x: Tensor, t: float, cond: Any) -> Tensor:
        row = rows[t]
        want = process.alpha(row.s) * mean(x, t, row, model(x, t, cond).mean, b)
        return (want - row.keep * x) / row.pull[0]

    def draw(row: Row) -> Tensor:
        noise = process.space.noise(b, gen)
        spread = deviation(row)
        scale = process.alpha(row.s) / (row.fresh or 1.0)
        return operator.along(noise, lambda lam: scale * spread(lam))

    return walk(problem, plan, Steered(process, answer), gen, noises=Shaped(plan, draw))
