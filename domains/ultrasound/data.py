"""Ultrasound records: an array, what it is, and the geometry that travels with it.

| kind              | values                                              | shape                          |
| ----------------- | --------------------------------------------------- | ------------------------------ |
| `raw_data`        | echoes per element, int16, float32 or complex IQ    | (frame, tx, sample, element)   |
| `beamformed_data` | a line per scan direction: float32 RF, complex64 IQ | (frame, sample, line)          |
| `envelope_data`   | magnitude of the analytic signal, float32, linear   | (frame, sample, line)          |
| `image`           | log-compressed: float32 dB <= 0, or uint8           | (frame, row, col[, 3])         |

An image is either polar (rows are samples, columns are lines) or Cartesian (`geometry.pixel_m` is set once
scan-converted pixels have a size). IQ is complex in memory; files store it as two channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from core.errors import DataError, GeometryError

__all__ = ["Geometry", "Kind", "Record", "check_finite", "from_meta", "to_meta"]

Kind = Literal["raw_data", "beamformed_data", "envelope_data", "image"]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Geometry:
    """How an acquisition sits in space and time. A field that a file does not give stays None.

    `r0_m`, `r1_m`: range of the first and the last sample, measured from the arc centre for phased and
    curvilinear probes and from the probe surface for linear ones. `apex_m` is the distance from the arc
    centre to the probe surface (0 for phased arrays). `angles_rad` (line,) or `lateral_m` (line,): the
    direction or position of each line. `f0_hz` centre frequency; `fd_hz` demodulation frequency, 0 for RF.
    `bandwidth` is the fractional -6 dB bandwidth. `t0_s`: time of the first sample after transmit.
    `elements_m` (element, 3): positions x, y, z. `tx_delays_s` (tx, element); `tx_angles_rad` (tx,) of plane
    waves. `pixel_m`: (row, col) pixel size of a Cartesian image.
    """

    probe: Literal["phased", "linear", "curvilinear"] | None = None
    r0_m: float | None = None
    r1_m: float | None = None
    apex_m: float | None = None
    angles_rad: Array | None = None
    lateral_m: Array | None = None
    fs_hz: float | None = None
    f0_hz: float | None = None
    fd_hz: float | None = None
    bandwidth: float | None = None
    sound_speed_m_s: float | None = None
    t0_s: float | None = None
    prf_hz: float | None = None
    elements_m: Array | None = None
    element_width_m: float | None = None
    tx_delays_s: Array | None = None
    tx_angles_rad: Array | None = None
    pixel_m: tuple[float, float] | None = None

    def missing(self, *names: str) -> list[str]:
        """Names among `names` that are None."""
        return [name for name in names if getattr(self, name) is None]

    def need(self, *names: str, purpose: str, option: str | None = None) -> None:
        """Raise GeometryError naming the absent fields unless all of `names` are known."""
        absent = self.missing(*names)
        if absent:
            hint = (
                f"Give them with {option}."
                if option
                else "Give them on the command line or use a file that has them."
            )
            raise GeometryError(
                f"{purpose} needs {', '.join(absent)}; the input does not give them.", hint=hint
            )


@dataclass(frozen=True)
class Record:
    """One acquisition: values of a kind, their geometry, and what came along with them.

    `truth` holds same-frame arrays that a simulator or an annotator knows: "tissue", "haze" (like `values`),
    and boolean masks (frame, sample, line) "ventricle", "myocardium". `meta` holds the source's own tags as
    plain JSON values.
    """

    kind: Kind
    values: Array
    geometry: Geometry = field(default_factory=Geometry)
    timestamps_s: Array | None = None
    truth: Mapping[str, Array] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ranks = {"raw_data": (4,), "beamformed_data": (3,), "envelope_data": (3,), "image": (3, 4)}[self.kind]
        if self.values.ndim not in ranks:
            order = {"raw_data": "(frame, tx, sample, element)", "image": "(frame, row, col[, 3])"}
            raise DataError(
                f"{self.kind} must have axes {order.get(self.kind, '(frame, sample, line)')}, got shape "
                f"{self.values.shape}.",
                hint="Transpose the array, or add the axis of length 1 that is missing.",
            )

    @property
    def domain(self) -> Literal["rf", "iq"] | None:
        """ "iq" for complex lines, "rf" for real ones, None when there is no phase."""
        if self.kind not in ("raw_data", "beamformed_data"):
            return None
        return "iq" if np.iscomplexobj(self.values) else "rf"

    def with_values(self, values: Array, **changes: Any) -> "Record":
        """Copy with other values (and other fields), everything else kept."""
        return replace(self, values=values, **changes)


def check_finite(record: Record) -> list[str]:
    """Refuse frames that carry no picture; return warnings about those that carry a doubtful one.

    Returns:
        Warnings, one line each: lines that are entirely zero, samples at the integer limits (above 0.1 %).

    Raises:
        DataError: a frame holds NaN or Inf, is all zero, or is constant. Names the frame and the field.
    """
    warnings = []
    for index, frame in enumerate(record.values):
        where = f"frame {index} of {record.kind}"
        bad = int(np.size(frame) - np.count_nonzero(np.isfinite(frame)))
        if bad:
            raise DataError(
                f"{where} holds {bad} NaN or Inf values.", hint="Drop or repair the frame before processing."
            )
        if not np.any(frame):
            raise DataError(f"{where} is all zero.", hint="Drop the frame: it carries no echo.")
        if np.all(frame == frame.flat[0]):
            raise DataError(
                f"{where} is constant ({frame.flat[0]}).", hint="Drop the frame: it carries no echo."
            )
    if record.kind == "beamformed_data":
        dead = np.flatnonzero(~np.any(record.values, axis=(0, 1)))
        if dead.size:
            warnings.append(
                f"{dead.size} of {record.values.shape[2]} lines are all zero (first: line {dead[0]})."
            )
    share = float(record.meta.get("clipped_share", clipped_share(record.values)))
    if share > 1e-3:
        warnings.append(
            f"{100 * share:.2f} % of the samples sit at the integer limit: the recording clipped."
        )
    return warnings


def clipped_share(values: Array) -> float:
    """Share of samples at the limits of a signed integer type; 0 for other types."""
    if not np.issubdtype(values.dtype, np.signedinteger):
        return 0.0
    limits = np.iinfo(values.dtype)
    return float(np.mean((values == limits.max) | (values == limits.min)))


def to_meta(geometry: Geometry) -> dict[str, Any]:
    """Geometry as plain JSON values, absent fields left out."""
    out: dict[str, Any] = {}
    for item in fields(geometry):
        value = getattr(geometry, item.name)
        if value is not None:
            out[item.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return out


def from_meta(meta: Mapping[str, Any]) -> Geometry:
    """Geometry from what `to_meta` wrote. Unknown keys are an error."""
    known = {item.name: item for item in fields(Geometry)}
    extra = sorted(set(meta) - set(known))
    if extra:
        raise DataError(f"unknown geometry fields: {', '.join(extra)} (known: {', '.join(known)}).")
    arrays = {"angles_rad", "lateral_m", "elements_m", "tx_delays_s", "tx_angles_rad"}
    values: dict[str, Any] = {
        key: np.asarray(value, dtype=np.float64) if key in arrays else value for key, value in meta.items()
    }
    if values.get("pixel_m") is not None:
        values["pixel_m"] = tuple(values["pixel_m"])
    return Geometry(**values)
