"""Rules that insert rows into a plan: the Langevin corrector."""

from typing import Any

from core.errors import ConfigError
from core.plan.table import LangevinRow, Plan, Row
from core.process.gaussian import VP, Gaussian

__all__ = ["corrected"]


def corrected(plan: Plan, process: Any, *, snr: float = 0.16, n: int = 1, pooled: bool = True) -> Plan:
    """Follow every step of a plan by n Langevin steps at the time it reached (predictor-corrector).

    Args:
        plan: the predictor, made of linear rows.
        snr: ratio r of the Langevin step, h = 2 a (r |xi| / |s|)^2; a is the step's alpha_t^2 / alpha_s^2 for
            VP, else 1.
        n: corrector steps after each predictor step; none follows a step to zero noise.
        pooled: average the norms over the batch, as published. False gives each sample its own step, so that
            it does not depend on its batch; use it only in many dimensions, where norms hardly vary (in two,
            a sample near a mode takes huge steps).

    Source: Song et al. 2021, arXiv:2011.13456, algorithms 2 to 5.
    """
    if not isinstance(process, Gaussian):
        raise ConfigError(f"a Langevin corrector needs a Gaussian process, got {type(process).__name__}.")
    if not snr > 0 or n < 1:
        raise ConfigError(f"a corrector needs snr > 0 and n >= 1, got snr={snr}, n={n}.")
    rows: list[Any] = []
    for row in plan.rows:
        if not isinstance(row, Row):
            raise ConfigError("only plans of linear rows can be corrected.")
        rows.append(row)
        alpha, sigma = process.alpha(row.s), process.sigma(row.s)
        if sigma > 0:
            scale = (process.alpha(row.t) / alpha) ** 2 if isinstance(process, VP) else 1.0
            rows += [LangevinRow(row.s, row.s, alpha, sigma, snr, scale, pooled)] * n
    return Plan(f"{plan.name}+langevin", tuple(rows))
