"""NumPy archives: `data`, `meta` (JSON text), `timestamps_s`, and one `truth_<name>` per truth array.

IQ is stored as two channels on a last axis, so that no reader needs a complex type: `data` of raw_data and
beamformed_data always ends in a channel axis of 1 (RF) or 2 (I, Q). Every round trip is exact. A plain `.npy`
file, or an archive with `data` but no `meta`, is read by guessing the kind from type, sign and rank. Nothing
is ever unpickled.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import from_channels, guess_kind, join_channels, reading, to_channels
from domains.ultrasound.formats.tags import decode, encode, with_warnings

__all__ = ["read_npz", "write_npz"]

Array = np.ndarray[Any, np.dtype[Any]]
LINES = ("raw_data", "beamformed_data")


def write_npz(record: Record, path: Path) -> list[str]:
    """Write a record, exactly. Returns no warnings."""
    arrays: dict[str, Array] = {"data": to_channels(record.values) if record.kind in LINES else record.values}
    arrays["meta"] = np.array(encode(record))
    if record.timestamps_s is not None:
        arrays["timestamps_s"] = np.asarray(record.timestamps_s)
    for name, values in record.truth.items():
        arrays[f"truth_{name}"] = to_channels(values) if np.iscomplexobj(values) else values
        if np.iscomplexobj(values):
            arrays[f"complex_{name}"] = np.array(True)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return []


def read_npz(path: Path) -> Record:
    """Read what `write_npz` wrote, or a foreign array whose kind its values tell.

    Raises:
        DataError: truncated, pickled objects inside, no `data`, channels that contradict the stored domain.
    """
    with reading(path, "a NumPy archive"):
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _unlabelled(loaded, path)
        with loaded as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    if "data" not in arrays:
        raise DataError(
            f"{path}: expected an array named 'data', found {', '.join(sorted(arrays)) or 'nothing'}.",
            hint="Save it with np.savez(path, data=..., meta=...).",
        )
    if "meta" not in arrays:
        return _unlabelled(arrays["data"], path)
    kind, domain, geometry, meta = decode(str(arrays["meta"]), where=str(path))
    values = arrays["data"]
    if kind in LINES:
        iq = None if domain is None else domain == "iq"
        values = from_channels(values, kind=kind, where=str(path), iq=iq)
    truth = {}
    for key, array in arrays.items():
        if key.startswith("truth_"):
            name = key.removeprefix("truth_")
            truth[name] = join_channels(array) if f"complex_{name}" in arrays else array
    return Record(
        kind=kind,
        values=values,
        geometry=geometry,
        timestamps_s=arrays.get("timestamps_s"),
        truth=truth,
        meta=with_warnings(meta, []),
    )


def _unlabelled(values: Array, path: Path) -> Record:
    kind = guess_kind(values, where=str(path))
    warning = (
        f"the file does not say what it holds; taken as {kind} from its type, sign and shape {values.shape}."
    )
    return Record(kind=kind, values=values, geometry=Geometry(), meta=with_warnings({}, [warning]))
