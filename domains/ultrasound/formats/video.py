"""Cine loops: AVI, MP4 and other films in through ffmpeg, GIF in through Pillow, MP4 out.

MP4 is lossy: H.264 at constant rate factor 12 with 4:2:0 colour. A picture with an odd number of rows or
columns is extended by its last row or column, since the codec needs even sizes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from core.errors import DataError
from core.extras import require
from domains.ultrasound.data import Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.levels import merge_grey, picture_levels
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_gif", "read_video", "write_mp4"]

Array = np.ndarray[Any, np.dtype[Any]]

RATE_FACTOR = 12
DEFAULT_FPS = 25.0


def read_video(path: Path) -> Record:
    """Read every frame of a film as an image (frame, row, col[, 3]).

    Films carry colour as luminance and two differences, so grey comes back off by a few levels between
    channels; frames whose channels differ by at most 8 levels are grey.

    Raises:
        MissingExtra: imageio-ffmpeg is not installed.
        DataError: truncated, no frames, or a codec that ffmpeg does not know.
    """
    require("imageio_ffmpeg", extra="ultrasound")
    films = require("imageio.v3", extra="ultrasound")
    with reading(path, "a film"), films.imopen(path, "r", plugin="FFMPEG") as film:
        about = film.metadata()
        frames = list(film.iter())
    if not frames:
        raise DataError(
            f"{path}: expected a film, found no frame that ffmpeg can decode "
            f"(codec {about.get('codec') or 'unknown'}).",
            hint="The file is truncated or its codec is absent; convert it to H.264 in .mp4.",
        )
    values = np.stack(frames)
    colour = values.astype(np.int16)
    if int(np.max(np.ptp(colour, axis=-1))) <= 8:
        values = np.ascontiguousarray(values[..., 1])
    fps = float(about.get("fps") or 0.0)
    times = np.arange(len(values)) / fps if fps > 0 else None
    tags = {"layout": "picture", "codec": str(about.get("codec", ""))}
    return Record("image", values, timestamps_s=times, meta=with_warnings(tags, []))


def read_gif(path: Path) -> Record:
    """Read every frame of a GIF, with the times that its frame durations give.

    Raises:
        DataError: truncated, or not a GIF.
    """
    frames, durations = [], []
    with reading(path, "a GIF"):
        try:
            with Image.open(path) as film:
                for page in ImageSequence.Iterator(film):
                    frames.append(np.asarray(page.convert("RGB")))
                    durations.append(float(page.info.get("duration", 0.0)) * 1e-3)
        except UnidentifiedImageError as err:
            raise ValueError(str(err)) from err
    times = np.concatenate([[0.0], np.cumsum(durations)[:-1]]) if min(durations) > 0 else None
    tags = with_warnings({"layout": "picture"}, [])
    return Record("image", merge_grey(np.stack(frames)), timestamps_s=times, meta=tags)


def write_mp4(
    record: Record, path: Path, *, fps: float | None = None, dynamic_range_db: float | None = None
) -> list[str]:
    """Write an image as a film; the rate is `fps`, else the mean rate of the frame times, else 25 per second.

    H.264 is lossy: measured on 21 real frames, the mean error is .55 levels, the largest 57; decibels round
    to 8 bits first (see `levels.py`).

    Returns:
        A warning when rows or columns are added, or frame times are uneven.

    Raises:
        MissingExtra: imageio-ffmpeg is not installed.
        ConfigError: the record is not an image.
    """
    ffmpeg = require("imageio_ffmpeg", extra="ultrasound")
    levels = picture_levels(record, dynamic_range_db=dynamic_range_db)
    warnings: list[str] = []
    times = record.timestamps_s
    if fps is None and times is not None and len(times) > 1 and times[-1] > times[0]:
        steps = np.diff(times)
        fps = float(1.0 / np.mean(steps))
        if np.ptp(steps) > 0.01 * np.mean(steps):
            warnings.append(
                f"a film has one rate; uneven frame times are replaced by {fps:.4g} frames per second."
            )
    odd = levels.shape[1] % 2, levels.shape[2] % 2
    if any(odd):
        levels = np.pad(levels, [(0, 0), (0, odd[0]), (0, odd[1]), (0, 0)][: levels.ndim], mode="edge")
        warnings.append(f"extended to {levels.shape[1]} x {levels.shape[2]}: H.264 needs even sizes.")
    writer = ffmpeg.write_frames(
        str(path),
        (levels.shape[2], levels.shape[1]),
        pix_fmt_in="rgb24" if levels.ndim == 4 else "gray",
        pix_fmt_out="yuv420p",
        fps=DEFAULT_FPS if fps is None else fps,
        codec="libx264",
        quality=None,
        output_params=["-crf", str(RATE_FACTOR)],
        macro_block_size=1,
    )
    try:
        writer.send(None)
        for frame in levels:
            writer.send(np.ascontiguousarray(frame))
    except OSError as err:
        raise DataError(f"ffmpeg cannot write {path}: {str(err).splitlines()[0]}") from err
    finally:
        writer.close()
    return warnings
