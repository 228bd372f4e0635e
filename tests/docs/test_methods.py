"""docs/methods.md: what a row names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "methods.md"
ROWS = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| (?!system|---)", line)]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def places(text: str) -> list[Path]:
    """Files and folders in backticks; {a,b} stands for both."""
    found = []
    for name in re.findall(r"`([\w/{},.-]+)`", text):
        inner = re.search(r"\{([^}]*)\}", name)
        names = (
            [name.replace(inner.group(0), part) for part in inner.group(1).split(",")] if inner else [name]
        )
        found += [ROOT / each for each in names]
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0][:40])
def test_a_row_has_a_source_a_place_a_figure_and_a_command(row: str) -> None:
    system, source, where, _, measured, command = cells(row)
    assert system
    assert places(where)
    assert all(place.exists() for place in places(where))
    assert measured not in ("", "–")
    for target in re.findall(r"tests/[\w/]+(?:\.py)?", command):
        assert (ROOT / target).exists()
    code = "".join(
        file.read_text("utf-8") + (file.parent / "README.md").read_text("utf-8")
        if (file.parent / "README.md").exists()
        else file.read_text("utf-8")
        for place in places(where)
        for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))
    )
    for paper in re.findall(r"arXiv:[\d.]+\d", source):
        assert paper in code, f"{paper} is not named in {where}"


def test_every_way_to_steer_is_in_a_row() -> None:
    named = [place for row in ROWS for place in places(cells(row)[2])]
    for file in sorted((ROOT / "core" / "steer").glob("*.py")):
        if "Source" in file.read_text("utf-8").split('"""')[1]:
            assert file in named, f"{file.name} has a source and no row"
