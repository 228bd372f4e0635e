"""What samples look like whatever a judge says of them: diversity and repetition.

A sampler can lower the perplexity of its samples by repeating itself, so a report gives these beside it. All
take samples as rows of tokens, ids or words; padding and ends are the caller's to take off.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ConfigError, DataError
from domains.language.metrics.bleu import ngrams, sentence_bleu

__all__ = ["Measured", "distinct", "repetition_rate", "self_bleu", "unigram_entropy"]

Rows = Sequence[Sequence[Hashable]]


@dataclass(frozen=True)
class Measured:
    """A mean over samples.

    Attributes:
        mean: over `n` samples.
        se: standard error of it, NaN for one sample.
    """

    mean: float
    se: float
    n: int


def unigram_entropy(rows: Rows) -> Measured:
    """Entropy of the tokens of each sample, in nats; at most log of its length.

    Raises:
        DataError: no sample has a token.
    """
    values = []
    for row in rows:
        counts = np.asarray(list(Counter(row).values()), dtype=np.float64)
        if len(counts):
            p = counts / counts.sum()
            values.append(float(-(p * np.log(p)).sum()))
    return _measured(values)


def distinct(rows: Rows, n: int) -> float:
    """Different n-grams over all n-grams of all samples, in (0, 1] (Li et al. 2016, arXiv:1510.03055).

    It falls with the amount of text: compare only at an equal number of tokens.

    Raises:
        DataError: no sample has n tokens.
    """
    _check_order(n)
    counts: Counter[tuple[Hashable, ...]] = Counter()
    for row in rows:
        counts.update(ngrams(row, n))
    if not counts:
        raise DataError(f"no sample has {n} tokens.")
    return len(counts) / counts.total()


def repetition_rate(rows: Rows, n: int = 4) -> Measured:
    """Share of the n-grams of a sample that it has had before, in [0, 1).

    Samples shorter than n are left out. Source: seq-rep-n of Welleck et al. 2019, arXiv:1908.04319, eq. 7.

    Raises:
        DataError: no sample has n tokens.
    """
    _check_order(n)
    counted = [ngrams(row, n) for row in rows if len(row) >= n]
    return _measured([1 - len(counts) / counts.total() for counts in counted])


def self_bleu(rows: Rows, *, order: int = 4, most: int = 200) -> Measured:
    """BLEU of each sample against all others, 0 .. 100; high where samples resemble one another.

    Smoothed per sentence, see `bleu.sentence_bleu`. The cost grows with the square of the number of samples;
    it depends on that number too, so compare at equal `n`.

    Args:
        most: samples taken, the first ones.

    Source: Zhu et al. 2018, arXiv:1802.01886, section 3.2.

    Raises:
        DataError: there are fewer than two samples with a token.
    """
    taken = [row for row in rows[:most] if len(row)]
    if len(taken) < 2:
        raise DataError(f"self-BLEU compares samples with one another, got {len(taken)}.")
    return _measured(
        [
            sentence_bleu(row, [other for j, other in enumerate(taken) if j != i], order=order).score
            for i, row in enumerate(taken)
        ]
    )


def _check_order(n: int) -> None:
    if n < 1:
        raise ConfigError(f"n-grams have at least 1 token, got n = {n}.")


def _measured(values: Sequence[float]) -> Measured:
    n = len(values)
    if not n:
        raise DataError("there is no sample that is long enough to measure.")
    se = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Measured(float(np.mean(values)), se, n)
