"""Weights that ship with the domain, one folder a model: `model.safetensors`, how it was trained in
`card.json` and what it scores in `scores.json`.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["SHIPPED", "cards", "shipped"]

HERE = Path(__file__).resolve().parent
SHIPPED = tuple(sorted(found.parent.name for found in HERE.glob("*/model.safetensors")))


def shipped(name: str) -> Path:
    """The folder of a shipped model, such as "m4-hourly"."""
    return HERE / name


def cards() -> list[dict[str, Any]]:
    """What ships: name, data, window, and its scores beside seasonal naive and ridge."""
    return [
        {"name": name, **json.loads((shipped(name) / "scores.json").read_text("utf-8"))} for name in SHIPPED
    ]
