"""How graphs drawn from the shipped community-small model compare with the test graphs, and what they cost.

    python -m tests.benchmarks.graphs            # prints the table
    python -m tests.benchmarks.graphs --write    # and keeps it in results/graphs.json
    python -m tests.benchmarks.graphs --train    # trains both shipped models again, into runs/graphs-*
    python -m tests.benchmarks.graphs --seeds    # five training seeds, see `graphs_seeds`

128 graphs a row, one thread. MMD by the "emd" kernels, on five disjoint sets of 20 graphs against the 20 test
graphs: mean and standard deviation over the five (they share one model, so this is the spread of sampling and
not of training), and the floor, the training graphs against the test graphs. The table takes about four
CPU-minutes.

Reference figures: community_small .045 / .086 / .007, mean .046 (Jo, Lee & Hwang 2022, arXiv:2202.02514,
table 1); 0.44 CPU-s a training step at batch 80 and 233 CPU-s for 128 graphs by S4 with 1000 steps (one
thread, another machine).
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from core.state import Seeds
from core.train.samples import Batch
from domains.graphs.config import GraphConfig, GraphSampling, preset_for
from domains.graphs.gdss import GraphModel, ScoreLoss, load_model
from domains.graphs.sampling import Drawn, sample_graphs
from domains.graphs.scoring import score_graphs
from domains.graphs.sets import read_set
from domains.graphs.training import denoiser_for, train
from domains.graphs.weights import shipped

RESULTS = Path(__file__).parent / "results" / "graphs.json"
COUNT, EACH = 128, 20
STEPS = 2200  # of training; the published 5000 take 17 CPU-minutes here
REFERENCE = {
    "train_cpu_s": 0.44,
    "s4_1000_cpu_s": 233.0,
    "mmd": {"degree": 0.045, "clustering": 0.086, "orbit": 0.007, "mean": 0.046},
}
SNR: dict[str, Any] = {"snr": 0.05, "scale_eps": 0.7, "chunk": 64}
ROWS: dict[str, GraphSampling] = {
    "default, 25": GraphSampling(solver="default", steps=25, prior="matched", chunk=64),
    "default, 50": GraphSampling(solver="default", steps=50, prior="matched", chunk=64),
    "default, 100": GraphSampling(solver="default", steps=100, prior="matched", chunk=64),
    "default, 50, normal start": GraphSampling(solver="default", steps=50, chunk=64),
    "ode, 25": GraphSampling(solver="ode", steps=25, prior="matched", chunk=64),
    "ancestral, 100": GraphSampling(solver="ancestral", steps=100, prior="matched", chunk=64),
    "s4, 100": GraphSampling(solver="s4", steps=100, **SNR),
    "s4, 100, matched start": GraphSampling(solver="s4", steps=100, prior="matched", **SNR),
    "em+langevin, 100": GraphSampling(solver="em", steps=100, **SNR),
    "s4, 1000": GraphSampling(solver="s4", steps=1000, **SNR),
}


def community_config() -> GraphConfig:
    """The published preset on a shorter run: the rate falls as far, averaged weights are kept, and the plan
    is that of the least mean MMD in the table with 50 evaluations or fewer.
    """
    changes = {"steps": STEPS, "decay": 0.0067 ** (1 / STEPS), "ema": 0.999, "sampling": ROWS["ode, 25"]}
    return preset_for("community_small", changes)


def molecules_config() -> GraphConfig:
    """The tiny transformer on the enumerated molecules."""
    return preset_for("tiny", {"steps": 2500, "batch": 128})


def training_cost(model: GraphModel, repeats: int = 5) -> float:
    """CPU seconds of the median training step at batch 80."""
    graphs = read_set("community_small").graphs("train")
    denoiser = denoiser_for(model.kind, model.config, model.moments)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)
    spent = []
    for step in range(repeats + 2):
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        seeds = Seeds([80 * step + i for i in range(80)])
        ScoreLoss()(denoiser, Batch(graphs.state()), seeds).mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        spent.append(time.process_time() - start)
    return sorted(spent[2:])[repeats // 2]


def measured(model: GraphModel, sampling: GraphSampling) -> dict[str, Any]:
    """MMDs and cost of one sampler."""
    start = time.process_time()
    drawn = sample_graphs(model, COUNT, sampling=sampling, seed=0)
    spent = time.process_time() - start
    return {"evaluations": drawn.evaluations, "cpu_s": spent, **compared(drawn)}


def compared(drawn: Drawn) -> dict[str, Any]:
    """Mean and spread of each metric over five sets of what was drawn, with its floor."""
    graphs = read_set("community_small")
    test, known = (graphs.ragged.take(graphs.at(split)) for split in ("test", "train"))
    sets = [drawn.quantised.ragged.take(range(i, i + EACH)) for i in range(0, 5 * EACH, EACH)]
    tables = [{row["metric"]: row for row in score_graphs(part, test, known)} for part in sets]
    out: dict[str, Any] = {}
    for metric in tables[0]:
        values = torch.tensor([table[metric]["mmd"] for table in tables], dtype=torch.float64)
        out[metric] = {
            "mmd": float(values.mean()),
            "std": float(values.std()),
            "floor": tables[0][metric]["floor"],
        }
    out["dropped_nodes"] = int(drawn.quantised.dropped.sum())
    return out


def study(write: bool) -> dict[str, Any]:
    """Every row, in order of cost; kept after each one when `write`."""
    torch.set_num_threads(1)
    model = load_model(shipped("community-small"))
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.graphs --write",
        "settings": {
            "graphs": COUNT,
            "sets": 5,
            "graphs_per_set": EACH,
            "kernel": "emd",
            "training_steps": model.config.steps,
            "threads": 1,
            "machine": "2 cores, shared with other work during the runs",
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "reference": REFERENCE,
        "training_step_cpu_s": training_cost(model),
        "rows": {},
    }
    for name, sampling in ROWS.items():
        report["rows"][name] = measured(model, sampling)
        print(name, json.dumps(report["rows"][name]), flush=True)
        if write:
            RESULTS.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def main() -> None:
    """Run the study and print it; `--write` keeps it, `--train` makes the models instead, `--seeds` studies
    five of them.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--seeds", action="store_true")
    asked = parser.parse_args()
    if asked.train:
        torch.set_num_threads(1)
        for source, preset, config in (
            ("community_small", "community_small", community_config()),
            ("small_molecules", "tiny", molecules_config()),
        ):
            train(read_set(source), config, seed=0, preset=preset, folder=Path(f"runs/graphs-{source}"))
        return
    if asked.seeds:
        from tests.benchmarks.graphs_seeds import seeds_study

        print(json.dumps(seeds_study(asked.write), indent=2))
        return
    print(json.dumps(study(asked.write), indent=2))


if __name__ == "__main__":
    main()
