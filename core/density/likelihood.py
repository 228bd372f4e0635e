"""Likelihood of clean data through the probability-flow ODE.

In the frame y = x / alpha with the clock l = ln(sigma / alpha) the ODE is dy/dl = y - D, so along it

    d log p(y) / dl = -div_y (y - D) = -(d - alpha tr dD/dx),    log p(x) = log p(y) - d ln alpha.

The same Runge-Kutta rows that move the state weigh the divergences: one plan, one loop. The trace is exact
(the denoiser's own closed form, or d Jacobian-vector products) or Hutchinson's estimate with random probes.

Source: Chen et al. 2018, arXiv:1806.07366, theorem 1; Song et al. 2021, arXiv:2011.13456, eqs. 39 and 40.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, unknown
from core.plan.grids import log as log_grid
from core.plan.runge_kutta import heun, rk4
from core.plan.table import Row
from core.process.gaussian import Gaussian
from core.run import steps
from core.state import Source, randn, uniform

__all__ = ["Likelihood", "exact_divergence", "hutchinson", "log_prob"]

Divergence = Callable[[Tensor, float], Tensor]
Probe = Literal["rademacher", "gaussian"]


@dataclass(frozen=True)
class Likelihood:
    """Log densities and what they cost.

    Attributes:
        nats: log p(x0), (B,).
        bits_per_dim: -log2 p(x0) / d, (B,).
        latent: the state at the noise end, like x0.
        evaluations: calls of the denoiser that moved the state.
        terminal: what the density of the noise end was taken to be.
    """

    nats: Tensor
    bits_per_dim: Tensor
    latent: Tensor
    evaluations: int
    terminal: str


def log_prob(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    n: int = 50,
    method: Literal["rk4", "heun"] = "rk4",
    divergence: Divergence | None = None,
    terminal: Callable[[Tensor], Tensor] | None = None,
    low: float | None = None,
    cond: Any = None,
) -> Likelihood:
    """Integrate the likelihood of x0, read as a state at the smallest noise level of the process.

    Args:
        denoiser: the model, of a Gaussian process.
        x0: states at ratio `low`, (B, ...). Clean data are best noised to that level first.
        n: steps, equal in log(sigma / alpha); 4 (rk4) or 2 (heun) evaluations each.
        divergence: trace of dD/dx at (x, t), (B,); exact by default. See `hutchinson`.
        terminal: log density of the noise end, (B, ...) -> (B,); N(0, sigma^2 I) by default, which is off by
            about 1e-4 bits per dimension when sigma is a hundred times the data.
        low: ratio sigma / alpha that x0 is read at; the near end of the process by default.

    Raises:
        ConfigError: the process is not Gaussian.
    """
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise ConfigError(f"the ODE likelihood needs a Gaussian process, got {type(process).__name__}.")
    rules = {"rk4": rk4, "heun": heun}
    if method not in rules:
        raise unknown("method", method, rules)
    far = process.ends[1]
    high = process.ratio(far) if math.isfinite(process.ratio(far)) else 1e3
    times = log_grid(process, n + 1, low=low, high=high)[:-1][::-1]
    plan = rules[method](process, times, clock="log")
    trace = divergence or exact_divergence(denoiser, cond)
    d = x0[0].numel()

    total = x0.new_zeros(x0.shape[0], dtype=torch.float64)
    past: list[Tensor] = []
    x = x0
    with torch.no_grad():
        for step in steps(plan, denoiser, x0, cond=cond):
            row = step.row
            assert isinstance(row, Row)
            past.insert(0, d - process.alpha(row.t) * trace(step.x, row.t).to(torch.float64))
            scale = process.alpha(row.s)
            for weight, value in zip(row.pull, past, strict=False):
                total += weight / scale * value
            x = step.next
    last, first = times[-1], times[0]
    if terminal is None:
        sigma = process.sigma(last)
        ends = (
            -(
                x.flatten(1).to(torch.float64).square().sum(1) / sigma**2
                + d * math.log(2 * math.pi * sigma**2)
            )
            / 2
        )
    else:
        ends = terminal(x).to(torch.float64)
    nats = ends + total + d * (math.log(process.alpha(last)) - math.log(process.alpha(first)))
    name = "given" if terminal else f"N(0, {process.sigma(last):.4g}^2 I)"
    return Likelihood(nats, -nats / (d * math.log(2)), x, plan.evaluations, name)


def exact_divergence(denoiser: Denoiser, cond: Any = None) -> Divergence:
    """Trace of dD/dx: the denoiser's own `divergence(x, t)` when it has one, else d Jacobian-vector
    products.
    """
    closed = getattr(denoiser, "divergence", None)
    if closed is not None:
        return lambda x, t: closed(x, t)

    def trace(x: Tensor, t: float) -> Tensor:
        flat = x.flatten(1)
        total = flat.new_zeros(len(flat))
        for i in range(flat.shape[1]):
            tangent = torch.zeros_like(flat)
            tangent[:, i] = 1
            _, out = torch.func.jvp(lambda v: denoiser(v, t, cond).mean, (x,), (tangent.reshape(x.shape),))  # type: ignore[misc]
            total = total + out.flatten(1)[:, i]
        return total

    return trace


def hutchinson(
    denoiser: Denoiser, gen: Source, *, probes: int = 1, kind: Probe = "rademacher", cond: Any = None
) -> Divergence:
    """Unbiased estimate of the trace: mean of v^T (dD/dx) v over random probes, one vector-Jacobian product
    each.

    Probes are drawn once, at the first call, and held for the whole path, so that the integrand stays smooth.

    Source: Hutchinson 1990, Communications in Statistics 19(2); Grathwohl et al. 2019, arXiv:1810.01367, eq.
    8.
    """
    if kind not in get_args(Probe):
        raise unknown("probe", kind, get_args(Probe))
    if probes < 1:
        raise ConfigError(f"Hutchinson's estimate needs at least 1 probe, got {probes}.")
    held: list[Tensor] = []

    def trace(x: Tensor, t: float) -> Tensor:
        if not held:
            for _ in range(probes):
                v = (
                    randn(x, gen)
                    if kind == "gaussian"
                    else uniform(x.shape, gen, dtype=x.dtype, device=x.device)
                )
                held.append(v if kind == "gaussian" else (v < 0.5).to(x.dtype) * 2 - 1)
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            mean = denoiser(at, t, cond).mean
            total = x.new_zeros(x.shape[0])
            for v in held:
                (grad,) = torch.autograd.grad(mean, at, v, retain_graph=True)
                total = total + (grad * v).flatten(1).sum(1)
        return total / probes

    return trace
