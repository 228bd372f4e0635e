"""Likelihoods in the units that people compare: nats per token, perplexity, bits per byte and character.

Perplexity depends on the tokenizer, bits per byte of the raw text do not. Figures of a diffusion model are
upper bounds, so `Likelihood` carries the number of Monte-Carlo draws beside the standard error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import DataError

__all__ = ["Likelihood", "likelihood"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Likelihood:
    """A likelihood over several sequences.

    Attributes:
        nats_per_token: total over total.
        nats_per_token_se: standard error over sequences, of that ratio; NaN for a single one.
        perplexity: exp of nats per token.
        perplexity_se: likewise, to first order.
        bits_per_byte: of the raw text, None where its size is not known.
        bits_per_character: likewise.
        tokens: scored.
        sequences: scored.
        draws: Monte-Carlo draws per sequence; None where the value is exact.
    """

    nats_per_token: float
    nats_per_token_se: float
    perplexity: float
    perplexity_se: float
    bits_per_byte: float | None
    bits_per_character: float | None
    tokens: int
    sequences: int
    draws: int | None


def likelihood(
    nats: Sequence[float] | Array,
    tokens: Sequence[int] | Array,
    *,
    raw_bytes: float | None = None,
    characters: float | None = None,
    draws: int | None = None,
) -> Likelihood:
    """Sum up the scores of sequences.

    Args:
        nats: -log p of each sequence, (n,).
        tokens: scored in each, (n,).
        raw_bytes: UTF-8 bytes of the text that these tokens stand for, before anything was changed. Where a
            remainder was dropped, the bytes of the stream times the share of its tokens that were scored.
        characters: likewise.
        draws: Monte-Carlo draws per sequence, None where the values are exact.

    Raises:
        DataError: there is no token, the lengths differ, a value is not finite, or a size is not positive.
    """
    total, count = np.asarray(nats, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    if total.shape != count.shape or total.ndim != 1 or not count.sum() > 0:
        raise DataError(f"got {total.size} scores for {count.size} sequences with {int(count.sum())} tokens.")
    if not np.isfinite(total).all():
        raise DataError(f"the score of sequence {int(np.argmin(np.isfinite(total)))} is not finite.")
    for name, size in (("bytes", raw_bytes), ("characters", characters)):
        if size is not None and not size > 0:
            raise DataError(f"the text has {size} {name}, nothing can be divided by that.")
    n, rate = len(total), float(total.sum() / count.sum())
    se = math.nan
    if n > 1:
        # Delta method for a ratio of means (Cochran 1977, eq. 6.4).
        se = float(np.sqrt(((total - rate * count) ** 2).sum() / (n - 1) / n) / count.mean())
    bits = float(total.sum()) / math.log(2)
    return Likelihood(
        rate,
        se,
        math.exp(rate),
        math.exp(rate) * se,
        None if raw_bytes is None else bits / raw_bytes,
        None if characters is None else bits / characters,
        int(count.sum()),
        n,
        draws,
    )
