"""Regions of interest: files that outline tissue and cavity, as boolean masks of the image.

| file                | content                                                                        |
| ------------------- | ------------------------------------------------------------------------------ |
| PNG                 | 8-bit grey: 255 tissue, 128 cavity, 0 elsewhere (the dehazing challenge's way) |
| NIfTI `.nii[.gz]`   | integer labels on axes (x, y[, frame]), the same values unless `labels` is given |
| JSON                | `{"tissue": [[row0, row1, col0, col1], ...], "cavity": [...]}`, ends excluded  |

In JSON a region may also be a polygon in millimetres, `{"polygon_mm": [[lateral, depth], ...]}`, when the
geometry of the image is known. Several parts under one name are joined. Names are free; reports read
`tissue`, `cavity` and `static`. Regions must not overlap, except `static` (what does not move, for
flicker), which may lie anywhere.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError, GeometryError
from core.extras import require
from domains.ultrasound.data import Geometry

__all__ = ["CHALLENGE_LABELS", "pixel_positions_mm", "read_roi", "roi_from_dict", "roi_from_labels"]

Array = np.ndarray[Any, np.dtype[Any]]

CHALLENGE_LABELS: Mapping[str, int] = {"tissue": 255, "cavity": 128}


def read_roi(
    path: Path,
    shape: tuple[int, int],
    *,
    geometry: Geometry | None = None,
    labels: Mapping[str, int] = CHALLENGE_LABELS,
) -> dict[str, Array]:
    """Read the regions of a file for images of a given size.

    Args:
        path: PNG, NIfTI or JSON file.
        shape: (rows, columns) of the images that the regions belong to.
        geometry: of the image; only polygons in mm need it.
        labels: value of each region in a PNG or NIfTI file. Files in the CAMUS convention: {"tissue": 2,
            "cavity": 1}.

    Returns:
        Name to mask, bool (row, col), or (frame, row, col) from a NIfTI file with frames.

    Raises:
        DataError: unreadable file, other size, value without a name, empty or overlapping regions.
        GeometryError: a polygon in mm on an image of unknown geometry.
    """
    if not path.is_file():
        raise DataError(f"no ROI file at '{path}'.", hint="Give a PNG, NIfTI or JSON file.")
    name = path.name.lower()
    if name.endswith(".json"):
        try:
            spec = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as err:
            raise DataError(f"'{path.name}' is not valid JSON: {err}.") from err
        return roi_from_dict(spec, shape, geometry=geometry)
    if name.endswith(".png"):
        return roi_from_labels(_read_png(path), shape, labels=labels, strict=True)
    if name.endswith((".nii", ".nii.gz")):
        return roi_from_labels(_read_nifti(path), shape, labels=labels)
    raise DataError(f"'{path.name}' is no known ROI file.", hint="Use .png, .nii, .nii.gz or .json.")


def roi_from_dict(
    spec: Mapping[str, Any], shape: tuple[int, int], *, geometry: Geometry | None = None
) -> dict[str, Array]:
    """Build masks from rectangles (ends excluded) and polygons in mm.

    Args:
        spec: name to list of parts, `[row0, row1, col0, col1]` or `{"polygon_mm": [[lateral, depth], ...]}`.
        shape: (rows, columns).
        geometry: needed by polygons.
    """
    if not isinstance(spec, Mapping) or not spec:
        raise DataError(
            "expected ROIs as a mapping from names to lists of regions.",
            hint='For example {"tissue": [[10, 40, 20, 60]], "cavity": [[50, 80, 20, 60]]}.',
        )
    masks = {}
    for name, parts in spec.items():
        if not isinstance(parts, Sequence) or isinstance(parts, str):
            raise DataError(f"ROI '{name}' must be a list of regions, got {type(parts).__name__}.")
        mask = np.zeros(shape, dtype=bool)
        for part in parts:
            if isinstance(part, Mapping):
                mask |= _polygon(part, name, shape, geometry)
            else:
                r0, r1, c0, c1 = _rectangle(part, name, shape)
                mask[r0:r1, c0:c1] = True
        masks[name] = mask
    return _checked(masks)


def roi_from_labels(
    image: Array,
    shape: tuple[int, int],
    *,
    labels: Mapping[str, int] = CHALLENGE_LABELS,
    strict: bool = False,
) -> dict[str, Array]:
    """Build masks from a label image.

    Args:
        image: integers, (row, col) or (frame, row, col).
        shape: (rows, columns) of the images that the regions belong to.
        labels: value of each region.
        strict: refuse values other than the labels and 0, which in a PNG mean interpolated edges.
    """
    if image.shape[-2:] != tuple(shape) or image.ndim not in (2, 3):
        raise DataError(
            f"the ROI mask has shape {image.shape}, the image has {tuple(shape)} (row, col).",
            hint="Draw the mask on an export of the same size, without resampling.",
        )
    found = np.unique(image)
    named = ", ".join(f"{value} {name}" for name, value in labels.items())
    extra = [int(v) for v in found if v != 0 and v not in labels.values()]
    if strict and extra:
        raise DataError(
            f"the ROI mask holds values without a name: {_short(extra)} (expected {named}, 0 elsewhere).",
            hint="Save the mask without smoothing, or pass the labels that the file uses.",
        )
    if not any(value in found for value in labels.values()):
        raise DataError(
            f"the ROI mask holds {_short([int(v) for v in found])}, expected {named}.",
            hint='Pass the labels that the file uses, such as {"tissue": 2, "cavity": 1} for CAMUS.',
        )
    return _checked({name: image == value for name, value in labels.items()})


def pixel_positions_mm(geometry: Geometry, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Place every pixel: lateral position and depth below the probe surface, two (row, col) arrays in mm.

    A Cartesian image (`pixel_m` known) has lateral 0 at the middle column and depth `r0_m` (0 when unknown)
    at the upper edge of row 0. A polar image has lines at `angles_rad` or `lateral_m` and rows evenly from
    `r0_m` to `r1_m`.

    Raises:
        GeometryError: neither set of fields is complete.
    """
    rows, cols = shape
    if geometry.pixel_m is not None:
        height, width = geometry.pixel_m
        lateral = (np.arange(cols) - (cols - 1) / 2) * width
        depth = (np.arange(rows) + 0.5) * height + (geometry.r0_m or 0.0)
        x, z = np.broadcast_to(lateral, shape), np.broadcast_to(depth[:, None], shape)
        return x * 1e3, z * 1e3
    geometry.need("r0_m", "r1_m", purpose="a region in mm")
    ranges = np.linspace(geometry.r0_m or 0.0, geometry.r1_m or 0.0, rows)[:, None]
    if geometry.angles_rad is not None:
        _check_lines(geometry.angles_rad, cols)
        return (
            1e3 * ranges * np.sin(geometry.angles_rad),
            1e3 * (ranges * np.cos(geometry.angles_rad) - (geometry.apex_m or 0.0)),
        )
    if geometry.lateral_m is not None:
        _check_lines(geometry.lateral_m, cols)
        return np.broadcast_to(1e3 * geometry.lateral_m, shape), np.broadcast_to(1e3 * ranges, shape)
    raise GeometryError(
        "a region in mm needs pixel_m, angles_rad or lateral_m; the input gives none.",
        hint="Draw the region as rows and columns, or give the geometry.",
    )


def _check_lines(positions: Array, cols: int) -> None:
    if positions.shape != (cols,):
        raise DataError(f"the geometry has {positions.size} lines, the image has {cols} columns.")


def _polygon(part: Mapping[str, Any], name: str, shape: tuple[int, int], geometry: Geometry | None) -> Array:
    corners = np.asarray(part.get("polygon_mm", ()), dtype=np.float64)
    if set(part) != {"polygon_mm"} or corners.ndim != 2 or len(corners) < 3 or corners.shape[1] != 2:
        raise DataError(
            f"ROI '{name}' needs {{'polygon_mm': [[lateral, depth], ...]}} with at least 3 corners."
        )
    if geometry is None:
        raise GeometryError(
            f"ROI '{name}' is in mm, but the geometry of the image is not known.",
            hint="Draw it as rows and columns, or use a file with geometry.",
        )
    x, z = pixel_positions_mm(geometry, shape)
    return _inside(x, z, corners)


def _inside(x: Array, z: Array, corners: Array) -> Array:
    """Even-odd rule: inside, a ray to the right crosses the outline an odd number of times."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, z0), (x1, z1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if z0 == z1:
            continue
        spans = (z0 <= z) != (z1 <= z)
        inside ^= spans & (x < x0 + (z - z0) / (z1 - z0) * (x1 - x0))
    return inside


def _rectangle(part: Any, name: str, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    numbers = isinstance(part, Sequence) and len(part) == 4 and all(type(v) is int for v in part)
    if not numbers:
        raise DataError(f"ROI '{name}' needs [row0, row1, col0, col1] as whole numbers, got {part!r}.")
    r0, r1, c0, c1 = part
    if not (0 <= r0 < r1 <= shape[0] and 0 <= c0 < c1 <= shape[1]):
        raise DataError(
            f"ROI '{name}' {list(part)} is empty or leaves the image of {shape[0]}x{shape[1]} pixels.",
            hint="Order: row0, row1, col0, col1, with the ends excluded.",
        )
    return r0, r1, c0, c1


def _checked(masks: dict[str, Array]) -> dict[str, Array]:
    for name, mask in masks.items():
        if not mask.any():
            raise DataError(f"ROI '{name}' is empty.", hint="Draw it, or leave the name out.")
    for a, b in combinations([name for name in masks if name != "static"], 2):
        shared = int(np.count_nonzero(masks[a] & masks[b]))
        if shared:
            raise DataError(
                f"ROIs '{a}' and '{b}' overlap in {shared} pixels.", hint="Regions must be disjoint."
            )
    return masks


def _read_png(path: Path) -> Array:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB") if picture.mode in ("P", "RGBA", "LA") else picture)
    except (UnidentifiedImageError, OSError) as err:
        raise DataError(f"'{path.name}' cannot be read as a PNG picture.") from err
    if image.ndim == 3:
        if not (image == image[..., :1]).all():
            raise DataError(
                f"'{path.name}' is a colour picture; an ROI mask is grey.", hint="Save it as 8-bit grey."
            )
        image = image[..., 0]
    if image.dtype != np.uint8:
        raise DataError(
            f"'{path.name}' holds {image.dtype}; an ROI mask is 8-bit grey.", hint="Save it as 8-bit grey."
        )
    return image


def _read_nifti(path: Path) -> Array:
    nibabel = require("nibabel", extra="ultrasound")
    try:
        volume = np.asanyarray(nibabel.load(path).dataobj)
    except (OSError, EOFError, nibabel.filebasedimages.ImageFileError) as err:
        raise DataError(f"'{path.name}' cannot be read as NIfTI: {err}.") from err
    labels = np.rint(volume).astype(np.int64)
    if not np.array_equal(volume, labels):
        raise DataError(f"'{path.name}' holds values that are not whole numbers; labels are.")
    frames = labels.reshape(*labels.shape[:2], -1).transpose(2, 1, 0)  # (x, y, frame) to (frame, row, col)
    return frames[0] if len(frames) == 1 else frames


def _short(values: Sequence[int]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return shown + (f" and {len(values) - 6} more" if len(values) > 6 else "")
