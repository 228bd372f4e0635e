"""Samplers as tables of numbers: grids of times, rules that turn a grid into rows, and the plan itself."""

from core.plan.adaptive import corrected
from core.plan.bridge import bridge, span
from core.plan.grids import karras, log, logistic, uniform
from core.plan.multistep import adams, default, dpmpp
from core.plan.runge_kutta import euler, heun, midpoint, rk4
from core.plan.single import ancestral, ddim, euler_maruyama, reverse_diffusion
from core.plan.splitting import splitting
from core.plan.table import JointRow, LangevinRow, Plan, RedrawRow, Row, TokenRow
from core.plan.tokens import (
    expected_evaluations,
    first_hitting,
    redraw,
    remask,
    reveal_rows,
    unmask,
)

__all__ = [
    "JointRow",
    "LangevinRow",
    "Plan",
    "RedrawRow",
    "Row",
    "TokenRow",
    "adams",
    "ancestral",
    "bridge",
    "corrected",
    "ddim",
    "default",
    "dpmpp",
    "euler",
    "euler_maruyama",
    "expected_evaluations",
    "first_hitting",
    "heun",
    "karras",
    "log",
    "logistic",
    "midpoint",
    "redraw",
    "remask",
    "reveal_rows",
    "reverse_diffusion",
    "rk4",
    "span",
    "splitting",
    "uniform",
    "unmask",
]
