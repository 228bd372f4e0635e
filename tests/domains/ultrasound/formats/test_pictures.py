"""Pictures, films, NIfTI and folders: exact where the format is exact, documented rounding elsewhere."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from core.errors import ConfigError, DataError, MissingExtra
from domains.ultrasound.data import Record
from domains.ultrasound.formats.dispatch import read, write
from domains.ultrasound.formats.nifti import read_nifti, write_nifti
from domains.ultrasound.formats.picture import read_picture, write_png
from domains.ultrasound.formats.video import read_gif, read_video, write_mp4
from tests.domains.ultrasound.formats.samples import lines, picture


@pytest.mark.parametrize("colour", [False, True])
def test_a_png_is_exact(colour: bool, tmp_path: Path) -> None:
    record = picture(colour=colour, n_frames=1)
    assert write_png(record, tmp_path / "a.png") == []
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").values, record.values)


def test_decibels_become_levels_of_the_dynamic_range(tmp_path: Path) -> None:
    values = np.array([[[0.0, -30.0, -60.0, -90.0]]], dtype=np.float32)
    write_png(Record("image", values), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").values.ravel().tolist() == [255, 128, 0, 0]
    write_png(Record("image", values), tmp_path / "a.png", dynamic_range_db=90)
    assert read_picture(tmp_path / "a.png").values.ravel().tolist() == [255, 170, 85, 0]


def test_equal_colour_channels_become_grey(tmp_path: Path) -> None:
    grey = picture(n_frames=1).values[0]
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    Image.fromarray(opaque).save(tmp_path / "a.png")
    record = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(record.values[0], grey)
    assert record.meta["warnings"] == []
    opaque[0, 0, 3] = 7
    Image.fromarray(opaque).save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").meta["warnings"] == ["transparency is ignored."]


def test_a_16_bit_tiff_with_pages_is_rounded(tmp_path: Path) -> None:
    levels = picture().values
    # 100 below the exact level is less than half a step of 257.
    pages = [
        Image.fromarray(np.maximum(page.astype(np.int32) * 257 - 100, 0).astype(np.uint16)) for page in levels
    ]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    record = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(record.values, levels)
    assert record.meta["warnings"] == ["16-bit levels are rounded to 8 bits."]


def test_a_float_tiff_holds_decibels_or_is_refused(tmp_path: Path) -> None:
    values = -picture(n_frames=1).values[0].astype(np.float32) / 7
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").values[0], values)
    Image.fromarray(values + 50).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match="expected floating levels in dB, <= 0"):
        read_picture(tmp_path / "b.tif")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")  # Pillow says so before it raises
@pytest.mark.parametrize("suffix", ["png", "gif", "mp4", "nii.gz", "nii", "tif"])
def test_a_truncated_picture_or_film_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    record = picture(shape=(48, 64))
    if suffix == "png":
        write_png(record, path)
    elif suffix == "mp4":
        write_mp4(record, path)
    elif suffix in ("gif", "tif"):
        frames = [Image.fromarray(frame) for frame in record.values]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        write_nifti(record, path)
    body = path.read_bytes()
    path.write_bytes(body[: len(body) // 3])
    with pytest.raises(DataError, match=rf"a\.{suffix}.* (cannot be read as|expected a film)"):
        read(path)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", ["levels", "colour", "decibels", "envelope", "one"])
def test_nifti_is_exact_in_levels_and_float32_in_size(suffix: str, kind: str, tmp_path: Path) -> None:
    record = picture(colour=kind == "colour", n_frames=1 if kind == "one" else 3)
    if kind == "decibels":
        record = record.with_values(-record.values.astype(np.float32) / 4)
    if kind == "envelope":
        record = Record("envelope_data", np.abs(lines().values))
    path = tmp_path / f"a.{suffix}"
    assert write_nifti(record, path) == []
    back = read_nifti(path)
    assert back.kind == record.kind
    assert back.values.dtype == record.values.dtype
    np.testing.assert_array_equal(back.values, record.values)
    if kind != "envelope":
        assert back.geometry.pixel_m == pytest.approx(record.geometry.pixel_m, rel=1e-6)
    if record.timestamps_s is not None:
        np.testing.assert_allclose(back.timestamps_s, record.timestamps_s, rtol=1e-6)


def test_nifti_axes_are_column_then_row(tmp_path: Path) -> None:
    write_nifti(picture(), tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    assert image.shape == (32, 24, 1, 3)
    assert image.header.get_zooms() == pytest.approx((0.2, 0.15, 1.0, 0.04))
    assert np.asarray(image.dataobj)[5, 7, 0, 1] == picture().values[1, 7, 5]


def test_a_volume_is_refused_and_lines_are_not_written(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 2), np.uint8), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(DataError, match=r"expected axes \(x, y\).* read shape \(4, 5, 6, 2\)"):
        read_nifti(tmp_path / "v.nii")
    with pytest.raises(ConfigError, match="NIfTI stores pictures; the record holds beamformed_data"):
        write(lines(), tmp_path / "l.nii")
    assert not (tmp_path / "l.nii").exists()


def smooth(n_frames: int, rows: int, cols: int) -> Record:
    """Slowly varying levels, as a codec expects them."""
    row, col = np.mgrid[0:rows, 0:cols]
    values = [110 + 100 * np.sin(row / 9 + frame / 3) * np.cos(col / 11) for frame in range(n_frames)]
    return Record("image", np.rint(values).astype(np.uint8), timestamps_s=np.arange(n_frames) / 20)


def test_a_film_comes_back_within_a_few_levels_with_its_rate(tmp_path: Path) -> None:
    record = smooth(8, 64, 48)
    assert write_mp4(record, tmp_path / "a.mp4") == []
    back = read_video(tmp_path / "a.mp4")
    assert back.values.shape == record.values.shape
    error = back.values.astype(float) - record.values
    # Constant rate factor 12: measured mean error 0.8, maximum 5 levels.
    assert np.mean(np.abs(error)) < 1.5
    assert np.max(np.abs(error)) <= 8
    np.testing.assert_allclose(back.timestamps_s, record.timestamps_s, atol=1e-9)


def test_an_odd_film_is_extended_and_says_so(tmp_path: Path) -> None:
    warnings = write_mp4(smooth(3, 33, 47), tmp_path / "a.mp4")
    assert warnings == ["extended to 34 x 48: H.264 needs even sizes."]
    assert read_video(tmp_path / "a.mp4").values.shape == (3, 34, 48)


def test_a_film_keeps_colour(tmp_path: Path) -> None:
    values = np.zeros((3, 32, 32, 3), np.uint8)
    values[..., 0] = 200
    write_mp4(Record("image", values), tmp_path / "a.mp4")
    back = read_video(tmp_path / "a.mp4").values
    assert back.shape == values.shape
    assert np.max(np.abs(back.astype(int) - values)) <= 8


def test_films_without_ffmpeg_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtra, match="'imageio_ffmpeg' is not installed"):
        write(smooth(2, 32, 32), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_gif_gives_frames_and_times(tmp_path: Path) -> None:
    values = picture(n_frames=3).values
    frames = [Image.fromarray(frame) for frame in values]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[40, 60, 80])
    record = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(record.values, values)
    np.testing.assert_allclose(record.timestamps_s, [0, 0.04, 0.1])


def test_a_folder_is_written_and_read_in_natural_order(tmp_path: Path) -> None:
    record = picture(n_frames=3)
    assert write(record, tmp_path / "out") == []
    (tmp_path / "out" / "frame_0002.png").rename(tmp_path / "out" / "frame_10.png")
    (tmp_path / "out" / "notes.txt").write_text("x")
    (tmp_path / "out" / ".hidden").write_text("x")
    back = read(tmp_path / "out")
    np.testing.assert_array_equal(back.values, record.values)
    assert back.meta["warnings"] == ["1 files of unknown type in the folder are skipped."]
    with pytest.raises(ConfigError, match="is a folder that exists"):
        write(record, tmp_path / "out", overwrite=True)


def test_a_folder_of_mixed_sizes_names_the_first_two_that_differ(tmp_path: Path) -> None:
    for index, shape in enumerate([(24, 32), (24, 32), (25, 32), (26, 32)]):
        write_png(picture(n_frames=1, shape=shape), tmp_path / f"f{index}.png")
    with pytest.raises(DataError, match=r"f0\.png is image 24 x 32 uint8, f2\.png is image 25 x 32 uint8"):
        read(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="expected a folder of pictures or frames, found none among 1 files"):
        read(tmp_path)


def test_the_paper_pictures_are_grey(real_data) -> None:
    record = read(real_data("ultrasound/paper_invivo/gamma_1_0.3.png"))
    assert record.values.shape == (1, 352, 500)
    assert record.meta["warnings"] == []
    phantom = read(real_data("ultrasound/paper_phantom"))
    assert phantom.values.shape == (12, 352, 500)
    with pytest.raises(
        DataError, match=r"diffusion_10\.png is image 600 x 800.*gamma_0_0\.0\.png is image 352 x 500"
    ):
        read(real_data("ultrasound/paper_invivo"))
