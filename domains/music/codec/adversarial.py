"""The adversarial part of the published recipe: a critic of spectra, hinge losses and feature matching.

    critic loss      mean max(0, 1 - C(real)) + mean max(0, 1 + C(made))
    codec's loss     reconstruction - adversarial C(made) + matching mean |features(real) - features(made)|

Both are one objective for the core's loop: for the codec's terms the critic's weights are held, and for the
critic's terms the wave is, so that each network gets its own gradient from one backward pass, and both step
together. Deviations from the source: one optimiser with one rate for both (published: 1.5e-4 and 3e-4), and a
start after some steps is a second stage, `train(..., start=codec, objective=...)`.

Sources: Lim & Ye 2017, arXiv:1705.02894, eqs. 5 and 6 (hinge); Défossez et al. 2022 (EnCodec),
arXiv:2210.13438, section 3.4 (critic of complex spectra, feature matching); weights, windows and widths from
the public configuration of Stable Audio 2's codec and DiffRhythm, arXiv:2503.01183, section 3.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

from core.state import Source
from core.train.samples import Batch
from domains.music.codec.losses import MultiSTFT, heard, kl

__all__ = ["Adversarial", "Critic", "Duel", "codec_weights", "hinge", "matching"]

Judged = tuple[list[Tensor], list[list[Tensor]]]


class Critic(nn.Module):
    """Judges waves by their complex spectra at several windows.

    Args:
        wave_channels: of the waves.
        width: filters; 64 in the published recipe.
        windows: samples; hops are a quarter.
    """

    def __init__(
        self, wave_channels: int = 1, *, width: int = 64, windows: Sequence[int] = (2048, 1024, 512, 256, 128)
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.judges = nn.ModuleList(_judge(2 * wave_channels, width) for _ in windows)

    def forward(self, wave: Tensor) -> Judged:
        """Scores of patches, and the features behind them, for each window."""
        scores, features = [], []
        for window, judge in zip(self.windows, self.judges, strict=True):
            shape = torch.hann_window(window, device=wave.device, dtype=wave.dtype)
            flat = wave.flatten(0, 1)
            found = torch.stft(flat, window, window // 4, window=shape, normalized=True, return_complex=True)
            x = torch.view_as_real(found).unflatten(0, wave.shape[:2]).movedim(-1, 2).flatten(1, 2)
            seen = []
            for layer in judge:  # type: ignore[attr-defined]
                x = layer(x)
                seen.append(x)
            scores.append(x)
            features.append(seen[:-1])
        return scores, features


def _judge(channels: int, width: int) -> nn.ModuleList:
    def layer(before: int, kernel: tuple[int, int], stride: int, dilation: int) -> nn.Sequential:
        pad = (kernel[0] // 2, dilation * (kernel[1] // 2))
        conv = nn.Conv2d(before, width, kernel, stride=(stride, 1), dilation=(1, dilation), padding=pad)
        return nn.Sequential(weight_norm(conv), nn.LeakyReLU(0.2))

    return nn.ModuleList(
        [
            layer(channels, (9, 3), 1, 1),
            *(layer(width, (9, 3), 2, dilation) for dilation in (1, 2, 4)),
            layer(width, (3, 3), 1, 1),
            weight_norm(nn.Conv2d(width, 1, (3, 3), padding=1)),
        ]
    )


class Duel(nn.Module):
    """A codec and its critic, trained side by side; what `Trainee` holds in an adversarial stage."""

    def __init__(self, codec: Any, critic: Critic) -> None:
        super().__init__()
        self.codec, self.critic = codec, critic

    def forward(self, clean: Tensor, seen: Tensor, gen: Source) -> tuple[Any, Tensor, Judged, Judged, Judged]:
        """Law and wave; the critic on the clean wave, on the made one with its weights held, and on the made
        one held.
        """
        law, outline = self.codec(seen, gen)
        made = self.codec.voiced(outline)
        held = {name: value.detach() for name, value in self.critic.named_parameters()}
        return (
            law,
            made,
            self.critic(clean),
            functional_call(self.critic, held, (made,)),
            self.critic(made.detach()),
        )

    @property
    def config(self) -> dict[str, Any]:
        """That of the codec."""
        return self.codec.config

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.codec.rate

    @property
    def hop(self) -> int:
        """Samples of a latent frame."""
        return self.codec.hop


@dataclass(frozen=True)
class Adversarial:
    """The loss of both; see the module docstring."""

    stft: MultiSTFT = field(default_factory=MultiSTFT)
    kl_weight: float = 1e-4
    adversarial: float = 0.1
    matching: float = 5.0

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        law, made, real, fooled, caught = denoiser.net(batch.x0, heard(batch), gen)
        codec = self.stft(made, batch.x0) + self.kl_weight * kl(law)
        codec = codec - self.adversarial * _mean([score.flatten(1).mean(1) for score in fooled[0]])
        codec = codec + self.matching * matching(real[1], fooled[1])
        return codec + hinge(real[0], caught[0])


def hinge(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Hinge loss of a critic, per sample, averaged over windows: 0 once real scores pass 1 and made ones
    -1.
    """
    return _mean(
        [
            F.relu(1 - r).flatten(1).mean(1) + F.relu(1 + m).flatten(1).mean(1)
            for r, m in zip(real, made, strict=True)
        ]
    )


def matching(real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of features, per sample, averaged over windows and layers; the real ones
    held.
    """
    return _mean(
        [
            (a.detach() - b).abs().flatten(1).mean(1)
            for left, right in zip(real, made, strict=True)
            for a, b in zip(left, right, strict=True)
        ]
    )


def codec_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The codec's part of a duel's weights."""
    start = "codec."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def _mean(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean(0)
