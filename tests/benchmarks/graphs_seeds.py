"""Community-small over five training seeds: what differs between runs of one setting.

    python -m tests.benchmarks.graphs --seeds           # trains what is not in runs/, samples, prints
    python -m tests.benchmarks.graphs --seeds --write   # and keeps the table in results/graphs_seeds.json

Every seed is trained by `graphs.community_config` and sampled by S4 with 1000 steps, 128 graphs. The first
100 are five disjoint sets of 20 against the 20 test graphs, as in `graphs`; the figure of a seed is the mean
of its five sets. The seed that ships has the least mean MMD of its 128 graphs to the 80 training graphs: a
rule that does not look at the test graphs. Training takes seven CPU-minutes a seed, sampling two.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from domains.graphs.config import GraphSampling
from domains.graphs.gdss import GraphModel, load_model
from domains.graphs.metrics.structure import mmd_table, vectors
from domains.graphs.sampling import sample_graphs
from domains.graphs.sets import read_set
from domains.graphs.training import train
from tests.benchmarks.graphs import COUNT, REFERENCE, SNR, STEPS, community_config, compared

SEEDS = range(5)
RESULTS = Path(__file__).parent / "results" / "graphs_seeds.json"
S4 = GraphSampling(solver="s4", steps=1000, **SNR)


def folder(seed: int) -> Path:
    return Path(f"runs/graphs-community_small-{seed}")


def trained(seed: int) -> GraphModel:
    """The model of a seed, from its folder or trained now."""
    if (folder(seed) / "model.safetensors").exists():
        return load_model(folder(seed))
    return train(
        read_set("community_small"),
        community_config(),
        seed=seed,
        preset="community_small",
        folder=folder(seed),
        resume=folder(seed).exists(),
    )


def row(model: GraphModel) -> dict[str, Any]:
    """Cost and MMDs of a seed, and its mean MMD to the training graphs, which the choice goes by."""
    start = time.process_time()
    drawn = sample_graphs(model, COUNT, sampling=S4, seed=0)
    spent = time.process_time() - start
    graphs = read_set("community_small")
    known = vectors(graphs.ragged.take(graphs.at("train")))
    return {
        "cpu_s": spent,
        "loss": model.checkpoint.training["loss"],
        "to_training": mmd_table(vectors(drawn.quantised.ragged), known, "emd")["mean"],
        **compared(drawn),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds."""
    found = torch.tensor(values, dtype=torch.float64)
    return {"mean": float(found.mean()), "std": float(found.std())}


def seeds_study(write: bool) -> dict[str, Any]:
    """Every seed, and their mean and spread per metric; kept after each one when `write`."""
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.graphs --seeds --write",
        "settings": {
            "training_steps": STEPS,
            "solver": "s4, 1000",
            "graphs": COUNT,
            "sets": 5,
            "graphs_per_set": 20,
            "kernel": "emd",
            "threads": 1,
            "torch": torch.__version__,
        },
        "reference": REFERENCE["mmd"],
        "rule": "ships: least mean MMD of 128 samples to the 80 training graphs",
        "seeds": {},
    }
    for seed in SEEDS:
        report["seeds"][str(seed)] = row(trained(seed))
        done = list(report["seeds"].values())
        if len(done) > 1:
            report["over_seeds"] = {
                metric: summary([one[metric]["mmd"] for one in done])
                for metric in ("degree", "clustering", "orbit", "spectral", "mean")
            }
        report["chosen"] = min(report["seeds"], key=lambda key: report["seeds"][key]["to_training"])
        print(seed, json.dumps(report["seeds"][str(seed)]), flush=True)
        if write:
            RESULTS.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report
