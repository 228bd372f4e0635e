"""Fixtures of the command tests: a command line that runs in an empty folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apps import cli
from tests.fixtures.priors import priors

__all__ = ["Outcome", "Suffuse", "priors", "suffuse"]


@dataclass(frozen=True)
class Outcome:
    """What a command line did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as exactly one JSON object."""
        return json.loads(self.out)


Suffuse = Callable[..., Outcome]


@pytest.fixture
def suffuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Suffuse:
    """Run `suffuse ultrasound WORDS...` in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = cli.run(["ultrasound", *map(str, words)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run
