"""Resolution: full width at half maximum (FWHM) of speckle and of a point target.

Speckle carries its resolution in its autocorrelation: for speckle shaped by a Gaussian kernel of standard
deviation s, the autocorrelation of the (Gaussian) field has standard deviation sqrt(2) s. Only ratios
between two images of the same region are compared in reports, so the scale (dB or linear) needs to be the
same for both and nothing more.
"""

from typing import Any, NamedTuple

import numpy as np

from core.errors import DataError

__all__ = ["Width", "autocorrelation", "point_fwhm", "speckle_fwhm"]

Array = np.ndarray[Any, np.dtype[Any]]

FINENESS = 10  # interpolated points per pixel


class Width(NamedTuple):
    """FWHM along rows (axial) and along columns (lateral), in pixels."""

    axial: float
    lateral: float


def autocorrelation(image: Array, mask: Array | None = None, *, axis: int) -> Array:
    """Measure the cut of the normalised 2-D autocorrelation through zero lag, along one axis.

    The mean over the region is removed, products are averaged over the pairs that lie inside the region (so
    a region of any shape may be used and large lags are not pulled to zero), and the curve is divided by
    its value at lag 0.

    Args:
        image: (row, col), dB or linear.
        mask: bool (row, col), the speckle region; None takes the whole image.
        axis: 0 for axial lags, 1 for lateral ones.

    Returns:
        (lag,) float64, 1 at lag 0; lags go on while at least a quarter of the region's pixels form pairs.

    Raises:
        DataError: the region is empty, of other shape, constant or not finite.
    """
    inside = np.ones(image.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if image.ndim != 2 or inside.shape != image.shape:
        raise DataError(
            f"expected an image (row, col) and a mask of its shape, got {image.shape} and {inside.shape}."
        )
    if not inside.any():
        raise DataError("the speckle region is empty.")
    speckle = np.asarray(image[inside], dtype=np.float64)
    if not np.isfinite(speckle).all():
        raise DataError(
            "the speckle region holds NaN or Inf values.", hint="Clip dB levels to the dynamic range first."
        )
    if speckle.var() == 0:
        raise DataError("the speckle region is constant: it has no autocorrelation.")
    values = np.zeros(image.shape)
    values[inside] = speckle - speckle.mean()
    values, inside = np.moveaxis(values, axis, 0), np.moveaxis(inside, axis, 0)
    curve = []
    for lag in range(len(values)):
        stop = len(values) - lag
        pairs = np.count_nonzero(inside[lag:] & inside[:stop])
        if pairs < max(1, speckle.size // 4):
            break
        curve.append(float(np.sum(values[lag:] * values[:stop])) / pairs)
    return np.array(curve) / curve[0]


def speckle_fwhm(image: Array, mask: Array | None = None) -> Width:
    """Measure the size of speckle grains: the width of the autocorrelation at half its height.

    The curve is interpolated with a cubic spline at ten points per pixel.

    Args:
        image: (row, col), dB or linear.
        mask: bool (row, col), a region of speckle without anatomy; None takes the whole image.

    Returns:
        Axial and lateral width in pixels.

    Raises:
        DataError: the autocorrelation does not fall to one half within the region.
    """
    axial, lateral = (2 * _half_lag(autocorrelation(image, mask, axis=axis), name) for axis, name in _AXES)
    return Width(axial, lateral)


def point_fwhm(envelope: Array) -> Width:
    """Measure the -6 dB width of the brightest point of a linear envelope.

    Rows and columns through the brightest pixel are interpolated with a cubic spline at ten points per pixel.

    Args:
        envelope: (row, col), linear magnitude >= 0, one point target with its side lobes.

    Raises:
        DataError: the profile does not fall to half its peak before the edge of the image, or is shorter
            than 4 pixels.
    """
    if envelope.ndim != 2 or min(envelope.shape) < 4:
        raise DataError(
            f"expected an envelope (row, col) of at least 4x4 pixels, got shape {envelope.shape}."
        )
    if not np.isfinite(envelope).all() or envelope.min() < 0 or not envelope.max() > 0:
        raise DataError(
            "expected a finite envelope >= 0 with a positive peak.", hint="Pass linear magnitudes, not dB."
        )
    row, col = np.unravel_index(int(np.argmax(envelope)), envelope.shape)
    profiles = (envelope[:, col], envelope[row, :])
    axial, lateral = (_profile_width(p, name) for p, (_, name) in zip(profiles, _AXES, strict=True))
    return Width(axial, lateral)


_AXES = ((0, "axial"), (1, "lateral"))


def _half_lag(curve: Array, name: str) -> float:
    """First lag at which the even continuation of the curve falls through one half."""
    from scipy.interpolate import CubicSpline

    if len(curve) < 3:
        raise DataError(
            f"the region is too narrow for {name} speckle: {len(curve)} usable lags, at least 3 needed."
        )
    lags = np.arange(1 - len(curve), len(curve))
    fine = np.arange((len(curve) - 1) * FINENESS + 1) / FINENESS
    crossing = _first_below(fine, CubicSpline(lags, np.concatenate([curve[:0:-1], curve]))(fine), 0.5)
    if crossing is None:
        raise DataError(
            f"the {name} autocorrelation stays above one half up to lag {len(curve) - 1}.",
            hint="Choose a larger region, or one without a brightness gradient.",
        )
    return crossing


def _profile_width(profile: Array, name: str) -> float:
    from scipy.interpolate import CubicSpline

    fine = np.arange((len(profile) - 1) * FINENESS + 1) / FINENESS
    values = CubicSpline(np.arange(len(profile)), profile)(fine)
    top = int(np.argmax(values))
    half = values[top] / 2
    right = _first_below(fine[top:], values[top:], half)
    left = _first_below(-fine[top::-1], values[top::-1], half)
    if left is None or right is None:
        raise DataError(f"the {name} profile does not fall to half its peak inside the image.")
    return right + left


def _first_below(at: Array, values: Array, level: float) -> float | None:
    """Where `values` first falls through `level`, linear between points; None when it never does."""
    below = np.flatnonzero(values < level)
    if below.size == 0 or below[0] == 0:
        return None
    k = int(below[0])
    share = (values[k - 1] - level) / (values[k - 1] - values[k])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))
