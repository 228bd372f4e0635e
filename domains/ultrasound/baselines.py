"""Baselines that every dehazing method is compared with.

Each takes beamformed lines (frame, sample, line), complex IQ or real RF, and returns lines of the same
shape and type. Magnitudes are those of the analytic signal; what changes is the magnitude alone, the phase
is kept.

| name        | what it does                                     | what it cannot do                |
| ----------- | ------------------------------------------------ | -------------------------------- |
| `none`      | nothing: the yardstick                           |                                  |
| `threshold` | subtracts k medians of the frame from magnitudes | change gCNR: a pointwise curve   |
| `svd`       | drops the leading components over frames         | spare tissue that stands still   |
| `bm3d`      | denoises the dB image by block matching          | darken the cavity                |

Real RF must be sampled above twice the upper band edge; bring undersampled RF to IQ first (`signal.to_iq`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from core.errors import ConfigError, DataError, unknown
from core.extras import require
from domains.ultrasound.signal import log_compress

__all__ = ["BASELINES", "baseline", "bm3d", "none", "svd", "threshold"]

Array = np.ndarray[Any, np.dtype[Any]]


def none(lines: Array) -> Array:
    """Return a copy of the lines (frame, sample, line)."""
    return _checked(lines).copy()


def threshold(lines: Array, *, k: float = 0.5) -> Array:
    """Soft-threshold the magnitude: minus k medians of the frame's magnitude, at least 0, phase kept.

    Args:
        lines: (frame, sample, line), complex IQ or real RF, linear.
        k: strength; 0 changes nothing.
    """
    if not k >= 0:
        raise ConfigError(f"k must be at least 0, got {k}.")
    magnitude = _magnitude(_checked(lines))
    kept = np.maximum(magnitude - k * np.median(magnitude, axis=(1, 2), keepdims=True), 0)
    return _with_magnitude(lines, magnitude, kept)


def svd(lines: Array, *, k: int = 1) -> Array:
    """Drop the leading k singular components over frames, which hold what stands still.

    Works on the whole cine as one matrix (frame, pixel); it also removes tissue that does not move.

    Args:
        lines: (frame, sample, line) with more than k frames, complex IQ or real RF, linear.
        k: components dropped, at least 1.
    """
    frames = len(_checked(lines))
    if not 1 <= k < frames:
        raise ConfigError(
            f"svd drops k components with 1 <= k < frames, got k = {k} and {frames} frames.",
            hint="Give a cine of more frames, or another baseline.",
        )
    wide = np.complex128 if np.iscomplexobj(lines) else np.float64
    matrix = lines.reshape(frames, -1).astype(wide)
    # The left singular vectors are the eigenvectors of the small (frame, frame) matrix, in ascending order.
    leading = np.linalg.eigh(matrix @ matrix.conj().T)[1][:, -k:]
    kept = matrix - leading @ (leading.conj().T @ matrix)
    return kept.reshape(lines.shape).astype(lines.dtype)


def bm3d(lines: Array, *, noise: float = 0.25, dynamic_range_db: float = 60.0) -> Array:
    """Denoise each frame's dB image by block matching and put the new magnitude under the old phase.

    Args:
        lines: (frame, sample, line), complex IQ or real RF, linear.
        noise: standard deviation of the noise as a share of the display range.
        dynamic_range_db: range of the dB image, relative to each frame's maximum. Magnitudes below it are
            raised to it, as in the picture.

    Raises:
        MissingExtra: the package `bm3d` is not installed (its licence is for non-commercial use; check it
            first).

    Source: Dabov et al. 2007, IEEE TIP 16(8), 2080-2095, doi:10.1109/TIP.2007.901238.
    """
    if not noise > 0:
        raise ConfigError(f"noise must be positive, got {noise}.")
    package = require("bm3d", extra="bm3d")
    magnitude = _magnitude(_checked(lines))
    levels = log_compress(torch.from_numpy(magnitude), dynamic_range_db=dynamic_range_db).numpy()
    kept = np.empty_like(magnitude)
    for index, frame in enumerate(levels):
        share = np.clip(package.bm3d(frame / dynamic_range_db + 1, sigma_psd=noise), 0, 1)
        kept[index] = magnitude[index].max() * 10 ** ((share - 1) * dynamic_range_db / 20)
    return _with_magnitude(lines, magnitude, kept)


BASELINES: Mapping[str, Callable[[Array], Array]] = {
    "none": none,
    "threshold": threshold,
    "svd": svd,
    "bm3d": bm3d,
}


def baseline(name: str) -> Callable[[Array], Array]:
    """Look a baseline up by name, with its default strength."""
    if name not in BASELINES:
        raise unknown("baseline", name, BASELINES)
    return BASELINES[name]


def _checked(lines: Array) -> Array:
    if lines.ndim != 3 or lines.size == 0:
        raise DataError(f"expected lines (frame, sample, line), got shape {lines.shape}.")
    if not np.isfinite(lines).all():
        raise DataError("the lines hold NaN or Inf values.")
    if not np.issubdtype(lines.dtype, np.inexact):
        raise DataError(
            f"expected floating-point or complex lines, got {lines.dtype}.", hint="Convert them to float32."
        )
    return lines


def _magnitude(lines: Array) -> Array:
    """Magnitude of the analytic signal, float64."""
    if np.iscomplexobj(lines):
        return np.abs(lines).astype(np.float64)
    n = lines.shape[1]
    keep = np.zeros((n, 1))  # the one-sided spectrum: zero and Nyquist once, positive frequencies twice
    keep[[0, n // 2]] = 1
    keep[1 : (n + 1) // 2] = 2
    return np.abs(np.fft.ifft(np.fft.fft(lines, axis=1) * keep, axis=1))


def _with_magnitude(lines: Array, old: Array, new: Array) -> Array:
    """Scale lines so that their magnitude goes from `old` to `new`; no echo has no phase and stays 0."""
    gain = np.divide(new, old, out=np.zeros_like(old), where=old > 0)
    return (lines * gain).astype(lines.dtype)
