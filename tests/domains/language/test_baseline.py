"""n-gram baselines: hand-computed values, normalisation, and the known entropies of real text."""

import gzip
import math

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from data.synthetic.markov_text import markov_text
from domains.language.baseline import conditional_entropy, fit_ngram
from domains.language.tokenizer import train_tokenizer


def test_interpolation_by_hand() -> None:
    # a b a a over V = 3: n(a) = 3, n(b) = 1, two kinds, so p_0(a) = (3 + 2/3) / 6.
    model = fit_ngram(np.array([0, 1, 0, 0]), 3, 1)
    p0 = np.array([3 + 2 / 3, 1 + 2 / 3, 2 / 3]) / 6
    np.testing.assert_allclose(model.next_probs(np.array([], np.int64)), p0, atol=1e-15)
    # After a came b and a: n = 2, T = 2. After b came a: n = 1, T = 1.
    np.testing.assert_allclose(
        model.next_probs(np.array([0])), (np.array([1, 1, 0]) + 2 * p0) / 4, atol=1e-15
    )
    np.testing.assert_allclose(model.next_probs(np.array([1])), (np.array([1, 0, 0]) + p0) / 2, atol=1e-15)
    # c was never a context.
    np.testing.assert_allclose(model.next_probs(np.array([2])), p0, atol=1e-15)


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_every_context_gives_a_law_that_the_score_uses(order: int) -> None:
    gen = np.random.default_rng(0)
    model = fit_ngram(gen.integers(0, 5, 300), 6, order)
    ids = gen.integers(0, 6, 40)
    log_p = model.log_prob(ids)
    for i in range(len(ids)):
        p = model.next_probs(ids[max(0, i - order) : i])
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert math.log(p[ids[i]]) == pytest.approx(log_p[i], abs=1e-12)


def test_weighting_by_counts_alone_would_not_sum_to_one() -> None:
    model = fit_ngram(np.array([0, 1, 0, 0, 1]), 3, 1)
    lower = model.next_probs(np.array([], np.int64))
    wrong = (np.array([1, 2, 0]) + 2 * lower) / 3
    assert wrong.sum() != pytest.approx(1, abs=1e-3)


def test_conditional_entropy_by_hand() -> None:
    # Pairs of a a b a a b a: aa, ab, ba, aa, ab, ba; after a: a and b equally, after b: a.
    ids = np.array([0, 0, 1, 0, 0, 1, 0])
    assert conditional_entropy(ids, 2, 1) == pytest.approx(4 / 6, abs=1e-12)
    assert conditional_entropy(ids, 2, 0) == pytest.approx(
        -(5 / 7) * math.log2(5 / 7) - (2 / 7) * math.log2(2 / 7), abs=1e-12
    )


def test_an_order_2_model_reaches_the_rate_of_an_order_2_source_and_never_beats_it() -> None:
    source = markov_text(seed=2)
    gen = np.random.default_rng(0)
    train, test = source.draw(1, 40_000, gen)[0], source.draw(1, 20_000, gen)[0]
    rate = source.entropy_rate / math.log(2)
    exact = -source.log_prob(test[None])[0] / math.log(2) / len(test)
    found = fit_ngram(train, 6, 2).bits_per_token(test)
    # On the same text the source itself is the floor; 180 parameters cost 180 / (2 n ln 2) = 0.003 bits.
    assert exact < found < exact + 0.008
    # 20 000 characters at about 1 bit of spread: standard error 0.007.
    assert found == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(("order", "bits"), [(0, 4.12), (1, 3.43), (2, 2.86)])
def test_the_conditional_entropies_of_text8_head_are_the_known_ones(order: int, bits: float, text8) -> None:
    assert round(conditional_entropy(text8["train"], 27, order), 2) == bits


def test_longer_contexts_help_on_held_out_text8_head(text8) -> None:
    found = [fit_ngram(text8["train"], 27, order).bits_per_token(text8["valid"]) for order in range(4)]
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(found, [4.110, 3.420, 2.867, 2.341], atol=1e-3)


@pytest.fixture(scope="module")
def text8(real_data) -> dict[str, np.ndarray]:
    folder, tokenizer = real_data("language/text8_head"), train_tokenizer("text8")
    return {
        split: tokenizer.encode_array(gzip.open(folder / f"{split}.txt.gz", "rt").read())
        for split in ("train", "valid")
    }


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fit_ngram(np.arange(3), 3, -1), ConfigError, "order of -1"),
        (lambda: fit_ngram(np.arange(3), 50257, 4), ConfigError, "order of 4 does not work with 50257"),
        (lambda: fit_ngram(np.arange(2), 3, 2), DataError, "found 2 tokens, order 2 needs 3"),
        (lambda: fit_ngram(np.arange(4), 3, 1), DataError, r"ids lie in 0 \.\. 3"),
        (lambda: fit_ngram(np.arange(3), 3, 1).bits_per_token(np.array([])), DataError, "no token"),
    ],
)
def test_faulty_input_is_refused(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
