"""The objective of interpolants: velocity and noise by least squares, with antithetic noise.

    L_b   = E[ |b|^2 / 2 - (dx_t / dt) . b ],      L_eta = E[ |eta|^2 / 2 - z . eta ],

each divided by the degrees of freedom of the state. dx_t / dt holds gamma' z, whose variance is infinite at
the ends of a Brownian gamma; averaging over +z and -z at the same pair leaves gamma' times a difference of b
over a distance 2 gamma z, which is bounded.

Source: Albergo, Boffi & Vanden-Eijnden 2023, arXiv:2303.08797, eqs. 2.13 and 2.16, section 6.1 (antithetic).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.process.coupling import Coupling, independent
from core.process.interpolant import Interpolant
from core.process.scheduled import fitted
from core.state import Source, batch_size, leaves, tree_map, uniform
from core.train.samples import Batch, Samples, mixed_seed
from core.transport import Flow

__all__ = ["Ends", "Interpolation"]


@dataclass(frozen=True)
class Ends:
    """Batches of both ends, {"start": x_0, "end": x_1}, from two sources that are numbered alike.

    Paired data are one source instead: `Shuffled({"start": x0, "end": x1})`. `cond` is that of the end.
    """

    start: Samples
    end: Samples

    def __call__(self, numbers: range, seed: int) -> Batch:
        end = self.end(numbers, mixed_seed(seed, "end"))
        return Batch({"start": self.start(numbers, mixed_seed(seed, "start")).x0, "end": end.x0}, end.cond)


@dataclass(frozen=True)
class Interpolation:
    """Learn the field of an interpolant; the module docstring has the losses.

    Args:
        coupling: who is paired with whom. It sees one micro-batch of one process at a time, so minibatch
            transport is as good as that is large.
    """

    coupling: Coupling = independent

    def __call__(self, field: Any, batch: Batch, gen: Source) -> Tensor:
        """Loss of each sample, (B,)."""
        process: Interpolant = field.process
        x0, x1 = self.coupling(batch.x0["start"], batch.x0["end"], gen)
        first = next(leaves(x0))
        low, high = process.ends
        u = uniform((batch_size(x0),), gen, dtype=torch.float64, device=first.device)
        t = low + (high - low) * u
        z = process.space.noise(x0, gen)
        signs = (1,) if process.gamma == "none" else (1, -1)
        total = torch.zeros_like(t)
        for sign in signs:
            noise = tree_map(lambda e, sign=sign: sign * e, z)
            flow = field(process.blend(x0, x1, noise, t), t, batch.cond)
            total = total + _losses(process, flow, process.speed(x0, x1, noise, t), noise, t)
        return (total / (len(signs) * process.space.dim(x0))).to(first.real.dtype)


def _losses(process: Interpolant, flow: Flow, speed: Any, noise: Any, t: Tensor) -> Tensor:
    loss = _half_square_less_dot(flow.velocity, speed)
    if flow.score is None or process.one_sided:  # the velocity of a one-sided field holds its score
        return loss
    level = process.level(t)
    eta = tree_map(lambda s: -fitted(level, s) * s, flow.score)
    return loss + _half_square_less_dot(eta, noise)


def _half_square_less_dot(found: Any, target: Any) -> Tensor:
    terms = tree_map(lambda f, g: (f * f / 2 - g * f).flatten(1).sum(1), found, target)
    return torch.stack(list(leaves(terms))).sum(0).double()
