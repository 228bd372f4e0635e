"""The spectral codec: log magnitudes in, 32 latents at 21.5 Hz, magnitudes and phase slopes out.

    wave -> ln |STFT| -> linear -> blocks at 86 Hz -> stride 4 -> blocks at 21.5 Hz -> mean, std (32
    channels) latent -> linear -> blocks at 21.5 Hz -> stride 4 -> blocks at 86 Hz -> log magnitude, advance,
    tilt -> wave

The encoder sees magnitudes alone, so a latent does not depend on the phase of the input, and a decoded wave
is like the input to the ear and in its spectrum, not sample by sample. Two channels are coded as middle (l +
r) / 2 and side (l - r) / 2. The wave of an outline is made by `spectrum.integrate`; gradients pass through
its magnitudes, and its phases are held.

Sources: DiffRhythm, arXiv:2503.01183, section 3.2 (rate of the latents, law and its KL weight); Siuzdak 2023
(Vocos), arXiv:2306.00814 (ConvNeXt blocks and a spectrum as the output). The phase slopes are the deviation
from the latter: a network that answers equal frames alike cannot give a steady tone its running phase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import ConfigError
from core.state import Source
from domains.music.codec.blocks import Block, Down, Up
from domains.music.codec.protocol import Law, drawn, fitted
from domains.music.codec.spectrum import (
    BINS,
    STEP,
    frames,
    integrate,
    levels,
    magnitudes,
    refined,
    synthesis,
)
from domains.music.frames import HOP, RATE

__all__ = ["PRESETS", "Outline", "SpecVAE", "SpecVAEConfig", "folded", "unfolded"]

STRIDE = HOP // STEP
PARTS = 3  # log magnitude, advance, tilt
REFINE = 2  # rounds that make the phases of a decoded wave agree; an attribute of the codec, free to change
NARROW = -4.0  # std = softplus(-4) = 0.018
CENTRE, SCALE = -5.0, 3.0  # of log magnitudes, so that those of songs have about mean 0 and deviation 1


@dataclass(frozen=True)
class SpecVAEConfig:
    """Size of a spectral codec.

    Attributes:
        channels: of the latent.
        wave_channels: 1 or 2.
        fast, slow: widths at 86 Hz and at 21.5 Hz.
        encoder, decoder: blocks at 86 Hz and at 21.5 Hz.
        expansion: of the hidden layer of a block.
    """

    channels: int = 32
    wave_channels: int = 1
    fast: int = 192
    slow: int = 256
    encoder: tuple[int, int] = (1, 2)
    decoder: tuple[int, int] = (2, 3)
    expansion: int = 2

    def __post_init__(self) -> None:
        if self.wave_channels not in (1, 2):
            raise ConfigError(f"wave_channels must be 1 or 2, got {self.wave_channels}.")
        if min(self.channels, self.fast, self.slow, self.expansion) < 1:
            raise ConfigError(f"widths must be positive, got {self}.")


PRESETS: Mapping[str, SpecVAEConfig] = {
    "tiny": SpecVAEConfig(channels=8, fast=24, slow=32, encoder=(1, 1), decoder=(1, 1)),
    "small": SpecVAEConfig(),  # 2.7 M parameters, the one that ships
    "base": SpecVAEConfig(fast=272, slow=392, encoder=(2, 3), decoder=(3, 3)),  # 6.8 M
}


@dataclass(frozen=True)
class Outline:
    """What the decoder says of each frame, each (B, wave_channels, T, 513): log magnitude, advance and
    tilt.
    """

    level: Tensor
    advance: Tensor
    tilt: Tensor


class Encoder(nn.Module):
    """Levels (B, T, channels 513) to mean and scale, (B, T / 4, 2 C): a linear map of four frames, and a
    network that adds to it.
    """

    def __init__(self, config: SpecVAEConfig) -> None:
        super().__init__()
        wide, deep, bins = config.fast, config.slow, BINS * config.wave_channels
        self.straight = nn.Linear(STRIDE * bins, config.channels)
        self.layers = nn.Sequential(
            nn.Linear(bins, wide),
            nn.LayerNorm(wide),
            *(Block(wide, config.expansion) for _ in range(config.encoder[0])),
            Down(wide, deep, STRIDE),
            *(Block(deep, config.expansion) for _ in range(config.encoder[1])),
            nn.LayerNorm(deep),
        )
        self.last = nn.Linear(deep, 2 * config.channels)
        with torch.no_grad():  # begin with the linear map, and with narrow laws
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()
            self.last.bias[config.channels :] = NARROW

    def forward(self, seen: Tensor) -> Tensor:
        four = seen.reshape(len(seen), seen.shape[1] // STRIDE, -1)
        return self.last(self.layers(seen)) + F.pad(self.straight(four), (0, self.straight.out_features))


class Decoder(nn.Module):
    """Latents (B, L, C) to the outline of frames, (B, 4 L, 3 channels 513): a linear map to levels, and a
    network that adds to it.
    """

    def __init__(self, config: SpecVAEConfig) -> None:
        super().__init__()
        wide, deep, self.bins = config.fast, config.slow, BINS * config.wave_channels
        self.straight = nn.Linear(config.channels, STRIDE * self.bins)
        self.layers = nn.Sequential(
            nn.Linear(config.channels, deep),
            *(Block(deep, config.expansion) for _ in range(config.decoder[1])),
            Up(deep, wide, STRIDE),
            *(Block(wide, config.expansion) for _ in range(config.decoder[0])),
            nn.LayerNorm(wide),
        )
        self.last = nn.Linear(wide, PARTS * self.bins)
        with torch.no_grad():  # begin with the linear map
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()

    def forward(self, z: Tensor) -> Tensor:
        out = self.last(self.layers(z))
        four = self.straight(z).reshape(len(z), -1, self.bins)
        out[..., : self.bins] += four
        return out

    def level(self, z: Tensor, of: Sequence[int]) -> Tensor:
        """Levels alone, of these of the four frames of each latent frame, (B, len(of) L, channels 513)."""
        where = torch.as_tensor(of, device=z.device)
        last, rows = self.last, self.layers(z).unflatten(1, (-1, STRIDE))[:, :, where]
        found = F.linear(rows, last.weight[: self.bins], last.bias[: self.bins])
        four = self.straight(z).unflatten(-1, (STRIDE, self.bins))[:, :, where]
        return (found + four).flatten(1, 2)


class SpecVAE(nn.Module):
    """A codec of log magnitudes; see the module docstring.

    Args:
        config: the size.
        rate: samples a second of the waves it is trained on.
    """

    shift: Tensor
    spread: Tensor

    def __init__(self, config: SpecVAEConfig = PRESETS["small"], *, rate: int = RATE) -> None:
        super().__init__()
        self.size, self.rate, self.hop = config, rate, HOP
        self.channels, self.wave_channels = config.channels, config.wave_channels
        # Three slow frames a slow block, three fast ones a fast block, and the ends of the window.
        fast, slow = (max(config.encoder[i], config.decoder[i]) for i in (0, 1))
        self.reach = 3 * slow + -(-3 * fast // STRIDE) + 2
        self.piece = 1024
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.refine = REFINE
        self.register_buffer("shift", torch.zeros(config.channels, 1))
        self.register_buffer("spread", torch.ones(config.channels, 1))

    @property
    def config(self) -> dict[str, Any]:
        """Settings that rebuild the network."""
        return {"kind": "specvae", "rate": self.rate, **asdict(self.size)}

    def encode(self, wave: Tensor) -> Law:
        """Law of the standardised latents, (B, C, L), of waves (B, channels, samples) in [-1, 1]."""
        return self.law(levels(frames(folded(fitted(self, wave)))))

    def law(self, level: Tensor) -> Law:
        """Law of the standardised latents of log magnitudes (B, channels, T, 513), T a multiple of 4."""
        mean, width = self.encoder(seen(level)).transpose(1, 2).chunk(2, dim=1)
        std = F.softplus(width) + 1e-4
        return Law((mean - self.shift) / self.spread, std / self.spread)

    def forward(self, wave: Tensor, gen: Source | None = None) -> tuple[Law, Tensor]:
        """The law of the latents, and the outline of a draw from it; without a generator, of its mean."""
        law = self.encode(wave)
        return law, self.outline(drawn(law, gen))

    def decode(self, latent: Tensor) -> Tensor:
        """Waves (B, channels, 1024 L) of standardised latents (B, C, L)."""
        return self.voiced(self.outline(latent))

    def outline(self, latent: Tensor) -> Tensor:
        """Log magnitude, advance and tilt of each frame, (B, 3 channels 513, 4 L)."""
        x = (latent * self.spread + self.shift).transpose(1, 2)
        return self.decoder(x).transpose(1, 2)

    def parts(self, outline: Tensor) -> Outline:
        """The outline, taken apart."""
        shape = (PARTS, self.wave_channels, BINS)
        level, advance, tilt = outline.transpose(1, 2).unflatten(-1, shape).movedim(2, 0).movedim(3, 2)
        return Outline(SCALE * level + CENTRE, advance, tilt)

    def magnitude(self, latent: Tensor, of: Sequence[int] = tuple(range(STRIDE))) -> Tensor:
        """Magnitudes (B, channels, len(of) L, 513) before the inverse transform, a full-scale sine being 1;
        middle and side where there are two channels. Gradients are exact.

        Args:
            latent: (B, C, L), standardised.
            of: which of the four frames of each latent frame, in order.
        """
        x = (latent * self.spread + self.shift).transpose(1, 2)
        level = self.decoder.level(x, of).unflatten(-1, (self.wave_channels, BINS)).transpose(1, 2)
        return magnitudes(SCALE * level + CENTRE)

    def voiced(self, outline: Tensor) -> Tensor:
        """The wave of an outline, (B, channels, 256 T)."""
        found = self.parts(outline)
        mag = magnitudes(found.level)
        phasor = refined(mag, integrate(found.level, found.advance, found.tilt), self.refine)
        return unfolded(synthesis(mag * phasor))

    def fit_straight(self, levels_seen: Tensor) -> None:
        """Begin with principal components: set both linear maps; the network's part of a new codec is near
        zero.

        Args:
            levels_seen: log magnitudes (n, channels, T, 513) of training songs, T a multiple of 4.

        The latents begin with mean 0 and deviation 1 over these, and decoding with the best linear answer.
        """
        with torch.no_grad():
            rows = seen(levels_seen).reshape(-1, self.encoder.straight.in_features)
            centre = rows.mean(0)
            _, size, basis = torch.svd_lowrank(rows - centre, q=self.channels + 8, niter=4)
            size, basis = size[: self.channels] / len(rows) ** 0.5, basis[:, : self.channels]
            self.encoder.straight.weight.copy_((basis / size).T)
            self.encoder.straight.bias.copy_(-centre @ (basis / size))
            self.decoder.straight.weight.copy_(basis * size)
            self.decoder.straight.bias.copy_(centre)


def seen(level: Tensor) -> Tensor:
    """Log magnitudes (B, channels, T, 513) as the network sees them, (B, T, channels 513)."""
    return (level.transpose(1, 2).flatten(2) - CENTRE) / SCALE


def folded(wave: Tensor) -> Tensor:
    """Middle and side of two channels; one channel as it is."""
    if wave.shape[1] == 1:
        return wave
    left, right = wave[:, :1], wave[:, 1:]
    return torch.cat([left + right, left - right], 1) / 2


def unfolded(wave: Tensor) -> Tensor:
    """Left and right of middle and side; one channel as it is."""
    if wave.shape[1] == 1:
        return wave
    middle, side = wave[:, :1], wave[:, 1:]
    return torch.cat([middle + side, middle - side], 1)
