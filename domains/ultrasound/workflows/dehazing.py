"""Dehazing a file: read, check, separate, measure what can be measured, draw, write."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import DataError, ModelMismatch
from core.progress import Progress, silent
from domains.ultrasound.baselines import baseline
from domains.ultrasound.config import DehazeConfig
from domains.ultrasound.contrast import gcnr
from domains.ultrasound.data import Record
from domains.ultrasound.dehaze import Dehazed, dehaze, plan_of
from domains.ultrasound.display import envelope_of, levels_db
from domains.ultrasound.formats import write
from domains.ultrasound.prior import Prior, check_match, check_range, load_prior
from domains.ultrasound.verdict import NOTICE
from domains.ultrasound.weights import shipped
from domains.ultrasound.workflows.acquire import open_record, size_of
from domains.ultrasound.workflows.judging import draw_comparison, judge, regions_of, sha256
from domains.ultrasound.workflows.outlook import LINE_FILES, Outlook, Ready, at_once, check_output, many

__all__ = [
    "Priors",
    "check_lines",
    "dehaze_file",
    "dehaze_record",
    "draw_comparison",
    "gamma_sweep",
    "judge",
    "load_priors",
    "phase_of",
    "regions_of",
]


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
    check_lines(record, priors, config)
    lines = torch.from_numpy(np.ascontiguousarray(record.values))
    lines = lines.to(torch.complex64 if lines.is_complex() else torch.float32)
    for prior in (priors.tissue, priors.haze):
        prior.denoiser.to(device)
    return dehaze(lines, priors.tissue, priors.haze, config, seed=seed, device=device, progress=progress)


def check_lines(record: Record, priors: Priors, config: DehazeConfig) -> list[str]:
    """Refuse what the priors were not made for; returns warnings.

    Raises:
        ModelMismatch: no phase, RF against IQ, or another sampling rate per centre frequency.
        ConfigError: noise levels outside the trained range, or in the wrong order.
        DataError: channel data, or frames smaller than 16 x 16.
    """
    if record.kind == "raw_data":
        raise DataError("raw_data has no lines yet.", hint="Beamform it: suffuse ultrasound beamform.")
    size, patch = record.values.shape[1:3], priors.tissue.patch
    for prior in (priors.tissue, priors.haze):
        check_match(prior, phase_of(record), record.geometry)
        check_range(prior, config.start_sigma)
    plan_of(config)
    if min(size) < 16:
        raise DataError(f"frames must be at least 16 x 16, got {size[0]} x {size[1]}.")
    if size[0] < patch[0] or size[1] < patch[1]:
        return [
            f"frames of {size[0]} x {size[1]} are smaller than a patch of {patch[0]} x {patch[1]}: "
            "padded by reflection."
        ]
    return []


def phase_of(record: Record) -> str | None:
    """ "rf" or "iq", or None when nothing oscillates: pictures, envelopes, real values without a sign."""
    if record.domain == "rf" and float(record.values.min()) >= 0:
        return None
    return record.domain


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
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Remove haze from the RF or IQ lines of a file.

    Args:
        out: file of the dehazed lines, HDF5 or NPZ.
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
        check_output(target, LINE_FILES, overwrite=overwrite, source=path)
    where, note = choose_device(device)
    clean = baseline(method) if method != "joint" else None
    record, warnings = open_record(path)
    record = _floating(record)
    regions = regions_of(record, roi)
    plan = [f"dehaze {path}: {size_of(record)}, method {method}"]
    priors: Priors | None = None
    if clean is None:
        priors = load_priors(tissue, haze)
        warnings += check_lines(record, priors, config)
        plan.append(_cost(record, priors, config))
    elif phase_of(record) is None:
        raise ModelMismatch(
            "no phase found: the input is an envelope or a log image.", hint="Use dehaze-video for pictures."
        )
    if record.domain == "rf":
        names = ("fs_hz", "f0_hz", "bandwidth")
        add = "suffuse ultrasound convert IN OUT --fs HZ --f0 HZ --bandwidth SHARE"
        record.geometry.need(*names, purpose="the envelope of RF lines", option=add)
    plan.append(f"{note or f'device: {where}'}; output: {out}")
    ready(Outlook(tuple(plan), tuple(warnings), str(where)))
    report: dict[str, Any] = {
        "input": str(path),
        "input_sha256": sha256(path),
        "output": str(out),
        "method": method,
        "kind": record.kind,
        "shape": list(record.values.shape),
        "seed": seed,
        "device": str(where),
    }
    found: Dehazed | None = None
    if priors is not None:
        found = dehaze_record(record, priors, config, seed=seed, device=where, progress=progress)
        values, removed = found.tissue.numpy(), found.haze.numpy()
        report |= {
            "checkpoints_sha256": priors.hashes,
            "network_calls": found.network_calls,
            "weights": config.weights,
            "residual": [float(value) for value in found.residual],
        }
    else:
        assert clean is not None
        values = clean(record.values)
        removed = record.values - values
    tags = {**record.meta, "derivation": f"dehazed: {method}"}
    cleaned = replace(record, values=values, truth={}, meta=tags)
    if regions:
        verdict = judge(record, values, regions, with_ssim=False)
        report |= verdict.to_dict()
        warnings += verdict.warnings
    if folder is not None:
        report["figures"] = draw_comparison(record, values, found, regions, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(cleaned, out, overwrite=overwrite)
    if save_haze:
        write(replace(cleaned, values=removed), haze_out, overwrite=overwrite)
        report["haze_output"] = str(haze_out)
    return {**report, "warnings": list(dict.fromkeys(warnings)), "notice": NOTICE}


def _floating(record: Record) -> Record:
    """Lines as floating-point numbers; recorders store integers."""
    if np.issubdtype(record.values.dtype, np.integer) and record.kind == "beamformed_data":
        return record.with_values(record.values.astype(np.float32))
    return record


def _cost(record: Record, priors: Priors, config: DehazeConfig) -> str:
    """How much work a dehazing is, in calls of networks of a size."""
    frames, samples = len(record.values), config.samples
    sizes = {sum(p.numel() for p in part.denoiser.parameters()) for part in (priors.tissue, priors.haze)}
    counts = " and ".join(f"{size / 1e3:.0f} k" for size in sorted(sizes))
    per = f" x {samples} samples" if samples > 1 else ""
    return (
        f"{config.steps} steps of rule '{config.consistency}' x 2 priors{per} x {many(frames, 'frame')} "
        f"= {2 * config.steps * samples * frames} network calls, {counts} parameters each"
    )


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
