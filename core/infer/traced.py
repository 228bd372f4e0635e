"""Programs with their choices: replayed from a script, extended where it ends, and moved by regeneration.

A traced program is a function from a script, the choices to replay, to a base program of `Trace`. Scores stay
in the trace, so that a Metropolis-Hastings step can compare them.

Source: the choice list of Wingate, Stuhlmueller & Goodman 2011, AISTATS; the ratio is eq. 7 of Green 1995,
Biometrika 82(4), with the tail of the trace as the auxiliary draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from torch import Tensor

from core.errors import ConfigError
from core.infer.blocks import mh
from core.infer.drawn import LogWeight
from core.infer.exact import Kernel, Program
from core.infer.measure import Factor, Table

__all__ = ["Trace", "Traced", "trace_mh", "traces"]


class Trace(NamedTuple):
    """A finished run: its value, its choices in order, its weight, and what was left of the script."""

    value: Any
    choices: tuple[Any, ...]
    weight: Any
    left: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Traced:
    """Programs over a base interpreter that keep their choices; `run` gives base programs of `Trace`."""

    base: Any

    def unit(self, value: Any) -> Any:
        return lambda script: self.base.unit(Trace(value, (), Fraction(1), script))

    def bind(self, program: Any, then: Callable[[Any], Any]) -> Any:
        def joined(first: Trace) -> Any:
            return self.base.bind(
                then(first.value)(first.left),
                lambda rest: self.base.unit(
                    Trace(rest.value, first.choices + rest.choices, first.weight * rest.weight, rest.left)
                ),
            )

        return lambda script: self.base.bind(program(script), joined)

    def choose(self, table: Any, x: Any = 0) -> Any:
        def run(script: tuple[Any, ...]) -> Any:
            drawn = self.base.unit(script[0]) if script else self.base.choose(table, x)
            return self.base.bind(
                drawn, lambda c: self.base.unit(Trace(c, (c,), Fraction(1), tuple(script[1:])))
            )

        return run

    def score(self, factor: Any, x: Any = None) -> Any:
        if isinstance(factor, LogWeight):
            raise ConfigError("a trace keeps weights, not their logarithms.", hint="Score the weight itself.")
        found = factor[0 if x is None else int(x)] if isinstance(factor, Factor) else factor
        weight = float(found) if isinstance(found, Tensor) else found
        return lambda script: self.base.unit(Trace(None, (), weight, script))

    def flip(self, chance: Any, yes: Any, no: Any) -> Any:
        coin = self.choose(Table.of([1 - Fraction(chance), Fraction(chance)]))
        return self.bind(coin, lambda c: self.unit(yes if c else no))

    def run(self, program: Any, script: tuple[Any, ...] = ()) -> Any:
        """Replay the script and draw what it does not say."""
        return self.base.bind(program(tuple(script)), lambda trace: self.base.unit(trace._replace(left=())))


def traces(m: Any, program: Program) -> Any:
    """The base program of whole traces, each scored by its weight."""
    return m.bind(
        Traced(m).run(program(Traced(m))),
        lambda trace: m.bind(m.score(trace.weight), lambda _: m.unit(trace)),
    )


def trace_mh(program: Program) -> Kernel:
    """Metropolis-Hastings on traces: cut at a choice picked evenly, replay what comes before, draw the rest.

    Proposed and present tails have the chances that the prior gives them, which cancel; what is left is

        (weight of y / length of y) / (weight of x / length of x),

    where the lengths are the chances of picking the cut: the dimension factor of a move between traces of
    unlike length. Such traces cannot share a batch: run it under `Exact` or under `Sample((), gen)`.
    """

    def propose(m: Any, x: Trace) -> Any:
        n = len(x.choices)
        if not n:
            return m.unit(x)
        traced = Traced(m)
        return m.bind(
            m.choose(Table.of([Fraction(1, n)] * n)),
            lambda cut: traced.run(program(traced), x.choices[: int(cut)]),
        )

    def ratio(x: Trace, y: Trace) -> Any:
        here = x.weight * len(y.choices)
        return y.weight * len(x.choices) / here if here else 1

    return mh(propose, ratio)
