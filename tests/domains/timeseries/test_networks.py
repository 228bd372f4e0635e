"""The backbone against its description, written out with plain layers."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from core.errors import ConfigError
from core.nets.state_space import S4D
from domains.timeseries.networks import Backbone, Block, embedded

SMALL = {"hidden": 6, "blocks": 2, "states": 4}


def plain_s4(layer: S4D, z: Tensor) -> Tensor:
    """Layer norm, the two-sided convolution as a matrix, GELU, dense layer."""
    u = F.layer_norm(z.mT, (z.shape[1],), layer.gain, layer.offset).mT
    length = z.shape[-1]
    forwards, backwards = layer.kernel(length)
    lag = torch.arange(length)[:, None] - torch.arange(length)[None]
    matrix = torch.where(lag >= 0, forwards[:, lag.clamp_min(0)], backwards[:, (-lag - 1).clamp_min(0)])
    y = torch.einsum("hij,bhj->bhi", matrix, u) + layer.D[:, None] * u
    return F.linear(F.gelu(y).mT, layer.out.weight, layer.out.bias).mT


def plain(net: Backbone, x: Tensor, t: Tensor, features: Tensor | None) -> Tensor:
    """The network as its module docstring says it."""
    e = net.clock(embedded(net.time_scale * t))
    h = F.relu(net.enter(x.mT)).mT
    skips = []
    for block in net.blocks:
        assert isinstance(block, Block)
        z = h + block.step(e)[..., None]
        z = z + plain_s4(block.s4, z)
        if features is not None:
            assert block.side is not None
            z = z + block.side(features.mT).mT
        z = torch.tanh(z) * torch.sigmoid(z)
        both = block.out(z.mT).mT
        h, skip = h + both[:, : h.shape[1]], both[:, h.shape[1] :]
        skips.append(skip)
    out = net.leave(F.relu(net.mix(sum(skips).mT))).mT
    return out + x if net.init_skip else out


@pytest.mark.parametrize("init_skip", [False, True])
@pytest.mark.parametrize("features", [0, 3])
def test_the_backbone_is_what_its_description_says(init_skip: bool, features: int) -> None:
    torch.manual_seed(0)
    net = Backbone(2, features=features, init_skip=init_skip, **SMALL).double()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x, t = torch.randn(3, 2, 17, dtype=torch.float64), torch.tensor([1.0, 40.0, 100.0], dtype=torch.float64)
    side = torch.randn(3, features, 17, dtype=torch.float64) if features else None
    found = net(x, t, None if side is None else {"features": side})
    assert torch.allclose(found, plain(net, x, t, side), atol=1e-9)


def test_parameters_are_those_of_the_published_network_without_what_a_diagonal_kernel_lacks() -> None:
    def count(channels: int) -> int:
        return sum(p.numel() for p in Backbone(channels).parameters())

    correction = 3 * 2 * (64 * 64 * 2)  # P and B of each S4 kernel
    assert count(13) + correction + 3 * 64 * (7 + 1) == 193_421
    assert count(1) + correction + 3 * 64 * (8 + 1) == 192_065
    assert (count(13), count(1)) == (142_733, 141_185)


def test_the_embedding_runs_from_one_radian_a_step_to_a_ten_thousandth() -> None:
    out = embedded(torch.tensor([3.0], dtype=torch.float64))[0]
    rates = [10_000 ** (-i / 63) for i in range(64)]
    exact = [math.sin(3 * r) for r in rates] + [math.cos(3 * r) for r in rates]
    assert out.tolist() == pytest.approx(exact, abs=1e-12)


def test_a_window_does_not_see_the_others_of_its_batch() -> None:
    torch.manual_seed(1)
    net = Backbone(1, **SMALL)
    x, t = torch.randn(5, 1, 20), torch.full((5,), 7.0)
    assert torch.allclose(net(x, t)[3:4], net(x[3:4], t[:1]), atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(2)
    net = Backbone(1, dropout=0.5, **SMALL)
    x, t = torch.randn(2, 1, 20), torch.ones(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_a_network_is_rebuilt_from_its_settings() -> None:
    torch.manual_seed(3)
    net = Backbone(2, features=1, init_skip=True, time_scale=100.0, **SMALL)
    again = Backbone(**net.config)
    again.load_state_dict(net.state_dict())
    x, t, side = torch.randn(1, 2, 9), torch.rand(1), {"features": torch.randn(1, 1, 9)}
    assert torch.equal(again(x, t, side), net(x, t, side))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="blocks >= 1"):
        Backbone(1, blocks=0)
