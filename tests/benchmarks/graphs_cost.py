"""What a training step and an S4 step of the community-small networks cost, here and at another revision.

    python -m tests.benchmarks.graphs_cost --before 550fb7f           # prints both, measured in turns
    python -m tests.benchmarks.graphs_cost --before 550fb7f --write   # and keeps results/graphs_cost.json

The networks of the other revision are read from git and given the same weights; everything else is of this
tree. CPU seconds of one thread, the least and the median of ten turns. A training step is of 80 graphs; an S4
step draws 128 graphs, in chunks.
"""

import argparse
import copy
import importlib.util
import json
import subprocess
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.state import Seeds
from core.train.samples import Batch
from domains.graphs.config import GraphSampling
from domains.graphs.gdss import GraphDenoiser, GraphModel, ScoreLoss, load_model
from domains.graphs.sampling import sample_graphs
from domains.graphs.sets import read_set
from domains.graphs.weights import shipped
from tests.benchmarks.graphs import COUNT, REFERENCE

RESULTS = Path(__file__).parent / "results" / "graphs_cost.json"
TURNS, STEPS, CHUNKS = 10, 10, (32, 64)


def networks_at(revision: str) -> types.ModuleType:
    """`domains/graphs/networks.py` of a revision, as a module."""
    shown = ["git", "show", f"{revision}:domains/graphs/networks.py"]
    text = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "networks_before.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def with_networks(model: GraphModel, module: types.ModuleType) -> GraphModel:
    """The same model on the networks of another module."""
    settings = {key: value for key, value in model.checkpoint.net.items() if key != "kind"}
    net = module.ScoreNets(**settings)
    net.load_state_dict(model.denoiser.net.state_dict())
    old = model.denoiser
    denoiser = GraphDenoiser(net, old.process, ve_scale=old.ve_scale, data_std=old.data_std)
    return replace(model, denoiser=denoiser.eval().requires_grad_(False))


def training_step(model: GraphModel) -> Callable[[], None]:
    """Loss, gradient and update at batch 80."""
    batch = Batch(read_set("community_small").graphs("train").state())
    denoiser = copy.deepcopy(model.denoiser).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        ScoreLoss()(denoiser, batch, Seeds(range(80))).mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()

    return step


def sampling_steps(model: GraphModel, chunk: int) -> Callable[[], None]:
    """Ten S4 steps of 128 graphs."""
    settings = GraphSampling(solver="s4", steps=STEPS, snr=0.05, scale_eps=0.7, chunk=chunk)

    def run() -> None:
        sample_graphs(model, COUNT, sampling=settings)

    return run


def study(before: str) -> dict[str, Any]:
    """Every task on both networks, in turns."""
    torch.set_num_threads(1)
    here = load_model(shipped("community-small"))
    models = {"before": with_networks(here, networks_at(before)), "here": here}
    tasks: dict[str, tuple[float, dict[str, Callable[[], None]]]] = {
        "training_step": (1, {name: training_step(model) for name, model in models.items()})
    }
    for chunk in CHUNKS:
        runs = {name: sampling_steps(model, chunk) for name, model in models.items()}
        tasks[f"s4_step, chunk {chunk}"] = (STEPS, runs)
    report: dict[str, Any] = {
        "command": f"python -m tests.benchmarks.graphs_cost --before {before} --write",
        "settings": {
            "turns": TURNS,
            "graphs": COUNT,
            "threads": 1,
            "machine": "2 cores, shared with other work during the run",
            "torch": torch.__version__,
        },
        "reference": {
            "training_step": REFERENCE["train_cpu_s"],
            "s4_1000_steps": REFERENCE["s4_1000_cpu_s"],
        },
    }
    for task, (parts, runs) in tasks.items():
        spent: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(TURNS):
            for name, run in runs.items():
                start = time.process_time()
                run()
                spent[name].append((time.process_time() - start) / parts)
        report[task] = {
            name: {"least_cpu_s": min(found), "median_cpu_s": sorted(found)[TURNS // 2]}
            for name, found in spent.items()
        }
        print(task, json.dumps(report[task]), flush=True)
    return report


def main() -> None:
    """Measure, and keep with `--write`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", required=True)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = study(asked.before)
    if asked.write:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
