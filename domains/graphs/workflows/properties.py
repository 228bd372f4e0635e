"""Training a regressor of properties on the noisy graphs of a model, measured on graphs it has not seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.device import choose_device
from core.errors import ConfigError, ModelMismatch
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from core.train.samples import mixed_seed
from domains.graphs.data import GraphSet
from domains.graphs.descriptors import columns_of, values_of
from domains.graphs.formats.reading import Reading
from domains.graphs.gdss import GraphModel
from domains.graphs.plots import plot_losses
from domains.graphs.property import Predictor, train_property
from domains.graphs.sampling import seeds_for
from domains.graphs.sets import DRAWS, read_set
from domains.graphs.training import standardised
from domains.graphs.workflows.opening import fitting, open_model

__all__ = ["read_like", "train_property_file"]

TIMES = (0.05, 0.25, 0.5, 0.75)
TESTED = 1000  # test graphs that a regressor is measured on, at most


def read_like(source: str, reading: Reading, model: GraphModel) -> GraphSet:
    """Read a source with a model's vocabulary and size.

    Raises:
        ModelMismatch: the source brings others of its own.
    """
    own = model.kind
    if own.molecular and source in DRAWS:
        raise ModelMismatch(
            f"the model is of molecules, N={own.max_nodes}, F={own.features}, elements "
            f"{','.join(own.atoms)}; '{source}' holds generic graphs.",
            hint="Give molecules, or a model of graphs.",
        )
    accept = replace(reading.accept, atoms=reading.accept.atoms or own.atoms or None, max_nodes=own.max_nodes)
    features = None if own.molecular else own.features
    found = read_set(source, replace(reading, accept=accept, features=features))
    fitting(model, found.kind, source)
    return found


def train_property_file(
    run: str,
    source: str,
    folder: Path,
    *,
    properties: Sequence[str],
    reading: Reading = Reading(),
    steps: int = 2000,
    batch: int = 128,
    lr: float = 2e-3,
    depth: int = 2,
    width: int = 48,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a regressor for guiding a model, and write it into a folder.

    Args:
        run: the model that will be guided; its process is used.
        source: graphs, of the model's vocabulary.
        properties: computed, or columns of the source.

    Returns:
        Report: `errors`, one row per property and time of the noise: mean absolute error on test graphs
        beside that of the training mean, and R2.

    Raises:
        ModelMismatch: the graphs are not of the model's kind.
        DataError: a property is missing or not finite.
    """
    if not properties:
        raise ConfigError("no property to learn.", hint="Name some: --property qed,logp.")
    where, note = choose_device(device)
    model = open_model(run)
    found = read_like(source, replace(reading, properties=columns_of(properties)), model)
    values = values_of(found, properties)
    standardised(properties, values, len(found.at("train")))  # refuses what cannot be learned
    tests = found.splits.get("test", np.zeros(0, np.int64))[:TESTED]
    plan = (
        f"train a predictor of {', '.join(properties)} on {source}: "
        f"{many(len(found.at('train')), 'graph')}, noise of {run}",
        f"{steps:,} steps of at most {batch} graphs on {where}; {len(tests)} test graphs",
        *(f"note: {line}" for line in found.notes),
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    predictor = train_property(
        found,
        values,
        model.config,
        steps=steps,
        batch=batch,
        lr=lr,
        depth=depth,
        width=width,
        seed=seed,
        folder=folder,
        resume=resume,
        device=where,
        progress=progress,
    )
    plot_losses(folder / "log.jsonl", folder / "loss.png")
    warnings: list[str] = []
    errors: list[dict[str, Any]] = []
    if len(tests):
        part = found.take(tests)
        truths = values_of(part, properties, split=None)
        errors = _errors(predictor, part, truths, seed)
        warnings += [
            f"'{row['property']}' is predicted no better than by its mean."
            for row in errors
            if row["t"] == TIMES[0] and row["mae"] >= row["mae_of_the_mean"]
        ]
    else:
        warnings.append("there is no test split; the predictor was not measured.")
    return {
        "model": str(folder / "model.safetensors"),
        "guides": run,
        "data": source,
        "properties": {name: {"mean": m, "std": s} for name, (m, s) in predictor.properties.items()},
        "parameters": sum(weight.numel() for weight in predictor.net.parameters()),
        "graphs": len(found.at("train")),
        "steps": steps,
        "loss": float(predictor.checkpoint.training["loss"]),
        "test_graphs": len(tests),
        "errors": errors,
        "notes": list(found.notes),
        "warnings": warnings,
    }


def _errors(
    predictor: Predictor, tests: GraphSet, truths: dict[str, list[float]], seed: int
) -> list[dict[str, Any]]:
    """Errors in units of the property, at some times of the noise."""
    x0 = tests.graphs(None).state()
    rows = []
    for t in TIMES:
        x, _ = predictor.process.perturb(x0, t, seeds_for(mixed_seed(seed, "test"), range(len(tests))))
        with torch.no_grad():
            answers = predictor(x, t).double().numpy()
        for column, (name, (mean, std)) in enumerate(predictor.properties.items()):
            truth = np.asarray(truths[name])
            error = answers[:, column] * std + mean - truth
            spread = float(np.square(truth - truth.mean()).mean())
            rows.append(
                {
                    "property": name,
                    "t": t,
                    "mae": float(np.abs(error).mean()),
                    "mae_of_the_mean": float(np.abs(truth - mean).mean()),
                    "r2": None if spread == 0 else 1 - float(np.square(error).mean()) / spread,
                }
            )
    return rows
