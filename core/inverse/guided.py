"""DPS, PiGDM and DiffPIR: steered denoisers walked by the executor.

    method   steered by           plan                           defaults (published)
    dps      residual's norm      ancestral                      zeta 1 (0.1 for inpainting)
    pigdm    likelihood score     DDIM, eta 1                    weight 1, data_std 1
    diffpir  proximal step        renoise, zeta                  lambda 7 / 4, zeta 0.1

All draw samples and call the network once per evaluation; dps and pigdm also go back through it. Deviations:
`pigdm` uses the standard deviation of the prior's data, since 1 is right for unit variance only, and bounds
its moves. Noise levels follow the Karras grid in place of the schedules of the papers' own models. The
published lambda 7 of DiffPIR divides noise in units of [0, 1] by levels in units of [-1, 1]; in one unit it
is 7 / 4.

Sources: Chung et al. 2023, arXiv:2209.14687, algorithm 1; Song et al. 2023 (ICLR, pseudoinverse-guided
diffusion), algorithm 1; Zhu et al. 2023, arXiv:2305.08995, algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from core.errors import ConfigError
from core.inverse.plans import renoise
from core.inverse.problem import Kind, Problem
from core.plan import Plan, ddim
from core.run import sample
from core.state import Source
from core.steer import measured
from core.steer.consistency import Steered

__all__ = ["DPS", "DiffPIR", "PiGDM"]


@dataclass(frozen=True)
class DPS:
    """Diffusion posterior sampling.

    Attributes:
        weight: zeta, the move of a state of unit variance per unit of the gradient of |y - A(D)|.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    weight: float = 1.0
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "dps"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = True

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        plan = ddim(problem.process, problem.times(nfe, low=self.low, high=self.high), eta=1.0)
        model = measured.dps(problem.prior, problem.seen, plan, weight=self.weight)
        return walk(problem, plan, model, gen)


@dataclass(frozen=True)
class PiGDM:
    """Pseudo-inverse guided diffusion.

    Attributes:
        weight: factor of the likelihood score.
        eta: noise of the DDIM step.
        data_std: d of `steer.measured.pigdm`; that of the prior by default, 1 as published.
        reach: bound of a move, in multiples of the one that fits the measurement best.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    weight: float = 1.0
    eta: float = 1.0
    data_std: float | None = None
    reach: float = 3.0
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "pigdm"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = False

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        plan = ddim(problem.process, problem.times(nfe, low=self.low, high=self.high), eta=self.eta)
        std = problem.std if self.data_std is None else self.data_std
        model = measured.pigdm(
            problem.prior, problem.seen, data_std=std, weight=self.weight, reach=self.reach
        )
        return walk(problem, plan, model, gen)


@dataclass(frozen=True)
class DiffPIR:
    """Plug-and-play restoration: a proximal step of the data term after each denoising.

    Attributes:
        strength: lambda; the step minimises |y - A x|^2 + lambda noise^2 / ratio^2 |x - D|^2.
        share: zeta, share of fresh noise in each step.
        low, high: smallest and largest noise-to-signal ratio; the ends of the process by default.
    """

    strength: float = 1.75
    share: float = 0.1
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "diffpir"
    kind: ClassVar[Kind] = "sample"
    nonlinear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ConfigError(f"lambda must be positive, got {self.strength}.")

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        process = problem.process
        plan = renoise(process, problem.times(nfe, low=self.low, high=self.high), share=self.share)
        model = measured.explicit(
            problem.prior, problem.seen, lambda t: process.ratio(t) ** 2 / self.strength
        )
        return walk(problem, plan, model, gen)


def walk(
    problem: Problem,
    plan: Plan,
    model: Steered,
    gen: Source | None,
    *,
    noises: object = None,
) -> Tensor:
    """Draw the noise end of the process and walk the plan."""
    start = problem.process.prior(problem.like(), gen, plan.start)
    out: Tensor = sample(plan, model, start, gen, problem.cond, noises=noises)  # type: ignore[arg-type]
    return out
