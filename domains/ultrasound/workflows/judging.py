"""What is measured and shown of a dehazing: regions, verdict, pictures, and the hash of what went in."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Record
from domains.ultrasound.dehaze import Dehazed
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.plots import plot_comparison, plot_histograms
from domains.ultrasound.roi import read_roi
from domains.ultrasound.verdict import Report, evaluate

__all__ = ["draw_comparison", "judge", "regions_of", "sha256"]

TRUTH_REGIONS = {"ventricle": "cavity", "myocardium": "tissue"}


def regions_of(record: Record, roi: Path | None) -> dict[str, np.ndarray]:
    """Masks "tissue" and "cavity" (and others), (frame, sample, line), from a ROI file, else from a simulated
    truth; empty when there is neither, or the truth lies outside the view in some frame.

    Raises:
        DataError: the ROI file lacks one of the two, has another number of frames, or a frame without pixels.
    """
    shape = record.values.shape[:3]
    if roi is None:
        known = {role: record.truth[name] for name, role in TRUTH_REGIONS.items() if name in record.truth}
        return known if all(mask.any(axis=(1, 2)).all() for mask in known.values()) else {}
    masks = read_roi(roi, shape[1:], geometry=record.geometry)
    absent = [name for name in TRUTH_REGIONS.values() if name not in masks]
    if absent:
        raise DataError(
            f"{roi.name} has no region {' and no '.join(map(repr, absent))}, found {', '.join(masks)}.",
            hint='Name the regions "tissue" and "cavity".',
        )
    for name, mask in masks.items():
        if mask.ndim == 3 and len(mask) != shape[0]:
            raise DataError(f"{roi.name} has {len(mask)} frames, the recording {shape[0]}.")
        if mask.ndim == 3 and not mask.any(axis=(1, 2)).all():
            empty = int(np.argmin(mask.any(axis=(1, 2))))
            raise DataError(f"the region '{name}' of {roi.name} is empty in frame {empty}.")
    return {name: np.broadcast_to(mask, shape) for name, mask in masks.items()}


def judge(
    record: Record, values: np.ndarray, regions: dict[str, np.ndarray], *, with_ssim: bool = True
) -> Report:
    """The combined verdict on dehazed lines, against the truth where the record holds it.

    Frames are compared in dB of one common peak: the truth's, else the input's.
    """
    hazy, clean = envelope_of(record), envelope_of(record, values)
    truth = envelope_of(record, record.truth["tissue"]) if "tissue" in record.truth else None
    peak = (hazy if truth is None else truth).max(axis=(1, 2), keepdims=True)
    return evaluate(
        levels_db(hazy, peak),
        levels_db(clean, peak),
        regions,
        reference=None if truth is None else levels_db(truth, peak),
        with_ssim=with_ssim and truth is not None,
    )


def draw_comparison(
    record: Record,
    values: np.ndarray,
    found: Dehazed | None,
    regions: dict[str, np.ndarray],
    folder: Path,
    *,
    frame: int = 0,
    name: str = "comparison",
) -> list[str]:
    """Draw hazy, dehazed, haze, deviation and residual of one frame side by side, and the histograms of the
    regions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    view = view_of(record.geometry, record.values.shape[1])
    one = replace(record, values=record.values[frame : frame + 1], truth={})
    hazy, clean = envelope_of(one)[0], envelope_of(one, values[frame : frame + 1])[0]
    peak = float(hazy.max())
    db = {"hazy": levels_db(hazy, peak), "clean": levels_db(clean, peak)}
    masks = {key: mask[frame] for key, mask in regions.items()}
    removed = found.haze[frame].numpy() if found else record.values[frame] - values[frame]
    rest = np.abs(record.values[frame] - values[frame] - removed) / np.abs(record.values[frame]).max()
    removed_db = levels_db(envelope_of(one, removed[None])[0], peak)
    deviation = found.std_db[frame].numpy() if found is not None and found.std_db is not None else None
    plot_comparison(
        view.picture(db["hazy"], fill=-60.0),
        view.picture(db["clean"], fill=-60.0),
        folder / f"{name}.png",
        haze_db=view.picture(removed_db, fill=-60.0),
        deviation_db=None if deviation is None else view.picture(deviation, fill=0.0),
        residual=view.picture(rest, fill=0.0),
        rois=view.masks(masks),
        extent_mm=view.extent_mm,
    )
    drawn = [f"{name}.png", f"{name}.csv"]
    if masks:
        plot_histograms(db["hazy"], db["clean"], masks, folder / f"{name}-levels.png")
        drawn += [f"{name}-levels.png", f"{name}-levels.csv"]
    return drawn


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if item.is_file():
            digest.update(item.name.encode() if path.is_dir() else b"")
            digest.update(item.read_bytes())
    return digest.hexdigest()
