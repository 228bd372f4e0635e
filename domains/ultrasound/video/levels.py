"""From a recording to the picture levels that B-mode methods work on, and back.

Levels lie in [-1, 1]: -1 is black (minus the display range or less), 1 is the brightest echo. 8-bit pictures
keep their own scale, 255 being 1. Lines and envelopes are compressed against one peak for the whole cine, so
that the display itself does not flicker, and scan-converted where their geometry allows, since a prior of
pictures knows pixels of one size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError, GeometryError
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of
from domains.ultrasound.scan_convert import layout_of, scan_convert

__all__ = ["Cine", "cine_of", "db_to_level", "level_to_db", "record_of"]

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T", Array, Tensor)


@dataclass(frozen=True)
class Cine:
    """A recording as pictures.

    Attributes:
        record: the pictures as a record, uint8 or dB (frame, row, col), Cartesian where that is known.
        levels: the same in [-1, 1], float32.
        reference: levels of the truth against its own peak, where a simulation knows it.
        shift_db: what brings dB of the input's peak to dB of the truth's peak; 0 without a truth.
        masks: regions that came along, bool (frame, row, col).
        notes: what was done on the way, one line each.
    """

    record: Record
    levels: Array
    dynamic_range_db: float
    reference: Array | None = None
    shift_db: float = 0.0
    masks: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def db_to_level(db: T, *, dynamic_range_db: float = 60.0) -> T:
    """Levels in [-1, 1] of dB <= 0; dB below minus the range are black."""
    return 1 + 2 * db.clip(-dynamic_range_db, 0) / dynamic_range_db


def level_to_db(level: T, *, dynamic_range_db: float = 60.0) -> T:
    """dB in [-dynamic_range_db, 0] of levels, which are clipped to [-1, 1] first."""
    return (level.clip(-1, 1) - 1) * dynamic_range_db / 2


def cine_of(
    record: Record,
    *,
    regions: Mapping[str, Array] | None = None,
    pixel_m: float | None = None,
    dynamic_range_db: float = 60.0,
) -> Cine:
    """The pictures of any recording but channel data.

    Args:
        regions: masks (frame, row, col) of the recording, which go with it; its own truth's when None.
        pixel_m: side of a pixel where lines or polar pictures are scan-converted.
        dynamic_range_db: display range; of an 8-bit picture, what 255 steps stand for.

    Raises:
        DataError: channel data, or pictures smaller than 16 x 16.
    """
    if record.kind == "raw_data":
        raise DataError("raw_data has no lines yet.", hint="Beamform it: suffuse ultrasound beamform.")
    if min(record.values.shape[1:3]) < 16:
        size = " x ".join(map(str, record.values.shape[1:3]))
        raise DataError(f"frames must be at least 16 x 16, got {size}.")
    own = {name: mask for name, mask in record.truth.items() if mask.dtype == bool}
    masks = dict(own if regions is None else regions)
    if record.kind == "image":
        return _from_picture(record, masks, pixel_m, dynamic_range_db)
    if record.domain == "rf":
        names = ("fs_hz", "f0_hz", "bandwidth")
        record.geometry.need(*names, purpose="the envelope of RF lines", option="suffuse ultrasound convert")
    magnitude = envelope_of(record)
    peak = float(magnitude.max())
    db = _db(magnitude, peak, dynamic_range_db)
    reference, shift = None, 0.0
    if "tissue" in record.truth and record.truth["tissue"].shape == record.values.shape:
        clean = envelope_of(record, record.truth["tissue"])
        shift = 20 * float(np.log10(peak / clean.max()))
        reference = _db(clean, float(clean.max()), dynamic_range_db)
    shown = replace(record, kind="image", values=db, truth={})
    return _converted(shown, masks, reference, shift, pixel_m, dynamic_range_db)


def record_of(cine: Cine, levels: Array, *, derivation: str) -> Record:
    """Levels (frame, row, col) as pictures of the kind that came in: 8 bit, or dB."""
    if cine.record.values.dtype == np.uint8:
        values: Array = np.rint((levels.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    else:
        values = level_to_db(levels, dynamic_range_db=cine.dynamic_range_db).astype(np.float32)
    meta = {**cine.record.meta, "derivation": derivation, "dynamic_range_db": cine.dynamic_range_db}
    return replace(cine.record, values=values, truth={}, meta=meta)


def _from_picture(
    record: Record, masks: dict[str, Array], pixel_m: float | None, dynamic_range_db: float
) -> Cine:
    notes = []
    if record.values.ndim == 4:
        grey = record.values.mean(axis=-1)
        values = np.rint(grey).astype(np.uint8) if record.values.dtype == np.uint8 else grey
        record = replace(record, values=values, truth={})
        notes.append("colour is dropped: pictures are read as the mean of their channels.")
    record = replace(record, truth={})
    if record.values.dtype == np.uint8:
        levels = (record.values / 127.5 - 1).astype(np.float32)
        return Cine(record, levels, dynamic_range_db, masks=masks, notes=tuple(notes))
    if record.values.max() > 1e-3:
        raise DataError(
            f"pictures must be 8 bit or dB <= 0, got a maximum of {record.values.max():.3g}.",
            hint="Convert lines with: suffuse ultrasound convert --to image.",
        )
    cine = _converted(record, masks, None, 0.0, pixel_m, dynamic_range_db)
    return replace(cine, notes=(*notes, *cine.notes))


def _converted(
    record: Record,
    masks: dict[str, Array],
    reference: Array | None,
    shift_db: float,
    pixel_m: float | None,
    dynamic_range_db: float,
) -> Cine:
    """Scan-convert a polar dB record and what came along, where the geometry allows."""
    values = np.asarray(record.values, dtype=np.float32)
    notes: tuple[str, ...] = ()
    if record.geometry.pixel_m is None:
        try:
            layout = layout_of(record.geometry, values.shape[1], pixel_m=pixel_m)
        except GeometryError as err:
            notes = (f"worked on before scan conversion: {err}",)
        else:

            def convert(frames: Array, fill: float) -> Array:
                return scan_convert(torch.from_numpy(np.ascontiguousarray(frames)), layout, fill=fill).numpy()

            values = convert(values, -dynamic_range_db)
            reference = None if reference is None else convert(reference, -dynamic_range_db)
            masks = {name: convert(mask.astype(np.float32), 0.0) > 0.5 for name, mask in masks.items()}
            geometry = replace(record.geometry, pixel_m=layout.pixel)
            record = replace(record, geometry=geometry)
    levels = db_to_level(values, dynamic_range_db=dynamic_range_db)
    truth = None if reference is None else db_to_level(reference, dynamic_range_db=dynamic_range_db)
    record = replace(record, values=values)
    return Cine(record, levels, dynamic_range_db, truth, shift_db, masks, notes)


def _db(magnitude: Array, peak: float, dynamic_range_db: float) -> Array:
    floor = 10 ** (-dynamic_range_db / 20)
    levels: Array = 20 * np.log10(np.clip(magnitude / peak, floor, 1.0))
    return levels.astype(np.float32)
