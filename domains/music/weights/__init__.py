"""Weights that ship with the domain, one folder a part, all of them in half precision.

    song         lyrics and style to latents
    student      the same in few steps
    codec        latents to waves and back
    recogniser   phones that a wave sings
    tagger       style of a wave

Each folder holds `model.safetensors`, how it was trained in `card.json` and what it scores in `scores.json`.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["PARTS", "SHIPPED", "cards", "shipped"]

HERE = Path(__file__).resolve().parent
PARTS = ("song", "student", "codec", "recogniser", "tagger")
SHIPPED = tuple(sorted(found.parent.name for found in HERE.glob("*/model.safetensors")))


def shipped(name: str) -> Path:
    """The folder of a shipped part, such as "codec"."""
    return HERE / name


def cards() -> list[dict[str, Any]]:
    """What ships: the part, and what it scores."""
    return [
        {"name": name, **json.loads((shipped(name) / "scores.json").read_text("utf-8"))}
        for name in SHIPPED
        if (shipped(name) / "scores.json").is_file()
    ]
