"""Folders that others read, and weights of others, against forward passes written out here in float64."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from core.errors import CheckpointError, ModelMismatch
from domains.language.config import Generation
from domains.language.exchange import from_pretrained, hub_network, save_pretrained
from domains.language.foreign import foreign_network, import_pretrained, read_weights
from domains.language.generation import generate
from domains.language.networks import TextNet
from domains.language.tokenizer import train_tokenizer
from tests.domains.language.models import random_model

V, WIDTH, HEADS, DEPTH, TOLD = 10, 16, 2, 2, 6
TOKENS = torch.tensor([[0, 3, 10, 9, 10, 1, 2], [10, 10, 10, 4, 4, 8, 10]])
MODEL = random_model()


def gaussian(*shape: int, seed: int, scale: float = 0.4) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def radd_weights() -> dict[str, Tensor]:
    """Random weights in RADD's layout; norm biases near one, as its code begins."""
    weights = {"vocab_embed.embedding": gaussian(V + 1, WIDTH, seed=1)}
    seed = 10
    for i in range(DEPTH):
        for name, shape in {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn_qkv.weight": (3 * WIDTH, WIDTH),
            "attn_out.weight": (WIDTH, WIDTH),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.0.weight": (4 * WIDTH, WIDTH),
            "mlp.0.bias": (4 * WIDTH,),
            "mlp.2.weight": (WIDTH, 4 * WIDTH),
            "mlp.2.bias": (WIDTH,),
        }.items():
            seed += 1
            weights[f"blocks.{i}.{name}"] = gaussian(*shape, seed=seed) + float("norm" in name)
    weights["output_layer.norm_final.weight"] = 1 + gaussian(WIDTH, seed=2)
    weights["output_layer.norm_final.bias"] = 1 + gaussian(WIDTH, seed=3)
    weights["output_layer.linear.weight"] = gaussian(V + 1, WIDTH, seed=4)
    weights["output_layer.linear.bias"] = gaussian(V + 1, seed=5)
    return weights


def mdlm_weights() -> dict[str, Tensor]:
    """The same in MDLM's layout: no norm biases, and layers that turn the condition into moves."""
    weights = {name: value for name, value in radd_weights().items() if not name.endswith(".bias")}
    weights |= {name: value for name, value in radd_weights().items() if "mlp" in name or "linear" in name}
    weights |= {
        "sigma_map.mlp.0.weight": gaussian(TOLD, 256, seed=50, scale=0.1),
        "sigma_map.mlp.0.bias": gaussian(TOLD, seed=51),
        "sigma_map.mlp.2.weight": gaussian(TOLD, TOLD, seed=52, scale=1.0),
        "sigma_map.mlp.2.bias": gaussian(TOLD, seed=53),
        "output_layer.adaLN_modulation.weight": gaussian(2 * WIDTH, TOLD, seed=54),
        "output_layer.adaLN_modulation.bias": gaussian(2 * WIDTH, seed=55),
    }
    for i in range(DEPTH):
        weights[f"blocks.{i}.adaLN_modulation.weight"] = gaussian(6 * WIDTH, TOLD, seed=60 + i)
        weights[f"blocks.{i}.adaLN_modulation.bias"] = gaussian(6 * WIDTH, seed=70 + i)
    return weights


def reference(weights: dict[str, Tensor], tokens: Tensor, *, interleaved: bool = False) -> Tensor:
    """Logits (B, L, V + 1) of either layout, attention and rotation written out entry by entry.

    Args:
        interleaved: the wrong rotation: neighbours turned against each other instead of halves.
    """
    w = {name: value.double() for name, value in weights.items()}
    told = "sigma_map.mlp.0.weight" in w
    c = torch.zeros(0)
    if told:
        level = torch.tensor([math.cos(0.0)] * 128 + [math.sin(0.0)] * 128).double()
        inner = functional.silu(w["sigma_map.mlp.0.weight"] @ level + w["sigma_map.mlp.0.bias"])
        c = functional.silu(w["sigma_map.mlp.2.weight"] @ inner + w["sigma_map.mlp.2.bias"])

    def moves(name: str, count: int) -> list[Tensor]:
        if not told:
            return [torch.zeros(WIDTH).double(), torch.zeros(WIDTH).double(), torch.ones(WIDTH).double()] * 2
        found = w[f"{name}adaLN_modulation.weight"] @ c + w[f"{name}adaLN_modulation.bias"]
        return list(found.chunk(count))

    def normed(h: Tensor, name: str, shift: Tensor, scale: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        plain = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        plain = plain * w[f"{name}.weight"] + w.get(f"{name}.bias", 0.0)
        return plain * (1 + scale) + shift

    def turned(x: Tensor, place: int) -> Tensor:
        size = WIDTH // HEADS
        out = x.clone()
        for j in range(size // 2):
            angle = place * 10_000.0 ** (-2 * j / size)
            a, b = (2 * j, 2 * j + 1) if interleaved else (j, j + size // 2)
            out[..., a] = x[..., a] * math.cos(angle) - x[..., b] * math.sin(angle)
            out[..., b] = x[..., b] * math.cos(angle) + x[..., a] * math.sin(angle)
        return out

    h = w["vocab_embed.embedding"][tokens]
    length, size = tokens.shape[1], WIDTH // HEADS
    for i in range(DEPTH):
        name = f"blocks.{i}."
        shift1, scale1, gate1, shift2, scale2, gate2 = moves(name, 6)
        both = normed(h, f"{name}norm1", shift1, scale1) @ w[f"{name}attn_qkv.weight"].T
        seen = torch.zeros_like(h)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (both[..., s * WIDTH : (s + 1) * WIDTH][..., part] for s in range(3))
            q = torch.stack([turned(q[:, p], p) for p in range(length)], 1)
            k = torch.stack([turned(k[:, p], p) for p in range(length)], 1)
            seen[..., part] = torch.softmax(q @ k.mT / math.sqrt(size), -1) @ v
        h = h + gate1 * (seen @ w[f"{name}attn_out.weight"].T)
        m = normed(h, f"{name}norm2", shift2, scale2) @ w[f"{name}mlp.0.weight"].T + w[f"{name}mlp.0.bias"]
        m = 0.5 * m * (1 + torch.tanh(math.sqrt(2 / math.pi) * (m + 0.044715 * m**3)))
        h = h + gate2 * (m @ w[f"{name}mlp.2.weight"].T + w[f"{name}mlp.2.bias"])
    shift, scale = moves("output_layer.", 2)[:2]
    last = normed(h, "output_layer.norm_final", shift, scale)
    return last @ w["output_layer.linear.weight"].T + w["output_layer.linear.bias"]


LAYOUTS = {"radd": radd_weights, "mdlm": mdlm_weights}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_others_give_their_logits_without_the_mask(layout: str) -> None:
    weights = LAYOUTS[layout]()
    net = foreign_network(weights, heads=HEADS)
    assert net.vocab == V
    expected = reference(weights, TOKENS)[..., :-1]
    assert expected.std() > 0.5
    assert torch.allclose(net(TOKENS).double(), expected, atol=1e-4)
    wrong = reference(weights, TOKENS, interleaved=True)[..., :-1]
    assert not torch.allclose(net(TOKENS).double(), wrong, atol=1e-2)


def test_the_stored_biases_of_radd_and_the_gates_of_mdlm_count() -> None:
    """Each part that a careless import would drop changes the logits."""
    expected = foreign_network(radd_weights(), heads=HEADS)(TOKENS)
    bare = {k: v for k, v in radd_weights().items() if not k.endswith(("norm1.bias", "norm2.bias"))}
    assert not torch.allclose(foreign_network(bare, heads=HEADS)(TOKENS), expected, atol=1e-2)
    told = mdlm_weights()
    expected = foreign_network(told, heads=HEADS)(TOKENS)
    told["blocks.0.adaLN_modulation.bias"] = told["blocks.0.adaLN_modulation.bias"].clone()
    told["blocks.0.adaLN_modulation.bias"][2 * WIDTH : 3 * WIDTH] = 0
    assert not torch.allclose(foreign_network(told, heads=HEADS)(TOKENS), expected, atol=1e-2)


def test_wrapped_and_half_precision_names_are_read_alike() -> None:
    plain = foreign_network(mdlm_weights(), heads=HEADS)
    wrapped = {f"backbone.module.{k}": v for k, v in mdlm_weights().items()}
    assert torch.equal(foreign_network(wrapped, heads=HEADS)(TOKENS), plain(TOKENS))
    halved = {k: v.half() for k, v in mdlm_weights().items()}
    assert torch.allclose(foreign_network(halved, heads=HEADS)(TOKENS), plain(TOKENS), atol=0.05)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_published_folder_becomes_a_model_that_writes(tmp_path: Path, suffix: str) -> None:
    tokenizer = train_tokenizer("char", ["abcdefghij"], ends=False)
    weights = radd_weights()
    if suffix == "bin":
        torch.save({"model": weights, "step": 3}, tmp_path / "pytorch_model.bin")
    else:
        save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model": {"n_heads": HEADS, "length": 32}}))
    model = import_pretrained(tmp_path, tokenizer)
    assert (model.length, model.config.net.heads) == (32, HEADS)
    logits = model.denoiser(TOKENS, 1.0).logits
    assert torch.allclose(logits.double(), reference(weights, TOKENS)[..., :-1], atol=1e-4)
    assert len(generate(model, [[1, 2]], new=4, settings=Generation(steps=2))[0].ids) == 4
    again = from_pretrained(save_pretrained(model, tmp_path / "out"))
    assert torch.equal(again.denoiser(TOKENS, 1.0).logits, logits)
    with pytest.raises(ModelMismatch, match="10 tokens and a mask, the tokenizer 3"):
        import_pretrained(tmp_path, train_tokenizer("char", ["abc"], ends=False))


def test_an_exported_model_comes_back_bit_by_bit(tmp_path: Path) -> None:
    folder = save_pretrained(MODEL, tmp_path / "model")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "meta.json", "model.safetensors", "special_ids.json", "tokenizer.json"]
    again = from_pretrained(folder)
    for name, value in MODEL.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], value)
    assert (again.process, again.config, again.tokenizer) == (MODEL.process, MODEL.config, MODEL.tokenizer)
    settings = Generation(steps=4)
    assert generate(again, [[1, 2]], new=6, settings=settings) == generate(
        MODEL, [[1, 2]], new=6, settings=settings
    )


def test_the_mixin_reads_our_folders_and_we_read_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="'huggingface_hub' is not installed (extra 'language')")
    folder = save_pretrained(MODEL, tmp_path / "ours")
    kind: Any = hub_network()
    net = kind.from_pretrained(folder)
    assert isinstance(net, TextNet)
    x = torch.tensor([[1, 2, 9, 9]])
    with torch.no_grad():
        assert torch.equal(net(x), MODEL.net(x))
    net.save_pretrained(tmp_path / "theirs")
    (folder / "model.safetensors").write_bytes((tmp_path / "theirs" / "model.safetensors").read_bytes())
    assert torch.equal(from_pretrained(folder).net(x), MODEL.net(x))


def test_broken_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no .*config\.json"):
        from_pretrained(tmp_path)
    folder = save_pretrained(MODEL, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "suffuse": {**config["suffuse"], "format": 9}}))
    with pytest.raises(CheckpointError, match="format 9, this version reads 1"):
        from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"vocab": 3}))
    with pytest.raises(CheckpointError, match="of another program"):
        from_pretrained(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="holds list, expected a mapping"):
        from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:500])
    with pytest.raises(CheckpointError, match="truncated"):
        from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"there is no .*model\.safetensors"):
        from_pretrained(folder)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    weights = radd_weights()
    with pytest.raises(CheckpointError, match="another layout: 'vocab_embed"):
        foreign_network({"wte.weight": torch.zeros(3, 4)})
    with pytest.raises(CheckpointError, match="does not split into 3 heads"):
        foreign_network(weights, heads=3)
    with pytest.raises(CheckpointError, match="another base"):
        foreign_network({**weights, "rotary_emb.inv_freq": torch.ones(4)}, heads=HEADS)
    with pytest.raises(CheckpointError, match="heads of width 4, not 8"):
        foreign_network({**weights, "rotary_emb.inv_freq": torch.ones(2)}, heads=HEADS)
    with pytest.raises(CheckpointError, match="should hold the mask"):
        foreign_network({**weights, "vocab_embed.embedding": torch.zeros(V, WIDTH)})
    with pytest.raises(CheckpointError, match="holds no model"):
        read_weights(tmp_path)
    torch.save({"model": Path("x")}, tmp_path / "pickled.pth")
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_weights(tmp_path / "pickled.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    with pytest.raises(CheckpointError, match="truncated"):
        read_weights(tmp_path / "cut.safetensors")
