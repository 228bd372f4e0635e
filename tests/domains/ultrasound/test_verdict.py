"""The verdict sees through smoothing, thresholds, gain and erased tissue, and accepts a true dehazing."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from core.errors import DataError
from domains.ultrasound.metrics import picture_to_db
from domains.ultrasound.verdict import Report, evaluate

SHAPE = (140, 120)
PEAK = 6.0  # above every magnitude below
TISSUE, CAVITY = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
TISSUE[5:65, 5:115], CAVITY[75:135, 5:115] = True, True
ROIS = {"tissue": TISSUE, "cavity": CAVITY}


def speckle(seed: int) -> np.ndarray:
    """Complex speckle of unit power, correlated over a few pixels, (row, col)."""
    rng = np.random.default_rng(seed)
    parts = [gaussian_filter(rng.normal(size=SHAPE), (1.0, 2.0), mode="wrap") for _ in range(2)]
    field = parts[0] + 1j * parts[1]
    return field / np.sqrt(np.mean(np.abs(field) ** 2))


def to_db(lines: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.clip(np.abs(lines) / PEAK, 1e-3, 1))


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tissue lines and haze lines: tissue power 0 dB, cavity -40 dB; haze -18 dB everywhere."""
    tissue = np.where(np.arange(SHAPE[0])[:, None] < 70, 1.0, 0.01) * speckle(2 * seed)
    return tissue, 10 ** (-18 / 20) * speckle(2 * seed + 1)


def report(output: np.ndarray, **options) -> Report:
    tissue, haze = scene()
    return evaluate(to_db(tissue + haze), output, ROIS, with_ssim=False, **options)


def test_removing_most_haze_is_dehazing() -> None:
    tissue, haze = scene()
    result = report(to_db(tissue + 0.1 * haze), reference=to_db(tissue))
    assert result.verdict == "dehazed"
    assert result.reasons == []
    assert result.warnings == []
    assert result.mean["cavity_change_db"] < -15  # haze from -18 to -38 dB, over blood at -40 dB
    assert result.mean["gcnr_output"] > result.mean["gcnr_input"]
    assert result.mean["psnr_output_db"] > result.mean["psnr_input_db"] + 6
    assert result.mean["tissue_ks_output_reference"] < 0.05


def test_doing_nothing_is_not_dehazing() -> None:
    tissue, haze = scene()
    result = report(to_db(tissue + haze))
    assert not result.dehazed
    assert len(result.reasons) == 1
    assert "cavity level changed by +0.0 dB" in result.reasons[0]
    assert result.mean["tissue_ks"] == 0
    assert result.mean["lateral_fwhm_ratio"] == pytest.approx(1, abs=1e-12)


def test_smoothing_speckle_raises_gcnr_to_one_and_is_not_dehazing() -> None:
    tissue, haze = scene()
    result = report(gaussian_filter(to_db(tissue + haze), (3, 6)))
    assert result.mean["gcnr_output"] > 0.99
    assert result.mean["gcnr_output"] > result.mean["gcnr_input"]
    assert abs(result.mean["cavity_change_db"]) < 1
    assert not result.dehazed
    assert [r.split()[0] for r in result.reasons] == ["cavity", "tissue", "lateral"]
    assert not result.tissue_erased  # levels are kept, only their spread is gone


def test_a_pointwise_threshold_darkens_the_cavity_but_does_not_move_gcnr() -> None:
    tissue, haze = scene()
    lines = tissue + haze
    magnitude = np.abs(lines)
    result = report(to_db(np.maximum(magnitude - 0.5 * np.median(magnitude), 0)))
    assert result.mean["cavity_change_db"] < -3
    # Monotone up to the clip at -60 dB: the bound of 64 bins.
    assert result.mean["gcnr_output"] == pytest.approx(result.mean["gcnr_input"], abs=0.02)


@pytest.mark.parametrize("gain_db", [-3.5, -8.0])
def test_turning_the_gain_down_is_not_dehazing(gain_db: float) -> None:
    tissue, haze = scene()
    result = report(to_db(tissue + haze) + gain_db)
    assert result.mean["cavity_change_db"] <= -3
    assert not result.dehazed
    assert any("tissue level fell" in reason for reason in result.reasons)
    assert result.tissue_erased


def test_erased_tissue_is_flagged_when_its_level_falls_and_ks_is_high() -> None:
    # The out-of-domain case: the near tissue loses 2.5 dB in the mean because weak speckle is taken for haze.
    tissue, haze = scene()
    hazy = to_db(tissue + haze)
    eaten = np.where(TISSUE & (hazy < np.median(hazy[TISSUE])), hazy - 5.0, hazy)
    result = report(np.where(CAVITY, hazy - 8, eaten))
    assert -3 < result.mean["tissue_change_db"] < -1
    assert result.mean["tissue_ks"] > 0.25
    assert result.tissue_erased
    assert any(line.startswith("tissue erased") for line in result.warnings)
    assert not result.dehazed


def test_widened_speckle_alone_is_a_reason() -> None:
    tissue, haze = scene()
    wide = gaussian_filter((tissue + 0.1 * haze).real, (0, 2.0)) + 1j * gaussian_filter(
        (tissue + 0.1 * haze).imag, (0, 2.0)
    )
    wide *= np.sqrt(np.mean(np.abs(tissue[TISSUE]) ** 2) / np.mean(np.abs(wide[TISSUE]) ** 2))
    result = report(to_db(wide))
    assert [r.split()[0] for r in result.reasons] == ["lateral"]
    assert (
        result.mean["lateral_fwhm_ratio"] > 1.3
    )  # output over input; lateral deviation 2 becomes sqrt(2^2 + 2^2)
    assert result.mean["axial_fwhm_ratio"] == pytest.approx(1, abs=0.1)


def test_a_cine_reports_each_frame_mean_deviation_and_flicker() -> None:
    hazy, clean = [], []
    for seed in range(3):
        tissue, haze = scene(seed)
        hazy.append(to_db(tissue + haze))
        clean.append(to_db(tissue + 0.1 * haze))
    result = evaluate(np.stack(hazy), np.stack(clean), ROIS | {"static": TISSUE}, with_ssim=False)
    changes = [row["cavity_change_db"] for row in result.frames]
    assert result.mean["cavity_change_db"] == pytest.approx(np.mean(changes))
    assert result.std["cavity_change_db"] == pytest.approx(np.std(changes, ddof=1))
    single = evaluate(hazy[1], clean[1], ROIS, with_ssim=False)
    assert single.frames[0] == pytest.approx(result.frames[1])
    assert single.std["cavity_change_db"] is None
    assert single.flicker is None
    assert result.flicker == pytest.approx(1, abs=0.1)  # the tissue hardly changes


def test_a_moving_region_is_measured_where_it_lies() -> None:
    tissue, haze = scene()
    frames = np.stack([to_db(tissue + haze), np.roll(to_db(tissue + haze), 4, axis=0)])
    moving = {name: np.stack([mask, np.roll(mask, 4, axis=0)]) for name, mask in ROIS.items()}
    result = evaluate(frames, frames, moving, with_ssim=False)
    assert result.frames[0] == pytest.approx(result.frames[1])


def test_the_report_is_json_with_finite_numbers_and_none_where_nothing_applies() -> None:
    tissue, haze = scene()
    flat = np.where(TISSUE, -10.0, to_db(tissue + haze))  # no speckle left in tissue, equal to the reference
    result = evaluate(to_db(tissue + haze), flat, ROIS, reference=flat, with_ssim=False)
    text = json.dumps(result.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["mean"]["lateral_fwhm_ratio"] is None
    assert back["mean"]["psnr_output_db"] is None  # infinite
    assert any("not measurable" in reason for reason in back["reasons"])
    assert back["notice"] == "Research use only; not for diagnosis."
    assert back["roi_px"] == {"tissue": 6600, "cavity": 6600}


def test_small_regions_carry_the_bias_of_gcnr() -> None:
    tissue, haze = scene()
    rois = {name: np.zeros(SHAPE, dtype=bool) for name in ROIS}
    rois["tissue"][10:24, 10:24], rois["cavity"][90:104, 10:24] = True, True
    result = evaluate(to_db(tissue + haze), to_db(tissue), rois, with_ssim=False)
    assert result.gcnr_bias == pytest.approx(0.27, abs=0.02)
    assert "196 pixels" in result.warnings[0]


@pytest.mark.parametrize("method", ["bm3d", "sgm"])
def test_the_phantom_pictures_are_judged_against_their_truth(real_data, method: str) -> None:
    folder = real_data("ultrasound/paper_phantom")
    truth, hazy, x = (
        picture_to_db(np.asarray(Image.open(folder / f"{n}_5.png"))) for n in ("gt", "noisy", method)
    )
    level = np.asarray(Image.open(folder / "gt_5.png"))
    rois = {
        "tissue": level > 80,
        "cavity": (level < 10) & (np.asarray(Image.open(folder / "noisy_5.png")) > 10),
    }
    result = evaluate(hazy, x, rois, reference=truth, with_ssim=False)
    expected = {"bm3d": (20.54, 0.396), "sgm": (21.80, 0.230)}[method]
    assert result.mean["psnr_input_db"] == pytest.approx(18.82, abs=0.0051)
    assert result.mean["psnr_output_db"] == pytest.approx(expected[0], abs=0.0051)
    assert result.mean["tissue_ks_output_reference"] == pytest.approx(expected[1], abs=0.00051)


@pytest.mark.slow  # importing MONAI takes some ten CPU-seconds
def test_ssim_of_output_and_input_come_with_a_reference() -> None:
    tissue, haze = scene()
    result = evaluate(to_db(tissue + haze), to_db(tissue), ROIS, reference=to_db(tissue))
    assert result.mean["ssim_output"] == pytest.approx(1, abs=1e-6)
    assert result.mean["ssim_input"] < 0.9


def test_wrong_inputs_are_named() -> None:
    hazy = to_db(sum(scene()))
    with pytest.raises(DataError, match="the output has shape"):
        evaluate(hazy, hazy[:-1], ROIS)
    with pytest.raises(DataError, match="dB levels <= 0, got a maximum of 255"):
        evaluate(np.full(SHAPE, 255.0), hazy, ROIS)
    with pytest.raises(DataError, match="the report needs 'tissue' and 'cavity'"):
        evaluate(hazy, hazy, {"septum": TISSUE})
    with pytest.raises(DataError, match="'cavity' is empty in frame 0"):
        evaluate(hazy, hazy, {"tissue": TISSUE, "cavity": np.zeros(SHAPE, dtype=bool)})
    with pytest.raises(DataError, match=r"ROI 'tissue' has shape \(3, 3\)"):
        evaluate(hazy, hazy, {"tissue": np.ones((3, 3)), "cavity": CAVITY})
