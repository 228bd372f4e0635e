"""Finite measures with rational masses, and the finite kernels and factors that programs are written with.

`Measure` is what a program denotes. `Table` and `Factor` hold rationals for exact meaning and give the same
numbers as tensors for sampling, so that one source text serves both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = ["Factor", "Measure", "Rational", "Table"]

Rational: TypeAlias = Fraction | int


@dataclass(frozen=True)
class Measure:
    """A finite measure: hashable values and their masses, which are fractions and not zero.

    Equality of measures is equality of every mass, without tolerance.
    """

    mass: Mapping[Any, Fraction] = field(hash=False)

    @staticmethod
    def of(pairs: Iterable[tuple[Any, Rational]]) -> "Measure":
        """Collect masses; equal values are merged and zeros dropped."""
        found: dict[Any, Fraction] = {}
        for value, weight in pairs:
            if weight:
                found[value] = found.get(value, Fraction(0)) + weight
        return Measure(found)

    def __iter__(self) -> Iterator[tuple[Any, Fraction]]:
        return iter(self.mass.items())

    def __len__(self) -> int:
        return len(self.mass)

    def __getitem__(self, value: Any) -> Fraction:
        """Mass of a value; zero where there is none."""
        return self.mass.get(value, Fraction(0))

    @property
    def total(self) -> Fraction:
        """Mass of everything: the evidence of a model."""
        return sum(self.mass.values(), Fraction(0))

    def normalised(self) -> "Measure":
        """The probability law.

        Raises:
            ConfigError: the measure is zero.
        """
        total = self.total
        if not total:
            raise ConfigError("a measure without mass has no law.", hint="Every path has weight zero.")
        return Measure({value: weight / total for value, weight in self})

    def map(self, fn: Callable[[Any], Any]) -> "Measure":
        """The image under a function."""
        return Measure.of((fn(value), weight) for value, weight in self)

    def distance(self, other: "Measure") -> Fraction:
        """Sum of absolute differences of all masses."""
        values = {*self.mass, *other.mass}
        return sum((abs(self[v] - other[v]) for v in values), Fraction(0))


@dataclass(frozen=True)
class Table:
    """A kernel between finite sets: row x is the law of the outcomes 0 .. m - 1 given x.

    Raises:
        ConfigError: a row does not sum to one, or has a negative entry.
    """

    rows: tuple[tuple[Fraction, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if sum(row) != 1 or min(row) < 0:
                raise ConfigError(f"expected a law that sums to 1, got {[str(p) for p in row]}.")

    @staticmethod
    def of(*rows: Iterable[Rational]) -> "Table":
        """One row per given value; a single row is a law without condition."""
        return Table(tuple(tuple(Fraction(p) for p in row) for row in rows))

    def law(self, x: int = 0) -> Measure:
        """Row x as a measure."""
        return Measure.of(enumerate(self.rows[x]))

    def chance(self, x: Any, y: Any) -> Any:
        """Probability of y given x: a fraction for integers, float64 (*) for tensors of them."""
        return self.tensor[x, y] if isinstance(y, Tensor) else self.rows[x][y]

    @cached_property
    def tensor(self) -> Tensor:
        """Probabilities, (rows, m), float64."""
        return torch.tensor([[float(p) for p in row] for row in self.rows], dtype=torch.float64)


@dataclass(frozen=True)
class Factor:
    """A weight for each value of a finite set, such as the likelihood of an observation."""

    weights: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if min(self.weights) < 0:
            raise ConfigError(f"weights must not be negative, got {[str(w) for w in self.weights]}.")

    @staticmethod
    def of(*weights: Rational) -> "Factor":
        return Factor(tuple(Fraction(w) for w in weights))

    def __getitem__(self, x: Any) -> Any:
        """Weight of value x: a fraction for an integer, float64 (*) for a tensor of integers."""
        return self.tensor[x] if isinstance(x, Tensor) else self.weights[x]

    @cached_property
    def tensor(self) -> Tensor:
        """Weights, float64."""
        return torch.tensor([float(w) for w in self.weights], dtype=torch.float64)
