"""Baselines on lines whose answer is known."""

import importlib.util

import numpy as np
import pytest

from core.errors import ConfigError, DataError, MissingExtra
from domains.ultrasound.baselines import BASELINES, baseline, bm3d, none, svd, threshold
from domains.ultrasound.metrics import gcnr, ks

HAS_BM3D = importlib.util.find_spec("bm3d") is not None


def speckle(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Circular complex Gaussian lines, complex64."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def test_none_returns_an_equal_copy() -> None:
    lines = speckle((2, 16, 8))
    assert none(lines) is not lines
    np.testing.assert_array_equal(none(lines), lines)


def test_threshold_subtracts_medians_from_magnitudes_and_keeps_phases() -> None:
    lines = speckle((3, 32, 20)) * np.array([1, 10, 100], dtype=np.float32)[:, None, None]
    out = threshold(lines, k=0.5)
    medians = np.median(np.abs(lines), axis=(1, 2), keepdims=True)
    # complex64 arithmetic: relative error of a few 1e-7 on magnitudes up to 400.
    np.testing.assert_allclose(
        np.abs(out), np.maximum(np.abs(lines) - 0.5 * medians, 0), rtol=1e-5, atol=1e-4
    )
    kept = np.abs(out) > 1e-3 * np.abs(lines)
    np.testing.assert_allclose(np.angle(out[kept] / lines[kept]), 0, atol=1e-5)
    assert out.dtype == np.complex64


def test_threshold_of_a_carrier_lowers_its_envelope_without_distorting_it() -> None:
    carrier = np.cos(2 * np.pi * 0.125 * np.arange(256))[None, :, None] * np.array([1.0, 2.0, 3.0])
    # Whole periods: the analytic magnitude is exactly 1, 2, 3; the median is 2.
    expected = carrier * ((np.array([1.0, 2.0, 3.0]) - 1.0) / np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(threshold(carrier, k=0.5), expected, atol=1e-12)


def test_a_threshold_darkens_the_cavity_and_leaves_gcnr_alone() -> None:
    lines = speckle((1, 120, 100))
    lines[:, 60:] *= 0.1
    tissue, cavity = np.s_[0, :60], np.s_[0, 60:]
    out = threshold(lines, k=0.5)
    before, after = (20 * np.log10(np.maximum(np.abs(x), 1e-3) / np.abs(lines).max()) for x in (lines, out))
    assert after[cavity].mean() < before[cavity].mean() - 3
    # Pixels cut to zero share one bin; elsewhere only the binning moves: the bound of a monotone map.
    assert gcnr(after[tissue], after[cavity]) == pytest.approx(gcnr(before[tissue], before[cavity]), abs=0.02)
    assert ks(before[cavity], after[cavity]) > 0.3


def test_svd_removes_what_stands_still_exactly() -> None:
    frames = 8
    beat = np.exp(2j * np.pi * np.arange(frames) / frames)[
        :, None, None
    ]  # orthogonal to a constant over frames
    left = np.arange(16) < 8  # apart in space too, so that each part is one singular component
    moving = 0.1 * beat * speckle((1, 24, 16), seed=2) * ~left
    lines = (10 * speckle((1, 24, 16), seed=1) * left + moving).astype(np.complex64)
    # complex64 input of magnitude 40: rounding of some 1e-6.
    np.testing.assert_allclose(svd(lines, k=1), moving, atol=1e-5)


def test_svd_with_k_components_leaves_the_rank_of_the_rest() -> None:
    lines = np.random.default_rng(0).normal(size=(5, 12, 7))
    left = np.linalg.svd(svd(lines, k=2).reshape(5, -1), compute_uv=False)
    full = np.linalg.svd(lines.reshape(5, -1), compute_uv=False)
    np.testing.assert_allclose(left[:3], full[2:], rtol=1e-9)
    np.testing.assert_allclose(left[3:], 0, atol=1e-9)


@pytest.mark.parametrize("k", [0, 5, 6])
def test_svd_needs_more_frames_than_components(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k = {k} and 5 frames"):
        svd(np.ones((5, 4, 4)), k=k)


@pytest.mark.skipif(HAS_BM3D, reason="bm3d is installed")
def test_bm3d_without_its_package_names_it() -> None:
    with pytest.raises(MissingExtra, match="'bm3d' is not installed"):
        bm3d(speckle((1, 32, 32)))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BM3D, reason="needs the package bm3d")
def test_bm3d_narrows_speckle_and_leaves_the_cavity_as_hazy() -> None:
    lines = speckle((1, 96, 64))
    lines[:, 48:] *= 0.1
    before, after = (20 * np.log10(np.abs(x[0]) / np.abs(lines).max()) for x in (lines, bm3d(lines)))
    assert after[:48].std() < 0.6 * before[:48].std()
    assert after[56:].mean() == pytest.approx(np.clip(before[56:], -60, 0).mean(), abs=1.5)
    assert gcnr(after[:48], after[48:]) > gcnr(before[:48], before[48:]) + 0.02


def test_integers_nan_and_wrong_axes_are_refused() -> None:
    with pytest.raises(DataError, match="floating-point or complex lines, got int16"):
        threshold(np.ones((1, 4, 4), dtype=np.int16))
    with pytest.raises(DataError, match="NaN or Inf"):
        none(np.full((1, 4, 4), np.nan))
    with pytest.raises(DataError, match=r"got shape \(4, 4\)"):
        threshold(np.ones((4, 4)))


def test_an_all_zero_frame_stays_zero() -> None:
    np.testing.assert_array_equal(threshold(np.zeros((1, 8, 8), dtype=np.complex64)), 0)


def test_baselines_are_found_by_name() -> None:
    assert set(BASELINES) == {"none", "threshold", "svd", "bm3d"}
    assert baseline("svd") is svd
    with pytest.raises(ConfigError, match="unknown baseline 'treshold'"):
        baseline("treshold")
