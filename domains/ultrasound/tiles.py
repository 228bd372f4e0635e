"""Large frames by patches: a denoiser evaluated on overlapping windows and put together again, at every step.

"hann" blends windows by squared cosines, a partition of unity, through MONAI's sliding window. "overwrite" is
the published
interleaving: windows are visited left to right and top to bottom, and each overwrites what it shares with the
ones before.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.extras import require

__all__ = ["Tiled", "hann_window"]


@dataclass(frozen=True)
class Tiled:
    """A denoiser of patches as a denoiser of frames (B, C, sample, line).

    Args:
        denoiser: of windows; called with several windows of several frames at once.
        size: samples and lines of a window; frames are at least this large.
        overlap: share of a window that its neighbour sees too.
        blend: "hann" or "overwrite".
    """

    denoiser: Denoiser
    size: tuple[int, int]
    overlap: float = 0.5
    blend: Literal["hann", "overwrite"] = "hann"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap must lie in [0, 1), got {self.overlap}.")

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        """Posterior mean of the frame, like x."""
        if self.blend == "overwrite":
            return Posterior(mean=self._overwritten(x, t, cond))
        sliding = require("monai.inferers", extra="ultrasound").sliding_window_inference
        return Posterior(
            mean=sliding(
                x,
                self.size,
                16,
                lambda window: self.denoiser(window, t, cond).mean,
                overlap=self.overlap,
                roi_weight_map=hann_window(self.size).to(x),
            )
        )

    def _overwritten(self, x: Tensor, t: Any, cond: Any) -> Tensor:
        corners = [
            (top, left)
            for top in _starts(x.shape[-2], self.size[0], self.overlap)
            for left in _starts(x.shape[-1], self.size[1], self.overlap)
        ]
        windows = [x[..., i : i + self.size[0], j : j + self.size[1]] for i, j in corners]
        means = self.denoiser(torch.cat(windows), t, cond).mean.split(len(x))
        out = torch.empty_like(x)
        for (i, j), mean in zip(corners, means, strict=True):
            out[..., i : i + self.size[0], j : j + self.size[1]] = mean
        return out


def hann_window(size: tuple[int, int]) -> Tensor:
    """Weights of a window, `size`: positive, and one in sum over neighbours half a window apart."""
    ramps = [torch.sin(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n).square() for n in size]
    return ramps[0][:, None] * ramps[1][None, :]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(1, round(size * (1 - overlap)))
    return [*range(0, length - size, step), length - size]
