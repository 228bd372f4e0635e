"""Particles: groups of weighted states that stand for unnormalised measures.

A group of n particles with normalised weights w_i and evidence Z stands for Z sum_i w_i delta(x_i). States
keep one leading axis, groups * n, group by group, so that every denoiser takes them as they are; weights have
shape (groups, n).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.infer.resample import Resampler, parents_of
from core.metrics import effective_sample_size
from core.state import Source, State, batch_size, leaves, take

__all__ = ["Particles", "rows_of_groups", "spread"]


@dataclass(frozen=True)
class Particles:
    """Weighted states and where they came from.

    Attributes:
        x: states, (groups * n, ...), tensors or mappings.
        log_w: normalised log weights, (groups, n), float64: their exponentials sum to one in each group.
        log_z: log of the evidence, (groups,), float64; exp(log_z) is unbiased, log_z is not.
        ancestry: parent of each particle at each row of the plan, an index within its group, (rows, groups,
            n); a row without resampling holds 0 .. n - 1.
        ess: effective sample size before each row's resampling, (rows, groups).
        calls: denoiser calls made, each over all particles.
    """

    x: Any
    log_w: Tensor
    log_z: Tensor
    ancestry: Tensor
    ess: Tensor
    calls: int

    @property
    def groups(self) -> int:
        return self.log_w.shape[0]

    @property
    def n(self) -> int:
        """Particles per group."""
        return self.log_w.shape[1]

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean of values (groups * n, ...) in each group, (groups, ...)."""
        grouped = values.reshape(self.groups, self.n, -1)
        out = torch.einsum("gn,gnk->gk", self.log_w.exp().to(grouped.dtype), grouped)
        return out.reshape(self.groups, *values.shape[1:])

    def even(self, gen: Source | None, resampler: str | Resampler = "systematic") -> Any:
        """Equally weighted states, (groups * n, ...): a last resampling."""
        return take(self.x, rows_of_groups(parents_of(self.log_w, gen, resampler)))

    def best(self) -> Any:
        """The heaviest state of each group, (groups, ...). It is no draw from anything."""
        first = torch.arange(self.groups, device=self.log_w.device) * self.n
        return take(self.x, first + self.log_w.argmax(1))

    def roots(self) -> Tensor:
        """The starting particle that each final one descends from, (groups, n)."""
        index = torch.arange(self.n, device=self.ancestry.device).expand(self.groups, -1)
        for parents in self.ancestry.flip(0):
            index = parents.gather(1, index)
        return index


def spread(state: State, n: int) -> Any:
    """Each sample of the batch n times, (B, ...) -> (B * n, ...): one group of particles per sample."""
    if n < 1:
        raise ConfigError(f"a group needs at least 1 particle, got {n}.")
    rows = torch.arange(batch_size(state), device=next(leaves(state)).device)
    return take(state, rows.repeat_interleave(n))


def rows_of_groups(parents: Tensor) -> Tensor:
    """Rows of the batch for parents within groups, (groups, n) -> (groups * n,)."""
    groups, n = parents.shape
    return (parents + torch.arange(groups, device=parents.device)[:, None] * n).reshape(-1)


def settle(log_w: Tensor, log_z: Tensor) -> tuple[Tensor, Tensor]:
    """Move the mean weight of each group into its evidence; groups without weight get -inf and equal weights.

    Args:
        log_w: log weights relative to equal ones, (groups, n). log_z: (groups,).
    """
    n = log_w.shape[1]
    total = torch.logsumexp(log_w, dim=1)
    dead = torch.isneginf(total)
    even = torch.full_like(log_w, -math.log(n))
    normal = torch.where(dead[:, None], even, log_w - total.masked_fill(dead, 0.0)[:, None])
    return normal, log_z + total - math.log(n)


def effective(log_w: Tensor) -> Tensor:
    """Effective sample size of each group, (groups,); zero where no particle has weight."""
    dead = torch.isneginf(log_w).all(1)
    size: Tensor = effective_sample_size(log_w.masked_fill(dead[:, None], 0.0), dim=1)
    return size.masked_fill(dead, 0.0)
