"""What a record holds and what it lacks, as plain JSON values: the answer of `suffuse ultrasound info`."""

from typing import Any

import numpy as np

from domains.ultrasound.data import Record, to_meta

__all__ = ["describe"]

AXES = {
    "raw_data": ["frame", "tx", "sample", "element"],
    "beamformed_data": ["frame", "sample", "line"],
    "envelope_data": ["frame", "sample", "line"],
    "image": ["frame", "row", "col", "channel"],
}


def describe(record: Record) -> dict[str, Any]:
    """Shape, type, unit, geometry and gaps of a record.

    `missing` maps each use of the record to the geometry fields that it needs and that the file does not
    give: "beamform", "demodulate", "scan_convert", "measure_mm". A use without gaps has an empty list; one
    that makes no sense for the kind is absent. Arrays in `geometry` are summarised by shape, first and last
    value. No value comes from identity tags.
    """
    values = record.values
    finite = values[np.isfinite(values)]
    out: dict[str, Any] = {
        "kind": record.kind,
        "domain": record.domain,
        "shape": list(values.shape),
        "axes": AXES[record.kind][: values.ndim],
        "dtype": str(values.dtype),
        "unit": _unit(record),
        "frames": len(values),
        "geometry": {name: _summary(value) for name, value in to_meta(record.geometry).items()},
        "missing": _missing(record),
        "truth": {name: list(np.shape(array)) for name, array in record.truth.items()},
        "format": record.meta.get("format"),
        "warnings": list(record.meta.get("warnings", [])),
    }
    if finite.size and not np.iscomplexobj(values):
        out["range"] = [float(finite.min()), float(finite.max())]
    elif finite.size:
        out["range"] = [0.0, float(np.abs(finite).max())]
    if "clipped_share" in record.meta:
        out["clipped_share"] = float(record.meta["clipped_share"])
    times = record.timestamps_s
    if times is not None and len(times):
        out["duration_s"] = float(times[-1] - times[0])
        if len(times) > 1 and times[-1] > times[0]:
            out["frame_rate_hz"] = float((len(times) - 1) / (times[-1] - times[0]))
    return out


def _unit(record: Record) -> str:
    if record.kind == "image":
        return "8-bit levels" if record.values.dtype == np.uint8 else "dB"
    return "arbitrary, linear"


def _missing(record: Record) -> dict[str, list[str]]:
    g = record.geometry
    direction = {"linear": ["lateral_m"], "phased": ["angles_rad"], "curvilinear": ["angles_rad", "apex_m"]}
    lines = ["r0_m", "r1_m", *direction.get(g.probe or "", ["angles_rad or lateral_m"])]
    place = [name for name in ["probe", *lines] if " or " in name or g.missing(name)]
    if record.kind == "raw_data":
        needs = ["fs_hz", "f0_hz", "fd_hz", "sound_speed_m_s", "t0_s", "elements_m"]
        missing = g.missing(*needs)
        if g.tx_delays_s is None and g.tx_angles_rad is None:
            missing.append("tx_delays_s or tx_angles_rad")
        return {"beamform": missing}
    if record.kind == "beamformed_data":
        demodulate = g.missing("fs_hz", "f0_hz") if record.domain == "rf" else []
        return {"demodulate": demodulate, "scan_convert": place}
    picture = record.meta.get("layout") == "picture" or g.pixel_m is not None
    if record.kind == "image" and picture:
        return {"measure_mm": g.missing("pixel_m")}
    return {"scan_convert": place}


def _summary(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    array = np.asarray(value)
    if array.size <= 4:
        return value
    if array.ndim > 1 and array.shape[1] > 3:
        return {"shape": list(array.shape), "min": float(array.min()), "max": float(array.max())}
    return {"shape": list(array.shape), "first": array[0].tolist(), "last": array[-1].tolist()}
