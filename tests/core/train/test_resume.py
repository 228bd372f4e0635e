"""A run that is stopped, killed or damaged and then resumed ends with the bits of one that was not."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import CheckpointError, ConfigError
from core.train.checkpoint import Checkpoint, newest_snapshot
from core.train.config import FitConfig
from core.train.log import RunLog
from tests.core.train.tiny_run import CONFIG, tell, train

ROOT = Path(__file__).resolve().parents[3]


class Stopped(Exception):
    """Raised by a listener in the middle of a run."""


def stop_after(step: int):
    def listen(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        if done == step:
            raise Stopped

    return listen


def stopped(folder: Path, step: int, config: FitConfig = CONFIG) -> None:
    with pytest.raises(Stopped):
        train(config, folder=folder, progress=stop_after(step))


def same(one: Checkpoint, two: Checkpoint) -> bool:
    return one.weights.keys() == two.weights.keys() and all(
        torch.equal(value, two.weights[name]) for name, value in one.weights.items()
    )


@pytest.fixture(scope="module")
def through() -> Checkpoint:
    """The run that nobody disturbed."""
    return train()


@pytest.mark.parametrize("step", [1, 3, 4, 13, 19])
def test_a_stopped_run_resumes_to_the_same_bits(step: int, tmp_path: Path, through: Checkpoint) -> None:
    stopped(tmp_path, step)
    again = train(folder=tmp_path, resume=True)
    assert same(again, through)
    assert again.training == through.training


def test_a_stopped_run_closes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: list[RunLog] = []

    class Kept(RunLog):
        def __init__(self, folder: Path | None, step: int) -> None:
            super().__init__(folder, step)
            logs.append(self)

    monkeypatch.setattr("core.train.loop.RunLog", Kept)
    stopped(tmp_path, 4)
    assert [log.file.closed for log in logs if log.file is not None] == [True]


def test_the_last_weights_are_the_same_too(tmp_path: Path) -> None:
    config = replace(CONFIG, ema=None, optimizer="adamw", weight_decay=0.1)
    stopped(tmp_path, 7, config)
    assert same(train(config, folder=tmp_path, resume=True), train(config))


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="the default run kills a forked process; this system has none"
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, through: Checkpoint) -> None:
    # A fork has torch imported already; the slow test below kills a program of its own.
    step = random.Random().randrange(1, CONFIG.steps)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(write, "w") as lines, contextlib.redirect_stdout(lines):
                train(folder=tmp_path, progress=tell)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as lines:
        told = b""
        while told.count(b"\n") < step:
            assert select.select([lines], [], [], 60)[0], "the child is stuck"
            told += lines.read(64)
        os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    resumes_to(through, tmp_path, step)


@pytest.mark.slow
def test_a_killed_program_resumes_to_the_same_bits(tmp_path: Path, through: Checkpoint) -> None:
    step = random.Random().randrange(1, CONFIG.steps)
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("tiny_run.py")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child, child.stdout as lines:
        for line in lines:
            if int(line) >= step:
                child.kill()
                break
    assert child.returncode == -signal.SIGKILL
    resumes_to(through, tmp_path, step)


def resumes_to(through: Checkpoint, folder: Path, step: int) -> None:
    assert not (folder / "model.safetensors").exists(), f"finished before it was killed at step {step}"
    assert same(train(folder=folder, resume=True), through), f"killed at step {step}"
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").open()] == list(range(1, 21))


def test_a_truncated_newest_snapshot_falls_back_to_the_one_before(
    tmp_path: Path, through: Checkpoint
) -> None:
    stopped(tmp_path, 13)
    newest = tmp_path / "step-000000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="step-000000012.safetensors .* truncated .* snapshot before"):
        again = train(folder=tmp_path, resume=True)
    assert same(again, through)


def test_a_run_whose_snapshots_are_all_damaged_says_so(tmp_path: Path) -> None:
    stopped(tmp_path, 7)
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="Going back"),
        pytest.raises(CheckpointError, match="none of the 2 snapshots"),
    ):
        train(folder=tmp_path, resume=True)


def test_a_half_written_snapshot_is_never_seen(tmp_path: Path, through: Checkpoint) -> None:
    stopped(tmp_path, 7)
    (tmp_path / ".step-000000009.safetensors.77.part").write_bytes(b"half")
    assert same(train(folder=tmp_path, resume=True), through)


def test_only_the_newest_snapshots_are_kept(tmp_path: Path) -> None:
    train(folder=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "log.jsonl",
        "model.safetensors",
        "step-000000018.safetensors",
        "step-000000020.safetensors",
    ]


def test_a_finished_run_resumes_to_itself(tmp_path: Path, through: Checkpoint) -> None:
    train(folder=tmp_path)
    assert same(train(folder=tmp_path, resume=True), through)


def test_a_broken_last_line_of_the_log_is_dropped(tmp_path: Path) -> None:
    stopped(tmp_path, 7)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    train(folder=tmp_path, resume=True)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()] == list(range(1, 21))


def test_resuming_with_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    stopped(tmp_path, 7)
    with pytest.raises(ConfigError, match=r"lr was 0.01, now 0.02"):
        train(replace(CONFIG, lr=0.02), folder=tmp_path, resume=True)
    with pytest.raises(ConfigError, match=r"seed was 5, now 6"):
        train(folder=tmp_path, resume=True, seed=6)


def test_how_often_snapshots_are_written_may_change(tmp_path: Path, through: Checkpoint) -> None:
    stopped(tmp_path, 7)
    again = train(replace(CONFIG, every_steps=None, every_seconds=1e-9, keep=5), folder=tmp_path, resume=True)
    assert same(again, through)
    # A nanosecond passes in every step, so each of the last five has its snapshot.
    assert len(list(tmp_path.glob("step-*"))) == 5


def test_a_longer_run_goes_on_from_a_finished_one_at_a_constant_rate(tmp_path: Path) -> None:
    constant = replace(CONFIG, schedule="constant")
    train(constant, folder=tmp_path)
    longer = replace(constant, steps=26)
    assert same(train(longer, folder=tmp_path, resume=True), train(longer))


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    stopped(tmp_path, 7)
    with pytest.raises(ConfigError, match="holds another run"):
        train(folder=tmp_path)


def test_resuming_an_empty_folder_starts_at_the_beginning(tmp_path: Path, through: Checkpoint) -> None:
    assert newest_snapshot(tmp_path) is None
    assert same(train(folder=tmp_path, resume=True), through)
