"""Dehazing a file: read, check, separate, measure what can be measured, draw, write."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError
from core.progress import Progress, silent
from domains.ultrasound.baselines import baseline
from domains.ultrasound.config import DehazeConfig
from domains.ultrasound.contrast import gcnr
from domains.ultrasound.data import Record
from domains.ultrasound.dehaze import Dehazed, dehaze
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.formats import write
from domains.ultrasound.plots import plot_comparison, plot_histograms
from domains.ultrasound.prior import Prior, check_match, check_range, load_prior
from domains.ultrasound.roi import read_roi
from domains.ultrasound.verdict import NOTICE, Report, evaluate
from domains.ultrasound.weights import shipped
from domains.ultrasound.workflows.acquire import open_record

__all__ = ["Priors", "dehaze_file", "dehaze_record", "draw_comparison", "judge", "load_priors", "regions_of"]

TRUTH_REGIONS = {"ventricle": "cavity", "myocardium": "tissue"}


@dataclass(frozen=True)
class Priors:
    """The two priors of a dehazing and the hashes of their files."""

    tissue: Prior
    haze: Prior
    hashes: dict[str, str]


def load_priors(tissue: Path | None, haze: Path | None) -> Priors:
    """Read both priors; None takes the one that ships with the suite (simulated cardiac IQ)."""
    paths = {"tissue": tissue or shipped("tissue"), "haze": haze or shipped("haze")}
    found = {role: load_prior(path, role) for role, path in paths.items()}  # type: ignore[arg-type]
    return Priors(found["tissue"], found["haze"], {role: sha256(path) for role, path in paths.items()})


def dehaze_record(
    record: Record,
    priors: Priors,
    config: DehazeConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Dehazed:
    """Dehaze the lines of a record, after checking that the priors were made for such lines."""
    for prior in (priors.tissue, priors.haze):
        check_match(prior, record.domain, record.geometry)
        check_range(prior, config.start_sigma)
    lines = torch.from_numpy(np.ascontiguousarray(record.values))
    lines = lines.to(torch.complex64 if lines.is_complex() else torch.float32)
    for prior in (priors.tissue, priors.haze):
        prior.denoiser.to(device)
    return dehaze(lines, priors.tissue, priors.haze, config, seed=seed, device=device, progress=progress)


def dehaze_file(
    path: Path,
    out: Path,
    config: DehazeConfig,
    *,
    tissue: Path | None = None,
    haze: Path | None = None,
    method: str = "joint",
    roi: Path | None = None,
    save_haze: bool = False,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Remove haze from the RF or IQ lines of a file.

    Args:
        out: file of the dehazed lines, any writable format that holds lines.
        tissue, haze: checkpoints; the shipped ones when None.
        method: "joint", or a baseline: "none", "threshold", "svd", "bm3d".
        roi: regions to measure in; a simulated file brings its own.
        save_haze: also write the haze estimate, as `<out>-haze.<suffix>`.
        folder: figures go here.

    Returns:
        Report: settings, hashes, residual per frame, the combined verdict where regions are known, warnings.
    """
    haze_out = out.with_name(f"{out.stem}-haze{out.suffix}")
    for target in [out, *([haze_out] if save_haze else [])]:
        if target.exists() and not overwrite:
            raise ConfigError(
                f"{target} exists; nothing was overwritten.", hint="Choose another --out, or pass --force."
            )
    where, note = choose_device(device)
    record, warnings = open_record(path)
    warnings += [note] if note else []
    regions = regions_of(record, roi)
    report: dict[str, Any] = {
        "input": str(path),
        "input_sha256": sha256(path),
        "output": str(out),
        "method": method,
    }
    found: Dehazed | None = None
    if method == "joint":
        priors = load_priors(tissue, haze)
        small = [n for n, p in zip(record.values.shape[1:], priors.tissue.patch, strict=True) if n < p]
        if small and min(record.values.shape[1:]) >= 16:
            warnings.append(
                f"the frame is smaller than a patch {list(priors.tissue.patch)}: padded by reflection."
            )
        found = dehaze_record(record, priors, config, seed=seed, device=where, progress=progress)
        values = found.tissue.numpy()
        report |= {
            "checkpoints_sha256": priors.hashes,
            "network_calls": found.network_calls,
            "residual": [float(value) for value in found.residual],
        }
    else:
        values = baseline(method)(record.values)
    cleaned = replace(
        record, values=values, truth={}, meta={**record.meta, "derivation": f"dehazed: {method}"}
    )
    report["kind"], report["shape"], report["seed"] = record.kind, list(record.values.shape), seed
    if regions:
        verdict = judge(record, values, regions)
        report |= verdict.to_dict()
        warnings += verdict.warnings
    if folder is not None:
        report["figures"] = draw_comparison(record, values, found, regions, folder)
    write(cleaned, out, overwrite=overwrite)
    if save_haze:
        hazes = found.haze.numpy() if found else record.values - values
        write(replace(cleaned, values=hazes), haze_out, overwrite=overwrite)
        report["haze_output"] = str(haze_out)
    return {**report, "warnings": list(dict.fromkeys(warnings)), "notice": NOTICE}


def regions_of(record: Record, roi: Path | None) -> dict[str, np.ndarray]:
    """Masks "tissue" and "cavity", (frame, sample, line): from a ROI file, else from a simulated truth, else
    none.
    """
    shape = record.values.shape
    if roi is not None:
        masks = read_roi(roi, shape[1:3], geometry=record.geometry)
        return {name: np.broadcast_to(mask, shape[:3]) for name, mask in masks.items()}
    return {role: record.truth[name] for name, role in TRUTH_REGIONS.items() if name in record.truth}


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


def gamma_sweep(
    record: Record, priors: Priors, config: DehazeConfig, gammas: list[float], *, seed: int = 0
) -> list[dict[str, float]]:
    """gCNR and cavity level of the first frame against the strength gamma; the saturation tells where to
    stop.
    """
    one = record.with_values(record.values[:1], truth={k: v[:1] for k, v in record.truth.items()})
    regions = regions_of(one, None)
    peak = envelope_of(one).max(axis=(1, 2), keepdims=True)
    rows = []
    for gamma in gammas:
        found = dehaze_record(one, priors, config.model_copy(update={"gamma": gamma}), seed=seed)
        db = levels_db(envelope_of(one, found.tissue.numpy()), peak)
        cavity, tissue = db[regions["cavity"]], db[regions["tissue"]]
        rows.append({"gamma": gamma, "gcnr": gcnr(cavity, tissue), "cavity_db": float(cavity.mean())})
    return rows


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if item.is_file():
            digest.update(item.name.encode() if path.is_dir() else b"")
            digest.update(item.read_bytes())
    return digest.hexdigest()
