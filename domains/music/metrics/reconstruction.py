"""How close a decoded wave is to the original.

    MR-STFT   distance of magnitudes, mean over windows of 2048, 1024, 512 and 256 samples (`codec.losses`)
    LSD       root of the mean squared difference of log power over bins, mean over frames, dB
    SI-SDR    10 log10 |a x|^2 / |a x - y|^2 with a = <x, y> / |x|^2, dB
    MCD       10 / ln 10 sqrt(2 sum_{k=1..13} (c_k - c'_k)^2), mean over frames, dB, with c the cosine
              transform of the log-mel spectrum
    STOI      short-time objective intelligibility (pystoi), 0 to 1

Sources: Le Roux et al. 2019 (SI-SDR), arXiv:1811.02508, eq. 4; Kubichek 1993 (MCD),
doi:10.1109/PACRIM.1993.407206; Taal et al. 2011 (STOI), doi:10.1109/TASL.2011.2114881. The MCD uses 64 mel
bands in place of mel-generalised cepstra and aligns nothing: its level differs from published figures.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import DataError
from core.extras import require
from domains.music.codec.losses import stft_distance
from domains.music.mel import BANDS, log_mel

__all__ = ["Reconstruction", "log_spectral_distance", "mel_cepstral_distortion", "reconstruction", "si_sdr"]

WINDOWS = (2048, 1024, 512, 256)
COEFFICIENTS = 13
QUIET_DB = -80.0


@dataclass(frozen=True)
class Reconstruction:
    """One recording, as in the module docstring; `stoi` is None where it was not asked for."""

    mr_stft: float
    lsd_db: float
    si_sdr_db: float
    mcd_db: float
    stoi: float | None


def si_sdr(decoded: Tensor, original: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of waves (T,); infinite for a scaled copy."""
    y, x = decoded.double(), original.double()
    scaled = (x @ y) / (x @ x).clamp(min=1e-30) * x
    wrong = float((scaled - y).square().sum())
    return math.inf if wrong == 0 else 10 * math.log10(max(float(scaled.square().sum()), 1e-30) / wrong)


def log_spectral_distance(decoded: Tensor, original: Tensor) -> float:
    """Log-spectral distance in dB of waves (T,), windows of 1024 samples; levels are at least -80 dB."""
    levels = []
    for wave in (decoded, original):
        shape = torch.hann_window(1024, device=wave.device)
        spectrum = torch.stft(wave, 1024, 256, window=shape, return_complex=True).abs() * (4 / 1024)
        levels.append((20 * spectrum.clamp(min=1e-12).log10()).clamp(min=QUIET_DB))
    return float((levels[0] - levels[1]).square().mean(0).sqrt().mean())


def mel_cepstral_distortion(decoded: Tensor, original: Tensor) -> float:
    """Mel-cepstral distortion in dB of waves (T,) at 22,050 Hz."""
    k = torch.arange(1, COEFFICIENTS + 1, dtype=torch.float64)[:, None]
    n = torch.arange(BANDS, dtype=torch.float64)
    basis = math.sqrt(2 / BANDS) * torch.cos(math.pi * k * (n + 0.5) / BANDS)
    # Half of the log power is the log magnitude, and 1 / sqrt(64 / 2) makes the basis orthonormal.
    gap = basis @ (log_mel(decoded) - log_mel(original)).double() / 2
    scaled = gap * math.sqrt(2 / BANDS)
    return float((10 / math.log(10) * (2 * scaled.square().sum(0)).sqrt()).mean())


def reconstruction(decoded: Tensor, original: Tensor, rate: int, *, stoi: bool = True) -> Reconstruction:
    """Compare a decoded wave with the original.

    Args:
        decoded, original: (T,) at 22,050 Hz, full scale 1.
        rate: samples a second.
        stoi: compute the intelligibility, which needs pystoi.

    Raises:
        DataError: the lengths differ.
        MissingExtra: pystoi is absent.
    """
    if decoded.shape != original.shape or decoded.ndim != 1:
        raise DataError(
            f"a decoded wave must be mono and as long as the original, got {tuple(decoded.shape)} and "
            f"{tuple(original.shape)}.",
            hint="Cut the filled-up end of the last latent frame.",
        )
    pair = decoded[None, None], original[None, None]
    distances = [float(stft_distance(*pair, window)) for window in WINDOWS]
    heard = None
    if stoi:
        package: Any = require("pystoi", extra="music")
        heard = float(package.stoi(original.double().numpy(), decoded.double().numpy(), rate))
    return Reconstruction(
        sum(distances) / len(distances),
        log_spectral_distance(decoded, original),
        si_sdr(decoded, original),
        mel_cepstral_distortion(decoded, original),
        heard,
    )
