"""The Oobleck codec: strided convolutions with snake activations, from the wave and back to it.

Full size (`FULL`): 44.1 kHz stereo, strides 2, 4, 4, 8, 8 (2048 samples a frame, 21.5 Hz), base width 128
with multipliers 1, 2, 4, 8, 16, 64 latent channels, 156 M parameters. `SMALL` is the same at base width 16
for the clock of the small models, 22.05 kHz mono with 1024 samples a frame, and serves as a yardstick of
cost.

    snake(x) = x + sin^2(e^a x) / (e^b + 1e-9), a and b per channel
    unit     = x + conv1(snake(conv7(snake(x), dilation d))), d = 1, 3, 9
    encoder  = conv7, [units, snake, conv of kernel 2 s and stride s] for each stride, snake, conv3
    decoder  = conv7, [snake, transposed conv of kernel 2 s and stride s, units] for each stride, snake, conv7

Weights are normalised (length and direction apart). The encoder's second half of channels is the scale,
std = softplus(scale) + 1e-4.

Sources: Evans et al. 2024 (Stable Audio Open), arXiv:2407.14358, section 3.1, and its public configuration;
Kumar et al. 2023 (DAC), arXiv:2306.06546, section 3.1 (snake, units); Ziyin, Hartwig & Ueda 2020,
arXiv:2006.08195, eq. 3 (snake); DiffRhythm, arXiv:2503.01183, section 3.2.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from core.errors import ConfigError
from core.state import Source
from domains.music.codec.protocol import Law, drawn, fitted
from domains.music.frames import RATE

__all__ = ["FULL", "SMALL", "Oobleck", "OobleckConfig"]

DILATIONS = (1, 3, 9)


@dataclass(frozen=True)
class OobleckConfig:
    """Size of an Oobleck codec.

    Attributes:
        channels: of the latent.
        wave_channels: 1 or 2.
        width: base width, times the multipliers.
        multipliers: of the width at each level, one for each stride.
        strides: of the levels, from the wave to the latent.
    """

    channels: int = 64
    wave_channels: int = 2
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)

    def __post_init__(self) -> None:
        if len(self.multipliers) != len(self.strides):
            raise ConfigError(
                f"one multiplier goes with each stride, got {self.multipliers} and {self.strides}."
            )
        if self.wave_channels not in (1, 2):
            raise ConfigError(f"wave_channels must be 1 or 2, got {self.wave_channels}.")


FULL = OobleckConfig()
SMALL = OobleckConfig(channels=32, wave_channels=1, width=16, strides=(2, 4, 4, 4, 8))


class Snake(nn.Module):
    """x + sin^2(e^a x) / (e^b + 1e-9), (B, C, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a[:, None].exp(), self.b[:, None].exp()
        return x + torch.sin(a * x).square() / (b + 1e-9)


class Unit(nn.Module):
    """Dilated residual unit."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Snake(width),
            weight_norm(nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation)),
            Snake(width),
            weight_norm(nn.Conv1d(width, width, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Oobleck(nn.Module):
    """The wave codec; see the module docstring.

    Args:
        config: the size.
        rate: samples a second of the waves it is for.
    """

    shift: Tensor
    spread: Tensor

    def __init__(self, config: OobleckConfig = FULL, *, rate: int = 44100) -> None:
        super().__init__()
        self.size, self.rate = config, rate
        self.hop = math.prod(config.strides)
        self.channels, self.wave_channels = config.channels, config.wave_channels
        widths = [config.width * m for m in config.multipliers]
        steps = list(zip([config.width, *widths[:-1]], widths, config.strides, strict=True))
        self.reach = -(-_reach(config.strides) // self.hop) + 1
        self.piece = 256
        self.encoder = nn.Sequential(
            weight_norm(nn.Conv1d(config.wave_channels, config.width, 7, padding=3)),
            *(_down(before, after, stride) for before, after, stride in steps),
            Snake(widths[-1]),
            weight_norm(nn.Conv1d(widths[-1], 2 * config.channels, 3, padding=1)),
        )
        self.decoder = nn.Sequential(
            weight_norm(nn.Conv1d(config.channels, widths[-1], 7, padding=3)),
            *(_up(after, before, stride) for before, after, stride in reversed(steps)),
            Snake(config.width),
            weight_norm(nn.Conv1d(config.width, config.wave_channels, 7, padding=3, bias=False)),
        )
        self.register_buffer("shift", torch.zeros(config.channels, 1))
        self.register_buffer("spread", torch.ones(config.channels, 1))

    @property
    def config(self) -> dict[str, Any]:
        """Settings that rebuild the network."""
        return {"kind": "oobleck", "rate": self.rate, **asdict(self.size)}

    def forward(self, wave: Tensor, gen: Source | None = None) -> tuple[Law, Tensor]:
        """The law of the latents, and the wave of a draw from it; without a generator, of its mean."""
        law = self.encode(wave)
        return law, self.outline(drawn(law, gen))

    def encode(self, wave: Tensor) -> Law:
        """Law of the standardised latents, (B, C, L), of waves (B, channels, samples) in [-1, 1]."""
        mean, scale = self.encoder(fitted(self, wave)).chunk(2, dim=1)
        std = F.softplus(scale) + 1e-4
        return Law((mean - self.shift) / self.spread, std / self.spread)

    def decode(self, latent: Tensor) -> Tensor:
        """Waves (B, channels, hop L) of standardised latents (B, C, L)."""
        return self.outline(latent)

    def outline(self, latent: Tensor) -> Tensor:
        """The wave itself."""
        return self.decoder(latent * self.spread + self.shift)

    def voiced(self, outline: Tensor) -> Tensor:
        """The wave, as it is."""
        return outline


def small() -> Oobleck:
    """The codec at base width 16 for the clock of the small models."""
    return Oobleck(SMALL, rate=RATE)


def _down(before: int, after: int, stride: int) -> nn.Sequential:
    pad = math.ceil(stride / 2)
    conv = nn.Conv1d(before, after, 2 * stride, stride=stride, padding=pad)
    return nn.Sequential(*(Unit(before, d) for d in DILATIONS), Snake(before), weight_norm(conv))


def _up(before: int, after: int, stride: int) -> nn.Sequential:
    pad = math.ceil(stride / 2)
    conv = nn.ConvTranspose1d(before, after, 2 * stride, stride=stride, padding=pad)
    return nn.Sequential(Snake(before), weight_norm(conv), *(Unit(after, d) for d in DILATIONS))


def _reach(strides: tuple[int, ...]) -> int:
    """Samples on either side that a latent frame, or the wave of one, depends on."""
    total, step = 3, 1
    for stride in strides:
        total += step * (3 * sum(DILATIONS) + stride)
        step *= stride
    return total + 3 * step
