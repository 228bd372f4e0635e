"""Haze: what multipath adds to an image, and how much of it a mixture gets.

Three ingredients, each with its own switch in `HazeRecipe`:

- diffuse clutter: scatterers of their own, seen through a response that is wider (1.8), longer (5 cycles) and
  lower in frequency (.9 f0) than the tissue's, with a decay over depth, a slow envelope in dB and nothing in
  the first millimetres;
- a reverberation ladder: two delayed, weaker copies of the clutter;
- time: haze comes from the chest wall and stands still, unless breathing moves it along the range.

The mixture is y = x + level h with both parts at peak 1 (`mix`).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.ultrasound.simulate.polar import PointSpread, draw_positions, render
from domains.ultrasound.simulate.probe import Probe
from domains.ultrasound.simulate.seeding import between, stream

__all__ = ["HazeRecipe", "Mixture", "draw_haze", "haze_lines", "mix"]

FADE_M = 0.004  # the clutter rises to its full level over this distance
ENVELOPE_MODES = 6


@dataclass(frozen=True)
class HazeRecipe:
    """The numbers of one haze. `draw_haze` draws one from a seed; `dataclasses.replace` switches ingredients.

    `decay_db_mm` is the loss over depth; the slow envelope swings by about +-`swing_db`; the clutter starts
    at `start_m`, where it is `near_db` stronger than deeper down, an excess that fades with the length
    `near_m`: clutter gathers below the chest wall. That excess also sets how much of a given level reaches
    the cavity (-24 dB below the peak of the haze on average). `ladder` holds the amplitude of each delayed
    copy, copy n lying n `spacing_m` deeper; an empty ladder switches it off, and `diffuse=False` keeps only
    the copies. `breathing_m` is the amplitude of the drift (0: static), `breathing_s` its period.
    `lateral_factor` multiplies the lateral width once more.
    """

    diffuse: bool = True
    ladder: tuple[float, ...] = (0.4, 0.16)
    breathing_m: float = 0.0
    breathing_s: float = 4.0
    width_ratio: float = 1.8
    lateral_factor: float = 1.0
    cycles: float = 5.0
    frequency_ratio: float = 0.9
    decay_db_mm: float = 0.07
    swing_db: float = 3.5
    start_m: float = 0.012
    spacing_m: float = 0.009
    near_db: float = 18.0
    near_m: float = 0.011

    def __post_init__(self) -> None:
        if not self.diffuse and not self.ladder:
            raise ConfigError(
                "a haze needs diffuse=True or a ladder.", hint="Set level=0 for a clean mixture."
            )
        if min(self.width_ratio, self.lateral_factor, self.cycles, self.frequency_ratio, self.spacing_m) <= 0:
            raise ConfigError(
                "width_ratio, lateral_factor, cycles, frequency_ratio and spacing_m must be positive."
            )

    def parameters(self) -> dict[str, object]:
        """The recipe as plain JSON values."""
        return {**asdict(self), "ladder": list(self.ladder)}


class Mixture(NamedTuple):
    """y = tissue + haze: what `mix` returns, all in the same units, peak of |y| equal to 1."""

    y: Tensor
    tissue: Tensor
    haze: Tensor


def draw_haze(seed: int) -> HazeRecipe:
    """Draw decay and ladder spacing; same seed, same recipe."""
    gen = stream(seed, "haze recipe")
    return HazeRecipe(decay_db_mm=between(0.045, 0.11, gen), spacing_m=between(0.006, 0.012, gen))


def haze_lines(recipe: HazeRecipe, probe: Probe, times_s: Sequence[float], *, seed: int) -> Tensor:
    """Return haze RF lines (frame, sample, line), float32, arbitrary units: one drawing, moved by breathing.

    Args:
        times_s: time of each frame, seconds; matters only when the recipe breathes.
        seed: the clutter and its slow envelope.
    """
    psf = PointSpread(
        f0_hz=recipe.frequency_ratio * probe.f0_hz,
        cycles=recipe.cycles,
        lateral_width=recipe.width_ratio * recipe.lateral_factor * probe.lateral_width,
    )
    gen = stream(seed, "haze")
    range_m, lateral = draw_positions(probe, 2 * psf.lateral_width, gen)
    gain_db = -1e3 * recipe.decay_db_mm * range_m + recipe.swing_db * _slow(probe, range_m, lateral, seed)
    gain_db = gain_db + recipe.near_db * torch.exp((recipe.start_m - range_m) / recipe.near_m)
    fade = torch.clamp((range_m - recipe.start_m) / FADE_M, 0, 1)
    fade = fade * fade * (3 - 2 * fade)
    amplitude = fade * 10 ** (gain_db / 20) * torch.randn(range_m.shape, generator=gen)
    clutter = render(probe, psf, range_m, lateral, amplitude)

    still = clutter if recipe.diffuse else torch.zeros_like(clutter)
    for order, factor in enumerate(recipe.ladder, start=1):
        still = still + factor * _delay(clutter, order * recipe.spacing_m / probe.sample_m)
    if recipe.breathing_m == 0:
        return still.expand(len(times_s), -1, -1).clone()
    shifts = [recipe.breathing_m * math.sin(2 * math.pi * time / recipe.breathing_s) for time in times_s]
    return torch.stack([_delay(still, shift / probe.sample_m) for shift in shifts])


def mix(tissue: Tensor, haze: Tensor, level: float) -> Mixture:
    """Add haze to tissue: y = x / max|x| + level h / max|h|, then everything divided by max|y|.

    Maxima are over the whole array, so a static haze stays static over a cine. Real (RF) or complex (IQ)
    lines.

    Args:
        tissue: clean lines, (frame, sample, line).
        haze: haze lines, same shape and type.
        level: peak of the haze relative to the peak of the tissue, >= 0 (published: .1, .2, .3).
    """
    if level < 0 or not math.isfinite(level):
        raise ConfigError(f"the haze level must be finite and >= 0, got {level}.")
    if tissue.shape != haze.shape or tissue.is_complex() != haze.is_complex():
        raise DataError(
            f"tissue {tuple(tissue.shape)} {tissue.dtype} and haze {tuple(haze.shape)} {haze.dtype} differ.",
            hint="Render both with the same probe and domain.",
        )
    peaks = tissue.abs().max(), haze.abs().max()
    if min(peaks) == 0:
        raise DataError("tissue or haze is all zero.", hint="Draw another scene or haze recipe.")
    x, h = tissue / peaks[0], (level / peaks[1]) * haze
    scale = (x + h).abs().max()
    x, h = x / scale, h / scale
    return Mixture(x + h, x, h)


def _slow(probe: Probe, range_m: Tensor, lateral: Tensor, seed: int) -> Tensor:
    """Smooth random field, mostly within [-1, 1] (variance 1/2): a few plane waves over the view."""
    gen = stream(seed, "haze envelope")
    depth = range_m / (probe.samples * probe.sample_m)
    across = lateral / (2 * float(probe.laterals()[-1]))
    total = torch.zeros_like(range_m)
    for _ in range(ENVELOPE_MODES):
        rows, columns, shift = between(0.5, 3, gen), between(-2, 2, gen), between(0, 1, gen)
        total = total + torch.cos(2 * math.pi * (rows * depth + columns * across + shift))
    return total / math.sqrt(ENVELOPE_MODES)


def _delay(lines: Tensor, samples: float) -> Tensor:
    """Shift lines down by any number of samples through their spectrum; what leaves the view is lost."""
    count = lines.shape[0]
    length = 2 * count
    spectrum = torch.fft.rfft(lines, n=length, dim=0)
    turn = torch.arange(spectrum.shape[0], dtype=torch.float64) * (-2 * math.pi * samples / length)
    return torch.fft.irfft(
        spectrum * torch.polar(torch.ones_like(turn), turn)[:, None].to(torch.complex64), n=length, dim=0
    )[:count]
