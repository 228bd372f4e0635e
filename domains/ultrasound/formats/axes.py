"""Axis orders of ultrasound arrays in files: complex values as two channels, unlabelled arrays.

Files store I and Q as two channels on the last axis; in memory a line is complex. A real array gets one
channel where the layout demands a channel axis.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError, SuffuseError
from domains.ultrasound.data import Kind

__all__ = ["ORDER", "from_channels", "guess_kind", "join_channels", "reading", "to_channels"]

Array = np.ndarray[Any, np.dtype[Any]]

# What the libraries raise on files that are cut off or hold other bytes than they claim.
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
ORDER: dict[str, str] = {
    "raw_data": "(frame, tx, sample, element, channel)",
    "beamformed_data": "(frame, sample, line, channel)",
    "envelope_data": "(frame, sample, line)",
    "image": "(frame, row, col[, 3])",
}


def to_channels(values: Array) -> Array:
    """Values with a last axis of 2 channels (I, Q) for complex input, of 1 channel for real input. Exact."""
    if np.iscomplexobj(values):
        return np.stack([values.real, values.imag], axis=-1)
    return values[..., None]


def from_channels(values: Array, *, kind: Kind, where: str, iq: bool | None = None) -> Array:
    """Complex or real values from an array whose last axis holds 1 (RF) or 2 (I, Q) channels.

    Args:
        kind: raw_data or beamformed_data; sets the axis order that is expected.
        where: the file or dataset that messages name.
        iq: what the file says: True for IQ, False for RF, None when only the number of channels tells.

    Raises:
        DataError: the channel count contradicts `iq`, or the axes are not in the expected order.
    """
    rank = 5 if kind == "raw_data" else 4
    read = f"read shape {values.shape}"
    if np.iscomplexobj(values) and values.ndim == rank - 1:
        return values
    if values.ndim != rank or values.shape[-1] not in (1, 2):
        raise DataError(
            f"{where}: {kind} must have axes {ORDER[kind]} with 1 (RF) or 2 (I, Q) channels, {read}.",
            hint="Transpose the array so that the channel axis comes last.",
        )
    if iq and values.shape[-1] == 1 and not np.iscomplexobj(values):
        raise DataError(
            f"{where}: complex data needs 2 channels (I, Q) on the last axis of {ORDER[kind]}, {read}.",
            hint="Store I and Q as two channels, or mark the data as RF.",
        )
    if values.shape[-1] == 1:
        return values[..., 0]
    if iq is False:
        raise DataError(f"{where}: RF data has 1 channel on the last axis of {ORDER[kind]}, {read}.")
    return join_channels(values)


def join_channels(values: Array) -> Array:
    """Complex values from a last axis of (I, Q): complex128 from float64, complex64 from anything else."""
    dtype = np.complex128 if values.dtype == np.float64 else np.complex64
    out = np.empty(values.shape[:-1], dtype=dtype)
    out.real, out.imag = values[..., 0], values[..., 1]
    return out


def guess_kind(values: Array, *, where: str) -> Kind:
    """The kind that an array without a label must be, from its type, sign and rank.

    uint8, or values <= 0 with 3 axes: image. Complex or signed with 3 axes: beamformed_data. Non-negative
    with 3 axes: envelope_data. Signed or complex with 4 axes: raw_data.

    Raises:
        DataError: nothing fits.
    """
    if values.dtype.kind not in "uifc" or values.size == 0:
        raise DataError(f"{where}: expected numbers, read {values.dtype} with shape {values.shape}.")
    if values.dtype == np.uint8 and values.ndim in (3, 4):
        return "image"
    if values.ndim == 4:
        return "raw_data"
    if values.ndim == 3:
        if np.iscomplexobj(values):
            return "beamformed_data"
        if values.max() <= 0:
            return "image"
        return "envelope_data" if values.min() >= 0 else "beamformed_data"
    raise DataError(
        f"{where}: cannot tell what an array of shape {values.shape} is; expected 3 or 4 axes, frames first.",
        hint="Add the missing axis of length 1, or label the array with its kind.",
    )


@contextmanager
def reading(path: Path, what: str, *, quote: bool = True) -> Iterator[None]:
    """Turn what a library raises on a damaged file into a DataError that names path and expectation.

    With `quote` off the library's own message, which may cite the content of the file, is left out.
    """
    try:
        yield
    except SuffuseError:
        raise
    except DAMAGE as err:
        first = str(err).splitlines()[0] if quote and str(err) else type(err).__name__
        raise DataError(
            f"{path} cannot be read as {what}: {first}",
            hint="The file is damaged, truncated or of another type; copy it again from its source.",
        ) from err
