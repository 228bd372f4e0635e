"""Shared steps of the plan builders: one plan per part of a product, and the row that ends at zero noise."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from core.errors import ConfigError
from core.plan.grids import checked
from core.plan.table import JointRow, Plan, Row
from core.process.gaussian import Gaussian
from core.process.product import Product
from core.process.scheduled import Scheduled

__all__ = ["backward", "builder", "rest"]

P = ParamSpec("P")
Rule = Callable[Concatenate[Any, Sequence[float], P], Plan]


def builder(rule: Rule[P]) -> Rule[P]:
    """Let a rule for one process serve products too: a plan per part, zipped row by row.

    Rules read the schedule only, so any `Scheduled` process has deterministic plans; fresh normal noise
    belongs to Gaussian processes.

    Raises:
        ConfigError: the process has no schedule, or draws noise without being Gaussian; the times are not
            monotone, or a step begins at zero noise.
    """

    @wraps(rule)
    def build(process: Any, times: Sequence[float], *args: P.args, **kwargs: P.kwargs) -> Plan:
        grid = checked(times)
        if isinstance(process, Product):
            plans = {name: build(part, grid, *args, **kwargs) for name, part in process.parts.items()}
            rows = zip(*(cast(tuple[Row, ...], plan.rows) for plan in plans.values()), strict=True)
            joint = tuple(JointRow(row[0].t, row[0].s, dict(zip(plans, row, strict=True))) for row in rows)
            return Plan(rule.__name__, joint)
        if not isinstance(process, Scheduled):
            raise ConfigError(
                f"'{rule.__name__}' plans need a Gaussian process, got {type(process).__name__}.",
                hint="Use a plan made for this process.",
            )
        noise = [process.sigma(t) for t in grid]
        if min(noise[:-1]) <= 0 or noise[-1] < 0:
            raise ConfigError(
                f"no step can start at zero noise, got times from {grid[0]:.4g} to {grid[-1]:.4g}.",
                hint="Zero noise may be the last time only: begin the grid at a small positive noise.",
            )
        plan = rule(process, grid, *args, **kwargs)
        if plan.stochastic and not isinstance(process, Gaussian):
            raise ConfigError(
                f"a plan that draws normal noise needs a Gaussian process, got {type(process).__name__}.",
                hint="Use a deterministic plan: default, adams, heun, or ddim and dpmpp with eta=0.",
            )
        return plan

    return cast(Rule[P], build)


def backward(times: Sequence[float]) -> None:
    """Refuse a grid from data to noise, on which no reverse step can draw.

    Raises:
        ConfigError: the times increase.
    """
    if times[0] < times[-1]:
        raise ConfigError(
            "a stochastic plan runs from noise to data, got increasing times.", hint="Use ddim with eta=0."
        )


def rest(t: float, s: float) -> Row:
    """The step to zero noise: the state becomes the posterior mean."""
    return Row(t, s, 0.0, (1.0,))
