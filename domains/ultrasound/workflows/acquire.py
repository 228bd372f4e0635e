"""Making and reading recordings: simulate, info, and how every workflow opens a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import ConfigError, MissingExtra, unknown
from core.progress import Progress, silent
from domains.ultrasound.contrast import gcnr
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.formats import describe, read, write
from domains.ultrasound.plots import plot_bmode
from domains.ultrasound.signal import sampling_note
from domains.ultrasound.simulate import draw_scene, get_probe, simulate
from domains.ultrasound.simulate.cine import BACKENDS
from domains.ultrasound.workflows.outlook import LINE_FILES, Outlook, Ready, at_once, check_output, many

__all__ = ["SCENES", "draw", "info_file", "open_record", "simulate_file", "size_of", "with_geometry"]

SCENES = ("cardiac",)
PROBE_TYPES = ("phased", "linear", "curvilinear")


def open_record(path: Path, geometry: Mapping[str, Any] | None = None) -> tuple[Record, list[str]]:
    """Read a record, refuse frames that carry no picture, and return what is doubtful about it as warnings.

    Args:
        geometry: fields that the file does not give, see `with_geometry`.
    """
    try:
        record = read(path)
    except MissingExtra as err:
        if str(path) in str(err):
            raise
        raise MissingExtra(f"{path} cannot be read: {err}", hint=err.hint) from err
    found = list(record.meta.get("warnings", []))
    record = with_geometry(record, geometry or {})
    g = record.geometry
    if record.domain == "rf" and g.fs_hz and g.f0_hz and g.bandwidth:
        note = sampling_note(fs_hz=g.fs_hz, f0_hz=g.f0_hz, bandwidth=g.bandwidth)
        found += [note] if note else []
    return record, list(dict.fromkeys(found))


def with_geometry(record: Record, changes: Mapping[str, Any]) -> Record:
    """Fill in geometry that a file does not give.

    Args:
        changes: fields of `Geometry`, None where nothing is given. `half_angle_deg` and `width_m` spread the
            lines evenly; angles alone make the probe a phased one, a width alone a linear one.

    Raises:
        ConfigError: an unknown probe type, both angles and a width, or a value out of range.
    """
    known = {key: value for key, value in changes.items() if value is not None}
    if not known:
        return record
    lines = record.values.shape[-1]
    half, width = known.pop("half_angle_deg", None), known.pop("width_m", None)
    if half is not None and width is not None:
        raise ConfigError("lines have a half angle or a width, not both.", hint="Give one of the two.")
    if half is not None:
        if not 0 < half < 180:
            raise ConfigError(f"the half angle must lie in (0, 180) degrees, got {half}.")
        known["angles_rad"] = np.linspace(-np.deg2rad(half), np.deg2rad(half), lines)
        known.setdefault("probe", record.geometry.probe or "phased")
    if width is not None:
        if not width > 0:
            raise ConfigError(f"the width must be above 0 m, got {width}.")
        known["lateral_m"] = np.linspace(-width / 2, width / 2, lines)
        known.setdefault("probe", record.geometry.probe or "linear")
    if known.get("probe") not in (None, *PROBE_TYPES):
        raise unknown("probe type", known["probe"], PROBE_TYPES)
    for name in ("fs_hz", "f0_hz", "bandwidth", "sound_speed_m_s"):
        if name in known and not known[name] > 0:
            raise ConfigError(f"{name} must be above 0, got {known[name]}.")
    return replace(record, geometry=replace(record.geometry, **known))


def info_file(path: Path) -> dict[str, Any]:
    """Say what a file holds: shape, units, geometry, what is missing and what that rules out."""
    record, warnings = open_record(path)
    return {"file": str(path), **describe(record), "warnings": warnings}


def simulate_file(
    out: Path,
    *,
    scene: str = "cardiac",
    probe: str = "cardiac",
    backend: str = "polar",
    frames: int = 60,
    cycles: float = 1.0,
    haze: float | Sequence[float] = 0.2,
    domain: Literal["iq", "rf"] = "iq",
    seed: int = 0,
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Simulate a beating heart behind haze and write lines, geometry and truth.

    Args:
        haze: peak of the haze relative to the peak of the tissue. Several levels make one file each, of the
            same heart behind the same haze, named `<out>-haze<level>`. Channel data carry none.
        folder: pictures of the first frame go here.

    Returns:
        Report: shape, and per file the yardsticks of a dehazing: gCNR of ventricle against myocardium of the
        clean and of the hazy frames, and the level of the ventricle in both, dB below the clean peak.
    """
    if scene not in SCENES:
        raise unknown("scene", scene, SCENES)
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if domain not in ("iq", "rf"):
        raise unknown("domain", domain, ("iq", "rf"))
    if frames < 1 or not cycles >= 0:
        raise ConfigError(f"frames must be at least 1 and cycles at least 0, got {frames} and {cycles}.")
    levels = [0.0] if backend != "polar" else [haze] if isinstance(haze, int | float) else list(haze)
    if not levels or not all(0 <= level < np.inf for level in levels):
        raise ConfigError(f"haze levels must be finite and at least 0, got {levels}.")
    kind, heart = get_probe(probe), draw_scene(seed)
    several = len(levels) > 1
    outs = [out.with_name(f"{out.stem}-haze{v:g}{out.suffix}") if several else out for v in levels]
    for target in outs:
        check_output(target, LINE_FILES, overwrite=overwrite)
    what = f"{domain.upper()} lines" if backend == "polar" else "echoes per element"
    plan = (
        f"simulate {many(frames, 'frame')} of {what}: {scene} scene, probe {probe}, backend {backend}",
        f"seed {seed}; haze {', '.join(f'{v:g}' for v in levels)}; output: {', '.join(map(str, outs))}",
    )
    ready(Outlook(plan))
    rows: list[dict[str, Any]] = []
    total = len(outs) * frames
    for index, (level, target) in enumerate(zip(levels, outs, strict=True)):
        progress("simulate", index * frames, total, None)
        record = simulate(
            heart, kind, seed=seed, backend=backend, frames=frames, cycles=cycles, level=level, domain=domain
        )
        name = f"-{level:g}" if several else ""
        rows.append({"output": str(target), **_yardsticks(record, level, folder, name)})
        target.parent.mkdir(parents=True, exist_ok=True)
        write(record, target, overwrite=overwrite)
    progress("simulate", total, total, None)
    return {"kind": record.kind, "shape": list(record.values.shape), "seed": seed, "files": rows}


def _yardsticks(record: Record, level: float, folder: Path | None, name: str) -> dict[str, Any]:
    """What a dehazing of this recording will be compared with; nothing for channel data."""
    if "tissue" not in record.truth:
        return {}
    clean, hazy = envelope_of(record, record.truth["tissue"]), envelope_of(record)
    peak = clean.max(axis=(1, 2), keepdims=True)
    v, m = record.truth["ventricle"], record.truth["myocardium"]
    shown = {"clean": levels_db(clean, peak), "hazy": levels_db(hazy, peak)}
    out: dict[str, Any] = {"haze": level}
    out |= {f"gcnr_{key}": gcnr(db[v], db[m]) for key, db in shown.items()}
    out |= {f"ventricle_{key}_db": float(db[v].mean()) for key, db in shown.items()}
    if folder is not None:
        masks = {"cavity": v[0], "tissue": m[0]}
        for key, db in shown.items():
            draw(record.geometry, db[0], folder / f"{key}{name}.png", masks)
    return out


def draw(geometry: Geometry, image: np.ndarray, out: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Draw a polar frame (sample, line), dB, scan-converted where the geometry allows, as PNG and CSV."""
    view = view_of(geometry, image.shape[0])
    plot_bmode(view.picture(image, fill=-60.0), out, extent_mm=view.extent_mm, rois=view.masks(masks) or None)


def size_of(record: Record) -> str:
    """Frames and their size in words, such as "2 frames of 528 samples x 96 lines (IQ)"."""
    n, *rest = record.values.shape
    names = {"raw_data": ("transmit", "sample", "element"), "image": ("row", "column")}
    axes = names.get(record.kind, ("sample", "line"))
    size = " x ".join(many(count, name) for count, name in zip(rest, axes, strict=False))
    kind = record.domain.upper() if record.domain else record.kind
    return f"{many(n, 'frame')} of {size} ({kind})"
