"""Symmetric splitting of the reverse SDE: a corrector and a predictor that share one evaluation.

The generator of the reverse SDE is split into F, the drift f x and the diffusion g dW, which has a solution,
and S, the drift g^2 s of the score. One step of size h from t to s, m between them, is

    y  = x + e s + temper sqrt(2 e) z              Langevin step with the score s of (x, t)
    y <- exp(h/2 F): (alpha_m / alpha_t) y + sqrt(v(t, m)) z
    y <- exp(h S):   y + h g^2(t) s
    x <- exp(h/2 F): (alpha_s / alpha_m) y + sqrt(v(m, s)) z

and every line but the first is linear in (y, s) with normal noise, so a step is one row. The variance of the
reverse-time linear part is v(a, b) = alpha_b^2 (sigma_a^2 / alpha_a^2 - sigma_b^2 / alpha_b^2): exp(B) - 1
for VP, with B the integral of beta, and sigma_a^2 - sigma_b^2 for VE.

Source: Jo et al. 2022, arXiv:2202.02514, algorithm 1 (S4). Deviation: its code takes 1 - exp(-B) for VP, the
variance of the forward kernel (`variance="reference"`); both agree to first order in B.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

from core.errors import ConfigError, unknown
from core.plan.build import backward, builder, rest
from core.plan.table import LangevinRow, Plan, Row
from core.process.gaussian import VP

__all__ = ["SplitVariance", "splitting"]

SplitVariance = Literal["exact", "reference"]


@builder
def splitting(
    process: Any,
    times: Sequence[float],
    *,
    snr: float | None = None,
    temper: float = 1.0,
    pooled: bool = True,
    variance: SplitVariance = "exact",
) -> Plan:
    """Plan S4 steps, one evaluation each.

    Args:
        times: from noise to data; n + 1 values give n steps. A step to zero noise takes the posterior mean.
        snr: ratio r of the Langevin step, e = 2 a (r |z| / |s|)^2, a = alpha_t^2 / alpha_s^2 for VP, else 1;
            None leaves the corrector out, and the rows are linear.
        temper: factor of the Langevin noise.
        pooled: average the norms over the batch, as published; False: per sample.
        variance: of the half steps, see the module docstring.
    """
    backward(times)
    if variance not in get_args(SplitVariance):
        raise unknown("variance", variance, get_args(SplitVariance))
    if snr is not None and not (snr > 0 and temper >= 0):
        raise ConfigError(f"a corrector needs snr > 0 and temper >= 0, got {snr} and {temper}.")
    rows: list[Any] = []
    for t, s in pairwise(times):
        if process.sigma(s) == 0:
            rows.append(rest(t, s))
            continue
        alpha, sigma, _, g2 = process.coeffs(t)
        middle = (t + s) / 2
        grow = process.alpha(s) / process.alpha(middle)
        added = _variance(process, t, middle, variance), _variance(process, middle, s, variance)
        keep = process.alpha(s) / alpha
        push = grow * (t - s) * g2
        fresh = (grow**2 * added[0] + added[1]) ** 0.5
        if snr is None:
            rows.append(Row(t, s, keep - push / sigma**2, (push * alpha / sigma**2,), fresh))
            continue
        scale = (alpha / process.alpha(s)) ** 2 if isinstance(process, VP) else 1.0
        rows.append(LangevinRow(t, s, alpha, sigma, snr, scale, pooled, temper, keep, push, fresh))
    return Plan("splitting", tuple(rows))


def _variance(process: Any, t: float, s: float, kind: SplitVariance) -> float:
    """Variance that the linear part adds from t back to s."""
    ratio = process.alpha(t) / process.alpha(s)
    forward = process.sigma(t) ** 2 - (ratio * process.sigma(s)) ** 2
    return forward if kind == "reference" else forward / ratio**2
