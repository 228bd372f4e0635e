"""A song model trained on two processes, its weights whole on both or cut between them, is that of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.train.checkpoint import load
from tests.domains.music import two_processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_two_processes_train_a_song_model_as_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(two_processes.__file__)
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one = two_processes.run(folder=tmp_path / "one")
    for name in ("fsdp", "ddp"):
        two = load(tmp_path / name / "model.safetensors")
        for key, value in one.checkpoint.weights.items():
            # The same sums in another order; Adam's first steps magnify rounding of small gradients.
            torch.testing.assert_close(two.weights[key], value, rtol=1e-3, atol=2e-4)
    shares = [json.loads((tmp_path / f"share-{rank}.json").read_text()) for rank in (0, 1)]
    assert sum(share["own"] for share in shares) == shares[0]["all"]
    assert max(share["own"] for share in shares) < 0.6 * shares[0]["all"]
