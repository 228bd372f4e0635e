"""SongDiT: published counts, what padding and batch order must not change, what each condition reaches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from domains.music.config import PRESETS, preset_for
from domains.music.dit import SongDiT
from domains.music.model import network
from domains.music.phone_embedding import PhoneEmbedding


def tiny(**changes: Any) -> SongDiT:
    """A small network, every weight of it random, so that nothing is hidden by zeros."""
    settings = {
        "sections": 3,
        "singers": 2,
        "text": 16,
        "text_blocks": 2,
        "style": 5,
        "time": 16,
        "phones": 20,
    }
    torch.manual_seed(0)
    net = SongDiT(6, 32, 4, 2, **{**settings, **changes}).double().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, dtype=torch.float64))
    return net


def told(count: int, frames: int, seed: int = 1) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, frames, generator=gen, dtype=torch.float64)
    t = torch.rand(count, generator=gen, dtype=torch.float64)
    ids = {
        name: torch.randint(0, high, (count, frames), generator=gen)
        for name, high in (("phones", 21), ("sections", 4), ("singers", 3))
    }
    cond = {
        **ids,
        "style": torch.randn(count, 5, generator=gen, dtype=torch.float64),
        "start": torch.rand(count, generator=gen, dtype=torch.float64) * 60,
        "total": torch.rand(count, generator=gen, dtype=torch.float64) * 200,
        "context": torch.randn(count, 6, frames, generator=gen, dtype=torch.float64),
        "keep": (torch.rand(count, 2, frames, generator=gen) < 0.5).double(),
    }
    return x, t, cond


def count_on_meta(preset: str) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in network(preset_for(preset)).parameters())


def test_the_published_network_has_its_published_size() -> None:
    base = count_on_meta("diffrhythm-base")
    assert base == 1_109_315_648
    assert count_on_meta("diffrhythm-full") - base == 394_240
    # One MLP more is 256 x 512 + 512 + 512 x 512 + 512.
    assert 256 * 512 + 512 + 512 * 512 + 512 == 394_240


def test_the_network_that_ships_is_small() -> None:
    assert 2.5e6 < count_on_meta("tiny") < 3.1e6


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_built(preset: str) -> None:
    config = preset_for(preset)
    assert config.crop <= config.net.max_frames
    assert count_on_meta(preset) > 0


def test_padding_changes_nothing() -> None:
    net = tiny()
    x, t, cond = told(2, 40)
    short = net(x, t, {**cond, "valid": torch.ones(2, 40, dtype=torch.bool)})
    assert torch.allclose(net(x, t, cond), short, atol=1e-12)
    gen = torch.Generator().manual_seed(3)
    junk = torch.randn(2, 6, 17, generator=gen, dtype=torch.float64) * 100
    padded: dict[str, Any] = {**cond, "valid": (torch.arange(57) < 40).expand(2, -1)}
    for name in ("phones", "sections", "singers"):
        padded[name] = torch.cat([cond[name], torch.ones(2, 17, dtype=torch.long)], 1)
    padded["context"] = torch.cat([cond["context"], junk], 2)
    padded["keep"] = torch.cat([cond["keep"], torch.ones(2, 2, 17, dtype=torch.float64)], 2)
    found = net(torch.cat([x, junk], 2), t, padded)[..., :40]
    # float64: only sums over zeros are added, so 1e-5 is far from being needed.
    assert torch.allclose(found, short, atol=1e-9)


def test_padding_would_show_if_it_were_not_hidden() -> None:
    net = tiny()
    x, t, cond = told(1, 40)
    junk = torch.randn(1, 6, 17, dtype=torch.float64)
    wide = {name: cond[name] for name in ("style", "start", "total")}
    seen = net(torch.cat([x, junk], 2), t, wide)[..., :40]
    assert not torch.allclose(seen, net(x, t, wide), atol=1e-3)


def test_padding_leaves_single_precision_alone_too() -> None:
    net = tiny().float()
    x, t, cond = told(2, 40)
    single = {name: value.float() if value.is_floating_point() else value for name, value in cond.items()}
    short = net(x.float(), t.float(), single)
    padded: dict[str, Any] = {name: single[name] for name in ("style", "start", "total")}
    padded["valid"] = (torch.arange(64) < 40).expand(2, -1)
    for name in ("phones", "sections", "singers", "context", "keep"):
        padded[name] = torch.nn.functional.pad(single[name], (0, 24))
    found = net(torch.nn.functional.pad(x.float(), (0, 24)), t.float(), padded)[..., :40]
    assert torch.allclose(found, short, atol=1e-5 * float(short.detach().abs().max()))


def test_songs_of_a_batch_do_not_see_each_other() -> None:
    net = tiny()
    x, t, cond = told(3, 24)
    order = torch.tensor([2, 0, 1])
    mixed = net(x[order], t[order], {name: value[order] for name, value in cond.items()})
    assert torch.allclose(mixed, net(x, t, cond)[order], atol=1e-12)
    alone = net(x[1:2], t[1:2], {name: value[1:2] for name, value in cond.items()})
    assert torch.allclose(alone, net(x, t, cond)[1:2], atol=1e-12)


@pytest.mark.parametrize(
    "name", ["phones", "sections", "singers", "style", "start", "total", "context", "keep"]
)
def test_every_condition_reaches_the_output(name: str) -> None:
    net = tiny()
    x, t, cond = told(2, 24)
    other = told(2, 24, seed=9)[2]
    assert not torch.allclose(net(x, t, {**cond, name: other[name]}), net(x, t, cond), atol=1e-4)


def test_what_is_not_had_is_not_seen() -> None:
    net = tiny()
    x, t, cond = told(2, 24)
    other = told(2, 24, seed=9)[2]
    first = torch.tensor([False, True])
    flags = {f"has_{name}": first for name in ("lyrics", "style", "context")}
    changed = {name: other[name] for name in ("phones", "sections", "singers", "style", "context", "keep")}
    a, b = net(x, t, {**cond, **flags}), net(x, t, {**cond, **changed, **flags})
    assert torch.allclose(a[0], b[0], atol=1e-12)
    assert not torch.allclose(a[1], b[1], atol=1e-4)


def test_hidden_lyrics_differ_from_silence_where_there_is_a_row_for_them() -> None:
    x, t, _ = told(1, 24)
    silent = {"phones": torch.zeros(1, 24, dtype=torch.long)}
    hidden = {**silent, "has_lyrics": torch.tensor([False])}
    net = tiny()
    assert not torch.allclose(net(x, t, hidden), net(x, t, silent), atol=1e-4)
    published = tiny(null_row=False)
    assert torch.equal(published(x, t, hidden), published(x, t, silent))


def test_lyrics_embedded_once_serve_every_step() -> None:
    net = tiny()
    x, t, cond = told(2, 24)
    text = net.embed(cond, 24, x)
    assert torch.equal(net(x, t, {**cond, "text": text}), net(x, t, cond))


def test_a_style_may_change_from_frame_to_frame() -> None:
    net = tiny()
    x, t, cond = told(2, 24)
    even = cond["style"][:, None].expand(-1, 24, -1)
    assert torch.allclose(net(x, t, {**cond, "style": even}), net(x, t, cond), atol=1e-12)


def test_a_fresh_student_is_its_teacher() -> None:
    torch.manual_seed(0)
    teacher = SongDiT(6, 32, 2, 2, text=16, style=5, time=16)
    student = SongDiT(6, 32, 2, 2, text=16, style=5, time=16, student=True)
    student.load_state_dict(teacher.state_dict(), strict=False)
    with torch.no_grad():
        teacher.leave.weight.normal_()
        student.leave.weight.copy_(teacher.leave.weight)
    x, t = torch.randn(2, 6, 20), torch.rand(2)
    to = {"to": torch.rand(2), "weight": torch.full((2,), 4.0)}
    assert torch.equal(student(x, t, to), teacher(x, t))


def test_a_fresh_network_answers_zero() -> None:
    net = SongDiT(6, 32, 2, 2, text=16, style=5, time=16)
    x, t, _ = told(2, 24)
    assert not net(x.float(), t.float(), {}).any()
    with pytest.raises(ConfigError, match="style vectors of length 5, got 7"):
        net(x.float(), t.float(), {"style": torch.zeros(2, 7)})
    with pytest.raises(ConfigError, match="for 6 channels of latents, got 5"):
        net(x[:, :5].float(), t.float())


def test_the_response_norm_is_the_formula_written_out() -> None:
    torch.manual_seed(1)
    embed = PhoneEmbedding(5, 8, 1).double()
    block = embed.blocks[0]
    with torch.no_grad():
        block.gamma.normal_()
        block.beta.normal_()
    h = torch.randn(1, 9, 8, dtype=torch.float64)
    inner = torch.nn.functional.conv1d(h.mT, block.conv.weight, block.conv.bias, padding=3, groups=8).mT
    inner = torch.nn.functional.layer_norm(inner, (8,), block.norm.weight, block.norm.bias, 1e-6)
    g = torch.nn.functional.gelu(inner @ block.up.weight.T + block.up.bias)
    n = torch.stack([g[0, :, k].square().sum().sqrt() for k in range(16)])
    grn = block.gamma * g * n / (n.mean() + 1e-6) + block.beta + g
    expected = h + grn @ block.down.weight.T + block.down.bias
    assert torch.allclose(block(h, None), expected, atol=1e-12)
