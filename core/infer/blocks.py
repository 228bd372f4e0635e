"""Inference as compositions of blocks, each with a statement about the measure that it denotes.

    block                         statement
    spawn(n)                      the average of n copies means what one copy means
    resample(rule)                the cloud means the same: mean weight times the children's law is unbiased
    advance                       runs every particle to its next observation; the whole means the same
    smc(n, rule)                  composed of these: the model's unnormalised measure, for every n
    mh(propose, ratio)            if min(1, ratio(x, y)) k(x, dy) pi(dx) is symmetric, pi is invariant
    move(kernel)                  a kernel that leaves the current target invariant leaves the cloud's meaning
    hoist(f)                      a transformation that keeps meanings may be applied to every stage

Programs take the interpreter as their argument: under `Exact` a program is a measure, so that the statements
are checked by equality of fractions; under `Sample` it is a batch of draws.

Sources: Scibior et al. 2018, arXiv:1711.03219, sections 4 to 6; Green 1995, Biometrika 82(4), eq. 7.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.infer.exact import Cloud, Kernel, Populations, Program
from core.infer.laws import Rule

__all__ = [
    "Sequential",
    "advance",
    "green_ratio",
    "hoist",
    "meaning",
    "mh",
    "move",
    "resample",
    "smc",
    "spawn",
]


@dataclass(frozen=True)
class Sequential:
    """A model that pauses at each observation: a first program, then kernels from state to state.

    Each stage ends with the observation that it scores. The state is the value, so paused programs can be
    compared, merged and copied.
    """

    first: Program
    stages: tuple[Kernel, ...] = ()

    def then(self, *stages: Kernel) -> "Sequential":
        """The model that goes on with these stages."""
        return Sequential(self.first, (*self.stages, *stages))

    def upto(self, k: int) -> "Sequential":
        """The model paused after its first k stages."""
        return Sequential(self.first, self.stages[:k])

    def pauses(self, m: Any) -> Iterator[Any]:
        """The program at each observation; the last is the whole."""
        program = self.first(m)
        yield program
        for stage in self.stages:
            program = m.bind(program, lambda value, stage=stage: stage(m, value))
            yield program

    def __call__(self, m: Any) -> Any:
        """The whole model as one program."""
        *_, program = self.pauses(m)
        return program


def spawn(m: Populations, n: int, program: Program) -> Any:
    """n independent runs as a cloud."""
    return m.spawn(n, program)


def resample(m: Populations, cloud: Cloud, rule: Rule = "systematic") -> Any:
    """Draw children by weight; what the weights had in common is scored, so that equal clouds are equal."""
    return m.bind(
        m.reparent(cloud, rule), lambda found: m.bind(m.score(found[1]), lambda _: m.unit(found[0]))
    )


def advance(m: Populations, cloud: Cloud, stage: Kernel) -> Any:
    """Run every particle to its next pause."""
    return m.each(cloud, stage)


def move(m: Populations, cloud: Cloud, kernel: Kernel) -> Any:
    """Move every particle by a kernel that leaves the current target invariant."""
    return m.each(cloud, kernel)


def smc(
    m: Populations,
    model: Sequential,
    n: int,
    rule: Rule = "systematic",
    moves: Callable[[int], Kernel] | None = None,
) -> Any:
    """Sequential Monte Carlo: spawn, then resample, perhaps move, and advance at every stage.

    Args:
        model: what pauses at each observation.
        n: particles.
        rule: how to resample.
        moves: stage number k -> a kernel that leaves the model paused before stage k invariant.
    """
    clouds = spawn(m, n, model.first)
    for k, stage in enumerate(model.stages):
        clouds = m.bind(clouds, partial(resample, m, rule=rule))
        if moves is not None:
            clouds = m.bind(clouds, partial(move, m, kernel=moves(k)))
        clouds = m.bind(clouds, partial(advance, m, stage=stage))
    return clouds


def meaning(m: Populations, clouds: Any) -> Any:
    """What a program of clouds means: one value of the cloud, drawn evenly and scored by its weight."""
    return m.bind(clouds, m.average)


def mh(propose: Kernel, ratio: Callable[[Any, Any], Any]) -> Kernel:
    """Metropolis-Hastings: propose y from x, go there with probability min(1, ratio(x, y)).

    Args:
        propose: the kernel k.
        ratio: r with min(1, r(x, y)) k(x, dy) pi(dx) symmetric; see `green_ratio`.
    """
    return lambda m, x: m.bind(propose(m, x), lambda y: m.flip(ratio(x, y), y, x))


def green_ratio(
    density: Callable[[Any], Any], proposal: Callable[[Any, Any], Any], volume: Callable[[Any], Any]
) -> Callable[[Any, Any], Any]:
    """The Metropolis-Hastings-Green ratio, of values or of batches of them.

    Args:
        density: pi at x relative to the reference measure of x's own space.
        proposal: (x, y) -> probability of proposing y from x.
        volume: mass that the reference measure gives to x. Between spaces of unlike size or dimension
            volume(y) / volume(x) is the factor that a Jacobian is for smooth maps.

    Returns:
        (x, y) -> pi(y) volume(y) k(y, x) / (pi(x) volume(x) k(x, y)), and 1 where x has no mass.
    """

    def ratio(x: Any, y: Any) -> Any:
        there = density(y) * volume(y) * proposal(y, x)
        here = density(x) * volume(x) * proposal(x, y)
        if isinstance(here, Tensor):
            return torch.where(here > 0, there / here, 1.0)
        return there / here if here else 1

    return ratio


def hoist(f: Callable[[Program], Program], model: Sequential) -> Sequential:
    """Apply a transformation of programs to every stage of a model.

    If f keeps the meaning of each program, the model keeps its own: f(bind(p, k)) and bind(f(p), f after k)
    mean the same.
    """

    def each(stage: Kernel) -> Kernel:
        return lambda m, value: f(lambda inner: stage(inner, value))(m)

    return Sequential(f(model.first), tuple(each(stage) for stage in model.stages))
