"""What a codec is, and what must hold of the waves that it is given.

A codec turns a wave into a Gaussian law of latents and latents back into a wave. Latents are standardised:
over the training set each channel has mean 0 and deviation 1, by statistics stored with the weights, so that
nothing outside a codec needs to know its units.

Decoding has two parts, so that long songs can be decoded piece by piece: a network of limited reach,
`outline`, whose output at a frame depends on the latents near it, and `voiced`, cheap, which may run over
the whole.
"""

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import DataError
from core.state import Source, randn

__all__ = ["Codec", "Law", "drawn", "fitted"]


class Law(NamedTuple):
    """Mean and standard deviation of the latents, each (B, C, L), standardised."""

    mean: Tensor
    std: Tensor


class Codec(Protocol):
    """Anything that encodes and decodes waves.

    Attributes:
        rate: samples a second.
        hop: samples of one latent frame.
        channels: of the latent.
        wave_channels: of the wave, 1 or 2.
        reach: latent frames on either side that one frame of the result can depend on, of encoder and decoder
            alike; pieces that overlap by it lose nothing.
        piece: latent frames that are worth running at once: memory against overlaps that run twice.
    """

    rate: int
    hop: int
    channels: int
    wave_channels: int
    reach: int
    piece: int

    def encode(self, wave: Tensor) -> Law:
        """Latents of waves (B, wave_channels, samples); the last frame is filled up with silence."""

    def decode(self, latent: Tensor) -> Tensor:
        """Waves (B, wave_channels, hop L) of latents (B, C, L): `voiced(outline(latent))`."""

    def outline(self, latent: Tensor) -> Tensor:
        """What the network makes of latents, (B, *, n L) with n values a latent frame."""

    def voiced(self, outline: Tensor) -> Tensor:
        """The wave of an outline, (B, wave_channels, hop L)."""


def fitted(codec: Any, wave: Tensor) -> Tensor:
    """The wave, filled up with silence to whole latent frames.

    Raises:
        DataError: the shape, or a value that is not finite.
    """
    if wave.ndim != 3 or wave.shape[1] != codec.wave_channels or wave.shape[2] == 0:
        raise DataError(
            f"expected waves (B, {codec.wave_channels}, samples), got {tuple(wave.shape)}.",
            hint="Add a batch axis; mix to mono or repeat the channel.",
        )
    if not bool(torch.isfinite(wave).all()):
        raise DataError("the wave has values that are not finite.")
    return F.pad(wave, (0, -wave.shape[-1] % codec.hop))


def drawn(law: Law, gen: Source | None) -> Tensor:
    """A draw from the law of the latents, mean + std xi; without a generator, the mean."""
    return law.mean if gen is None else law.mean + law.std * randn(law.mean, gen)
