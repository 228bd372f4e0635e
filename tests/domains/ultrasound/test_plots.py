"""Pictures show what they are given, and the CSV beside each holds the same numbers."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import DataError
from domains.ultrasound.panels import ROI_COLOURS
from domains.ultrasound.plots import plot_bmode, plot_comparison, plot_histograms, plot_scores

SHAPE = (24, 36)


def levels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-55, -5, size=SHAPE)


def mask(rows: slice, cols: slice) -> np.ndarray:
    region = np.zeros(SHAPE, dtype=bool)
    region[rows, cols] = True
    return region


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def has_colour(png: Path, colour: str) -> bool:
    """Whether a few pixels have this colour, "#rrggbb"; straight lines keep some after smoothing."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    pixels = np.asarray(Image.open(png).convert("RGB")).astype(int)
    return bool((np.abs(pixels - rgb).max(axis=2) <= 3).sum() > 5)


@pytest.mark.parametrize("extent_mm", [None, (-18.0, 18.0, 24.0, 0.0)], ids=["pixels", "mm"])
def test_a_bmode_image_lies_depth_down_with_its_numbers_beside_it(tmp_path: Path, extent_mm) -> None:
    image = np.full(SHAPE, -60.0)
    image[:6] = 0.0  # a bright band at the surface
    png, numbers = plot_bmode(image, tmp_path / "b.png", extent_mm=extent_mm)
    grey = np.asarray(Image.open(png).convert("L")).astype(float)
    black_rows = np.flatnonzero((grey < 30).mean(axis=1) > 0.5)
    # The black part is the deeper 3/4 of the picture, so it lies in the lower part of the page.
    assert black_rows.mean() > 0.5 * grey.shape[0]
    np.testing.assert_allclose(np.array(table(numbers), dtype=float), image, atol=5e-4)
    assert numbers == tmp_path / "b.csv"


def test_regions_are_outlined_in_their_colours(tmp_path: Path) -> None:
    rois = {"tissue": mask(np.s_[2:10], np.s_[3:20]), "cavity": mask(np.s_[12:20], np.s_[3:20])}
    plain, _ = plot_bmode(levels(), tmp_path / "plain.png")
    drawn, _ = plot_bmode(levels(), tmp_path / "drawn.png", rois=rois)
    for name in rois:
        assert has_colour(drawn, ROI_COLOURS[name])
        assert not has_colour(plain, ROI_COLOURS[name])


def test_a_comparison_draws_the_panels_given_and_writes_them_to_the_table(tmp_path: Path) -> None:
    hazy, clean, deviation = levels(0), levels(1), np.abs(levels(2)) / 10
    out = tmp_path / "c.png"
    png, numbers = plot_comparison(
        hazy, clean, out, deviation_db=deviation, rois={"tissue": mask(np.s_[2:9], np.s_[2:9])}
    )
    header, *rows = table(numbers)
    assert header[:3] == ["panel", "row", "col_0"]
    assert len(header) == 2 + SHAPE[1]
    for name, image in {"hazy": hazy, "dehazed": clean, "standard deviation": deviation}.items():
        read = np.array([row[2:] for row in rows if row[0] == name], dtype=float)
        np.testing.assert_allclose(read, image, rtol=1e-4)  # five digits
    assert {row[0] for row in rows} == {"hazy", "dehazed", "standard deviation"}
    three_wide, _ = Image.open(png).size
    two, _ = plot_comparison(hazy, clean, tmp_path / "two.png")
    assert three_wide == pytest.approx(1.5 * Image.open(two).size[0], abs=2)


def test_scores_keep_the_yardstick_and_leave_absent_values_blank(tmp_path: Path) -> None:
    scores = {
        "hazy": {"psnr_db": 18.8, "tissue_ks": 0.0},
        "threshold": {"psnr_db": 16.25, "tissue_ks": None},
        "joint": {"psnr_db": 20.34, "tissue_ks": 0.116},
    }
    png, numbers = plot_scores(scores, tmp_path / "s.png", labels={"psnr_db": "PSNR (dB)"})
    assert table(numbers) == [
        ["method", "psnr_db", "tissue_ks"],
        ["hazy", "18.8", "0"],
        ["threshold", "16.25", ""],
        ["joint", "20.34", "0.116"],
    ]
    assert np.asarray(Image.open(png).convert("L")).min() < 100


def test_scores_without_their_yardstick_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="yardstick 'hazy' is not among the methods: joint"):
        plot_scores({"joint": {"psnr_db": 20.0}}, tmp_path / "s.png")
    with pytest.raises(DataError, match="nothing to compare"):
        plot_scores({"hazy": {"psnr_db": 20.0}}, tmp_path / "s.png")


def test_histograms_share_out_every_pixel_of_a_region(tmp_path: Path) -> None:
    before, after = np.full(SHAPE, -30.0), np.full(SHAPE, -70.0)
    rois = {"tissue": mask(np.s_[2:9], np.s_[2:9]), "cavity": mask(np.s_[12:20], np.s_[2:9])}
    _, numbers = plot_histograms(before, after, rois, tmp_path / "h.png", bins=60)
    header, *rows = table(numbers)
    assert header == ["level_db", "tissue_before", "tissue_after", "cavity_before", "cavity_after"]
    values = np.array(rows, dtype=float)
    np.testing.assert_allclose(values[:, 1:].sum(axis=0), 1)
    assert values[values[:, 1] == 1, 0] == pytest.approx(-29.5)  # the bin [-30, -29) holds -30
    assert values[0, 2] == 1  # -70 dB is clipped to the floor


def test_images_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dehazed must have shape"):
        plot_comparison(levels(), levels()[:-1], tmp_path / "c.png")
    with pytest.raises(DataError, match=r"must have shape \(row, col\)"):
        plot_bmode(np.zeros((2, *SHAPE)), tmp_path / "b.png")
    with pytest.raises(DataError, match=r"ROI 'tissue' has shape \(3, 3\)"):
        plot_bmode(levels(), tmp_path / "b.png", rois={"tissue": np.ones((3, 3), dtype=bool)})
    assert not (tmp_path / "b.png").exists()
