"""Measures borrowed from MONAI agree with an independent implementation or a closed form."""

import numpy as np
import pytest

from core.errors import DataError
from domains.ultrasound.similarity import dice, ejection_area_mae, fid, mmd, ms_ssim, ssim, surface_distance


def levels(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-60, 0, size=shape)


def square(left: int) -> np.ndarray:
    mask = np.zeros((30, 40), dtype=bool)
    mask[10:20, left : left + 10] = True
    return mask


@pytest.mark.slow  # importing MONAI takes some ten CPU-seconds
def test_ssim_agrees_with_scikit_image_and_ms_ssim_is_one_for_equal_images() -> None:
    from skimage.metrics import structural_similarity

    y = levels(0, (176, 180))
    x = np.clip(0.7 * y + 0.3 * levels(1, y.shape), -60, 0)
    expected = structural_similarity(
        x + 60, y + 60, data_range=60, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(x, y) == pytest.approx(expected, abs=1e-5)
    assert ssim(np.stack([x, y]), np.stack([y, y])) == pytest.approx((expected + 1) / 2, abs=1e-5)
    assert ms_ssim(y, y) == pytest.approx(1.0, abs=1e-6)
    assert ms_ssim(x, y) < 0.99


@pytest.mark.slow
def test_dice_and_surface_distance_of_shifted_squares() -> None:
    a, b = square(10), square(13)
    assert dice(a, b) == pytest.approx(0.7, abs=1e-6)  # 70 shared pixels of 100 and 100

    def outline(mask: np.ndarray) -> np.ndarray:
        rows, cols = np.nonzero(mask)
        edge = (rows == rows.min()) | (rows == rows.max()) | (cols == cols.min()) | (cols == cols.max())
        return np.stack([rows[edge], cols[edge]], axis=1)

    gaps = np.linalg.norm(outline(a)[:, None] - outline(b)[None], axis=2)
    expected = np.concatenate([gaps.min(axis=0), gaps.min(axis=1)]).mean()
    assert surface_distance(a, b) == pytest.approx(expected, abs=1e-6)
    assert surface_distance(a, b, pixel=(0.5, 0.5)) == pytest.approx(expected / 2, abs=1e-6)


def test_frechet_distance_of_normal_features_has_its_closed_form() -> None:
    features = np.random.default_rng(0).normal(size=(150, 3))
    shifted = features + np.array([2.0, 0, 0])
    # Equal covariances: the squared distance of the means. Scaled by 3: (3 - 1)^2 times the variance.
    assert fid(features, shifted) == pytest.approx(4.0, abs=1e-9)
    assert fid(features, features) == pytest.approx(0.0, abs=1e-9)
    centred = features - features.mean(axis=0)
    assert fid(centred, 3 * centred) == pytest.approx(4 * np.trace(np.cov(centred.T)), rel=1e-9)


def test_frechet_distance_is_symmetric_for_any_covariances() -> None:
    rng = np.random.default_rng(0)
    a, b = (
        rng.normal(size=(150, 4)) @ rng.normal(size=(4, 4)),
        rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)),
    )
    roots = np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T))
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T))
    assert fid(a, b) == pytest.approx(expected - 2 * np.sum(np.sqrt(roots.real)), rel=1e-9)
    assert fid(b, a) == pytest.approx(fid(a, b), rel=1e-9)


@pytest.mark.slow
def test_mean_discrepancy_separates_shifted_features() -> None:
    features = np.random.default_rng(0).normal(size=(150, 3))
    # A linear kernel: the squared distance of the means without its bias, give or take trace / n = .02.
    assert mmd(features, features + np.array([2.0, 0, 0])) == pytest.approx(4.0, abs=0.2)
    assert mmd(features, features) == pytest.approx(0.0, abs=0.2)


def test_fewer_than_a_hundred_images_are_refused() -> None:
    with pytest.raises(DataError, match="100 images"):
        fid(np.zeros((99, 3)), np.zeros((200, 3)))


def test_a_picture_too_small_for_the_window_is_refused() -> None:
    with pytest.raises(DataError, match="at least 176"):
        ms_ssim(levels(0, (175, 200)), levels(1, (175, 200)))


def test_ejected_area_is_largest_minus_smallest_and_errors_average_over_cines() -> None:
    def cine(*sides: int) -> np.ndarray:
        frames = np.zeros((len(sides), 12, 12), dtype=bool)
        for frame, side in zip(frames, sides, strict=True):
            frame[:side, :side] = True
        return frames

    before, after = [cine(10, 8, 6), cine(9, 5)], [cine(10, 8, 7), cine(9, 5)]
    # Ejected 64 and 56 px before, 51 and 56 after: the mean of 13 and 0, at .25 mm^2 a pixel.
    assert ejection_area_mae(before, after, pixel_area=0.25) == pytest.approx(6.5 * 0.25)
