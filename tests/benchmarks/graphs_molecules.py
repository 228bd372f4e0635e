"""How molecules drawn from the shipped QM9 model compare with the test molecules, and what they cost.

python -m tests.benchmarks.graphs_molecules --train   # trains the model again, in runs/graphs-qm9-small
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem

from domains.graphs.config import GraphConfig, preset_for
from domains.graphs.data import Array, GraphSet
from domains.graphs.formats.reading import Reading
from domains.graphs.metrics.molecular import property_values
from domains.graphs.sets import read_set
from domains.graphs.training import train

SUBSET = 50_000  # of 120,803 training molecules, drawn with seed 0
TOLD = ("qed", "logp")


def small_config() -> GraphConfig:
    """The small transformer, told qed and logp of half of its samples."""
    return preset_for("qm9_small", {"properties": TOLD, "drop": 0.5})


def training_set() -> tuple[GraphSet, dict[str, Array]]:
    """The molecules that train, and their properties."""
    graphs = read_set("qm9", Reading(split="train", limit=SUBSET))
    mols = [Chem.MolFromSmiles(smiles) for smiles in graphs.smiles]
    return graphs, {name: property_values(mols, name) for name in TOLD}


def train_small() -> None:
    """Train the model that ships."""
    graphs, properties = training_set()
    folder = Path("runs/graphs-qm9-small")
    train(
        graphs,
        small_config(),
        properties={name: np.asarray(values).tolist() for name, values in properties.items()},
        seed=0,
        preset="qm9_small",
        folder=folder,
        resume=any(folder.glob("step-*.safetensors")),
    )


def main() -> None:
    """Do what the flag says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.train:
        train_small()


if __name__ == "__main__":
    main()
