"""Geometry to and from the `scan` and `probe` groups and the pixel coordinates of the zea layout.

zea counts transmit time from the first element that fires; here a plane wave passes the array centre at t =
0. The two differ by min(x sin(angle)) / c per transmit, which is added on writing. On reading, the delays
come along and times are kept as the file gives them. zea stores float32; the exact geometry travels beside it
(see `zea.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from domains.ultrasound.data import Geometry, Record

__all__ = ["coordinates", "geometry_from_coordinates", "geometry_from_scan", "probe_group", "scan_group"]

Array = np.ndarray[Any, np.dtype[Any]]

PROBE_NAMES = {"linear": "linear", "phased": "phased", "curved": "curvilinear", "curvilinear": "curvilinear"}
# Positions in zea files are float32: columns that agree to 1e-6 m are the same column.
SAME_M = 1e-6


def scan_group(record: Record) -> tuple[dict[str, Array], list[str]]:
    """The datasets of `scan`, or none of them and the names of the geometry fields that zea would miss."""
    g = record.geometry
    if record.kind != "raw_data":
        return {}, []
    missing = g.missing("fs_hz", "f0_hz", "t0_s", "elements_m")
    if g.tx_delays_s is None:
        missing += g.missing("tx_angles_rad", "sound_speed_m_s")
    if missing:
        return {}, missing
    assert g.elements_m is not None
    assert g.t0_s is not None
    n_tx, n_el = record.values.shape[1], record.values.shape[3]
    angles = np.zeros(n_tx) if g.tx_angles_rad is None else np.asarray(g.tx_angles_rad)
    initial = np.full(n_tx, g.t0_s)
    if g.tx_delays_s is not None:
        delays = np.asarray(g.tx_delays_s)
    else:
        assert g.sound_speed_m_s is not None
        passing = np.sin(angles)[:, None] * np.asarray(g.elements_m)[:, 0] / g.sound_speed_m_s
        delays = passing - passing.min(axis=1, keepdims=True)
        initial = initial - passing.min(axis=1)
    values = {
        "sampling_frequency": g.fs_hz,
        "center_frequency": g.f0_hz,
        "demodulation_frequency": 0.0 if g.fd_hz is None else g.fd_hz,
        "initial_times": initial,
        "t0_delays": delays,
        "tx_apodizations": np.ones((n_tx, n_el)),
        "focus_distances": np.full(n_tx, np.inf),
        "transmit_origins": np.zeros((n_tx, 3)),
        "polar_angles": angles,
    }
    if g.sound_speed_m_s is not None:
        values["sound_speed"] = g.sound_speed_m_s
    return {name: np.asarray(value, dtype=np.float32) for name, value in values.items()}, []


def probe_group(geometry: Geometry) -> dict[str, Any]:
    """The datasets of `probe`; zea calls a curvilinear probe "curved"."""
    out: dict[str, Any] = {}
    if geometry.probe is not None:
        out["type"] = "curved" if geometry.probe == "curvilinear" else geometry.probe
    if geometry.elements_m is not None:
        out["probe_geometry"] = np.asarray(geometry.elements_m, dtype=np.float32)
    if geometry.element_width_m is not None:
        out["element_width"] = np.float32(geometry.element_width_m)
    if geometry.bandwidth is not None:
        out["probe_bandwidth_percent"] = np.float32(100 * geometry.bandwidth)
    return out


def geometry_from_scan(scan: Mapping[str, Any], probe: Mapping[str, Any]) -> tuple[Geometry, list[str]]:
    """Geometry from the arrays of `scan` and `probe`, and warnings about what it cannot hold."""
    warnings: list[str] = []

    def one(group: Mapping[str, Any], name: str) -> float | None:
        if name not in group:
            return None
        values = np.unique(np.asarray(group[name], dtype=np.float64))
        if values.size > 1:
            warnings.append(
                f"{name} differs between transmits ({values[0]:.6g} to {values[-1]:.6g}); the first is used."
            )
        return float(np.asarray(group[name], dtype=np.float64).flat[0])

    def array(group: Mapping[str, Any], name: str) -> Array | None:
        return np.asarray(group[name], dtype=np.float64) if name in group else None

    focus = array(scan, "focus_distances")
    plane = focus is None or bool(np.all(~np.isfinite(focus) | (focus == 0)))
    if not plane:
        warnings.append("the transmits are focused; steering angles are not kept as plane-wave angles.")
    elements = array(probe, "probe_geometry")
    bandwidth = one(probe, "probe_bandwidth_percent")
    name = str(probe.get("type", "")).lower()
    geometry = Geometry(
        probe=PROBE_NAMES.get(name),  # type: ignore[arg-type]
        fs_hz=one(scan, "sampling_frequency"),
        f0_hz=one(scan, "center_frequency"),
        fd_hz=one(scan, "demodulation_frequency"),
        sound_speed_m_s=one(scan, "sound_speed"),
        t0_s=one(scan, "initial_times"),
        bandwidth=None if bandwidth is None else bandwidth / 100,
        elements_m=elements if elements is not None else array(scan, "probe_geometry"),
        element_width_m=one(probe, "element_width"),
        tx_delays_s=array(scan, "t0_delays"),
        tx_angles_rad=array(scan, "polar_angles") if plane else None,
    )
    return geometry, warnings


def coordinates(record: Record) -> Array | None:
    """Positions (sample, line, 3) of x, y, z in m of beamformed lines, float32; None when unknown.

    z is measured from the probe surface: on the axis of a curvilinear probe z = range - apex.
    """
    g, shape = record.geometry, record.values.shape
    if record.kind == "raw_data" or g.pixel_m is not None or g.r0_m is None or g.r1_m is None:
        return None
    r = np.linspace(g.r0_m, g.r1_m, shape[1])[:, None]
    if g.probe == "linear" and g.lateral_m is not None and len(g.lateral_m) == shape[2]:
        x, z = np.broadcast_arrays(np.asarray(g.lateral_m)[None], r)
    elif g.probe in ("phased", "curvilinear") and g.angles_rad is not None and len(g.angles_rad) == shape[2]:
        angle = np.asarray(g.angles_rad)[None]
        x, z = r * np.sin(angle), r * np.cos(angle) - (g.apex_m or 0.0)
    else:
        return None
    return np.stack([x, np.zeros_like(x), z], axis=-1).astype(np.float32)


def geometry_from_coordinates(positions: Array, *, kind: str) -> dict[str, Any]:
    """Geometry fields that a pixel grid gives.

    Empty when it is neither a grid along x and z nor a sector about the origin.

    Args:
        positions: (sample, line, 3) in m, or with a leading frame axis, of which the first frame counts.
        kind: images on a regular grid get `pixel_m`; lines get ranges and positions or angles.
    """
    grid = np.asarray(positions[0] if positions.ndim == 4 else positions, dtype=np.float64)
    if grid.ndim != 3 or min(grid.shape[:2]) < 2:
        return {}
    x, z = grid[..., 0], grid[..., 2]
    if np.ptp(x, axis=0).max() < SAME_M and np.ptp(z, axis=1).max() < SAME_M:
        rows, cols = z[:, 0], x[0]
        steps = float(np.mean(np.diff(rows))), float(np.mean(np.diff(cols)))
        even = max(np.ptp(np.diff(rows)), np.ptp(np.diff(cols))) < 4 * SAME_M
        if kind == "image" and even and min(steps) > 0:
            return {"pixel_m": steps}
        return {"probe": "linear", "r0_m": float(rows[0]), "r1_m": float(rows[-1]), "lateral_m": cols}
    r, angle = np.hypot(x, z), np.arctan2(x, z)
    if np.ptp(r, axis=1).max() < SAME_M and np.ptp(angle[1:], axis=0).max() < 1e-4:
        return {
            "probe": "phased",
            "r0_m": float(r[0, 0]),
            "r1_m": float(r[-1, 0]),
            "apex_m": 0.0,
            "angles_rad": angle[-1],
        }
    return {}
