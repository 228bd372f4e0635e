"""The flat packages: no other distribution uses our names, no folder of ours is skipped."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from apps.commands.doctor import EXTRAS
from apps.environment import LIBRARIES

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "data", "domains", "apps")


def requirement_names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~;, ]", line, maxsplit=1)[0] for line in lines}


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_installs_one_of_our_packages(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"suffuse"}


@pytest.mark.parametrize("name", [*PACKAGES, "tests"])
def test_every_folder_with_python_below_it_is_a_package(name: str) -> None:
    folders = {
        folder for file in (ROOT / name).rglob("*.py") for folder in [file.parent, *file.parent.parents]
    }
    inside = {folder for folder in folders if folder.is_relative_to(ROOT / name)}
    assert [str(folder) for folder in sorted(inside) if not (folder / "__init__.py").exists()] == []


def test_the_extras_that_doctor_looks_for_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {name: requirement_names(lines) for name, lines in project["optional-dependencies"].items()}
    del declared["all"]
    assert {name: set(packages) for name, packages in EXTRAS.items()} == declared
    assert set().union(*declared.values()) - {"imageio-ffmpeg"} <= set(LIBRARIES.values())
