"""NIfTI images: (x, y[, z = 1], t) in mm and s.

Column is x and row is y, as in files of CAMUS. No axis is flipped: row 0, next to the probe, is y = 0. uint8
images and float32 decibels come back exactly; colour is stored as RGB24. Pixel sizes are float32 in mm in the
header, times are one step per frame.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from core.extras import require
from domains.ultrasound.data import Geometry, Kind, Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_nifti", "write_nifti"]

Array = np.ndarray[Any, np.dtype[Any]]

RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
SCALE = {"meter": 1.0, "mm": 1e-3, "micron": 1e-6, "unknown": 1e-3}
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def write_nifti(record: Record, path: Path) -> list[str]:
    """Write an image or an envelope.

    Returns:
        A warning when frame times are uneven, since the header holds one step only.

    Raises:
        ConfigError: the record holds lines or channel data.
    """
    nib = require("nibabel", extra="ultrasound")
    if record.kind not in ("image", "envelope_data"):
        raise ConfigError(
            f"NIfTI stores pictures; the record holds {record.kind}.",
            hint="Make a B-mode image first (suffuse ultrasound bmode), or write .hdf5 or .npz.",
        )
    values = record.values if record.values.dtype == np.uint8 else record.values.astype(np.float32)
    if values.ndim == 4:
        values = np.ascontiguousarray(values).view(RGB24)[..., 0]
    block = values.transpose(2, 1, 0)[:, :, None, :]
    dy, dx = (size * 1e3 for size in record.geometry.pixel_m or (1e-3, 1e-3))
    step, warnings = 1.0, []
    times = record.timestamps_s
    if times is not None and len(times) > 1:
        steps = np.diff(times)
        step = float(np.mean(steps))
        if np.ptp(steps) > 0.01 * abs(step):
            warnings.append("NIfTI holds one time step; the uneven frame times are replaced by their mean.")
    image = nib.Nifti1Image(block, np.diag([dx, dy, 1.0, 1.0]))
    image.header.set_zooms((dx, dy, 1.0, step))
    known = "mm" if record.geometry.pixel_m else "unknown"
    image.header.set_xyzt_units(known, "sec" if times is not None and len(times) > 1 else "unknown")
    image.header["descrip"] = f"suffuse {record.kind}".encode()
    nib.save(image, path)
    return warnings


def read_nifti(path: Path) -> Record:
    """Read (x, y), (x, y, frame) or (x, y, 1, frame) as (frame, row, col[, 3]).

    uint8 stays uint8; whole numbers of other types within 0..255 become uint8; values <= 0 are dB; anything
    else is an envelope.

    Raises:
        DataError: truncated, a volume, or complex values.
    """
    nib = require("nibabel", extra="ultrasound")
    with reading(path, "a NIfTI image"):
        try:
            known = path.name.lower().endswith((".nii", ".nii.gz"))
            image = nib.load(path) if known else nib.Nifti1Image.from_bytes(path.read_bytes())
            block = np.asanyarray(image.dataobj)
        except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as err:
            raise ValueError(str(err)) from err
        header = image.header
        space, time = header.get_xyzt_units()
        zooms, note = header.get_zooms(), bytes(header["descrip"]).rstrip(b"\0").decode("latin-1")
    shape = block.shape
    if block.ndim == 4 and shape[2] == 1:
        block = block[:, :, 0, :]
    elif block.ndim == 2:
        block = block[:, :, None]
    if block.ndim != 3:
        raise DataError(
            f"{path}: expected axes (x, y), (x, y, frame) or (x, y, 1, frame), read shape {shape}.",
            hint="Save one plane of the volume.",
        )
    warnings: list[str] = []
    values = np.ascontiguousarray(block.transpose(2, 1, 0))
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names[:3]], axis=-1)
    kind = _kind(values, note, path, warnings)
    values = values if values.dtype == np.uint8 else _narrow(values)
    pixel = None if space == "unknown" else (float(zooms[1]) * SCALE[space], float(zooms[0]) * SCALE[space])
    step = (
        float(zooms[-1]) * SECONDS.get(time, 1.0)
        if time in ("sec", "msec", "usec") and len(zooms) >= 3
        else 0.0
    )
    times = np.arange(len(values)) * step if step > 0 and len(values) > 1 else None
    return Record(
        kind, values, Geometry(pixel_m=pixel), times, meta=with_warnings({"layout": "picture"}, warnings)
    )


def _kind(values: Array, note: str, path: Path, warnings: list[str]) -> Kind:
    if np.iscomplexobj(values):
        raise DataError(
            f"{path}: expected levels, read complex values.", hint="Store lines as .hdf5 or .npz."
        )
    if note == "suffuse envelope_data":
        return "envelope_data"
    if values.dtype == np.uint8 or note == "suffuse image" or values.max() <= 0 or _is_bytes(values):
        return "image"
    warnings.append("levels above 0 that are not 8 bits are taken as an envelope.")
    return "envelope_data"


def _is_bytes(values: Array) -> bool:
    return bool(
        values.min() >= 0 and values.max() <= 255 and values.max() > 1 and np.all(values == np.rint(values))
    )


def _narrow(values: Array) -> Array:
    return values.astype(np.uint8) if _is_bytes(values) else values.astype(np.float32)
