"""n-gram models: the yardstick that a language model has to beat, with exact probabilities.

Orders 0 to k are interpolated by the number of different tokens that followed a context (method C of Witten &
Bell 1991, IEEE Trans. Inf. Theory 37(4), 1085-1094):

    p_j(w | c) = (n(c w) + T(c) p_{j-1}(w | c')) / (n(c) + T(c)),    p_{-1} = 1 / V

with c' the context without its oldest token and T(c) the number of different tokens seen after c. A context
that was never seen says nothing: then p_j = p_{j-1}. Every p_j sums to 1 over the vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError

__all__ = ["NGram", "conditional_entropy", "fit_ngram"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class _Counts:
    """What was seen after contexts of one length; keys are numbers in base V, sorted."""

    contexts: Array  # (C,) int64
    totals: Array  # (C,) n(c)
    kinds: Array  # (C,) T(c)
    grams: Array  # (G,) int64, context and token
    counts: Array  # (G,) n(c w)


@dataclass(frozen=True, eq=False)
class NGram:
    """A fitted model of order k; `fit_ngram` makes one.

    Attributes:
        order: k, tokens of context.
        size: V.
        trained: tokens it was fitted on.
    """

    order: int
    size: int
    trained: int
    levels: tuple[_Counts, ...]

    def log_prob(self, ids: Array) -> Array:
        """log p of each token given those before it in the row, in nats, (L,); the first have less context.

        Raises:
            DataError: an id is outside of the vocabulary.
        """
        ids = _checked(ids, self.size)
        p = np.full(len(ids), 1.0 / self.size)
        for order, level in enumerate(self.levels):
            if len(ids) <= order:
                break
            p[order:] = self._raised(p[order:], _contexts(ids, order, self.size), ids[order:], level)
        return np.log(p)

    def next_probs(self, context: Array) -> Array:
        """p(. | context), (V,)."""
        context = _checked(context, self.size)
        every = np.arange(self.size)
        p = np.full(self.size, 1.0 / self.size)
        for order, level in enumerate(self.levels[: len(context) + 1]):
            tail = np.append(context[len(context) - order :], 0)
            key = np.repeat(_contexts(tail, order, self.size), self.size)
            p = self._raised(p, key, every, level)
        return p

    def bits_per_token(self, ids: Array) -> float:
        """Mean code length; bits per character for a vocabulary of characters."""
        if not len(ids):
            raise DataError("there is no token to score.")
        return float(-self.log_prob(ids).mean() / math.log(2))

    def _raised(self, lower: Array, contexts: Array, tokens: Array, level: _Counts) -> Array:
        at, seen = _find(level.contexts, contexts)
        gram, found = _find(level.grams, contexts * self.size + tokens)
        count = np.where(found, level.counts[gram], 0)
        total, kinds = level.totals[at], level.kinds[at]
        return np.where(seen, (count + kinds * lower) / (total + kinds), lower)


def fit_ngram(ids: Array, size: int, order: int) -> NGram:
    """Count a text.

    Args:
        ids: (L,).
        size: V.
        order: k; V^(k+1) must stay below 2^63.

    Raises:
        ConfigError: the order is negative or too high for the vocabulary.
        DataError: there are not more tokens than the order, or an id is outside of the vocabulary.
    """
    if order < 0 or size < 1 or (order + 1) * math.log2(max(size, 2)) >= 63:
        raise ConfigError(f"an order of {order} does not work with {size} tokens.", hint="Lower the order.")
    ids = _checked(ids, size)
    if len(ids) <= order:
        raise DataError(f"found {len(ids)} tokens, order {order} needs {order + 1}.", hint="Give more text.")
    levels = []
    for n in range(order + 1):
        grams, counts = np.unique(_contexts(ids, n, size) * size + ids[n:], return_counts=True)
        contexts, first, kinds = np.unique(grams // size, return_index=True, return_counts=True)
        levels.append(_Counts(contexts, np.add.reduceat(counts, first), kinds, grams, counts))
    return NGram(order, size, len(ids), tuple(levels))


def conditional_entropy(ids: Array, size: int, order: int) -> float:
    """H(next token | `order` tokens before it) of the empirical law of a text, in bits.

    It is below the rate of any source the text came from, by about the number of parameters over twice the
    number of tokens.
    """
    level = fit_ngram(ids, size, order).levels[order]
    at, _ = _find(level.contexts, level.grams // size)
    share = level.counts / level.counts.sum()
    return float(-(share * np.log2(level.counts / level.totals[at])).sum())


def _checked(ids: Array, size: int) -> Array:
    ids = np.asarray(ids, dtype=np.int64)
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= size):
        raise DataError(f"ids lie in {int(ids.min())} .. {int(ids.max())}, expected 0 .. {size - 1}.")
    return ids


def _contexts(ids: Array, order: int, size: int) -> Array:
    """The `order` tokens before each of ids[order:], as one number."""
    key = np.zeros(len(ids) - order, dtype=np.int64)
    for j in range(order):
        key = key * size + ids[j : len(ids) - order + j]
    return key


def _find(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """Place of each key, and whether it is there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
