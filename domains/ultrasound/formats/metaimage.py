"""MetaImage `.mha` and `.mhd`, among them tracked sequences of the Plus toolkit.

The first two letters of `UltrasoundImageOrientation` tell where the fastest and the next axis point: M and U
are the marked and unmarked side of the probe, F and N far from and near to it. In memory lines run from the
unmarked to the marked side and samples from near to far, which is what "FM" files hold for lines and "MF"
files for pictures; other orders are transposed and reversed on reading (an "NM" file starts at the far end).
A third letter (elevation) changes nothing in two dimensions.

| `UltrasoundImageType` | fastest axis | becomes |
| --- | --- | --- |
| `RF_REAL` | samples | beamformed_data, float32 |
| `RF_IQ_LINE` | I, Q samples in turn | beamformed_data, complex64, half as many samples |
| `RF_I_LINE_Q_LINE` | samples; I lines and Q lines in turn | beamformed_data, complex64, half as many lines |
| `BRIGHTNESS`, fastest axis F or N | samples | image (frame, sample, line) |
| `BRIGHTNESS`, fastest axis M or U | columns | image (frame, row, col) |
| `RGB_COLOR` | columns | image (frame, row, col, 3) |

The share of samples at the integer limits is measured before the conversion and kept in
`meta["clipped_share"]`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Geometry, Kind, Record, clipped_share
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.levels import merge_grey
from domains.ultrasound.formats.metaheader import MetaHeader, read_body, read_header
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_metaimage"]

Array = np.ndarray[Any, np.dtype[Any]]

AXIS = {"M": "lateral", "U": "lateral", "F": "axial", "N": "axial"}
RF_TYPES = ("RF_REAL", "RF_IQ_LINE", "RF_I_LINE_Q_LINE")
PICTURE_TYPES = ("BRIGHTNESS", "RGB_COLOR")


def read_metaimage(path: Path) -> Record:
    """Read an image or a sequence, turned to the orientation above.

    `meta`: "image_type", "orientation" (as in the file), "layout" ("lines" or "picture"), "clipped_share" of
    RF types, the header's other fields under "header", and per frame "transforms" {name: [16 numbers or
    None]} and "frame_status". Frame times become `timestamps_s`.

    Raises:
        DataError: truncated, more than two dimensions per frame, an orientation or type that is unknown, an
        odd number of
            samples (or lines) to pair into I and Q, or RF lines that do not run along the fastest axis.
    """
    header = read_header(path)
    warnings: list[str] = []
    image_type = _image_type(header, warnings)
    letters = _letters(header, image_type, warnings)
    frames = _frames(header)
    tags: dict[str, Any] = {"image_type": image_type, "orientation": letters}
    if image_type in RF_TYPES:
        kind, values = _lines(header, frames, image_type, letters, tags)
    else:
        kind, values = _picture(header, frames, warnings)
    lines = AXIS[letters[0]] == "axial"
    if lines:
        values = values.swapaxes(1, 2)
    flips = (
        slice(None, None, -1) if "N" in letters else slice(None),
        slice(None, None, -1) if "U" in letters else slice(None),
    )
    values = np.ascontiguousarray(values[:, flips[0], flips[1]])
    tags["layout"] = "lines" if lines else "picture"
    with reading(path, "a Plus sequence"):
        times = _sequence(header, len(values), tags, warnings)
    pixel_m = None if lines else _pixel_m(header)
    return Record(kind, values, Geometry(pixel_m=pixel_m), times, meta=with_warnings(tags, warnings))


def _image_type(header: MetaHeader, warnings: list[str]) -> str:
    named = header.fields.get("UltrasoundImageType")
    if named is None:
        if header.dtype[1:] == "u1":
            return "RGB_COLOR" if header.channels == 3 else "BRIGHTNESS"
        warnings.append("the header has no UltrasoundImageType; signed samples are taken as RF_REAL.")
        return "RF_REAL"
    if named not in RF_TYPES + PICTURE_TYPES:
        known = ", ".join(RF_TYPES + PICTURE_TYPES)
        raise DataError(f"{header.path}: expected UltrasoundImageType to be one of {known}, found '{named}'.")
    return named


def _letters(header: MetaHeader, image_type: str, warnings: list[str]) -> str:
    named = header.fields.get("UltrasoundImageOrientation", "").upper()
    lines = image_type in RF_TYPES
    if not named or set(named) == {"X"}:
        letters = "FM" if lines else "MF"
        warnings.append(f"the header has no UltrasoundImageOrientation; taken as {letters}.")
        return letters
    axes = [AXIS.get(letter) for letter in named[:2]]
    if sorted(map(str, axes)) != ["axial", "lateral"]:
        raise DataError(
            f"{header.path}: expected UltrasoundImageOrientation to start with one of M, U and one of F, N, "
            f"found '{named}'."
        )
    if lines and axes[0] != "axial":
        raise DataError(
            f"{header.path}: wrong axis order for {image_type}: expected samples on the fastest axis "
            f"(FM, FU, NM, NU), read '{named}' with DimSize {' '.join(map(str, header.sizes))}.",
            hint="Save the lines with samples first, or correct UltrasoundImageOrientation.",
        )
    return named


def _frames(header: MetaHeader) -> Array:
    """Samples as (frame, y, x[, channel]), x the fastest axis of the file."""
    sizes = header.sizes
    while len(sizes) > 3 and sizes[2] == 1:
        sizes = sizes[:2] + sizes[3:]
    if not 2 <= len(sizes) <= 3:
        raise DataError(
            f"{header.path}: expected (x, y) or (x, y, frame), "
            f"read DimSize {' '.join(map(str, header.sizes))}.",
            hint="Volumes are not supported; save one plane.",
        )
    shape = (sizes[2] if len(sizes) == 3 else 1, sizes[1], sizes[0])
    values = np.frombuffer(read_body(header), dtype=header.dtype)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.reshape(*shape, header.channels) if header.channels > 1 else values.reshape(shape)


def _lines(
    header: MetaHeader, frames: Array, image_type: str, letters: str, tags: dict[str, Any]
) -> tuple[Kind, Array]:
    if frames.ndim != 3:
        raise DataError(f"{header.path}: {image_type} needs 1 channel per sample, found {header.channels}.")
    tags["clipped_share"] = clipped_share(frames)
    if image_type == "RF_REAL":
        return "beamformed_data", frames.astype(np.float32)
    axis, what = (2, "samples per line") if image_type == "RF_IQ_LINE" else (1, "lines")
    if frames.shape[axis] % 2:
        raise DataError(
            f"{header.path}: {image_type} alternates I and Q and needs an even number of {what}, "
            f"read {frames.shape[axis]} (DimSize {' '.join(map(str, header.sizes))}, orientation {letters}).",
            hint="Set UltrasoundImageType to RF_REAL if the samples are plain RF.",
        )
    first = (slice(None),) * axis
    i, q = frames[*first, 0::2], frames[*first, 1::2]
    values = np.empty(i.shape, dtype=np.complex64)
    values.real, values.imag = i, q
    return "beamformed_data", values


def _picture(header: MetaHeader, frames: Array, warnings: list[str]) -> tuple[Kind, Array]:
    if frames.ndim == 4:
        if header.channels not in (3, 4) or frames.dtype != np.uint8:
            raise DataError(
                f"{header.path}: expected 1, 3 or 4 channels of MET_UCHAR, found {header.channels}."
            )
        return "image", merge_grey(frames)
    if frames.dtype == np.uint8:
        return "image", frames
    if np.issubdtype(frames.dtype, np.floating) and frames.max() <= 0:
        return "image", frames.astype(np.float32)
    warnings.append(f"brightness of type {header.fields['ElementType']} above 0; taken as envelope_data.")
    return "envelope_data", frames.astype(np.float32)


def _pixel_m(header: MetaHeader) -> tuple[float, float] | None:
    """Pixel size (row, col) in m from a spacing in mm; 1 everywhere means that none was given."""
    words = header.fields.get("ElementSpacing", "").split()
    try:
        spacing = [float(word) for word in words]
    except ValueError:
        return None
    if len(spacing) < 2 or min(spacing[:2]) <= 0 or spacing[0] == spacing[1] == 1.0:
        return None
    return spacing[1] * 1e-3, spacing[0] * 1e-3


def _sequence(header: MetaHeader, n_frames: int, tags: dict[str, Any], warnings: list[str]) -> Array | None:
    """Frame times; transforms, status and the plain header fields go into `tags`."""
    times: list[float | None] = [None] * n_frames
    status: list[str | None] = [None] * n_frames
    transforms: dict[str, list[list[float] | None]] = {}
    plain: dict[str, str] = {}
    for key, value in header.fields.items():
        head, _, name = key.partition("_Frame")
        digits, _, what = name.partition("_")
        if head != "Seq" or not digits.isdigit():
            plain[key] = value
            continue
        frame = int(digits)
        if frame >= n_frames:
            continue
        if what == "Timestamp":
            times[frame] = float(value)
        elif what == "ImageStatus":
            status[frame] = value
        elif what.endswith("Transform"):
            transforms.setdefault(what, [None] * n_frames)[frame] = [float(word) for word in value.split()]
    tags["header"] = plain
    if transforms:
        tags["transforms"] = transforms
    if any(status):
        tags["frame_status"] = status
        bad = [index for index, item in enumerate(status) if item not in (None, "OK")]
        if bad:
            warnings.append(
                f"{len(bad)} of {n_frames} frames are marked invalid by their source (first: frame {bad[0]})."
            )
    known = [time for time in times if time is not None]
    if known and len(known) < n_frames:
        warnings.append(
            f"{n_frames - len(known)} of {n_frames} frames have no time; frame times are left out."
        )
    return np.array(known) if len(known) == n_frames else None
