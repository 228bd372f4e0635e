"""The tables of docs/graphs.md quote the results beside them, and its commands exist."""

import json
import re

import pytest

pytest.importorskip("rdkit", reason="'rdkit' is not installed (extra 'graphs')")

from apps.commands.graphs import app
from docs.figures.guidance import COMMANDS, PAGE, RESULTS, TABLES
from docs.figures.scores import marked

TEXT = PAGE.read_text("utf-8")
REPORTS = json.loads(RESULTS.read_text("utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_the_page_quotes_the_results(name: str) -> None:
    found = marked(name).search(TEXT)
    assert found is not None
    assert TABLES[name](REPORTS) in found.group(0)


def test_the_results_are_of_the_commands() -> None:
    assert {name: report["command"] for name, report in REPORTS.items()} == {
        name: f"suffuse graphs {command}" for name, command in COMMANDS.items()
    }


def test_guidance_moves_each_property_that_is_wished_for() -> None:
    for name in ("told1", "told2", "told4", "both", "pulled", "qed"):
        for row in REPORTS[name]["properties"]:
            assert abs(row["change"]) > 3 * row["change_standard_error"], (name, row["property"])


def test_every_command_and_option_of_the_page_exists() -> None:
    import typer.main

    group = typer.main.get_command(app)
    for line in re.findall(r"^suffuse graphs (.*)$", TEXT, re.MULTILINE):
        verb = line.split()[0]
        command = group.commands[verb]  # type: ignore[attr-defined]
        known = {name for parameter in command.params for name in parameter.opts}
        for option in re.findall(r"(?<!\S)(--[\w-]+)", line.split("#")[0]):
            assert option in known, f"{verb} {option}"
