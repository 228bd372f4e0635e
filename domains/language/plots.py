"""Pictures of text models: how the loss fell, and what each token of a text cost."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.palette import COLOURS

__all__ = ["draw_costs", "draw_training"]


def draw_training(runs: Mapping[str, Path], out: Path, length: int) -> None:
    """Training loss in bits per token of each run folder, smoothed over its neighbours, against steps."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for (name, folder), colour in zip(runs.items(), COLOURS, strict=False):
        log = folder / "log.jsonl"
        if not log.is_file():
            continue
        lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        steps = np.array([line["step"] for line in lines])
        loss = np.array([line["loss"] for line in lines]) / length / np.log(2)
        axes.plot(
            steps,
            _smooth(loss),
            color=colour,
            label="causal, exact" if name == "causal" else f"{name}, bound",
        )
    axes.set(xlabel="step", ylabel="bits per token")
    axes.legend(frameon=False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def draw_costs(names: Sequence[str], rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Bits per token of documents as bars with standard errors."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.3 * len(rows)), layout="constrained")
    values = [row["nats_per_token"] / np.log(2) for row in rows]
    errors = [(row["nats_per_token_error"] or 0.0) / np.log(2) for row in rows]
    axes.barh(range(len(rows)), values, xerr=errors, color=COLOURS[0])
    axes.set_yticks(range(len(rows)), [name if len(name) <= 40 else f"…{name[-39:]}" for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("bits per token")
    figure.savefig(out, dpi=150)
    plt.close(figure)


def _smooth(values: Any, width: int = 9) -> Any:
    if len(values) < width:
        return values
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")
