"""Records along the signal chain: RF, IQ, envelope, picture; the truth of a simulation comes along."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of, levels_db
from domains.ultrasound.signal import to_iq, to_rf

__all__ = ["TARGETS", "Target", "as_image", "convert_record", "grey"]

TARGETS = ("iq", "rf", "envelope", "image")
Target = Literal["iq", "rf", "envelope", "image"]


def convert_record(record: Record, to: Target | None, *, dynamic_range_db: float = 60.0) -> Record:
    """The record further down (or, to RF, up) the signal chain, its truth along with it."""
    match to:
        case None:
            return record
        case "iq":
            _need_band(record, "demodulation")
            return _with_truth(record, to_iq)
        case "rf":
            return _with_truth(record, to_rf)
        case "envelope":
            _need_lines(record, to)
            _need_band(record, "detection")
            return replace(record, kind="envelope_data", values=envelope_of(record), truth=_masks(record))
        case "image":
            _need_lines(record, to)
            return record if record.kind == "image" else as_image(record, dynamic_range_db)


def as_image(record: Record, dynamic_range_db: float) -> Record:
    """Levels in dB of every frame relative to its own peak; 8-bit pictures stay what they are in kind."""
    if record.kind == "image":
        if record.values.dtype != np.uint8:
            return record
        levels = (record.values.astype(np.float32) / 255 - 1) * dynamic_range_db
        return replace(record, values=levels)
    _need_band(record, "detection")
    magnitude = envelope_of(record)
    peak = magnitude.max(axis=(1, 2), keepdims=True)
    levels = levels_db(magnitude, peak, dynamic_range_db=dynamic_range_db)
    return replace(record, kind="image", values=levels, truth=_masks(record))


def grey(image: np.ndarray) -> np.ndarray:
    """A colour picture (row, col, 3) as the mean of its channels."""
    return image.mean(axis=-1) if image.ndim == 3 else image


def _masks(record: Record) -> dict[str, np.ndarray]:
    """Truth that survives detection: regions, but no lines."""
    return {name: values for name, values in record.truth.items() if values.dtype == bool}


def _with_truth(record: Record, convert: Callable[[Record], Record]) -> Record:
    """Convert a record's lines, and its truth in step: lines likewise, masks at the nearest samples."""
    out = convert(record)
    if out is record or not record.truth:
        return out
    n, m = record.values.shape[-2], out.values.shape[-2]
    nearest = np.minimum(np.rint(np.arange(m) * (n / m)).astype(int), n - 1)
    truth = {}
    for name, values in record.truth.items():
        if values.shape != record.values.shape:
            truth[name] = values
        elif values.dtype == bool:
            truth[name] = values[..., nearest, :]
        else:
            truth[name] = convert(record.with_values(values, truth={})).values
    return replace(out, truth=truth)


def _need_lines(record: Record, to: str) -> None:
    if record.kind == "image" and to == "envelope":
        raise DataError(
            "the input is a log-compressed picture, expected lines.", hint="Convert RF or IQ lines."
        )
    if record.kind == "raw_data":
        raise DataError(
            f"raw_data has no lines to turn into an {to}.", hint="Beamform it: suffuse ultrasound beamform."
        )


def _need_band(record: Record, purpose: str) -> None:
    """RF has no envelope before its band is known."""
    if record.domain == "rf":
        names = ("fs_hz", "f0_hz", "bandwidth")
        record.geometry.need(*names, purpose=f"{purpose} of RF", option="--fs, --f0 and --bandwidth")
