"""Regressors of noisy graphs: invariant, trained to a property that can be read off, and kept on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import CheckpointError, ConfigError, DataError
from core.train.checkpoint import save
from domains.graphs.config import Noising, preset_for
from domains.graphs.data import GraphSet, Kind, Ragged
from domains.graphs.property import PropertyNet, load_predictor, train_property
from tests.domains.graphs.models import untrained

KIND = Kind("rings", (), 6, 4)
SIZES = [n for n in (3, 4, 5, 6) for _ in range(3)]
SETTINGS = preset_for("tiny", {"nodes": Noising(high=1.0), "edges": Noising(high=1.0)})


def rings() -> GraphSet:
    graphs = [([0] * n, [(i, (i + 1) % n) for i in range(n)], None) for n in SIZES]
    return GraphSet(KIND, Ragged.build(graphs), {"train": np.arange(12)})


def test_a_regressor_is_invariant_and_deaf_to_padding() -> None:
    torch.manual_seed(0)
    net = PropertyNet(4, 2, depth=1, nodes=8, pairs=4, heads=2).double()
    x = {k: v.double() if k != "mask" else v for k, v in rings().graphs("train").state().items()}
    t, order = torch.full((12,), 0.3, dtype=torch.float64), torch.tensor([3, 1, 0, 2, 5, 4])
    moved = {
        "nodes": x["nodes"][:, order],
        "edges": x["edges"][:, order][:, :, order],
        "mask": x["mask"][:, order],
    }
    assert torch.allclose(net(x, t), net(moved, t), atol=1e-10)


def test_the_size_of_a_ring_is_learned_and_comes_back_from_disk(tmp_path: Path) -> None:
    values = {"size": [float(n) for n in SIZES]}
    found = train_property(rings(), values, SETTINGS, steps=60, width=16, depth=1, lr=1e-2)
    x = rings().graphs("train").state()
    error = found(x, 0.05)[:, 0] - (torch.tensor(values["size"]) - 4.5) / found.properties["size"][1]
    assert float(error.square().mean()) < 0.3  # the mean alone leaves 0.92
    save(tmp_path / "model.safetensors", found.checkpoint)
    again = load_predictor(tmp_path)
    assert torch.equal(again(x, 0.05), found(x, 0.05))
    assert again.column("size") == 0


def test_what_cannot_be_trained_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one property"):
        train_property(rings(), {}, SETTINGS)
    with pytest.raises(DataError, match="not finite at graph 0"):
        train_property(rings(), {"size": [float("inf")] * 12}, SETTINGS)
    save(tmp_path / "model.safetensors", untrained("community_small").checkpoint)
    with pytest.raises(CheckpointError, match="expected 'graph-property'"):
        load_predictor(tmp_path)
    with pytest.raises(ConfigError, match="knows size"):
        train_property(rings(), {"size": [float(n) for n in SIZES]}, SETTINGS, steps=1, width=8).column("qed")
