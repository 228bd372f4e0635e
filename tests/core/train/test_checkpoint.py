"""Checkpoints: what is written is read back, and what cannot be used says why."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import CheckpointError
from core.nets.unet import UNet
from core.process import VP, Product, to_record
from core.train.checkpoint import (
    Checkpoint,
    Snapshot,
    denoiser_of,
    fill,
    load,
    load_snapshot,
    newest_snapshot,
    save,
    save_snapshot,
)


def made(role: str = "tissue") -> tuple[Checkpoint, UNet]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(2, 2, widths=(8, 8))
    checkpoint = Checkpoint(
        weights=net.state_dict(),
        process=to_record(VP(b1=12.0)),
        predicts="edm",
        data_std=0.31,
        role=role,
        net=net.config,
        preset="tiny",
        v0=0.1,
        version="0.1.0",
        training={"steps": 560, "seed": 3},
    )
    return checkpoint, net


def test_everything_comes_back(tmp_path: Path) -> None:
    checkpoint, net = made()
    save(tmp_path / "net.safetensors", checkpoint)
    again = load(tmp_path / "net.safetensors", role="tissue")
    assert all(torch.equal(value, again.weights[name]) for name, value in net.state_dict().items())
    assert replace(again, weights={}) == replace(checkpoint, weights={})


def test_a_stored_denoiser_answers_as_it_did(tmp_path: Path, gen: torch.Generator) -> None:
    checkpoint, net = made()
    with torch.no_grad():
        net.head.weight.normal_(generator=gen)
    save(tmp_path / "net.safetensors", replace(checkpoint, weights=net.state_dict()))
    again = load(tmp_path / "net.safetensors")
    denoiser = denoiser_of(again, UNet(**again.net))
    assert denoiser.process == VP(b1=12.0)
    x = torch.randn(1, 2, 8, 8, generator=gen)
    before = denoiser_of(checkpoint := replace(again, weights=net.state_dict()), UNet(**checkpoint.net))
    assert torch.equal(denoiser(x, 0.4).mean, before(x, 0.4).mean)
    assert not any(p.requires_grad for p in denoiser.parameters())


def test_products_are_stored_by_part(tmp_path: Path) -> None:
    process = to_record(Product({"tissue": VP(), "haze": VP(b1=5.0)}))
    save(tmp_path / "c.safetensors", replace(made()[0], process=process))
    assert load(tmp_path / "c.safetensors").process == process


@pytest.mark.parametrize("cut", [0, 4, 300, -1])
def test_a_truncated_file_is_recognised(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, made()[0])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"net.safetensors \(\d+ bytes\) is truncated"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent.safetensors"):
        load(tmp_path / "absent.safetensors")


def test_the_wrong_role_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "net.safetensors", made("haze")[0])
    with pytest.raises(CheckpointError, match="has the role 'haze', expected 'tissue'"):
        load(tmp_path / "net.safetensors", role="tissue")


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="is a foreign file, expected a checkpoint"):
        load(path)
    save_file({"w": torch.zeros(1)}, path, {"kind": "checkpoint", "format": "2", "record": "{}"})
    with pytest.raises(CheckpointError, match="has format 2, this version reads 1"):
        load(path)
    record = json.dumps({"process": {}, "predicts": "edm", "data_std": 1.0, "colour": "blue"})
    save_file({"w": torch.zeros(1)}, path, {"kind": "checkpoint", "format": "1", "record": record})
    with pytest.raises(CheckpointError, match=r"unknown entries \['colour'\]"):
        load(path)
    save_file({"w": torch.zeros(1)}, path, {"kind": "checkpoint", "format": "1", "record": "{}"})
    with pytest.raises(CheckpointError, match="lacks entries"):
        load(path)


def test_a_snapshot_is_no_checkpoint(tmp_path: Path) -> None:
    path = save_snapshot(tmp_path, Snapshot(3, {"trail": torch.zeros(1)}, {}), keep=1)
    with pytest.raises(CheckpointError, match="is a snapshot, expected a checkpoint"):
        load(path)


def test_weights_of_another_network_are_named() -> None:
    _, net = made()
    weights = dict(net.state_dict())
    with pytest.raises(
        CheckpointError, match=r"'stem.weight' has shape \(8, 2, 3, 3\) .*, \(8, 1, 3, 3\) in UNet"
    ):
        fill(UNet(1, 2, widths=(8, 8)), weights)
    weights["spare"] = weights.pop("head.bias")
    with pytest.raises(CheckpointError, match=r"missing head.bias, not expected spare"):
        fill(net, weights)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    save(path, made()[0])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="could not be written: No space left"):
        save(path, made("haze")[0])
    assert load(path).role == "tissue"
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_the_newest_readable_snapshot_wins(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_snapshot(tmp_path, Snapshot(step, {"trail": torch.full((2,), float(step))}, {"lr": 1.0}), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000010.safetensors",
        "step-000000015.safetensors",
    ]
    newest = newest_snapshot(tmp_path)
    assert newest is not None
    assert newest.step == 15
    assert newest.tensors["trail"].tolist() == [15.0, 15.0]
    assert load_snapshot(tmp_path / "step-000000010.safetensors").settings == {"lr": 1.0}
