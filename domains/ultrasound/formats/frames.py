"""A folder of frames: pictures, or files that hold frames of one size, in natural order of their names."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import ConfigError, DataError
from domains.ultrasound.data import Record
from domains.ultrasound.formats.levels import picture_levels
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_folder", "write_folder"]


def read_folder(path: Path, *, accepts: Callable[[Path], bool], read_one: Callable[[Path], Record]) -> Record:
    """Read the frames of every file of `path` as one record; geometry and tags are those of the first file.

    Args:
        accepts: whether a file is of a known type; others are skipped with a warning, hidden files without.
        read_one: reads one file.

    Raises:
        DataError: no frames, or two files that differ in kind, size or type; names the first two that do.
    """
    visible = sorted(
        (item for item in path.iterdir() if item.is_file() and item.name[0] != "."), key=_natural
    )
    files = [item for item in visible if accepts(item)]
    if not files:
        raise DataError(
            f"{path}: expected a folder of pictures or frames, found none among {len(visible)} files."
        )
    first = read_one(files[0])
    warnings = list(first.meta.get("warnings", []))
    skipped = len(visible) - len(files)
    if skipped:
        warnings.append(f"{skipped} files of unknown type in the folder are skipped.")
    parts = [first.values]
    for file in files[1:]:
        record = read_one(file)
        if (record.kind, record.values.shape[1:], record.values.dtype) != (
            first.kind,
            first.values.shape[1:],
            first.values.dtype,
        ):
            raise DataError(
                f"{path}: frames differ: {files[0].name} is {_about(first)}, "
                f"{file.name} is {_about(record)}; expected one size and type.",
                hint="Move files of another size to another folder.",
            )
        warnings += [note for note in record.meta.get("warnings", []) if note not in warnings]
        parts.append(record.values)
    tags = with_warnings({**first.meta, "files": len(files)}, warnings)
    times = first.timestamps_s if len(files) == 1 else None
    return Record(first.kind, np.concatenate(parts), first.geometry, times, meta=tags)


def write_folder(record: Record, path: Path, *, dynamic_range_db: float | None = None) -> list[str]:
    """Write every frame of an image as frame_0000.png and so on into a new folder `path`.

    Raises:
        ConfigError: the folder exists, or the record is not an image.
    """
    levels = picture_levels(record, dynamic_range_db=dynamic_range_db)
    if path.exists():
        raise ConfigError(f"{path} exists.", hint="Name a folder that does not exist yet.")
    path.mkdir()
    for index, frame in enumerate(levels):
        Image.fromarray(np.ascontiguousarray(frame)).save(path / f"frame_{index:04d}.png")
    return []


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]


def _about(record: Record) -> str:
    return f"{record.kind} {' x '.join(map(str, record.values.shape[1:]))} {record.values.dtype}"
