"""Masking of tokens: each token is replaced by [MASK] independently, with probability 1 - alpha(t).

A state of tokens is an integer tensor (B, L), or a mapping {"tokens": (B, L), "mask": (B, L)} whose boolean
mask says which positions may change: a prompt, padding or the fixed part of a text stands where it is False.

Source: Sahoo et al. 2024, arXiv:2406.07524, eqs. 3 and 6; Shi et al. 2024, arXiv:2406.04329.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.process.survival import LINEAR, Survival
from core.state import Source, per_sample, uniform

__all__ = ["Masking", "survival_of", "tokens_and_free", "with_tokens"]


@dataclass(frozen=True)
class Masking:
    """Absorbing process on tokens 0 .. vocab - 1; the mask is token `vocab`. alpha(t) = 1 - t by default.

    The denoiser returns a posterior with logits (B, L, vocab).
    """

    vocab: int
    survival: Survival = LINEAR

    def __post_init__(self) -> None:
        if self.vocab < 1:
            raise ConfigError(f"vocab must be at least 1, got {self.vocab}.")
        object.__setattr__(self, "survival", survival_of(self.survival))

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def mask_token(self) -> int:
        return self.vocab

    def alpha(self, t: Any) -> Any:
        """Probability that a token is still there."""
        return self.survival.alpha(t)

    def weight(self, t: Any) -> Any:
        """-alpha' / (1 - alpha): the weight of a masked token's surprise in the bound on -ln p(x0)."""
        return -self.survival.slope(t) / (1 - self.alpha(t))

    def revealed(self, t: float, s: float) -> float:
        """Probability that a token masked at t is there at the earlier time s."""
        return float((self.alpha(s) - self.alpha(t)) / (1 - self.alpha(t)))

    def perturb(self, x0: Any, t: Any, gen: Source | None) -> tuple[Any, Tensor]:
        """Mask tokens of x0; t is a scalar or (B,). Returns x_t and which were masked."""
        tokens, free = tokens_and_free(x0)
        keep = self.alpha(t)
        keep = per_sample(keep, tokens) if isinstance(keep, Tensor) else keep
        hidden = uniform(tokens.shape, gen, dtype=torch.float32, device=tokens.device) >= keep
        hidden = hidden if free is None else hidden & free
        return with_tokens(x0, torch.where(hidden, self.mask_token, tokens)), hidden

    def posterior(self, x: Tensor, probs: Tensor, s: float, t: float) -> Tensor:
        """q(x_s given x_t = x) under a law of the clean tokens, (B, L, vocab + 1), the mask last.

        Args:
            x: tokens at t, (B, L).
            probs: law of each clean token, (B, L, vocab).
        """
        r = self.revealed(t, s)
        stays = torch.nn.functional.one_hot(x, self.vocab + 1).to(probs)
        opens = torch.cat([r * probs, torch.full_like(probs[..., :1], 1 - r)], -1)
        return torch.where((x == self.mask_token)[..., None], opens, stays)

    def prior(self, like: Any, gen: Source | None = None, t: float | None = None) -> Any:
        """All tokens masked, shaped like `like`; those that may not change stay."""
        tokens, free = tokens_and_free(like)
        hidden = torch.full_like(tokens, self.mask_token)
        return with_tokens(like, hidden if free is None else torch.where(free, hidden, tokens))


def tokens_and_free(x: Any) -> tuple[Tensor, Tensor | None]:
    """The tokens of a state, and which of them may change (None: all)."""
    return (x["tokens"], x.get("mask")) if isinstance(x, Mapping) else (x, None)


def with_tokens(x: Any, tokens: Tensor) -> Any:
    """The same state with other tokens."""
    return {**x, "tokens": tokens} if isinstance(x, Mapping) else tokens


def survival_of(found: Any) -> Survival:
    """A curve, given as such or as the mapping of its settings that a record holds."""
    return Survival(**found) if isinstance(found, Mapping) else found
