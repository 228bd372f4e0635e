"""An order-2 Markov source of characters: entropy, block probabilities and posteriors are exact.

    p(x_1 .. x_L) = pi(x_1, x_2) prod_{i > 2} P(x_i | x_{i-2}, x_{i-1})

with pi the stationary law of pairs, so that every window of a text has the same law. In nats, the entropy
of a block of L >= 2 is H(pi) + (L - 2) h, with the rate h = sum pi(a, b) H(P(. | a, b)) (Shannon 1948,
theorem 5).

The posterior of hidden characters given visible ones is a forward-backward pass over pairs (Rabiner 1989): it
is what a model that unmasks text can learn at best.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError

__all__ = ["MarkovText", "markov_text"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class MarkovText:
    """The source.

    Args:
        symbols: K different characters, numbered in this order.
        table: (K, K, K), P(c | a, b) at [a, b, c]; positive, rows sum to 1.
    """

    symbols: str
    table: Array

    def __post_init__(self) -> None:
        k = len(self.symbols)
        if k < 2 or len(set(self.symbols)) != k:
            raise ConfigError(f"a source needs at least 2 different characters, got {self.symbols!r}.")
        if self.table.shape != (k, k, k):
            raise ConfigError(f"the table has shape {self.table.shape}, expected {(k, k, k)}.")
        if not (self.table > 0).all() or np.abs(self.table.sum(-1) - 1).max() > 1e-12:
            raise ConfigError("each row of the table must be positive and sum to 1.")

    @cached_property
    def stationary(self) -> Array:
        """(K, K), the law of two neighbours; it solves pi(b, c) = sum_a pi(a, b) P(c | a, b)."""
        k = len(self.symbols)
        step = np.zeros((k, k, k, k))
        for b in range(k):
            step[:, b, b, :] = self.table[:, b, :]
        flat = step.reshape(k * k, k * k)
        system = np.vstack([flat.T - np.eye(k * k), np.ones(k * k)])
        found, *_ = np.linalg.lstsq(system, np.append(np.zeros(k * k), 1.0), rcond=None)
        return found.reshape(k, k)

    @property
    def entropy_rate(self) -> float:
        """h in nats per character."""
        return float(-(self.stationary[..., None] * self.table * np.log(self.table)).sum())

    def block_entropy(self, length: int) -> float:
        """H(x_1 .. x_L) in nats."""
        if length < 1:
            raise ConfigError(f"a block needs at least 1 character, got {length}.")
        if length == 1:
            return _entropy(self.stationary.sum(0))
        return _entropy(self.stationary) + (length - 2) * self.entropy_rate

    def draw(self, n: int, length: int, gen: np.random.Generator) -> Array:
        """n blocks (n, length) int64 of L >= 2 characters, from the stationary law."""
        if length < 2:
            raise ConfigError(f"a block needs at least 2 characters, got {length}.")
        k = len(self.symbols)
        pairs = gen.choice(k * k, size=n, p=self.stationary.ravel() / self.stationary.sum())
        ids = np.empty((n, length), dtype=np.int64)
        ids[:, 0], ids[:, 1] = np.divmod(pairs, k)
        u = gen.random((length - 2, n))
        upto = np.cumsum(self.table, -1)
        upto[..., -1] = 1.0
        if n >= 32:
            for i in range(2, length):
                ids[:, i] = (u[i - 2][:, None] > upto[ids[:, i - 2], ids[:, i - 1]]).sum(-1)
            return ids
        # The same numbers one at a time: for a few long texts, plain lists are faster than short arrays.
        lists = upto.tolist()
        for row, draws in zip(ids, u.T.tolist(), strict=True):
            a, b = int(row[0]), int(row[1])
            for i, x in enumerate(draws):
                a, b = b, bisect_left(lists[a][b], x)
                row[i + 2] = b
        return ids

    def text(self, ids: Array) -> str:
        """The characters of numbers (L,)."""
        return "".join(self.symbols[int(i)] for i in ids)

    def log_prob(self, ids: Array) -> Array:
        """log p of blocks (n, L) with L >= 1, in nats, (n,)."""
        if ids.shape[1] == 1:
            return np.log(self.stationary.sum(1))[ids[:, 0]]
        first = np.log(self.stationary)[ids[:, 0], ids[:, 1]]
        return first + np.log(self.table)[ids[:, :-2], ids[:, 1:-1], ids[:, 2:]].sum(-1)

    def posterior(self, ids: Array) -> Array:
        """p(x_i | visible) for one block.

        Args:
            ids: (L,) with L >= 2; -1 where a character is hidden.

        Returns:
            (L, K), rows sum to 1; one-hot where the character is visible.

        Raises:
            DataError: a number is outside of -1 .. K - 1, or L < 2.
        """
        k, n = len(self.symbols), len(ids)
        if n < 2 or int(ids.min()) < -1 or int(ids.max()) >= k:
            raise DataError(f"a block needs 2 characters or more, each -1 .. {k - 1}.")
        allowed = np.ones((n, k))
        seen = np.flatnonzero(ids >= 0)
        allowed[seen] = 0.0
        allowed[seen, ids[seen]] = 1.0
        forward, backward = np.empty((n - 1, k, k)), np.ones((n - 1, k, k))
        forward[0] = self.stationary * allowed[0][:, None] * allowed[1][None, :]
        forward[0] /= forward[0].sum()
        for i in range(1, n - 1):
            forward[i] = np.einsum("ab,abc->bc", forward[i - 1], self.table) * allowed[i + 1]
            forward[i] /= forward[i].sum()
        for i in range(n - 3, -1, -1):
            backward[i] = np.einsum("abc,bc->ab", self.table, backward[i + 1] * allowed[i + 2])
            backward[i] /= backward[i].sum()
        both = forward * backward
        both /= both.sum((1, 2), keepdims=True)
        return np.vstack([both.sum(2), both[-1].sum(0)])


def markov_text(symbols: str = "abcde ", *, concentration: float = 0.5, seed: int = 0) -> MarkovText:
    """A source whose rows are drawn from a symmetric Dirichlet law, mixed with 1 % of the uniform one.

    Args:
        concentration: below 1 a few characters follow each pair, above all do.
        seed: of the rows.
    """
    if not concentration > 0:
        raise ConfigError(f"concentration must be positive, got {concentration}.")
    k = len(symbols)
    rows = np.random.default_rng(seed).dirichlet(np.full(k, concentration), size=(k, k))
    mixed = 0.99 * rows + 0.01 / k
    return MarkovText(symbols, mixed / mixed.sum(-1, keepdims=True))


def _entropy(p: Array) -> float:
    return float(-(p * np.log(p)).sum())
