"""The interpreter that computes what a program means, and the one that keeps weights beside values.

    unit(v)          the measure of mass one at v
    bind(p, f)       sum over v of p(v) f(v), equal values merged at once
    choose(table, x) the law in row x
    score(w)         mass w: scales everything that the program goes on to do

Merging at every bind keeps the number of values that of the state space, whatever the number of paths that
lead there. A cloud of particles is a sorted tuple of (value, weight) pairs, since its meaning does not depend
on their order: that merges permutations too.

Source: Scibior et al. 2018, Denotational validation of higher-order Bayesian inference, arXiv:1711.03219.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Protocol, TypeAlias

from core.errors import ConfigError
from core.infer.laws import Rule, law_of
from core.infer.measure import Factor, Measure, Rational, Table

__all__ = ["Cloud", "Exact", "Interpreter", "Kernel", "Populations", "Program", "Weighted", "cloud_of"]

Program: TypeAlias = Callable[[Any], Any]  # interpreter -> what it stands for there
Kernel: TypeAlias = Callable[[Any, Any], Any]  # (interpreter, value) -> what it stands for there
Cloud: TypeAlias = Any  # particles of one population: pairs (value, weight), or tensors


class Interpreter(Protocol):
    """What a program is written against."""

    def unit(self, value: Any) -> Any:
        """Stop with this value."""

    def bind(self, program: Any, then: Callable[[Any], Any]) -> Any:
        """Run a program and go on with its value."""

    def choose(self, table: Any, x: Any = 0) -> Any:
        """Draw from row x of a table."""

    def score(self, factor: Any, x: Any = None) -> Any:
        """Multiply the weight: by a number, or by entry x of a `Factor`."""

    def flip(self, chance: Any, yes: Any, no: Any) -> Any:
        """`yes` with this probability, one if it is more, else `no`."""


class Populations(Interpreter, Protocol):
    """An interpreter that can hold many weighted values at once."""

    def spawn(self, n: int, program: Program) -> Any:
        """n independent runs, as one cloud of weight 1 / n each."""

    def each(self, cloud: Cloud, kernel: Kernel) -> Any:
        """Run a kernel from every value; its scores multiply the weights."""

    def reparent(self, cloud: Cloud, rule: Rule) -> Any:
        """The pair of an equally weighted cloud of resampled values, and the mean weight it lost."""

    def average(self, cloud: Cloud) -> Any:
        """One value, drawn evenly, scored by its weight: what the cloud means."""


def cloud_of(pairs: Any) -> tuple[tuple[Any, Fraction], ...]:
    """Particles in an order of their own."""
    return tuple(sorted(pairs, key=repr))


@dataclass(frozen=True)
class Exact:
    """Programs as finite measures."""

    def unit(self, value: Any) -> Measure:
        return Measure({value: Fraction(1)})

    def bind(self, program: Measure, then: Callable[[Any], Measure]) -> Measure:
        return Measure.of((v, p * q) for value, p in program for v, q in then(value))

    def choose(self, table: Table | Measure, x: int = 0) -> Measure:
        if isinstance(table, Measure):
            return table
        if not isinstance(table, Table):
            raise ConfigError(
                f"only finite laws have an exact meaning, got {type(table).__name__}.",
                hint="Write the choice with Table, or run the program under Sample.",
            )
        return table.law(x)

    def score(self, factor: Factor | Rational, x: int | None = None) -> Measure:
        return Measure.of([(None, factor[x or 0] if isinstance(factor, Factor) else Fraction(factor))])

    def flip(self, chance: Rational, yes: Any, no: Any) -> Measure:
        share = min(Fraction(chance), Fraction(1))
        return Measure.of([(yes, share), (no, 1 - share)])

    def spawn(self, n: int, program: Program) -> Measure:
        _some(n)
        one = program(Weighted(self))
        clouds = self.unit(())
        for _ in range(n):
            clouds = self.bind(clouds, partial(_joined, one))
        return clouds

    def each(self, cloud: Cloud, kernel: Kernel) -> Measure:
        moved = self.unit(())
        for value, weight in cloud:
            after = kernel(Weighted(self), value).map(partial(_scaled, weight))
            moved = self.bind(moved, partial(_joined, after))
        return moved

    def reparent(self, cloud: Cloud, rule: Rule) -> Measure:
        total = sum((weight for _, weight in cloud), Fraction(0))
        if not total:
            return self.unit((cloud, Fraction(0)))
        weights = tuple(weight / total for _, weight in cloud)
        children = self.unit(())
        for part in law_of(rule, weights):
            drawn = part.map(lambda parents: tuple((cloud[i][0], Fraction(1)) for i in parents))
            children = self.bind(children, partial(_joined_all, drawn))
        return children.map(lambda found: (found, total / len(cloud)))

    def average(self, cloud: Cloud) -> Measure:
        return Measure.of((value, weight / len(cloud)) for value, weight in cloud)


@dataclass(frozen=True)
class Weighted:
    """Programs over a base interpreter whose scores stay beside the value: base programs of (value, weight).

    `meaning` scores the weight after all.
    """

    base: Any

    def unit(self, value: Any) -> Any:
        return self.base.unit((value, Fraction(1)))

    def bind(self, program: Any, then: Callable[[Any], Any]) -> Any:
        return self.base.bind(
            program,
            lambda pair: self.base.bind(
                then(pair[0]), lambda after: self.base.unit((after[0], pair[1] * after[1]))
            ),
        )

    def choose(self, table: Any, x: Any = 0) -> Any:
        return self._lift(self.base.choose(table, x))

    def score(self, factor: Any, x: Any = None) -> Any:
        weight = factor[x or 0] if isinstance(factor, Factor) else Fraction(factor)
        return self.base.unit((None, weight))

    def flip(self, chance: Any, yes: Any, no: Any) -> Any:
        return self._lift(self.base.flip(chance, yes, no))

    def spawn(self, n: int, program: Program) -> Any:
        return self._lift(self.base.spawn(n, program))

    def each(self, cloud: Cloud, kernel: Kernel) -> Any:
        return self._lift(self.base.each(cloud, kernel))

    def reparent(self, cloud: Cloud, rule: Rule) -> Any:
        return self._lift(self.base.reparent(cloud, rule))

    def average(self, cloud: Cloud) -> Any:
        n = len(cloud)
        return self.base.choose(Measure.of((pair, Fraction(1, n)) for pair in cloud))

    def meaning(self, program: Any) -> Any:
        """The base program that scores every weight."""
        return self.base.bind(
            program, lambda pair: self.base.bind(self.base.score(pair[1]), lambda _: self.base.unit(pair[0]))
        )

    def _lift(self, program: Any) -> Any:
        return self.base.bind(program, lambda value: self.base.unit((value, Fraction(1))))


def _scaled(weight: Fraction, pair: tuple[Any, Fraction]) -> tuple[Any, Fraction]:
    return pair[0], weight * pair[1]


def _joined(particles: Measure, cloud: Cloud) -> Measure:
    """A cloud with one more particle, for each that it may be."""
    return particles.map(lambda pair: cloud_of([*cloud, pair]))


def _joined_all(several: Measure, cloud: Cloud) -> Measure:
    return several.map(lambda pairs: cloud_of([*cloud, *pairs]))


def _some(n: int) -> None:
    if n < 1:
        raise ConfigError(f"a population needs at least 1 particle, got {n}.")
