"""Multistep rules: Adams-Bashforth in the data-scaled angular frame (the default), and DPM-Solver++(2M)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core.errors import ConfigError
from core.plan.build import backward, builder
from core.plan.grids import logistic
from core.plan.table import Plan, Row

__all__ = ["adams", "default", "dpmpp"]


def default(process: Any, n: int, *, data_std: float, **grid: float) -> Plan:
    """The plan to use when nothing else is asked: third-order `adams` on the `logistic` grid, n evaluations.

    Args:
        data_std: root-mean-square standard deviation of the clean data; wrapped networks carry it.
        grid: `low` and `high` ratios, as for `logistic`.
    """
    return adams(process, logistic(process, n, data_std=data_std, **grid), data_std=data_std)


@builder
def adams(
    process: Any,
    times: Sequence[float],
    *,
    data_std: float,
    order: int = 3,
    before: Sequence[float] = (),
) -> Plan:
    """Plan Adams-Bashforth steps of the probability-flow ODE in the data-scaled angular frame.

    With theta = atan(sigma / (alpha sd)) and rho = sqrt(alpha^2 + sigma^2 / sd^2), the state y = x / rho
    obeys

        dy / d theta = (cos(theta) y - D) / sin(theta),

    which varies slowly for data of standard deviation sd: for N(0, sd^2 I) it is zero. The polynomial through
    the latest derivatives is integrated exactly, on any grid; the first steps use what history there is.

    Args:
        times: from noise to data (or back); a final zero noise level is legal.
        data_std: sd above.
        order: 1, 2, 3 or 4 derivatives per step.
        before: times of derivatives that are known already, newest last; pass them to `steps(history=...)`.

    Source: the linear multistep rule of Liu et al. 2022, arXiv:2202.09778, eq. 9, moved to another frame;
    angular coordinate of Salimans & Ho 2022, arXiv:2202.00512, appendix D.
    """
    if not 1 <= order <= 4:
        raise ConfigError(f"order must be 1, 2, 3 or 4, got {order}.")
    if not data_std > 0:
        raise ConfigError(f"data_std must be positive, got {data_std}.")

    def angle(t: float) -> float:
        return math.atan2(process.sigma(t), process.alpha(t) * data_std)

    def scale(t: float) -> float:
        return math.hypot(process.alpha(t), process.sigma(t) / data_std)

    rows = []
    known = [angle(t) for t in before]
    for t, s in pairwise(times):
        theta, rho = angle(t), scale(t)
        known = [*known, theta][-order:]
        pull = tuple(scale(s) * w for w in integrals(known[::-1], theta, angle(s)))
        frame = (math.cos(theta) / (rho * math.sin(theta)), -1 / math.sin(theta))
        rows.append(Row(t, s, scale(s) / rho, pull, frame=frame))
    return Plan("adams", tuple(rows))


@builder
def dpmpp(process: Any, times: Sequence[float], *, eta: float = 0.0, order: int = 2) -> Plan:
    """Plan DPM-Solver++ steps: exponential integration in log-SNR of the denoiser's output.

    Args:
        eta: 0 is the ODE, 1 the reverse SDE, anything between interpolates.
        order: 1 (DDIM when eta = 0) or 2 (multistep).

    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 and eq. 18; for eta > 0 Lu et al.,
    SDE-DPM-Solver++(2M).
    """
    if order not in (1, 2):
        raise ConfigError(f"order must be 1 or 2, got {order}.")
    if eta < 0:
        raise ConfigError(f"eta must not be negative, got {eta}.")
    if eta > 0:
        backward(times)
    rows = []
    previous = None
    for t, s in pairwise(times):
        a_t, a_s, sig_t, sig_s = process.alpha(t), process.alpha(s), process.sigma(t), process.sigma(s)
        shrink = sig_s * a_t / (sig_t * a_s)  # exp(-h), h the step in log-SNR
        keep = sig_s / sig_t * shrink**eta
        total = a_s - keep * a_t
        step = -math.log(shrink) if shrink > 0 else math.inf
        fresh = sig_s * math.sqrt(-math.expm1(-2 * eta * step)) if eta else 0.0
        lean = 0.0
        if order == 2 and previous is not None and math.isfinite(step):
            lean = step / (2 * previous) if math.isfinite(previous) else 0.0
        rows.append(Row(t, s, keep, (total * (1 + lean), -total * lean) if lean else (total,), fresh))
        previous = step
    return Plan("dpmpp", tuple(rows))


def integrals(nodes: Sequence[float], start: float, stop: float) -> list[float]:
    """Weights w with sum_j w_j p(nodes[j]) = integral of p over [start, stop] for polynomials up to the
    nodes' degree.
    """
    width = stop - start
    u = (np.asarray(nodes, dtype=np.float64) - start) / width
    powers = np.vander(u, increasing=True).T
    moments = 1 / np.arange(1, len(u) + 1)
    return [float(w) for w in np.linalg.solve(powers, moments) * width]
