"""Adapters against what they stand for: a low-rank part is a second, thinner layer beside the first."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import CheckpointError, ConfigError
from core.process import Karras
from core.steer.experts import Expert, Imitation, Within
from core.train.adapter import Adapted
from core.train.checkpoint import fill, load
from core.train.config import FitConfig
from core.train.loop import fit
from core.train.samples import Shuffled

F64 = torch.float64


class Net(nn.Module):
    """Convolutions (one grouped, one transposed), norms, dropout, linear layers: (B, 2, 4, 4) -> (B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.SiLU(),
            nn.Conv2d(6, 6, 3, padding=1, groups=2),
            nn.ConvTranspose2d(6, 4, 2, stride=2),
            nn.GroupNorm(2, 4),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(256, 8),
            nn.SiLU(),
            nn.Linear(8, 3),
        )
        self.table = nn.Parameter(torch.randn(3, 3))  # a matrix that is no layer's weight

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) @ self.table


def built() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net().to(F64)
        net(torch.randn(64, 2, 4, 4, dtype=F64))  # moves the running statistics off their start
    return net.eval()


def adapted(frozen: nn.Module, rank: int = 2, scale: float = 3.0, *, seed: int = 0) -> Adapted:
    return Adapted(frozen, rank=rank, scale=scale, gen=torch.Generator().manual_seed(seed))


def stirred(adapter: Adapted, seed: int = 1) -> Adapted:
    """The adapter with every number drawn at random."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in adapter.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=gen, dtype=p.dtype))
    return adapter


X = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(2), dtype=F64)


def test_a_new_adapter_is_the_frozen_network() -> None:
    net = built()
    assert torch.equal(adapted(net)(X), net(X))


def test_a_low_rank_part_of_a_linear_layer_is_two_layers_beside_it() -> None:
    layer = nn.Linear(7, 5).to(F64).eval()
    adapter = stirred(adapted(layer, rank=2, scale=3.0))
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(3), dtype=F64)
    beside = x @ adapter.down["weight"].T @ adapter.up["weight"].T
    torch.testing.assert_close(adapter(x), layer(x) + 3 / 2 * beside + adapter.shift["bias"])
    # Leaving out the division by the rank is another number.
    assert not torch.allclose(adapter(x), layer(x) + 3 * beside + adapter.shift["bias"], rtol=1e-3)


def test_a_low_rank_part_of_a_convolution_is_a_thin_one_and_a_mixing_of_channels() -> None:
    layer = nn.Conv2d(3, 6, 3, padding=1, stride=2).to(F64).eval()
    adapter = stirred(adapted(layer, rank=2, scale=3.0))
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=F64)
    thin = nn.functional.conv2d(x, adapter.down["weight"].reshape(2, 3, 3, 3), padding=1, stride=2)
    beside = nn.functional.conv2d(thin, adapter.up["weight"][:, :, None, None])
    wanted = layer(x) + 3 / 2 * beside + adapter.shift["bias"][:, None, None]
    torch.testing.assert_close(adapter(x), wanted)


def test_the_rank_stops_at_what_a_layer_has_and_the_share_counts_every_number() -> None:
    adapter = adapted(built(), rank=4)
    shapes = {name: tuple(p.shape) for name, p in adapter.down.items()}
    assert shapes == {
        "layers/0/weight": (4, 18),
        "layers/3/weight": (4, 27),
        "layers/4/weight": (4, 16),
        "layers/8/weight": (4, 256),
        "layers/10/weight": (3, 8),
    }
    low = 4 * (6 + 18) + 4 * (6 + 27) + 4 * (6 + 16) + 4 * (8 + 256) + 3 * (3 + 8)
    vectors = (6 + 6) + 6 + 4 + (4 + 4) + 8 + 3
    whole = 6 * 18 + 12 + 6 * 27 + 6 + 6 * 16 + 4 + 8 + 8 * 256 + 8 + 3 * 8 + 3 + 9
    assert adapter.share == (low + vectors) / whole


def test_gradients_reach_every_adapter_number_and_no_frozen_one() -> None:
    net = built()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    adapter = stirred(adapted(net)).train()
    adapter(X).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in net.parameters())
    assert not net.training  # dropout and running statistics rest while the adapter trains
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weight_decay_alone_leads_back_to_the_frozen_network() -> None:
    net = built()
    adapter = stirred(adapted(net))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.1, weight_decay=1.0)
    start = float((adapter(X) - net(X)).detach().norm())
    for p in adapter.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(200):
        optimizer.step()
    # 0.9^200 is 7e-10.
    assert float((adapter(X) - net(X)).detach().norm()) < 1e-8 * start


@pytest.fixture
def run(tmp_path: Path) -> tuple[Any, Any, Path]:
    """A short training in a folder: the expert, its checkpoint and the file."""
    expert = Expert(adapted(built().float(), rank=2), Karras(0.01, 2.0))
    config = FitConfig(steps=4, batch=8, lr=1e-2, ema=None, every_steps=2)
    made = fit(
        Imitation(Within(0.1, 1.0), "l2"), expert, Shuffled(X.float()), config, seed=0, folder=tmp_path
    )
    return expert, made, tmp_path


def test_a_checkpoint_holds_the_adapter_alone_and_gives_it_back(run: tuple[Any, Any, Path]) -> None:
    expert, _, folder = run
    found = load(folder / "model.safetensors")
    assert found.net == {"rank": 2, "scale": 3.0}
    assert sum(value.numel() for value in found.weights.values()) == sum(
        p.numel() for p in expert.net.parameters()
    )
    again = adapted(built().float(), rank=2, seed=9)
    fill(again, found.weights)
    assert torch.equal(again(X.float()), expert.net(X.float()))
    assert not torch.equal(again(X.float()), built().float()(X.float()))
    with pytest.raises(CheckpointError, match="shape"):
        fill(adapted(built().float(), rank=1), found.weights)


def test_adapters_share_one_network_without_touching_each_other() -> None:
    net = built()
    first, second = stirred(adapted(net), 1), stirred(adapted(net), 2)
    alone = stirred(adapted(built()), 1)
    assert first.frozen is second.frozen
    assert torch.equal(first(X), alone(X))
    assert not torch.allclose(first(X), second(X), rtol=1e-3)


def test_a_network_in_training_and_an_empty_rank_are_refused() -> None:
    with pytest.raises(ConfigError, match="evaluation mode"):
        adapted(built().train())
    with pytest.raises(ConfigError, match="rank >= 1"):
        adapted(built(), rank=0)
    with pytest.raises(ConfigError, match="scale > 0"):
        adapted(built(), scale=0.0)
