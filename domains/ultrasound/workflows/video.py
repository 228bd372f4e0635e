"""Dehazing films and pictures: read, check, separate, measure what can be measured, draw, write."""

from pathlib import Path
from typing import Any

import numpy as np

from core.device import choose_device
from core.errors import ConfigError, unknown
from core.progress import Progress, silent
from domains.ultrasound.config import VideoConfig
from domains.ultrasound.data import Record
from domains.ultrasound.formats import write
from domains.ultrasound.formats.dispatch import WRITABLE
from domains.ultrasound.plots import plot_comparison, plot_histograms
from domains.ultrasound.verdict import NOTICE, Report, evaluate
from domains.ultrasound.video.dehaze import (
    METHODS,
    PRIOR_METHODS,
    Dehazed,
    calls_of,
    check_method,
    dehaze_cine,
)
from domains.ultrasound.video.levels import Cine, cine_of, level_to_db, record_of
from domains.ultrasound.video.prior import PIXEL_M, load_picture_prior, pixel_warnings
from domains.ultrasound.workflows.acquire import open_record, size_of
from domains.ultrasound.workflows.judging import regions_of, sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once, check_output, many

__all__ = [
    "PICTURE_FILES",
    "dehaze_video_file",
    "draw_cine",
    "extent_of",
    "judge_cine",
    "open_cine",
    "write_pictures",
]

PICTURE_FILES = ("", *WRITABLE)


def dehaze_video_file(
    path: Path,
    out: Path,
    config: VideoConfig,
    *,
    method: str = "nuclear",
    prior: Path | None = None,
    roi: Path | None = None,
    dynamic_range_db: float = 60.0,
    save_haze: bool = False,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Remove haze from the pictures of a film, a folder, a DICOM or any recording.

    Lines and envelopes are shown in dB below the peak of the cine and scan-converted where their geometry
    allows; pictures are worked on as they are. The output holds pictures of the kind that was worked on.

    Args:
        out: .npz, .hdf5, .mp4, .dcm, .nii.gz, .png (one frame), or a name without extension for a folder.
        method: none, threshold, svd, rpca, nuclear or semantic.
        prior: checkpoint of the role "bmode", for nuclear and semantic.
        roi: regions "tissue" and "cavity" (and others) in rows and columns of the input; a simulated file
            brings its own. They are measured in, and guide `semantic`.
        dynamic_range_db: display range of dB; of an 8-bit picture, what its 255 steps stand for.
        save_haze: also write what was removed, as `<out>-haze<suffix>`.
        folder: figures go here.

    Returns:
        Report: settings, hashes, residual per frame, verdict with gCNR, KS and flicker where regions are
        known, warnings.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    haze_out = out.with_name(f"{out.stem}-haze{out.suffix}")
    for target in [out, *([haze_out] if save_haze else [])]:
        check_output(target, PICTURE_FILES, overwrite=overwrite, source=path)
    where, note = choose_device(device)
    known = load_picture_prior(prior) if prior is not None and method in PRIOR_METHODS else None
    pixel_m = known.pixel_m if known is not None else None
    cine, warnings = open_cine(path, out, roi=roi, pixel_m=pixel_m, dynamic_range_db=dynamic_range_db)
    frames = len(cine.levels)
    check_method(method, frames, known, config)
    warnings += pixel_warnings(known, cine.record.geometry.pixel_m) if known is not None else []
    regions = {name: mask for name, mask in cine.masks.items() if name in ("tissue", "cavity", "static")}
    if method == "semantic" and "cavity" not in cine.masks:
        warnings.append("no regions: semantic trusts the whole picture but its borders; give --roi.")
    calls = calls_of(method, frames, config)
    plan = (
        f"dehaze {path}: {size_of(cine.record)} of pictures, method {method}",
        f"{config.steps} steps x {many(calls // config.steps, 'frame')} = {calls} network calls"
        + (", forward and backward" if method == "semantic" else "")
        if calls
        else "no prior is used",
        f"{note or f'device: {where}'}; output: {out}",
    )
    ready(Outlook(plan, tuple(warnings), str(where)))
    found = dehaze_cine(
        cine.levels,
        method,
        config,
        prior=known,
        regions=cine.masks,
        seed=seed,
        device=where,
        progress=progress,
    )
    report: dict[str, Any] = {
        "input": str(path),
        "input_sha256": sha256(path),
        "output": str(out),
        "method": method,
        "shape": list(found.clean.shape),
        "seed": seed,
        "device": str(where),
        "network_calls": found.network_calls,
        "residual": [float(value) for value in found.residual],
    }
    if known is not None and prior is not None:
        report["checkpoint_sha256"] = sha256(prior)
    if regions:
        verdict = judge_cine(cine, found.clean.numpy())
        report |= verdict.to_dict()
        warnings += verdict.warnings
    else:
        report["notice"] = NOTICE
    if folder is not None:
        report["figures"] = draw_cine(cine, found, folder)
    clean = record_of(cine, found.clean.numpy(), derivation=f"dehazed: {method}")
    warnings += write_pictures(clean, out, source=path, overwrite=overwrite)
    if save_haze:
        haze = record_of(cine, found.haze.numpy() - 1, derivation=f"haze removed by {method}")
        write_pictures(haze, haze_out, source=path, overwrite=overwrite)
        report["haze_output"] = str(haze_out)
    return report | {"warnings": list(dict.fromkeys(warnings))}


def open_cine(
    path: Path,
    out: Path,
    *,
    roi: Path | None = None,
    pixel_m: float | None = None,
    dynamic_range_db: float = 60.0,
) -> tuple[Cine, list[str]]:
    """Read a recording as pictures, its regions along with it, and what is doubtful about it.

    Raises:
        ConfigError: a range that is not positive, or several frames for one PNG.
        DataError: see `open_record`, `regions_of` and `cine_of`.
    """
    if not dynamic_range_db > 0:
        raise ConfigError(f"the dynamic range must be above 0 dB, got {dynamic_range_db}.")
    record, warnings = open_record(path)
    warnings = [line for line in warnings if out.suffix.lower() == ".dcm" or "patient identity" not in line]
    regions = regions_of(record, roi)
    if regions and "static" not in regions and np.logical_and.reduce(regions["tissue"]).any():
        regions = {**regions, "static": regions["tissue"]}
    cine = cine_of(record, regions=regions, pixel_m=pixel_m or PIXEL_M, dynamic_range_db=dynamic_range_db)
    if out.suffix.lower() == ".png" and len(cine.levels) > 1:
        raise ConfigError(
            f"a PNG holds one frame; {path.name} has {len(cine.levels)}.",
            hint="Name a folder (no extension), .mp4, .npz or .hdf5.",
        )
    return cine, warnings + list(cine.notes)


def judge_cine(cine: Cine, clean: np.ndarray) -> Report:
    """The combined verdict on cleaned levels (frame, row, col), against the truth where it is known.

    Levels are dB below the truth's peak, else the input's. Flicker is measured in the region "static", else
    where tissue is tissue in every frame.
    """

    def shown(levels: np.ndarray, shift_db: float) -> np.ndarray:
        db = level_to_db(levels, dynamic_range_db=cine.dynamic_range_db) + shift_db
        return np.clip(db, -cine.dynamic_range_db, 0)

    return evaluate(
        shown(cine.levels, cine.shift_db),
        shown(clean, cine.shift_db),
        cine.masks,
        reference=None if cine.reference is None else shown(cine.reference, 0.0),
        dynamic_range_db=cine.dynamic_range_db,
        with_ssim=False,
    )


def draw_cine(cine: Cine, found: Dehazed, folder: Path) -> list[str]:
    """Draw the middle frame before, after, and the haze side by side, and the histograms of the regions."""
    folder.mkdir(parents=True, exist_ok=True)
    at = len(cine.levels) // 2
    span = cine.dynamic_range_db
    before, after, haze = (
        level_to_db(np.asarray(levels), dynamic_range_db=span)
        for levels in (cine.levels, found.clean.numpy(), found.haze.numpy() - 1)
    )
    regions = {name: mask for name, mask in cine.masks.items() if name in ("tissue", "cavity")}
    plot_comparison(
        before[at],
        after[at],
        folder / "comparison.png",
        haze_db=haze[at],
        rois={name: mask[at] for name, mask in regions.items()} or None,
        extent_mm=extent_of(cine.record),
        dynamic_range_db=span,
    )
    drawn = ["comparison.png", "comparison.csv"]
    if regions:
        plot_histograms(before, after, regions, folder / "levels.png", dynamic_range_db=span)
        drawn += ["levels.png", "levels.csv"]
    return drawn


def write_pictures(record: Record, out: Path, *, source: Path, overwrite: bool) -> list[str]:
    """Write pictures whole; a DICOM keeps the identity tags of a DICOM source. Returns warnings."""
    out.parent.mkdir(parents=True, exist_ok=True)
    into_dicom = out.suffix.lower() == ".dcm"
    return write(record, out, overwrite=overwrite, source=source if into_dicom else None)


def extent_of(record: Record) -> tuple[float, float, float, float] | None:
    """left, right, bottom, top of Cartesian pictures in mm; None where pixels have no size."""
    if record.geometry.pixel_m is None:
        return None
    (height, width), (rows, cols) = record.geometry.pixel_m, record.values.shape[1:3]
    return (-500.0 * cols * width, 500.0 * cols * width, 1e3 * rows * height, 0.0)
