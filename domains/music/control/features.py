"""What control can ask for, as differentiable functions of short-time magnitudes.

Magnitudes are (B, T, bins), a full-scale sine being 1, at T = one value a latent frame (21.5 Hz) unless said
otherwise. For magnitudes m of a Hann window, mean square = sum over bins of m^2 / 3 (Parseval).

    loudness     20 log10 of the root mean square, dB, smoothed along time by a Savitzky-Golay kernel
    chroma       energy in twelve pitch classes, C = 0: each bin is shared out by its distance from the
                 classes in semitones; bins below middle C are left out, so that a bass does not hide the tune
    timbre       mel-cepstral coefficients without the first, standardised along time
    similarity   cosine of the timbres of every two times, (B, T, T)

Sources: Savitzky & Golay 1964, doi:10.1021/ac60214a047 (least squares on a window); Novack et al. 2024
(DITTO), arXiv:2401.12179, section 4 (the features and their smoothing); Wu et al. 2023 (Music ControlNet),
arXiv:2311.07069, section 3 (chroma above middle C); Foote 1999, doi:10.1145/319463.319472 (self-similarity).
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import ConfigError
from core.extras import require

__all__ = [
    "chroma",
    "loudness",
    "magnitude",
    "melody_probability",
    "savgol",
    "similarity",
    "smoothed",
    "smoothed_plane",
    "timbre",
]

QUIET = 1e-4  # root mean square, -80 dB
MIDDLE_C = 261.6  # Hz
WIDTH = 0.35  # semitones: a tone in tune gives its class 97 % of what it has
BANDS, KEPT = 64, 20  # mel bands, and cepstral coefficients with the first


def magnitude(wave: Tensor, *, window: int, hop: int) -> Tensor:
    """Short-time magnitudes (B, samples / hop, window / 2 + 1) of waves (B, samples), a full-scale sine
    being 1.

    A frame is centred on its hop's middle, so that n hops of samples give n frames.
    """
    edge = (window - hop) // 2
    padded = F.pad(wave[:, None], (edge, window - hop - edge))[:, 0]
    shape = torch.hann_window(window, device=wave.device, dtype=wave.dtype)
    return torch.fft.rfft(padded.unfold(-1, window, hop) * shape).abs() * (4 / window)


def savgol(window: int, order: int = 3) -> Tensor:
    """Weights of a Savitzky-Golay smoother, (window,), float64: the value at the middle of the polynomial of
    this order that fits the window best.

    Raises:
        ConfigError: an even window, or one not longer than the order.
    """
    if window % 2 == 0 or window <= order or order < 0:
        raise ConfigError(f"a smoother needs an odd window longer than its order, got {window} and {order}.")
    n = torch.arange(window, dtype=torch.float64) - window // 2
    return torch.linalg.pinv(n[:, None] ** torch.arange(order + 1, dtype=torch.float64))[0]


def smoothed(x: Tensor, kernel: Tensor) -> Tensor:
    """x (B, T) smoothed along time; ends are repeated outwards."""
    half = len(kernel) // 2
    padded = F.pad(x[:, None], (half, half), mode="replicate")
    return F.conv1d(padded, kernel.flip(0).to(x)[None, None])[:, 0]


def smoothed_plane(x: Tensor, kernel: Tensor) -> Tensor:
    """x (B, T, T) smoothed along both axes."""
    rows = smoothed(x.flatten(0, 1), kernel).unflatten(0, x.shape[:2])
    return smoothed(rows.mT.flatten(0, 1), kernel).unflatten(0, x.shape[:2]).mT


def loudness(mag: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Root mean square in dB of full scale, (B, T), at least -80; smoothed where a kernel is given."""
    level = 10 * torch.log10(mag.square().sum(-1) / 3 + QUIET**2)
    return level if kernel is None else smoothed(level, kernel)


def chroma(mag: Tensor, rate: int, *, lowest_hz: float = MIDDLE_C) -> Tensor:
    """Energy in twelve pitch classes, (B, T, 12), C first; not normalised."""
    return mag.square() @ _classes(mag.shape[-1], rate, lowest_hz).to(mag)


def melody_probability(mag: Tensor, rate: int) -> Tensor:
    """Log of each class's share of the energy, (B, T, 12): the log-softmax of log chroma.

    The share does not depend on loudness. Silence has the share 1/12 of each.
    """
    return F.log_softmax(torch.log(chroma(mag, rate) + 1e-8), -1)


@lru_cache(maxsize=8)
def _classes(bins: int, rate: int, lowest_hz: float) -> Tensor:
    """Share of each bin in each class, (bins, 12): a Gaussian in semitones, rows adding to 1 or 0."""
    hertz = torch.linspace(0, rate / 2, bins, dtype=torch.float64)
    pitch = 12 * torch.log2(hertz.clamp(min=1.0) / 440) + 9  # semitones above C
    off = torch.remainder(pitch[:, None] - torch.arange(12) + 6, 12) - 6
    share = torch.exp(-((off / WIDTH) ** 2) / 2)
    share = share / share.sum(1, keepdim=True)
    return share * (hertz >= lowest_hz * 2 ** (-1 / 24))[:, None]


def timbre(mag: Tensor, rate: int) -> Tensor:
    """Mel-cepstral coefficients 1 to 19, (B, T, 19), each with mean 0 and deviation 1 along time."""
    bands = torch.log(mag.square() @ _mel(mag.shape[-1], rate).to(mag) + QUIET**2)
    found = (bands @ _cosines().to(mag))[..., 1:]
    centred = found - found.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()


def similarity(mag: Tensor, rate: int, kernel: Tensor | None = None) -> Tensor:
    """Cosine of the timbre of every two times, (B, T, T), in [-1, 1]; smoothed where a kernel is given."""
    unit = F.normalize(timbre(mag, rate), dim=-1)
    found = unit @ unit.mT
    return found if kernel is None else smoothed_plane(found, kernel)


@lru_cache(maxsize=8)
def _mel(bins: int, rate: int) -> Tensor:
    torchaudio = require("torchaudio", extra="music")
    return torchaudio.functional.melscale_fbanks(bins, 30.0, rate / 2, BANDS, rate)


def _cosines() -> Tensor:
    """The cosine transform of the bands, (bands, coefficients), orthonormal."""
    n, k = torch.arange(BANDS, dtype=torch.float64), torch.arange(KEPT, dtype=torch.float64)
    basis = torch.cos(math.pi / BANDS * (n[:, None] + 0.5) * k) * math.sqrt(2 / BANDS)
    basis[:, 0] /= math.sqrt(2)
    return basis
