"""Checkpoints of the published code: every weight at its place, refusals of what is none."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import CheckpointError
from domains.graphs.data import GraphSet, Kind, Ragged
from domains.graphs.reference import convert_reference, read_reference

F, N, WIDTH, HEADS = 3, 5, 4, 2
X: dict[str, Any] = {"max_feat_num": F, "depth": 2, "nhid": WIDTH}
ADJ: dict[str, Any] = {
    "model_type": "ScoreNetworkA",
    "max_feat_num": F,
    "max_node_num": N,
    "nhid": WIDTH,
    "num_layers": 2,
    "num_linears": 2,
    "c_init": 2,
    "c_hid": 3,
    "c_final": 2,
    "adim": WIDTH,
    "num_heads": HEADS,
}
SDE = {
    "x": {"type": "VP", "beta_min": 0.1, "beta_max": 1.0},
    "adj": {"type": "VE", "beta_min": 0.2, "beta_max": 1.0},
}


def rings() -> GraphSet:
    graphs = [([0] * n, [(i, (i + 1) % n) for i in range(n)], None) for n in (3, 4, 5)]
    kind = Kind("rings", (), N, F)
    return GraphSet(kind, Ragged.build(graphs), {"train": np.arange(3), "test": np.arange(1)})


def linear(name: str, before: int, after: int, gen: torch.Generator) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.randn(after, before, generator=gen, dtype=torch.float64).float(),
        f"{name}.bias": torch.randn(after, generator=gen, dtype=torch.float64).float(),
    }


def gcn(name: str, before: int, after: int, gen: torch.Generator) -> dict[str, Tensor]:
    found = linear(name, before, after, gen)
    return {f"{name}.weight": found[f"{name}.weight"].T.contiguous(), f"{name}.bias": found[f"{name}.bias"]}


def attention(layers: int, gen: torch.Generator) -> dict[str, Tensor]:
    """Blocks with the published names."""
    out: dict[str, Tensor] = {}
    sizes = [2, *[3] * (layers - 1), 2]
    for i in range(layers):
        width, c, after = (F if i == 0 else WIDTH), sizes[i], sizes[i + 1]
        for k in range(c):
            for part in "qkv":
                out |= gcn(f"layers.{i}.attn.{k}.gnn_{part}", width, WIDTH, gen)
        hidden = 2 * max(c, after)
        out |= linear(f"layers.{i}.mlp.linears.0", 2 * c, hidden, gen)
        out |= linear(f"layers.{i}.mlp.linears.1", hidden, after, gen)
        out |= linear(f"layers.{i}.multi_channel.linears.0", c * WIDTH, hidden, gen)
        out |= linear(f"layers.{i}.multi_channel.linears.1", hidden, WIDTH, gen)
    return out


def head(width: int, out: int, gen: torch.Generator) -> dict[str, Tensor]:
    sizes = [width, 2 * width, 2 * width, out]
    return {
        key: value
        for j in range(3)
        for key, value in linear(f"final.linears.{j}", sizes[j], sizes[j + 1], gen).items()
    }


def published(kind: str = "ScoreNetworkX") -> dict[str, Any]:
    """A checkpoint with the published names and random weights."""
    gen = torch.Generator().manual_seed(0)
    x, params = {}, {"model_type": kind, **X}
    if kind == "ScoreNetworkX":
        x = gcn("layers.0", F, WIDTH, gen) | gcn("layers.1", WIDTH, WIDTH, gen)
    else:
        x, params = attention(2, gen), {**ADJ, **params}
    adj = attention(2, gen) | head(2 + 3 + 2, 1, gen)
    return {
        "model_config": {"sde": SDE},
        "params_x": params,
        "x_state_dict": {f"module.{k}": v for k, v in (x | head(F + 2 * WIDTH, F, gen)).items()},
        "params_adj": ADJ,
        "adj_state_dict": adj,
    }


def mlp(found: dict[str, Tensor], name: str, h: Tensor) -> Tensor:
    for j in range(3):
        if f"{name}.linears.{j}.weight" in found:
            h = torch.nn.functional.elu(h) if j else h
            h = h @ found[f"{name}.linears.{j}.weight"].T + found[f"{name}.linears.{j}.bias"]
    return h


def spread(a: Tensor, h: Tensor, found: dict[str, Tensor], name: str) -> Tensor:
    """One published graph convolution of one graph."""
    loops = a.clone().fill_diagonal_(1)
    d = loops.sum(1).clamp(min=1) ** -0.5
    return (d[:, None] * loops * d) @ h @ found[f"{name}.weight"] + found[f"{name}.bias"]


def blocks(found: dict[str, Tensor], x: Tensor, a: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """X and channels (N, N, C) after each block, channel by channel and head by head."""
    channels, seen_x, seen_a = torch.stack([a, a @ a], -1), [x], [torch.stack([a, a @ a], -1)]
    for i in range(2):
        maps, values = [], []
        for c in range(channels.shape[-1]):
            q, k, v = (spread(channels[..., c], x, found, f"layers.{i}.attn.{c}.gnn_{p}") for p in "qkv")
            parts = zip(q.split(WIDTH // HEADS, 1), k.split(WIDTH // HEADS, 1), strict=True)
            mean = (
                sum((torch.tanh(one @ two.T / WIDTH**0.5) for one, two in parts), torch.zeros(N, N)) / HEADS
            )
            maps.append((mean + mean.T) / 2)
            values.append(v)
        x = torch.tanh(mlp(found, f"layers.{i}.multi_channel", torch.cat(values, 1)))
        out = mlp(found, f"layers.{i}.mlp", torch.cat([torch.stack(maps, -1), channels], -1))
        channels = out + out.transpose(0, 1)
        seen_x.append(x)
        seen_a.append(channels)
    return seen_x, seen_a


@pytest.mark.parametrize("kind", ["ScoreNetworkX", "ScoreNetworkX_GMH"])
def test_answers_are_those_of_the_published_formulas(kind: str, tmp_path: Path) -> None:
    content = published(kind)
    torch.save(content, tmp_path / "model.pth")
    model = read_reference(tmp_path / "model.pth", rings())
    gen = torch.Generator().manual_seed(1)
    a = torch.randn(N, N, generator=gen).triu(1)
    x, a = torch.randn(N, F, generator=gen), a + a.T
    mask = torch.ones(1, N, dtype=torch.bool)
    found = model.denoiser.net({"nodes": x[None], "edges": a[None], "mask": mask}, torch.tensor([0.5]))
    own = {k.removeprefix("module."): v for k, v in content["x_state_dict"].items()}
    if kind == "ScoreNetworkX":
        seen = [x]
        for i in range(2):
            seen.append(torch.tanh(spread(a, seen[-1], own, f"layers.{i}")))
    else:
        both, maps = blocks(own, x, a)
        # The second tanh acts between blocks too: the last block starts from tanh of the first X.
        state = torch.tanh(both[1])
        values = [spread(maps[1][..., c], state, own, f"layers.1.attn.{c}.gnn_v") for c in range(3)]
        last = torch.tanh(mlp(own, "layers.1.multi_channel", torch.cat(values, 1)))
        seen = [x, state, torch.tanh(last)]
    nodes = mlp(own, "final", torch.cat(seen, 1))
    edges = mlp(content["adj_state_dict"], "final", torch.cat(blocks(content["adj_state_dict"], x, a)[1], -1))
    edges = edges[..., 0].clone().fill_diagonal_(0)
    assert torch.allclose(found["nodes"][0], nodes, rtol=1e-4, atol=1e-4)
    assert torch.allclose(found["edges"][0], edges, rtol=1e-4, atol=1e-4)
    assert model.sizes == (0, 0, 0, 1, 1, 1)
    assert (model.config.nodes.kind, model.config.edges.kind) == ("vp", "ve")
    assert model.config.ve_scale == "none"


def test_averaged_weights_are_taken_where_the_file_says_so() -> None:
    content = published()
    for name in ("x", "adj"):
        weights = list(content[f"{name}_state_dict"].values())
        content[f"ema_{name}"] = {"decay": 0.999, "shadow_params": [value + 1 for value in weights]}
    plain, moved = convert_reference(content, rings()), convert_reference(content, rings(), ema=True)
    for name, value in plain.checkpoint.weights.items():
        assert torch.equal(moved.checkpoint.weights[name], value + 1), name
    content["model_config"] = {
        "sde": SDE,
        "sample": {"use_ema": True},
        "sampler": {"predictor": "S4", "corrector": "None", "snr": 0.15, "scale_eps": 0.7},
    }
    said = convert_reference(content, rings())
    assert torch.equal(
        said.checkpoint.weights["nodes.weights.0"], moved.checkpoint.weights["nodes.weights.0"]
    )
    assert (said.sampling.solver, said.sampling.corrector, said.sampling.snr) == ("s4", True, 0.15)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


def test_what_is_no_published_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="there is no file"):
        read_reference(tmp_path / "none.pth", rings())
    torch.save({"model_config": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_reference(tmp_path / "harm.pth", rings())
    (tmp_path / "text.pth").write_bytes(pickle.dumps("text", protocol=2))
    with pytest.raises(CheckpointError):
        read_reference(tmp_path / "text.pth", rings())
    assert not (tmp_path / "harmed").exists()
    with pytest.raises(CheckpointError, match="no 'model_config'"):
        convert_reference(OrderedDict(), rings())
    other = {**published(), "params_adj": {**ADJ, "max_node_num": 9}}
    with pytest.raises(CheckpointError, match="N=9, F=3; 'rings' has N=5"):
        convert_reference(other, rings())
    strange = {**published(), "model_config": {"sde": {**SDE, "x": {"type": "subVP"}}}}
    with pytest.raises(CheckpointError, match="type 'subVP'"):
        convert_reference(strange, rings())
