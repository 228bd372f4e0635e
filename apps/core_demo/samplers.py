"""Twelve samplers on one exact denoiser: distance to exact samples against calls of the network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from apps.core_demo.worlds import ring
from core.metrics import sliced_wasserstein
from core.plan import (
    Plan,
    adams,
    ancestral,
    corrected,
    ddim,
    default,
    dpmpp,
    euler,
    euler_maruyama,
    heun,
    karras,
    log,
    reverse_diffusion,
    rk4,
)
from core.process import VE, Karras
from core.progress import Progress, silent
from core.run import sample

__all__ = ["BUDGETS", "SAMPLERS", "Curve", "curves"]

BUDGETS = (5, 10, 20, 40, 80)
EDM = Karras()
SDE = VE(0.002, 80.0)  # the clock in which the published SDE steps are small
STD = ring().data_std

# Plans of n calls; rules with several calls a step, or a corrector after it, take fewer steps.
SAMPLERS: dict[str, Callable[[int], Plan]] = {
    "default (Adams-Bashforth 3)": lambda n: default(EDM, n, data_std=STD),
    "Adams-Bashforth 2, log grid": lambda n: adams(EDM, log(EDM, n), data_std=STD, order=2),
    "DPM-Solver++ 2M": lambda n: dpmpp(EDM, karras(EDM, n)),
    "DDIM": lambda n: ddim(EDM, karras(EDM, n)),
    "DDIM, eta 0.5": lambda n: ddim(EDM, karras(EDM, n), eta=0.5),
    "Euler in sigma, log grid": lambda n: euler(EDM, log(EDM, n)),
    "Heun": lambda n: heun(EDM, karras(EDM, max(1, n // 2))),
    "Runge-Kutta 4": lambda n: rk4(EDM, log(EDM, max(1, n // 4))),
    "DPM-Solver++ SDE": lambda n: dpmpp(EDM, karras(EDM, n), eta=1.0),
    "ancestral": lambda n: ancestral(EDM, karras(EDM, n)),
    "Euler-Maruyama": lambda n: euler_maruyama(SDE, log(SDE, n)),
    "predictor-corrector": lambda n: corrected(reverse_diffusion(SDE, log(SDE, max(1, n // 2))), SDE),
}


@dataclass(frozen=True)
class Curve:
    """One sampler: calls made and the distance reached, budget by budget."""

    name: str
    stochastic: bool
    calls: tuple[int, ...]
    sw2: tuple[float, ...]


def curves(
    *, n: int = 2000, seed: int = 0, progress: Progress = silent
) -> tuple[list[Curve], float, torch.Tensor]:
    """Run every sampler at every budget on the ring.

    Args:
        n: samples per run; all runs of a seed share their start.

    Returns:
        The curves, the floor (distance of two sets of n exact samples), and samples of the default at 10
        calls.
    """
    mix = ring()
    gen = torch.Generator().manual_seed(seed)
    start = torch.randn(n, 2, generator=gen, dtype=torch.float64)
    truth, again = mix.sample(n, gen), mix.sample(n, gen)
    found, shown = [], truth
    for index, (name, build) in enumerate(SAMPLERS.items()):
        calls, distances, stochastic = [], [], False
        for budget in BUDGETS:
            plan = build(budget)
            process = SDE if name in ("Euler-Maruyama", "predictor-corrector") else EDM
            x = sample(plan, mix.under(process), process.sigma(plan.start) * start, gen)
            stochastic = plan.stochastic
            calls.append(plan.evaluations)
            distances.append(sliced_wasserstein(x, truth) if bool(x.isfinite().all()) else float("inf"))
            if index == 0 and budget == 10:
                shown = x
        found.append(Curve(name, stochastic, tuple(calls), tuple(distances)))
        progress("samplers", index + 1, len(SAMPLERS), name)
    return found, sliced_wasserstein(truth, again), shown
