"""Anomalies of a recording: read, noise, denoise, compare, draw, write."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError
from core.progress import Progress, silent
from domains.ultrasound.anomaly import find_anomalies
from domains.ultrasound.verdict import NOTICE
from domains.ultrasound.video.levels import level_to_db, record_of
from domains.ultrasound.video.masks import outside
from domains.ultrasound.video.plots import plot_pictures
from domains.ultrasound.video.prior import check_start, load_picture_prior, pixel_warnings
from domains.ultrasound.workflows.acquire import size_of
from domains.ultrasound.workflows.judging import sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once, check_output, many
from domains.ultrasound.workflows.video import PICTURE_FILES, extent_of, open_cine, write_pictures

__all__ = ["anomaly_file"]


def anomaly_file(
    path: Path,
    out: Path,
    *,
    prior: Path | None,
    sigma: float = 0.5,
    steps: int = 20,
    samples: int = 4,
    dynamic_range_db: float = 60.0,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Map what a prior of healthy pictures would not have drawn.

    Args:
        out: pictures of the difference: its size in dB is the brightness, black where there is none, white
            at half of the display range.
        prior: checkpoint of the role "bmode", trained on healthy pictures.
        sigma: noise level, in picture levels, which span [-1, 1].
        folder: a figure of the frame with the largest difference goes here.

    Returns:
        Report: per frame the mean, the 99th percentile and the largest difference, dB, over pixels that are
        not black throughout.
    """
    check_output(out, PICTURE_FILES, overwrite=overwrite, source=path)
    where, note = choose_device(device)
    if prior is None:
        raise ConfigError(
            "anomaly needs a prior of healthy pictures.",
            hint="Train one: suffuse ultrasound train bmode -o prior.safetensors, and pass --prior.",
        )
    known = load_picture_prior(prior)
    check_start(known, sigma)
    if steps < 2 or samples < 1:
        raise ConfigError(f"expected 2 steps and 1 sample at least, got {steps} and {samples}.")
    cine, warnings = open_cine(path, out, pixel_m=known.pixel_m, dynamic_range_db=dynamic_range_db)
    warnings += pixel_warnings(known, cine.record.geometry.pixel_m)
    n = len(cine.levels)
    plan = (
        f"anomalies of {path}: {size_of(cine.record)}, noise level {sigma:g}",
        f"{steps} steps x {many(samples, 'noise')} x {many(n, 'frame')} = "
        f"{steps * samples * n} network calls",
        f"{note or f'device: {where}'}; output: {out}",
    )
    ready(Outlook(plan, tuple(warnings), str(where)))
    levels = torch.from_numpy(cine.levels)
    found = find_anomalies(
        levels.to(where),
        known.denoiser.to(where),
        sigma=sigma,
        steps=steps,
        end=min(known.sigmas[0], sigma / 2),
        samples=samples,
        seed=seed,
        progress=progress,
    )
    dark = outside(levels)
    expected = torch.where(dark, levels, found.expected.cpu().clamp(-1, 1)).numpy()
    difference = np.abs(cine.levels - expected)
    db = difference * dynamic_range_db / 2
    inside = db[:, ~dark.numpy()]
    rows = [
        {
            "frame": index,
            "mean_db": float(row.mean()),
            "p99_db": float(np.percentile(row, 99)),
            "largest_db": float(row.max()),
        }
        for index, row in enumerate(inside)
    ]
    shown = record_of(cine, np.minimum(2 * difference, 2) - 1, derivation=f"anomaly map, sigma {sigma:g}")
    report: dict[str, Any] = {
        "input": str(path),
        "input_sha256": sha256(path),
        "output": str(out),
        "checkpoint_sha256": sha256(prior),
        "shape": list(db.shape),
        "sigma": sigma,
        "seed": seed,
        "device": str(where),
        "network_calls": steps * samples,
        "frames": rows,
        "notice": NOTICE,
    }
    if folder is not None:
        at = int(np.argmax([row["p99_db"] for row in rows]))
        before, after = (
            level_to_db(x[at], dynamic_range_db=dynamic_range_db) for x in (cine.levels, expected)
        )
        plot_pictures(
            {"picture": before, "expected": after},
            folder / "anomaly.png",
            difference_db=db[at],
            extent_mm=extent_of(cine.record),
            dynamic_range_db=dynamic_range_db,
        )
        report["figures"] = ["anomaly.png", "anomaly.csv"]
    warnings += write_pictures(replace(shown, truth={}), out, source=path, overwrite=overwrite)
    return report | {"warnings": list(dict.fromkeys(warnings))}
