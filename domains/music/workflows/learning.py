"""What every training from a corpus does alike: which stems are there, settings changed, the loss drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from core.errors import DataError
from domains.music.plots import plot_curves

__all__ = ["HELD", "changed", "draw_loss", "mean", "stems_of"]

HELD = 12  # songs of another split that a figure is read from
T = TypeVar("T")


def stems_of(corpus: Path, parts: Sequence[str]) -> Sequence[str]:
    """Stems that the songs have: all three of a rendered corpus, the mix of an imported one.

    Raises:
        DataError: a stem that the model needs is missing.
    """
    first = next(iter(sorted(corpus.glob("*/song.json"))), None)
    if first is None:
        raise DataError(f"{corpus} holds no songs.", hint="Make some: suffuse music data render, or import.")
    found = [name for name in ("voice", "backing", "mix") if (first.parent / f"{name}.flac").is_file()]
    if missing := [name for name in parts if name not in found]:
        raise DataError(
            f"the songs of {corpus} have no {' and '.join(missing)}.",
            hint="Train a model of the mix alone: --stems 1.",
        )
    return found


def changed(settings: T, changes: Mapping[str, Any]) -> T:
    """Settings with those that are given, not None, in their place."""
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(settings, **given)  # type: ignore[type-var]


def mean(values: Sequence[float]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None


def draw_loss(folder: Path) -> None:
    """Draw `loss.png` from the log of the run, where there is one."""
    log = folder / "log.jsonl"
    if not log.is_file():
        return
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line]
    points = [(row["step"], row["loss"]) for row in rows if "step" in row and "loss" in row]
    if points:
        steps, losses = zip(*points, strict=True)
        plot_curves({"training": (steps, losses)}, folder / "loss.png", x="step", y="loss")
