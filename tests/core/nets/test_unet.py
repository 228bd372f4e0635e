"""The U-Net: any size, silent at the start, sensitive to the noise level, local where it says so."""

import pytest
import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.nets.unet import UNet

SMALL = {"widths": (8, 12, 16)}


def awake(net: UNet, gen: torch.Generator) -> UNet:
    """A network whose zero-initialised layers have been given weights, in float64."""
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=gen, dtype=torch.float64))
    return net


def answer(net: UNet, x: Tensor, level: float = 0.3, cond: Tensor | None = None) -> Tensor:
    with torch.inference_mode():
        return net(x, torch.full((x.shape[0],), level, dtype=x.dtype), cond)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (16, 5), (33, 18)])
def test_any_size_in_two_dimensions_comes_back(size: tuple[int, int], gen: torch.Generator) -> None:
    x = torch.randn(2, 2, *size, generator=gen, dtype=torch.float64)
    out = answer(awake(UNet(2, 3, **SMALL), gen), x)
    assert out.shape == (2, 3, *size)
    assert out.isfinite().all()


@pytest.mark.parametrize("size", [1, 3, 20])
def test_any_size_in_one_dimension_comes_back(size: int, gen: torch.Generator) -> None:
    x = torch.randn(2, 1, size, generator=gen, dtype=torch.float64)
    assert answer(awake(UNet(1, 1, dim=1, **SMALL), gen), x).shape == x.shape


def test_padding_reflects_about_the_last_point(gen: torch.Generator) -> None:
    # Four levels need a multiple of 8: points 5, 6, 7 are points 3, 2, 1.
    net = awake(UNet(1, 1, dim=1, widths=(8, 8, 8, 8)), gen)
    x = torch.randn(1, 1, 5, generator=gen, dtype=torch.float64)
    longer = x[..., [0, 1, 2, 3, 4, 3, 2, 1]]
    torch.testing.assert_close(answer(net, x), answer(net, longer)[..., :5])


def test_a_new_network_answers_zero_and_still_learns(gen: torch.Generator) -> None:
    net = UNet(2, 2, **SMALL)
    x = torch.randn(2, 2, 8, 8, generator=gen)
    out = net(x, torch.zeros(2))
    assert torch.equal(out, torch.zeros_like(out))
    (out - x).square().sum().backward()
    assert net.head.weight.grad is not None
    assert net.head.weight.grad.norm() > 0


def test_the_noise_level_matters_and_belongs_to_its_sample(gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, **SMALL), gen)
    x = torch.randn(1, 2, 8, 8, generator=gen, dtype=torch.float64).expand(2, -1, -1, -1)
    out = net(x, torch.tensor([-0.5, 0.2], dtype=torch.float64))
    assert (out[0] - out[1]).norm() > 1e-2 * out[0].norm()
    torch.testing.assert_close(out[1:], answer(net, x[1:], 0.2))


def test_no_two_noise_levels_look_alike() -> None:
    levels = UNet(1, 1).noise
    c = torch.linspace(-1.6, 1.2, 57)  # ln(sigma) / 4 for sigma from 0.0017 to 120
    angle = c[:, None] * levels.frequency
    features = torch.cat([angle.cos(), angle.sin()], 1)
    apart = torch.cdist(features, features) + 10 * torch.eye(57)
    # Neighbours are 0.05 apart: the fastest of the 16 waves turns by 0.4 of a period, a chord of 1.9.
    assert apart.min() > 1.5


@pytest.mark.parametrize("norm", ["group", "local"])
def test_samples_of_a_batch_do_not_see_one_another(norm: str, gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, attention=(False, False, True), norm=norm, **SMALL), gen)
    x = torch.randn(3, 2, 8, 12, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(answer(net, x)[1:2], answer(net, x[1:2]))


def test_the_local_network_moves_with_its_input(gen: torch.Generator) -> None:
    net = awake(UNet(1, 1, dim=1, norm="local", widths=(8, 8)), gen)
    x = torch.randn(1, 1, 96, generator=gen, dtype=torch.float64)
    reach = net.receptive_field
    assert reach is not None
    # A shift by the stride of the levels, here 2, away from the ends.
    moved = answer(net, x.roll(2, -1))[..., 2 + reach : -reach]
    torch.testing.assert_close(moved, answer(net, x)[..., reach : -reach - 2])


@pytest.mark.parametrize(("widths", "blocks"), [((8, 8), 1), ((8, 8, 8), 1), ((8, 8, 8), 2)])
def test_nothing_beyond_the_receptive_field_is_seen(
    widths: tuple[int, ...], blocks: int, gen: torch.Generator
) -> None:
    net = awake(UNet(1, 1, dim=1, norm="local", widths=widths, blocks=blocks), gen)
    reach = net.receptive_field
    assert reach is not None
    x = torch.randn(1, 1, 256, generator=gen, dtype=torch.float64)
    seen = 0
    for at in range(120, 124):
        other = x.clone()
        other[..., at] += 1.0
        changed = (answer(net, other) - answer(net, x)).abs()[0, 0].nonzero().ravel()
        seen = max(seen, at - int(changed.min()), int(changed.max()) - at)
    # The bound holds, and is tight to the coarsest stride.
    assert reach - net.multiple < seen <= reach


def test_tiles_that_overlap_by_the_receptive_field_give_the_whole_frame(gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, norm="local", widths=(8, 8)), gen)
    reach = net.receptive_field
    assert reach == 16
    x = torch.randn(1, 2, 64, 8, generator=gen, dtype=torch.float64)
    upper = answer(net, x[:, :, : 32 + reach])[:, :, :32]
    lower = answer(net, x[:, :, 32 - reach :])[:, :, reach:]
    torch.testing.assert_close(torch.cat([upper, lower], 2), answer(net, x))


@pytest.mark.parametrize("options", [{}, {"norm": "local", "attention": (True, False, False)}])
def test_networks_that_see_everything_name_no_receptive_field(options: dict) -> None:
    assert UNet(1, 1, **SMALL, **options).receptive_field is None


def test_attention_is_the_softmax_average_written_out(gen: torch.Generator) -> None:
    net = awake(UNet(1, 1, dim=1, widths=(64,), attention=(True,)), gen)
    attention = net.middle.attention[0]
    x = torch.randn(2, 64, 5, generator=gen, dtype=torch.float64)
    flat = attention.norm(x).mT
    q, k, v = attention.qkv(flat).chunk(3, -1)
    heads = []
    for part in (slice(0, 32), slice(32, 64)):
        scores = torch.softmax(q[..., part] @ k[..., part].mT / 32**0.5, -1)
        heads.append(scores @ v[..., part])
    torch.testing.assert_close(attention(x), x + attention.out(torch.cat(heads, -1)).mT)


def test_attention_reaches_across_the_frame(gen: torch.Generator) -> None:
    net = awake(UNet(1, 1, dim=1, widths=(8, 8), norm="local", attention=(False, True)), gen)
    x = torch.randn(1, 1, 256, generator=gen, dtype=torch.float64)
    other = x.clone()
    other[..., 0] += 5.0
    assert (answer(net, x) - answer(net, other))[..., -1].abs() > 0


def test_a_condition_enters_and_its_absence_is_refused(gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, cond_channels=1, **SMALL), gen)
    x = torch.randn(1, 2, 8, 8, generator=gen, dtype=torch.float64)
    one, two = (answer(net, x, cond=torch.full((1, 1, 8, 8), v, dtype=torch.float64)) for v in (0.0, 1.0))
    assert (one - two).norm() > 1e-2 * one.norm()
    with pytest.raises(ConfigError, match="cond of 1 channels, got none"):
        answer(net, x)
    with pytest.raises(ConfigError, match=r"cond of 0 channels, got shape \(1, 1, 8, 8\)"):
        answer(awake(UNet(2, 2, **SMALL), gen), x, cond=x[:, :1])


def test_inference_without_gradients_gives_the_training_answer(gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, **SMALL), gen)
    x = torch.randn(1, 2, 8, 8, generator=gen, dtype=torch.float64)
    kept = x.clone()
    torch.testing.assert_close(answer(net, x), net(x, torch.full((1,), 0.3, dtype=torch.float64)).detach())
    assert torch.equal(x, kept)


def test_the_settings_rebuild_the_network() -> None:
    net = UNet(2, 3, widths=(8, 16), blocks=2, attention=(False, True), dim=1, cond_channels=4, norm="local")
    again = UNet(**net.config)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }


def test_the_default_size_fits_a_cpu() -> None:
    # 16/32/48: 175 thousand parameters; the reference figure for this recipe is 191 thousand.
    assert sum(p.numel() for p in UNet(2, 2).parameters()) == 174_546


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, "positive widths"),
        ({"blocks": 0}, "positive widths and blocks"),
        ({"attention": (True,)}, "1 flags for 3 levels"),
        ({"dim": 3}, "dim must be 1 or 2"),
        ({"norm": "batch"}, "unknown norm 'batch'"),
    ],
)
def test_wrong_settings_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UNet(1, 1, **options)


def test_every_parameter_is_trained(gen: torch.Generator) -> None:
    net = awake(UNet(2, 2, attention=(False, True, True), **SMALL), gen)
    x = torch.randn(2, 2, 8, 8, generator=gen, dtype=torch.float64)
    nn.functional.mse_loss(net(x, torch.rand(2, dtype=torch.float64)), x).backward()
    # The offset of the keys drops out of the softmax; rounding leaves it about 1e-17.
    silent = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


@pytest.mark.parametrize("norm", ["local", "group"])
def test_working_in_place_without_gradients_changes_no_answer_and_no_tangent(
    norm: str, gen: torch.Generator
) -> None:
    net = awake(UNet(2, 2, norm=norm, **SMALL), gen)  # type: ignore[arg-type]
    x, v = (torch.randn(1, 2, 16, 12, generator=gen, dtype=torch.float64) for _ in range(2))
    given = x.clone()

    def forward(x: Tensor) -> Tensor:
        return net(x, x.new_zeros(1))

    with_gradients = torch.func.jvp(forward, (x,), (v,))
    with torch.no_grad():
        without = torch.func.jvp(forward, (x,), (v,))
    assert torch.equal(x, given)
    for one, other in zip(with_gradients, without, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
