"""Rules that insert rows into a plan: the Langevin corrector."""

from typing import Any, Literal

from core.errors import ConfigError
from core.plan.table import JointRow, LangevinRow, Plan, Row, adaptive
from core.process.gaussian import VP, Gaussian
from core.process.product import Product

__all__ = ["corrected"]


def corrected(
    plan: Plan,
    process: Any,
    *,
    snr: float = 0.16,
    n: int = 1,
    pooled: bool = True,
    temper: float = 1.0,
    place: Literal["after", "before"] = "after",
) -> Plan:
    """Add n Langevin steps to every step of a plan (predictor-corrector).

    Args:
        plan: the predictor, made of linear rows; of a product, every part is corrected from the same state.
        snr: ratio r of the Langevin step, h = 2 a (r |xi| / |s|)^2; a is the step's alpha_t^2 / alpha_s^2 for
            VP, else 1.
        n: corrector steps for each predictor step.
        pooled: average the norms over the batch, as published. False gives each sample its own step, so that
            it does not depend on its batch; use it only in many dimensions, where norms hardly vary (in two,
            a sample near a mode takes huge steps).
        temper: share of the noise that exact Langevin steps would draw; 1 as in Song et al.
        place: "after" each step, at the time it reached (none follows a step to zero noise), or "before" it,
            at the time it starts from.

    Source: Song et al. 2021, arXiv:2011.13456, algorithms 2 to 5; "before" and temper: Jo et al. 2022,
    arXiv:2202.02514, algorithm 2.
    """
    joint = isinstance(process, Product)
    parts: list[Any] = list(process.parts.values()) if joint else [process]
    for part in parts:
        if not isinstance(part, Gaussian):
            raise ConfigError(f"a Langevin corrector needs a Gaussian process, got {type(part).__name__}.")
    if not snr > 0 or n < 1:
        raise ConfigError(f"a corrector needs snr > 0 and n >= 1, got snr={snr}, n={n}.")
    if not temper >= 0:
        raise ConfigError(f"temper must not be negative, got {temper}.")
    rows: list[Any] = []
    for row in plan.rows:
        if not isinstance(row, JointRow if joint else Row) or adaptive(row):
            raise ConfigError("only plans of linear rows, made for this process, can be corrected.")
        if isinstance(row, JointRow) and set(row.parts) != set(process.parts):
            raise ConfigError(
                f"the plan has parts {sorted(row.parts)}, the process has {sorted(process.parts)}."
            )
        at = row.s if place == "after" else row.t
        fix: list[Any] = []
        if all(part.sigma(at) > 0 for part in parts):
            settings = (snr, pooled, temper)
            if joint:
                each = {k: _corrector(part, row, at, *settings) for k, part in process.parts.items()}
                fix = [JointRow(at, at, each)] * n
            else:
                fix = [_corrector(process, row, at, *settings)] * n
        rows += [row, *fix] if place == "after" else [*fix, row]
    return Plan(f"{plan.name}+langevin", tuple(rows))


def _corrector(process: Any, row: Any, at: float, snr: float, pooled: bool, temper: float) -> LangevinRow:
    alpha, sigma = process.alpha(at), process.sigma(at)
    scale = (process.alpha(row.t) / process.alpha(row.s)) ** 2 if isinstance(process, VP) else 1.0
    return LangevinRow(at, at, alpha, sigma, snr, scale, pooled, temper)
