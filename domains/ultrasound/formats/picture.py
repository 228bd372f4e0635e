"""Pictures: PNG, TIFF, JPEG and BMP in, PNG out.

A picture with equal colour channels, such as an RGBA screenshot of a B-mode, becomes one grey channel. Levels
of 16 bits are divided by 257 and rounded to 8.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from core.errors import ConfigError, DataError
from domains.ultrasound.data import Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.levels import merge_grey, picture_levels
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_picture", "write_png"]

Array = np.ndarray[Any, np.dtype[Any]]


def read_picture(path: Path) -> Record:
    """Read a picture, or the pages of a TIFF, as an image (frame, row, col[, 3]).

    8 and 16 bits become uint8. Floating TIFF with values <= 0 is taken as dB and stays float32.

    Raises:
        DataError: truncated, unknown, pages of several sizes, or floating values above 0.
    """
    warnings: list[str] = []
    with reading(path, "a picture"):
        try:
            with Image.open(path) as picture:
                frames = [_levels(page, path, warnings) for page in ImageSequence.Iterator(picture)]
        except (UnidentifiedImageError, Image.DecompressionBombError) as err:
            raise ValueError(str(err)) from err
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise DataError(f"{path}: expected pages of one size, found {sorted(sizes)}.")
    return Record(
        "image", np.stack(frames), meta=with_warnings({"layout": "picture"}, list(dict.fromkeys(warnings)))
    )


def write_png(
    record: Record, path: Path, *, frame: int = 0, dynamic_range_db: float | None = None
) -> list[str]:
    """Write one frame of an image as an 8-bit PNG; decibels round as `levels.py` says.

    Returns:
        A warning when other frames are left out.

    Raises:
        ConfigError: the record is not an image, or there is no such frame.
    """
    levels = picture_levels(record, dynamic_range_db=dynamic_range_db)
    if not 0 <= frame < len(levels):
        raise ConfigError(f"frame {frame} does not exist; the record has {len(levels)}.")
    Image.fromarray(np.ascontiguousarray(levels[frame])).save(path, format="PNG")
    if len(levels) > 1:
        return [f"a PNG holds one frame; frame {frame} of {len(levels)} is written."]
    return []


def _levels(page: Image.Image, path: Path, warnings: list[str]) -> Array:
    if page.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "PA"):
        page = page.convert("RGB")
    elif page.mode == "1":
        page = page.convert("L")
    values = np.asarray(page)
    if values.dtype.kind == "f":
        if not np.all(values <= 0):
            raise DataError(
                f"{path}: expected floating levels in dB, <= 0, got a maximum of {np.nanmax(values):.4g}."
            )
        return values.astype(np.float32)
    if values.dtype != np.uint8:
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{path}: expected levels of 8 or 16 bits, found {values.min()} to {values.max()}."
            )
        warnings.append("16-bit levels are rounded to 8 bits.")
        return np.rint(values / 257.0).astype(np.uint8)
    if values.ndim == 2:
        return values
    if values.shape[-1] in (2, 4):
        if np.any(values[..., -1] != 255):
            warnings.append("transparency is ignored.")
        values = values[..., :-1]
    return values[..., 0] if values.shape[-1] == 1 else merge_grey(values)
