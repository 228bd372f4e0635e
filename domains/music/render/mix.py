"""Voice and accompaniment set to their loudness and quantised so that they add up to the mix exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stems", "mix", "sounding_rms"]

VOICE_RMS, BACKING_RMS, PEAK = 0.12, 0.07, 0.9
_FULL = 32767
_BLOCK = 1024


@dataclass(frozen=True)
class Stems:
    """16-bit parts of one song, (T,) int16 each; mix = voice + backing, sample by sample."""

    mix: NDArray[np.int16]
    voice: NDArray[np.int16]
    backing: NDArray[np.int16]


def sounding_rms(samples: NDArray[np.float64]) -> float:
    """Root mean square over the blocks of 1024 samples that are within 40 dB of the loudest."""
    usable = len(samples) // _BLOCK * _BLOCK
    if usable == 0:
        return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    power = (samples[:usable].reshape(-1, _BLOCK) ** 2).mean(axis=1)
    loud = power[power >= power.max() * 1e-4]
    return float(np.sqrt(loud.mean()))


def mix(voice: NDArray[np.float64], backing: NDArray[np.float64]) -> Stems:
    """Balance two parts of equal length.

    Args:
        voice: the sung part, any scale; set to an rms of 0.12 where it sounds.
        backing: the accompaniment, any scale; set to 0.07.

    Returns:
        Stems whose mix peaks at 0.9 or less; both parts are turned down together when it would exceed that.
    """
    parts = []
    for samples, target in ((voice, VOICE_RMS), (backing, BACKING_RMS)):
        loudness = sounding_rms(samples)
        parts.append(samples * (target / loudness) if loudness > 0 else np.zeros_like(samples))
    peak = max(float(np.abs(part).max(initial=0.0)) for part in (parts[0] + parts[1], *parts))
    gain = min(1.0, PEAK / peak) if peak > 0 else 1.0
    voice16, backing16 = (np.round(part * gain * _FULL).astype(np.int16) for part in parts)
    return Stems(voice16 + backing16, voice16, backing16)
