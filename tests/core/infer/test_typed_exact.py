"""F7 by enumeration: sequential Monte Carlo of two particles means the posterior of all eight paths (C23).

Every comparison is an equality of fractions.
"""

import time
from collections.abc import Sequence
from fractions import Fraction as F
from typing import Any

import pytest

from core.infer import LAWS, Exact, Measure, Weighted
from core.infer.blocks import hoist, meaning, resample, smc
from tests.core.infer.worlds import resampled
from tests.fixtures.tinyhmm import EVIDENCE, posterior, tinyhmm

EXACT = Exact()
POSTERIOR = Measure(posterior())


def heaviest(weights: Sequence[F]) -> list[Measure]:
    """Wrong: every child is a copy of the heaviest particle."""
    best = max(range(len(weights)), key=lambda i: weights[i])
    return [Measure({(best,) * len(weights): F(1)})]


def filtered(n: int, rule: Any) -> Measure:
    """What n particles mean, resampled after each of the three observations."""
    clouds = smc(EXACT, tinyhmm(), n, rule)
    return meaning(EXACT, EXACT.bind(clouds, lambda cloud: resample(EXACT, cloud, rule)))


def test_the_program_means_the_posterior_of_eight_paths() -> None:
    assert str(EVIDENCE) == "3181/30000"
    assert len(POSTERIOR) == 8
    assert tinyhmm()(EXACT) == POSTERIOR
    assert POSTERIOR.total == EVIDENCE


@pytest.mark.parametrize("rule", LAWS)
def test_two_particles_mean_the_posterior_exactly(rule: str) -> None:
    start = time.process_time()
    found = meaning(EXACT, smc(EXACT, tinyhmm(), 2, rule))
    seconds = time.process_time() - start
    print(f"{rule}: evidence {found.total}, {seconds:.3f} CPU-s")
    assert found == POSTERIOR
    assert found.total == F(3181, 30000)
    assert filtered(2, rule) == POSTERIOR
    assert seconds < 2


@pytest.mark.parametrize("rule", LAWS)
def test_three_particles_mean_the_posterior_exactly(rule: str) -> None:
    assert filtered(3, rule) == POSTERIOR


def test_copying_the_heaviest_particle_is_rejected_by_its_exact_error() -> None:
    found = filtered(2, heaviest)
    assert max(abs(found[path] - POSTERIOR[path]) for path in posterior()) == F(7399, 450000)
    assert found.total - EVIDENCE == -F(60263, 7200000)
    assert filtered(1, heaviest) == POSTERIOR  # one particle cannot be chosen wrongly
    assert hoist(lambda p: resampled(p, 2, heaviest), tinyhmm())(EXACT) != POSTERIOR


def test_the_expected_square_of_the_evidence_estimate_is_computed_too() -> None:
    """Stratified draws make the estimate of the evidence vary less than independent ones."""
    weighted = Weighted(EXACT)

    def square(rule: str) -> F:
        runs = smc(weighted, tinyhmm(), 2, rule)
        estimates = runs.map(lambda pair: pair[1] * sum(w for _, w in pair[0]) / 2)
        assert sum(p * z for z, p in estimates) == EVIDENCE
        return sum((p * z**2 for z, p in estimates), F(0)) / EVIDENCE**2 - 1

    variance = {rule: square(rule) for rule in LAWS}
    print({rule: float(v) for rule, v in variance.items()})
    assert 0 < variance["systematic"] <= variance["stratified"] < variance["multinomial"]
