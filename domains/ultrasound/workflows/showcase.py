"""The cases that the demo shows: simulated hearts with known truth, and real recordings with honest
yardsticks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.progress import Progress, silent
from domains.ultrasound.config import DehazeConfig
from domains.ultrasound.display import levels_db
from domains.ultrasound.phantom import bk_layout, bk_lines, reverberation_lines
from domains.ultrasound.plots import plot_comparison
from domains.ultrasound.scan_convert import scan_convert
from domains.ultrasound.workflows.benchmark import HELD_OUT, baseline_answers, held_out, scores
from domains.ultrasound.workflows.dehazing import Priors, dehaze_record, draw_comparison, judge, regions_of

__all__ = ["SIMULATED", "Case", "phantom_case", "reverberation_case", "simulated_case"]

# The simulated haze is part of the mixture at full strength; in-vivo display uses the milder default.
SIMULATED = DehazeConfig(gamma=1.0)


@dataclass(frozen=True)
class Case:
    """One demonstration: its pictures (names in the folder), its rows of numbers, and what was measured
    beside them.
    """

    pictures: tuple[str, ...]
    rows: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def simulated_case(
    priors: Priors,
    folder: Path,
    *,
    levels: Sequence[float] = (0.1, 0.3),
    seeds: Sequence[int] = HELD_OUT,
    seed: int = 0,
    progress: Progress = silent,
) -> Case:
    """Dehaze held-out simulated frames at several haze levels, beside the soft threshold."""
    rows: list[dict[str, Any]] = []
    pictures: list[str] = []
    for level in levels:
        records = held_out(level, seeds)
        found = [
            dehaze_record(
                record, priors, SIMULATED, seed=seed, progress=_part(progress, f"simulated {level}", i, seeds)
            )
            for i, record in enumerate(records)
        ]
        answers = {
            "threshold": baseline_answers(records, "threshold"),
            "joint": [one.tissue.numpy() for one in found],
        }
        rows += [{"level": level, **row} for row in scores(records, answers)]
        name = f"simulated-{level}"
        first = records[0]
        draw_comparison(first, found[0].tissue.numpy(), found[0], regions_of(first, None), folder, name=name)
        pictures.append(f"{name}.png")
    return Case(tuple(pictures), tuple(rows), {"frames": len(seeds), "gamma": SIMULATED.gamma})


def phantom_case(
    priors: Priors,
    data: Path,
    folder: Path,
    *,
    gamma: float = 0.4,
    seed: int = 0,
    progress: Progress = silent,
) -> Case:
    """Dehaze real IQ lines of a phantom with a water chamber, by priors that were trained on simulated hearts
    only.
    """
    record = bk_lines(data)
    found = dehaze_record(record, priors, DehazeConfig(gamma=gamma), seed=seed, progress=progress)
    values = found.tissue.numpy()
    report = judge(record, values, regions_of(record, None), with_ssim=False)
    peak = float(np.abs(record.values).max())
    layout = bk_layout()

    def drawn(lines: np.ndarray) -> np.ndarray:
        return scan_convert(torch.from_numpy(levels_db(np.abs(lines[0]), peak)), layout, fill=-60.0).numpy()

    plot_comparison(
        drawn(record.values), drawn(values), folder / "phantom.png", haze_db=drawn(found.haze.numpy())
    )
    facts = {
        "gamma": gamma,
        "verdict": report.verdict,
        "reasons": report.reasons,
        "warnings": report.warnings,
        "residual": float(found.residual[0]),
        **report.mean,
    }
    return Case(("phantom.png",), (), facts)


def reverberation_case(
    priors: Priors,
    data: Path,
    folder: Path,
    *,
    gamma: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> Case:
    """Dehaze a real recording that is haze and nothing else: how much of it is taken for tissue?"""
    record = reverberation_lines(data)
    found = dehaze_record(record, priors, DehazeConfig(gamma=gamma), seed=seed, progress=progress)
    plain = replace(record, truth={})
    draw_comparison(plain, found.tissue.numpy(), found, {}, folder, name="reverberation")
    energy = {name: _energy(lines) for name, lines in (("tissue", found.tissue), ("haze", found.haze))}
    total = _energy(record.values)
    peak = np.abs(record.values).max()
    before, after = (levels_db(np.abs(lines), peak).mean() for lines in (record.values, found.tissue.numpy()))
    facts = {
        "gamma": gamma,
        "energy_tissue_share": energy["tissue"] / total,
        "energy_haze_share": energy["haze"] / total,
        "level_before_db": float(before),
        "level_after_db": float(after),
        "residual": float(found.residual[0]),
    }
    return Case(("reverberation.png",), (), facts)


def _energy(lines: Any) -> float:
    return float(np.square(np.abs(np.asarray(lines))).sum())


def _part(progress: Progress, name: str, index: int, seeds: Sequence[int]) -> Progress:
    """Progress of one frame as a part of all."""

    def tell(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        each = total or 1
        progress(name, index * each + done, len(seeds) * each, f"frame {index + 1}")

    return tell
