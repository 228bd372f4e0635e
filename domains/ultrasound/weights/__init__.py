"""Weights that ship with the domain, and the card that says how they were trained and what they score."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["card", "shipped"]


def shipped(role: str) -> Path:
    """The checkpoint of the shipped prior of this role, "tissue" or "haze"."""
    return Path(str(files("domains.ultrasound.weights").joinpath(f"{role}.safetensors")))


def card() -> dict[str, Any]:
    """The weight card: recipe, command, data, measured scores."""
    return json.loads(files("domains.ultrasound.weights").joinpath("card.json").read_text("utf-8"))
