"""Scores of dehazing on held-out simulated hearts, where the truth is known: joint sampling beside its
baselines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from domains.ultrasound.baselines import baseline
from domains.ultrasound.contrast import gcnr, ks
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of, levels_db
from domains.ultrasound.metrics import psnr_db
from domains.ultrasound.simulate import draw_haze, simulate

__all__ = ["HELD_OUT", "baseline_answers", "held_out", "score", "scores"]

HELD_OUT = (
    1000,
    1001,
    1002,
    1003,
)  # hearts that no prior was trained on; training draws come from other streams
BINS = 100  # of gCNR, as in the published tables of simulated frames


def held_out(level: float, seeds: Sequence[int] = HELD_OUT, *, lateral_factor: float = 1.0) -> list[Record]:
    """One hazy IQ frame of each heart, with its truth.

    Args:
        lateral_factor: widens the haze beyond what any prior saw (2 doubles its lateral width).
    """
    records = []
    for seed in seeds:
        haze = replace(draw_haze(seed), lateral_factor=lateral_factor)
        records.append(simulate(seed=seed, frames=1, level=level, recipe=haze))
    return records


def baseline_answers(records: Sequence[Record], name: str) -> list[np.ndarray]:
    """Lines of every record after a baseline, such as "threshold"."""
    rule = baseline(name)
    return [rule(record.values) for record in records]


def score(record: Record, values: np.ndarray) -> dict[str, float]:
    """Measures of one dehazed frame against its truth, all on 60 dB images scaled by the truth's peak.

    KS compares the myocardium with the truth's; levels are means in dB.
    """
    truth = envelope_of(record, record.truth["tissue"])
    peak = truth.max(axis=(1, 2), keepdims=True)
    clean, image = levels_db(truth, peak), levels_db(envelope_of(record, values), peak)
    v, m = record.truth["ventricle"], record.truth["myocardium"]
    return {
        "psnr_db": psnr_db(image, clean),
        "gcnr": gcnr(image[v], image[m], bins=BINS),
        "ks_myocardium": ks(image[m], clean[m]),
        "ventricle_db": float(image[v].mean()),
        "myocardium_db": float(image[m].mean()),
        "myocardium_truth_db": float(clean[m].mean()),
    }


def scores(records: Sequence[Record], answers: Mapping[str, Sequence[np.ndarray]]) -> list[dict[str, Any]]:
    """Mean scores of "hazy" and of every method over records.

    Args:
        records: hazy frames with their truth.
        answers: method -> its lines for each record.

    Returns:
        A row per method, "hazy" first; "gain_db" is the PSNR over the hazy input's, with its standard error
        over records.
    """
    table = {"hazy": [record.values for record in records], **answers}
    measured = {
        name: [score(record, values) for record, values in zip(records, lines, strict=True)]
        for name, lines in table.items()
    }
    rows = []
    for name, found in measured.items():
        mean = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        gains = [row["psnr_db"] - base["psnr_db"] for row, base in zip(found, measured["hazy"], strict=True)]
        error = float(np.std(gains, ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
        rows.append({"method": name, **mean, "gain_db": float(np.mean(gains)), "gain_error_db": error})
    return rows
