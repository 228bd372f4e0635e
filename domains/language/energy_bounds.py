"""Likelihood of an energy-corrected predictor.

    energy_bound   mean over masks M of  d / |M| [ sum over M of l_i + E(x0, x_t) + log Z(x_t) ]
    sampler_bound  mean over masks M and i in M of  -d ln p(x0_i given x_t),  the corrected law of one token

With T_m = log of the mean of exp(-E) over m draws from q, T_n is below log Z in the mean, and
(2n - 1) T_n - 2 (n - 1) T_{n-1}, T_{n-1} averaged over the subsets without one draw, is above it once n is
large enough. Both are reported.

The integrand of `energy_bound` is that of the source. Under `coar` its mean is the causal model's -ln p(x0).
In general it is no bound on -ln p of the sampler: revealing few tokens at a time pays the marginal surprise
of each, and those add up to more than the surprise of all masked tokens together. For two tokens that always
agree and are otherwise even, an exact energy gives ln 2 / 2 where the text holds ln 2.

`sampler_bound` is the any-order bound of the sampler that reveals one token at a time under many candidates,
and holds for every energy up to the estimates of

    p(x0_i given x_t) = q(x0_i given x_t) E_q[exp(-E) given x0_i] / Z.

Where few of the n texts carry the weight, as with a strong energy over tens of masked tokens, the two ends
lie far apart and neither holds: a wide bracket means that n is too small.

Sources: Xu et al. 2024, arXiv:2410.21357, eqs. 7 to 11; Deng et al. 2020, arXiv:2004.11714, section 3.3 (the
bracket).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.density.tokens import random_masks
from core.errors import ConfigError
from core.infer import spread
from core.infer.particles import settle
from core.process.masking import tokens_and_free, with_tokens
from core.state import Seeds, take
from core.surprise import row_sums
from domains.language.candidates import candidate_texts, check_correction, row_points, scored
from domains.language.energy import Energy

__all__ = ["EnergyBound", "energy_bound", "log_normaliser", "sampler_bound"]


class EnergyBound(NamedTuple):
    """Nats of each sequence, (B,), float64.

    Attributes:
        low: with T_n in place of log Z, too small in the mean.
        high: with the upper estimate.
        error: standard error of `low` over the masks of each; nan for one draw.
        lengths: tokens that were scored.
        draws: masks per sequence.
        proposals: n, texts per mask; 0 where log Z = 0 is known.
    """

    low: Tensor
    high: Tensor
    error: Tensor
    lengths: Tensor
    draws: int
    proposals: int

    @property
    def label(self) -> str:
        """What must stand beside the figure."""
        return f"bound=approximate, n={self.proposals}" if self.proposals else "log Z = 0 exactly"


def energy_bound(
    denoiser: Denoiser,
    energy: Energy,
    x0: Any,
    seeds: list[int],
    *,
    draws: int = 16,
    proposals: int = 8,
    chunk: int = 64,
) -> EnergyBound:
    """Estimate the corrected integrand over random masks, |M| stratified over the draws of a sequence.

    Args:
        x0: tokens (B, L) or a state with "mask"; what may not change is given.
        seeds: one per sequence, whose value does not depend on the batch.
        draws: masks per sequence.
        proposals: n, at least 2; not used where the energy is normalised.
        chunk: texts per call of the networks.
    """
    return _bound(denoiser, energy, x0, seeds, draws, proposals, chunk, one=False)


def sampler_bound(
    denoiser: Denoiser,
    energy: Energy,
    x0: Any,
    seeds: list[int],
    *,
    draws: int = 16,
    proposals: int = 8,
    chunk: int = 64,
) -> EnergyBound:
    """Bound -ln p of the corrected sampler, one hidden token of a random mask at a time. Args as above.

    Both expectations are estimated from n texts each, and bracketed: `low` and `high`.
    """
    return _bound(denoiser, energy, x0, seeds, draws, proposals, chunk, one=True)


def _bound(
    denoiser: Denoiser,
    energy: Energy,
    x0: Any,
    seeds: list[int],
    draws: int,
    proposals: int,
    chunk: int,
    *,
    one: bool,
) -> EnergyBound:
    check_correction(denoiser, proposals)
    if proposals < 2:
        raise ConfigError(f"the upper estimate needs at least 2 proposals, got {proposals}.")
    proposals = 0 if energy.normalised and not one else proposals
    tokens, free = tokens_and_free(x0)
    free = torch.ones_like(tokens, dtype=torch.bool) if free is None else free
    gens = Seeds(seeds, tokens.device)
    hidden, weight = random_masks(free, free.sum(1), gens, draws)
    rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(draws)
    ends = torch.zeros(2, len(rows), dtype=torch.float64, device=tokens.device)
    size = max(1, chunk // max(proposals, 1))
    with torch.no_grad():
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            own = [gens.generators[row] for row in rows[part].tolist()]
            given = denoiser, energy, take(x0, rows[part]), hidden[part], proposals, own
            ends[:, part] = _one_token(*given) if one else _integrand(*given)
    low, high = (ends * weight).reshape(2, -1, draws)
    error = low.std(1) / draws**0.5 if draws > 1 else torch.full_like(low[:, 0], math.nan)
    return EnergyBound(low.mean(1), high.mean(1), error, free.sum(1), draws, proposals)


def log_normaliser(energy: Tensor) -> tuple[Tensor, Tensor]:
    """T_n and (2n - 1) T_n - 2 (n - 1) T_{n-1} of energies (B, n) of draws from q, each (B,)."""
    n = energy.shape[1]
    _, below = settle(-energy.double(), torch.zeros(len(energy), dtype=torch.float64, device=energy.device))
    left = -energy.double()[:, None].expand(-1, n, -1)
    others = left.masked_fill(torch.eye(n, dtype=torch.bool, device=energy.device), -torch.inf)
    without = (torch.logsumexp(others, 2) - math.log(n - 1)).mean(1)
    return below, (2 * n - 1) * below - 2 * (n - 1) * without


def _integrand(
    denoiser: Denoiser, energy: Energy, x0: Any, hidden: Tensor, n: int, own: list[torch.Generator]
) -> Tensor:
    """Lower and upper estimate for one mask of each sequence, (2, B)."""
    tokens, _ = tokens_and_free(x0)
    x = with_tokens(x0, torch.where(hidden, denoiser.process.mask_token, tokens))
    logits = denoiser(x, 1.0).at(hidden)
    law = torch.log_softmax(logits.double(), -1).gather(1, tokens[hidden].long()[:, None])
    log_q = row_sums(law, hidden)[:, 0]
    joint = -log_q + scored(energy, tokens, x, log_q)
    if n == 0:
        return joint.expand(2, -1)
    found, each = candidate_texts(x, hidden, logits, row_points(hidden, n, own))
    energies = scored(energy, found, spread(x, n), each.flatten()).reshape(each.shape)
    return joint + torch.stack(log_normaliser(energies))


def _one_token(
    denoiser: Denoiser, energy: Energy, x0: Any, hidden: Tensor, n: int, own: list[torch.Generator]
) -> Tensor:
    """Lower and upper estimate of -|M| ln p(x0_i given x_t) for one hidden i of each sequence, (2, B)."""
    tokens, _ = tokens_and_free(x0)
    x = with_tokens(x0, torch.where(hidden, denoiser.process.mask_token, tokens))
    logits = denoiser(x, 1.0).at(hidden)
    size = hidden.sum(1)
    rank = (row_points(torch.ones_like(hidden[:, :1]), 1, own)[:, 0] * size).long()
    fixed = (hidden & (hidden.cumsum(1) == rank[:, None] + 1))[hidden]
    law = torch.log_softmax(logits.double(), -1).gather(1, tokens[hidden].long()[:, None])
    surprise = -row_sums(law * fixed[:, None], hidden)[:, 0]
    points = row_points(hidden, n, own)
    known = torch.where(fixed, tokens[hidden], -1)
    brackets = []
    for clamped in (known, None):
        found, log_q = candidate_texts(x, hidden, logits, points, clamped)
        energies = scored(energy, found, spread(x, n), log_q.flatten()).reshape(log_q.shape)
        brackets.append(log_normaliser(energies))
    (low, high), (low_z, high_z) = brackets
    if energy.normalised:
        low_z = high_z = torch.zeros_like(low)
    return size * torch.stack([surprise - high + low_z, surprise - low + high_z])
