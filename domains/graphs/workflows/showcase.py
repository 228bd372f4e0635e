"""The molecules of the demo: training molecules, what the shipped model draws, and the same with logP raised
by particles."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from core.progress import Progress, silent
from domains.graphs.data import GraphSet
from domains.graphs.descriptors import Wish, measured
from domains.graphs.generated import molecules_of_smiles
from domains.graphs.guidance import by_score, molecule_reward
from domains.graphs.metrics.molecular import PROPERTIES, novelty, uniqueness
from domains.graphs.nspdk import mean_embedding, nspdk_mmd
from domains.graphs.plots import draw_molecules
from domains.graphs.sampling import sample_graphs
from domains.graphs.sets import read_set
from domains.graphs.valency import Molecules, molecules_of
from domains.graphs.workflows.opening import open_model

__all__ = ["generated_molecules"]

MODEL, DATA, PROPERTY = "small-molecules", "small_molecules", "logp"


def generated_molecules(
    folder: Path,
    *,
    count: int = 200,
    guided: int = 40,
    particles: int = 6,
    scale: float = 3.0,
    steps: int = 50,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Draw, correct, measure and picture molecules.

    Args:
        folder: `molecules.png` goes here.
        count: drawn as they come; as many training molecules stand beside them.
        guided: drawn with a reward of logP, each from `particles` particles.
        scale: of the reward, nats per standard deviation.

    Returns:
        Rates and distances to the test molecules of the three sets; the picture's name.
    """
    model, data = open_model(MODEL), read_set(DATA)
    sampling = model.sampling.model_copy(update={"steps": steps})
    drawn = sample_graphs(model, count, sampling=sampling, seed=seed, progress=progress)
    made = molecules_of(drawn.quantised.ragged, model.kind)
    base = np.random.default_rng(seed).permutation(data.at("train"))[:count]
    known = molecules_of_smiles([data.smiles[i] for i in base])
    values = measured(made.mols, PROPERTY, model.kind)
    values = values[np.isfinite(values)]
    mean, std = float(values.mean()), float(values.std()) or 1.0
    rule, wish = PROPERTIES[PROPERTY], Wish(PROPERTY, "max")
    reward = molecule_reward(model.kind, lambda mol: wish.reward(rule(mol), mean, std), invalid=-3.0)
    steered = by_score(model, reward, guided, particles=particles, scale=scale, sampling=sampling, seed=seed)
    raised = molecules_of(steered.quantised.ragged, model.kind)
    progress("guided", guided, guided, None)
    mols = [mol for mol in made.mols if mol is not None][:15] + [m for m in raised.mols if m is not None][:5]
    texts = [f"logP {value:.2f}" for value in measured(mols, PROPERTY, model.kind)]
    draw_molecules(mols, folder / "molecules.png", legends=texts, overwrite=True)
    test = mean_embedding(_sane(molecules_of_smiles(data.smiles_of("test"))))
    return {
        "rows": [
            _row("training molecules", known, data, test),
            _row("generated", made, data, test),
            _row("generated, logP raised", raised, data, test),
        ],
        "data": DATA,
        "molecules": len(data),
        "train": len(data.at("train")),
        "particles": particles,
        "steps": steps,
        "picture": "molecules.png",
    }


def _sane(found: Molecules) -> list[Any]:
    return [mol for mol in found.mols if mol is not None]


def _row(name: str, found: Molecules, data: GraphSet, test: Any) -> dict[str, Any]:
    logp = measured(_sane(found), PROPERTY, data.kind)
    rates = found.rates()
    return {
        "set": name,
        "graphs": len(found),
        "valid_without_correction": rates["valid_without_correction"],
        "unique": uniqueness(list(found.kept)),
        "novel": novelty(list(found.kept), data.smiles_of("train")),
        "nspdk": float(nspdk_mmd(mean_embedding(_sane(found)), test)),
        "logp": float(logp.mean()),
        "logp_standard_error": float(logp.std(ddof=1)) / math.sqrt(len(logp)),
    }
