"""Weights that ship with the domain, one folder a model: `model.safetensors`, how it was trained in
`card.json` and, where it was measured, what it scores in `scores.json`.

`python -m tests.benchmarks.graphs --train` makes them again.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["SHIPPED", "cards", "shipped"]

HERE = Path(__file__).resolve().parent
SHIPPED = tuple(sorted(found.parent.name for found in HERE.glob("*/model.safetensors")))


def shipped(name: str) -> Path:
    """The folder of a shipped model, such as "community-small"."""
    return HERE / name


def cards() -> list[dict[str, Any]]:
    """What ships: name, preset, and scores where they were measured."""
    out = []
    for name in SHIPPED:
        scores = shipped(name) / "scores.json"
        card = json.loads((shipped(name) / "card.json").read_text("utf-8"))
        found = json.loads(scores.read_text("utf-8")) if scores.exists() else {}
        out.append({"name": name, "preset": card["preset"], **found})
    return out
