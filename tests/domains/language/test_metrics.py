"""Metrics of text: hand-computed cases, limits, and agreement with the reference packages where installed."""

import math

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from domains.language.metrics import (
    caption_words,
    cider_d,
    corpus_bleu,
    distinct,
    likelihood,
    mauve,
    repetition_rate,
    rouge_l,
    self_bleu,
    sentence_bleu,
    shown,
    unigram_entropy,
)

WORDS = ["a", "small", "red", "circle", "left", "of", "the", "large", "blue", "square", "near", "two"]


def corpus(seed: int, n: int = 40) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Random captions, five references each; hypotheses share runs of words with their references."""
    gen = np.random.default_rng(seed)
    hypotheses, references = [], []
    for _ in range(n):
        others = [[WORDS[i] for i in gen.integers(0, 12, gen.integers(5, 12))] for _ in range(5)]
        first = others[0]
        hypotheses.append([*first[: int(gen.integers(4, len(first) + 1))], WORDS[int(gen.integers(12))]])
        references.append(others)
    return hypotheses, references


def test_the_entropy_of_a_uniform_sample_is_the_log_of_its_types() -> None:
    found = unigram_entropy([[1, 2, 3, 4], [5, 5, 5, 5]])
    assert found.mean == pytest.approx(math.log(4) / 2)
    assert found.se == pytest.approx(math.log(4) / 2)
    assert math.isnan(unigram_entropy([[1, 2]]).se)


def test_distinct_and_repetition_by_hand() -> None:
    rows = [[1, 2, 1, 2, 1], [1, 2, 3]]
    assert distinct(rows, 1) == 3 / 8
    assert distinct(rows, 2) == 3 / 6
    assert distinct(rows, 3) == 3 / 4
    # 12, 21, 12, 21: two of four were had before; 12, 23: none.
    assert repetition_rate(rows, 2).mean == pytest.approx((2 / 4 + 0) / 2)
    assert repetition_rate([[7] * 10], 4).mean == pytest.approx(6 / 7)


def test_self_bleu_is_100_for_copies_and_low_for_strangers() -> None:
    assert self_bleu([["a", "b", "c", "d", "e"]] * 3).mean == pytest.approx(100)
    strangers = [[f"{i}{j}" for j in range(6)] for i in range(3)]
    assert self_bleu(strangers).mean < 5


def test_corpus_bleu_by_hand() -> None:
    # Papineni et al. 2002, example 2: "the" is clipped at the two of a reference, 2 of 7.
    the = ["the"] * 7
    cat = ["the", "cat", "is", "on", "the", "mat"]
    found = corpus_bleu([the], [[cat, ["there", "is", "a", "cat", "on", "the", "mat"]]], order=1)
    assert found.precisions == pytest.approx((200 / 7,))
    # c = 3 words against 6: BP = exp(1 - 2), both precisions 1.
    short = corpus_bleu([cat[:3]], [[cat]], order=2)
    assert short.score == pytest.approx(100 * math.exp(-1))
    assert corpus_bleu([cat], [[cat]]).score == pytest.approx(100)


def test_counts_are_summed_before_dividing() -> None:
    hypotheses, references = corpus(0)
    pairs = zip(hypotheses, references, strict=True)
    mean = np.mean([corpus_bleu([words], [others]).score for words, others in pairs])
    assert abs(corpus_bleu(hypotheses, references).score - mean) > 1


def test_of_two_references_equally_near_the_shorter_counts() -> None:
    assert corpus_bleu([["a"] * 4], [[["a"] * 5, ["a"] * 3]]).reference_length == 3


def test_without_a_hit_of_some_order_the_corpus_scores_0_and_the_sentence_is_smoothed() -> None:
    words, other = ["a", "b", "c", "d"], ["a", "c", "b", "d"]
    assert corpus_bleu([words], [[other]]).score == 0
    wanted = 100 * (1.0 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert sentence_bleu(words, [other]).score == pytest.approx(wanted)
    assert sentence_bleu(["a"], [["a"]]).score == pytest.approx(100)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_corpus_bleu_equals_sacrebleu(order: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="'sacrebleu' is not installed")
    for seed in range(3):
        hypotheses, references = corpus(seed)
        judge = sacrebleu.BLEU(
            tokenize="none", smooth_method="none", force=True, max_ngram_order=order, effective_order=False
        )
        columns = [[" ".join(others[j]) for others in references] for j in range(5)]
        wanted = judge.corpus_score([" ".join(words) for words in hypotheses], columns)
        found = corpus_bleu(hypotheses, references, order=order)
        assert found.score == pytest.approx(wanted.score, abs=1e-6)
        assert found.brevity == pytest.approx(wanted.bp, abs=1e-6)


def test_rouge_l_by_hand() -> None:
    # Longest common subsequence of 3: precision 3/4, recall 3/5.
    p, r = 3 / 4, 3 / 5
    wanted = (1 + 1.44) * p * r / (r + 1.44 * p)
    assert rouge_l(list("abcd"), [list("axbyd")]) == pytest.approx(wanted)
    assert rouge_l(list("abc"), [list("xyz"), list("abc")]) == pytest.approx(1)
    assert rouge_l(list("abc"), [list("xyz")]) == 0
    assert rouge_l([], [list("xyz")]) == 0


def test_a_subsequence_may_have_gaps_but_not_another_order() -> None:
    assert rouge_l(list("ac"), [list("abc")]) > rouge_l(list("ca"), [list("abc")])


def test_cider_d_by_hand() -> None:
    # Two images whose words do not overlap: every n-gram weighs log 2, a copy has cosine 1 for each n.
    first, second = list("abcd"), list("wxyz")
    mean, each = cider_d([first, list("abcd")], [[first], [second]])
    assert each == pytest.approx((10, 0))
    assert mean == pytest.approx(5)
    # A caption cut to 3 of 4 words: cosines sqrt(3)/2, sqrt(2/3), sqrt(1/2), 0; one pair fewer.
    cosines = [3 / math.sqrt(12), 2 / math.sqrt(6), 1 / math.sqrt(2), 0]
    _, each = cider_d([list("abc"), second], [[first], [second]])
    assert each[0] == pytest.approx(10 * np.mean(cosines) * math.exp(-1 / 72))


def test_repeating_a_word_is_clipped() -> None:
    # Unclipped, the three times "a" would have the cosine of one; clipped, they earn one.
    _, once = cider_d([["a"], ["b"]], [[["a"]], [["b"]]])
    _, thrice = cider_d([["a"] * 3, ["b"]], [[["a"]], [["b"]]])
    assert once[0] == pytest.approx(10 / 4)
    assert thrice[0] == pytest.approx(10 / 4 / 3 * math.exp(-4 / 72))


def test_words_of_every_image_weigh_nothing() -> None:
    _, each = cider_d([["the"], ["the"]], [[["the"]], [["the"]]])
    assert each == (0, 0)


def test_cider_d_and_rouge_l_equal_pycocoevalcap() -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider", reason="'pycocoevalcap' is not installed")
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge", reason="'pycocoevalcap' is not installed")
    for seed in range(3):
        hypotheses, references = corpus(seed)
        truth = {i: [" ".join(other) for other in others] for i, others in enumerate(references)}
        made = {i: [" ".join(words)] for i, words in enumerate(hypotheses)}
        wanted, each = cider.Cider().compute_score(truth, made)
        mean, found = cider_d(hypotheses, references)
        assert mean == pytest.approx(wanted, abs=1e-6)
        np.testing.assert_allclose(found, each, atol=1e-6)
        _, each = rouge.Rouge().compute_score(truth, made)
        pairs = zip(hypotheses, references, strict=True)
        np.testing.assert_allclose([rouge_l(words, others) for words, others in pairs], each, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A small red circle, left of it.", ["a", "small", "red", "circle", "left", "of", "it"]),
        ("The cat's hat isn't on!", ["the", "cat", "'s", "hat", "is", "n't", "on"]),
        ('"Two-tone" (x)...', ["two-tone", "x"]),
        ("", []),
    ],
)
def test_captions_are_lower_case_words_without_punctuation(text: str, words: list[str]) -> None:
    assert caption_words(text) == words


def test_a_uniform_model_of_bytes_has_eight_bits_a_byte() -> None:
    found = likelihood([10 * math.log(256), 30 * math.log(256)], [10, 30], raw_bytes=40, characters=20)
    assert found.bits_per_byte == pytest.approx(8)
    assert found.bits_per_character == pytest.approx(16)
    assert found.perplexity == pytest.approx(256)
    assert found.nats_per_token_se == pytest.approx(0, abs=1e-12)
    assert (found.tokens, found.sequences, found.draws) == (40, 2, None)


def test_the_standard_error_of_equal_lengths_is_that_of_the_mean() -> None:
    nats = np.array([10.0, 14.0, 9.0, 11.0])
    found = likelihood(nats, [5] * 4, draws=16)
    assert found.nats_per_token_se == pytest.approx(np.std(nats / 5, ddof=1) / 2)
    assert found.perplexity_se == pytest.approx(found.perplexity * found.nats_per_token_se)
    assert found.draws == 16


def test_long_sequences_weigh_more_than_short_ones() -> None:
    found = likelihood([1.0, 90.0], [1, 30])
    assert found.nats_per_token == pytest.approx(91 / 31)
    assert found.nats_per_token != pytest.approx((1 + 3) / 2)


def test_mauve_is_not_available_rather_than_zero_without_its_package() -> None:
    gen = np.random.default_rng(0)
    found = mauve(gen.normal(size=(40, 4)), gen.normal(size=(40, 4)))
    assert found is None or 0 < found <= 1
    assert shown(None) == "not available"
    assert shown(0.5) == "0.500"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: distinct([[1]], 2), DataError, "no sample has 2 tokens"),
        (lambda: distinct([[1]], 0), ConfigError, "n = 0"),
        (lambda: unigram_entropy([[]]), DataError, "no sample"),
        (lambda: self_bleu([[1]]), DataError, "got 1"),
        (lambda: corpus_bleu([["a"]], []), DataError, "got 1 and 0"),
        (lambda: corpus_bleu([["a"]], [[]]), DataError, "sentence 1 has no reference"),
        (lambda: corpus_bleu([["a"]], [[["a"]]], order=0), ConfigError, "at least 1"),
        (lambda: cider_d([["a"]], [[]]), DataError, "image 1 has no reference"),
        (lambda: rouge_l(["a"], []), DataError, "at least one reference"),
        (lambda: likelihood([], []), DataError, "with 0 tokens"),
        (lambda: likelihood([1.0, math.nan], [1, 1]), DataError, "sequence 1 is not finite"),
        (lambda: likelihood([1.0], [1], raw_bytes=0), DataError, "0 bytes"),
        (lambda: mauve(np.zeros((2, 3)), np.zeros((2, 4))), DataError, "shapes"),
    ],
)
def test_faulty_input_is_refused(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
