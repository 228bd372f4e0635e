"""Metrics of captions against several references: ROUGE-L and CIDEr-D.

Captions are split into lower-case words without punctuation, near to the Penn Treebank rules that the
published figures use: "isn't" is "is" and "n't", "cat's" is "cat" and "'s".
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from core.errors import DataError
from domains.language.metrics.bleu import ngrams

__all__ = ["caption_words", "cider_d", "rouge_l"]

Captions = Sequence[Sequence[str]]

CLITIC = re.compile(r"(?<=\w)(n't|'s|'re|'ve|'ll|'d|'m)\b")
WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+(?:[-.,]\w+)*")

BETA = 1.2
ORDERS = 4
SIGMA = 6.0


def caption_words(text: str) -> list[str]:
    """Lower-case words of a caption, without punctuation."""
    return WORD.findall(CLITIC.sub(r" \1", text.lower().replace("’", "'")))


def rouge_l(hypothesis: Sequence[str], references: Captions) -> float:
    """F-measure of the longest common subsequence, in [0, 1].

    The best precision and the best recall over the references are taken, and recall counts beta^2 = 1.44
    times, as in the published caption figures.

    Source: Lin 2004, ACL workshop "Text summarization branches out", section 3.2.

    Raises:
        DataError: there is no reference.
    """
    if not references:
        raise DataError("a caption needs at least one reference.")
    common = [(_common(hypothesis, other), len(other)) for other in references]
    if not hypothesis or not any(n for n, _ in common):
        return 0.0
    precision = max(n for n, _ in common) / len(hypothesis)
    recall = max(n / length for n, length in common if length)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def cider_d(hypotheses: Captions, references: Sequence[Captions]) -> tuple[float, tuple[float, ...]]:
    """CIDEr-D of a corpus: n-grams of 1 to 4 words, weighted by how few images have them.

    Each n-gram weighs its count times log(images / images whose references have it). A caption scores the
    mean over n and references of the clipped cosine of such vectors, times exp(-d^2 / (2 sigma^2)) for a
    difference d in length, sigma = 6, times 10.

    Returns:
        Mean over images, and the score of each, in [0, 10]. With a single image every weight is 0, so is the
        score.

    Source: Vedantam et al. 2015, arXiv:1411.5726, eqs. 1 to 5.

    Raises:
        DataError: there is no image, the numbers differ, or an image has no reference.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise DataError(
            f"CIDEr-D needs one set of references per image, got {len(hypotheses)} and {len(references)}."
        )
    counted = []
    images: Counter[tuple[Hashable, ...]] = Counter()
    for row, others in enumerate(references):
        if not others:
            raise DataError(f"image {row + 1} has no reference.")
        counted.append([_counts(other) for other in others])
        images.update({gram for counts in counted[-1] for order in counts for gram in order})
    log_n = math.log(len(references))

    def weighted(counts: list[Counter[tuple[Hashable, ...]]]) -> list[dict[tuple[Hashable, ...], float]]:
        return [
            {gram: count * (log_n - math.log(max(images[gram], 1))) for gram, count in order.items()}
            for order in counts
        ]

    scores = []
    for words, theirs in zip(hypotheses, counted, strict=True):
        own = _counts(words)
        ours = weighted(own)
        each = [_similarity(ours, weighted(other), own[1].total() - other[1].total()) for other in theirs]
        scores.append(10 * sum(each) / len(each))
    return float(np.mean(scores)), tuple(scores)


def _counts(words: Sequence[str]) -> list[Counter[tuple[Hashable, ...]]]:
    return [ngrams(words, n) for n in range(1, ORDERS + 1)]


def _similarity(
    ours: list[dict[tuple[Hashable, ...], float]],
    theirs: list[dict[tuple[Hashable, ...], float]],
    difference: int,
) -> float:
    """Mean over n of the clipped cosine, damped by the difference in length (counted in pairs of words)."""
    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        norms = math.hypot(*a.values()) * math.hypot(*b.values())
        if norms:
            total += sum(min(weight, b[gram]) * b[gram] for gram, weight in a.items() if gram in b) / norms
    return total / ORDERS * math.exp(-(difference**2) / (2 * SIGMA**2))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        corner = 0
        for j, y in enumerate(b):
            above = row[j + 1]
            row[j + 1] = corner + 1 if x == y else max(above, row[j])
            corner = above
    return row[-1]
