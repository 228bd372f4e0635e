"""suffuse graphs sample: molecules and graphs from the models that ship."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rdkit", reason="'rdkit' is not installed (extra 'graphs')")

from rdkit import Chem

from apps import cli


def suffuse(*words: object) -> int:
    return cli.run(["graphs", *map(str, words), "--quiet", "--device", "cpu"])


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_molecules_are_written_drawn_and_counted(tmp_path: Path) -> None:
    out = tmp_path / "made.smi"
    assert suffuse("sample", "small-molecules", "-o", out, "--n", 40) == 0
    lines = out.read_text().splitlines()
    assert all(Chem.MolFromSmiles(line) is not None for line in lines)
    found = report(tmp_path / "made.smi.run")
    assert len(lines) == found["written"] > 30
    assert found["valid_without_correction"] > 0.6
    assert found["unique"] == pytest.approx(len(set(lines)) / len(lines))
    assert (tmp_path / "made.smi.run" / "samples.png").stat().st_size > 1000
    again = tmp_path / "again.smi"
    assert suffuse("sample", "small-molecules", "-o", again, "--n", 40) == 0
    assert again.read_text() == out.read_text()


def test_graphs_are_sampled_in_few_steps(tmp_path: Path) -> None:
    out = tmp_path / "made.npz"
    words = ("--n", 4, "--solver", "default", "--steps", 10, "--prior", "matched")
    assert suffuse("sample", "community-small", "-o", out, *words) == 0
    assert report(tmp_path / "made.npz.run")["evaluations"] == 10
    assert cli.run(["graphs", "draw", str(out), "--out", str(tmp_path / "made.svg")]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere", "-o", "x.smi"), 5, "nowhere"),
        (("small-molecules", "-o", "x.edges"), 2, "x.edges"),
        (("small-molecules", "-o", "x.smi", "--solver", "euler"), 2, "solver"),
        (("community-small", "-o", "x.smi"), 2, "x.smi"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert suffuse("sample", *words) == code
    err = capsys.readouterr().err
    assert said.split(".")[-1] in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
