"""Explicit Runge-Kutta rules for the probability-flow ODE: Euler, Heun, midpoint, classical fourth order.

A stage is a row: it moves the state from one stage point to the next by the difference of two lines of the
Butcher tableau, so a rule of k stages is k rows a step and needs no executor of its own. The ODE is
integrated in one of three clocks, with r = sigma / alpha:

    "ratio"  d(x / alpha) / dr     = (x / alpha - D) / r
    "log"    d(x / alpha) / d ln r =  x / alpha - D
    "time"   dx / dt               =  (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) D

A step to zero noise takes the posterior mean.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from core.errors import ConfigError, unknown
from core.plan.build import builder, rest
from core.plan.table import Plan, Row

__all__ = ["Clock", "euler", "heun", "midpoint", "rk4"]

Clock = Literal["ratio", "log", "time"]


class Tableau(NamedTuple):
    """Nodes c and lines a of an explicit rule; the last line of `a` holds the weights b."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]


EULER = Tableau((0.0, 1.0), ((), (1.0,)))
HEUN = Tableau((0.0, 1.0, 1.0), ((), (1.0,), (0.5, 0.5)))
MIDPOINT = Tableau((0.0, 0.5, 1.0), ((), (0.5,), (0.0, 1.0)))
RK4 = Tableau(
    (0.0, 0.5, 0.5, 1.0, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
)


class _Clock(NamedTuple):
    """A clock u(t), its inverse, the scale of the frame y = x / scale(t), and dy/du = P x + Q D."""

    of: Callable[[float], float]
    time: Callable[[float], float]
    scale: Callable[[float], float]
    frame: Callable[[float], tuple[float, float]]


@builder
def euler(process: Any, times: Sequence[float], *, clock: Clock = "time") -> Plan:
    """Plan Euler steps; with clock "ratio" this is DDIM."""
    return Plan("euler", _rows(process, times, EULER, clock))


@builder
def heun(process: Any, times: Sequence[float], *, clock: Clock = "ratio") -> Plan:
    """Plan Heun steps, two evaluations each.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1.
    """
    return Plan("heun", _rows(process, times, HEUN, clock))


@builder
def midpoint(process: Any, times: Sequence[float], *, clock: Clock = "time") -> Plan:
    """Plan midpoint steps, two evaluations each."""
    return Plan("midpoint", _rows(process, times, MIDPOINT, clock))


@builder
def rk4(process: Any, times: Sequence[float], *, clock: Clock = "log") -> Plan:
    """Plan classical fourth-order Runge-Kutta steps, four evaluations each."""
    return Plan("rk4", _rows(process, times, RK4, clock))


def _rows(process: Any, times: Sequence[float], rule: Tableau, name: str) -> tuple[Row, ...]:
    clock = _clock(process, name)
    rows: list[Row] = []
    for t, s in pairwise(times):
        if process.sigma(s) == 0:
            rows.append(rest(t, s))
            continue
        start, step = clock.of(t), clock.of(s) - clock.of(t)
        if not math.isfinite(step):
            raise ConfigError(
                f"the clock '{name}' is infinite at t={t:.4g}, where the process has no signal.",
                hint="Begin the grid later, or use clock='time'.",
            )
        points = [t if c == 0 else s if c == 1 else clock.time(start + c * step) for c in rule.c]
        for stage, (here, there) in enumerate(pairwise(points)):
            now, then = rule.a[stage], rule.a[stage + 1]
            now = now + (0.0,) * (len(then) - len(now))
            scale = clock.scale(there)
            pull = tuple(scale * step * (b - a) for a, b in zip(now, then, strict=True))[::-1]
            rows.append(Row(here, there, scale / clock.scale(here), pull, frame=clock.frame(here)))
    return tuple(rows)


def _clock(process: Any, name: str) -> _Clock:
    def of_time(t: float) -> tuple[float, float]:
        alpha, sigma = process.alpha(t), process.sigma(t)
        slope, spread = process.rates(t)
        return spread / sigma, slope - alpha * spread / sigma

    match name:
        case "ratio":
            return _Clock(
                process.ratio,
                process.time,
                process.alpha,
                lambda t: (1 / process.sigma(t), -1 / process.ratio(t)),
            )
        case "log":
            return _Clock(
                lambda t: math.log(process.ratio(t)),
                lambda u: process.time(math.exp(u)),
                process.alpha,
                lambda t: (1 / process.alpha(t), -1.0),
            )
        case "time":
            return _Clock(lambda t: t, lambda t: t, lambda t: 1.0, of_time)
    raise unknown("clock", name, ("ratio", "log", "time"))
