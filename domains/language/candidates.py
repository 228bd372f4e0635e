"""Candidate texts of a predictor, drawn side by side, and what an energy says of them."""

from typing import Any

import torch
from torch import Tensor

from core.categorical import inverse
from core.denoise import Denoiser
from core.errors import ConfigError, NumericalError
from core.process import Masking
from core.process.masking import tokens_and_free
from core.state import uniform
from core.surprise import row_sums
from domains.language.energy import Energy

__all__ = ["candidate_texts", "check_correction", "row_points", "scored"]


def candidate_texts(
    x: Any, masked: Tensor, logits: Tensor, points: Tensor, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """k texts of each row side by side, (B * k, L), drawn at points (M, k); and ln q of each, (B, k).

    Args:
        known: tokens that all k texts have, (M,), -1 where they are drawn.
    """
    tokens, _ = tokens_and_free(x)
    log_law = torch.log_softmax(logits.double(), -1)
    values = inverse(log_law.exp(), points)
    if known is not None:
        values = torch.where(known[:, None] < 0, values, known[:, None])
    texts = tokens[..., None].repeat(1, 1, points.shape[1])
    texts[masked] = values.to(tokens.dtype)
    return texts.transpose(1, 2).flatten(0, 1), row_sums(log_law.gather(1, values), masked)


def scored(energy: Energy, texts: Tensor, x: Any, log_q: Tensor) -> Tensor:
    found = energy(texts, x, log_q)
    if found.shape != (len(texts),):
        raise ConfigError(f"an energy gives one number per text, ({len(texts)},), got {tuple(found.shape)}.")
    if bool(found.isnan().any() | found.isneginf().any()):
        raise NumericalError("an energy is not a number.", hint="Train it again with a lower learning rate.")
    return found.detach().double()


def row_points(where: Tensor, k: int, sources: list[torch.Generator] | torch.Generator) -> Tensor:
    """Uniform numbers (M, k) in float64, row by row."""
    kind: dict[str, Any] = {"dtype": torch.float64, "device": where.device}
    if isinstance(sources, torch.Generator):
        return uniform((int(where.sum()), k), sources, **kind)
    counts = where.sum(1).tolist()
    return torch.cat([uniform((n, k), one, **kind) for n, one in zip(counts, sources, strict=True)])


def check_correction(denoiser: Denoiser, candidates: int) -> None:
    if not isinstance(denoiser.process, Masking):
        raise ConfigError(f"an energy corrects masked text, got {type(denoiser.process).__name__}.")
    if candidates < 1:
        raise ConfigError(f"at least 1 candidate is needed, got {candidates}.")
