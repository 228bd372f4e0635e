"""Display levels: decibels to 8 bits and back to grey, for formats that hold pictures only."""

from typing import Any

import numpy as np

from core.errors import ConfigError
from domains.ultrasound.data import Record

__all__ = ["DYNAMIC_RANGE_DB", "merge_grey", "picture_levels"]

Array = np.ndarray[Any, np.dtype[Any]]

DYNAMIC_RANGE_DB = 60.0


def picture_levels(record: Record, *, dynamic_range_db: float | None = None) -> Array:
    """An image as 8-bit levels, (frame, row, col[, 3]).

    uint8 passes unchanged. Decibels map linearly from [-dynamic_range_db, 0] to 0..255 and round, so a value
    inside the range moves by at most dynamic_range_db / 510. The range is `dynamic_range_db`, else the
    record's own `meta["dynamic_range_db"]`, else 60 dB.

    Raises:
        ConfigError: the record is not an image, or the range is not positive.
    """
    if record.kind != "image":
        raise ConfigError(
            f"this format stores pictures; the record holds {record.kind}.",
            hint="Make a B-mode image first (suffuse ultrasound bmode), or write .hdf5 or .npz.",
        )
    if record.values.dtype == np.uint8:
        return record.values
    chosen = dynamic_range_db if dynamic_range_db is not None else record.meta.get("dynamic_range_db")
    span = float(DYNAMIC_RANGE_DB if chosen is None else chosen)
    if not span > 0:
        raise ConfigError(f"the dynamic range must be positive, got {span} dB.")
    return np.rint(np.clip(record.values / span + 1.0, 0.0, 1.0) * 255.0).astype(np.uint8)


def merge_grey(values: Array) -> Array:
    """(..., 3) or (..., 4) to (...) where the colour channels are equal; colours stay (..., 3)."""
    colour = values[..., :3]
    if np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2]):
        return np.ascontiguousarray(colour[..., 0])
    return np.ascontiguousarray(colour)
