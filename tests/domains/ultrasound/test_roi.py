"""Regions read from every kind of file, and every way a region can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import DataError, GeometryError
from domains.ultrasound.data import Geometry
from domains.ultrasound.roi import pixel_positions_mm, read_roi, roi_from_dict

SHAPE = (30, 40)
RECTANGLES = {"tissue": [[2, 10, 5, 20], [12, 14, 0, 3]], "cavity": [[15, 25, 8, 30]]}


def labels() -> np.ndarray:
    image = np.zeros(SHAPE, dtype=np.uint8)
    image[2:10, 5:20] = image[12:14, 0:3] = 255
    image[15:25, 8:30] = 128
    return image


def write(path: Path, content: object) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        Image.fromarray(np.asarray(content)).save(path)
    return path


def test_png_json_and_nifti_give_the_same_masks(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="needs the extra 'ultrasound'")
    nifti = tmp_path / "roi.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels().T.astype(np.int16), np.eye(4)), nifti)
    colour = np.repeat(labels()[..., None], 3, axis=2)
    files = [
        write(tmp_path / "roi.png", labels()),
        write(tmp_path / "rgb.png", colour),
        write(tmp_path / "roi.json", RECTANGLES),
        nifti,
    ]
    for path in files:
        masks = read_roi(path, SHAPE)
        assert list(masks) == ["tissue", "cavity"]
        np.testing.assert_array_equal(masks["tissue"], labels() == 255)
        np.testing.assert_array_equal(masks["cavity"], labels() == 128)
        assert masks["tissue"].dtype == bool


def test_nifti_with_frames_and_other_labels_gives_a_mask_per_frame(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="needs the extra 'ultrasound'")
    frames = np.zeros((2, *SHAPE), dtype=np.int16)
    frames[0, 3:6, 2:9], frames[1, 4:7, 2:9], frames[:, 10:20, 10:30] = 2, 2, 1
    path = tmp_path / "camus.nii"
    nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.eye(4)), path)
    masks = read_roi(path, SHAPE, labels={"tissue": 2, "cavity": 1})
    np.testing.assert_array_equal(masks["tissue"], frames == 2)
    with pytest.raises(DataError, match="0, 1, 2, expected 255 tissue, 128 cavity"):
        read_roi(path, SHAPE)


def test_a_polygon_in_mm_covers_the_pixels_whose_centres_it_holds() -> None:
    geometry = Geometry(pixel_m=(1e-3, 0.5e-3))  # 30 x 20 mm, lateral -10 .. 10
    triangle = {"tissue": [{"polygon_mm": [[-5.0, 2.0], [5.0, 2.0], [0.0, 22.0]]}]}
    mask = roi_from_dict(triangle, SHAPE, geometry=geometry)["tissue"]
    x = (np.arange(40) - 19.5) * 0.5
    z = np.arange(30) + 0.5
    inside = (z[:, None] > 2) & (np.abs(x)[None, :] < 5 * (22 - z[:, None]) / 20)
    np.testing.assert_array_equal(mask, inside)


def test_polar_pixels_lie_on_arcs_below_the_probe_surface() -> None:
    geometry = Geometry(
        probe="curvilinear", r0_m=0.06, r1_m=0.16, apex_m=0.06, angles_rad=np.deg2rad(np.linspace(-30, 30, 5))
    )
    x, z = pixel_positions_mm(geometry, (11, 5))
    assert (x[0, 2], z[0, 2]) == pytest.approx((0, 0), abs=1e-9)
    assert (x[10, 4], z[10, 4]) == pytest.approx((80, 160 * np.cos(np.pi / 6) - 60), abs=1e-9)
    linear = Geometry(probe="linear", r0_m=0.0, r1_m=0.02, lateral_m=np.array([-1e-3, 1e-3]))
    x, z = pixel_positions_mm(linear, (3, 2))
    np.testing.assert_allclose(x, [[-1, 1]] * 3)
    np.testing.assert_allclose(z[:, 0], [0, 10, 20])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"tissue": [[0, 10, 0, 10]], "cavity": [[9, 20, 9, 20]]},
            "'tissue' and 'cavity' overlap in 1 pixels",
        ),
        ({"tissue": []}, "'tissue' is empty"),
        ({"tissue": [[5, 5, 0, 10]]}, "empty or leaves the image"),
        ({"tissue": [[0, 31, 0, 10]]}, "empty or leaves the image of 30x40"),
        ({"tissue": [[-3, 5, 0, 10]]}, "empty or leaves the image"),
        ({"tissue": [[0, 5, 0.5, 10]]}, "whole numbers"),
        ({"tissue": [[0, 5]]}, "whole numbers"),
        ({"tissue": "all"}, "must be a list"),
        ({"tissue": [{"circle": [1, 2, 3]}]}, "polygon_mm"),
        ({}, "mapping from names"),
        ([1, 2], "mapping from names"),
    ],
)
def test_a_wrong_region_is_named(spec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        roi_from_dict(spec, SHAPE)


def test_a_static_region_may_lie_on_tissue() -> None:
    masks = roi_from_dict({"tissue": [[0, 5, 0, 5]], "static": [[0, 9, 0, 9]]}, SHAPE)
    assert masks["static"].sum() == 81


def test_a_polygon_without_geometry_names_what_is_missing() -> None:
    spec = {"tissue": [{"polygon_mm": [[0, 0], [5, 0], [0, 5]]}]}
    with pytest.raises(GeometryError, match="geometry of the image is not known"):
        roi_from_dict(spec, SHAPE)
    with pytest.raises(GeometryError, match="r0_m, r1_m"):
        roi_from_dict(spec, SHAPE, geometry=Geometry())


def test_a_png_of_other_size_or_with_smoothed_edges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(30, 40\), the image has \(30, 41\)"):
        read_roi(write(tmp_path / "a.png", labels()), (30, 41))
    smooth = labels()
    smooth[0, :3] = [17, 200, 64]
    with pytest.raises(DataError, match=r"without a name: 17, 64, 200 \(expected 255 tissue, 128 cavity"):
        read_roi(write(tmp_path / "b.png", smooth), SHAPE)
    tissue_only = np.where(labels() == 255, 255, 0).astype(np.uint8)
    with pytest.raises(DataError, match="'cavity' is empty"):
        read_roi(write(tmp_path / "c.png", tissue_only), SHAPE)


def test_files_that_are_no_roi_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for name, message in [
        ("broken.json", "not valid JSON"),
        ("broken.png", "cannot be read"),
        ("x.png", "no ROI"),
    ]:
        with pytest.raises(DataError, match=message):
            read_roi(tmp_path / name, SHAPE)
    with pytest.raises(DataError, match="no known ROI file"):
        read_roi(write(tmp_path / "roi.bmp", labels()), SHAPE)
    rainbow = np.zeros((*SHAPE, 3), dtype=np.uint8)
    rainbow[..., 0] = 255
    with pytest.raises(DataError, match="colour picture"):
        read_roi(write(tmp_path / "rainbow.png", rainbow), SHAPE)


def test_a_broken_nifti_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("nibabel", reason="needs the extra 'ultrasound'")
    (tmp_path / "broken.nii").write_bytes(b"0123")
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        read_roi(tmp_path / "broken.nii", SHAPE)
