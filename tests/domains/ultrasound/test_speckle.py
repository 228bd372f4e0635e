"""Widths of speckle and of points against Gaussian kernels, whose widths are known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.errors import DataError
from domains.ultrasound.speckle import autocorrelation, point_fwhm, speckle_fwhm

FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian with standard deviation 1


def field(seed: int, axial: float, lateral: float, shape: tuple[int, int] = (300, 300)) -> np.ndarray:
    """White noise through a Gaussian kernel of these standard deviations."""
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), (axial, lateral), mode="wrap")


def test_speckle_width_is_that_of_the_kernels_autocorrelation() -> None:
    widths = np.mean([speckle_fwhm(field(seed, 1.5, 3.0)) for seed in range(4)], axis=0)
    # 4 fields of about 300 * 300 / (2 pi * 1.5 * 3 * 2) = 1600 grains each: a few per cent of scatter.
    assert widths == pytest.approx(np.sqrt(2) * FWHM * np.array([1.5, 3.0]), rel=0.04)


def test_smoothing_along_lines_changes_the_lateral_width_alone() -> None:
    image = field(0, 1.5, 2.0)
    before, after = speckle_fwhm(image), speckle_fwhm(gaussian_filter(image, (0, 2.0), mode="wrap"))
    # Variances add: the lateral width grows by sqrt(2). The grains are the same, so scatter nearly cancels.
    assert after.lateral / before.lateral == pytest.approx(np.sqrt(2), rel=0.05)
    assert after.axial / before.axial == pytest.approx(1, rel=0.05)


def test_the_autocorrelation_of_a_region_equals_the_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.normal(size=(7, 9)), rng.uniform(size=(7, 9)) < 0.7
    v = image - image[mask].mean()
    pairs = [v[r, c] * v[r, c + 2] for r in range(7) for c in range(7) if mask[r, c] and mask[r, c + 2]]
    assert autocorrelation(image, mask, axis=1)[2] == pytest.approx(
        np.mean(pairs) / np.mean(v[mask] ** 2), abs=1e-12
    )


def test_what_lies_outside_the_region_has_no_say() -> None:
    image, mask = field(0, 1.5, 2.0, (120, 120)), np.zeros((120, 120), dtype=bool)
    mask[20:100, 20:100] = True
    other = np.where(mask, image, 1e3)
    assert speckle_fwhm(other, mask) == pytest.approx(speckle_fwhm(image[20:100, 20:100]), abs=1e-9)


def test_width_of_a_gaussian_point_is_exact_to_a_hundredth_of_a_pixel() -> None:
    z, x = np.mgrid[:40, :60]
    envelope = np.exp(-0.5 * ((z - 18.3) / 2) ** 2 - 0.5 * ((x - 30.6) / 4) ** 2)
    # Cubic interpolation of a Gaussian with 2 pixels a deviation errs by less than .01.
    assert point_fwhm(envelope) == pytest.approx((2 * FWHM, 4 * FWHM), abs=0.01)


def test_rows_without_lateral_change_have_no_lateral_width() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 1)) + np.zeros((40, 30))
    with pytest.raises(DataError, match="lateral autocorrelation stays above one half"):
        speckle_fwhm(rows)
    with pytest.raises(DataError, match="constant"):
        speckle_fwhm(np.ones((20, 20)))


def test_a_point_on_the_edge_is_refused() -> None:
    with pytest.raises(DataError, match="axial profile"):
        point_fwhm(np.exp(-0.5 * (np.mgrid[:20, :20][0] / 3.0) ** 2) * np.hanning(20))
