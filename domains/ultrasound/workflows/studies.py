"""Measured studies of dehazing: what `suffuse bench` runs, and whose results are committed with their
settings.

Each function is one study and returns plain rows. They take minutes; the tests check the committed results
against the limits and repeat a small part.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.progress import Progress, silent
from domains.ultrasound.config import PULL, DehazeConfig, PriorConfig, recipe
from domains.ultrasound.contrast import gcnr, ks
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of, levels_db
from domains.ultrasound.metrics import flicker, psnr_db
from domains.ultrasound.phantom import add_simulated_haze, bk_lines, crop
from domains.ultrasound.prior import train_prior
from domains.ultrasound.simulate import simulate
from domains.ultrasound.supervised import dehaze_supervised, train_supervised
from domains.ultrasound.workflows.benchmark import HELD_OUT, baseline_answers, held_out, scores
from domains.ultrasound.workflows.dehazing import Priors, dehaze_record
from domains.ultrasound.workflows.showcase import SIMULATED
from domains.ultrasound.workflows.training import simulated_frames

__all__ = [
    "cine_stability",
    "cost",
    "dehazing_scores",
    "gamma_sweep",
    "rule_scores",
    "semi_real",
    "trained_priors",
]


def trained_priors(config: PriorConfig, *, seed: int = 0, progress: Progress = silent) -> Priors:
    """Both priors trained from nothing by a recipe, kept in memory."""
    found = {}
    for role in ("tissue", "haze"):
        lines, geometry = simulated_frames(role, "iq", config.frames, seed=seed)
        found[role] = train_prior(lines, role, config, geometry=geometry, seed=seed, progress=progress)
    return Priors(found["tissue"], found["haze"], {})


def dehazing_scores(
    priors: Priors,
    *,
    levels: Sequence[float] = (0.1, 0.2, 0.3),
    seeds: Sequence[int] = HELD_OUT,
    supervised: PriorConfig | None = None,
    lateral_factor: float = 1.0,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Joint sampling beside the soft threshold, and a supervised network of a recipe, on held-out hearts.

    Args:
        lateral_factor: 2 doubles the lateral width of the haze beyond what anything was trained on.
    """
    model = None
    if supervised is not None:
        tissue, haze = (simulated_frames(role, "iq", supervised.frames)[0] for role in ("tissue", "haze"))
        model = train_supervised(tissue, haze, supervised, progress=progress)
    rows = []
    for level in levels:
        records = held_out(level, seeds, lateral_factor=lateral_factor)
        answers = {"threshold": baseline_answers(records, "threshold")}
        if model is not None:
            answers["supervised"] = [
                dehaze_supervised(model, torch.from_numpy(r.values)).numpy() for r in records
            ]
        answers["joint"] = [
            dehaze_record(r, priors, SIMULATED, progress=progress).tissue.numpy() for r in records
        ]
        rows += [
            {"level": level, "lateral_factor": lateral_factor, **row} for row in scores(records, answers)
        ]
    return rows


def rule_scores(
    priors: Priors,
    *,
    level: float = 0.3,
    seeds: Sequence[int] = HELD_OUT,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """The four consistency rules, each with its own pull, on the same frames; processor seconds per frame
    beside them.
    """
    records = held_out(level, seeds)
    answers, spent = {}, {}
    for rule in PULL:
        config = SIMULATED.model_copy(update={"consistency": rule})
        start = time.process_time()
        answers[rule] = [dehaze_record(r, priors, config, progress=progress).tissue.numpy() for r in records]
        spent[rule] = (time.process_time() - start) / len(records)
    return [
        {"level": level, **row, "cpu_s_per_frame": spent.get(row["method"]), "pull": PULL.get(row["method"])}
        for row in scores(records, answers)
    ]


def semi_real(
    priors: Priors,
    data: Path,
    *,
    levels: Sequence[float] = (0.1, 0.3),
    gamma: float = 1.0,
    steps: int = 560,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Simulated haze on real phantom lines, removed by a simulation-only prior and by one fine-tuned on other
    real lines.

    The tissue prior is fine-tuned on the left half of the lines as recorded; everything is measured on the
    right half.
    """
    clean = bk_lines(data)
    left, right = crop(clean, slice(0, 144)), crop(clean, slice(144, 288))
    config = recipe("cpu", steps=steps, lr=1e-3, warmup=20)
    tuned = train_prior(
        torch.from_numpy(left.values), "tissue", config, start=priors.tissue, progress=progress
    )
    models = {"simulation only": priors, "fine-tuned": replace(priors, tissue=tuned)}
    rows = []
    for level in levels:
        record = crop(add_simulated_haze(clean, level), slice(144, 288))
        truth = envelope_of(record, record.truth["tissue"])
        peak = truth.max(axis=(1, 2), keepdims=True)
        images = {"clean": levels_db(truth, peak), "hazy": levels_db(envelope_of(record), peak)}
        for name, pair in models.items():
            found = dehaze_record(record, pair, DehazeConfig(gamma=gamma), progress=progress)
            images[name] = levels_db(envelope_of(record, found.tissue.numpy()), peak)
        water, near = right.truth["ventricle"], right.truth["myocardium"]
        contrast = {name: gcnr(image[water], image[near], bins=100) for name, image in images.items()}
        for name, image in images.items():
            lost = contrast["clean"] - contrast["hazy"]
            rows.append(
                {
                    "level": level,
                    "method": name,
                    "gcnr": contrast[name],
                    "recovered_share": (contrast[name] - contrast["hazy"]) / lost,
                    "water_db": float(image[water].mean()),
                    "near_db": float(image[near].mean()),
                    "ks_near": ks(image[near], images["clean"][near]),
                    "psnr_db": None if name == "clean" else psnr_db(image, images["clean"]),
                }
            )
    return rows


def gamma_sweep(
    priors: Priors,
    *,
    gammas: Sequence[float] = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
    level: float = 0.3,
    seed: int = HELD_OUT[0],
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """One frame against the strength gamma: contrast saturates, tissue damage keeps rising. gamma 0 is the
    input again.
    """
    (record,) = held_out(level, (seed,))
    truth = envelope_of(record, record.truth["tissue"])
    peak = truth.max(axis=(1, 2), keepdims=True)
    hazy = levels_db(envelope_of(record), peak)
    v, m = record.truth["ventricle"], record.truth["myocardium"]
    rows = []
    for index, gamma in enumerate(gammas):
        found = dehaze_record(record, priors, DehazeConfig(gamma=gamma))
        image = levels_db(envelope_of(record, found.tissue.numpy()), peak)
        rows.append(
            {
                "gamma": gamma,
                "gcnr": gcnr(image[v], image[m], bins=100),
                "ks_myocardium_input": ks(image[m], hazy[m]),
                "ventricle_db": float(image[v].mean()),
                "psnr_to_input_db": psnr_db(image, hazy),
                "residual": float(found.residual[0]),
            }
        )
        progress("gamma", index + 1, len(gammas), f"gamma {gamma}")
    return rows


def cine_stability(
    priors: Priors, *, frames: int = 16, level: float = 0.3, progress: Progress = silent
) -> dict[str, float]:
    """A cine of a quarter beat: flicker in the heart wall, output over input, and the effect of the batch
    size.
    """
    record = simulate(seed=HELD_OUT[0], frames=frames, cycles=0.25, level=level)
    one = dehaze_record(record, priors, SIMULATED.model_copy(update={"batch": 1}), progress=progress)
    eight = dehaze_record(record, priors, SIMULATED.model_copy(update={"batch": 8}), progress=progress)
    loose = SIMULATED.model_copy(update={"batch": 8, "independent_noise": True})
    other = dehaze_record(record, priors, loose, progress=progress)
    peak = envelope_of(record, record.truth["tissue"]).max()
    static = np.logical_and.reduce(record.truth["myocardium"])
    source = levels_db(envelope_of(record), peak)
    shared, independent = (
        flicker(levels_db(envelope_of(record, found.tissue.numpy()), peak), source, static)
        for found in (one, other)
    )
    scale = float(one.tissue.abs().max())
    return {
        "frames": float(frames),
        "flicker_shared_noise": shared,
        "flicker_independent_noise": independent,
        "batch_1_against_8": float((one.tissue - eight.tissue).abs().max()) / scale,
    }


def cost(priors: Priors, *, repeats: int = 3) -> dict[str, float]:
    """Processor seconds of dehazing one 528 x 96 IQ frame at 30 steps on one thread: the median of some
    repeats.
    """
    (record,) = held_out(0.3, HELD_OUT[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        dehaze_record(record, priors, SIMULATED.model_copy(update={"steps": 2}))
        times = [_timed(record, priors) for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)
    return {
        "cpu_s_per_frame": float(np.median(times)),
        "steps": float(SIMULATED.steps),
        "repeats": float(repeats),
    }


def _timed(record: Record, priors: Priors) -> float:
    start = time.process_time()
    dehaze_record(record, priors, SIMULATED)
    return time.process_time() - start
