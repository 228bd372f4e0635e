"""One-step rules: DDIM, ancestral sampling, and the two discretisations of the reverse SDE."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from core.errors import ConfigError
from core.plan.build import backward, builder, rest
from core.plan.table import Plan, Row

__all__ = ["ancestral", "ddim", "euler_maruyama", "reverse_diffusion"]


@builder
def ddim(process: Any, times: Sequence[float], *, eta: float = 0.0) -> Plan:
    """Plan a DDIM run.

    Args:
        process: the process the denoiser was trained under.
        times: from noise to data; n + 1 values give n steps. Increasing times encode, with eta = 0.
        eta: 0 is deterministic, 1 adds the noise of ancestral sampling.

    Source: Song et al. 2021, arXiv:2010.02502, eqs. 12 and 16.
    """
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta must lie in [0, 1], got {eta}.")
    if eta > 0:
        backward(times)
    rows = []
    for t, s in pairwise(times):
        a_t, a_s, sig_t, sig_s = process.alpha(t), process.alpha(s), process.sigma(t), process.sigma(s)
        fresh = eta * sig_s * math.sqrt(max(0.0, 1 - (a_t * sig_s / (a_s * sig_t)) ** 2)) if eta else 0.0
        keep = math.sqrt(sig_s**2 - fresh**2) / sig_t
        rows.append(Row(t, s, keep, (a_s - keep * a_t,), fresh))
    return Plan("ddim", tuple(rows))


@builder
def ancestral(process: Any, times: Sequence[float]) -> Plan:
    """Plan ancestral sampling: x_s drawn from q(x_s given x_t, x_0 = D).

    Source: Ho et al. 2020, arXiv:2006.11239, eqs. 6 and 7; equal to DDIM with eta = 1.
    """
    return Plan("ancestral", ddim(process, times, eta=1.0).rows)


@builder
def euler_maruyama(process: Any, times: Sequence[float]) -> Plan:
    """Plan Euler-Maruyama steps of the reverse SDE dx = [f x - g^2 s] dt + g dW, in the process's own time.

    Source: Song et al. 2021, arXiv:2011.13456, eq. 6.
    """
    backward(times)
    if process.alpha(times[0]) == 0:
        raise ConfigError(
            f"the SDE has no finite drift at t={times[0]:.4g}, where the process has no signal.",
            hint="Begin the grid later, or use ancestral.",
        )
    rows = []
    for t, s in pairwise(times):
        if process.sigma(s) == 0:
            rows.append(rest(t, s))
            continue
        alpha, sigma, f, g2 = process.coeffs(t)
        dt = s - t
        pull = -dt * g2 * alpha / sigma**2
        rows.append(Row(t, s, 1 + dt * f + dt * g2 / sigma**2, (pull,), math.sqrt(g2 * abs(dt))))
    return Plan("euler_maruyama", tuple(rows))


@builder
def reverse_diffusion(process: Any, times: Sequence[float]) -> Plan:
    """Plan the reverse-diffusion rule: the forward step x_t = a x_s + G z, run backwards with the score.

    Source: Song et al. 2021, arXiv:2011.13456, eqs. 45 and 46.
    """
    backward(times)
    rows = []
    for t, s in pairwise(times):
        if process.sigma(s) == 0:
            rows.append(rest(t, s))
            continue
        alpha, sigma = process.alpha(t), process.sigma(t)
        ratio = alpha / process.alpha(s)
        g2 = sigma**2 - (ratio * process.sigma(s)) ** 2
        rows.append(Row(t, s, 2 - ratio - g2 / sigma**2, (g2 * alpha / sigma**2,), math.sqrt(g2)))
    return Plan("reverse_diffusion", tuple(rows))
