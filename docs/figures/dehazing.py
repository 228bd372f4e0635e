"""The README figure: a held-out simulated heart behind haze, dehazed by the shipped priors, and its numbers.

Run from the root: python -m docs.figures.dehazing
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.plots import plot_comparison
from domains.ultrasound.workflows.benchmark import baseline_answers, held_out, scores
from domains.ultrasound.workflows.dehazing import dehaze_record, load_priors
from domains.ultrasound.workflows.showcase import SIMULATED

HERE = Path(__file__).parent
SEED, LEVEL = 1001, 0.2


def main() -> None:
    torch.set_num_threads(1)
    (record,) = held_out(LEVEL, (SEED,))
    priors = load_priors(None, None)
    found = dehaze_record(record, priors, SIMULATED)
    answers = {"threshold": baseline_answers([record], "threshold"), "joint": [found.tissue.numpy()]}
    rows = scores([record], answers)
    one = replace(record, truth={})
    peak = float(envelope_of(one).max())
    view = view_of(record.geometry, record.values.shape[1])
    shown = {
        name: view.picture(levels_db(np.abs(lines[0]), peak), fill=-60.0)
        for name, lines in (
            ("hazy", record.values),
            ("dehazed", found.tissue.numpy()),
            ("haze", found.haze.numpy()),
        )
    }
    picture, table = plot_comparison(
        shown["hazy"],
        shown["dehazed"],
        HERE / "dehazing.png",
        haze_db=shown["haze"],
        extent_mm=view.extent_mm,
        rois=view.masks(
            {"ventricle": record.truth["ventricle"][0], "heart wall": record.truth["myocardium"][0]}
        ),
    )
    table.unlink()  # half a million pixel values; the scores below are what the text quotes
    report = {
        "command": "python -m docs.figures.dehazing",
        "heart_seed": SEED,
        "haze_level": LEVEL,
        "gamma": SIMULATED.gamma,
        "steps": SIMULATED.steps,
        "checkpoints_sha256": priors.hashes,
        "rows": rows,
    }
    (HERE / "dehazing.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(f"wrote {picture} and {HERE / 'dehazing.json'}")


if __name__ == "__main__":
    main()
