"""A denoiser whose calls are repeated on the way back instead of being stored: memory of one call, twice the
calls.

What differentiates through a whole run (finetuning of a sampler, control by its noise) wraps its denoiser in
this.

Source: Chen et al. 2016, arXiv:1604.06174, section 4 (one segment per call).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from core.denoise import Denoiser, Posterior

__all__ = ["Recomputed"]


@dataclass(frozen=True)
class Recomputed:
    """A denoiser that keeps its input only, and is called again for the gradient."""

    denoiser: Denoiser

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        def mean(state: Any) -> Any:
            return self.denoiser(state, t, cond).mean

        if not torch.is_grad_enabled():
            return Posterior(mean=mean(x))
        return Posterior(mean=checkpoint(mean, x, use_reentrant=False))
