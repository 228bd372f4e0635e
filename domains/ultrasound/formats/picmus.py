"""The HDF5 layout of the PICMUS challenge.

`US/US_DATASET0000` holds `data/real` and `data/imag` (tx, element, sample), `angles` (rad), `initial_time`
(s), `modulation_frequency` (Hz, 0 for RF), `PRF`, `probe_geometry` (3, element), `sampling_frequency`,
`sound_speed`. Data with an imaginary part that is zero everywhere are RF.
"""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.hdf5 import opened, scalar, stored
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_picmus"]


def read_picmus(path: Path) -> Record:
    """Read plane-wave channel data as raw_data (frame, tx, sample, element), complex64 or float32.

    Raises:
        DataError: groups are missing, or the axes do not match the number of angles and elements.
    """
    with opened(path) as file, reading(path, "the PICMUS layout"):
        names = sorted(file["US"])
        if not names:
            raise DataError(f"{path}: expected a dataset in the group 'US', found none.")
        data = file["US"][names[0]]
        if "data" not in data or "real" not in data["data"]:
            raise DataError(
                f"{path}: expected channel data 'US/{names[0]}/data/real', found {', '.join(data)}."
            )
        real, imag = stored(data["data"]["real"]), stored(data["data"]["imag"])
        angles, elements = stored(data["angles"]).astype(np.float64).ravel(), stored(data["probe_geometry"])
        if elements.shape[0] == 3:
            elements = elements.T
        expected = (angles.size, elements.shape[0])
        if real.ndim != 3 or real.shape[:2] != expected or imag.shape != real.shape:
            raise DataError(
                f"{path}: expected (tx, element, sample) with {expected[0]} angles and "
                f"{expected[1]} elements, read shape {real.shape}."
            )
        is_iq = bool(np.any(imag))
        values = (real + 1j * imag).astype(np.complex64) if is_iq else real.astype(np.float32)
        frequency = _value(data, "modulation_frequency")
        geometry = Geometry(
            probe="linear",
            fs_hz=_value(data, "sampling_frequency"),
            f0_hz=frequency or None,
            fd_hz=frequency if is_iq else 0.0,
            sound_speed_m_s=_value(data, "sound_speed"),
            t0_s=_value(data, "initial_time"),
            prf_hz=_value(data, "PRF") or None,
            elements_m=elements.astype(np.float64),
            tx_angles_rad=angles,
        )
    warnings = [f"the file holds {len(names)} datasets; '{names[0]}' is read."] if len(names) > 1 else []
    record = Record("raw_data", values.transpose(0, 2, 1)[None], geometry, meta=with_warnings({}, warnings))
    return record.with_values(np.ascontiguousarray(record.values))


def _value(group: Any, name: str) -> float | None:
    return scalar(group[name]) if name in group else None
