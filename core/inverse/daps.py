"""DAPS: decoupled annealing. At each level, guess the clean state, draw one that fits, forget the path.

From x_t the probability-flow ODE gives a guess D*; a clean state is drawn from

    p(x_0 given x_t, y)  ~  N(x_0; D*, v I) N(y; A(x_0), noise^2),

and x_s = alpha_s x_0 + sigma_s xi starts the next level. For linear operators the draw is exact (perturb and
solve); others take Langevin steps. The clean state is the answer of a denoiser, so a plan of fresh-noise rows
runs the method; the ODE is itself a plan, walked for each level.

Source: Zhang et al. 2024, arXiv:2407.01521, algorithm 1, with v = sigma^2 / alpha^2 as `variance="level"`.
Deviation: by default v is the variance d^2 r^2 / (d^2 + r^2) that a Gaussian of the data's spread d leaves
open, which tends to d^2, not to infinity, at high noise.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from core.errors import ConfigError
from core.inverse.guided import walk
from core.inverse.linear import Linear
from core.inverse.plans import renoise
from core.inverse.problem import Kind, Problem, misfit
from core.plan import ddim, karras
from core.run import sample
from core.state import Source, randn
from core.steer.consistency import Steered
from core.steer.gradient import gradient
from core.steer.measured import open_variance

__all__ = ["DAPS"]


@dataclass(frozen=True)
class DAPS:
    """Decoupled annealing posterior sampling.

    Attributes:
        ode: evaluations of the ODE per level; nfe / ode levels are walked.
        variance: "open" or "level", see the module.
        langevin: Langevin steps per level, for operators that are not linear.
        step: step of the Langevin chain, as a share of the largest that is stable for a state that the
            measurement does not see, v.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    ode: int = 1
    variance: Literal["open", "level"] = "open"
    langevin: int = 50
    step: float = 0.1
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "daps"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.ode < 1 or self.langevin < 1 or not self.step > 0:
            raise ConfigError(
                f"DAPS needs ode >= 1, langevin >= 1 and step > 0, got {self.ode}, {self.langevin}, "
                f"{self.step}."
            )
        if self.variance not in ("open", "level"):
            raise ConfigError(f"variance must be 'open' or 'level', got '{self.variance}'.")

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        if nfe % self.ode:
            raise ConfigError(
                f"nfe={nfe} is not a multiple of the {self.ode} evaluations of a level.",
                hint="Change nfe, or DAPS(ode=...).",
            )
        process = problem.process
        plan = renoise(process, problem.times(nfe // self.ode, low=self.low, high=self.high), share=1.0)
        low = process.ratio(plan.rows[-1].t)

        def answer(x: Tensor, t: float, cond: Any) -> Tensor:
            ratio = process.ratio(t)
            v = open_variance(process, t, problem.std) if self.variance == "open" else ratio**2
            inner = ddim(process, karras(process, self.ode, low=low / 2, high=ratio))
            guess = sample(inner, problem.prior, x, cond=cond)
            if isinstance(problem.seen.operator, Linear):
                return exact(problem, guess, v, gen)
            return self._langevin(problem, guess, v, gen)

        return walk(problem, plan, Steered(process, answer), gen)

    def _langevin(self, problem: Problem, guess: Tensor, v: float, gen: Source | None) -> Tensor:
        seen = problem.seen
        # The curvature of the data term is at most about 1 / noise^2 (operators with |A| near 1).
        size = self.step / (1 / v + 1 / max(seen.noise, 1e-4) ** 2)
        x = guess
        for _ in range(self.langevin):
            grad, _ = gradient(lambda at: misfit(problem, at), x)
            drift = (x - guess) / v + grad / max(seen.noise, 1e-4) ** 2
            x = x - size * drift + math.sqrt(2 * size) * problem.process.space.noise(x, gen)
        return x


def exact(problem: Problem, guess: Tensor, v: float, gen: Source | None) -> Tensor:
    """Draw from N(guess, v I) given y: draw state and measurement, then correct by their misfit.

    Source: perturb-and-solve, Papandreou & Yuille 2010, NeurIPS 23, section 3.
    """
    seen, operator = problem.seen, problem.linear
    drawn = guess + math.sqrt(v) * problem.process.space.noise(guess, gen)
    y = operator.A(drawn)
    back = operator.At(seen.y - y - seen.noise * randn(y, gen))
    return drawn + v * operator.normal(back, v, seen.noise**2)
