"""UFF files of the UltraSound ToolBox, read through the optional package `pyuff_ustb`.

`channel_data` becomes raw_data; otherwise `beamformed_data` on a linear or sector scan becomes lines. UFF
orders channel data (sample, channel, wave, frame) and beamformed pixels with depth running fastest.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.extras import require
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.hdf5 import opened, stored
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_uff"]

Array = np.ndarray[Any, np.dtype[Any]]


def read_uff(path: Path, *, name: str | None = None) -> Record:
    """Read channel data, or beamformed lines.

    Args:
        name: the object in the file; by default the first channel data, else the first beamformed data.

    Raises:
        MissingExtra: `pyuff_ustb` is not installed.
        DataError: no object of these classes, or a scan that is neither linear nor a sector.
    """
    pyuff = require("pyuff_ustb", extra="pyuff_ustb")
    with opened(path) as file:
        classes = {key: _class(node) for key, node in file.items()}
    found = [
        key for kind in ("uff.channel_data", "uff.beamformed_data") for key in classes if classes[key] == kind
    ]
    chosen = name if name is not None else (found[0] if found else None)
    if chosen not in found:
        raise DataError(
            f"{path}: expected {repr(name) if name else 'uff.channel_data or uff.beamformed_data'}, "
            f"found {', '.join(f'{key} ({kind})' for key, kind in classes.items()) or 'nothing'}."
        )
    warnings = (
        [f"'{chosen}' is read; the file also holds {', '.join(found[1:])}."]
        if name is None and found[1:]
        else []
    )
    with reading(path, "a UFF file"):
        item = pyuff.Uff(str(path)).read(chosen)
        if isinstance(item, list):
            item = item[0]
        if classes[chosen] == "uff.channel_data":
            return _channels(item, path, warnings)
        with opened(path) as file:
            pixels = _pixels(file[chosen]["data"])
        return _lines(item, pixels, path, warnings)


def _class(node: Any) -> str:
    value = node.attrs.get("class", b"")
    return value.decode() if isinstance(value, bytes) else str(value)


def _channels(item: Any, path: Path, warnings: list[str]) -> Record:
    data = np.asarray(item.data)
    data = data.reshape(data.shape + (1,) * (4 - data.ndim))
    values = np.ascontiguousarray(data.transpose(3, 2, 0, 1))
    frequency = float(item.modulation_frequency or 0.0)
    is_iq = np.iscomplexobj(values) and bool(np.any(values.imag))
    elements = np.stack([item.probe.x, item.probe.y, item.probe.z], axis=1)
    if elements.shape[0] != values.shape[3]:
        raise DataError(f"{path}: expected {elements.shape[0]} channels, read shape {data.shape}.")
    waves = item.sequence if isinstance(item.sequence, list) else [item.sequence]
    planes = [wave for wave in waves if wave is not None and "plane" in str(wave.wavefront)]
    delays = {float(wave.delay or 0.0) for wave in waves if wave is not None}
    if len(delays) > 1:
        warnings.append("waves start at different times; the first wave's time is used.")
    pulse = item.pulse
    geometry = Geometry(
        fs_hz=float(item.sampling_frequency),
        f0_hz=float(pulse.center_frequency) if pulse is not None else (frequency or None),
        fd_hz=frequency if is_iq else 0.0,
        sound_speed_m_s=float(item.sound_speed),
        t0_s=float(item.initial_time or 0.0)
        + (float(waves[0].delay or 0.0) if waves[0] is not None else 0.0),
        prf_hz=None if item.PRF is None else float(item.PRF),
        elements_m=elements.astype(np.float64),
        element_width_m=float(item.probe.geometry[5][0]) or None,
        tx_angles_rad=np.array([wave.source.azimuth for wave in planes])
        if len(planes) == values.shape[1]
        else None,
    )
    values = values.astype(np.complex64) if is_iq else values.real.astype(np.float32)
    return Record("raw_data", values, geometry, meta=with_warnings({}, warnings))


def _pixels(node: Any) -> Array:
    """Pixel data (frame, wave, channel, pixel), as HDF5 stores MATLAB's (pixel, channel, wave, frame)."""
    values = stored(node["real"]) + 1j * stored(node["imag"]) if hasattr(node, "keys") else stored(node)
    return values.reshape((1,) * (4 - values.ndim) + values.shape)


def _lines(item: Any, pixels: Array, path: Path, warnings: list[str]) -> Record:
    scan = item.scan[0] if isinstance(item.scan, list) else item.scan
    sector = hasattr(scan, "azimuth_axis")
    if not sector and not hasattr(scan, "x_axis"):
        raise DataError(f"{path}: expected a linear or sector scan, found {type(scan).__name__}.")
    depth = np.asarray(scan.depth_axis if sector else scan.z_axis, dtype=np.float64).ravel()
    across = np.asarray(scan.azimuth_axis if sector else scan.x_axis, dtype=np.float64).ravel()
    if pixels.shape[-1] != depth.size * across.size:
        raise DataError(
            f"{path}: wrong axis order: expected {depth.size} x {across.size} pixels, "
            f"read {pixels.shape[-1]}."
        )
    if pixels.shape[1:3] != (1, 1):
        warnings.append(f"{pixels.shape[1]} waves and {pixels.shape[2]} channels are summed.")
    values = pixels.sum(axis=(1, 2)).reshape(len(pixels), across.size, depth.size).transpose(0, 2, 1)
    is_iq = np.iscomplexobj(values) and bool(np.any(values.imag))
    values = values.astype(np.complex64) if is_iq else values.real.astype(np.float32)
    place: dict[str, Any] = (
        {"probe": "phased", "angles_rad": across, "apex_m": 0.0}
        if sector
        else {"probe": "linear", "lateral_m": across}
    )
    frequency = item.modulation_frequency
    geometry = Geometry(
        r0_m=float(depth[0]),
        r1_m=float(depth[-1]),
        fs_hz=None if item.sampling_frequency is None else float(item.sampling_frequency),
        fd_hz=None if frequency is None else float(frequency) if is_iq else 0.0,
        **place,
    )
    return Record("beamformed_data", np.ascontiguousarray(values), geometry, meta=with_warnings({}, warnings))
