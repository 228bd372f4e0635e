"""Each block's statement, on random finite models: measures before and after are equal as fractions."""

from fractions import Fraction as F
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.infer import LAWS, Exact, Factor, Measure, Sequential, Table, Weighted
from core.infer.blocks import hoist, meaning, resample, smc, spawn
from core.infer.laws import law_of
from tests.core.infer.worlds import (
    RULES,
    averaged,
    factors,
    invariant,
    laws,
    models,
    resampled,
    rewritten,
    stage,
    tables,
    walked,
)
from tests.fixtures.tinyhmm import tinyhmm

EXACT = Exact()
FEW = settings(max_examples=60, deadline=None, derandomize=True)


@FEW
@given(models(most=2), st.data())
def test_binds_are_associative_and_units_are_neutral(drawn: Any, data: st.DataObject) -> None:
    size, model = drawn
    f, g = (stage(data.draw(tables(size)), data.draw(factors(size))) for _ in range(2))
    for m in (EXACT, Weighted(EXACT)):
        p = model(m)
        left = m.bind(m.bind(p, lambda x, m=m: f(m, x)), lambda y, m=m: g(m, y))
        right = m.bind(p, lambda x, m=m: m.bind(f(m, x), lambda y: g(m, y)))
        assert left == right
        assert m.bind(p, m.unit) == p
        assert m.bind(m.unit(1), lambda x, m=m: f(m, x)) == f(m, 1)


@FEW
@given(models())
def test_weights_kept_beside_values_mean_what_scores_mean(drawn: Any) -> None:
    _, model = drawn
    weighted = Weighted(EXACT)
    assert weighted.meaning(model(weighted)) == model(EXACT)


@FEW
@given(models(), st.integers(1, 3))
def test_the_average_of_copies_means_what_one_means(drawn: Any, n: int) -> None:
    _, model = drawn
    assert averaged(model, n)(EXACT) == model(EXACT)


@FEW
@given(st.integers(1, 4).flatmap(laws), RULES)
def test_every_law_has_n_times_the_weight_children_in_the_mean(weights: list[F], rule: str) -> None:
    n = len(weights)
    parts = law_of(rule, weights)
    assert all(part.total == 1 for part in parts)
    for i, weight in enumerate(weights):
        assert sum(p * parents.count(i) for part in parts for parents, p in part) == n * weight


@FEW
@given(models(most=1), st.integers(1, 3), RULES)
def test_resampling_keeps_the_measure(drawn: Any, n: int, rule: str) -> None:
    _, model = drawn
    assert resampled(model, n, rule)(EXACT) == model(EXACT)


@FEW
@given(models(), st.integers(1, 3), RULES)
def test_smc_means_the_model_for_every_number_of_particles(drawn: Any, n: int, rule: str) -> None:
    _, model = drawn
    assert meaning(EXACT, smc(EXACT, model, n, rule)) == model(EXACT)


@FEW
@given(models(), st.integers(1, 2), RULES, st.data())
def test_smc_with_moves_means_the_model(drawn: Any, n: int, rule: str, data: st.DataObject) -> None:
    size, model = drawn
    table = data.draw(tables(size))
    kernels = [invariant(model.upto(k)(EXACT), table) for k in range(len(model.stages))]
    assert meaning(EXACT, smc(EXACT, model, n, rule, kernels.__getitem__)) == model(EXACT)


@FEW
@given(models(), st.integers(1, 2), RULES)
def test_a_rewriting_that_keeps_meanings_may_be_hoisted_over_every_stage(
    drawn: Any, n: int, rule: str
) -> None:
    _, model = drawn
    assert hoist(lambda p: resampled(p, n, rule), model)(EXACT) == model(EXACT)


@FEW
@given(models(most=1), st.data())
def test_programs_of_one_to_four_nested_blocks_keep_their_meaning(drawn: Any, data: st.DataObject) -> None:
    size, model = drawn
    names, program = data.draw(rewritten(size, model))
    assert program(EXACT) == model(EXACT), names


@FEW
@given(models(most=0), st.data())
def test_clouds_led_through_one_to_four_blocks_keep_their_meaning(drawn: Any, data: st.DataObject) -> None:
    size, model = drawn
    names, program, plain = data.draw(walked(size, model))
    assert program(EXACT) == plain(EXACT), names


COIN = Table.of([F(1, 3), F(2, 3)])
SKEWED = Sequential(
    lambda m: m.bind(
        m.choose(COIN), lambda x: m.bind(m.score(Factor.of(F(1, 2), F(3)), x), lambda _: m.unit(x))
    )
)


def test_a_resampler_that_forgets_the_mean_weight_is_caught() -> None:
    def forgetful(cloud: Any) -> Measure:
        return EXACT.reparent(cloud, "multinomial").map(lambda found: found[0])

    wrong = meaning(EXACT, EXACT.bind(spawn(EXACT, 2, SKEWED.first), forgetful))
    assert SKEWED(EXACT).total == F(13, 6)
    assert wrong.total == 1


def test_a_move_that_aims_at_the_prior_is_caught() -> None:
    aims = invariant(SKEWED(EXACT), Table.of([F(1, 2)] * 2, [F(1, 2)] * 2))
    astray = invariant(COIN.law(), Table.of([F(1, 2)] * 2, [F(1, 2)] * 2))
    still = SKEWED.then(lambda m, x: m.unit(x))
    assert meaning(EXACT, smc(EXACT, still, 2, moves=lambda k: aims)) == SKEWED(EXACT)
    assert meaning(EXACT, smc(EXACT, still, 2, moves=lambda k: astray)) != SKEWED(EXACT)


def test_populations_of_populations_mean_what_one_run_means() -> None:
    def inner(m: Any) -> Any:
        return meaning(m, smc(m, tinyhmm(), 2))

    outer = meaning(EXACT, EXACT.bind(spawn(EXACT, 2, inner), lambda cloud: resample(EXACT, cloud)))
    assert outer == tinyhmm()(EXACT)


def test_a_cloud_without_weight_has_no_mass_and_breaks_nothing() -> None:
    dead = SKEWED.then(lambda m, x: m.bind(m.score(0), lambda _: m.unit(x)), lambda m, x: m.unit(x))
    for rule in LAWS:
        assert meaning(EXACT, smc(EXACT, dead, 2, rule)).total == 0
    with pytest.raises(ConfigError, match="without mass"):
        dead(EXACT).normalised()


def test_bad_laws_weights_rules_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="sums to 1"):
        Table.of([F(1, 2), F(1, 3)])
    with pytest.raises(ConfigError, match="negative"):
        Factor.of(1, -1)
    with pytest.raises(ConfigError, match="at least 1 particle"):
        spawn(EXACT, 0, SKEWED.first)
    with pytest.raises(ConfigError, match="only finite laws"):
        EXACT.choose(lambda shape, gen: None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="known: multinomial"):
        smc(EXACT, tinyhmm(), 2, "systemic")
