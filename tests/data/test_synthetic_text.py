"""Sources of text with known entropy: closed forms against enumeration, parsing and draws."""

import itertools
import math

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from data.synthetic.grammar import ENGLISH, Grammar, Rule
from data.synthetic.markov_text import MarkovText, markov_text

SOURCE = markov_text("abc", seed=1)


def blocks(k: int, length: int) -> np.ndarray:
    return np.array(list(itertools.product(range(k), repeat=length)))


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_block_probabilities_sum_to_one_and_give_the_block_entropy(length: int) -> None:
    log_p = SOURCE.log_prob(blocks(3, length))
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-12)
    assert -(np.exp(log_p) * log_p).sum() == pytest.approx(SOURCE.block_entropy(length), abs=1e-12)


def test_every_window_has_the_same_law() -> None:
    p = np.exp(SOURCE.log_prob(blocks(3, 4))).reshape(3, 3, 3, 3)
    np.testing.assert_allclose(p.sum((2, 3)), SOURCE.stationary, atol=1e-12)
    np.testing.assert_allclose(p.sum((0, 1)), SOURCE.stationary, atol=1e-12)


def test_a_start_that_is_not_stationary_would_break_the_closed_form() -> None:
    uniform = np.full((3, 3), 1 / 9)
    log_p = SOURCE.log_prob(blocks(3, 4))
    shifted = log_p - np.log(SOURCE.stationary[tuple(blocks(3, 4)[:, :2].T)]) + np.log(uniform).min()
    wrong = -(np.exp(shifted) * shifted).sum()
    assert abs(wrong - SOURCE.block_entropy(4)) > 1e-3


@pytest.mark.parametrize("hidden", [(0,), (2, 3), (0, 1, 4), (0, 1, 2, 3, 4)])
def test_the_posterior_equals_enumeration(hidden: tuple[int, ...]) -> None:
    ids = np.array([2, 0, 1, 1, 2])
    seen = [i for i in range(5) if i not in hidden]
    every = blocks(3, 5)
    fits = every[(every[:, seen] == ids[seen]).all(1)]
    p = np.exp(SOURCE.log_prob(fits))
    wanted = np.stack([[p[fits[:, i] == c].sum() for c in range(3)] for i in range(5)]) / p.sum()
    masked = ids.copy()
    masked[list(hidden)] = -1
    np.testing.assert_allclose(SOURCE.posterior(masked), wanted, atol=1e-12)


def test_revealing_in_any_order_gives_the_block_probability() -> None:
    gen = np.random.default_rng(0)
    ids = SOURCE.draw(1, 12, gen)[0]
    for _ in range(5):
        masked, total = np.full(12, -1), 0.0
        for i in gen.permutation(12):
            total += math.log(SOURCE.posterior(masked)[i, ids[i]])
            masked[i] = ids[i]
        assert total == pytest.approx(SOURCE.log_prob(ids[None])[0], abs=1e-10)


def test_draws_have_the_entropy_of_the_source() -> None:
    log_p = SOURCE.log_prob(SOURCE.draw(10_000, 20, np.random.default_rng(0)))
    error = log_p.std() / 100
    assert -log_p.mean() == pytest.approx(SOURCE.block_entropy(20), abs=4 * error)


def test_few_and_many_blocks_are_drawn_from_the_same_law() -> None:
    few, many = (
        SOURCE.draw(1, 20_000, np.random.default_rng(0)),
        SOURCE.draw(100, 200, np.random.default_rng(1)),
    )
    for ids in (few, many):
        triples = np.zeros((3, 3, 3))
        np.add.at(triples, (ids[:, :-2], ids[:, 1:-1], ids[:, 2:]), 1)
        # 20 000 characters: standard error below 0.004 without memory, some three times that with it.
        np.testing.assert_allclose(
            triples / triples.sum(), SOURCE.stationary[..., None] * SOURCE.table, atol=0.03
        )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MarkovText("aa", np.full((2, 2, 2), 0.5)), ConfigError, "2 different"),
        (lambda: MarkovText("ab", np.full((2, 2), 0.5)), ConfigError, r"shape \(2, 2\)"),
        (lambda: MarkovText("ab", np.full((2, 2, 2), 0.4)), ConfigError, "sum to 1"),
        (lambda: SOURCE.draw(1, 1, np.random.default_rng(0)), ConfigError, "at least 2"),
        (lambda: SOURCE.posterior(np.array([0, 3])), DataError, r"each -1 \.\. 2"),
        (lambda: markov_text(concentration=0), ConfigError, "must be positive"),
    ],
)
def test_a_faulty_source_is_refused(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


SMALL = Grammar(
    {
        "S": (Rule(0.5, ("A", "B")), Rule(0.5, ("A",))),
        "A": (Rule(0.25, ("x",)), Rule(0.75, ("yy",))),
        "B": (Rule(0.5, ("z",)), Rule(0.5, ("w", "A"))),
    }
)


def test_a_finite_grammar_agrees_with_the_list_of_its_sentences() -> None:
    firsts = {"x": 0.25, "yy": 0.75}
    law = {f"{a}.": p / 2 for a, p in firsts.items()}
    law |= {f"{a} z.": p / 4 for a, p in firsts.items()}
    law |= {f"{a} w {b}.": p * q / 4 for a, p in firsts.items() for b, q in firsts.items()}
    assert sum(law.values()) == pytest.approx(1)
    for sentence, p in law.items():
        assert SMALL.log_prob(sentence) == pytest.approx(math.log(p), abs=1e-12)
    assert SMALL.entropy == pytest.approx(-sum(p * math.log(p) for p in law.values()), abs=1e-12)
    assert SMALL.mean_words == pytest.approx(sum(p * len(s.split()) for s, p in law.items()), abs=1e-12)
    assert SMALL.mean_characters == pytest.approx(sum(p * len(s) for s, p in law.items()), abs=1e-12)


def test_each_english_sentence_has_one_derivation() -> None:
    # The inside sum is over all derivations, the draw has one: they agree only where there is no other.
    gen = np.random.default_rng(0)
    for _ in range(60):
        words, log_p = ENGLISH.draw(gen)
        assert ENGLISH.log_prob(ENGLISH.sentence(words)) == pytest.approx(log_p, abs=1e-9)


def test_an_ambiguous_grammar_shows_in_the_same_test() -> None:
    twice = Grammar({"S": (Rule(0.6, ("x",)), Rule(0.4, ("S", "S")))})
    sentence = "x x x."
    one_derivation = math.log(0.4 * 0.6 * 0.4 * 0.6 * 0.6)
    assert twice.log_prob(sentence) == pytest.approx(one_derivation + math.log(2), abs=1e-12)


def test_english_draws_have_the_closed_form_means() -> None:
    gen = np.random.default_rng(1)
    drawn = [ENGLISH.draw(gen) for _ in range(5000)]
    columns = {
        "entropy": [-log_p for _, log_p in drawn],
        "mean_words": [len(words) for words, _ in drawn],
        "mean_characters": [len(ENGLISH.sentence(words)) for words, _ in drawn],
    }
    for name, values in columns.items():
        error = np.std(values) / math.sqrt(len(values))
        assert np.mean(values) == pytest.approx(getattr(ENGLISH, name), abs=4 * error)


def test_broken_agreement_has_no_probability() -> None:
    assert ENGLISH.log_prob("the dog sleeps.") > -math.inf
    for wrong in ("the dog sleep.", "the dogs sleeps.", "a dogs sleep.", "the dog sleeps", "."):
        assert ENGLISH.log_prob(wrong) == -math.inf


def test_a_seed_gives_the_same_sentences() -> None:
    assert ENGLISH.sentences(5, seed=3) == ENGLISH.sentences(5, seed=3)
    assert ENGLISH.sentences(5, seed=3) != ENGLISH.sentences(5, seed=4)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"A": (Rule(1.0, ("x",)),)}, "no rule for its start"),
        ({"S": (Rule(0.9, ("x",)),)}, "do not sum to 1"),
        ({"S": (Rule(1.0, ()),)}, "needs a part"),
        ({"S": (Rule(0.4, ("x",)), Rule(0.6, ("S", "S")))}, "grow without end"),
    ],
)
def test_a_faulty_grammar_is_refused(rules, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grammar(rules)
