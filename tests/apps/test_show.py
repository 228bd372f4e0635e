"""Results on standard output: exact JSON for programs, complete tables for people."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.plain import plain
from apps.show import show
from core.errors import NumericalError


@dataclass(frozen=True)
class Result:
    gain_db: float
    frames: np.ndarray


def test_json_is_one_object_and_the_folder_is_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    show({"gain_db": np.float32(2.5), "n": np.int64(3)}, as_json=True, folder=Path("runs/x"))
    out, err = capsys.readouterr()
    assert json.loads(out) == {"gain_db": 2.5, "n": 3, "folder": "runs/x"}
    assert err == ""


def test_json_of_a_number_that_is_none_is_refused_and_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NumericalError, match=r"report\.gain_db is nan"):
        show({"gain_db": float("nan")}, as_json=True)
    assert capsys.readouterr().out == ""


def test_a_table_shows_every_key_and_the_folder_last(capsys: pytest.CaptureFixture[str]) -> None:
    report = {
        "seed": 0,
        "input": {"path": "a.h5"},
        "frames": [{"gcnr": 0.91234, "ok": True}, {"gcnr": None, "ok": False}],
    }
    show(report, folder=Path("runs/x"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "seed 0"
    assert lines[1] == "input.path a.h5"
    assert lines[2:4] == ["frames", "gcnr ok"]
    assert lines[5:] == ["0.9123 yes", "- no", "run folder: runs/x"]


def test_text_in_square_brackets_is_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show({"shape": "[red] (1, 2)"})
    assert "[red] (1, 2)" in capsys.readouterr().out


def test_arrays_tensors_dataclasses_and_paths_become_plain_values() -> None:
    found = plain({"r": Result(1.0, np.arange(3)), "t": torch.ones(2), "p": Path("a/b"), 3: (1, True, None)})
    assert found == {
        "r": {"gain_db": 1.0, "frames": [0, 1, 2]},
        "t": [1.0, 1.0],
        "p": "a/b",
        "3": [1, True, None],
    }


def test_a_complex_number_has_no_json_form() -> None:
    with pytest.raises(TypeError, match=r"report\.iq is a complex"):
        plain({"iq": 1j})
