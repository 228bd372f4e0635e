"""Log-mel spectrograms of 64 bands, 43 frames a second: what the recogniser and the tagger hear.

Windows of 1024 samples (Hann, periodic) every 512 at 22,050 Hz, centred on k 512; power is summed by
triangles whose corners are evenly spaced in mel = 2595 log10(1 + f / 700) from 30 Hz to 10 kHz, and its
logarithm taken.

Source: O'Shaughnessy 1987, Speech Communication, p. 150 (the mel formula).
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import DataError
from core.extras import require
from domains.music.frames import RATE

__all__ = ["BANDS", "MEL_RATE", "STEP", "at_rate", "filters", "log_mel"]

BANDS = 64
WINDOW = 1024  # samples
STEP = 512  # samples
MEL_RATE = RATE / STEP  # 43.07 frames a second
LOWEST_HZ, HIGHEST_HZ = 30.0, 10_000.0
FLOOR = 1e-5  # of power, about -50 dB below a full-scale sine's band


@lru_cache(maxsize=4)
def filters(bands: int = BANDS, window: int = WINDOW, rate: int = RATE) -> Tensor:
    """Triangles on the bins of a spectrum, peak 1, (bands, window / 2 + 1), float32."""
    ends = torch.tensor([LOWEST_HZ, min(HIGHEST_HZ, rate / 2)], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    corners = 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    rise = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0).float()


def log_mel(wave: Tensor) -> Tensor:
    """Natural logarithm of the mel power.

    Args:
        wave: (*, samples) at 22,050 Hz, full scale 1, more than 512 samples.

    Returns:
        (*, 64, 1 + samples // 512), at least ln(1e-5).

    Raises:
        DataError: the wave is shorter than a window's half.
    """
    if wave.shape[-1] <= WINDOW // 2:
        raise DataError(f"a spectrogram needs more than {WINDOW // 2} samples, got {wave.shape[-1]}.")
    flat = wave.reshape(-1, wave.shape[-1]).float()
    shape = torch.hann_window(WINDOW, device=wave.device)
    spectrum = torch.stft(flat, WINDOW, STEP, window=shape, return_complex=True).abs() * (4 / WINDOW)
    power = filters().to(wave.device) @ spectrum.square()
    return (power + FLOOR).log().reshape(*wave.shape[:-1], BANDS, -1)


def at_rate(samples: Tensor, rate: int) -> Tensor:
    """Mono samples at 22,050 Hz, (T,), of samples (channels, T) or (T,) at another rate."""
    mono = samples.mean(0) if samples.ndim == 2 else samples
    if rate == RATE:
        return mono
    functional: Any = require("torchaudio.functional", extra="music")
    return functional.resample(mono, rate, RATE)


def blurred(mel: Tensor, kernel: Tensor) -> Tensor:
    """A spectrogram (bands, T) smoothed along time by an odd kernel (K,)."""
    padded = F.pad(mel[None], (len(kernel) // 2, len(kernel) // 2), mode="replicate")
    return F.conv1d(padded.transpose(0, 1), kernel[None, None])[:, 0]
