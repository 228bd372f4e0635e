"""Which studies `suffuse bench` runs, and the file they are kept in."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from apps.environment import environment, loaded
from apps.plain import to_json
from apps.runfolder import write_atomic
from core.errors import unknown
from core.progress import Progress, silent
from data.store import path as dataset_path
from domains.ultrasound.config import recipe
from domains.ultrasound.workflows import studies
from domains.ultrasound.workflows.dehazing import load_priors

__all__ = ["run_bench"]


def run_bench(
    out: Path, *, only: Sequence[str] = (), data_dir: Path | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Run studies on the CPU and merge their results into `ultrasound.json`.

    Args:
        out: folder of the results; made when absent.
        only: names of studies; all when empty.

    Raises:
        ConfigError: unknown study.
        DataError: a study needs a dataset that is not on this machine.
    """
    shipped = load_priors(None, None)
    wide = recipe("cpu", steps=1000)
    # Found, or refused, before minutes of other work.
    phantom = dataset_path("plus_bk", data_dir=data_dir) if not only or "semi_real" in only else out
    table: dict[str, Callable[[], Any]] = {
        "shipped": lambda: studies.dehazing_scores(shipped, supervised=wide, progress=progress),
        "shipped_shifted": lambda: studies.dehazing_scores(
            shipped, supervised=wide, lateral_factor=2.0, progress=progress
        ),
        "rules": lambda: studies.rule_scores(shipped, progress=progress),
        "demo_recipe": lambda: studies.dehazing_scores(
            studies.trained_priors(recipe("demo"), progress=progress), progress=progress
        ),
        "semi_real": lambda: studies.semi_real(shipped, phantom, progress=progress),
        "gamma": lambda: studies.gamma_sweep(shipped, progress=progress),
        "cine": lambda: studies.cine_stability(shipped, progress=progress),
        "cost": lambda: studies.cost(shipped),
    }
    for name in only:
        if name not in table:
            raise unknown("study", name, table)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    target = out / "ultrasound.json"
    report: dict[str, Any] = json.loads(target.read_text("utf-8")) if target.is_file() else {}
    report["command"] = "suffuse bench"
    report["settings"] = {
        "frames": "one frame of each of 4 held-out simulated hearts (seeds 1000 to 1003), 528 x 96 IQ",
        "image": "60 dB, scaled by the peak of the truth; gCNR with 100 bins",
        "sampling": "30 steps, projection rule, gamma 1 (gamma and semi_real: as stated)",
        "threads": 1,
        "versions": environment() | loaded(),
        "checkpoints_sha256": shipped.hashes,
    }
    for name in only or table:
        report[name] = table[name]()
        write_atomic(target, to_json(report))
    return report
