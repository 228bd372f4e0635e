"""Metrics against published pictures, closed forms and brute force.

The tables of pictures are computed from the 8-bit grey values: PSNR over the whole picture with 255 as data
range, KS on pixels where the truth exceeds 80, gCNR with 64 bins. Colour pictures (RGBA with equal
channels) are read by their first channel.
"""

import math

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ks_2samp

from core.errors import ConfigError, DataError
from domains.ultrasound.challenge import challenge_score
from domains.ultrasound.metrics import (
    cnr,
    contrast_db,
    flicker,
    gcnr,
    gcnr_bias,
    gcnr_ranked,
    gcnr_warnings,
    ks,
    picture_to_db,
    psnr,
    psnr_db,
    residual,
    seam_energy,
    signed_cnr,
)

PHANTOM = {
    5: {"noisy": (18.82, 0.081), "bm3d": (20.54, 0.396), "ncsnv2": (20.88, 0.351), "sgm": (21.80, 0.230)},
    11: {"noisy": (18.58, 0.087), "bm3d": (22.25, 0.403), "ncsnv2": (21.88, 0.317), "sgm": (22.53, 0.236)},
}
SWEEP = {  # strength: gCNR of septum and cavity, KS of septum, KS of cavity
    "0.0": (0.721, 0.0, 0.0),
    "0.1": (0.771, 0.048, 0.371),
    "0.2": (0.792, 0.047, 0.437),
    "0.3": (0.811, 0.055, 0.476),
    "0.4": (0.814, 0.102, 0.551),
    "0.5": (0.813, 0.163, 0.663),
    "0.6": (0.805, 0.237, 0.761),
}
CAVITY, SEPTUM = np.s_[105:165, 232:282], np.s_[170:230, 200:228]
BIAS = {  # (bins, n): measured gCNR of two samples of one distribution
    (256, 200): 0.49, (256, 1000): 0.23, (256, 5000): 0.10, (256, 20000): 0.05,
    (64, 200): 0.26, (64, 1000): 0.12, (64, 5000): 0.05, (64, 20000): 0.025,
    (32, 200): 0.21, (32, 1000): 0.08, (32, 5000): 0.03, (32, 20000): 0.016,
}  # fmt: skip


def speckle_db(seed: int, *, mean_db: float, n: int = 6000) -> np.ndarray:
    """Levels of fully developed speckle, n pixels, dB."""
    return 20 * np.log10(np.random.default_rng(seed).rayleigh(size=n)) + mean_db


@pytest.mark.parametrize("frame", [5, 11])
@pytest.mark.parametrize("method", ["noisy", "bm3d", "ncsnv2", "sgm"])
def test_the_table_of_the_phantom_pictures_is_reproduced(real_data, frame: int, method: str) -> None:
    folder = real_data("ultrasound/paper_phantom")
    truth = np.asarray(Image.open(folder / f"gt_{frame}.png"))
    x = np.asarray(Image.open(folder / f"{method}_{frame}.png"))
    level, distance = PHANTOM[frame][method]
    # The table is rounded to .01 dB and .001, hence half a unit of slack on top of exactness.
    assert psnr(x, truth, data_range=255) == pytest.approx(level, abs=0.0051)
    assert ks(truth[truth > 80], x[truth > 80]) == pytest.approx(distance, abs=0.00051)


@pytest.mark.parametrize("strength", SWEEP)
def test_the_in_vivo_sweep_is_reproduced(real_data, strength: str) -> None:
    folder = real_data("ultrasound/paper_invivo")
    x, y = (np.asarray(Image.open(folder / f"gamma_1_{g}.png"))[..., 0] for g in (strength, "0.0"))
    measured = gcnr(x[SEPTUM], x[CAVITY]), ks(y[SEPTUM], x[SEPTUM]), ks(y[CAVITY], x[CAVITY])
    # Rounded to .001 in the table.
    assert measured == pytest.approx(SWEEP[strength], abs=0.00051)


def test_psnr_of_a_picture_is_the_same_in_grey_levels_and_in_decibels(real_data) -> None:
    folder = real_data("ultrasound/paper_phantom")
    truth, x = (np.asarray(Image.open(folder / f"{name}_5.png")) for name in ("gt", "sgm"))
    in_db = psnr_db(picture_to_db(x), picture_to_db(truth), dynamic_range_db=60)
    assert in_db == pytest.approx(psnr(x, truth, data_range=255), abs=1e-9)


def test_psnr_has_its_closed_form_and_is_infinite_for_equal_images() -> None:
    reference = np.full((4, 5), -30.0)
    assert psnr_db(reference + 6, reference) == pytest.approx(20.0, abs=1e-12)  # 60 dB range, error 6 dB
    assert math.isinf(psnr_db(reference, reference))


@pytest.mark.parametrize(
    "curve",
    [
        lambda db: ((db + 90) / 90) ** 2,
        lambda db: ((db + 90) / 90) ** 0.5,
        lambda db: 1 / (1 + np.exp(-(db + 25) / 8)),
        lambda db: -3 * db,
        lambda db: np.clip(db, -60, 0),
    ],
    ids=["square", "root", "sigmoid", "negated", "clipped"],
)
def test_display_curves_hardly_move_gcnr(curve) -> None:
    a, b = (np.clip(speckle_db(seed, mean_db=m), -85, 0) for seed, m in ((0, -20.0), (1, -30.0)))
    # Rebinning 6000 pixels a side into 64 other bins: the stated bound of .02.
    assert gcnr(curve(a), curve(b)) == pytest.approx(gcnr(a, b), abs=0.02)


def test_ranked_gcnr_is_exactly_invariant_even_from_decibels_to_linear() -> None:
    a, b = speckle_db(0, mean_db=-20), speckle_db(1, mean_db=-30)
    b[0] = 30.0  # one bright pixel crowds all linear levels into the first bins
    assert gcnr_ranked(10 ** (a / 20), 10 ** (b / 20)) == gcnr_ranked(a, b)
    assert abs(gcnr(10 ** (a / 20), 10 ** (b / 20)) - gcnr(a, b)) > 0.02  # why the ranked form is there
    assert gcnr_ranked(a, b) == pytest.approx(gcnr(a, b), abs=0.02)


@pytest.mark.parametrize("measure", [gcnr, gcnr_ranked])
def test_gcnr_is_one_for_disjoint_levels_zero_for_the_same_pixels_and_symmetric(measure) -> None:
    a, b = speckle_db(0, mean_db=-20), speckle_db(1, mean_db=-30, n=3000)
    assert measure(np.linspace(-50, -40, 1000), np.linspace(-20, -10, 1000)) == 1.0
    assert measure(a, a) == pytest.approx(0.0, abs=1e-12)
    assert measure(a, b) == measure(b, a)


def test_gcnr_counts_bins_as_written() -> None:
    # Two bins over [0, 2]: p_A = (3/4, 1/4), p_B = (1/4, 3/4); the minima add to 1/2.
    assert gcnr(np.array([0.0, 0.1, 0.2, 2.0]), np.array([0.0, 1.5, 1.6, 1.9]), bins=2) == 0.5


@pytest.mark.parametrize(("bins", "n"), BIAS)
def test_gcnr_bias_matches_the_measured_figures(bins: int, n: int) -> None:
    assert gcnr_bias(n, n, bins) == pytest.approx(BIAS[bins, n], abs=0.02)


def test_gcnr_bias_predicts_the_gcnr_of_equal_speckle() -> None:
    measured = np.mean([gcnr(speckle_db(2 * i, mean_db=0, n=1500), speckle_db(2 * i + 1, mean_db=0, n=1500))
                        for i in range(20)])  # fmt: skip
    # Speckle in dB is skewed, so it fills fewer bins than the normal law of the estimate.
    assert measured == pytest.approx(gcnr_bias(1500, 1500), rel=0.25)


def test_a_small_region_is_warned_about_and_a_large_one_is_not() -> None:
    assert gcnr_warnings(1000, 1000) == []
    (line,) = gcnr_warnings(200, 5000)
    assert "200 pixels" in line


def test_ks_equals_the_reference_implementation_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, size=700), rng.integers(3, 25, size=400)
    assert ks(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)
    assert ks(a, a) == 0.0
    assert ks(a, a + 100) == 1.0


def test_cnr_and_contrast_have_their_closed_forms() -> None:
    a, b = np.array([4.0, 10.0]), np.array([-6.0, 2.0])
    assert signed_cnr(a, b) == pytest.approx(9 / 5)  # means 7 and -2, variances 9 and 16
    assert signed_cnr(b, a) == pytest.approx(-9 / 5)
    assert cnr(b, a) == pytest.approx(9 / 5)
    assert contrast_db(np.array([9.0, 11.0]), np.array([1.0])) == pytest.approx(20.0)


def test_contrast_refuses_decibels() -> None:
    with pytest.raises(DataError, match="linear envelopes"):
        contrast_db(np.array([-20.0]), np.array([-40.0]))


def test_flicker_is_the_ratio_of_frame_differences_where_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(6, 8, 9))
    static = np.zeros((8, 9), dtype=bool)
    static[:, :4] = True
    moving = np.where(static, 0.0, 50 * rng.normal(size=(6, 8, 9)))
    assert flicker(1.5 * noise + moving, noise, static) == pytest.approx(1.5, abs=1e-12)
    assert flicker(noise, noise, static) == 1.0


def test_flicker_of_a_single_frame_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 frames"):
        flicker(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), np.ones((4, 4)))


def test_residual_is_the_share_of_the_measurement_left_over() -> None:
    y = np.array([[3.0 + 4.0j, 0.0]])
    h = np.array([[0.0, 2.0j]])
    assert residual(y, y - 0.5 * h, h, gamma=0.5) == pytest.approx(0.0, abs=1e-12)
    assert residual(y, y, h, gamma=0.5) == pytest.approx(1 / 5)


def test_seam_energy_is_one_where_seams_do_not_show() -> None:
    image = np.random.default_rng(0).normal(size=(120, 90))
    # Five seams of 90 and of 120 squared differences: relative deviation about .07 and .06, .05 for the mean.
    ratio = seam_energy(image, rows=[20, 40, 60, 80, 100], cols=[15, 30, 45, 60, 75])
    assert ratio == pytest.approx(1, abs=0.2)


def test_seam_energy_is_the_square_of_a_step_over_a_ramp() -> None:
    ramp = np.arange(60.0)[:, None] + np.zeros((60, 10))
    ramp[30:] += 2  # a step of 3 instead of 1 between rows 29 and 30
    assert seam_energy(ramp, rows=[30]) == pytest.approx(9.0)
    assert seam_energy(ramp.T, cols=[30]) == pytest.approx(9.0)
    assert seam_energy(1j * ramp, rows=[30]) == pytest.approx(9.0)
    with pytest.raises(ConfigError, match=r"1 \.\. 59"):
        seam_energy(ramp, rows=[60])


@pytest.mark.parametrize("measure", [gcnr, gcnr_ranked, ks, cnr])
def test_empty_and_nan_regions_are_refused(measure) -> None:
    with pytest.raises(DataError, match="empty"):
        measure(np.array([]), np.array([1.0]))
    with pytest.raises(DataError, match="1 NaN or Inf"):
        measure(np.array([1.0, np.nan]), np.array([1.0]))


def test_the_challenge_score_weighs_three_groups() -> None:
    best = {"fid": 60, "cnr": 1.5, "gcnr": 0.8, "ks_tissue": 0.1, "ks_cavity": 0.5, "dice": 0.95}
    assert challenge_score(**best, surface_distance=0.7) == pytest.approx((100, 100, 100, 100))
    # Quality half way in all three; tissue best, cavity worst; Dice clipped at best, distance at worst.
    half = challenge_score(
        fid=105, cnr=1.25, gcnr=0.65, ks_tissue=0.1, ks_cavity=0.0, dice=0.99, surface_distance=5
    )
    assert half == pytest.approx((50, 50, 50, 50))
    worst_ks = {**best, "ks_tissue": 0.3, "ks_cavity": 0.0}
    assert challenge_score(**worst_ks, surface_distance=0.7).total == pytest.approx(70)
