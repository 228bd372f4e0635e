"""Along the signal chain, file by file: convert, beamform, bmode."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError, unknown
from core.progress import Progress, silent
from domains.ultrasound.beamform import beamform
from domains.ultrasound.data import Geometry
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.formats import describe, write
from domains.ultrasound.formats.dispatch import WRITABLE
from domains.ultrasound.plots import plot_bmode
from domains.ultrasound.signal import to_iq
from domains.ultrasound.workflows.acquire import draw, open_record, size_of
from domains.ultrasound.workflows.chain import TARGETS, Target, as_image, convert_record, grey
from domains.ultrasound.workflows.outlook import LINE_FILES, Outlook, Ready, at_once, check_output

__all__ = ["beamform_file", "bmode_file", "convert_file", "copy_whole"]


def convert_file(
    path: Path,
    out: Path,
    *,
    to: Target | None = None,
    geometry: Mapping[str, Any] | None = None,
    dynamic_range_db: float = 60.0,
    keep_phi: bool = False,
    strip_phi: bool = False,
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Read any known file and write any writable one, perhaps further down the signal chain.

    Args:
        to: "iq" demodulates RF, "rf" remodulates IQ, "envelope" and "image" (dB) detect; None keeps the kind.
        geometry: fields that the input lacks, see `with_geometry`.
        keep_phi: identity tags of a DICOM input are wanted in a DICOM output: copy them without a warning.
        strip_phi: leave them out.
    """
    if keep_phi and strip_phi:
        raise ConfigError("--keep-phi and --strip-phi exclude each other.", hint="Choose one of them.")
    if to is not None and to not in TARGETS:
        raise unknown("target", to, TARGETS)
    _check_range(dynamic_range_db)
    check_output(out, ("", *WRITABLE), overwrite=overwrite, source=path)
    record, warnings = open_record(path, geometry)
    source_size = size_of(record)
    record = convert_record(record, to, dynamic_range_db=dynamic_range_db)
    if record.kind == "image":
        if out.suffix.lower() == ".png" and len(record.values) > 1:
            raise ConfigError(
                f"a PNG holds one frame; {path.name} has {len(record.values)}.",
                hint="Name a folder (no extension) or .mp4, or draw one: suffuse ultrasound bmode.",
            )
    elif out.suffix.lower() not in LINE_FILES:
        raise ConfigError(
            f"'{out.suffix or 'a folder'}' holds pictures; the result is {record.kind}.",
            hint="Pass --to image, or write .hdf5 or .npz.",
        )
    into_dicom = out.suffix.lower() == ".dcm"
    if keep_phi or strip_phi or into_dicom:
        warnings = [line for line in warnings if "patient identity" not in line]
    plan = (f"convert {path}: {source_size}", f"output: {out}: {size_of(record)}")
    ready(Outlook(plan, tuple(warnings)))
    out.parent.mkdir(parents=True, exist_ok=True)
    warnings += write(
        record,
        out,
        overwrite=overwrite,
        source=path if into_dicom else None,
        keep_phi=keep_phi,
        strip_phi=strip_phi,
        dynamic_range_db=dynamic_range_db,
    )
    found = describe(record)
    return {"input": str(path), "output": str(out), **found, "warnings": list(dict.fromkeys(warnings))}


def beamform_file(
    path: Path,
    out: Path,
    *,
    f_number: float = 1.5,
    samples: int = 512,
    lines: int = 128,
    r0_m: float = 0.005,
    r1_m: float = 0.06,
    half_angle_deg: float | None = None,
    geometry: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Beamform channel data by delay-and-sum, along parallel lines or, with `half_angle_deg`, along a fan.

    RF channel data are demodulated first when their frequencies are known, so that undersampled recordings
    work.

    Args:
        r0_m, r1_m: depth of the first and of the last sample.
        geometry: fields that the input lacks, such as the sound speed.
        folder: a picture of the first frame goes here.
    """
    check_output(out, LINE_FILES, overwrite=overwrite, source=path)
    if not 0 <= r0_m < r1_m:
        raise ConfigError(f"depth must run from r0 to r1 with 0 <= r0 < r1, got {r0_m} to {r1_m} m.")
    if samples < 16 or lines < 2:
        raise ConfigError(f"expected 16 samples and 2 lines at least, got {samples} and {lines}.")
    if not f_number > 0:
        raise ConfigError(f"the f-number must be above 0, got {f_number}.")
    record, warnings = open_record(path, geometry)
    if record.kind != "raw_data":
        raise DataError(
            f"expected raw_data, got {record.kind}.", hint="Only echoes per element can be beamformed."
        )
    needed = ("elements_m", "fs_hz", "sound_speed_m_s", "t0_s")
    record.geometry.need(*needed, purpose="Beamforming", option="--sound-speed and --fs")
    assert record.geometry.elements_m is not None
    plan = (
        f"beamform {path}: {size_of(record)}",
        f"{lines} lines of {samples} samples, {1e3 * r0_m:g} to {1e3 * r1_m:g} mm, f-number {f_number:g}",
        f"output: {out}",
    )
    if record.domain == "rf" and not record.geometry.missing("f0_hz", "bandwidth"):
        record = to_iq(record)
    if half_angle_deg is None:
        half = float(np.abs(record.geometry.elements_m[:, 0]).max())  # type: ignore[index]
        target = Geometry(probe="linear", r0_m=r0_m, r1_m=r1_m, lateral_m=np.linspace(-half, half, lines))
    else:
        fan = np.deg2rad(half_angle_deg)
        angles = np.linspace(-fan, fan, lines)
        target = Geometry(probe="phased", r0_m=r0_m, r1_m=r1_m, apex_m=0.0, angles_rad=angles)
    ready(Outlook(plan, tuple(warnings)))
    parts = []
    for index in range(len(record.values)):
        progress("beamform", index, len(record.values))
        one = record.with_values(record.values[index : index + 1], truth={})
        parts.append(beamform(one, target, samples=samples, f_number=f_number))
    progress("beamform", len(record.values), len(record.values))
    formed = parts[0].with_values(
        np.concatenate([part.values for part in parts]), timestamps_s=record.timestamps_s
    )
    if folder is not None:
        magnitude = envelope_of(formed)[0]
        draw(formed.geometry, levels_db(magnitude, float(magnitude.max())), folder / "bmode.png", {})
    out.parent.mkdir(parents=True, exist_ok=True)
    write(formed, out, overwrite=overwrite)
    return {
        "input": str(path),
        "output": str(out),
        "f_number": f_number,
        **describe(formed),
        "warnings": warnings,
    }


def bmode_file(
    path: Path,
    out: Path,
    *,
    dynamic_range_db: float = 60.0,
    scan_converted: bool = False,
    frame: int = 0,
    geometry: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Draw one frame as a log-compressed B-mode picture, a PNG.

    Args:
        scan_converted: show space in mm instead of samples and lines; needs the geometry.
        geometry: fields that the input lacks, see `with_geometry`.
        folder: receives the picture too, with its numbers as CSV.
    """
    _check_range(dynamic_range_db)
    check_output(out, (".png",), overwrite=overwrite, source=path)
    record, warnings = open_record(path, geometry)
    if not 0 <= frame < len(record.values):
        raise ConfigError(f"frame {frame} was asked for, the file has frames 0 to {len(record.values) - 1}.")
    if record.kind == "raw_data":
        raise DataError("raw_data has no lines yet.", hint="Beamform it: suffuse ultrasound beamform.")
    extent_mm = None
    if scan_converted and record.geometry.pixel_m is not None:
        raise DataError("the picture is Cartesian already.", hint="Leave out --scan-convert.")
    view = view_of(record.geometry, record.values.shape[1], required=True) if scan_converted else None
    one = record.with_values(record.values[frame : frame + 1], truth={})
    image = grey(as_image(one, dynamic_range_db).values[0])
    shown = view.picture(image, fill=-dynamic_range_db) if view else image
    if view is not None:
        extent_mm = view.extent_mm
    elif record.geometry.pixel_m is not None:
        (height, width), (rows, cols) = record.geometry.pixel_m, image.shape
        extent_mm = (-500.0 * cols * width, 500.0 * cols * width, 1e3 * rows * height, 0.0)
    plan = (f"draw frame {frame} of {path}: {size_of(record)}", f"{dynamic_range_db:g} dB; output: {out}")
    ready(Outlook(plan, tuple(warnings)))
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        drawn, _ = plot_bmode(
            shown, place / "bmode.png", extent_mm=extent_mm, dynamic_range_db=dynamic_range_db
        )
        copy_whole(drawn, out)
    return {
        "input": str(path),
        "output": str(out),
        "frame": frame,
        "dynamic_range_db": dynamic_range_db,
        "scan_converted": scan_converted,
        "picture_shape": list(shown.shape),
        "warnings": warnings,
    }


def copy_whole(source: Path, out: Path) -> None:
    """Copy a file so that `out` appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.copyfile(source, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _check_range(dynamic_range_db: float) -> None:
    if not dynamic_range_db > 0:
        raise ConfigError(f"the dynamic range must be above 0 dB, got {dynamic_range_db}.")
