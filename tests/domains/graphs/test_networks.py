"""Score networks and transformer: published sizes, symmetry under permutation, silence where no node is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.errors import ConfigError
from domains.graphs.config import PRESETS, preset_for
from domains.graphs.data import KINDS
from domains.graphs.layers import Bend
from domains.graphs.networks import EdgeNet, NodeNet, ScoreNets, parameters
from domains.graphs.pairs import pairs_of, propagation
from domains.graphs.property import PropertyNet
from domains.graphs.training import build
from domains.graphs.transformer import GraphTransformer, Triangle

F64 = torch.float64
PUBLISHED = {
    "ego_small": (44_093, 135_713),
    "community_small": (72_434, 134_369),
    "enzymes": (182_066, 204_113),
    "grid": (170_081, 203_153),
    "qm9": (8_564, 23_825),
    "zinc250k": (11_429, 62_873),
    "zinc250k_attention": (22_721, 62_873),
}


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    nodes = {"depth": 2, "width": 8}
    edges = {"width": 8, "attention": 8, "layers": 3, "hidden": 4, "final": 2, "heads": 2}
    return {
        "gdss": ScoreNets(3, nodes=nodes, edges=edges).double(),
        "film": shaken(ScoreNets(3, nodes=nodes, edges=edges, time_input="film", conditions=1).double()),
        "attention": ScoreNets(3, nodes={**edges_of(edges), "depth": 2}, edges=edges).double(),
        "transformer": shaken(
            GraphTransformer(3, orders=4, depth=2, nodes=16, pairs=8, heads=2, conditions=1).double()
        ),
    }


def edges_of(settings: dict[str, int]) -> dict[str, int]:
    """Settings that both kinds of attention share."""
    return {key: value for key, value in settings.items() if key != "layers"}


def shaken(net: nn.Module) -> nn.Module:
    """Move the weights that begin at zero, so that they are seen."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


NETS = nets()


def state(sizes: list[int], n: int, seed: int = 0) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    mask = torch.arange(n) < torch.tensor(sizes)[:, None]
    edges = torch.randn(len(sizes), n, n, generator=gen, dtype=F64).triu(1)
    edges = (edges + edges.mT) * (mask[:, :, None] & mask[:, None, :])
    nodes = torch.randn(len(sizes), n, 3, generator=gen, dtype=F64) * mask[..., None]
    return {"nodes": nodes, "edges": edges, "mask": mask}


def answer(name: str, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's output, made zero where the transformer's means nothing."""
    t = torch.linspace(0.1, 0.9, len(x["mask"]), dtype=F64)
    with torch.no_grad():
        out = NETS[name](x, t)
    if name == "transformer":
        mask = x["mask"]
        pair = (mask[:, :, None] & mask[:, None, :])[..., None]
        return {"nodes": out["nodes"] * mask[..., None], "edges": out["edges"] * pair}
    return out  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_numbers_of_parameters(name: str) -> None:
    net = build(KINDS[name.removesuffix("_attention")], preset_for(name))
    assert (parameters(net.nodes), parameters(net.edges)) == PUBLISHED[name]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETS)
@given(order=st.permutations(range(6)))
@settings(max_examples=10)
def test_networks_are_equivariant_under_permutation(name: str, order: list[int]) -> None:
    x = state([6, 6], 6)
    moved = {
        "nodes": x["nodes"][:, order],
        "edges": x["edges"][:, order][:, :, order],
        "mask": x["mask"][:, order],
    }
    here, there = answer(name, x), answer(name, moved)
    assert torch.allclose(here["nodes"][:, order], there["nodes"], atol=1e-10)
    assert torch.allclose(here["edges"][:, order][:, :, order], there["edges"], atol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_padding_changes_nothing(name: str) -> None:
    small, large = state([4, 2], 4), state([4, 2], 7)
    large["nodes"][:, :4], large["edges"][:, :4, :4] = small["nodes"], small["edges"]
    if name == "transformer":
        # It is told the share of nodes that exist, which padding changes: only silence is asked for.
        out = answer(name, large)
    else:
        out = answer(name, large)
        here = answer(name, small)
        assert torch.allclose(here["nodes"], out["nodes"][:, :4], atol=1e-10)
        assert torch.allclose(here["edges"], out["edges"][:, :4, :4], atol=1e-10)
    assert float(out["nodes"][1, 2:].abs().max()) == 0
    assert float(out["edges"][1, 2:].abs().max()) == 0
    assert float(out["edges"][1, :, 2:].abs().max()) == 0


@pytest.mark.parametrize("name", ["gdss", "film", "attention"])
def test_edge_scores_are_symmetric_with_zero_diagonal(name: str) -> None:
    out = answer(name, state([5, 3, 1], 5))["edges"]
    assert torch.equal(out, out.mT)
    assert float(torch.diagonal(out, dim1=1, dim2=2).abs().max()) == 0
    assert float(out[2].abs().max()) == 0  # one node has no pair


def test_propagation_is_the_published_normalisation() -> None:
    a = torch.tensor([[[0.0, 2.0, -3.0], [2.0, 0.0, 0.5], [-3.0, 0.5, 0.0]]], dtype=F64)
    loops = a[0] + torch.eye(3, dtype=F64)
    degree = loops.sum(1).clamp(min=1)  # 0 and -1.5 count as 1
    assert degree.tolist() == [1.0, 3.5, 1.0]
    exact = torch.diag(degree**-0.5) @ loops @ torch.diag(degree**-0.5)
    assert torch.allclose(propagation(a)[0], exact)
    channels = torch.stack([a, 2 * a])
    assert torch.allclose(propagation(channels)[0], propagation(a))


def test_pairs_are_gathered_and_spread_both_ways() -> None:
    x = state([4, 2, 1], 4)
    pairs = pairs_of(x["mask"])
    assert len(pairs.upper) == 6 + 1 + 0
    assert pairs.graph.tolist() == [0] * 6 + [1]
    assert torch.equal(pairs.spread(pairs.gather(x["edges"][None]))[0], x["edges"])
    ones = pairs.spread(torch.zeros(2, 7, dtype=F64), 1.0)
    assert torch.equal(ones, torch.eye(4, dtype=F64).expand(2, 3, 4, 4))


def test_gathering_and_spreading_have_the_right_gradients() -> None:
    pairs = pairs_of(state([3, 2], 3)["mask"])
    gen = torch.Generator().manual_seed(0)
    dense = torch.randn(2, 2, 3, 3, generator=gen, dtype=F64, requires_grad=True)
    values = torch.randn(2, 4, generator=gen, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: pairs.gather(d, 0.7), dense)
    assert torch.autograd.gradcheck(lambda v: pairs.spread(v, 2.0), values)
    assert torch.autograd.gradgradcheck(lambda v: pairs.spread(v).square(), values)


def test_bend_is_elu_with_its_gradient() -> None:
    h = torch.linspace(-5, 5, 12, dtype=F64, requires_grad=True)
    assert torch.allclose(Bend()(h), torch.nn.functional.elu(h), atol=1e-15)
    assert torch.autograd.gradcheck(Bend(), h)
    with torch.no_grad():
        small = torch.linspace(-1e-3, 1e-3, 12)
        # One rounding of a number near 1.
        assert torch.allclose(Bend()(small.clone()), torch.nn.functional.elu(small), rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("film", ["none", "film"])
def test_answers_without_gradients_equal_those_with_them(film: str) -> None:
    torch.manual_seed(2)
    edges = {"width": 16, "attention": 16, "layers": 3, "hidden": 4, "final": 2, "heads": 2}
    net = ScoreNets(3, nodes={"depth": 2, "width": 16}, edges=edges, time_input=film)  # type: ignore[arg-type]
    x = {k: v.float() if v.is_floating_point() else v for k, v in state([14, 13] * 13, 14).items()}
    t = torch.linspace(0.1, 0.9, 26)
    trained = net(x, t)  # 2,197 pairs: more than one tile
    with torch.no_grad():
        plain = net(x, t)
    for name in ("nodes", "edges"):
        assert trained[name].requires_grad
        assert torch.allclose(trained[name], plain[name], rtol=1e-6, atol=1e-6)


def test_a_triangle_holds_every_symmetric_pair_once() -> None:
    x = state([4, 4], 4)["edges"] + torch.eye(4, dtype=F64)
    triangle = Triangle.of(4, x.device)
    once = triangle.gather(x[..., None])
    assert once.shape == (2, 10, 1)
    assert torch.equal(triangle.spread(once)[:, 0], x)
    assert torch.allclose(triangle.often.to(F64) @ once[..., 0].mT, x.sum((1, 2)))
    skew = torch.randn(2, 3, 4, 4, dtype=F64)
    assert torch.allclose(triangle.spread(triangle.even(skew)), (skew + skew.mT) / 2)
    assert not torch.allclose(triangle.spread(triangle.even(skew)), skew)


def test_one_block_is_the_formula_written_with_loops() -> None:
    torch.manual_seed(1)
    net = shaken(EdgeNet(3, width=4, attention=4, layers=2, hidden=2, final=2, heads=2).double())
    block = net.blocks[0]
    x = state([4], 4)
    channels = [x["edges"][0], x["edges"][0] @ x["edges"][0]]
    maps, values = [], []
    for c, a in enumerate(channels):
        spread = propagation(a[None])[0]
        ask = [
            spread @ (x["nodes"][0] @ block.asks[:, c, i]) + block.asks_bias[c, i]  # type: ignore[index]
            for i in range(2)
        ]
        values.append(spread @ (x["nodes"][0] @ block.says[:, c]) + block.says_bias[c])  # type: ignore[index]
        heads = [torch.tanh(ask[0][:, h] @ ask[1][:, h].T / 2) for h in (slice(0, 2), slice(2, 4))]
        mean = (heads[0] + heads[1]) / 2
        maps.append((mean + mean.T) / 2)
    both = torch.stack([*maps, *channels], -1)
    out = block.maps(both)  # type: ignore[operator]
    out = out + out.transpose(0, 1)
    said = torch.tanh(block.values(torch.cat(values, -1)))  # type: ignore[operator]
    pairs = pairs_of(x["mask"])
    entering = pairs.gather(torch.stack(channels)[:, None])
    found_x, found = block(x["nodes"], entering, x["mask"], pairs, None)
    assert torch.allclose(found_x[0], said, atol=1e-10)
    assert torch.allclose(found, pairs.gather(out.permute(2, 0, 1)[:, None]), atol=1e-10)
    once = block.maps(both).permute(2, 0, 1)[:, None]  # type: ignore[operator]
    assert not torch.allclose(found, pairs.gather(once), atol=1e-3)


def test_weights_that_nothing_reads_are_not_trained() -> None:
    x, t = state([3, 2], 3), torch.tensor([0.2, 0.7], dtype=F64)
    regressor = PropertyNet(3, 2, depth=2, nodes=8, pairs=4, heads=2).double()
    for net in (*nets().values(), regressor):
        out = net(x, t)
        total = out.sum() if isinstance(out, Tensor) else out["nodes"].sum() + out["edges"].sum()
        total.backward()
        silent = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert silent == []


def test_a_condition_that_is_not_given_differs_from_one_that_is() -> None:
    x, t = state([4], 4), torch.tensor([0.5], dtype=F64)
    for name in ("film", "transformer"):
        plain = NETS[name](x, t, torch.tensor([[float("nan")]], dtype=F64))["nodes"]
        assert torch.equal(plain, NETS[name](x, t)["nodes"])
        assert not torch.allclose(plain, NETS[name](x, t, torch.zeros(1, 1, dtype=F64))["nodes"])
    with pytest.raises(ConfigError, match="conditioned on 1 numbers, got 2"):
        NETS["film"](x, t, torch.zeros(1, 2, dtype=F64))


def test_settings_that_make_no_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not divide"):
        EdgeNet(3, width=6, attention=6, layers=2, heads=4)
    with pytest.raises(ConfigError, match="2 layers"):
        EdgeNet(3, width=4, attention=4, layers=1)
    with pytest.raises(ConfigError, match="enters with the time"):
        ScoreNets(
            3, nodes={"depth": 1, "width": 4}, edges={"width": 4, "attention": 4, "layers": 2}, conditions=1
        )
    with pytest.raises(ConfigError, match="unknown preset"):
        preset_for("comunity_small")
    with pytest.raises(ConfigError, match="steps"):
        preset_for("qm9", {"steps": 0})
    assert all(preset_for(name).steps > 0 for name in PRESETS)


def test_a_node_network_alone_is_masked() -> None:
    net = NodeNet(3, depth=1, width=4).double()
    x = state([2], 4)
    with torch.no_grad():
        out = net(x["nodes"], x["edges"], x["mask"])
    assert float(out[0, 2:].abs().max()) == 0
