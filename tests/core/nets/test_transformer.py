"""The trunk: attention written out, masks, positions, caches."""

import pytest
import torch

from core.errors import ConfigError
from core.nets.transformer import Trunk, block_causal, rotary


def trunk(told: int | None = None, depth: int = 2) -> Trunk:
    torch.manual_seed(0)
    net = Trunk(16, depth, 2, told=told).double()
    return net.eval()


def test_one_block_is_the_formula_written_out() -> None:
    net = trunk(depth=1)
    block = net.blocks[0]
    h = torch.randn(1, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    normed = torch.nn.functional.layer_norm(h, (16,))
    q, k, v = (normed @ block.qkv.weight.T).reshape(5, 3, 2, 8).unbind(1)
    out = torch.zeros(5, 2, 8, dtype=torch.float64)
    for head in range(2):
        turned = []
        for x in (q[:, head], k[:, head]):
            rows = []
            for place in range(5):
                angle = place * torch.tensor([10_000 ** (-2 * i / 8) for i in range(4)])
                first, second = x[place, :4], x[place, 4:]
                rows.append(
                    torch.cat(
                        [
                            first * angle.cos() - second * angle.sin(),
                            second * angle.cos() + first * angle.sin(),
                        ]
                    )
                )
            turned.append(torch.stack(rows))
        weights = torch.softmax(turned[0] @ turned[1].T / 8**0.5, -1)
        out[:, head] = weights @ v[:, head]
    after = h + out.reshape(1, 5, 16) @ block.out.weight.T
    after = after + block.mlp(torch.nn.functional.layer_norm(after, (16,)))
    assert torch.allclose(net(h), after, atol=1e-6)


def test_attention_depends_on_distances_only() -> None:
    net = trunk()
    h = torch.randn(2, 6, 16, dtype=torch.float64)
    assert torch.allclose(net(h), net(h, positions=torch.arange(6) + 50), atol=1e-4)
    cos, sin = rotary(torch.tensor([[0, 1], [5, 6]]), 8, 10_000.0, torch.float64)
    assert cos.shape == sin.shape == (2, 1, 2, 4)


def test_hidden_keys_do_not_matter() -> None:
    net = trunk()
    h = torch.randn(1, 6, 16, dtype=torch.float64)
    seen = torch.tensor([False, False, True, True, True, True])
    padded = net(h, attend=seen[None, None, None], positions=torch.arange(6) - 2)
    assert torch.allclose(padded[:, 2:], net(h[:, 2:]), atol=1e-6)


def test_causal_runs_ignore_what_comes_and_equal_the_mask() -> None:
    net = trunk()
    h = torch.randn(1, 6, 16, dtype=torch.float64)
    other = h.clone()
    other[:, 4:] = 0
    assert torch.allclose(net(h, causal=True)[:, :4], net(other, causal=True)[:, :4], atol=1e-12)
    assert torch.allclose(net(h, causal=True), net(h, attend=block_causal(6, 1)), atol=1e-12)


def test_a_cache_of_earlier_blocks_is_exact() -> None:
    net = trunk()
    h = torch.randn(2, 9, 16, dtype=torch.float64)
    whole = net(h, attend=block_causal(9, 3))
    past, parts = None, []
    for start in range(0, 9, 3):
        out, past = net.extend(h[:, start : start + 3], past=past)
        parts.append(out)
    assert past is not None
    assert past.length == 9
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)


def test_two_copies_see_what_block_diffusion_lets_them_see() -> None:
    mask = block_causal(4, 2, copies=2)
    expected = """
        11000000
        11000000
        00111100
        00111100
        00001100
        00001100
        00001111
        00001111"""
    assert ["".join(str(int(v)) for v in row) for row in mask] == expected.split()


def test_a_fresh_conditioned_block_is_the_identity_and_then_hears_its_condition() -> None:
    net = trunk(told=3)
    h, told = torch.randn(2, 4, 16, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(net(h, told=told), h)
    for block in net.blocks:
        torch.nn.init.normal_(block.tell.weight, std=0.1)
    assert not torch.allclose(net(h, told=told), net(h, told=-told))


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="multiple of twice the 3 heads"):
        Trunk(16, 1, 3)
    with pytest.raises(ConfigError, match="told a condition"):
        trunk(told=3)(torch.zeros(1, 2, 16, dtype=torch.float64))
    with pytest.raises(ConfigError, match="causal attention takes no mask"):
        trunk()(torch.zeros(1, 2, 16, dtype=torch.float64), causal=True, attend=block_causal(2, 1))


def test_a_gated_block_is_that_of_llama_written_out() -> None:
    torch.manual_seed(0)
    net = Trunk(16, 1, 2, gated=True).double()
    block = net.blocks[0]
    h = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert sum(p.numel() for p in block.parameters()) == 4 * 16 * 16 + 3 * 16 * 64 + 2 * 16
    with torch.no_grad():
        block.out.weight.zero_()
    normed = h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    first, second = block.mlp[0].both.weight.chunk(2)
    inner = torch.nn.functional.silu(normed @ first.T) * (normed @ second.T)
    assert torch.allclose(net(h), h + inner @ block.mlp[2].weight.T, atol=1e-9)


def test_what_is_added_after_a_block_reaches_the_next() -> None:
    net, h = trunk(), torch.randn(1, 4, 16, dtype=torch.float64)
    extra = torch.randn_like(h)
    first = net.blocks[0]
    turn = rotary(torch.arange(4), 8, 10_000.0, torch.float64)
    by_hand = first(h, turn, None, False, None, None)[0] + extra
    by_hand = net.blocks[1](by_hand, turn, None, False, None, None)[0]
    assert torch.allclose(net(h, added=[extra]), by_hand)
