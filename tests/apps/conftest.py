"""Fixtures of the command tests: a command line that runs in an empty folder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apps import cli
from core.palette import STYLE
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


@pytest.fixture(scope="package", autouse=True)
def rough_figures() -> Iterator[None]:
    """Draw the figures of commands small and without fitting them to their labels, which takes most of the
    time of a quick command; the tests of each domain's plots draw them as users see them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STYLE, "figure.constrained_layout.use", False)  # type: ignore[arg-type]
        patch.setitem(STYLE, "savefig.dpi", 50)  # type: ignore[arg-type]
        yield
