"""Log densities of several models along one stochastic trajectory, with no divergence of any network.

In the units of `core.density.moves` (move m, score z, rho = r_s / r_t, d degrees of freedom) one step from t
to s changes log q by

    Ito            <m, z> - |z|^2 / 2
    kernel ratio   |m|^2 / 2 - |m - z|^2 / (2 rho^2) - d log rho

(and both by -d log(alpha_s / alpha_t), from y back to x). The first is Ito's rule: the Laplacian of log q in
the Fokker-Planck equation and that of the rule cancel when the trajectory has the diffusion of the process,
so its drift may be anything. The second is Bayes' rule, log q(x_s | x_t) - log q(x_t | x_s), with the reverse
kernel taken to be the Gaussian q(x_s | x_t, x_0 = D). Both read the posterior mean D of each model at the
start of the step and nothing else: one call per model and step. At finite steps the first is too low and the
second too high in the mean along a trajectory of the same model, both by O(1 / n): together a bracket.

A row must carry the noise of the reverse process: its variance over q lies between rho^2 (ancestral) and
rho^-2. Rows with less, such as DDIM with eta < 1, would need the Laplacian, and are refused.

Sources: Skreta et al. 2024, arXiv:2412.17762 (the Ito density estimator); Karczewski et al. 2024,
arXiv:2411.01293. The kernel ratio is the bound of Sohl-Dickstein et al. 2015, arXiv:1503.03585, section 2.4,
read along one path.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.density.moves import Part, flat, move_of, parts_of, score_of_part
from core.errors import ConfigError
from core.plan.table import JointRow, Plan, Row
from core.process.product import Product
from core.run import Step, steps
from core.state import Source, State, leaves

__all__ = ["PathDensity", "PathPoint", "check_noise", "follow", "path_density", "prior_log_prob"]


class PathPoint(NamedTuple):
    """What is known at the end of a step.

    Attributes:
        ito, ratio: the two estimates of log q_i at `step.next`, (M, B), nats, float64.
        calls: calls of the models so far, beyond the run's own.
    """

    step: Step
    ito: Tensor
    ratio: Tensor
    calls: int


@dataclass(frozen=True)
class PathDensity:
    """End of a followed run.

    Attributes:
        x: the final state.
        ito, ratio: estimates of log q_i(x), (M, B), nats; low and high in the mean over a model's own runs.
        calls: calls of all models, the run's own included.
    """

    x: Any
    ito: Tensor
    ratio: Tensor
    calls: int

    @property
    def middle(self) -> Tensor:
        """Mean of the two, whose errors of order 1 / n partly cancel, (M, B)."""
        return (self.ito + self.ratio) / 2


def path_density(
    plan: Plan,
    denoiser: Denoiser,
    x: State,
    gen: Source | None,
    *,
    models: Sequence[Denoiser] | None = None,
    start: Tensor | None = None,
    cond: Any = None,
    noises: Sequence[State] | None = None,
) -> PathDensity:
    """Run a plan and read every model's log density along the trajectory.

    Args:
        plan: linear rows with the noise of the reverse process, ending at positive noise.
        denoiser: what drives the run.
        models: whose densities are read; the driving one by default. A model that is the driving one costs
            no further call; conditions of one model are bound with `core.steer.guidance.given`.
        start: log q_i at x, (M, B); N(0, sigma^2 I) by default.
        cond, noises: as for `core.run.steps`; the condition reaches the driving denoiser only.
    """
    models = (denoiser,) if models is None else tuple(models)
    with torch.no_grad():
        run = steps(plan, denoiser, x, gen, cond, noises=noises)
        *_, point = follow(run, models, x, start=start, driver=denoiser)
    return PathDensity(point.step.next, point.ito, point.ratio, plan.evaluations + point.calls)


def follow(
    run: Iterable[Step],
    models: Sequence[Denoiser],
    x: State,
    *,
    start: Tensor | None = None,
    driver: Denoiser | None = None,
) -> Iterator[PathPoint]:
    """Pass the steps of a run on, each with the models' log densities at its end.

    Args:
        run: what `core.run.steps` yields.
        models: whose densities are read, all of one process.
        x: the state that the run begins with.
        start: log q_i at x, (M, B); N(0, sigma^2 I) by default.
        driver: the run's denoiser; its answers are read from the steps.

    Raises:
        ConfigError: a row has no density along it (see `moves.parts_of`), or the wrong noise.
    """
    if not models:
        raise ConfigError("following a run needs at least one model, got none.")
    process = models[0].process
    ito = ratio = start
    calls = 0
    for step in run:
        row: Any = step.row
        parts = parts_of(process, row, step.x)
        for part in parts:
            check_noise(part)
        if ito is None or ratio is None:
            ito = ratio = prior_log_prob(process, x, row.t).expand(len(models), -1)
        means = []
        for model in models:
            own = model is driver
            calls += not own
            means.append(step.posterior.mean if own else model(step.x, row.t).mean)
        low, high = zip(*(_changes(part, step, means) for part in parts), strict=True)
        ito, ratio = ito + sum(low), ratio + sum(high)
        yield PathPoint(step, ito, ratio, calls)


def _changes(part: Part, step: Step, means: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Both estimates of the change of log q_i over a step, (M, B)."""
    move = move_of(part, part.of(step.x), part.of(step.next)).to(torch.float64)
    score = score_of_part(part, part.of(step.x), [part.of(mean) for mean in means]).to(torch.float64)
    ito = (move * score).sum(-1) - score.square().sum(-1) / 2
    miss = (move - score).square().sum(-1) / part.rho**2
    ratio = move.square().sum(-1) / 2 - miss / 2 - part.dim * math.log(part.rho)
    return ito + part.shift, ratio + part.shift


def check_noise(part: Part) -> None:
    """Refuse a row whose noise is not that of the reverse process."""
    row = part.row
    share = (row.fresh / part.process.alpha(row.s)) ** 2 / part.removed if part.removed > 0 else math.nan
    if not part.rho**2 * (1 - 1e-9) <= share <= (1 + 1e-9) / part.rho**2:
        raise ConfigError(
            f"the row at t={row.t:.4g} draws {share:.3g} times the squared noise that it removes; densities "
            f"along a path need {part.rho**2:.3g} to {1 / part.rho**2:.3g}.",
            hint="Use ancestral, dpmpp with eta=1, euler_maruyama or reverse_diffusion.",
        )


def prior_log_prob(process: Any, x: Any, t: float) -> Tensor:
    """Log density at x of the noise alone at time t, (B,), nats."""
    named = process.parts.items() if isinstance(process, Product) else [(None, process)]
    line = {name: Row(t, t, 1.0, (0.0,)) for name, _ in named}
    row: Any = line[None] if None in line else JointRow(t, t, line)  # type: ignore[arg-type]
    total = next(leaves(x)).new_zeros((), dtype=torch.float64)
    for part in parts_of(process, row, x):
        variance = part.process.sigma(t) ** 2
        square = (part.root * flat(part.of(x))).to(torch.float64).square().sum(1)
        total = total - (square / variance + part.dim * math.log(2 * math.pi * variance)) / 2
    return total
