"""Likelihood of token models: the any-order bound with its standard error, and one order exactly.

    bound   -ln p(x0) <= E_{k uniform} (d / k) sum over a random k-subset of -ln q(x0_i given the others)
    order   -ln p(x0 in one order) = sum_i -ln q(x0_i given those before it)

The bound is the mean of the second over all orders. Draws of k are stratified over the draws of a sequence,
and every sequence draws from its own seed, so that its value does not depend on the batch.

Source: Uria, Murray & Larochelle 2014, arXiv:1310.1757, eq. 6; Ou et al. 2024, arXiv:2406.03736, eq. 3.10.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.process.masking import Masking, tokens_and_free, with_tokens
from core.state import Seeds, take
from core.surprise import hidden_surprise, token_surprise

__all__ = ["OrderBound", "any_order_bound", "exact_bound", "order_nats", "random_masks"]


class OrderBound(NamedTuple):
    """Nats of each sequence.

    Attributes:
        nats: mean over the draws, (B,), float64: an upper bound of -ln p(x0) in expectation.
        error: standard error over the draws of each, (B,); nan for one draw.
        lengths: tokens that were scored, (B,).
        draws: per sequence.
    """

    nats: Tensor
    error: Tensor
    lengths: Tensor
    draws: int


def any_order_bound(
    denoiser: Denoiser, x0: object, seeds: list[int], *, draws: int = 16, chunk: int = 64
) -> OrderBound:
    """Bound -ln p of the free tokens of each sequence, given those that may not change.

    Args:
        denoiser: of a masking process, in evaluation mode.
        x0: tokens (B, L) or a state with "mask".
        seeds: one per sequence.
        draws: masks per sequence, at least 1.
        chunk: sequences per call of the network.

    Raises:
        ConfigError: the process does not mask.
    """
    _masking(denoiser)
    if draws < 1:
        raise ConfigError(f"at least one draw is needed, got {draws}.")
    tokens, free = tokens_and_free(x0)
    free = torch.ones_like(tokens, dtype=torch.bool) if free is None else free
    lengths = free.sum(1)
    gens = Seeds(seeds, tokens.device)
    hidden, weight = random_masks(free, lengths, gens, draws)
    rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(draws)
    found = torch.zeros(len(rows), dtype=torch.float64, device=tokens.device)
    with torch.no_grad():
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            clean = take(x0, rows[part])
            found[part] = hidden_surprise(denoiser, clean, hidden[part], hidden[part].double().mean(1))
    each = (found * weight).reshape(-1, draws)
    error = each.std(1) / draws**0.5 if draws > 1 else torch.full_like(each[:, 0], math.nan)
    return OrderBound(each.mean(1), error, lengths, draws)


def order_nats(denoiser: Denoiser, x0: object, order: Tensor | None = None) -> Tensor:
    """Nats of the free tokens revealed one by one, (B,): one evaluation each.

    Args:
        order: permutation of the L positions; left to right by default. Positions that are not free are
            given from the start.
    """
    process = _masking(denoiser)
    tokens, free = tokens_and_free(x0)
    free = torch.ones_like(tokens, dtype=torch.bool) if free is None else free
    left = free.clone()
    total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    with torch.no_grad():
        for i in range(tokens.shape[1]) if order is None else order.tolist():
            if not bool(free[:, i].any()):
                continue
            x = with_tokens(x0, torch.where(left, process.mask_token, tokens))
            at = torch.zeros_like(free)
            at[:, i] = free[:, i]
            total += token_surprise(denoiser(x, 1.0).at(at), tokens, at)
            left[:, i] = False
    return total


def exact_bound(denoiser: Denoiser, x0: Tensor) -> Tensor:
    """The bound by enumeration of all 2^d - 1 masks, (B,): for short sequences.

    sum over non-empty M of  (|M| - 1)! (d - |M|)! / d!  sum over i in M of l_i.
    """
    _masking(denoiser)
    d = x0.shape[1]
    total = torch.zeros(len(x0), dtype=torch.float64)
    with torch.no_grad():
        for code in range(1, 2**d):
            hidden = torch.tensor([bool(code >> i & 1) for i in range(d)]).expand(x0.shape)
            m = int(hidden[0].sum())
            weight = math.factorial(m - 1) * math.factorial(d - m) / math.factorial(d)
            total += weight * hidden_surprise(denoiser, x0, hidden, hidden.double().mean(1))
    return total


def random_masks(free: Tensor, lengths: Tensor, gens: Seeds, draws: int) -> tuple[Tensor, Tensor]:
    """Hidden positions (B * draws, L) and weights d / k; k stratified over the draws of each sequence.

    Args:
        free: what may be hidden, (B, L); `lengths` is its sum over positions, d.
        gens: one per sequence.
    """
    hidden, weight = [], []
    for row, length, gen in zip(free, lengths.tolist(), gens.generators, strict=True):
        where: dict[str, Any] = {"generator": gen, "dtype": torch.float64, "device": free.device}
        u = (torch.rand(draws, **where) + torch.arange(draws, device=free.device)) / draws
        count = (length * u).ceil().clamp_min(min(1, length))
        key = torch.zeros(draws, free.shape[1], dtype=torch.float64, device=free.device) + 2.0
        key[:, row] = torch.rand(draws, int(length), **where)
        hidden.append(key.argsort(1).argsort(1) < count[:, None])
        weight.append(length / count if length else torch.zeros_like(count))
    return torch.cat(hidden), torch.cat(weight)


def _masking(denoiser: Denoiser) -> Masking:
    if not isinstance(denoiser.process, Masking):
        raise ConfigError(f"the any-order bound needs masking, got {type(denoiser.process).__name__}.")
    return denoiser.process
