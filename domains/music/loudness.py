"""How loud a wave is, and where it clips: integrated loudness, sample peak and true peak.

A sample peak is the largest sample; a true peak is the largest value of the continuous wave between samples,
read at four times the rate. Loudness is gated and K-weighted, in LUFS.

Source: ITU-R BS.1770-4, annexes 1 (loudness) and 2 (true peak).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import DataError
from core.extras import require

__all__ = ["TARGET_LUFS", "Level", "integrated_lufs", "level_of", "normalise", "true_peak"]

TARGET_LUFS = -14.0
CEILING_DB = -1.0  # true peak that a normalised file stays below, dB relative to full scale
BLOCK_S = 0.4  # of the gated measurement: nothing shorter has a loudness
OVERSAMPLING = 4


@dataclass(frozen=True)
class Level:
    """How loud a wave is.

    Attributes:
        lufs: integrated loudness, LUFS; None for waves under 0.4 s and for those below the gate.
        peak_db: largest sample, dB relative to full scale.
        true_peak_db: largest value between samples, dB relative to full scale.
        clipped: samples beyond full scale.
    """

    lufs: float | None
    peak_db: float
    true_peak_db: float
    clipped: int

    def row(self) -> dict[str, float | int | None]:
        """The level as a row of a report."""
        return {
            "loudness_lufs": None if self.lufs is None else round(self.lufs, 2),
            "peak_db": round(self.peak_db, 2),
            "true_peak_db": round(self.true_peak_db, 2),
            "clipped_samples": self.clipped,
        }


def integrated_lufs(samples: Tensor, rate: int) -> float | None:
    """Integrated loudness, LUFS; None where it is not defined.

    Args:
        samples: (channels, samples), full scale is 1.
    """
    if samples.shape[-1] < math.ceil(BLOCK_S * rate):
        return None
    meter = require("pyloudnorm", extra="music").Meter(rate, block_size=BLOCK_S)
    value = float(meter.integrated_loudness(samples.T.double().numpy()))
    return value if math.isfinite(value) else None


def true_peak(samples: Tensor) -> float:
    """Largest magnitude of the wave read at four times its rate, at least that of its samples.

    Args:
        samples: (channels, samples).
    """
    resample = require("torchaudio.functional", extra="music").resample
    between = resample(samples.float(), 1, OVERSAMPLING, lowpass_filter_width=24, rolloff=0.99)
    return max(float(between.abs().max()), float(samples.abs().max()))


def level_of(samples: Tensor, rate: int) -> Level:
    """Measure a wave, (channels, samples)."""
    return Level(
        integrated_lufs(samples, rate),
        to_db(float(samples.abs().max())),
        to_db(true_peak(samples)),
        int((samples.abs() > 1).sum()),
    )


def normalise(
    samples: Tensor, rate: int, *, lufs: float = TARGET_LUFS, ceiling_db: float = CEILING_DB
) -> tuple[Tensor, str | None]:
    """Scale a wave to a loudness, as far as its peaks allow.

    The gain is a constant: nothing is compressed. Where it would lift the true peak above the ceiling it is
    lowered to the ceiling, and a sentence says so.

    Args:
        samples: (channels, samples).

    Returns:
        The wave, and what was not reached, if anything.

    Raises:
        DataError: the wave is too short or too quiet to have a loudness.
    """
    found = integrated_lufs(samples, rate)
    if found is None:
        raise DataError(
            f"a wave of {samples.shape[-1] / rate:.2f} s has no measurable loudness.",
            hint=f"It takes {BLOCK_S:g} s of sound above -70 LUFS; leave out the normalisation.",
        )
    gain_db = lufs - found
    room_db = ceiling_db - to_db(true_peak(samples))
    note = None
    if gain_db > room_db:
        note = (
            f"loudness is {found + room_db:.1f} LUFS, not the {lufs:g} asked for: more gain would lift the "
            f"true peak above {ceiling_db:g} dB."
        )
        gain_db = room_db
    return samples * 10 ** (gain_db / 20), note


def to_db(amplitude: float) -> float:
    """Amplitude in dB relative to full scale, never below -200."""
    return 20 * math.log10(max(amplitude, 1e-10))


def constant(samples: Tensor) -> Tensor:
    """Mean of each channel, (channels,), the offset that carries no sound."""
    return torch.mean(samples.double(), dim=-1)
