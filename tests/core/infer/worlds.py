"""Random finite models for the typed library: rational laws with zeros, and programs made of blocks."""

from fractions import Fraction as F
from functools import partial
from typing import Any

from hypothesis import strategies as st

from core.infer import LAWS, Exact, Factor, Kernel, Measure, Program, Sequential, Table
from core.infer.blocks import advance, green_ratio, meaning, mh, move, resample, smc, spawn

RULES = st.sampled_from(sorted(LAWS))


@st.composite
def laws(draw: st.DrawFn, size: int) -> list[F]:
    """Rationals that sum to one, some of them zero."""
    weights = draw(st.lists(st.integers(0, 4), min_size=size, max_size=size).filter(any))
    return [F(w, sum(weights)) for w in weights]


@st.composite
def tables(draw: st.DrawFn, size: int) -> Table:
    return Table.of(*(draw(laws(size)) for _ in range(size)))


@st.composite
def factors(draw: st.DrawFn, size: int) -> Factor:
    """Potentials, zero for some values and above one for others."""
    return Factor.of(*(F(draw(st.integers(0, 4)), 3) for _ in range(size)))


def stage(table: Table, factor: Factor) -> Kernel:
    return lambda m, x: m.bind(m.choose(table, x), lambda y: m.bind(m.score(factor, y), lambda _: m.unit(y)))


@st.composite
def models(draw: st.DrawFn, *, most: int = 3) -> tuple[int, Sequential]:
    """Size of the state space, and a model of up to `most` stages on it."""
    size = draw(st.integers(2, 3))
    first, weigh = Table.of(draw(laws(size))), draw(factors(size))

    def program(m: Any) -> Any:
        return m.bind(m.choose(first), lambda x: m.bind(m.score(weigh, x), lambda _: m.unit(x)))

    stages = [stage(draw(tables(size)), draw(factors(size))) for _ in range(draw(st.integers(0, most)))]
    return size, Sequential(program, tuple(stages))


def invariant(target: Measure, table: Table) -> Kernel:
    """A Metropolis-Hastings kernel of a measure on integers, with any proposal."""
    return mh(partial(proposal, table), green_ratio(target.__getitem__, table.chance, lambda x: 1))


def proposal(table: Table, m: Any, x: Any) -> Any:
    return m.choose(table, x)


def averaged(program: Program, n: int) -> Program:
    """Many runs, of which one is taken."""
    return lambda m: meaning(m, spawn(m, n, program))


def resampled(program: Program, n: int, rule: Any) -> Program:
    return lambda m: meaning(m, m.bind(spawn(m, n, program), lambda cloud: resample(m, cloud, rule)))


def moved(program: Program, table: Table) -> Program:
    kernel = invariant(program(Exact()), table)
    return lambda m: m.bind(program(m), lambda x: kernel(m, x))


def filtered(program: Program, n: int, rule: Any) -> Program:
    """The program as a population of populations."""
    return lambda m: meaning(m, smc(m, Sequential(program, (lambda m, x: m.unit(x),)), n, rule))


@st.composite
def rewritten(draw: st.DrawFn, size: int, program: Program) -> tuple[list[str], Program]:
    """A program under one to four blocks, each of which should leave its meaning alone.

    Populations of populations grow fast, so at most two of the blocks resample.
    """
    names = draw(st.lists(st.sampled_from(["spawn", "move", "resample", "smc"]), min_size=1, max_size=4))
    heavy = [k for k, name in enumerate(names) if name in ("resample", "smc")]
    names = ["move" if k in heavy[2:] else name for k, name in enumerate(names)]
    for name in names:
        n = draw(st.integers(1, 2))
        if name == "spawn":
            program = averaged(program, n)
        elif name == "move":
            program = moved(program, draw(tables(size)))
        elif name == "resample":
            program = resampled(program, n, draw(RULES))
        else:
            program = filtered(program, n, draw(RULES))
    return names, program


@st.composite
def walked(draw: st.DrawFn, size: int, model: Sequential) -> tuple[list[str], Program, Program]:
    """A cloud led through up to four random blocks, and the plain program of the stages among them."""
    n = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from(["resample", "advance", "move"]), min_size=1, max_size=4))
    plain, steps = Sequential(model.first), []
    for name in names:
        if name == "advance":
            one = stage(draw(tables(size)), draw(factors(size)))
            steps.append(partial(_advance, one))
            plain = plain.then(one)
        elif name == "move":
            steps.append(partial(_move, invariant(plain(Exact()), draw(tables(size)))))
        else:
            steps.append(partial(_resample, draw(RULES)))

    def program(m: Any) -> Any:
        clouds = spawn(m, n, model.first)
        for step in steps:
            clouds = m.bind(clouds, partial(step, m))
        return meaning(m, clouds)

    return names, program, plain


def _advance(one: Kernel, m: Any, cloud: Any) -> Any:
    return advance(m, cloud, one)


def _move(kernel: Kernel, m: Any, cloud: Any) -> Any:
    return move(m, cloud, kernel)


def _resample(rule: Any, m: Any, cloud: Any) -> Any:
    return resample(m, cloud, rule)
