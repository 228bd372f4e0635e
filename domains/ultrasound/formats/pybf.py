"""The HDF5 layout of pybf: Field II plane waves, one dataset per shot.

`data/rf_data/frame_N/shot_M` (element, sample); `data/tx_mode/PW_*` angles in rad; `data/f_sampling`,
`data/correction_time_shift`; `trans_params`: centre frequency, fractional bandwidth, element count, pitch,
width. `sim_params/scatters_data` (3, scatterer) is kept as truth "scatterers_m" (scatterer, 3).

Time: the file's correction time shift is minus the time of the first sample, counted from the moment at which
the plane wave passes the array centre and measured to the middle of the pulse. A positive angle tilts towards
+x: the wave reaches (x, z) at (z cos a + x sin a) / c. Both were checked against the known scatterers of the
supplied file.
"""

import re
from pathlib import Path

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.hdf5 import opened, scalar, stored
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["read_pybf"]


def read_pybf(path: Path) -> Record:
    """Read plane-wave channel data, int16 as stored, as raw_data (frame, tx, sample, element).

    The sound speed is not in the file and stays unknown.

    Raises:
        DataError: groups are missing, or shots differ in size.
    """
    with opened(path) as file, reading(path, "the pybf layout"):
        rf, probe = file["data/rf_data"], file["trans_params"]
        frames = []
        for frame in sorted(rf, key=_number):
            shots = [stored(rf[frame][shot]) for shot in sorted(rf[frame], key=_number)]
            sizes = {shot.shape for shot in shots}
            if len(sizes) != 1 or shots[0].ndim != 2:
                raise DataError(
                    f"{path}: expected shots (element, sample) of one size, found {sorted(sizes)}."
                )
            frames.append(np.stack(shots))
        if not frames or len({frame.shape for frame in frames}) != 1:
            raise DataError(
                f"{path}: expected frames of one size, found {[frame.shape for frame in frames]}."
            )
        values = np.ascontiguousarray(np.stack(frames).transpose(0, 1, 3, 2))
        n_el = int(scalar(probe["x_num_of_elements"]))
        if n_el != values.shape[3]:
            raise DataError(
                f"{path}: expected {n_el} elements in (element, sample), read shape {values.shape[:1:-1]}."
            )
        x = (np.arange(n_el) - (n_el - 1) / 2) * scalar(probe["x_pitch"])
        modes = [stored(node).ravel() for name, node in file["data/tx_mode"].items() if name.startswith("PW")]
        angles = modes[0] if modes and modes[0].size == values.shape[1] else None
        geometry = Geometry(
            probe="linear",
            fs_hz=scalar(file["data/f_sampling"]),
            f0_hz=scalar(probe["f_central"]),
            fd_hz=0.0,
            bandwidth=scalar(probe["bandwidth"]),
            t0_s=-scalar(file["data/correction_time_shift"]),
            elements_m=np.stack([x, np.zeros(n_el), np.zeros(n_el)], axis=1),
            element_width_m=scalar(probe["x_width"]),
            tx_angles_rad=angles,
        )
        truth = {}
        if "sim_params/scatters_data" in file:
            truth["scatterers_m"] = np.ascontiguousarray(stored(file["sim_params/scatters_data"]).T)
    warnings = (
        []
        if angles is not None
        else ["the transmit angles do not match the number of shots and are left out."]
    )
    return Record("raw_data", values, geometry, truth=truth, meta=with_warnings({}, warnings))


def _number(name: str) -> int:
    found = re.search(r"(\d+)$", name)
    return int(found.group(1)) if found else 0
