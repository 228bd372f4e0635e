"""Steering methods on worlds whose steered law is exact: clouds, distances to the truth, calls."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from apps.core_demo.worlds import RARE, WANTED, WEIGHTS, pair, ring
from core.analytic import Mixture
from core.infer.fk import fk_sample
from core.infer.potentials import ratio
from core.infer.twist import twist, twisted
from core.inverse.operators import Matrix
from core.metrics import sliced_wasserstein
from core.plan import ancestral, ddim, karras
from core.process import Karras
from core.progress import Progress, silent
from core.run import sample
from core.steer.compose import both, log_composed
from core.steer.guidance import classifier
from core.steer.measured import Observation, log_likelihood, pigdm
from core.steer.superpose import And, Or, superpose

__all__ = ["Case", "cases"]

PROCESS = Karras(0.01, 20.0)
STEPS = 100
DIRECTION, SEEN, NOISE = (0.8, 0.6), 0.9, 0.3


@dataclass(frozen=True)
class Case:
    """One method on one world.

    Attributes:
        name, question: what is shown, in a few words each.
        exact: exact samples of the steered law; None where the method aims at no density.
        steered: what the method made.
        sw2, floor: distance to the exact samples, and of two sets of those.
        calls: network calls of the run; each is over all samples.
    """

    name: str
    question: str
    exact: Tensor | None
    steered: Tensor
    sw2: float | None
    floor: float | None
    calls: int


def cases(*, n: int = 2000, seed: int = 0, progress: Progress = silent) -> list[Case]:
    """Run every method once with n samples."""
    runs = (
        _guided,
        _minority,
        _or,
        _and_levels,
        _and_plain,
        _and_exact,
        _measured,
        _measured_particles,
    )
    found = []
    for index, run in enumerate(runs):
        found.append(run(n, torch.Generator().manual_seed(seed)))
        progress("steering", index + 1, len(runs), found[-1].name)
    return found


def _start(n: int, gen: torch.Generator) -> Tensor:
    return PROCESS.sigma_max * torch.randn(n, 2, generator=gen, dtype=torch.float64)


def _case(name: str, question: str, target: Mixture, x: Tensor, calls: int, gen: torch.Generator) -> Case:
    exact, again = target.sample(len(x), gen), target.sample(len(x), gen)
    distance = sliced_wasserstein(x, exact)
    return Case(name, question, exact, x, distance, sliced_wasserstein(exact, again), calls)


def _log_class(mix: Mixture, wanted: tuple[int, ...], x: Tensor, t: float) -> Tensor:
    """Exact log p(component in wanted | x_t), (B,)."""
    part = _part(mix, wanted)
    share = float(mix.weights[list(wanted)].sum())
    alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
    return part.log_prob(x, alpha, sigma) + torch.tensor(share).log() - mix.log_prob(x, alpha, sigma)


def _part(mix: Mixture, wanted: tuple[int, ...]) -> Mixture:
    index = list(wanted)
    return replace(mix, weights=mix.weights[index], means=mix.means[index], covs=mix.covs[index])


def _guided(n: int, gen: torch.Generator) -> Case:
    mix = ring().under(PROCESS)
    plan = ddim(PROCESS, karras(PROCESS, STEPS))
    model = classifier(mix, partial(_log_class, mix, WANTED))
    x = sample(plan, model, _start(n, gen))
    return _case("classifier guidance", "two of eight blobs", _part(mix, WANTED), x, plan.evaluations, gen)


def _minority(n: int, gen: torch.Generator) -> Case:
    mix = ring(WEIGHTS).under(PROCESS)
    plan = ddim(PROCESS, karras(PROCESS, STEPS))
    model = classifier(mix, partial(_log_class, mix, RARE))
    x = sample(plan, model, _start(n, gen))
    return _case("minority guidance", "the 5 % in four blobs", _part(mix, RARE), x, plan.evaluations, gen)


def _both() -> tuple[Mixture, Mixture]:
    first, second = pair()
    return first.under(PROCESS), second.under(PROCESS)


def _or(n: int, gen: torch.Generator) -> Case:
    models = _both()
    times = karras(PROCESS, STEPS)[:-1]
    plan = ancestral(PROCESS, times)
    found = superpose(plan, models, _start(n, gen), gen, rule=Or())
    union = Mixture(
        torch.cat([m.weights / 2 for m in models]),
        torch.cat([m.means for m in models]),
        torch.cat([m.covs for m in models]),
    )
    return _case("superposition, OR", "either of two models", union, found.x, 2 * plan.evaluations, gen)


def _and_levels(n: int, gen: torch.Generator) -> Case:
    plan = ancestral(PROCESS, karras(PROCESS, STEPS)[:-1])
    found = superpose(plan, _both(), _start(n, gen), gen, rule=And())
    return Case(
        "superposition, AND",
        "where two models agree",
        None,
        found.x,
        None,
        None,
        2 * plan.evaluations,
    )


def _log_of(mix: Mixture, x: Tensor, t: float) -> Tensor:
    return mix.log_prob(x, PROCESS.alpha(t), PROCESS.sigma(t))


def _and_plain(n: int, gen: torch.Generator) -> Case:
    first, second = _both()
    plan = ancestral(PROCESS, karras(PROCESS, STEPS))
    x = sample(plan, both(first, second), _start(n, gen), gen)
    target = first.product(second)
    return _case("AND, scores added", "both models at once", target, x, 2 * plan.evaluations, gen)


def _and_exact(n: int, gen: torch.Generator) -> Case:
    first, second = _both()
    plan = ancestral(PROCESS, karras(PROCESS, STEPS)[:-1])
    high = PROCESS.sigma(plan.start)
    start = _start(n, gen)
    potential = ratio(
        PROCESS,
        log_composed([partial(_log_of, first), partial(_log_of, second)]),
        log_start=lambda x, t: -(x**2).sum(1) / (2 * high**2),
    )
    found = fk_sample(plan, both(first, second), potential, start, gen)
    target = first.product(second)
    return _case("AND, Feynman-Kac", "both models at once", target, found.even(gen), 2 * found.calls, gen)


def _observation(n: int) -> tuple[Tensor, Tensor, Observation, Mixture]:
    a, y = torch.tensor([DIRECTION], dtype=torch.float64), torch.tensor([SEEN], dtype=torch.float64)
    target = ring().condition(a, y, NOISE**2 * torch.eye(1, dtype=torch.float64))
    return a, y, Observation(Matrix(a), y.expand(n, 1), NOISE), target


def _measured(n: int, gen: torch.Generator) -> Case:
    mix = ring().under(PROCESS)
    _, _, seen, target = _observation(n)
    plan = ancestral(PROCESS, karras(PROCESS, STEPS))
    x = sample(plan, pigdm(mix, seen, data_std=mix.data_std), _start(n, gen), gen)
    return _case("measured, by gradient", "one noisy projection", target, x, plan.evaluations, gen)


def _measured_particles(n: int, gen: torch.Generator) -> Case:
    mix = ring().under(PROCESS)
    a, y, seen, target = _observation(n)
    plan = ancestral(PROCESS, karras(PROCESS, STEPS + 1)[:-1])
    model = twist(mix, log_likelihood(PROCESS, seen, data_std=mix.data_std))
    potential = twisted(PROCESS, lambda x: -((x @ a.T - y) ** 2).sum(1) / (2 * NOISE**2))
    found = fk_sample(plan, model, potential, _start(n, gen), gen)
    return _case("measured, Feynman-Kac", "one noisy projection", target, found.even(gen), found.calls, gen)
