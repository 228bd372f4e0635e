"""Resampling: weighted particles become equally weighted ones, and no expectation changes.

Every rule draws parents so that particle i has n w_i children in the mean (w the normalised weights); they
differ in the variance of that number, largest for `multinomial`, smallest for `systematic`. All groups of a
batch are resampled at once.

    multinomial   n independent draws
    stratified    one draw in each of n equal strata
    systematic    the same draw in each of n equal strata
    residual      floor(n w_i) copies of each, the rest by multinomial draws of what is left

Source: Douc, Cappe & Moulines 2005, arXiv:cs/0507025, sections 2 and 3.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from core.categorical import inverse
from core.errors import ConfigError, unknown
from core.state import Source, uniform

__all__ = [
    "RESAMPLERS",
    "Resampler",
    "inverse",
    "multinomial",
    "parents_of",
    "residual",
    "stratified",
    "systematic",
]

Resampler: TypeAlias = Callable[[Tensor, Source | None], Tensor]


def multinomial(weights: Tensor, gen: Source | None) -> Tensor:
    """Parents of n independent draws. Args as for `parents_of`, with normalised weights (groups, n)."""
    return inverse(weights, _uniform(weights, weights.shape[1], gen))


def stratified(weights: Tensor, gen: Source | None) -> Tensor:
    """Parents at (i + u_i) / n, one uniform number per stratum."""
    n = weights.shape[1]
    return inverse(weights, (_ladder(weights) + _uniform(weights, n, gen)) / n)


def systematic(weights: Tensor, gen: Source | None) -> Tensor:
    """Parents at (i + u) / n, one uniform number per group."""
    return inverse(weights, (_ladder(weights) + _uniform(weights, 1, gen)) / weights.shape[1])


def residual(weights: Tensor, gen: Source | None) -> Tensor:
    """floor(n w_i) copies of each particle, then multinomial draws from the remainders."""
    n = weights.shape[1]
    share = n * weights
    # A share that rounding left just below a whole number is that number: it would draw it at random.
    whole = (share + 1e-12 * n).floor()
    rest = (share - whole).clamp_min(0)
    total = rest.sum(1, keepdim=True)
    rest = torch.where(total > 0, rest / total.clamp_min(1e-300), weights)
    drawn = inverse(rest, _uniform(weights, n, gen))
    kept = torch.searchsorted(whole.cumsum(1), _ladder(weights).expand_as(weights).contiguous(), right=True)
    return torch.where(_ladder(weights) < whole.sum(1, keepdim=True), kept.clamp_max(n - 1), drawn)


RESAMPLERS: Mapping[str, Resampler] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}


def parents_of(log_w: Tensor, gen: Source | None, resampler: str | Resampler = "systematic") -> Tensor:
    """Draw the parent of each new particle.

    Args:
        log_w: log weights, (groups, n), normalised or not; -inf is a weight of zero.
        gen: a generator, or `Seeds` with one seed per group.
        resampler: a name of `RESAMPLERS`, or a function of (normalised weights, gen).

    Returns:
        Indices within each group, (groups, n). A group without any weight keeps its particles.

    Raises:
        ConfigError: unknown resampler, or weights of another rank.
    """
    if log_w.ndim != 2:
        raise ConfigError(f"expected log weights of shape (groups, n), got {tuple(log_w.shape)}.")
    if isinstance(resampler, str):
        if resampler not in RESAMPLERS:
            raise unknown("resampler", resampler, RESAMPLERS)
        resampler = RESAMPLERS[resampler]
    dead = torch.isneginf(log_w).all(1, keepdim=True)
    weights = torch.softmax(log_w.to(torch.float64).masked_fill(dead, 0.0), dim=1)
    itself = torch.arange(log_w.shape[1], device=log_w.device)
    return torch.where(dead, itself, resampler(weights, gen))


def _ladder(weights: Tensor) -> Tensor:
    return torch.arange(weights.shape[1], dtype=torch.float64, device=weights.device)[None]


def _uniform(weights: Tensor, n: int, gen: Source | None) -> Tensor:
    return uniform((weights.shape[0], n), gen, dtype=torch.float64, device=weights.device)
