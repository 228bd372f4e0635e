"""Making, reading and converting recordings: simulate, info, convert, beamform, bmode."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import ConfigError, DataError, unknown
from core.progress import Progress, silent
from domains.ultrasound.beamform import beamform
from domains.ultrasound.contrast import gcnr
from domains.ultrasound.data import Geometry, Record, check_finite
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.formats import describe, read, write
from domains.ultrasound.plots import plot_bmode
from domains.ultrasound.signal import sampling_note, to_iq, to_rf
from domains.ultrasound.simulate import CardiacScene, draw_scene, get_probe, simulate

__all__ = [
    "beamform_file",
    "bmode_file",
    "convert_file",
    "info_file",
    "open_record",
    "simulate_file",
    "with_geometry",
]

SCENES = ("cardiac",)


def open_record(path: Path) -> tuple[Record, list[str]]:
    """Read a record, refuse frames that carry no picture, and return what is doubtful about it as
    warnings.
    """
    record = read(path)
    g = record.geometry
    if record.domain == "rf" and g.fs_hz and g.f0_hz and g.bandwidth:
        note = sampling_note(fs_hz=g.fs_hz, f0_hz=g.f0_hz, bandwidth=g.bandwidth)
    else:
        note = None
    found = [*record.meta.get("warnings", []), *check_finite(record), *([note] if note else [])]
    return record, list(dict.fromkeys(found))


def with_geometry(record: Record, changes: dict[str, Any]) -> Record:
    """Fill in geometry that a file does not give. `angle_deg` and `width_m` spread the lines evenly."""
    known = {key: value for key, value in changes.items() if value is not None}
    lines = record.values.shape[-1]
    if (half := known.pop("half_angle_deg", None)) is not None:
        known["angles_rad"] = np.linspace(-np.deg2rad(half), np.deg2rad(half), lines)
    if (width := known.pop("width_m", None)) is not None:
        known["lateral_m"] = np.linspace(-width / 2, width / 2, lines)
    return replace(record, geometry=replace(record.geometry, **known)) if known else record


def simulate_file(
    out: Path,
    *,
    scene: str = "cardiac",
    probe: str = "cardiac",
    backend: str = "polar",
    frames: int = 60,
    cycles: float = 1.0,
    haze: float = 0.2,
    domain: Literal["iq", "rf"] = "iq",
    seed: int = 0,
    overwrite: bool = False,
    folder: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Simulate a beating heart behind haze and write lines, geometry and truth.

    Returns:
        Report: shape, haze level, and the yardsticks of a dehazing: gCNR of ventricle against myocardium of
            the clean
        frames and of the hazy ones, and the level of the ventricle in both, dB below the clean peak.
    """
    if scene not in SCENES:
        raise unknown("scene", scene, SCENES)
    if out.exists() and not overwrite:
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another --out, or pass --force."
        )
    heart: CardiacScene = draw_scene(seed)
    kind = get_probe(probe)
    level = haze if backend == "polar" else 0.0
    progress("simulate", 0, frames, None)
    record = simulate(
        heart, kind, seed=seed, backend=backend, frames=frames, cycles=cycles, level=level, domain=domain
    )
    progress("simulate", frames, frames, None)
    write(record, out, overwrite=overwrite)
    report: dict[str, Any] = {
        "output": str(out),
        "shape": list(record.values.shape),
        "kind": record.kind,
        "seed": seed,
    }
    if record.truth:
        truth = record.with_values(record.truth["tissue"])
        clean, hazy = envelope_of(truth), envelope_of(record)
        peak = clean.max(axis=(1, 2), keepdims=True)
        v, m = record.truth["ventricle"], record.truth["myocardium"]
        rows = {"clean": levels_db(clean, peak), "hazy": levels_db(hazy, peak)}
        report["haze_level"] = level
        report |= {f"gcnr_{name}": gcnr(db[v], db[m]) for name, db in rows.items()}
        report |= {f"ventricle_{name}_db": float(db[v].mean()) for name, db in rows.items()}
        if folder is not None:
            masks = {name: record.truth[name][0] for name in ("ventricle", "myocardium")}
            report["figures"] = _draw(record, rows["hazy"][0], folder / "hazy.png", masks)
            report["figures"] += _draw(record, rows["clean"][0], folder / "clean.png", masks)
    return report


def info_file(path: Path) -> dict[str, Any]:
    """Say what a file holds: shape, units, geometry, what is missing and what that rules out."""
    record, warnings = open_record(path)
    return {"file": str(path), **describe(record), "warnings": warnings}


def convert_file(
    path: Path,
    out: Path,
    *,
    to: Literal["iq", "rf", "envelope", "image"] | None = None,
    geometry: dict[str, Any] | None = None,
    dynamic_range_db: float = 60.0,
    keep_phi: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Read any known file and write any writable one, perhaps further down the signal chain.

    Args:
        to: "iq" demodulates RF, "rf" remodulates IQ, "envelope" and "image" (dB) detect; None keeps the kind.
        geometry: fields that the input lacks.
        keep_phi: patient identity of a DICOM input is expected in the output: do not warn.
    """
    if out.exists() and not overwrite:
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another output, or pass --force."
        )
    record, warnings = open_record(path)
    record = with_geometry(record, geometry or {})
    match to:
        case "iq":
            record = to_iq(record)
        case "rf":
            record = to_rf(record)
        case "envelope":
            record = replace(record, kind="envelope_data", values=envelope_of(record), truth={})
        case "image":
            record = _image(record, dynamic_range_db)
        case None:
            pass
        case _:
            raise unknown("target", to, ("iq", "rf", "envelope", "image"))
    if keep_phi:
        warnings = [line for line in warnings if "identity" not in line]
    written = write(record, out, overwrite=overwrite)
    return {
        "input": str(path),
        "output": str(out),
        **describe(record),
        "warnings": [*warnings, *(written or [])],
    }


def beamform_file(
    path: Path,
    out: Path,
    *,
    f_number: float = 1.5,
    samples: int = 512,
    depth_m: Sequence[float] = (0.005, 0.06),
    lines: int = 128,
    half_angle_deg: float | None = None,
    overwrite: bool = False,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Beamform channel data by delay-and-sum, along parallel lines or, with `half_angle_deg`, along a fan.

    RF channel data are demodulated first when their frequencies are known, so that undersampled recordings
    work.
    """
    if out.exists() and not overwrite:
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another --out, or pass --force."
        )
    record, warnings = open_record(path)
    if record.kind != "raw_data":
        raise DataError(
            f"expected raw_data, got {record.kind}.", hint="Only echoes per element can be beamformed."
        )
    g = record.geometry
    g.need("elements_m", "fs_hz", "sound_speed_m_s", "t0_s", purpose="Beamforming")
    assert g.elements_m is not None
    if record.domain == "rf" and not g.missing("f0_hz", "bandwidth"):
        record = to_iq(_samples_last_but_one(record))
    near, far = depth_m
    if not 0 <= near < far:
        raise ConfigError(f"depth must run from near to far, got {near} to {far} m.")
    if half_angle_deg is None:
        half = float(np.abs(g.elements_m[:, 0]).max())
        target = Geometry(probe="linear", r0_m=near, r1_m=far, lateral_m=np.linspace(-half, half, lines))
    else:
        fan = np.deg2rad(half_angle_deg)
        target = Geometry(
            probe="phased", r0_m=near, r1_m=far, apex_m=0.0, angles_rad=np.linspace(-fan, fan, lines)
        )
    formed = beamform(record, target, samples=samples, f_number=f_number)
    write(formed, out, overwrite=overwrite)
    report = {
        "input": str(path),
        "output": str(out),
        "f_number": f_number,
        **describe(formed),
        "warnings": warnings,
    }
    if folder is not None:
        magnitude = envelope_of(formed)
        report["figures"] = _draw(
            formed, levels_db(magnitude[0], float(magnitude[0].max())), folder / "bmode.png", {}
        )
    return report


def bmode_file(
    path: Path,
    out: Path,
    *,
    dynamic_range_db: float = 60.0,
    scan_converted: bool = False,
    frame: int = 0,
    geometry: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw one frame as a log-compressed B-mode picture (PNG) with the numbers beside it (CSV)."""
    if out.exists() and not overwrite:
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another --out, or pass --force."
        )
    record, warnings = open_record(path)
    record = with_geometry(record, geometry or {})
    if not 0 <= frame < len(record.values):
        raise ConfigError(f"frame {frame} was asked for, the file has frames 0 to {len(record.values) - 1}.")
    if record.kind == "raw_data":
        raise DataError("raw_data has no lines yet.", hint="Beamform it: suffuse ultrasound beamform.")
    view = view_of(record.geometry, record.values.shape[1], required=True) if scan_converted else None
    image = _image(record, dynamic_range_db).values[frame]
    shown = view.picture(image, fill=-dynamic_range_db) if view else image
    plot_bmode(shown, out, extent_mm=view.extent_mm if view else None, dynamic_range_db=dynamic_range_db)
    return {
        "input": str(path),
        "output": str(out),
        "frame": frame,
        "dynamic_range_db": dynamic_range_db,
        "scan_converted": scan_converted,
        "warnings": warnings,
    }


def _image(record: Record, dynamic_range_db: float) -> Record:
    """Levels in dB of every frame relative to its own peak."""
    if record.kind == "image":
        if record.values.dtype != np.uint8:
            return record
        levels = (record.values.astype(np.float32) / 255 - 1) * dynamic_range_db
        return replace(record, values=levels)
    magnitude = envelope_of(record)
    levels = levels_db(
        magnitude, magnitude.max(axis=(1, 2), keepdims=True), dynamic_range_db=dynamic_range_db
    )
    return replace(record, kind="image", values=levels, truth={})


def _samples_last_but_one(record: Record) -> Record:
    """Raw data are (frame, tx, sample, element): the sample axis is where demodulation expects it."""
    return replace(record, values=np.asarray(record.values, dtype=np.float32))


def _draw(record: Record, image: np.ndarray, out: Path, masks: dict[str, np.ndarray]) -> list[str]:
    view = view_of(record.geometry, image.shape[0])
    rois = view.masks(masks)
    plot_bmode(view.picture(image, fill=-60.0), out, extent_mm=view.extent_mm, rois=rois)
    return [out.name]
