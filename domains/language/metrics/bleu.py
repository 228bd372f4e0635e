"""BLEU over words that are already split.

    BLEU-N = BP * exp( (1/N) sum_n log p_n ),    BP = min(1, exp(1 - r / c))

p_n is the share of n-grams of the hypotheses that a reference of the same sentence has, each counted at most
as often as in the reference that has it most; c is the length of the hypotheses, r that of the references
nearest in length, the shorter where two are equally near. Counts are summed over the corpus before dividing.

Source: Papineni et al. 2002, ACL, sections 2.1 to 2.3. Scores lie in 0 .. 100, as in Post 2018
(arXiv:1804.08771).
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from core.errors import ConfigError, DataError

__all__ = ["Bleu", "corpus_bleu", "ngrams", "sentence_bleu"]

Words = Sequence[Hashable]


@dataclass(frozen=True)
class Bleu:
    """A score and what it is made of.

    Attributes:
        score: 0 .. 100.
        precisions: p_1 .. p_N, 0 .. 100.
        brevity: BP, in (0, 1]; 0 where every hypothesis is empty.
        length: words of the hypotheses.
        reference_length: r.
    """

    score: float
    precisions: tuple[float, ...]
    brevity: float
    length: int
    reference_length: int


def ngrams(words: Words, n: int) -> Counter[tuple[Hashable, ...]]:
    """How often each run of n words occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def corpus_bleu(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], *, order: int = 4
) -> Bleu:
    """BLEU of a corpus, without smoothing.

    Args:
        hypotheses: one per sentence, as words.
        references: one or more per sentence.
        order: N.

    Raises:
        ConfigError: N is below 1.
        DataError: there is no sentence, the numbers differ, or a sentence has no reference.
    """
    hits, totals, length, reference_length = _statistics(hypotheses, references, order)
    precisions = [hit / total if total else 0.0 for hit, total in zip(hits, totals, strict=True)]
    return _bleu(precisions, length, reference_length)


def sentence_bleu(
    hypothesis: Words, references: Sequence[Words], *, order: int = 4, floor: float = 0.1
) -> Bleu:
    """BLEU of one sentence, where a precision without a hit counts as `floor` hits.

    Orders that the sentence is too short for are left out of the mean.

    Source: Chen & Cherry 2014, WMT, smoothing 1.
    """
    hits, totals, length, reference_length = _statistics([hypothesis], [references], order)
    pairs = [(hit, total) for hit, total in zip(hits, totals, strict=True) if total]
    return _bleu([(hit or floor) / total for hit, total in pairs] or [0.0], length, reference_length)


def _statistics(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], order: int
) -> tuple[list[int], list[int], int, int]:
    if order < 1:
        raise ConfigError(f"the order of BLEU is at least 1, got {order}.")
    if not hypotheses or len(hypotheses) != len(references):
        raise DataError(
            f"BLEU needs one set of references per sentence, got {len(hypotheses)} and {len(references)}."
        )
    hits, totals, length, reference_length = [0] * order, [0] * order, 0, 0
    for row, (words, others) in enumerate(zip(hypotheses, references, strict=True)):
        if not others:
            raise DataError(f"sentence {row + 1} has no reference.")
        length += len(words)
        reference_length += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(1, order + 1):
            found = ngrams(words, n)
            most: Counter[tuple[Hashable, ...]] = Counter()
            for other in others:
                most |= ngrams(other, n)
            hits[n - 1] += (found & most).total()
            totals[n - 1] += found.total()
    return hits, totals, length, reference_length


def _bleu(precisions: Sequence[float], length: int, reference_length: int) -> Bleu:
    if not length:
        return Bleu(0.0, tuple(precisions), 0.0, 0, reference_length)
    brevity = min(1.0, math.exp(1 - reference_length / length))
    score = 0.0
    if min(precisions) > 0:
        score = 100 * brevity * math.exp(sum(map(math.log, precisions)) / len(precisions))
    return Bleu(score, tuple(100 * p for p in precisions), brevity, length, reference_length)
