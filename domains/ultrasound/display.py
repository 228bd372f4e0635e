"""From lines to what a person looks at: dB levels of a common peak, and Cartesian pictures with their size in
mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from core.errors import GeometryError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.scan_convert import layout_of, scan_convert
from domains.ultrasound.signal import envelope

__all__ = ["View", "envelope_of", "levels_db", "view_of"]

Array = np.ndarray[Any, np.dtype[Any]]


def envelope_of(record: Record, values: Array | None = None) -> Array:
    """Envelope (frame, sample, line) of a record's lines, or of other lines with its geometry; linear, >=
    0.
    """
    lines = record.values if values is None else values
    if record.kind == "envelope_data":
        return np.asarray(lines, dtype=np.float32)
    if np.iscomplexobj(lines):
        return np.abs(lines)
    g = record.geometry
    g.need("fs_hz", "f0_hz", "bandwidth", purpose="the envelope of RF lines")
    rf = torch.from_numpy(np.asarray(lines, dtype=np.float32))
    return envelope(rf, fs_hz=g.fs_hz, f0_hz=g.f0_hz, bandwidth=g.bandwidth).numpy()


def levels_db(magnitude: Array, peak: Array | float, *, dynamic_range_db: float = 60.0) -> Array:
    """Levels of an envelope relative to `peak`, dB in [-dynamic_range_db, 0]; `peak` broadcasts over
    frames.
    """
    floor = 10 ** (-dynamic_range_db / 20)
    levels = 20 * np.log10(np.clip(magnitude / peak, floor, 1.0))
    return np.asarray(np.maximum(levels, -dynamic_range_db), dtype=np.float32)


@dataclass(frozen=True)
class View:
    """How polar frames are shown: scan-converted when the geometry allows, as they are when not.

    Attributes:
        layout: of the scan conversion, or None.
        extent_mm: left, right, bottom, top of the picture in mm, or None.
        note: why a picture is not scan-converted, or "".
    """

    layout: Any
    extent_mm: tuple[float, float, float, float] | None
    note: str = ""

    def picture(self, frame: Array, *, fill: float) -> Array:
        """A (sample, line) frame as shown, (row, col)."""
        if self.layout is None:
            return frame
        values = torch.from_numpy(np.ascontiguousarray(frame, dtype=np.float32))
        return scan_convert(values, self.layout, fill=fill).numpy()

    def masks(self, masks: Mapping[str, Array]) -> dict[str, Array]:
        """Regions (sample, line) as shown, (row, col)."""
        return {name: self.picture(mask.astype(np.float32), fill=0.0) > 0.5 for name, mask in masks.items()}


def view_of(
    geometry: Geometry, samples: int, *, pixel_m: float | None = None, required: bool = False
) -> View:
    """The view that a geometry allows.

    Args:
        required: fail instead of falling back to the polar picture.

    Raises:
        GeometryError: `required`, and a field is missing; names it.
    """
    try:
        layout = layout_of(geometry, samples, pixel_m=pixel_m)
    except GeometryError as err:
        if required:
            raise
        return View(None, None, f"shown before scan conversion: {err}")
    rows, cols = layout.shape
    side_r, side_c = (1e3 * side for side in layout.pixel)
    centre = layout.centre if hasattr(layout, "centre") else layout.origin
    left, top = -centre[1] * side_c, -centre[0] * side_r
    if geometry.apex_m:
        top -= 1e3 * geometry.apex_m
    return View(layout, (left, left + cols * side_c, top + rows * side_r, top))
