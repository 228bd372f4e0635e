"""The recording: a sum with its truth, repeatable from a seed, as hazy as the published material."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ConfigError
from domains.ultrasound.data import Record, check_finite
from domains.ultrasound.metrics import gcnr, psnr_db
from domains.ultrasound.simulate import draw_haze, get_probe, mix, simulate, training_frames


def levels(values: np.ndarray) -> np.ndarray:
    """60 dB picture of one frame relative to its own maximum."""
    magnitude = np.abs(values)
    return 20 * np.log10(np.maximum(magnitude / magnitude.max(), 1e-3))


@pytest.fixture(scope="module")
def hearts() -> list[Record]:
    """Six hearts, each with the full and with the smallest ventricle."""
    return [simulate(seed=seed, frames=2, level=0.1) for seed in range(6)]


def measure(record: Record, index: int, level: float) -> tuple[float, float, float]:
    """PSNR against the truth, gCNR of ventricle and myocardium (100 bins), mean cavity (dB) of one frame."""
    parts = [torch.from_numpy(record.truth[name][index]) for name in ("tissue", "haze")]
    mixture = mix(*parts, level)
    hazy, clean = levels(mixture.y.numpy()), levels(mixture.tissue.numpy())
    ventricle, wall = (record.truth[name][index] for name in ("ventricle", "myocardium"))
    return (
        psnr_db(hazy, clean),
        gcnr(hazy[ventricle], hazy[wall], bins=100),
        float(hazy[ventricle].mean()),
    )


def test_values_are_tissue_plus_haze_with_peak_one() -> None:
    record = simulate(seed=0, frames=3, level=0.3)
    # One rounding of complex64.
    np.testing.assert_allclose(record.values, record.truth["tissue"] + record.truth["haze"], atol=1e-7)
    assert np.abs(record.values).max() == pytest.approx(1, abs=1e-6)
    assert record.values.shape == (3, 528, 96)
    assert record.values.dtype == np.complex64
    assert check_finite(record) == []


def test_haze_level_scales_only_the_haze() -> None:
    weak, strong = (simulate(seed=0, level=level) for level in (0.1, 0.3))
    ratio = [np.abs(r.truth["haze"]).max() / np.abs(r.truth["tissue"]).max() for r in (weak, strong)]
    assert ratio == pytest.approx([0.1, 0.3], rel=1e-5)
    scale = np.abs(weak.truth["tissue"]).max() / np.abs(strong.truth["tissue"]).max()
    np.testing.assert_allclose(weak.truth["tissue"], scale * strong.truth["tissue"], atol=1e-6)


def test_same_seed_repeats_and_another_differs() -> None:
    first, again, other = (simulate(seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(first.values, again.values)
    assert first.meta == again.meta
    overlap = np.abs(np.vdot(first.values, other.values))
    assert overlap < 0.1 * np.linalg.norm(first.values) * np.linalg.norm(other.values)


def test_haze_is_static_while_the_heart_moves() -> None:
    record = simulate(seed=0, frames=3)
    assert np.array_equal(record.truth["haze"][0], record.truth["haze"][1])
    assert not np.array_equal(record.truth["tissue"][0], record.truth["tissue"][1])
    assert record.truth["ventricle"][0].sum() > record.truth["ventricle"][1].sum()
    assert record.timestamps_s == pytest.approx([0, 1 / 3, 2 / 3])


def test_clean_contrast_is_almost_perfect(hearts: list[Record]) -> None:
    assert min(measure(record, index, 0)[1] for record in hearts for index in (0, 1)) >= 0.97


def test_level_zero_leaves_the_tissue_alone() -> None:
    record = simulate(seed=0, level=0)
    assert np.array_equal(record.values, record.truth["tissue"])
    assert not record.truth["haze"].any()


@pytest.mark.parametrize(
    ("level", "psnr", "contrast", "cavity"),
    [(0.1, 18.3, 0.955, -44.4), (0.3, 14.1, 0.826, -35.0)],
)
def test_haze_hurts_as_much_as_in_the_reference_material(
    hearts: list[Record], level: float, psnr: float, contrast: float, cavity: float
) -> None:
    rows = np.array([measure(record, index, level) for record in hearts for index in (0, 1)])
    # Hearts and hazes differ: deviations 1.4 dB, .08 and 2.2 dB between frames, so the mean of 6 hearts is
    # known to .6 dB, .03 and .9 dB, and the reference (2 frames) to twice that.
    assert rows[:, 0].mean() == pytest.approx(psnr, abs=1.2)
    assert rows[:, 1].mean() == pytest.approx(contrast, abs=0.09)
    assert rows[:, 2].mean() == pytest.approx(cavity, abs=2.5)
    if level == 0.3:
        assert 0.5 <= rows[:, 1].mean() <= 0.9


def test_rf_demodulates_to_the_iq_recording() -> None:
    from domains.ultrasound.signal import to_iq

    rf, iq = simulate(seed=2, domain="rf", level=0), simulate(seed=2, level=0)
    assert rf.values.shape == (1, 2112, 96)
    assert rf.domain == "rf"
    same = to_iq(rf)
    assert same.geometry.fs_hz == iq.geometry.fs_hz == pytest.approx(3.4e6)
    assert same.geometry.r1_m == pytest.approx(iq.geometry.r1_m, rel=1e-9)
    # Both at peak 1 of their own; float32.
    np.testing.assert_allclose(same.values / np.abs(same.values).max(), iq.values, atol=1e-5)


def test_shifted_haze_comes_from_a_changed_recipe() -> None:
    recipe = replace(draw_haze(0), lateral_factor=2.0)
    plain, wide = simulate(seed=0), simulate(seed=0, recipe=recipe)
    assert wide.meta["haze"]["lateral_factor"] == 2.0

    def neighbours(record: Record) -> float:
        h = record.truth["haze"][0]
        return float(np.abs(np.vdot(h[:, 4:], h[:, :-4])) / np.linalg.norm(h) ** 2)

    # Overlap of beams 4 lines apart: 2^(-2 (4/3.7)^2) = .2 against 2^(-2 (4/7.4)^2) = .67.
    assert neighbours(wide) > neighbours(plain) + 0.25


def test_misspelt_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="polr"):
        simulate(seed=0, backend="polr")
    with pytest.raises(ConfigError, match="frames"):
        simulate(seed=0, frames=0)
    with pytest.raises(ConfigError, match="cardiak"):
        get_probe("cardiak")


@pytest.mark.parametrize("what", ["tissue", "haze"])
def test_training_frames_are_normalised_repeatable_and_independent(what: str) -> None:
    frames = training_frames(3, what=what, seed=0)
    assert frames.shape == (3, 528, 96)
    assert frames.dtype == torch.complex64
    torch.testing.assert_close(frames.abs().amax(dim=(1, 2)), torch.ones(3))
    assert torch.equal(training_frames(2, what=what, seed=0), frames[:2])
    overlap = (frames[0].conj() * frames[1]).sum().abs() / (frames[0].norm() * frames[1].norm())
    # Speckle of some 5000 cells, concentrated in the brightest ones.
    assert overlap < 0.1


def test_training_frames_come_as_rf_too() -> None:
    frames = training_frames(1, what="haze", seed=0, domain="rf")
    assert frames.shape == (1, 2112, 96)
    assert frames.dtype == torch.float32
