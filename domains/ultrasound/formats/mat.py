"""MATLAB `.mat` files: version 5 through SciPy, version 7.3 (HDF5) through h5py.

A MUST file holds `RF` or `IQ` (sample, element, transmit or frame) and a structure `param`: `fs`, `fc`, `c`,
`t0`, `PRF`, `bandwidth` (%), `pitch`, `width` or `kerf`, `Nelements`, `radius` (curvilinear), `TXdelay` (tx,
element). When `TXdelay` has one row, the third axis counts frames; when it has as many rows as the third axis
is long, that axis counts transmits of one frame.

A damaged version 5 file can crash SciPy itself; there is no check that prevents it.

Any other file must hold one numeric array with 2 to 4 axes (or `variable` names it): its last axis counts
frames, as MATLAB stores them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.extras import require
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import guess_kind, reading
from domains.ultrasound.formats.hdf5 import opened, stored
from domains.ultrasound.formats.picmus import read_picmus
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_mat"]

Array = np.ndarray[Any, np.dtype[Any]]


def read_mat(path: Path, *, variable: str | None = None) -> Record:
    """Read channel data of MUST or PICMUS, or an array that says by its values what it is.

    Channel data keep their type; complex data become complex64. An integer `t0`, `fc` and the like is read as
    a float.

    Args:
        variable: the array to read from a file that is neither; needed when it holds several.

    Raises:
        DataError: truncated, no array or several, or sizes that contradict `param`.
    """
    with open(path, "rb") as file:
        is_hdf5 = file.read(10).startswith((b"MATLAB 7.3", b"\x89HDF"))
    if is_hdf5:
        with opened(path) as file:
            if "US" in file:
                return read_picmus(path)
        content = _load_hdf5(path)
    else:
        content = _load_v5(path)
    param = content.get("param")
    echoes = next((name for name in ("RF", "IQ") if isinstance(content.get(name), np.ndarray)), None)
    if variable is None and isinstance(param, Mapping) and echoes is not None:
        return _must(content[echoes], param, path)
    return _array(content, variable, path)


def _load_v5(path: Path) -> dict[str, Any]:
    """Variables of a version 5 file; structures become dictionaries."""
    io = require("scipy.io", extra="ultrasound")
    with reading(path, "a MATLAB file"):
        try:
            found = io.loadmat(path, squeeze_me=False)
        except (io.matlab.MatReadError, AssertionError) as err:
            raise ValueError(str(err) or "damaged variable") from err
    return {name: _structure(value) for name, value in found.items() if not name.startswith("__")}


def _structure(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:
        item = value.reshape(-1)[0]
        return {name: _structure(item[name]) for name in value.dtype.names}
    return value


def _load_hdf5(path: Path) -> dict[str, Any]:
    """Variables of a version 7.3 file in MATLAB's axis order; structures become dictionaries."""

    def load(node: Any) -> Any:
        if hasattr(node, "keys"):
            return {key: load(item) for key, item in node.items()}
        values = stored(node)
        if values.dtype.names == ("real", "imag"):
            values = (values["real"] + 1j * values["imag"]).astype(np.complex64)
        return values.T

    with opened(path) as file, reading(path, "a MATLAB 7.3 file"):
        return {name: load(node) for name, node in file.items() if not name.startswith("#")}


def _must(echoes: Array, param: Mapping[str, Any], path: Path) -> Record:
    """Channel data with the `param` structure of MUST."""
    if echoes.ndim not in (2, 3) or echoes.dtype.kind not in "iufc":
        raise DataError(
            f"{path}: expected channel data (sample, element[, transmit]), read shape {echoes.shape}."
        )
    block = echoes.reshape(*echoes.shape[:2], -1)
    n_el = _number(param, "Nelements")
    if n_el is not None and block.shape[1] != int(n_el):
        raise DataError(
            f"{path}: wrong axis order or size: expected (sample, element, transmit) "
            f"with {int(n_el)} elements, read shape {echoes.shape}."
        )
    block = block.transpose(2, 0, 1)
    delays = np.atleast_2d(np.asarray(param["TXdelay"], dtype=np.float64)) if "TXdelay" in param else None
    if delays is not None and delays.shape[1] != block.shape[2]:
        raise DataError(f"{path}: expected TXdelay (tx, {block.shape[2]}), read shape {delays.shape}.")
    n_tx = 1 if delays is None else len(delays)
    if block.shape[0] % n_tx:
        raise DataError(f"{path}: {block.shape[0]} recordings do not divide into {n_tx} transmits per frame.")
    values = np.ascontiguousarray(block.reshape(-1, n_tx, *block.shape[1:]))
    if np.iscomplexobj(values):
        values = values.astype(np.complex64)
    prf = _number(param, "PRF")
    f0 = _number(param, "fc")
    bandwidth = _number(param, "bandwidth")
    elements = _elements(param, block.shape[2])
    radius = _number(param, "radius")
    width, pitch, kerf = _number(param, "width"), _number(param, "pitch"), _number(param, "kerf")
    if width is None and pitch is not None and kerf is not None:
        width = pitch - kerf
    geometry = Geometry(
        probe="curvilinear" if radius is not None and math.isfinite(radius) else "linear",
        fs_hz=_number(param, "fs"),
        f0_hz=f0,
        fd_hz=f0 if np.iscomplexobj(values) else 0.0,
        bandwidth=None if bandwidth is None else bandwidth / 100,
        sound_speed_m_s=_number(param, "c"),
        t0_s=_number(param, "t0"),
        prf_hz=prf,
        elements_m=elements,
        element_width_m=width,
        tx_delays_s=delays,
        tx_angles_rad=np.zeros(n_tx) if delays is not None and not np.any(delays) else None,
    )
    times = None if prf is None else np.arange(len(values)) * (n_tx / prf)
    return Record("raw_data", values, geometry, times, meta=with_warnings({}, []))


def _elements(param: Mapping[str, Any], n_el: int) -> Array | None:
    """Element positions (element, 3) in m: even on a line, or on an arc whose outer elements lie at z = 0."""
    pitch, radius = _number(param, "pitch"), _number(param, "radius")
    if pitch is None:
        return None
    index = np.arange(n_el) - (n_el - 1) / 2
    if radius is None or not math.isfinite(radius):
        return np.stack([index * pitch, np.zeros(n_el), np.zeros(n_el)], axis=1)
    angle = index * 2 * math.asin(pitch / (2 * radius))
    return np.stack(
        [radius * np.sin(angle), np.zeros(n_el), radius * (np.cos(angle) - np.cos(angle[0]))], axis=1
    )


def _number(param: Mapping[str, Any], name: str) -> float | None:
    value = np.asarray(param.get(name, []))
    return float(value.flat[0]) if value.size == 1 and value.dtype.kind in "iufb" else None


def _array(content: Mapping[str, Any], variable: str | None, path: Path) -> Record:
    """One array (row, col[, frame]) or (sample, element, tx, frame), frames first in the record."""
    arrays = {
        name: value
        for name, value in content.items()
        if isinstance(value, np.ndarray)
        and value.dtype.kind in "iufc"
        and 2 <= value.ndim <= 4
        and min(value.shape) > 0
    }
    arrays = {
        name: value
        for name, value in arrays.items()
        if name == variable or (variable is None and value.size > 1)
    }
    if len(arrays) != 1:
        wanted = f"named {variable!r}" if variable else "(or RF and param of MUST)"
        raise DataError(
            f"{path}: expected one array {wanted}, found {', '.join(arrays or content) or 'nothing'}.",
            hint="Name the array to read, or save it alone.",
        )
    name, value = next(iter(arrays.items()))
    block = value[..., None] if value.ndim == 2 else value
    values = np.ascontiguousarray(np.moveaxis(block, -1, 0))
    if values.ndim == 4:
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    kind = guess_kind(values, where=f"{path} ({name})")
    warning = f"'{name}' is taken as {kind} from its type, sign and shape {value.shape}."
    return Record(kind, values, meta=with_warnings({"variable": name}, [warning]))
