"""How far guidance moves the properties of molecules of the shipped QM9 model, and what it costs in validity.

    python -m tests.benchmarks.graphs_guidance                     # prints the rows without a regressor
    python -m tests.benchmarks.graphs_guidance --pulled            # trains a small regressor, and its rows
    python -m tests.benchmarks.graphs_guidance --pulled --write    # keeps results/graphs_guidance.json

    told      classifier-free: the model is told logp = 2 or qed = 0.6, alone or with the other at its mean;
              weight 0 is unguided, 1 conditional
    pulled    along the gradient of logp of a regressor on noisy graphs, w(t) = w0 0.1^t
    scored    Feynman-Kac steering by logp of the molecule so far, 8 particles a group, no gradient

200 molecules a row by the ancestral plan with 50 steps (25 for `scored`), seed 0; the share valid without
correction beside the mean property of what correction leaves, with its standard error. One thread.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from domains.graphs.gdss import GraphModel, load_model
from domains.graphs.guidance import by_score, molecule_reward, pulled, told
from domains.graphs.metrics.molecular import PROPERTIES, property_values, uniqueness
from domains.graphs.property import Predictor, train_property
from domains.graphs.quantise import Quantised
from domains.graphs.sampling import sample_graphs
from domains.graphs.valency import molecules_of
from domains.graphs.weights import shipped
from tests.benchmarks.graphs_molecules import TOLD, keep, plan, training_set

RESULTS = Path(__file__).parent / "results" / "graphs_guidance.json"
COUNT, GROUPS, PARTICLES, STEPS = 200, 25, 8, 800
TARGETS = {"logp": 2.0, "qed": 0.6}
PLAN = plan("ancestral", 50)


def regressor(model: GraphModel) -> Predictor:
    """Of qed and logp, under the model's process, on its training molecules."""
    graphs, properties = training_set()
    return train_property(
        graphs,
        {name: values.tolist() for name, values in properties.items()},
        model.config,
        steps=STEPS,
        seed=0,
    )


def told_row(model: GraphModel, name: str, weight: float, rest: bool = False) -> Quantised:
    """With one target, the other property at its mean (`rest`) or not given."""
    means = {other: mean for other, (mean, _) in model.properties.items()} if rest else {}
    targets = {**means, name: TARGETS[name]}
    return sample_graphs(model, COUNT, sampling=PLAN, targets=targets, steer=told(model, weight)).quantised


def pulled_row(model: GraphModel, predictor: Predictor, weight: float) -> Quantised:
    steer = pulled(predictor, weights={"logp": 1.0}, weight=weight)
    return sample_graphs(model, COUNT, sampling=PLAN, steer=steer).quantised


def scored_row(model: GraphModel, scale: float) -> Quantised:
    reward = molecule_reward(model.kind, PROPERTIES["logp"])
    found = by_score(model, reward, GROUPS, particles=PARTICLES, scale=scale, sampling=plan("ancestral", 25))
    return found.quantised


def measured(model: GraphModel, draw: Callable[[], Quantised]) -> dict[str, Any]:
    """Validity, uniqueness and mean properties of a row, and its cost."""
    start = time.process_time()
    quantised = draw()
    spent = time.process_time() - start
    found = molecules_of(quantised.ragged, model.kind)
    mols = [mol for mol in found.mols if mol is not None]
    out: dict[str, Any] = {
        "cpu_s": spent,
        "molecules": len(found),
        "valid_without_correction": found.rates()["valid_without_correction"],
        "fragmented": found.rates()["fragmented"],
        "unique": uniqueness(list(found.kept)),
    }
    for name in TOLD:
        values = property_values(mols, name)
        out[name] = {"mean": float(values.mean()), "se": float(values.std() / len(values) ** 0.5)}
    return out


def study(model: GraphModel, write: bool, with_regressor: bool) -> dict[str, Any]:
    """Every row; kept along the way when `write`. Rows that the file has already are not drawn again."""
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.graphs_guidance --pulled --write",
        "settings": {
            "molecules": COUNT,
            "groups": GROUPS,
            "particles": PARTICLES,
            "targets": TARGETS,
            "regressor_steps": STEPS,
            "threads": 1,
            "torch": torch.__version__,
        },
        "training": {name: {"mean": mean, "std": std} for name, (mean, std) in model.properties.items()},
        "rows": json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.exists() else {},
    }
    rows: dict[str, Callable[[], Quantised]] = {
        "unguided": lambda: sample_graphs(model, COUNT, sampling=PLAN).quantised
    }
    for name in TARGETS:
        for weight in (1.0, 2.0, 4.0):
            rows[f"told {name}, {weight:g}"] = partial(told_row, model, name, weight)
        rows[f"told {name} and the rest, 1"] = partial(told_row, model, name, 1.0, rest=True)
    for scale in (0.0, 1.0, 4.0):
        rows[f"scored logp, {scale:g}"] = partial(scored_row, model, scale)
    run(report, model, rows, write)
    if not with_regressor:
        return report
    predictor = regressor(model)
    steps = (0.25, 0.5, 1.0)
    run(
        report, model, {f"pulled logp, {w:g}": partial(pulled_row, model, predictor, w) for w in steps}, write
    )
    return report


def run(
    report: dict[str, Any], model: GraphModel, rows: dict[str, Callable[[], Quantised]], write: bool
) -> None:
    """Measure these rows into the report."""
    for name, draw in rows.items():
        if name in report["rows"]:
            continue
        report["rows"][name] = measured(model, draw)
        print(name, json.dumps(report["rows"][name]), flush=True)
        keep(report, write, RESULTS)


def main() -> None:
    """Run the study; `--write` keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--run", type=Path, default=shipped("qm9-small"))
    parser.add_argument("--pulled", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study(load_model(asked.run), asked.write, asked.pulled)


if __name__ == "__main__":
    main()
