"""What codecs are trained by, each a loss per sample, (B,).

    kl(law)                    sum over channels, mean over time, of 1/2 (mean^2 + std^2 - 1 - ln std^2)
    stft_distance(x, y, n)     window n, hop n / 4:  sum |X - Y| / sum |Y|  +  mean |ln X - ln Y|
    MultiSTFT                  its mean over windows; of two channels: middle and side, half of left and right
    WaveLoss                   MultiSTFT + KL, for any codec (the published recipe)
    SpectralLoss               for the spectral codec: log magnitude, slopes, one window a step, KL

`SpectralLoss` compares the predicted log magnitude with the true one directly, and through the wave that it
makes with the true phases, at other windows; slopes are compared as angles, 1 - cos, with weights that grow
with the level above silence, since the phase of silence is anything.

Sources: Yamamoto, Song & Kim 2020, arXiv:1910.11480, eqs. 6 and 7 (both terms; here the first norm is L1);
DiffRhythm, arXiv:2503.01183, section 3.2 (middle, side, left, right); Kingma & Welling 2014, arXiv:1312.6114,
appendix B (KL); Ai & Ling 2023, arXiv:2305.07952, section 3.3 (losses of phase slopes, there with an
anti-wrapping function in place of the cosine).
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from core.device import bare
from core.errors import ConfigError
from core.state import Source, uniform
from core.train.samples import Batch
from domains.music.codec.protocol import Codec, Law
from domains.music.codec.spectrum import (
    FLOOR,
    advance,
    frames,
    levels,
    magnitudes,
    synthesis,
    tilt,
)
from domains.music.codec.specvae import SpecVAE, folded

__all__ = ["MultiSTFT", "SpectralLoss", "WaveLoss", "angular", "heard", "kl", "stft_distance"]

QUIET = 3e-4  # mean magnitude, -70 dB: quieter crops count as if they were that loud


def kl(law: Law) -> Tensor:
    """KL of the latents from the standard normal law, nats: summed over channels, averaged over time."""
    square = law.std.square()
    return (law.mean.square() + square - 1 - square.log()).sum(1).mean(-1) / 2


def stft_distance(x: Tensor, y: Tensor, window: int, *, curve: Tensor | None = None) -> Tensor:
    """Linear and log distance of the short-time magnitudes of x from those of y.

    Args:
        x, y: waves, (B, channels, samples).
        window: samples; the hop is a quarter.
        curve: gain of each bin, (window / 2 + 1,), such as `a_weighting`; applied to both.
    """
    a, b = (_magnitude(wave, window) for wave in (x, y))
    if curve is not None:
        a, b = a * curve[:, None], b * curve[:, None]
    linear = (a - b).abs().flatten(1).mean(1) / b.flatten(1).mean(1).clamp(min=QUIET)
    return linear + ((a + FLOOR).log() - (b + FLOOR).log()).abs().flatten(1).mean(1)


def _magnitude(wave: Tensor, window: int) -> Tensor:
    shape = torch.hann_window(window, device=wave.device, dtype=wave.dtype)
    flat = wave.flatten(0, 1)
    found = torch.stft(flat, window, window // 4, window=shape, return_complex=True).abs() * (4 / window)
    return found.unflatten(0, wave.shape[:2])


def a_weighting(window: int, rate: int) -> Tensor:
    """Gain of the A curve at each bin, 1 at 1 kHz, (window / 2 + 1,).

    Source: IEC 61672-1:2013, annex E, eq. E.6.
    """
    square = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64).square()

    def curve(s: Tensor) -> Tensor:
        low = (s + 20.6**2) * ((s + 107.7**2) * (s + 737.9**2)).sqrt()
        return 12194.0**2 * s.square() / (low * (s + 12194.0**2))

    return (curve(square) / curve(torch.tensor(1e6, dtype=torch.float64))).float()


@dataclass(frozen=True)
class MultiSTFT:
    """Mean of `stft_distance` over windows; middle and side (weight 1) plus left and right (weight 0.5).

    Attributes:
        windows: samples.
        perceptual_rate: weigh magnitudes by the A curve at this rate of sampling; None for no weighting. The
            published recipe filters the waves, which differs at the ends alone.
    """

    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64, 32)
    perceptual_rate: int | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of waves x from waves y, (B, 1 or 2, samples)."""
        if x.shape[1] == 1:
            return self._mean(x, y)
        return self._mean(folded(x), folded(y)) + 0.5 * self._mean(x, y)

    def _mean(self, x: Tensor, y: Tensor) -> Tensor:
        rate = self.perceptual_rate
        curves = [None if rate is None else a_weighting(n, rate).to(x) for n in self.windows]
        found = [stft_distance(x, y, n, curve=c) for n, c in zip(self.windows, curves, strict=True)]
        return torch.stack(found).mean(0)


@dataclass(frozen=True)
class WaveLoss:
    """The published reconstruction loss, for any codec whose wave is differentiable.

    The batch holds clean waves as states and, as conditions, what the encoder hears: the same, or a lossy
    copy.
    """

    stft: MultiSTFT = MultiSTFT()
    kl_weight: float = 1e-4

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        law, outline = denoiser.net(heard(batch), gen)
        made = cast(Codec, bare(denoiser.net)).voiced(outline)
        return self.stft(made, batch.x0) + self.kl_weight * kl(law)


@dataclass(frozen=True)
class SpectralLoss:
    """The loss of the spectral codec; see the module docstring.

    Attributes:
        windows: of the wave's distance; one is drawn for each step.
        wave: weight of that distance.
        slopes: weight of the two angles together.
        kl_weight: 0 where the encoder is frozen. At 2e-4 the small codec keeps 2.3 nats a channel.
    """

    windows: tuple[int, ...] = (2048, 512, 256)
    wave: float = 0.5
    slopes: float = 0.5
    kl_weight: float = 2e-4

    def __post_init__(self) -> None:
        if not self.windows or min(self.wave, self.slopes, self.kl_weight) < 0:
            raise ConfigError(f"the spectral loss needs windows and weights >= 0, got {self}.")

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        codec = cast(SpecVAE, bare(denoiser.net))
        target = folded(batch.x0)
        spectrum = frames(target)
        level, phase = levels(spectrum), spectrum.angle()
        law, outline = denoiser.net(heard(batch), gen)
        made = codec.parts(outline)
        loss = (made.level - level).abs().flatten(1).mean(1) + self.kl_weight * kl(law)
        weight = (level - math.log(FLOOR)).square()
        turned = angular(made.tilt, tilt(phase), weight)
        ran = angular(made.advance[..., 1:, :], advance(phase)[..., 1:, :], weight[..., 1:, :])
        loss = loss + self.slopes * (turned + ran) / 2
        if self.wave == 0:
            return loss
        wave = synthesis(torch.polar(magnitudes(made.level), phase))
        pick = uniform((len(target),), gen, dtype=torch.float64, device=target.device)[0]
        window = self.windows[int(pick * len(self.windows))]
        return loss + self.wave * stft_distance(wave, target, window)


def angular(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of 1 - cos of the difference of two angles, per sample, (B,)."""
    off = (1 - torch.cos(made - true)) * weight
    return off.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1e-6)


def heard(batch: Batch) -> Tensor:
    """What the encoder is given."""
    return batch.x0 if batch.cond is None else batch.cond
