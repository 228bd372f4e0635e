"""One row of a plan for tokens: decide, then draw.

Which positions are revealed does not depend on their values (or only on how sure the posterior is), so it is
decided first. The denoiser is then called only for the sequences that reveal something, its head only at the
positions that do, and the tokens are drawn there by inverting the cumulative law in float64. This has exactly
the law of drawing every token, or none, from the joint categorical over values and [MASK].

float32 is not enough: the smallest exponential variate of a 24-bit uniform number is about 6e-8, so a
category that is rarer than that beside [MASK] is never drawn, and rare tokens are drawn too seldom.

Sources: Ou et al. 2024, arXiv:2406.03736, section 3.3; Zheng et al. 2024, arXiv:2409.02908 (precision); Wang
et al. 2025, arXiv:2503.00307 (remasking).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.categorical import drawn
from core.denoise import Denoiser, Posterior, TokenPosterior
from core.errors import ConfigError, unknown
from core.plan.table import ORDERS, RedrawRow, TokenRow
from core.process.masking import tokens_and_free, with_tokens
from core.process.token_noise import redrawn
from core.state import Patchwork, Seeds, Source, take, uniform

__all__ = ["evaluated", "sureness", "token_step"]


def token_step(
    row: TokenRow | RedrawRow, x: Any, denoiser: Denoiser, gen: Source | None, cond: Any, past: list[Any]
) -> tuple[Posterior, Any]:
    """The posterior of a row, computed where it is asked for, and the next state.

    Args:
        past: what a row that remasks by probability remembers: that of each token when it was drawn, (B, L).
            Changed in place.
    """
    if isinstance(row, RedrawRow):
        posterior = denoiser(x, row.t, cond)
        return posterior, _redraw(row, x, posterior, gen)
    if row.order not in ORDERS:
        raise unknown("order", row.order, ORDERS)
    tokens, free = tokens_and_free(x)
    where: dict[str, Any] = {"dtype": torch.float64, "device": tokens.device}
    chance, value = _points(tokens, free, gen), _points(tokens, free, gen)
    masked = tokens == row.mask_token
    masked = masked if free is None else masked & free
    if row.draw == "float32":
        posterior = denoiser(x, row.t, cond)
        return posterior, with_tokens(x, _gumbel(row, tokens, masked, posterior, gen))
    if row.order in ("confidence", "margin", "entropy") or row.threshold > 0:
        posterior, logits = _ask(denoiser, x, row.t, cond, masked)
        sure = torch.full(tokens.shape, -torch.inf, **where)
        sure[masked] = sureness(logits, row.order)
        reveal = _chosen(row, sure, masked)
        logits = logits[reveal[masked]]
    else:
        reveal = masked & (chance < row.reveal) if row.order == "each" else _ranked(row, chance, masked)
        posterior, logits = _ask(denoiser, x, row.t, cond, reveal)
    after = tokens.clone()
    after[reveal] = drawn(logits, value[reveal]).to(tokens.dtype)
    if row.weigh:
        _remember(past, reveal, logits, after, where)
    if row.remask:
        there = (tokens != row.mask_token) & (True if free is None else free)
        rate: Any = row.remask
        if row.weigh:
            rate = row.remask * torch.softmax((-past[0]).masked_fill(~there, -torch.inf), 1).nan_to_num()
        after = torch.where(there & (_points(tokens, free, gen) < rate), row.mask_token, after)
    return posterior, with_tokens(x, after)


def sureness(logits: Tensor, order: str) -> Tensor:
    """How sure a posterior is of each token, (K, V) -> (K,): probability, lead, or minus the entropy."""
    law = torch.log_softmax(logits.to(torch.float64), -1)
    if order == "entropy":
        return (law.exp() * law.masked_fill(law.isneginf(), 0)).sum(-1)
    if order == "margin" and logits.shape[-1] > 1:
        first, second = law.topk(2, -1).values.exp().unbind(-1)
        return first - second
    return law.max(-1).values.exp()


def evaluated(row: Any, before: Any, after: Any) -> Tensor:
    """Which sequences of a batch a row called the denoiser for, (B,)."""
    old, new = tokens_and_free(before)[0], tokens_and_free(after)[0]
    if not isinstance(row, TokenRow) or row.draw == "float32":
        return torch.ones(len(old), dtype=torch.bool, device=old.device)
    return ((old == row.mask_token) & (new != row.mask_token)).any(1)


def _points(tokens: Tensor, free: Tensor | None, gen: Source | None) -> Tensor:
    """Uniform numbers (B, L) in float64, drawn where tokens may change and 0 elsewhere.

    A sequence draws the same whatever its prompt or padding, and whoever is beside it when `gen` is `Seeds`.
    """
    where: dict[str, Any] = {"dtype": torch.float64, "device": tokens.device}
    if free is None or isinstance(gen, Patchwork):
        return uniform(tokens.shape, gen, **where)
    out = torch.zeros(tokens.shape, **where)
    if isinstance(gen, Seeds):
        counts = free.sum(1).reshape(len(gen), gen.each).sum(1).tolist()
        each = zip(gen.generators, counts, strict=True)
        out[free] = torch.cat([uniform((n,), one, **where) for one, n in each])
    else:
        out[free] = uniform((int(free.sum()),), gen, **where)
    return out


def _ask(denoiser: Any, x: Any, t: float, cond: Any, where: Tensor) -> tuple[Posterior, Tensor]:
    """The posterior, and its logits at `where`. Sequences of which nothing is asked are not evaluated."""
    later = TokenPosterior(lambda at: denoiser(x, t, cond).at(at), where.shape)
    rows = where.any(1)
    if not rows.any():
        return later, torch.zeros(0, 1, device=where.device)
    if rows.all() or not getattr(denoiser, "rowwise", False):
        posterior = denoiser(x, t, cond)
        return posterior, posterior.at(where)
    index = rows.nonzero()[:, 0]
    told = take(cond, index) if isinstance(cond, Tensor | Mapping) else cond
    return later, denoiser(take(x, index), t, told).at(where[index])


def _ranked(row: TokenRow, chance: Tensor, masked: Tensor) -> Tensor:
    place = torch.arange(masked.shape[1], dtype=torch.float64, device=masked.device).expand_as(chance)
    return _best(row, {"random": chance, "left": -place, "right": place}[row.order], masked)


def _chosen(row: TokenRow, sure: Tensor, masked: Tensor) -> Tensor:
    if row.threshold > 0:
        best = _best(row._replace(reveal=0.0), sure, masked)
        return best | (masked & (sure > row.threshold))
    return _best(row, sure, masked)


def _best(row: TokenRow, key: Tensor, masked: Tensor) -> Tensor:
    """A share of the masks of each sequence, those of the largest key; at least one where there is any."""
    left = masked.sum(1)
    stay = (left * (1 - row.reveal) + 1e-9).floor().long()
    count = torch.minimum((left - stay).clamp_min(1), left)
    rank = key.masked_fill(~masked, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return masked & (rank < count[:, None])


def _remember(past: list[Any], reveal: Tensor, logits: Tensor, after: Tensor, where: dict[str, Any]) -> None:
    if not past:
        past.append(torch.zeros(reveal.shape, **where))
    sure = past[0].clone()
    law = torch.softmax(logits.to(torch.float64), -1)
    sure[reveal] = law.gather(1, after[reveal].long()[:, None])[:, 0] if len(law) else sure[reveal]
    past[0] = sure


def _redraw(row: RedrawRow, x: Any, posterior: Posterior, gen: Source | None) -> Any:
    tokens, free = tokens_and_free(x)
    probs = torch.softmax(posterior.logits.to(torch.float64), -1)
    law = redrawn(tokens, probs, row.alpha_t, row.alpha_s, row.form)  # type: ignore[arg-type]
    points = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device)
    fresh = drawn(law.log().flatten(0, 1), points.flatten()).reshape(tokens.shape).to(tokens.dtype)
    return with_tokens(x, fresh if free is None else torch.where(free, fresh, tokens))


def _gumbel(
    row: TokenRow, tokens: Tensor, masked: Tensor, posterior: Posterior, gen: Source | None
) -> Tensor:
    """The joint categorical over values and [MASK] by float32 Gumbel noise, as published samplers draw it."""
    if row.order != "each":
        raise ConfigError(f"float32 draws are for the order 'each', got '{row.order}'.")
    law = row.reveal * torch.softmax(posterior.logits.to(torch.float32), -1)
    law = torch.cat([law, torch.full_like(law[..., :1], 1 - row.reveal)], -1)
    noise = -uniform(law.shape, gen, dtype=torch.float32, device=law.device).clamp_min(2**-24).log()
    picked = (law / noise).argmax(-1)
    found = torch.where(picked == law.shape[-1] - 1, row.mask_token, picked).to(tokens.dtype)
    return torch.where(masked, found, tokens)
