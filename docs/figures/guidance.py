"""What guidance and scaffolds do to small molecules: the tables of docs/graphs.md, and their picture.

Run from the root: python -m docs.figures.guidance [FOLDER]

The commands run one after another in FOLDER (runs/guidance by default); what has a report there already is
kept. About ten minutes of one core.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from docs.figures.scores import marked

HERE = Path(__file__).parent
PAGE = HERE.parent / "graphs.md"
RESULTS = HERE / "guidance.json"
# Name of the output -> the command that makes it.
COMMANDS = {
    "cond": "train small_molecules --property logp,qed --steps 1500 -o cond",
    "told1": "guide cond -o told1.smi --property logp=1.5 --weight 1",
    "told2": "guide cond -o told2.smi --property logp=1.5 --weight 2",
    "told4": "guide cond -o told4.smi --property logp=1.5 --weight 4",
    "both": "guide cond -o both.smi --property logp=1.5,qed=0.45",
    "pred": "train-property small-molecules small_molecules --property qed,logp --steps 800 -o pred",
    "pulled": "guide small-molecules -o pulled.smi --predictor pred --property logp=1.5",
    "pulled1": "guide small-molecules -o pulled1.smi --predictor pred --property logp --weight 0.3",
    "qed": "guide small-molecules -o qed.smi --reward qed --n 60",
    "grown": "scaffold small-molecules --scaffold 'C1CC1*' -o grown.smi",
    "grown2": "scaffold small-molecules --scaffold 'C1CC1*' -o grown2.smi --jumps 5",
}


def main(folder: Path) -> None:
    """Run what is missing, and carry the figures into the page."""
    from apps.cli import run

    folder.mkdir(parents=True, exist_ok=True)
    reports: dict[str, dict[str, Any]] = {}
    for name, command in COMMANDS.items():
        path = next(
            (path for path in (folder / f"{name}.smi.run", folder / name) if (path / "report.json").exists()),
            None,
        )
        if path is None:
            with contextlib.chdir(folder):
                if code := run(["graphs", *shlex.split(command), "--quiet"]):
                    raise SystemExit(code)
            path = next(p for p in (folder / f"{name}.smi.run", folder / name) if p.is_dir())
        found = json.loads((path / "report.json").read_text("utf-8"))
        reports[name] = {"command": f"suffuse graphs {command}", **_kept(found)}
    shutil.copy(folder / "told2.smi.run" / "properties.png", HERE / "guidance.png")
    RESULTS.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
    write_page()
    print(f"wrote {os.path.relpath(RESULTS)} and the tables of {os.path.relpath(PAGE)}")


def _kept(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what the command says already."""
    drop = ("run", "output", "model", "sampling", "notes", "kind", "data", "warnings")
    return {key: value for key, value in report.items() if key not in drop}


def guidance_table(reports: dict[str, dict[str, Any]]) -> str:
    """One row per property of each guided run."""
    lines = [
        "| `suffuse graphs guide` | wish | mean without | mean guided | valid as drawn, without / guided "
        "| distinct, without / guided |",
        "| --- " * 6 + "|",
    ]
    for report in reports.values():
        if "rates" not in report or "how" not in report:
            continue
        command = re.sub(r" -o \S+", "", report["command"].removeprefix("suffuse graphs guide "))
        rates = {row["set"]: row for row in report["rates"]}
        valid, unique = (
            " / ".join(f"{100 * rates[side][key]:.0f} %" for side in ("without", "guided"))
            for key in ("valid_without_correction", "unique")
        )
        for row in report["properties"]:
            means = " | ".join(
                f"{row[side]:.3f} ± {row[f'{side}_standard_error']:.3f}" for side in ("without", "guided")
            )
            lines.append(f"| `{command}` | {row['wish']} | {means} | {valid} | {unique} |")
    return "\n".join(lines) + "\n"


def scaffold_table(reports: dict[str, dict[str, Any]]) -> str:
    """One row per way of holding a scaffold."""
    lines = [
        "| `suffuse graphs scaffold` | hold it | by chance | valid as drawn | distinct of those kept |",
        "| --- " * 5 + "|",
    ]
    for report in reports.values():
        if "kept_without" in report:
            how = (
                f"{report['method']}, {report['jumps']} {'walk' if report['jumps'] == 1 else 'walks'} a step"
            )
            shares = ("kept", "kept_without", "valid_without_correction", "unique_of_kept")
            lines.append(f"| {how} | " + " | ".join(f"{100 * report[key]:.0f} %" for key in shares) + " |")
    return "\n".join(lines) + "\n"


def predictor_table(reports: dict[str, dict[str, Any]]) -> str:
    """Errors of the predictor at times of the noise."""
    lines = ["| property | t | mean absolute error | of the mean | R2 |", "| --- " * 5 + "|"]
    lines += [
        f"| {row['property']} | {row['t']:g} | {row['mae']:.3f} | {row['mae_of_the_mean']:.3f} "
        f"| {row['r2']:.2f} |"
        for row in reports["pred"]["errors"]
    ]
    return "\n".join(lines) + "\n"


TABLES = {"guidance": guidance_table, "scaffold": scaffold_table, "predictor": predictor_table}


def write_page() -> None:
    """Carry the tables into the page."""
    reports, text = json.loads(RESULTS.read_text("utf-8")), PAGE.read_text("utf-8")
    for name, build in TABLES.items():
        table = build(reports)
        text = marked(name).sub(lambda found, table=table: found[1] + table + found[2], text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/guidance").resolve())
