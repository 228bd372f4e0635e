"""The command line: outcomes become exit codes and two lines of text, and help costs nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import data.catalog
from apps import cli
from apps.commands import doctor
from apps.runfolder import RunFolder
from core.errors import DataError
from data import store

HELP_FOR_EVERY_GROUP = """
import os, sys
from apps.cli import app, run
spent = [0.0]
for words in [], *([group.name] for group in app.registered_groups if group.name):
    assert run([*words, "--help"]) == 0
    spent.append(sum(os.times()[:2]))
start = spent[1]  # the interpreter, the imports and the first help
worst = start + max(after - before for before, after in zip(spent[1:], spent[2:]))
"""
HELP_OF_NOTHING = """
import os, sys
import typer
app, group = typer.Typer(), typer.Typer()
app.callback()(lambda: None)
app.add_typer(group, name="group")
group.command("one")(lambda number=0: None)
group.command("two")(lambda: None)
app(["group", "--help"], standalone_mode=False)
worst = sum(os.times()[:2])
"""
TELL = """
packages = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(f"{worst:.2f}", *sorted(packages), file=sys.stderr)
"""
HEAVY = ["torch", "numpy", "scipy", "matplotlib", "yaml", "monai", "h5py", "pydicom", "pandas", "gradio"]


@pytest.fixture(autouse=True)
def no_data_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SUFFUSE_DATA", raising=False)
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path / "cache")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `suffuse data list` raise `error`."""

    def read_cards() -> None:
        raise error

    monkeypatch.setattr(data.catalog, "read_cards", read_cards)


def helped(program: str) -> tuple[float, set[str]]:
    """Processor time in seconds of a program that prints help, and the packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", program + TELL],
        cwd=Path(cli.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *packages = done.stderr.split()
    return float(seconds), set(packages)


def test_help_of_every_group_imports_nothing_beyond_the_library_of_commands() -> None:
    (_, ours), (_, empty) = helped(HELP_FOR_EVERY_GROUP), helped(HELP_OF_NOTHING)
    assert ours - empty <= {"apps", "core", "data"}
    assert not ours & set(HEAVY)


@pytest.mark.slow
def test_help_of_every_group_costs_little_beyond_an_empty_program() -> None:
    helped(HELP_FOR_EVERY_GROUP)  # may compile byte code, which is kept
    pairs = [(helped(HELP_FOR_EVERY_GROUP)[0], helped(HELP_OF_NOTHING)[0]) for _ in range(3)]
    # Processor time against that of the library alone, in turns on the same machine, the least of three: 2.2
    # times as much. What is heavy would add as much again.
    assert min(ours for ours, _ in pairs) < 3 * min(empty for _, empty in pairs)


def test_an_error_of_ours_is_message_hint_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, DataError("found a pear, expected an apple.", hint="Buy apples."))
    assert cli.run(["data", "list"]) == 3
    assert capsys.readouterr() == ("", "error: found a pear, expected an apple.\n  Buy apples.\n")


def test_a_fault_is_one_line_that_names_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyError("first line\nsecond line"))
    assert cli.run(["data", "list"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: KeyError: ")
    assert "Traceback" not in said
    assert "run again with --debug" in said


@pytest.mark.parametrize("words", [["--debug", "data", "list"], ["data", "list", "--debug"]])
@pytest.mark.parametrize(("error", "code"), [(DataError("bad."), 3), (RuntimeError("boom"), 1)])
def test_debug_shows_the_traceback_wherever_it_stands(
    words: list[str],
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_with(monkeypatch, error)
    assert cli.run(words) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_exits_with_130_and_prints_the_notes_left_on_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = KeyboardInterrupt()
    stop.add_note("Continue with --resume; the last checkpoint is step-40.")
    fail_with(monkeypatch, stop)
    assert cli.run(["data", "list"]) == 130
    said = capsys.readouterr().err
    assert "interrupted." in said
    assert "  Continue with --resume; the last checkpoint is step-40.\n" in said


def test_a_misspelt_command_exits_with_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["dta"]) == 2
    assert "Did you mean 'data'?" in capsys.readouterr().err


def test_a_misspelt_dataset_exits_with_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["data", "path", "plus_bkk"]) == 2
    assert capsys.readouterr().err.endswith("  Did you mean 'plus_bk'?\n")


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert re.fullmatch(r"suffuse (\d+\.\d+\.\d+|\(not installed\))\n", capsys.readouterr().out)


def test_data_list_is_one_json_object_with_every_card() -> None:
    result = CliRunner().invoke(cli.app, ["data", "list", "--json"])
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)["datasets"]}
    assert set(rows) == {card.name for card in data.catalog.read_cards()}
    assert rows["plus_bk"]["present"] is False
    assert rows["cardiac_simulated"]["present"] is True


def test_data_path_and_verify_find_the_real_sets(real_data) -> None:
    root = real_data("ultrasound/plus_bk").parents[1]
    result = CliRunner().invoke(cli.app, ["data", "path", "plus_bk", "--data-dir", str(root)])
    assert result.stdout == f"{root / 'ultrasound' / 'plus_bk'}\n"
    result = CliRunner().invoke(cli.app, ["data", "verify", "plus_bk", "--data-dir", str(root), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["datasets"][0]["ok"] is True


def test_verify_of_an_absent_dataset_fails_when_named_and_passes_when_not() -> None:
    named = CliRunner().invoke(cli.app, ["data", "verify", "plus_bk"])
    assert isinstance(named.exception, DataError)
    assert CliRunner().invoke(cli.app, ["data", "verify"]).exit_code == 0


def test_data_info_shows_source_and_licence() -> None:
    result = CliRunner().invoke(cli.app, ["data", "info", "plus_bk", "--json"])
    card = json.loads(result.stdout)
    assert card["source"]["repository"] == "PlusToolkit/PlusLibData"
    assert card["licence"] == "BSD-3-Clause"


def test_runs_lists_the_latest_first_and_shows_the_report(tmp_path: Path) -> None:
    for name, started in (("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-02T00:00:00Z")):
        with RunFolder.open(tmp_path / name, command="test", seed=7) as run:
            run.report({"gain_db": 2.5})
        record = json.loads((tmp_path / name / "run.json").read_text())
        (tmp_path / name / "run.json").write_text(json.dumps(record | {"started": started}))
    listed = CliRunner().invoke(cli.app, ["runs", "list", str(tmp_path), "--json"])
    assert [Path(row["folder"]).name for row in json.loads(listed.stdout)["runs"]] == ["b", "a"]
    shown = CliRunner().invoke(cli.app, ["runs", "show", str(tmp_path / "a"), "--json"])
    assert json.loads(shown.stdout)["report"] == {"gain_db": 2.5}
    assert json.loads(shown.stdout)["run"]["seed"] == 7
    assert "gain_db" in CliRunner().invoke(cli.app, ["runs", "show", str(tmp_path / "a")]).stdout


def test_a_folder_without_run_json_is_no_run_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["runs", "show", str(tmp_path)])
    assert isinstance(result.exception, DataError)


def test_doctor_reports_torch_its_threads_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "studio", ("no-such-package",))
    result = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["torch_state"] == "ok"
    assert report["threads"] == torch.get_num_threads()
    assert {row["library"]: row["version"] for row in report["libraries"]}[
        "torch"
    ] == torch.__version__.split("+")[0]
    extras = {row["extra"]: row for row in report["extras"]}
    assert extras["studio"] == {"extra": "studio", "state": "missing", "missing": ["no-such-package"]}
    assert {row["dataset"]: row["state"] for row in report["datasets"]}["plus_bk"] == "missing"
