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


# What a quick run of a command adds to its line, and what it changes in the code: fewer steps of a sampler.
FEWER = {"ultrasound dehaze": ["--steps", "3"], "timeseries forecast": ["--steps", "3"]}
SMALLER = {"DehazeConfig(gamma=1.0)": "DehazeConfig(gamma=1.0, steps=3)"}

as_it_stands = pytest.param(False, id="as it stands", marks=pytest.mark.slow)
in_few_steps = pytest.param(True, id="in few steps")


@pytest.mark.parametrize("quick", [in_few_steps, as_it_stands])
def test_the_commands_run_in_the_order_they_stand(
    quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands():
        added = FEWER.get(" ".join(words[1:3]), []) if quick else []
        assert run([*words[1:], *added]) == 0, shlex.join(words)
    assert (tmp_path / "clear.png").stat().st_size > 10_000
    assert "<html" in (tmp_path / "report.html").read_text("utf-8")


def test_what_a_quick_run_changes_stands_in_the_readme() -> None:
    assert {" ".join(words[1:3]) for words in commands()} >= set(FEWER)
    assert all(README.count(text) == 1 for text in SMALLER)


@pytest.mark.parametrize("quick", [in_few_steps, as_it_stands])
@pytest.mark.parametrize("index", [0, 1])
def test_the_code_runs(
    index: int,
    quick: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[index]
    for stands, smaller in SMALLER.items() if quick else ():
        code = code.replace(stands, smaller)
    script = tmp_path / "script.py"
    script.write_text(code, "utf-8")
    runpy.run_path(str(script))
    assert capsys.readouterr().out.strip()


def test_every_file_the_readme_points_to_exists() -> None:
    root = Path(__file__).resolve().parents[1]
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (root / target).exists(), target
