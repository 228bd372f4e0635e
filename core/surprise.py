"""Surprise of tokens, -ln q, summed per sequence: what losses, bounds and energies of text are made of."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.denoise import Denoiser
from core.process.masking import tokens_and_free, with_tokens

__all__ = ["hidden_surprise", "row_sums", "token_surprise"]


def row_sums(values: Tensor, where: Tensor) -> Tensor:
    """Sums per sequence of values (K, ...) at the K positions of `where` (B, L): (B, ...), float64."""
    out = torch.zeros(len(where), *values.shape[1:], dtype=torch.float64, device=values.device)
    return out.index_add(0, where.nonzero()[:, 0], values.double())


def token_surprise(logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """-ln q of the tokens (B, L) at `where`, whose logits are (K, V): (B,), float64.

    The law is normalised in the logits' own precision, float32 at least.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return row_sums(functional.cross_entropy(logits, tokens[where].long(), reduction="none"), where)


def hidden_surprise(denoiser: Denoiser, x0: Any, hidden: Tensor, t: Any, cond: Any = None) -> Tensor:
    """-ln q of what is hidden given the rest, (B,), float64; 0 where nothing is. The head runs there only."""
    tokens, _ = tokens_and_free(x0)
    if not bool(hidden.any()):
        return torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device, requires_grad=True)
    x = with_tokens(x0, torch.where(hidden, denoiser.process.mask_token, tokens))
    return token_surprise(denoiser(x, t, cond).at(hidden), tokens, hidden)
