"""Resampling in its law: n w_i children in the mean, and how far each rule may stray from it."""

import math

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from core.infer.resample import RESAMPLERS, parents_of
from core.state import Seeds

F64 = torch.float64
WEIGHTS = torch.tensor([0.05, 0.0, 0.31, 0.14, 0.5, 0.0], dtype=F64)
N = len(WEIGHTS)
DRAWS = 20_000


def counts(name: str, seed: int = 0, weights: Tensor = WEIGHTS) -> Tensor:
    """Children of each particle in many independent groups, (DRAWS, N)."""
    gen = torch.Generator().manual_seed(seed)
    parents = parents_of(weights.log().expand(DRAWS, -1), gen, name)
    return torch.nn.functional.one_hot(parents, weights.shape[-1]).sum(1).to(F64)


@pytest.mark.parametrize("name", RESAMPLERS)
def test_children_number_n_times_the_weight_in_the_mean(name: str) -> None:
    found = counts(name)
    error = found.std(0) / math.sqrt(DRAWS)
    # Four standard errors; a count that never varies must be exact, so a rounding margin is all it gets.
    assert ((found.mean(0) - N * WEIGHTS).abs() <= 4 * error + 1e-12).all()
    assert found.sum(1).unique().tolist() == [N]


@pytest.mark.parametrize("name", RESAMPLERS)
def test_a_particle_of_zero_weight_has_no_child(name: str) -> None:
    assert counts(name)[:, [1, 5]].sum() == 0


def test_systematic_and_residual_children_stay_next_to_n_times_the_weight() -> None:
    share = N * WEIGHTS
    systematic, residual, stratified = (counts(k) for k in ("systematic", "residual", "stratified"))
    assert ((systematic - share).abs() < 1).all()
    assert (residual >= share.floor()).all()
    assert ((stratified - share).abs() < 2).all()
    assert ((counts("multinomial") - share).abs() >= 2).any()


def test_each_rule_varies_less_than_multinomial() -> None:
    spread = {name: float(counts(name).var(0).sum()) for name in RESAMPLERS}
    # Multinomial: sum of n w (1 - w) = 3.80.
    assert spread["multinomial"] == pytest.approx(float((N * WEIGHTS * (1 - WEIGHTS)).sum()), rel=0.03)
    assert spread["systematic"] <= spread["stratified"] < spread["residual"] < spread["multinomial"]


@pytest.mark.parametrize("name", ["stratified", "systematic", "residual"])
def test_equal_weights_keep_every_particle_once(name: str) -> None:
    gen = torch.Generator().manual_seed(0)
    for n in range(1, 60):
        parents = parents_of(torch.zeros(50, n, dtype=F64), gen, name)
        assert torch.equal(parents, torch.arange(n).expand(50, n))


def test_one_weight_alone_is_taken_every_time_by_every_rule() -> None:
    log_w = torch.full((1, 5), -math.inf)
    log_w[0, 3] = -1e4
    for name in RESAMPLERS:
        assert parents_of(log_w, torch.Generator().manual_seed(0), name).tolist() == [[3] * 5]


def test_a_group_without_weight_keeps_its_particles() -> None:
    log_w = torch.full((2, 4), -math.inf)
    log_w[1] = torch.tensor([0.0, -math.inf, -math.inf, -math.inf])
    assert parents_of(log_w, torch.Generator().manual_seed(0)).tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", RESAMPLERS)
def test_a_group_with_its_own_seed_is_resampled_as_if_alone(name: str) -> None:
    log_w = torch.randn(3, 9, generator=torch.Generator().manual_seed(0), dtype=F64)
    joint = parents_of(log_w, Seeds([1, 2, 3]), name)
    assert torch.equal(joint[1:2], parents_of(log_w[1:2], Seeds([2]), name))


def test_a_misspelt_rule_and_a_bare_list_of_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="known: multinomial") as caught:
        parents_of(torch.zeros(1, 3), None, "systemic")
    assert caught.value.hint == "Did you mean 'systematic'?"
    with pytest.raises(ConfigError, match="groups"):
        parents_of(torch.zeros(3), None)
