"""Programs drawn in batches against the measures that they mean: chi-square on 100 000 draws.

Every law compared is a finite one computed by `Exact`, so that the statistic has its textbook law.
"""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction as F
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from core.infer import (
    LAWS,
    RESAMPLERS,
    Exact,
    Factor,
    LogWeight,
    Measure,
    Sample,
    Sequential,
    Table,
    Weighted,
    parents_of,
)
from core.infer.blocks import advance, green_ratio, meaning, mh, resample, smc, spawn
from core.infer.laws import law_of
from core.state import Seeds
from tests.core.infer.test_typed_exact import heaviest
from tests.fixtures.tinyhmm import EVIDENCE, posterior, tinyhmm

EXACT = Exact()
DRAWS = 100_000
F64 = torch.float64


def p_value(law: Measure, drawn: Iterable[tuple[Any, int]]) -> float:
    """Chance of a chi-square as large, of counts by value; a value without mass has none."""
    counts = dict(drawn)
    n = sum(counts.values())
    assert law.total == 1
    if any(not law[value] for value in counts):
        return 0.0
    if len(law) == 1:
        return 1.0
    statistic = sum((counts.get(value, 0) - n * float(p)) ** 2 / (n * float(p)) for value, p in law)
    return float(chi2.sf(statistic, len(law) - 1))


def tally(columns: list[Tensor]) -> list[tuple[tuple[float, ...], int]]:
    """Distinct rows and how often each occurs."""
    rows, counts = torch.stack([c.to(F64) for c in columns], dim=1).unique(dim=0, return_counts=True)
    return [(tuple(row), count) for row, count in zip(rows.tolist(), counts.tolist(), strict=True)]


def snapped(rows: list[tuple[tuple[float, ...], int]], law: Measure) -> dict[Any, int]:
    """Counts of (path, weight) pairs by the fraction that each weight is, to twelve digits."""
    names: Mapping[Any, Any] = {(*path, f"{float(w):.12g}"): (path, w) for (path, w), _ in law}
    found: dict[Any, int] = {}
    for (*path, w), count in rows:
        key = names.get((*(int(x) for x in path), f"{w:.12g}"), ("unknown", w))
        found[key] = found.get(key, 0) + count
    return found


WEIGHTS = [
    [F(1, 2), F(1, 3), F(1, 6)],
    [F(1, 2), F(0), F(1, 2), F(0)],
    [F(3, 8), F(1, 8), F(1, 3), F(1, 6)],
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: " ".join(map(str, w)))
@pytest.mark.parametrize("rule", RESAMPLERS)
def test_what_is_drawn_has_the_law_that_is_written(rule: str, weights: list[F], gen: torch.Generator) -> None:
    law = EXACT.unit(())
    for part in law_of(rule, weights):
        law = EXACT.bind(law, lambda kept, part=part: part.map(lambda more: (*kept, *more)))
    log_w = torch.tensor([float(w) for w in weights], dtype=F64).log().expand(DRAWS, -1)
    found = tally(list(parents_of(log_w, gen, rule).T))
    p = p_value(law, found)
    print(f"{rule}: {len(law)} tuples of parents, p = {p:.3f}")
    assert p > 0.01


def test_every_rule_that_draws_has_its_law() -> None:
    assert set(LAWS) == set(RESAMPLERS)


def test_stratified_draws_do_not_have_the_law_of_independent_ones(gen: torch.Generator) -> None:
    law = EXACT.unit(())
    for part in law_of("multinomial", WEIGHTS[0]):
        law = EXACT.bind(law, lambda kept, part=part: part.map(lambda more: (*kept, *more)))
    log_w = torch.tensor([float(w) for w in WEIGHTS[0]], dtype=F64).log().expand(DRAWS, -1)
    assert p_value(law, tally(list(parents_of(log_w, gen, "stratified").T))) < 1e-6


@pytest.mark.parametrize("rule", RESAMPLERS)
def test_particles_and_their_weights_have_the_exact_joint_law(rule: str, gen: torch.Generator) -> None:
    """One particle drawn from two, with the weight that it carries: every pair has its own chance."""
    weighted = Weighted(EXACT)
    law = meaning(weighted, smc(weighted, tinyhmm(), 2, rule))
    m = Sample((DRAWS,), gen)
    run = meaning(m, smc(m, tinyhmm(), 2, rule))
    found = snapped(tally([*run.value, run.log_w.exp()]), law)
    p = p_value(law, found.items())
    print(f"{rule}: {len(law)} pairs of path and weight, p = {p:.3f}")
    assert p > 0.01


@pytest.mark.parametrize("n", [1, 2, 8])
def test_drawn_particles_estimate_the_posterior_without_bias(n: int, gen: torch.Generator) -> None:
    m = Sample((DRAWS,), gen)
    run = meaning(m, smc(m, tinyhmm(), n))
    weight = run.log_w.exp()
    assert off(weight, EVIDENCE) < 4
    for path, p in posterior().items():
        here = torch.stack([part == x for part, x in zip(run.value, path, strict=True)]).all(0)
        assert off(weight * here, p) < 4


def test_drawn_copies_of_the_heaviest_particle_are_biased(gen: torch.Generator) -> None:
    def copies(weights: Tensor, gen: Any) -> Tensor:
        return weights.argmax(1, keepdim=True).expand_as(weights)

    m = Sample((DRAWS,), gen)
    run = meaning(m, smc(m, tinyhmm(), 2, copies))  # type: ignore[arg-type]
    wrong = meaning(EXACT, smc(EXACT, tinyhmm(), 2, heaviest))
    assert off(run.log_w.exp(), wrong.total) < 4
    assert off(run.log_w.exp(), EVIDENCE) > 6


def off(values: Tensor, exact: F | float) -> float:
    """Distance of the mean from the exact value, in standard errors."""
    return abs(float(values.mean()) - float(exact)) / (float(values.std()) / math.sqrt(len(values)))


MASS = Factor.of(1, 2, F(1, 2), 1, 3)
SPACES = Factor.of(F(1, 2), F(1, 2), F(1, 3), F(1, 3), F(1, 3))
EVEN = Table.of(*([F(1, 5)] * 5 for _ in range(5)))


def test_one_metropolis_hastings_text_serves_both_interpreters(gen: torch.Generator) -> None:
    """Between spaces of two and three values, from 0: the law after four moves."""
    kernel = mh(
        lambda m, x: m.choose(EVEN, x), green_ratio(MASS.__getitem__, EVEN.chance, SPACES.__getitem__)
    )
    exact, drawn = EXACT.unit(0), Sample((DRAWS,), gen).unit(torch.zeros(DRAWS, dtype=torch.long))
    m = Sample((DRAWS,), gen)
    for _ in range(4):
        exact = EXACT.bind(exact, lambda x: kernel(EXACT, x))
        drawn = m.bind(drawn, lambda x: kernel(m, x))
    law = exact.map(lambda x: (float(x),))
    assert p_value(law, tally([drawn.value])) > 0.01


def test_populations_of_populations_are_drawn_as_they_are_written(gen: torch.Generator) -> None:
    def inner(m: Any) -> Any:
        return meaning(m, smc(m, tinyhmm(), 3))

    m = Sample((DRAWS // 4,), gen)
    run = meaning(m, m.bind(spawn(m, 2, inner), lambda cloud: resample(m, cloud)))
    assert off(run.log_w.exp(), EVIDENCE) < 4


def chain(y: list[float]) -> Sequential:
    """x_1 ~ N(0, 1), x_k = x_{k - 1} / 2 + N(0, 1), each seen in noise of variance 1/4."""

    def step(k: int) -> Any:
        def stage(m: Any, x: Tensor) -> Any:
            noise = m.choose(lambda shape, gen: torch.randn(shape, generator=gen, dtype=F64))
            return m.bind(noise, lambda z: seen(m, k, x / 2 + z))

        return stage

    def seen(m: Any, k: int, x: Tensor) -> Any:
        log_l = -2 * (y[k] - x) ** 2 - math.log(0.5 * math.sqrt(2 * math.pi))
        return m.bind(m.score(LogWeight(log_l)), lambda _: m.unit(x))

    first = step(0)
    return Sequential(
        lambda m: m.bind(m.unit(torch.zeros(())), lambda x: first(m, x)),
        tuple(step(k) for k in range(1, len(y))),
    )


def test_a_continuous_chain_has_the_evidence_of_the_kalman_filter(gen: torch.Generator) -> None:
    y = [0.3, -0.8, 1.1, 0.5]
    mean, var, log_z = 0.0, 1.0, 0.0
    for k, seen in enumerate(y):
        if k:
            mean, var = mean / 2, var / 4 + 1
        total = var + 0.25
        log_z += -((seen - mean) ** 2) / (2 * total) - math.log(2 * math.pi * total) / 2
        mean, var = mean + var / total * (seen - mean), var * 0.25 / total
    m = Sample((4000,), gen)
    run = meaning(m, smc(m, chain(y), 32))
    assert off((run.log_w - log_z).exp(), 1) < 4
    assert off((run.log_w - log_z).exp() * run.value, mean) < 4


def test_batches_with_seeds_are_drawn_as_if_alone() -> None:
    def run(seeds: list[int]) -> Any:
        m = Sample((len(seeds),), Seeds(seeds))
        return meaning(m, smc(m, tinyhmm(), 4))

    joint, alone = run([1, 2, 3]), run([2])
    assert torch.equal(joint.log_w[1:2], alone.log_w)
    assert all(torch.equal(a[1:2], b) for a, b in zip(joint.value, alone.value, strict=True))


def test_dead_particles_stay_dead_and_a_dead_cloud_has_no_weight(gen: torch.Generator) -> None:
    half = Factor.of(0, 1)
    flip = Sequential(
        lambda m: m.bind(m.choose(Table.of([F(1, 2), F(1, 2)])), lambda x: m.unit(x)),
        (lambda m, x: m.bind(m.score(half, x), lambda _: m.unit(x)),) * 2,
    )
    m = Sample((1000,), gen)
    run = m.bind(
        m.bind(spawn(m, 3, flip.first), lambda c: advance(m, c, flip.stages[0])), lambda c: resample(m, c)
    )
    dead = torch.isneginf(run.log_w)
    assert not torch.isnan(run.log_w).any()
    assert (run.value.value[~dead] == 1).all()
    assert (run.value.value[dead] == 0).all()
