"""Plans that move samples along an interpolant: the rows of its ODE and of its SDEs.

With the drift h in the place of the denoiser's output a step from t to s is

    x  <-  x + (s - t) h + sqrt(2 eps(t) |s - t|) xi,

an ordinary row with keep = 1; backwards s - t is negative and h = b - eps s.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from core.errors import ConfigError, unknown
from core.plan.grids import checked
from core.plan.runge_kutta import EULER, HEUN, RK4
from core.plan.table import Plan, Row

__all__ = ["bridge", "span"]

RULES = {"euler": EULER, "heun": HEUN, "rk4": RK4}


def span(process: Any, n: int, *, backwards: bool = False) -> list[float]:
    """n equal steps between the ends of an interpolant, from x_0 to x_1, or the other way."""
    if n < 1:
        raise ConfigError(f"a grid needs at least 1 step, got {n}.")
    low, high = process.ends
    start, stop = (high, low) if backwards else (low, high)
    return [start + (stop - start) * i / n for i in range(n)] + [stop]


def bridge(drift: Any, times: Sequence[float], *, rule: Literal["euler", "heun", "rk4"] = "euler") -> Plan:
    """Plan a run along an interpolant.

    Args:
        drift: the `core.transport.Drift` that will be walked; it knows epsilon and the direction.
        times: increasing, or decreasing for a drift that runs backwards; see `span`.
        rule: 1 (euler), 2 (heun) or 4 (rk4) evaluations per step; an SDE takes Euler steps (Euler-Maruyama).

    Raises:
        ConfigError: times against the drift's direction or past its ends, or an SDE with another rule.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    grid = checked(times)
    if (grid[0] > grid[-1]) != drift.backwards:
        way = "decreasing" if drift.backwards else "increasing"
        raise ConfigError(f"this drift needs {way} times, got {grid[0]:.4g} to {grid[-1]:.4g}.")
    if min(grid) < 0 or max(grid) > 1 or grid[0] in (0.0, 1.0):
        raise ConfigError(
            f"an interpolant lives on (0, 1), got times from {grid[0]:.4g} to {grid[-1]:.4g}.",
            hint="span(process, n) starts at tmin.",
        )
    rows = []
    for t, s in pairwise(grid):
        fresh = math.sqrt(2 * drift.strength(t) * abs(s - t))
        if fresh and rule != "euler":
            raise ConfigError(f"an SDE takes Euler steps, got rule '{rule}' with epsilon > 0.")
        tableau = RULES[rule]
        for stage, (c, d) in enumerate(pairwise(tableau.c)):
            now, then = tableau.a[stage], tableau.a[stage + 1]
            now = now + (0.0,) * (len(then) - len(now))
            pull = tuple((s - t) * (after - before) for before, after in zip(now, then, strict=True))
            here, there = t + c * (s - t), s if d == 1 else t + d * (s - t)
            rows.append(Row(here, there, 1.0, pull[::-1], fresh))
    return Plan(f"bridge, {rule}", tuple(rows))
