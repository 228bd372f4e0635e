"""The commands and the code of the README run as they stand there."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from apps.cli import run

README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("suffuse ")]


def test_the_readme_has_commands_and_code() -> None:
    assert len(commands()) >= 5
    assert len(blocks("python")) == 2


def test_the_commands_run_in_the_order_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands():
        assert run([*words[1:]]) == 0, shlex.join(words)
    assert (tmp_path / "clear.png").stat().st_size > 10_000
    assert "<html" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("index", [0, 1])
def test_the_code_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(blocks("python")[index], "utf-8")
    runpy.run_path(str(script))
    assert capsys.readouterr().out.strip()


def test_every_file_the_readme_points_to_exists() -> None:
    root = Path(__file__).resolve().parents[1]
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (root / target).exists(), target
