"""Metropolis-Hastings-Green by its transition matrix: detailed balance to zero error (C24)."""

from collections.abc import Callable
from fractions import Fraction as F
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.infer import (
    Exact,
    Factor,
    Kernel,
    LogWeight,
    Measure,
    Program,
    Sample,
    Table,
    Trace,
    Traced,
    trace_mh,
    traces,
)
from core.infer.blocks import green_ratio, mh
from tests.core.infer.worlds import factors, laws, models, proposal, tables
from tests.fixtures.tinyhmm import posterior, tinyhmm

EXACT = Exact()
FEW = settings(max_examples=60, deadline=None, derandomize=True)
SIZES = (2, 3)
VALUES = range(sum(SIZES))  # 0 and 1 lie in the first space, 2, 3 and 4 in the second


def volume(x: int) -> F:
    """Mass of a value under the uniform law of its own space."""
    return F(1, SIZES[0] if x < SIZES[0] else SIZES[1])


def imbalance(target: Measure, kernel: Kernel) -> F:
    """Largest |pi(x) K(x, y) - pi(y) K(y, x)| over all pairs of the target's support."""
    rows = {x: kernel(EXACT, x) for x, _ in target}
    assert all(row.total == 1 for row in rows.values())
    return max(
        (abs(target[x] * rows[x][y] - target[y] * rows[y][x]) for x, y in product(rows, rows)), default=F(0)
    )


def between(density: Factor, table: Table, size: Callable[[Any], Any]) -> tuple[Measure, Kernel]:
    """A target on both spaces, by its density on each, and the kernel that is given these volumes."""
    target = Measure.of((x, density[x] * volume(x)) for x in VALUES)
    return target, mh(partial(proposal, table), green_ratio(density.__getitem__, table.chance, size))


@FEW
@given(st.integers(2, 4).flatmap(lambda n: st.tuples(laws(n), tables(n))))
def test_every_proposal_is_balanced_on_a_finite_space(drawn: Any) -> None:
    law, table = drawn
    target = Table.of(law).law()
    kernel = mh(partial(proposal, table), green_ratio(target.__getitem__, table.chance, lambda x: 1))
    assert imbalance(target, kernel) == 0
    assert EXACT.bind(target, lambda x: kernel(EXACT, x)) == target


@FEW
@given(factors(5), tables(5))
def test_moves_between_spaces_of_two_and_three_values_are_balanced(density: Factor, table: Table) -> None:
    target, kernel = between(density, table, volume)
    assert imbalance(target, kernel) == 0
    assert EXACT.bind(target, lambda x: kernel(EXACT, x)) == target


EVEN = Table.of(*([F(1, 5)] * 5 for _ in VALUES))
DENSITY = Factor.of(1, 2, F(1, 2), 1, 3)


def test_leaving_out_the_dimension_factor_is_caught() -> None:
    target, right = between(DENSITY, EVEN, volume)
    _, wrong = between(DENSITY, EVEN, lambda x: 1)
    assert imbalance(target, right) == 0
    assert imbalance(target, wrong) == F(1, 15)  # from 1 to 4: 1/5 (1 - 2/3)
    assert EXACT.bind(target, lambda x: wrong(EXACT, x)) != target


def test_the_ratio_upside_down_is_caught() -> None:
    ratio = green_ratio(DENSITY.__getitem__, EVEN.chance, volume)
    target, _ = between(DENSITY, EVEN, volume)
    assert imbalance(target, mh(partial(proposal, EVEN), lambda x, y: ratio(y, x))) > 0


def growing(law: list[F], table: Table, weigh: Factor) -> Program:
    """A value decides how many more are drawn: traces of one to three choices."""

    def program(m: Any) -> Any:
        def grow(k: int, last: Any) -> Any:
            if not k:
                return m.bind(m.score(weigh, last), lambda _: m.unit(last))
            return m.bind(m.choose(table, last), lambda x: grow(k - 1, x))

        return m.bind(m.choose(Table.of(law)), lambda k: grow(int(k), k))

    return program


@settings(max_examples=20, deadline=None, derandomize=True)
@given(laws(3), tables(3), factors(3))
def test_regenerating_the_end_of_a_trace_is_balanced(law: list[F], table: Table, weigh: Factor) -> None:
    program = growing(law, table, weigh)
    target = traces(EXACT, program)
    assert target.map(lambda trace: trace.value) == program(EXACT)
    assert imbalance(target, trace_mh(program)) == 0
    assert EXACT.bind(target, lambda x: trace_mh(program)(EXACT, x)) == target


def test_leaving_out_the_lengths_of_traces_is_caught() -> None:
    program = growing([F(1, 3)] * 3, Table.of(*([F(1, 3)] * 3 for _ in range(3))), Factor.of(1, 2, 3))

    def propose(m: Any, x: Trace) -> Any:
        traced, n = Traced(m), len(x.choices)
        return m.bind(
            m.choose(Table.of([F(1, n)] * n)), lambda cut: traced.run(program(traced), x.choices[:cut])
        )

    wrong = mh(propose, lambda x, y: y.weight / x.weight)
    target = traces(EXACT, program)
    assert imbalance(target, trace_mh(program)) == 0
    assert imbalance(target, wrong) == F(1, 54)
    assert EXACT.bind(target, lambda x: wrong(EXACT, x)) != target


@FEW
@given(models())
def test_a_trace_replays_to_itself_and_extends_where_the_script_ends(drawn: Any) -> None:
    _, model = drawn
    traced = Traced(EXACT)
    for trace, _ in traces(EXACT, model):
        assert traced.run(model(traced), trace.choices) == EXACT.unit(trace)
        longer = traced.run(model(traced), trace.choices[:1])
        assert longer.total == 1
        assert all(found.choices[0] == trace.choices[0] for found, _ in longer)


def test_a_program_without_choices_stays_where_it_is() -> None:
    def still(m: Any) -> Any:
        return m.unit(7)

    trace = Trace(7, (), F(1))
    assert trace_mh(still)(EXACT, trace) == EXACT.unit(trace)


def test_a_flip_is_a_choice_and_log_weights_are_refused() -> None:
    traced = Traced(EXACT)
    law = traced.run(traced.flip(F(1, 4), "yes", "no"))
    assert law == Measure({Trace("yes", (1,), F(1)): F(1, 4), Trace("no", (0,), F(1)): F(3, 4)})
    with pytest.raises(ConfigError, match="not their logarithms"):
        traced.score(LogWeight(torch.zeros(())))


def test_a_drawn_chain_of_traces_visits_paths_as_often_as_the_posterior_says(gen: torch.Generator) -> None:
    m, model = Sample((), gen), tinyhmm()
    kernel, trace = trace_mh(model), traces(m, model).value
    visits = []
    for _ in range(2000):
        trace = kernel(m, trace).value
        visits.append([int(x) for x in trace.value])
    exact = Measure(posterior()).normalised()
    for path, p in exact:
        here = torch.tensor([v == list(path) for v in visits], dtype=torch.float64).reshape(20, 100).mean(1)
        # 20 stretches of 100 steps, longer than the chain's memory, give the standard error.
        assert abs(float(here.mean()) - p) < 4 * float(here.std()) / 20**0.5
