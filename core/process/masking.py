"""Masking of tokens: each token is replaced by [MASK] independently, with probability 1 - alpha(t).

Source: Sahoo et al. 2024, arXiv:2406.07524, eqs. 3 and 6; Shi et al. 2024, arXiv:2406.04329.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.state import Source, uniform

__all__ = ["Masking"]


@dataclass(frozen=True)
class Masking:
    """Absorbing process on tokens 0 .. vocab - 1; the mask is token `vocab`. alpha(t) = 1 - t (log-linear
    schedule).

    A state is an integer tensor (B, L). The denoiser returns `Posterior(logits=...)`, (B, L, vocab).
    """

    vocab: int

    def __post_init__(self) -> None:
        if self.vocab < 1:
            raise ConfigError(f"vocab must be at least 1, got {self.vocab}.")

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def mask_token(self) -> int:
        return self.vocab

    def alpha(self, t: Any) -> Any:
        """Probability that a token is still there."""
        return 1 - t

    def perturb(self, x0: Tensor, t: Any, gen: Source | None) -> tuple[Tensor, Tensor]:
        """Mask tokens of x0 (B, L); t is a scalar or (B,). Returns x_t and the boolean positions that were
        masked.
        """
        keep = self.alpha(t)
        keep = keep.reshape(-1, 1) if isinstance(keep, Tensor) and keep.ndim == 1 else keep
        hidden = uniform(x0.shape, gen, dtype=torch.float32, device=x0.device) >= keep
        return torch.where(hidden, self.mask_token, x0), hidden

    def prior(self, like: Tensor, gen: Source | None = None, t: float | None = None) -> Tensor:
        """All tokens masked, shaped like `like`."""
        return torch.full_like(like, self.mask_token)
