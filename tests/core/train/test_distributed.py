"""Two processes with half the batch each train as one process does with all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import ConfigError
from core.train.checkpoint import load, load_snapshot
from core.train.distributed import group, own_part, place, spread
from tests.core.train import two_processes

ROOT = Path(__file__).resolve().parents[3]


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").open()]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    # One spawned program holds every run, since nearly all of its time goes into importing torch twice.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(two_processes.__file__)
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]

    one = two_processes.train(folder=tmp_path / "one")
    curve = losses(tmp_path / "one")
    assert len(curve) == 20
    for name in ("ddp", "fsdp"):
        # The same sums in another order: rounding of 1e-7, grown over 20 steps, far below the 1e-3 asked for.
        assert losses(tmp_path / name) == pytest.approx(curve, rel=1e-4), name
        two = load(tmp_path / name / "model.safetensors")
        for key, value in one.weights.items():
            torch.testing.assert_close(two.weights[key], value, rtol=1e-3, atol=1e-4)

    fsdp, resumed = (load(tmp_path / name / "model.safetensors") for name in ("fsdp", "resumed"))
    assert all(torch.equal(value, resumed.weights[key]) for key, value in fsdp.weights.items())

    # A snapshot holds whole tensors, so one process can go on where two stopped.
    stored = load_snapshot(tmp_path / "fsdp" / "step-000000014.safetensors")
    assert stored.tensors["optimizer/exp_avg/stem.weight"].shape == one.weights["stem.weight"].shape
    (tmp_path / "fsdp" / "step-000000020.safetensors").unlink()
    alone = two_processes.train(folder=tmp_path / "fsdp", resume=True)
    for key, value in one.weights.items():
        torch.testing.assert_close(alone.weights[key], value, rtol=1e-3, atol=1e-4)

    shares = [json.loads((tmp_path / f"share-{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(share["own"] for share in shares) == shares[0]["all"]
    assert max(share["own"] for share in shares) < 0.6 * shares[0]["all"]


def test_alone_a_process_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with group() as here:
        assert here == place() == (0, 1)
        assert own_part(range(8, 16)) == range(8, 16)
        net = torch.nn.Linear(2, 2)
        assert spread(net, "fsdp") is net


def test_an_uneven_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.train.distributed.place", lambda: (1, 3))
    assert own_part(range(6, 12)) == range(8, 10)
    with pytest.raises(ConfigError, match="batch of 7 does not divide over 3 processes"):
        own_part(range(7))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown parallel mode 'dpp'"):
        spread(torch.nn.Linear(1, 1), "dpp")  # type: ignore[arg-type]
