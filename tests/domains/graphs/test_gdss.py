"""Two networks as one denoiser: parameterisations, losses with known values, models on disk."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import CheckpointError, ConfigError
from core.state import Seeds
from core.train.samples import Batch
from domains.graphs.config import Noising, preset_for
from domains.graphs.data import KINDS
from domains.graphs.gdss import (
    CleanLoss,
    GraphDenoiser,
    ScoreLoss,
    hidden,
    load_model,
    network_of,
    process_of,
    save_model,
)
from tests.domains.graphs.models import SMALL, model_for, untrained

F64 = torch.float64
MIXED = process_of(Noising(kind="vp"), Noising(kind="ve", low=0.2, high=1.0))


class Says(nn.Module):
    """A network with a fixed answer."""

    def __init__(self, answer: dict[str, Tensor], target: str = "score") -> None:
        super().__init__()
        self.answer, self.target = answer, target

    def forward(self, x: Any, t: Any, cond: Any = None) -> dict[str, Tensor]:
        return self.answer


def clean(b: int = 3, n: int = 4) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(1)
    mask = torch.arange(n) < torch.tensor([n, n - 1, 1])[:b, None]
    edges = (torch.rand(b, n, n, generator=gen, dtype=F64) > 0.5).double().triu(1)
    edges = (edges + edges.mT) * (mask[:, :, None] & mask[:, None, :])
    kinds = torch.nn.functional.one_hot(torch.randint(0, 2, (b, n), generator=gen), 2)
    return {"nodes": kinds.double() * mask[..., None], "edges": edges, "mask": mask}


@pytest.mark.parametrize("ve_scale", ["std", "none"])
def test_networks_that_know_the_noise_give_back_the_graph(ve_scale: str) -> None:
    x0, t = clean(), torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    x, eps = MIXED.perturb(x0, t, Seeds(range(3)))
    answer = {"nodes": eps["nodes"], "edges": eps["edges"]}
    if ve_scale == "none":
        answer["edges"] = -eps["edges"] / MIXED.parts["edges"].sigma(t)[:, None, None]  # the score itself
    denoiser = GraphDenoiser(Says(answer), MIXED, ve_scale=ve_scale)
    mean = denoiser(x, t).mean
    assert torch.allclose(mean["nodes"], x0["nodes"], atol=1e-10)
    assert torch.allclose(mean["edges"], x0["edges"], atol=1e-10)
    assert mean["mask"] is x0["mask"]
    other = GraphDenoiser(Says(answer), MIXED, ve_scale="std" if ve_scale == "none" else "none")
    assert not torch.allclose(other(x, t).mean["edges"], x0["edges"], atol=1e-3)


def test_the_loss_of_a_silent_network_counts_half_the_noises() -> None:
    x0 = clean()
    silent = GraphDenoiser(Says({k: torch.zeros_like(x0[k]) for k in ("nodes", "edges")}), MIXED)
    losses = torch.stack(
        [ScoreLoss()(silent, Batch(x0), torch.Generator().manual_seed(i)) for i in range(300)]
    )
    # Half the expected squares: F n node entries, and both triangles, n (n - 1) entries.
    n = x0["mask"].sum(1)
    exact = (2 * n + n * (n - 1)) / 2
    spread = losses.std(0) / math.sqrt(300)
    assert bool(((losses.mean(0) - exact).abs() < 4 * spread).all())


def test_a_network_that_knows_the_noise_has_no_loss() -> None:
    x0 = clean()

    @dataclass
    class Oracle:
        process: Any = MIXED

        def noise(self, x: Any, t: Tensor, cond: Any = None) -> dict[str, Tensor]:
            return {
                k: (x[k] - p.alpha(t)[:, None, None] * x0[k]) / p.sigma(t)[:, None, None]
                for k, p in MIXED.parts.items()
            }

    assert float(ScoreLoss()(Oracle(), Batch(x0), Seeds(range(3))).max()) < 1e-12


def test_the_clean_loss_is_the_cross_entropy_of_existing_entries() -> None:
    x0 = clean()
    even = {"nodes": torch.zeros(3, 4, 2, dtype=F64), "edges": torch.zeros(3, 4, 4, 4, dtype=F64)}
    wide = process_of(Noising(high=20.0), Noising(high=20.0))
    loss = CleanLoss(edge_weight=5.0)(GraphDenoiser(Says(even, "clean"), wide), Batch(x0), Seeds(range(3)))
    # A coin for each node and one of four orders for each pair; a single node has no pair.
    assert torch.allclose(
        loss, torch.tensor([1.0, 1.0, 1.0], dtype=F64) * math.log(2) + torch.tensor([5, 5, 0]) * math.log(4)
    )


def test_clean_answers_are_expectations_inside_the_spaces() -> None:
    x0 = clean()
    logits = {
        "nodes": torch.tensor([0.0, math.log(3)], dtype=F64).expand(3, 4, 2),
        "edges": torch.tensor([0.0, 0.0, 0.0, math.log(3)], dtype=F64).expand(3, 4, 4, 4),
    }
    wide = process_of(Noising(high=20.0), Noising(high=20.0))
    mean = GraphDenoiser(Says(logits, "clean"), wide)(x0, 0.5).mean
    assert mean["nodes"][0, 0].tolist() == pytest.approx([0.25, 0.75])
    assert float(mean["edges"][0, 0, 1]) == pytest.approx((1 + 2 + 9) / 6)
    assert float(mean["edges"][0, 0, 0]) == 0
    assert float(mean["edges"][2].abs().max()) == 0


def test_a_share_of_the_conditions_is_hidden() -> None:
    cond = torch.zeros(4000, 2)
    share = hidden(cond, 0.1, torch.Generator().manual_seed(0)).isnan().all(1).double().mean()
    assert float(share) == pytest.approx(0.1, abs=4 * (0.09 / 4000) ** 0.5)
    assert hidden(None, 0.1, torch.Generator()) is None


def test_single_numbers_of_a_condition_are_hidden_too() -> None:
    found = hidden(torch.zeros(4000, 2), 0.1, torch.Generator().manual_seed(0), 0.2).isnan()
    # Both by chance or together; the first alone.
    for share, expected in ((found.all(1), 0.1 + 0.9 * 0.04), (found[:, 0] & ~found[:, 1], 0.9 * 0.16)):
        assert float(share.double().mean()) == pytest.approx(
            expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5
        )
    together = hidden(torch.zeros(4000, 2), 0.1, torch.Generator().manual_seed(0)).isnan()
    assert torch.equal(together[:, 0], together[:, 1])


def test_models_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    for preset in ("enzymes", "tiny"):
        kind = KINDS["qm9" if preset == "tiny" else "enzymes"]
        shape = {"width": 8, "attention": 4, "depth": 1, "heads": 2} if preset == "tiny" else SMALL
        model = model_for(kind, preset_for(preset, shape), {})
        again = load_model(save_model(model, tmp_path / preset), kind=kind)
        assert again.kind == model.kind
        assert again.config == model.config
        assert again.denoiser.ve_scale == model.denoiser.ve_scale
        assert again.process == model.process
        for name, value in model.denoiser.state_dict().items():
            assert torch.equal(again.denoiser.state_dict()[name], value)
        with pytest.raises(CheckpointError, match="the data are of N=20"):
            load_model(tmp_path / preset, kind=KINDS["community_small"])


def test_what_holds_no_model_of_graphs_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown graph network 'gin'"):
        network_of({"kind": "gin"})
    model = model_for(
        KINDS["qm9"], preset_for("tiny", {"width": 8, "attention": 4, "depth": 1, "heads": 2}), {}
    )
    with pytest.raises(ConfigError, match="predicts no noise"):
        model.denoiser.noise(clean(), torch.tensor([0.5]))
    assert untrained("enzymes").denoiser.ve_scale == "none"
