"""From recordings to picture levels and back, and the prior of pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, DataError
from core.train.checkpoint import save
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.video.levels import cine_of, db_to_level, level_to_db, record_of
from domains.ultrasound.video.prior import (
    PicturePrior,
    draw_picture,
    load_picture_prior,
    pixel_warnings,
    simulated_pictures,
    train_picture_prior,
)
from tests.fixtures.recordings import recording, write_prior

TINY = PriorConfig(widths=(8, 16), patch=(32, 32), batch=2, steps=3)


def pictures(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 48, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def prior() -> PicturePrior:
    return train_picture_prior(pictures(), TINY, pixel_m=5e-4)


def test_levels_and_decibels_are_one_line_clipped_at_both_ends() -> None:
    db = np.array([-80.0, -60.0, -30.0, -15.0, 0.0])
    assert db_to_level(db).tolist() == [-1, -1, 0, 0.5, 1]
    assert level_to_db(db_to_level(db)).tolist() == [-60, -60, -30, -15, 0]
    assert level_to_db(np.array([-3.0, 2.0])).tolist() == [-60, 0]
    assert db_to_level(torch.tensor([-20.0]), dynamic_range_db=40).tolist() == [0]


def test_an_8_bit_cine_comes_back_unchanged() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    cine = cine_of(Record("image", values))
    assert cine.levels.min() >= -1
    assert cine.levels.max() <= 1
    back = record_of(cine, cine.levels, derivation="nothing")
    np.testing.assert_array_equal(back.values, values)
    assert back.values.dtype == np.uint8
    assert back.meta["derivation"] == "nothing"


def test_decibels_come_back_within_rounding() -> None:
    values = -60 * np.random.default_rng(0).random((2, 20, 24)).astype(np.float32)
    cine = cine_of(Record("image", values, Geometry(pixel_m=(1e-3, 1e-3))))
    back = record_of(cine, cine.levels, derivation="nothing")
    np.testing.assert_allclose(back.values, values, atol=1e-4)
    assert back.geometry.pixel_m == (1e-3, 1e-3)


def test_lines_become_pictures_of_one_peak_for_the_whole_cine() -> None:
    record = recording(frames=3)
    flat = replace(record, geometry=replace(record.geometry, angles_rad=None, probe=None))
    cine = cine_of(flat)
    magnitude = np.abs(record.values)
    expected = 20 * np.log10(np.clip(magnitude / magnitude.max(), 1e-3, 1))
    np.testing.assert_allclose(level_to_db(cine.levels), expected, atol=1e-4)
    assert "before scan conversion" in cine.notes[0]
    assert set(cine.masks) == {"ventricle", "myocardium"}


def test_a_geometry_makes_lines_cartesian_and_takes_truth_and_regions_along() -> None:
    record = recording(frames=2)
    cine = cine_of(record, pixel_m=1e-3)
    assert cine.record.geometry.pixel_m == (1e-3, 1e-3)
    assert cine.reference is not None
    assert cine.levels.shape == cine.reference.shape == cine.masks["ventricle"].shape
    # The truth is in dB below its own peak; the shift brings dB below the input's peak there.
    gap = 20 * np.log10(np.abs(record.values).max() / np.abs(record.truth["tissue"]).max())
    assert cine.shift_db == pytest.approx(gap)
    inside = cine.masks["myocardium"]
    away = level_to_db(cine.levels)[inside] + cine.shift_db - level_to_db(cine.reference)[inside]
    assert abs(np.median(away)) < 1.5  # haze 14 dB below the tissue moves its levels little


def test_colour_is_dropped_and_said() -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    cine = cine_of(Record("image", values))
    assert cine.levels.shape == (2, 20, 24)
    assert "colour is dropped" in cine.notes[0]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(DataError, match="raw_data has no lines"):
        cine_of(Record("raw_data", np.ones((1, 2, 32, 16), np.float32)))
    with pytest.raises(DataError, match="at least 16 x 16, got 15 x 40"):
        cine_of(Record("image", np.zeros((1, 15, 40), np.uint8)))
    with pytest.raises(DataError, match="8 bit or dB <= 0, got a maximum of 3"):
        cine_of(Record("image", np.full((1, 20, 40), 3, np.float32)))


def test_simulated_pictures_are_hearts_on_black() -> None:
    found = simulated_pictures(2, seed=1, pixel_m=2e-3)
    assert found.shape == (2, 61, 74)
    assert found.min() == -1
    assert found[:, :10, :10].max() == -1  # outside the sector
    assert 0.3 < float((found > -1).float().mean()) < 0.7
    assert torch.equal(found[:1], simulated_pictures(1, seed=1, pixel_m=2e-3))
    assert not torch.equal(found[0], found[1])


def test_patches_keep_black_black_and_levels_in_range(gen: torch.Generator) -> None:
    x = pictures().clamp_min(-1)
    x[:, :24] = -1
    config = TINY.model_copy(update={"brightness": (0.3, 0.3)})
    patch = draw_picture(x, config, gen)
    assert patch.shape == (1, 32, 32)
    assert float(patch.abs().max()) <= 1
    still = draw_picture(x, TINY, torch.Generator().manual_seed(3))
    moved = draw_picture(x, config, torch.Generator().manual_seed(3))
    assert torch.equal(still == -1, moved == -1)
    lit = (still > -1) & (moved < 1)
    torch.testing.assert_close(moved[lit], still[lit] + 0.3)


def test_a_prior_remembers_what_it_was_trained_on(prior: PicturePrior, tmp_path: Path) -> None:
    save(tmp_path / "p.safetensors", prior.checkpoint)
    found = load_picture_prior(tmp_path / "p.safetensors")
    assert found.sigmas == (TINY.sigma_min, TINY.sigma_max)
    assert found.pixel_m == 5e-4
    assert found.patch == (32, 32)
    x = pictures()[:, None]
    assert torch.equal(found.denoiser(x, 0.3).mean, prior.denoiser(x, 0.3).mean)


def test_training_goes_on_from_a_prior(prior: PicturePrior) -> None:
    tuned = train_picture_prior(pictures(), TINY.model_copy(update={"lr": 1e-9, "ema": 0.0}), start=prior)
    for name, value in prior.checkpoint.weights.items():
        torch.testing.assert_close(tuned.checkpoint.weights[name], value, atol=1e-6, rtol=0)
    assert tuned.denoiser.data_std == prior.denoiser.data_std


def test_a_prior_of_lines_is_no_prior_of_pictures(tmp_path: Path) -> None:
    path = write_prior(tmp_path / "tissue", "tissue")
    with pytest.raises(CheckpointError, match="has the role 'tissue', expected 'bmode'"):
        load_picture_prior(path)


def test_pixels_of_another_size_are_a_warning(prior: PicturePrior) -> None:
    assert pixel_warnings(prior, (5e-4, 6e-4)) == []
    assert pixel_warnings(prior, None) == []
    assert "the pixels are 1 mm, those of the prior 0.5 mm" in pixel_warnings(prior, (1e-3, 1e-3))[0]


def test_pictures_that_cannot_be_trained_on_are_refused() -> None:
    with pytest.raises(DataError, match="at least 16 x 16"):
        train_picture_prior(torch.zeros(1, 8, 40), TINY)
    with pytest.raises(DataError, match=r"\[-1, 1\]"):
        train_picture_prior(torch.full((1, 32, 32), 2.0), TINY)
