"""Similarity: structure of images, overlap of masks, and distances between sets of features.

MONAI measures all but `fid` and `ejection_area_mae`. It is imported inside each function: the import costs
about ten CPU-seconds, once. Arrays in, Python floats out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import DataError
from core.extras import require

__all__ = ["dice", "ejection_area_mae", "fid", "mmd", "ms_ssim", "ssim", "surface_distance"]

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_IMAGES = 100
FEWEST_PX = {"ssim": 11, "ms_ssim": 176}  # a window of 11, at the coarsest of five scales: 11 * 2^4


def ssim(x_db: Array, reference_db: Array, *, dynamic_range_db: float = 60.0) -> float:
    """Measure structural similarity of dB images with the display range as data range; 1 for equal images.

    Gaussian window of 11 pixels and standard deviation 1.5, constants .01 and .03. Levels are shifted to
    [0, dynamic_range_db] first, since the luminance term needs a black that is 0. 8-bit pictures:
    `picture_to_db` first.

    Args:
        x_db: (row, col) or (frame, row, col), dB relative to the maximum of the reference. Frames are
            averaged.
        reference_db: same shape.

    Source: Wang et al. 2004, IEEE TIP 13(4), 600-612, doi:10.1109/TIP.2003.819861.
    """
    x, y = _as_batches(x_db, reference_db, dynamic_range_db, fewest=FEWEST_PX["ssim"])
    metric = require("monai.metrics", extra="ultrasound").SSIMMetric(
        spatial_dims=2, data_range=dynamic_range_db
    )
    return float(metric(x, y).mean())


def ms_ssim(x_db: Array, reference_db: Array, *, dynamic_range_db: float = 60.0) -> float:
    """Measure multi-scale structural similarity over five scales; sides of at least 176 pixels.

    Arguments as in `ssim`.

    Source: Wang, Simoncelli & Bovik 2003, Asilomar, 1398-1402, doi:10.1109/ACSSC.2003.1292216.
    """
    x, y = _as_batches(x_db, reference_db, dynamic_range_db, fewest=FEWEST_PX["ms_ssim"])
    monai = require("monai.metrics", extra="ultrasound")
    return float(monai.MultiScaleSSIMMetric(spatial_dims=2, data_range=dynamic_range_db)(x, y).mean())


def dice(mask: Array, reference: Array) -> float:
    """Measure the overlap of two masks (row, col): `2 |A and B| / (|A| + |B|)`."""
    a, b = _as_masks(mask, reference)
    return float(require("monai.metrics", extra="ultrasound").compute_dice(a, b))


def surface_distance(mask: Array, reference: Array, *, pixel: tuple[float, float] = (1.0, 1.0)) -> float:
    """Measure the average distance between two outlines, from each to the other.

    Args:
        mask: bool (row, col).
        reference: bool, same shape.
        pixel: height and width of a pixel; the result has its unit (pixels by default).
    """
    a, b = _as_masks(mask, reference)
    monai = require("monai.metrics", extra="ultrasound")
    distance = monai.compute_average_surface_distance(
        a, b, include_background=True, symmetric=True, spacing=list(pixel)
    )
    return float(distance)


def fid(features: Array, reference: Array) -> float:
    """Measure the Frechet distance between two sets of image features that the caller computed.

    Computed here: MONAI 1.6 calls SciPy's matrix root with an argument that SciPy 1.18 no longer takes.

    Args:
        features: (image, feature), from a network of the caller's choice; name it beside the figure.
        reference: (image, feature), same network.

    Raises:
        DataError: fewer than 100 images on a side, where the estimate is bias rather than distance.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    a, b = _checked_features(features, reference)
    cov_a, cov_b = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    # tr sqrt(A B) = tr sqrt(A^1/2 B A^1/2), which is symmetric.
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    shift = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def mmd(features: Array, reference: Array) -> float:
    """Measure the unbiased maximum mean discrepancy of two feature sets; arguments as in `fid`."""
    import torch

    a, b = (torch.from_numpy(f) for f in _checked_features(features, reference))
    return float(require("monai.metrics", extra="ultrasound").MMDMetric()(b, a))


def ejection_area_mae(before: Sequence[Array], after: Sequence[Array], *, pixel_area: float = 1.0) -> float:
    """Measure the mean absolute change of the ejected area: largest minus smallest cavity area over a cine.

    Args:
        before: one mask (frame, row, col) of the cavity per cine, drawn on the input.
        after: the same cines, drawn on the output.
        pixel_area: area of a pixel; the result has its unit (pixels by default).
    """
    if not before or len(before) != len(after):
        raise DataError(
            f"expected as many cines before as after and at least one, got {len(before)} and {len(after)}."
        )
    return float(
        np.mean([abs(_ejected(b) - _ejected(a)) for b, a in zip(before, after, strict=True)]) * pixel_area
    )


def _ejected(masks: Array) -> float:
    if masks.ndim != 3 or len(masks) < 2:
        raise DataError(
            f"an ejected area needs masks (frame, row, col) of at least 2 frames, got shape {masks.shape}."
        )
    areas = np.count_nonzero(masks, axis=(1, 2))
    return float(areas.max() - areas.min())


def _as_batches(x: Array, reference: Array, dynamic_range_db: float, *, fewest: int) -> tuple[Any, Any]:
    import torch

    if x.shape != reference.shape or x.ndim not in (2, 3):
        raise DataError(f"expected two images or cines of equal shape, got {x.shape} and {reference.shape}.")
    if min(x.shape[-2:]) < fewest:
        raise DataError(
            f"the image has {x.shape[-2]}x{x.shape[-1]} pixels; this measure needs at least {fewest} a side."
        )
    if not (np.isfinite(x).all() and np.isfinite(reference).all()):
        raise DataError(
            "an image holds NaN or Inf values.", hint="Clip dB levels to the dynamic range first."
        )
    shifted = [np.clip(image, -dynamic_range_db, 0.0) + dynamic_range_db for image in (x, reference)]
    a, b = (torch.from_numpy(image.reshape(-1, 1, *x.shape[-2:]).astype(np.float64)) for image in shifted)
    return a, b


def _as_masks(mask: Array, reference: Array) -> tuple[Any, Any]:
    import torch

    if mask.shape != reference.shape or mask.ndim != 2:
        raise DataError(
            f"expected two masks (row, col) of equal shape, got {mask.shape} and {reference.shape}."
        )
    if not mask.any() or not reference.any():
        raise DataError("a mask is empty: overlap and distance are not defined.")
    a, b = (
        torch.from_numpy(np.asarray(m, dtype=bool)[None, None].astype(np.float32)) for m in (mask, reference)
    )
    return a, b


def _checked_features(features: Array, reference: Array) -> tuple[Array, Array]:
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise DataError(
            f"expected (image, feature) arrays of equal width, got {features.shape} and {reference.shape}."
        )
    if min(len(features), len(reference)) < FEWEST_IMAGES:
        raise DataError(
            f"feature sets need {FEWEST_IMAGES} images on each side, got {len(features)} and "
            f"{len(reference)}.",
            hint="Use PSNR, KS and gCNR for a few images.",
        )
    return features.astype(np.float64), reference.astype(np.float64)
