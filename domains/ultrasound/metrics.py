"""Image metrics of ultrasound, in the conventions of the field.

Numpy arrays in, Python floats out. Regions A and B are arrays of pixels of any shape; images are (row, col)
and cines (frame, row, col). "dB" means display levels relative to a stated peak, in [-dynamic_range_db, 0];
"envelope" means linear magnitude >= 0. A `dynamic_range_db` of 60 turns an 8-bit picture into levels when
the source states no other.

| metric        | scale of its arguments                 | better                          |
| ------------- | -------------------------------------- | ------------------------------- |
| `gcnr`        | dB, 8 bit or envelope                  | high, but see `gcnr_bias`       |
| `cnr`         | any, the same for both regions         | high                            |
| `contrast_db` | envelope                               | depends on the pair             |
| `ks`          | any, the same for both samples         | low in tissue, high in a cavity |
| `psnr`        | dB with the display range, or 8 bit    | high                            |
| `flicker`     | dB                                     | at most 1.2                     |
| `residual`    | lines (RF or IQ)                       | low                             |
| `seam_energy` | any image                              | at most 1.1                     |

gCNR alone proves nothing: smoothing the speckle raises it while the cavity stays as hazy as before
(`domains.ultrasound.verdict` reads the measures together). The region measures live in `contrast.py`,
resolution in `speckle.py`, structural similarity and the MONAI measures in `similarity.py`, the challenge
score in `challenge.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from domains.ultrasound.contrast import (
    GCNR_BINS,
    cnr,
    contrast_db,
    finite,
    gcnr,
    gcnr_bias,
    gcnr_ranked,
    gcnr_warnings,
    ks,
    signed_cnr,
)

__all__ = [
    "GCNR_BINS",
    "cnr",
    "contrast_db",
    "flicker",
    "gcnr",
    "gcnr_bias",
    "gcnr_ranked",
    "gcnr_warnings",
    "ks",
    "picture_to_db",
    "psnr",
    "psnr_db",
    "residual",
    "seam_energy",
    "signed_cnr",
]

Array = np.ndarray[Any, np.dtype[Any]]


def picture_to_db(picture: Array, *, dynamic_range_db: float = 60.0) -> Array:
    """Read an 8-bit picture as display levels: 255 is 0 dB and 0 is -dynamic_range_db, in equal steps.

    Args:
        picture: uint8, (row, col) or (frame, row, col).

    Returns:
        Levels, same shape, float64 dB.
    """
    if picture.dtype != np.uint8:
        raise DataError(
            f"expected an 8-bit picture (uint8), got {picture.dtype}.", hint="dB images need no conversion."
        )
    levels: Array = (picture / 255.0 - 1.0) * dynamic_range_db
    return levels


def psnr(x: Array, reference: Array, *, data_range: float) -> float:
    """Measure `10 log10(data_range^2 / mean (x - reference)^2)` in dB over the whole image.

    Args:
        data_range: the display dynamic range of the reference for dB images (60 for 60 dB), 255 for 8-bit
            pictures. Never the extent of the values themselves, which would let an image choose its own
            scale.

    Returns:
        dB; infinite for equal images.
    """
    x, reference = _pair(x, reference)
    if not data_range > 0:
        raise ConfigError(f"data_range must be positive, got {data_range}.")
    error = float(np.mean((x - reference) ** 2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def psnr_db(x: Array, reference: Array, *, dynamic_range_db: float = 60.0) -> float:
    """Measure PSNR of dB images as displayed: clipped to [-dynamic_range_db, 0], that range as data range.

    Both must be levels relative to the maximum of the reference, never to their own: an image normalised by
    itself hides what was removed from it. `signal.log_compress(envelope, peak=...)` makes them.
    """
    x, reference = (np.clip(image, -dynamic_range_db, 0.0) for image in _pair(x, reference))
    return psnr(x, reference, data_range=dynamic_range_db)


def flicker(output: Array, source: Array, static: Array) -> float:
    """Measure the mean absolute frame difference inside a static region, output over input.

    Args:
        output: processed cine (frame, row, col), dB.
        source: the cine it came from, same shape and scale.
        static: mask (row, col) of a region that does not move.

    Returns:
        A ratio: 1 keeps the temporal noise, above 1.2 counts as flicker. Infinite when only the input
        stands still, 1 when both do.
    """
    output, source = _pair(output, source)
    if output.ndim != 3 or len(output) < 2:
        raise DataError(f"flicker needs at least 2 frames (frame, row, col), got shape {output.shape}.")
    mask = np.asarray(static, dtype=bool)
    if mask.shape != output.shape[1:] or not mask.any():
        raise DataError(f"expected a non-empty static region of shape {output.shape[1:]}, got {mask.shape}.")
    after, before = (float(np.abs(np.diff(cine[:, mask], axis=0)).mean()) for cine in (output, source))
    if before == 0:
        return 1.0 if after == 0 else math.inf
    return after / before


def residual(y: Array, x: Array, h: Array, *, gamma: float) -> float:
    """Measure what the separation leaves unexplained: `||y - x - gamma h|| / ||y||`.

    Args:
        y: measured lines, real RF or complex IQ, linear.
        x: tissue estimate, same shape.
        h: haze estimate, same shape.
        gamma: strength that the haze was given.
    """
    if not y.shape == x.shape == h.shape:
        raise DataError(f"expected equal shapes, got {y.shape}, {x.shape} and {h.shape}.")
    norm = float(np.linalg.norm(y))
    if norm == 0:
        raise DataError("the measurement is all zero.")
    return float(np.linalg.norm(y - x - gamma * h)) / norm


def seam_energy(image: Array, *, rows: Sequence[int] = (), cols: Sequence[int] = ()) -> float:
    """Measure the gradient energy on patch seams over that of the interior: 1 where seams do not show.

    A seam at row r lies between rows r - 1 and r. Each direction is compared with itself (speckle is not
    isotropic) and the two ratios are averaged.

    Args:
        image: (row, col), any scale, real or complex.
        rows: first row after each horizontal seam, in 1 .. rows - 1.
        cols: first column after each vertical seam.
    """
    if image.ndim != 2:
        raise DataError(f"expected one image (row, col), got shape {image.shape}.")
    ratios = []
    for axis, seams in ((0, rows), (1, cols)):
        if not seams:
            continue
        energy = (np.abs(np.diff(image, axis=axis)) ** 2).mean(axis=1 - axis)
        at = np.zeros(energy.size, dtype=bool)
        for seam in seams:
            if not 1 <= seam <= energy.size:
                raise ConfigError(f"a seam must lie in 1 .. {energy.size}, got {seam}.")
            at[seam - 1] = True
        if at.all() or energy[~at].mean() == 0:
            raise DataError("the interior has no gradient to compare the seams with.")
        ratios.append(float(energy[at].mean() / energy[~at].mean()))
    if not ratios:
        raise ConfigError("no seam was given: pass rows, cols or both.")
    return sum(ratios) / len(ratios)


def _pair(x: Array, reference: Array) -> tuple[Array, Array]:
    if x.shape != reference.shape:
        raise DataError(f"expected images of equal shape, got {x.shape} and {reference.shape}.")
    return finite(x, "the image"), finite(reference, "the reference")
