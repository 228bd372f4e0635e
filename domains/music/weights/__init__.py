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

__all__ = ["PARTS", "SHIPPED", "cards", "shipped", "summaries"]

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


def summaries() -> list[dict[str, Any]]:
    """One line a part: size, what was measured on songs of the test split, and what to read it against."""
    return [
        {
            "part": card["name"],
            "megabytes": round((shipped(card["name"]) / "model.safetensors").stat().st_size / 1e6, 1),
            **_line(card),
        }
        for card in cards()
    ]


def _line(card: dict[str, Any]) -> dict[str, str]:
    match card["name"]:
        case "codec":
            found = card["error_db"]["corpus, mix"]
            return {
                "measured": f"log-spectral error {found['codec']:.1f} dB on mixes",
                "yardstick": f"80 mel bands at 2.5 times the rate: {found['mel 80, hop 1024']:.1f} dB",
            }
        case "recogniser":
            found = card["mix"]
            return {
                "measured": f"phone errors {found['per']['value']:.0%} on mixes",
                "yardstick": f"words of another song: {found['per_shuffled']['value']:.0%}",
            }
        case "tagger":
            found = card["all"]
            fields = ("instrument", "voice", "tempo")
            return {
                "measured": ", ".join(f"{name} {found[name]['value']:.0%}" for name in fields),
                "yardstick": "chance: 20, 50 and 33 %",
            }
    row = card if card["name"] == "song" else next(r for r in card["rows"] if r["calls"] == 4)
    real = card["recordings"]
    return {
        "measured": f"{row['calls']} calls: FAD-own {row['fad_own'][0]:.0f}, instrument as asked "
        f"{row['instrument'][0]:.0%}, phone errors {row['per_asked'][0]:.0%}",
        "yardstick": f"recordings: {real['fad_own'][0]:.0f}, {real['instrument'][0]:.0%}, "
        f"{real['per_asked'][0]:.0%}; against other words {row['per_other'][0]:.0%}",
    }
