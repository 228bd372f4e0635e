"""HDF5 in the layout of zea 0.1: `data`, `scan`, `probe`, `metadata`.

Both the flat form and the one under `tracks/track_0` are read; the flat one is written.

| path | shape | stored as |
| --- | --- | --- |
| `data/raw_data` | (frame, tx, sample, element, ch) | int16 or float32; ch is 1 (RF) or 2 (I, Q) |
| `data/beamformed_data/values` | (frame, sample, line, ch) | float32 |
| `data/envelope_data/values` | (frame, sample, line) | float32 |
| `data/image/values` | (frame, row, col) | float32 dB or uint8 |
| `data/image_rgb/values` | (frame, row, col, 3) | uint8; a map of ours, the layout has no colour image |
| `custom/suffuse/record` | JSON text | kind, exact geometry, tags |
| `custom/suffuse/timestamps_s` | (frame,) | float64 |
| `custom/suffuse/truth/NAME` | as simulated | own type; complex as two channels with attribute `complex` |

Rounding: lines, envelopes and images of other floating types become float32, integer channel data other than
int16 too. Geometry, tags, timestamps and truth come back exactly. `scan` is written only when it is complete,
because zea refuses a partial one. Files are written with gzip; files by zea use Blosc, which needs
`hdf5plugin` to read.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.extras import require
from domains.ultrasound.data import Geometry, Kind, Record
from domains.ultrasound.formats.axes import from_channels, join_channels, reading, to_channels
from domains.ultrasound.formats.hdf5 import opened, stored, text
from domains.ultrasound.formats.tags import decode, encode, with_warnings
from domains.ultrasound.formats.zea_scan import (
    coordinates,
    geometry_from_coordinates,
    geometry_from_scan,
    probe_group,
    scan_group,
)

__all__ = ["read_zea", "write_zea"]

Array = np.ndarray[Any, np.dtype[Any]]

LAYOUT_VERSION = "0.1.0"
OURS = "custom/suffuse"
# Below this, chunks and compression cost more than they save.
SMALL_BYTES = 4096
# Where several data products are present, the one closest to what the dehazing models take is read.
PREFERRED: tuple[tuple[str, Kind], ...] = (
    ("beamformed_data", "beamformed_data"),
    ("raw_data", "raw_data"),
    ("envelope_data", "envelope_data"),
    ("image", "image"),
    ("image_rgb", "image"),
    ("image_sc", "image"),
)


def write_zea(record: Record, path: Path) -> list[str]:
    """Write a record; see the table above for types and rounding.

    Returns:
        A warning when raw data lacks the geometry that zea itself needs to open the file.
    """
    h5py = require("h5py", extra="ultrasound")
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.attrs["zea_version"] = LAYOUT_VERSION
        file.attrs["description"] = "Written by Suffuse in the zea layout."
        _write_data(file, record)
        scan, missing = scan_group(record)
        for name, value in scan.items():
            file[f"scan/{name}"] = value
        for name, value in probe_group(record.geometry).items():
            file[f"probe/{name}"] = value
        subject = record.meta.get("subject_id")
        if subject is not None:
            file["metadata/subject/id"] = str(subject)
        file[f"{OURS}/record"] = encode(record)
        if record.timestamps_s is not None:
            file[f"{OURS}/timestamps_s"] = np.asarray(record.timestamps_s)
        for name, values in record.truth.items():
            is_complex = np.iscomplexobj(values)
            node = _store(file, f"{OURS}/truth/{name}", to_channels(values) if is_complex else values)
            node.attrs["complex"] = bool(is_complex)
        for node in _datasets(file["custom"]):
            node.attrs["description"] = "Suffuse: what the zea layout has no place for."
            node.attrs["unit"] = "-"
    if missing:
        return [f"zea itself cannot open this raw data: {', '.join(missing)} unknown."]
    return []


def _write_data(file: Any, record: Record) -> None:
    values = record.values
    if record.kind == "raw_data":
        channels = to_channels(values)
        _store(file, "data/raw_data", channels if channels.dtype == np.int16 else channels.astype(np.float32))
        return
    name: str = record.kind
    if record.kind == "beamformed_data":
        values = to_channels(values).astype(np.float32)
        file["data/beamformed_data/labels"] = ["I", "Q"] if record.domain == "iq" else ["RF"]
    elif record.kind == "image" and values.ndim == 4:
        name = "image_rgb"
    elif values.dtype != np.uint8 or record.kind == "envelope_data":
        values = values.astype(np.float32)
    _store(file, f"data/{name}/values", values)
    if record.kind == "image":
        file[f"data/{name}/unit"] = "-" if values.dtype == np.uint8 else "dB"
    positions = coordinates(record)
    if positions is not None:
        _store(file, f"data/{name}/coordinates", positions)
    times = record.timestamps_s
    if times is not None and len(times) > 1 and bool(np.all(np.diff(times.astype(np.float32)) > 0)):
        file[f"data/{name}/timestamps"] = np.asarray(times - times[0], dtype=np.float32)
        file[f"data/{name}/start_time_offset"] = np.float32(times[0])


def _store(file: Any, name: str, values: Array) -> Any:
    if values.nbytes < SMALL_BYTES:
        return file.create_dataset(name, data=values)
    return file.create_dataset(name, data=values, compression="gzip", compression_opts=4, shuffle=True)


def _datasets(group: Any) -> list[Any]:
    found: list[Any] = []
    group.visititems(lambda _, node: found.append(node) if hasattr(node, "shape") else None)
    return found


def read_zea(path: Path, *, product: str | None = None) -> Record:
    """Read one data product of a file in the zea layout.

    Args:
        product: "raw_data", "beamformed_data", "envelope_data", "image"; by default the first present of
        beamformed, raw,
            envelope, image. Others are named in the warnings.

    Raises:
        DataError: truncated, no known data product, wrong axis order, or I, Q labels on one channel.
        MissingExtra: Blosc compression without `hdf5plugin`.
    """
    warnings: list[str] = []
    with opened(path) as file, reading(path, "the zea layout"):
        root = _track(file, path, warnings)
        name, kind = _choose(root.get("data", {}), path, product, warnings)
        node = root["data"][name]
        group = node if hasattr(node, "keys") else {"values": node}
        if "values" not in group:
            raise DataError(
                f"{path}: expected 'values' in 'data/{name}', found {', '.join(group) or 'nothing'}."
            )
        values = stored(group["values"])
        ours = file.get(OURS, {})
        if "record" in ours:
            kind, domain, geometry, meta = decode(text(ours["record"]), where=str(path))
        else:
            domain, geometry, meta = _foreign(file, root, group, kind, warnings)
        if kind in ("raw_data", "beamformed_data"):
            iq = None if domain is None else domain == "iq"
            values = from_channels(values, kind=kind, where=f"{path} (data/{name})", iq=iq)
        times = stored(ours["timestamps_s"]) if "timestamps_s" in ours else _times(group)
        truth = {key: _truth(item) for key, item in ours["truth"].items()} if "truth" in ours else {}
        truth.update(_segmentation(root["data"]))
        return Record(kind, values, geometry, times, truth, with_warnings(meta, warnings))


def _track(file: Any, path: Path, warnings: list[str]) -> Any:
    for holder, first in (("tracks", "track_0"), (None, "event_0")):
        group = file[holder] if holder and holder in file else file
        if first in group:
            names = [key for key in group if key.startswith(first.split("_")[0])]
            if len(names) > 1:
                warnings.append(f"the file holds {len(names)} acquisitions; '{first}' is read.")
            return group[first]
    if "data" not in file:
        raise DataError(
            f"{path}: expected a group 'data' (zea layout), found {', '.join(file) or 'nothing'}."
        )
    return file


def _choose(data: Any, path: Path, product: str | None, warnings: list[str]) -> tuple[str, Kind]:
    present = [(name, kind) for name, kind in PREFERRED if name in data]
    wanted = [(name, kind) for name, kind in present if product in (None, kind)]
    if not wanted:
        expected = product or ", ".join(name for name, _ in PREFERRED)
        raise DataError(f"{path}: expected {expected} in 'data', found {', '.join(data) or 'nothing'}.")
    others = [name for name, _ in present if name != wanted[0][0]]
    if others and product is None:
        warnings.append(f"{wanted[0][0]} is read; the file also holds {', '.join(others)}.")
    return wanted[0]


def _foreign(
    file: Any, root: Any, group: Any, kind: Kind, warnings: list[str]
) -> tuple[str | None, Geometry, dict[str, Any]]:
    """Domain, geometry and tags of a file that another program wrote."""
    groups = {}
    for name in ("scan", "probe"):
        found = root[name] if name in root else file.get(name, {})
        groups[name] = {
            key: text(item) if item.dtype.kind in "OS" else stored(item)
            for key, item in found.items()
            if hasattr(item, "shape")
        }
    geometry, notes = geometry_from_scan(groups["scan"], groups["probe"])
    warnings += notes
    if "coordinates" in group:
        fields = geometry_from_coordinates(stored(group["coordinates"]), kind=kind)
        geometry = Geometry(**{**vars(geometry), **fields})
    labels = (
        [item.decode() if isinstance(item, bytes) else str(item) for item in group["labels"][()]]
        if "labels" in group
        else []
    )
    domain = "iq" if labels[:2] == ["I", "Q"] else "rf" if labels == ["RF"] else None
    meta: dict[str, Any] = {}
    if "metadata/subject/id" in file:
        meta["subject_id"] = text(file["metadata/subject/id"])
    name = groups["probe"].get("name", file.attrs.get("probe"))
    if name is not None:
        meta["probe_name"] = str(name)
    return domain, geometry, meta


def _times(group: Any) -> Array | None:
    if "timestamps" not in group:
        return None
    start = float(group["start_time_offset"][()]) if "start_time_offset" in group else 0.0
    return stored(group["timestamps"]).astype(np.float64) + start


def _truth(node: Any) -> Array:
    values = stored(node)
    return join_channels(values) if bool(node.attrs.get("complex", False)) else values


def _segmentation(data: Any) -> dict[str, Array]:
    """Masks (frame, sample, line) by label, from zea's `segmentation` group."""
    if "segmentation" not in data or "labels" not in data["segmentation"]:
        return {}
    values = stored(data["segmentation"]["values"]).astype(bool)
    labels = [
        item.decode() if isinstance(item, bytes) else str(item) for item in data["segmentation"]["labels"][()]
    ]
    return {label: values[..., index] for index, label in enumerate(labels)} if values.ndim == 4 else {}
