"""The exact laws of resampling rules: what `core.infer.resample` draws, with its randomness integrated out.

A rule maps normalised rational weights to independent parts; each part is the law of a tuple of parents, and
the parts laid end to end are the parents of all n particles.

    multinomial   n parts, each the weights themselves
    stratified    n parts: part i is the overlap of [i / n, (i + 1) / n) with the cumulated weights
    systematic    one part: the uniform number is cut where any parent changes
    residual      one certain part of floor(n w_i) copies, then parts drawn from the remainders
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor
from typing import TypeAlias

from core.errors import unknown
from core.infer.measure import Measure

__all__ = ["LAWS", "Rule", "law_of"]

Weights: TypeAlias = Sequence[Fraction]
Law: TypeAlias = Callable[[Weights], list[Measure]]
Rule: TypeAlias = str | Law


def law_of(rule: Rule, weights: Weights) -> list[Measure]:
    """Laws of the parents under a rule, by name or as a function of its own.

    Raises:
        ConfigError: no rule has this name.
    """
    if isinstance(rule, str):
        if rule not in LAWS:
            raise unknown("resampler", rule, LAWS)
        rule = LAWS[rule]
    return rule(weights)


def multinomial(weights: Weights) -> list[Measure]:
    return [Measure.of(((i,), w) for i, w in enumerate(weights))] * len(weights)


def stratified(weights: Weights) -> list[Measure]:
    n = len(weights)
    edges = [Fraction(0), *accumulate(weights)]
    return [
        Measure.of(
            ((k,), n * max(Fraction(0), min(high, Fraction(i + 1, n)) - max(low, Fraction(i, n))))
            for k, (low, high) in enumerate(pairwise(edges))
        )
        for i in range(n)
    ]


def systematic(weights: Weights) -> list[Measure]:
    n = len(weights)
    edges = list(accumulate(weights))
    cuts = sorted({Fraction(0), Fraction(1), *((n * edge) % 1 for edge in edges)})

    def parents(u: Fraction) -> tuple[int, ...]:
        points = [(i + u) / n for i in range(n)]
        return tuple(next(k for k, edge in enumerate(edges) if edge > point) for point in points)

    return [Measure.of((parents((low + high) / 2), high - low) for low, high in pairwise(cuts))]


def residual(weights: Weights) -> list[Measure]:
    n = len(weights)
    whole = [floor(n * w) for w in weights]
    kept = tuple(i for i, count in enumerate(whole) for _ in range(count))
    left = n - len(kept)
    if not left:
        return [Measure({kept: Fraction(1)})]
    rest = Measure.of(((i,), (n * w - c) / left) for i, (w, c) in enumerate(zip(weights, whole, strict=True)))
    return [Measure({kept: Fraction(1)}), *[rest] * left]


LAWS: dict[str, Law] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}
