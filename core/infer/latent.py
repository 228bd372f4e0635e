"""Energy guidance in the latent space of a stochastic sampler.

A latent z = (x_T, xi_1 .. xi_n) is a standard normal vector from which a plan makes a clean state G(z).
Whatever can be measured on clean states, as an energy E, defines a law of latents

    pi(z)  proportional to  N(z; 0, I) exp(-E(G(z))),

and Metropolis-adjusted Langevin moves keep it exactly. Started from the latent of a real sample (see
`core.run.encode`) they edit that sample; started from a prior draw they sample conditionally. Neither the
model nor the plan is changed.

Source: Wu & De la Torre 2022, arXiv:2210.05559, section 3, with energies as in Wu et al. 2022,
arXiv:2209.06970; the Metropolis correction is ours.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.infer.moves import mala
from core.plan.table import Plan, Row
from core.run import Latent, steps
from core.state import Source

__all__ = ["tilt"]

Energy = Callable[[Tensor], Tensor]


def tilt(
    plan: Plan,
    denoiser: Denoiser,
    energy: Energy,
    latent: Latent,
    gen: Source,
    *,
    n: int = 50,
    step: float = 0.1,
    cond: Any = None,
) -> Latent:
    """Move a latent towards clean states of low energy, staying as probable as the prior asks.

    Args:
        plan: linear rows from the noise end on; the same plan decodes the result.
        denoiser: its network is differentiated through the whole plan.
        energy: clean states (B, ...) -> (B,), nats, differentiable.
        latent: where to start. What rows without noise hold stays as it is.
        n: moves, each 2 (n + 1) / n runs of the plan, one of them with gradients.
        step: h of a move, in units of the latent's unit variance; smaller for steep energies and long plans.

    Raises:
        ConfigError: rows that are not linear ones of one tensor state, or a step that is not positive.
    """
    if not step > 0:
        raise ConfigError(f"step must be positive, got {step}.")
    if not all(isinstance(row, Row) for row in plan.rows) or not isinstance(latent.start, Tensor):
        raise ConfigError("energy guidance moves latents of plans of linear rows and one tensor state.")
    rows = [row for row in plan.rows if isinstance(row, Row)]
    scale, shape = denoiser.process.sigma(plan.start), latent.start.shape
    width = math.prod(shape[1:])

    def pack(start: Tensor, noises: tuple[Any, ...]) -> Tensor:
        drawn = [z for z, row in zip(noises, rows, strict=True) if row.fresh]
        return torch.cat([(start / scale).flatten(1), *(z.flatten(1) for z in drawn)], 1)

    def unpack(z: Tensor) -> Latent:
        parts = iter(part.reshape(shape) for part in z.split(width, 1))
        start = next(parts) * scale
        old = zip(latent.noises, rows, strict=True)
        return Latent(start, tuple(next(parts) if row.fresh else kept for kept, row in old))

    def log_target(z: Tensor, t: float = 0.0) -> Tensor:
        value = unpack(z)
        x: Any = value.start
        for made in steps(plan, denoiser, x, cond=cond, noises=value.noises):
            x = made.next
        return -z.square().sum(1) / 2 - energy(x)

    def score(z: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            at = z.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(log_target(at).sum(), at)
        return slope

    with torch.no_grad():
        return unpack(
            mala(log_target, score, lambda t: step, n=n).apply(pack(latent.start, latent.noises), 0.0, gen)
        )
