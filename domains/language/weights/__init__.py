"""Weights that ship with the domain, one folder a model: `model.safetensors` in half precision, its
tokenizer, how it was trained in `card.json` and what it scores in `scores.json`. NAME-causal is the baseline
of NAME.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["SHIPPED", "cards", "shipped"]

HERE = Path(__file__).resolve().parent
SHIPPED = tuple(sorted(found.parent.name for found in HERE.glob("*/model.safetensors")))


def shipped(name: str) -> Path:
    """The folder of a shipped model, such as "char"."""
    return HERE / name


def cards() -> list[dict[str, Any]]:
    """What ships: name, text, bound or exact score beside the baselines."""
    return [
        {"name": name, **json.loads((shipped(name) / "scores.json").read_text("utf-8"))}
        for name in SHIPPED
        if (shipped(name) / "scores.json").is_file()
    ]
