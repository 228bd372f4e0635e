"""Sentences of a small probabilistic grammar, whose probability and entropy are exact.

    the small dog sees a red bird and mary sleeps near the old house.

A context-free grammar gives each rule A -> r its probability. For a grammar where no sentence has two
derivations, the entropy of a sentence is that of its derivation, and with one unknown per symbol it solves

    H(A) = H(rule of A) + sum_r p(r) sum of H over the symbols of r

(Grenander 1976; the means of any additive count, such as words and characters, solve the same system).
Subject and verb agree in number, so that a model has something to carry across a sentence.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError

__all__ = ["ENGLISH", "Grammar", "Rule"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Rule:
    """One way to write a symbol.

    Args:
        probability: of this rule among those of its symbol.
        parts: symbols of the grammar, or words.
    """

    probability: float
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """A grammar; what is no key of `rules` is a word.

    Args:
        rules: for each symbol, rules that write at least one part each.
        start: the symbol of a sentence.

    Raises:
        ConfigError: probabilities do not sum to 1, a rule is empty, or sentences grow without end.
    """

    rules: Mapping[str, tuple[Rule, ...]]
    start: str = "S"

    def __post_init__(self) -> None:
        if self.start not in self.rules:
            raise ConfigError(f"the grammar has no rule for its start '{self.start}'.")
        for symbol, rules in self.rules.items():
            if any(not rule.parts or not rule.probability > 0 for rule in rules):
                raise ConfigError(f"each rule of '{symbol}' needs a part and a positive probability.")
            if abs(sum(rule.probability for rule in rules) - 1) > 1e-12:
                raise ConfigError(f"the probabilities of '{symbol}' do not sum to 1.")
        if max(abs(np.linalg.eigvals(self._means))) >= 1:
            raise ConfigError("the sentences of this grammar grow without end.")

    @property
    def entropy(self) -> float:
        """Nats per sentence; exact where no sentence has two derivations."""
        return self._expected(
            {
                a: -sum(r.probability * math.log(r.probability) for r in rules)
                for a, rules in self.rules.items()
            }
        )

    @property
    def mean_words(self) -> float:
        """Words per sentence, the full stop not counted."""
        return self._expected(self._counted(lambda word: 1.0))

    @property
    def mean_characters(self) -> float:
        """Characters per sentence as `sentence` writes it: words, a space between each two, a full stop."""
        return self._expected(self._counted(lambda word: len(word) + 1.0))

    @property
    def bits_per_character(self) -> float:
        """The rate of a text of independent sentences, each followed by one line break."""
        return self.entropy / math.log(2) / (self.mean_characters + 1)

    def draw(self, gen: np.random.Generator) -> tuple[tuple[str, ...], float]:
        """The words of a sentence and the log probability of their derivation, in nats."""
        words: list[str] = []
        total, stack = 0.0, [self.start]
        while stack:
            part = stack.pop()
            rules = self.rules.get(part)
            if rules is None:
                words.append(part)
                continue
            rule = rules[int(np.searchsorted(self._upto[part], gen.random(), side="right"))]
            total += math.log(rule.probability)
            stack += reversed(rule.parts)
        return tuple(words), total

    def sentences(self, n: int, *, seed: int = 0) -> list[str]:
        """n independent sentences."""
        gen = np.random.default_rng(seed)
        return [self.sentence(self.draw(gen)[0]) for _ in range(n)]

    @staticmethod
    def sentence(words: Sequence[str]) -> str:
        """Words as text, with a full stop."""
        return " ".join(words) + "."

    def log_prob(self, sentence: str) -> float:
        """log p of a sentence in nats, over all derivations; -inf where the grammar never writes it."""
        if not sentence.endswith("."):
            return -math.inf
        p = self._inside(sentence[:-1].split(" "))
        return math.log(p) if p > 0 else -math.inf

    def _inside(self, words: list[str]) -> float:
        """Probability that the start writes the words (Baker 1979), by memoised spans."""
        if len(words) > 400:
            raise DataError(f"a sentence of {len(words)} words is too long to parse.", hint="At most 400.")
        known: dict[tuple[str, int, int], float] = {}

        def of(part: str, i: int, j: int) -> float:
            if part not in self.rules:
                return float(j == i + 1 and words[i] == part)
            if (part, i, j) not in known:
                known[part, i, j] = sum(
                    r.probability * chain(r.parts, i, j) for r in self.rules[part] if len(r.parts) <= j - i
                )
            return known[part, i, j]

        def chain(parts: tuple[str, ...], i: int, j: int) -> float:
            if len(parts) == 1:
                return of(parts[0], i, j)
            total = 0.0
            for k in range(i + 1, j - len(parts) + 2):
                if first := of(parts[0], i, k):
                    total += first * chain(parts[1:], k, j)
            return total

        return of(self.start, 0, len(words))

    @cached_property
    def _means(self) -> Array:
        """(symbols, symbols), how often a rule of the row's symbol writes the column's."""
        index = {symbol: i for i, symbol in enumerate(self.rules)}
        means = np.zeros((len(index), len(index)))
        for symbol, rules in self.rules.items():
            for rule in rules:
                for part in rule.parts:
                    if part in index:
                        means[index[symbol], index[part]] += rule.probability
        return means

    @cached_property
    def _upto(self) -> dict[str, Array]:
        return {
            symbol: np.append(np.cumsum([rule.probability for rule in rules])[:-1], 1.0)
            for symbol, rules in self.rules.items()
        }

    def _counted(self, weight: Callable[[str], float]) -> dict[str, float]:
        """Mean weight of the words that one rule of a symbol writes itself."""
        return {
            symbol: sum(
                rule.probability * sum(weight(part) for part in rule.parts if part not in self.rules)
                for rule in rules
            )
            for symbol, rules in self.rules.items()
        }

    def _expected(self, local: Mapping[str, float]) -> float:
        """Mean over sentences of a sum of `local` over the symbols of the derivation."""
        own = np.asarray([local[symbol] for symbol in self.rules])
        total = np.linalg.solve(np.eye(len(own)) - self._means, own)
        return float(total[list(self.rules).index(self.start)])


def _one_of(*words: str) -> tuple[Rule, ...]:
    """Words with equal probability."""
    return tuple(Rule(1 / len(words), (word,)) for word in words)


def _rules(*choices: tuple[float, str]) -> tuple[Rule, ...]:
    return tuple(Rule(probability, tuple(parts.split())) for probability, parts in choices)


# Coordination and adjectives nest to the right only, places follow verbs only, and "the", the one word of two
# classes, is told by the number of its noun: so a sentence has one derivation.
ENGLISH = Grammar(
    {
        "S": _rules((0.75, "CLAUSE"), (0.25, "CLAUSE and S")),
        "CLAUSE": _rules((0.55, "ONE VERB_ONE"), (0.45, "MANY VERB_MANY")),
        "ONE": _rules((0.25, "NAME"), (0.75, "DET_ONE THING")),
        "MANY": _rules((1.0, "DET_MANY THINGS")),
        "THING": _rules((0.7, "NOUN"), (0.3, "ADJECTIVE THING")),
        "THINGS": _rules((0.7, "NOUNS"), (0.3, "ADJECTIVE THINGS")),
        "OBJECT": _rules((0.6, "ONE"), (0.4, "MANY")),
        "VERB_ONE": _rules((0.3, "RESTS"), (0.2, "RESTS PLACE"), (0.5, "SEES OBJECT")),
        "VERB_MANY": _rules((0.3, "REST"), (0.2, "REST PLACE"), (0.5, "SEE OBJECT")),
        "PLACE": _rules((1.0, "NEAR DET_ONE SPOT")),
        "DET_ONE": _rules((0.5, "the"), (0.35, "a"), (0.15, "this")),
        "DET_MANY": _rules((0.5, "the"), (0.3, "some"), (0.2, "these")),
        "NAME": _one_of("mary", "peter", "ruth", "simon"),
        "ADJECTIVE": _one_of("small", "large", "red", "grey", "young", "quiet"),
        "NOUN": _one_of("dog", "cat", "bird", "horse", "child", "teacher", "doctor", "farmer"),
        "NOUNS": _one_of("dogs", "cats", "birds", "horses", "children", "teachers", "doctors", "farmers"),
        "RESTS": _one_of("sleeps", "waits", "sings", "runs"),
        "REST": _one_of("sleep", "wait", "sing", "run"),
        "SEES": _one_of("sees", "follows", "likes", "hears", "helps"),
        "SEE": _one_of("see", "follow", "like", "hear", "help"),
        "NEAR": _one_of("near", "behind", "under"),
        "SPOT": _one_of("house", "tree", "river", "bridge", "wall"),
    }
)
"""Readable English of 22 symbols: singular and plural subjects with verbs that agree."""
