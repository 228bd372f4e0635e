"""Training crops: a place in a song, a gain, and, for some, a lossy copy for the encoder to hear.

The decoder is asked for the clean wave whichever it hears, so that latents of an MP3 are close to those of
the recording it was made from.

Source: DiffRhythm, arXiv:2503.01183, section 3.2: two thirds of the inputs are coded, at a quality drawn
uniformly. Coding takes about as long as a training step of the small codec, so on a CPU a smaller share is
coded (`lossy`).
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.extras import require
from core.train.samples import Batch

__all__ = ["Crops", "lossy"]

PAD = 4608  # four MP3 frames of silence after the wave: the last frames of a file may be cut short
SCALE = 32767.0


def lossy(wave: Tensor, rate: int, level: float) -> Tensor:
    """A wave as it comes back from MP3 with a variable bit rate: the same length, no delay.

    Args:
        wave: (channels, samples), full scale 1.
        level: of compression, in [0, 1): 0 is the best quality, 0.99 the worst.

    Raises:
        ConfigError: the level is out of range.
    """
    if not 0 <= level < 1:
        raise ConfigError(f"an MP3 level lies in [0, 1), got {level}.")
    soundfile = require("soundfile", extra="music")
    padded = torch.nn.functional.pad(wave, (0, PAD)).T.contiguous().numpy()
    file = io.BytesIO()
    soundfile.write(file, padded, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=float(level))
    file.seek(0)
    back, _ = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(back[: wave.shape[-1]].T.copy())


@dataclass(frozen=True)
class Crops:
    """Draws crops for `core.train.Drawn`.

    Attributes:
        groups: waves by group, each (channels, samples), int16 or float32; a crop picks a group by weight,
            then a wave by length.
        weights: of the groups.
        length: samples of a crop.
        rate: samples a second.
        gain_db: range of the gain, uniform in dB.
        lossy: share of the crops whose encoder hears an MP3.
    """

    groups: Mapping[str, Sequence[Tensor]]
    weights: Mapping[str, float]
    length: int
    rate: int
    gain_db: tuple[float, float] = (-12.0, 0.0)
    lossy: float = 2 / 3

    def __post_init__(self) -> None:
        if not 0 <= self.lossy <= 1:
            raise ConfigError(f"lossy is a share in [0, 1], got {self.lossy}.")
        if set(self.weights) != set(self.groups) or not self.groups:
            raise ConfigError(f"groups {sorted(self.groups)} and weights {sorted(self.weights)} must match.")
        for name, waves in self.groups.items():
            short = [wave.shape[-1] for wave in waves if wave.shape[-1] < self.length]
            if short or not waves:
                raise DataError(
                    f"group '{name}' has {len(waves)} waves, {len(short)} of them shorter than a crop of "
                    f"{self.length} samples.",
                    hint="Leave short files out, or take shorter crops.",
                )

    def __call__(self, gen: torch.Generator) -> Batch:
        """One crop: the clean wave (channels, length), and what the encoder hears."""
        names = list(self.groups)
        group = self.groups[names[_pick([self.weights[name] for name in names], gen)]]
        wave = group[_pick([float(one.shape[-1]) for one in group], gen)]
        start = int(torch.randint(wave.shape[-1] - self.length + 1, (1,), generator=gen))
        crop = wave[:, start : start + self.length]
        crop = crop.float() / SCALE if crop.dtype == torch.int16 else crop
        low, high = self.gain_db
        crop = crop * 10 ** ((low + (high - low) * _unit(gen)) / 20)
        coded, level = _unit(gen), 0.99 * _unit(gen)
        return Batch(crop, lossy(crop, self.rate, level) if coded < self.lossy else crop)


def _pick(weights: Sequence[float], gen: torch.Generator) -> int:
    return int(torch.multinomial(torch.tensor(weights), 1, generator=gen))


def _unit(gen: torch.Generator) -> float:
    return float(torch.rand((), generator=gen))
