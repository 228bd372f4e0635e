"""`suffuse timeseries info | convert | evaluate` on files a stranger would have: results, notes, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gluonts", reason="'gluonts' is not installed (extra 'timeseries')")

from apps import cli
from tests.apps.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def suffuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `suffuse timeseries WORDS...` in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = cli.run(["timeseries", *map(str, words)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def shop(path: Path) -> None:
    """Monthly sales of two branches: decimal commas, gaps, words for missing, out of order, not UTF-8."""
    gen = np.random.default_rng(0)
    rows = []
    for branch in ("Köln", "Bonn"):
        for i in range(60):
            if i in (7, 8, 30):
                continue
            value = f"{1000 + 200 * np.sin(i / 12 * 6.283) + 20 * gen.normal():.2f}".replace(".", ",")
            rows.append(f"{branch};01.{i % 12 + 1:02d}.{2015 + i // 12};{'k.A.' if i == 20 else value}")
    gen.shuffle(rows)
    path.write_text("Filiale;Monat;Umsatz\n" + "\n".join(rows) + "\n", encoding="cp1252")


def test_info_says_what_a_table_was_read_as(suffuse: Run, tmp_path: Path) -> None:
    shop(tmp_path / "in.csv")
    found = suffuse("info", "in.csv", "--json")
    assert found.code == 0
    assert {key: found.json[key] for key in ("freq", "series", "points", "missing", "first_time")} == {
        "freq": "M",
        "series": 2,
        "points": 120,
        "missing": 8,
        "first_time": "2015-01-01",
    }
    notes = "\n".join(found.json["notes"])
    for part in (
        "not UTF-8",
        "column 'Filiale'",
        "decimal commas",
        "2 cells without a number",
        "sorted",
        "6 missing times",
    ):
        assert part in notes
    shown = suffuse("info", "in.csv")
    assert shown.err.count("note: ") == len(found.json["notes"])
    assert "Köln" in shown.out


def test_convert_writes_the_file_a_record_and_its_notes(suffuse: Run, tmp_path: Path) -> None:
    shop(tmp_path / "in.csv")
    found = suffuse("convert", "in.csv", "out.parquet", "--to", "nixtla", "--json")
    assert found.code == 0
    assert found.json["folder"] == "out.parquet.run"
    assert "note: decimal commas" in found.err
    record = json.loads((tmp_path / "out.parquet.run" / "run.json").read_text())
    assert record["command"] == "timeseries convert"
    assert record["config"]["to"] == "nixtla"
    again = suffuse("info", "out.parquet", "--json")
    assert (again.json["freq"], again.json["missing"], again.json["notes"][0][:9]) == ("M", 8, "8 empty c")


def test_an_output_is_replaced_only_when_asked(suffuse: Run, tmp_path: Path) -> None:
    assert suffuse("convert", "sunspots", "s.csv", "--quiet").code == 0
    before = (tmp_path / "s.csv").read_bytes()
    refused = suffuse("convert", "elnino", "s.csv", "--quiet")
    assert refused.code == 2
    assert (tmp_path / "s.csv").read_bytes() == before
    assert suffuse("convert", "elnino", "s.csv", "--quiet", "--force").code == 0
    assert (tmp_path / "s.csv").read_bytes() != before


def test_evaluate_scores_a_baseline_and_leaves_tables_and_figures(suffuse: Run, tmp_path: Path) -> None:
    shop(tmp_path / "in.csv")
    found = suffuse(
        "evaluate", "ridge", "in.csv", "-p", 6, "--windows", 2, "--run", "run", "--plots", 1, "--json"
    )
    assert found.code == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["instances"] == found.json["instances"] == 4
    assert [row["model"] for row in report["scores"]] == ["seasonal_naive", "ridge"]
    assert report["season"] == 12
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "run.json",
        "report.json",
        "scores.md",
        "scores.png",
        "scores.csv",
        "forecasts.png",
        "forecasts.csv",
    }


def test_the_table_for_people_leaves_out_what_no_model_has(suffuse: Run) -> None:
    found = suffuse("evaluate", "seasonal_naive", "sunspots", "--plots", 0, "--quiet")
    assert found.code == 0
    assert "mean_wql" in found.out
    assert "coverage" not in found.out
    assert found.err == ""


def test_the_exact_law_stands_beside_forecasts_of_the_simulated_table(suffuse: Run) -> None:
    found = suffuse("evaluate", "seasonal_naive", "simulated", "--plots", 0, "--quiet", "--json")
    assert [row["model"] for row in found.json["scores"]] == ["exact law", "seasonal_naive", "ridge"]


REFUSED = [
    (["info", "nowhere.csv"], 3, "there is no file or folder nowhere.csv"),
    (["info", "in.csv", "--target-col", "Umsatzz"], 3, "Did you mean 'Umsatz'"),
    (["info", "in.csv", "--freq", "fortnight"], 2, "unknown frequency 'fortnight'"),
    (["convert", "in.csv", "out.xlsx"], 2, "unknown output type '.xlsx'"),
    (["convert", "in.csv", "out.csv", "--to", "entries"], 2, "cannot hold the layout"),
    (["convert", "in.csv", "in.csv"], 2, "is the input"),
    (["evaluate", "ridge", "in.csv"], 2, "Pass --prediction-length"),
    (["evaluate", "ridge", "in.csv", "-p", "60"], 3, "no series is longer than the 1 x 60 points"),
    (["evaluate", "ridg", "in.csv", "-p", "6"], 3, "there is no file ridg"),
    (["evaluate", "ridge", "in.csv", "-p", "6", "--quantile-rule", "nearest"], 2, "unknown quantile rule"),
    (["evaluate", "ridge", "in.csv", "-p", "0"], 2, "--prediction-length"),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_a_refusal_is_one_line_and_leaves_nothing_behind(
    words: list[str], code: int, said: str, suffuse: Run, tmp_path: Path
) -> None:
    shop(tmp_path / "in.csv")
    found = suffuse(*words)
    assert found.code == code
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
