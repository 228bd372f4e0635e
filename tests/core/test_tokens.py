"""Masked tokens where the answer is known: three tokens with an enumerated joint law.

Under the schedule alpha = 1 - t and n equal steps, each token is revealed in a step drawn uniformly, and the
tokens of one step are drawn independently given the earlier ones. The law of an n-step run is therefore a sum
over the 13 weak orders of three tokens, which the samples must follow, factorisation error included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import comb

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import Plan, TokenRow, uniform, unmask
from core.process import Masking
from core.run import encode, sample, steps
from core.state import Seeds

VOCAB, LENGTH = 3, 3
PROCESS = Masking(VOCAB)


@cache
def joint() -> Tensor:
    """A law of three tokens with strong dependence, (3, 3, 3)."""
    gen = torch.Generator().manual_seed(4)
    return torch.softmax(1.5 * torch.randn(VOCAB**LENGTH, generator=gen, dtype=torch.float64), 0).reshape(
        (VOCAB,) * LENGTH
    )


def given(tokens: tuple[int, ...]) -> Tensor:
    """Law of each token given the tokens that are there (the mask is 3), (L, V)."""
    p = joint()
    for axis, token in enumerate(tokens):
        if token < VOCAB:
            keep = torch.zeros(VOCAB, dtype=torch.float64)
            keep[token] = 1
            p = p * keep.reshape([-1 if i == axis else 1 for i in range(LENGTH)])
    p = p / p.sum()
    return torch.stack([p.sum([i for i in range(LENGTH) if i != axis]) for axis in range(LENGTH)])


@cache
def table() -> Tensor:
    """`given` for every state, masks included, (4, 4, 4, L, V)."""
    states = list(product(range(VOCAB + 1), repeat=LENGTH))
    laws = torch.stack([given(state) for state in states])
    return laws.reshape(*(VOCAB + 1,) * LENGTH, LENGTH, VOCAB)


@dataclass(frozen=True)
class Enumerated:
    """The exact posterior of every token; `blind` forgets which tokens are there."""

    process: Masking = PROCESS
    blind: bool = False

    def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
        seen = torch.full_like(x, VOCAB) if self.blind else x
        return Posterior(logits=table()[tuple(seen.unbind(1))].log())


def weak_orders(n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Ranks of the three tokens and the probability that n uniform steps give them."""
    for ranks in product(range(LENGTH), repeat=LENGTH):
        levels = len(set(ranks))
        if set(ranks) == set(range(levels)):
            yield ranks, comb(n, levels) / n**LENGTH


def law_of(n: int) -> Tensor:
    """The exact law of n equal steps, (27,)."""
    total = torch.zeros(VOCAB**LENGTH, dtype=torch.float64)
    for index, tokens in enumerate(product(range(VOCAB), repeat=LENGTH)):
        for ranks, weight in weak_orders(n):
            p = weight
            for i in range(LENGTH):
                before = tuple(token if ranks[j] < ranks[i] else VOCAB for j, token in enumerate(tokens))
                p *= float(table()[before][i, tokens[i]])
            total[index] += p
    return total


def draw(n: int, size: int = 8000, denoiser: Enumerated = Enumerated(), seed: int = 0) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    start = PROCESS.prior(torch.zeros(size, LENGTH, dtype=torch.long))
    return sample(unmask(PROCESS, uniform(PROCESS, n)), denoiser, start, gen)


def chi_square(tokens: Tensor, law: Tensor) -> float:
    index = (tokens * torch.tensor([VOCAB**2, VOCAB, 1])).sum(1)
    counts = torch.bincount(index, minlength=VOCAB**LENGTH).double()
    expected = len(tokens) * law
    return float(((counts - expected) ** 2 / expected).sum())


# 26 degrees of freedom: a correct sampler exceeds this in one of ten thousand seeds.
LIMIT = float(chi2.ppf(1 - 1e-4, VOCAB**LENGTH - 1))


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_samples_follow_the_exact_law_of_n_steps(n: int) -> None:
    assert law_of(n).sum().item() == pytest.approx(1, abs=1e-12)
    assert chi_square(draw(n), law_of(n)) < LIMIT


def test_many_steps_reproduce_the_joint_law() -> None:
    # Two of three tokens share one of 150 steps with probability 2 %, so the exact distance is below 2 %.
    assert (law_of(150) - joint().flatten()).abs().sum().item() / 2 < 0.02
    assert chi_square(draw(150), joint().flatten()) < LIMIT


def test_fewer_steps_show_the_factorisation_error() -> None:
    distance = [float((law_of(n) - joint().flatten()).abs().sum()) / 2 for n in (1, 2, 4, 8, 150)]
    assert distance == sorted(distance, reverse=True)
    marginals = table()[(VOCAB,) * LENGTH]
    assert torch.allclose(law_of(1), torch.einsum("a,b,c->abc", *marginals).flatten(), atol=1e-14)
    assert chi_square(draw(1), joint().flatten()) > 10 * LIMIT


def test_a_denoiser_that_ignores_its_context_is_noticed() -> None:
    assert chi_square(draw(40, denoiser=Enumerated(blind=True)), joint().flatten()) > 10 * LIMIT


def test_revealed_tokens_stay_and_none_is_left_masked() -> None:
    plan = unmask(PROCESS, uniform(PROCESS, 10))
    start = PROCESS.prior(torch.zeros(500, LENGTH, dtype=torch.long))
    x = start
    for step in steps(plan, Enumerated(), start, torch.Generator().manual_seed(1)):
        there = step.x < VOCAB
        assert torch.equal(step.next[there], step.x[there])
        x = step.next
    assert (x < VOCAB).all()


def test_a_prompt_is_kept_and_completed_from_its_conditional_law() -> None:
    start = torch.tensor([[VOCAB, 1, VOCAB]]).repeat(8000, 1)
    end = sample(
        unmask(PROCESS, uniform(PROCESS, 100)), Enumerated(), start, torch.Generator().manual_seed(2)
    )
    assert (end[:, 1] == 1).all()
    law = joint()[:, 1] / joint()[:, 1].sum()
    shares = torch.bincount(end[:, 0] * VOCAB + end[:, 2], minlength=9).double() / len(end)
    # Four standard errors of a share over 8000 draws, plus the 1 % of runs that reveal both tokens at once.
    assert (shares - law.flatten()).abs().max() < 4 * (0.25 / 8000) ** 0.5 + 0.01


def test_seeds_give_each_sequence_the_draws_it_has_alone() -> None:
    plan = unmask(PROCESS, uniform(PROCESS, 5))
    start = PROCESS.prior(torch.zeros(3, LENGTH, dtype=torch.long))
    both = sample(plan, Enumerated(), start, Seeds([8, 9, 10]))
    for i in range(3):
        assert torch.equal(both[i : i + 1], sample(plan, Enumerated(), start[:1], Seeds([8 + i])))


def test_remasking_hides_the_stated_share_of_what_was_there() -> None:
    plan = Plan("remask", (TokenRow(0.5, 0.5, 0.0, 0.25, PROCESS.mask_token),))
    x = sample(
        plan, Enumerated(), torch.ones(5000, LENGTH, dtype=torch.long), torch.Generator().manual_seed(3)
    )
    # 15 000 tokens: four standard errors of a share of one quarter.
    assert (x == VOCAB).double().mean().item() == pytest.approx(0.25, abs=4 * (0.1875 / 15_000) ** 0.5)


def test_token_plans_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ConfigError, match="token times run from at most 1"):
        unmask(PROCESS, [1.5, 0.0])
    with pytest.raises(ConfigError, match="token times"):
        unmask(PROCESS, [0.0, 1.0])
    with pytest.raises(ConfigError, match="linear rows"):
        encode(unmask(PROCESS, [1.0, 0.0]), Enumerated(), torch.zeros(1, 3), torch.Generator())
