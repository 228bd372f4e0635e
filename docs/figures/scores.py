"""Carry the measured scores to where people read them: tables in the documents, and the card of the weights.

Run from the root, after `make bench`: python -m docs.figures.scores
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.train.checkpoint import load
from domains.ultrasound.weights import shipped
from domains.ultrasound.workflows.judging import sha256

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results" / "ultrasound.json"
VIDEO = RESULTS.with_name("video.json")
CARD = ROOT / "domains" / "ultrasound" / "weights" / "card.json"
NAMES = {
    "hazy": "hazy input",
    "threshold": "soft threshold",
    "supervised": "supervised network, same size",
    "joint": "**joint diffusion**",
}


def scores(results: dict[str, Any], levels: tuple[float, ...] = (0.1, 0.2, 0.3)) -> str:
    """Shipped weights on held-out simulated hearts."""
    rows = [
        f"| {row['level']} | {NAMES[row['method']]} | {row['psnr_db']:.2f} | {_gain(row)} "
        f"| {row['gcnr']:.3f} | {row['ks_myocardium']:.3f} | {row['ventricle_db']:.1f} |"
        for row in results["shipped"]
        if row["level"] in levels
    ]
    return _table("haze | method | PSNR (dB) | gain (dB) | gCNR | KS, heart wall | ventricle (dB)", rows)


def rules(results: dict[str, Any]) -> str:
    """The four consistency rules on the same frames."""
    rows = [
        f"| `{row['method']}` | {row['pull']:g} | {row['psnr_db']:.2f} | {_gain(row)} | {row['gcnr']:.3f} "
        f"| {row['ks_myocardium']:.3f} | {row['ventricle_db']:.1f} | {row['cpu_s_per_frame']:.1f} |"
        for row in results["rules"]
        if row["method"] != "hazy"
    ]
    head = "rule | pull | PSNR (dB) | gain (dB) | gCNR | KS, heart wall | ventricle (dB) | CPU-s a frame"
    return _table(head, rows)


def phantom(results: dict[str, Any]) -> str:
    """Simulated haze on real lines of a phantom."""
    rows = [
        f"| {row['level']} | {row['method']} | {row['gcnr']:.3f} | {row['water_db']:.1f} "
        f"| {row['near_db']:.1f} | {row['ks_near']:.3f} "
        f"| {'' if row['psnr_db'] is None else format(row['psnr_db'], '.2f')} |"
        for row in results["semi_real"]
    ]
    head = "haze | lines | gCNR water/near | water (dB) | near field (dB) | KS, near field | PSNR (dB)"
    return _table(head, rows)


def video(results: dict[str, Any]) -> str:
    """Methods for pictures on simulated cines, with a prior trained for a minute and a half."""
    rows = [
        f"| {study} | {row['method'] if row['method'] != 'hazy' else NAMES['hazy']} | {row['psnr_db']:.2f} "
        f"| {_gain(row)} | {row['gcnr']:.3f} | {row['cavity_db']:.1f} | {row['tissue_change_db']:+.1f} "
        f"| {row['tissue_ks']:.3f} | {row['flicker']:.2f} | {row['cpu_s_per_frame']:.1f} |"
        for study in ("mixture", "veil")
        for row in results[study]
    ]
    head = (
        "haze | method | PSNR (dB) | gain (dB) | gCNR | cavity (dB) | tissue, change (dB) | KS, tissue "
        "| flicker | CPU-s a frame"
    )
    return _table(head, rows)


# Name of the mark -> the document that has it, the results it quotes, and what stands between its two ends.
TABLES: dict[str, tuple[Path, Path, Callable[[dict[str, Any]], str]]] = {
    "scores": (ROOT / "README.md", RESULTS, lambda results: scores(results, (0.2,))),
    "all-scores": (ROOT / "docs" / "ultrasound.md", RESULTS, scores),
    "rules": (ROOT / "docs" / "ultrasound.md", RESULTS, rules),
    "phantom": (ROOT / "docs" / "ultrasound.md", RESULTS, phantom),
    "video": (ROOT / "docs" / "ultrasound.md", VIDEO, video),
}


def marked(name: str) -> re.Pattern[str]:
    """The place of a table in its document."""
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([f"| {head} |", "| --- " * (head.count("|") + 1) + "|", *rows]) + "\n"


def _gain(row: dict[str, Any]) -> str:
    return "" if row["method"] == "hazy" else f"{row['gain_db']:+.2f} ± {row['gain_error_db']:.2f}"


def card(results: dict[str, Any]) -> dict[str, Any]:
    """How the shipped weights were made, and what they score."""
    priors = {}
    for role in ("tissue", "haze"):
        path = shipped(role)
        found = load(path, role=role)
        priors[role] = {
            "file": path.name,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "parameters": sum(tensor.numel() for tensor in found.weights.values()),
            "command": f"suffuse ultrasound train {role} --recipe {found.preset} --seed "
            f"{found.training['seed']} --device cpu -o {role}.safetensors",
            "net": dict(found.net),
            "process": dict(found.process),
            "data_std": found.data_std,
            "training": dict(found.training),
        }
    return {
        "what": "Priors of tissue and of haze for cardiac IQ lines, for joint dehazing.",
        "data": "Simulated only: 60 frames each of hearts without haze and of haze without hearts, 528 x 96 "
        "IQ, 3.4 MHz, 75 degree sector; see domains/ultrasound/simulate. No frame is paired with another.",
        "licence": "MIT",
        "limits": "Research use only; not for diagnosis. Never trained on a recording: on real lines they "
        "may erase speckle that looks like haze.",
        "priors": priors,
        "scores": {
            "command": "suffuse bench",
            "settings": results["settings"],
            "held_out_hearts": results["shipped"],
            "haze_twice_as_wide": results["shipped_shifted"],
            "consistency_rules": results["rules"],
            "real_phantom_lines": results["semi_real"],
            "cost": results["cost"],
        },
    }


def main() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    CARD.write_text(json.dumps(card(results), indent=2) + "\n", "utf-8")
    for name, (page, source, build) in TABLES.items():
        text, table = page.read_text("utf-8"), build(json.loads(source.read_text("utf-8")))
        new = marked(name).sub(lambda found, table=table: found[1] + table + found[2], text)
        page.write_text(new, "utf-8")
    print(f"wrote {CARD.relative_to(ROOT)} and the tables of {', '.join(TABLES)}")


if __name__ == "__main__":
    main()
