"""`suffuse graphs prepare | evaluate | draw` as a new user would try them: results, notes, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit", reason="'rdkit' is not installed (extra 'graphs')")
pytest.importorskip("networkx", reason="'networkx' is not installed (extra 'graphs')")

from apps import cli
from domains.graphs.sets import read_set
from tests.apps.conftest import Outcome

Run = Callable[..., Outcome]
GENERATED = "CCO\nCC(=O)O\nC(C)(C)(C)(C)C\nnonsense\nCCN.O\nC=C=O\n"


@pytest.fixture
def suffuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `suffuse graphs WORDS...` in an empty working folder, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = cli.run(["graphs", *map(str, words)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def mixed(folder: Path) -> None:
    """A list as found in the wild: a salt, a metal complex, a molecule of 80 atoms, a typing error."""
    (folder / "in.smi").write_text("CCO\nCC(=O)[O-].[Na+]\nCl[Pt](Cl)(N)N\n" + "C" * 80 + "\nC1CC\nCCN\n")


def test_prepare_leaves_out_what_it_is_told_to_and_counts_it(suffuse: Run, tmp_path: Path) -> None:
    mixed(tmp_path)
    flags = ("--largest-fragment", "--skip-invalid", "--max-nodes", 38, "--drop-large")
    found = suffuse("prepare", "in.smi", "out.npz", *flags, "--json")
    assert found.code == 0
    assert (found.json["graphs"], found.json["atoms"], found.json["folder"]) == (
        3,
        ["C", "N", "O"],
        "out.run",
    )
    notes = "\n".join(found.json["notes"])
    for part in ("1 of 6 rows: smaller fragments", "too large", "unreadable", "outside the vocabulary"):
        assert part in notes
    assert found.err.count("note: ") == 4
    again = read_set(tmp_path / "out.npz")
    assert again.rows is not None
    assert again.rows.tolist() == [0, 1, 5]
    record = json.loads((tmp_path / "out.run" / "run.json").read_text())
    assert record["command"] == "graphs prepare"
    assert record["config"]["largest_fragment"] is True


REFUSED = [
    (["prepare", "salt.smi", "o.npz"], 3, "row 2: 'CC(=O)[O-].[Na+]' has 2 fragments", "--largest-fragment"),
    (["prepare", "metal.smi", "o.npz"], 3, "element Pt is outside the vocabulary", "--elements"),
    (["prepare", "large.smi", "o.npz", "--max-nodes", "38"], 3, "80 heavy atoms; at most 38", "--drop-large"),
    (["prepare", "typo.smi", "o.npz"], 3, "typo.smi, row 2: 'C1CC' is no molecule", "--skip-invalid"),
    (["prepare", "empty.smi", "o.npz"], 3, "empty.smi is empty", "at least one"),
    (["prepare", "salt.smi", "o.csv"], 2, "unknown output type '.csv'", ""),
    (["prepare", "nowhere.smi", "o.npz"], 3, "there is no file nowhere.smi", ""),
    (["prepare", "community_smal", "o.npz"], 2, "unknown set of graphs", "Did you mean 'community_small'"),
    (["evaluate", "--gen", "gen.smi", "--ref", "community"], 3, "holds molecules", "Give graphs"),
    (["evaluate", "--gen", "none.smi", "--ref", "community"], 3, "there is no file none.smi", ""),
    (
        ["evaluate", "--gen", "gen.smi", "--ref", "salt.smi", "--metrics", "fdc"],
        2,
        "unknown metric 'fdc'",
        "fcd",
    ),
    (
        ["evaluate", "--gen", "gen.smi", "--ref", "community", "--kernel", "rbf"],
        2,
        "unknown kernel 'rbf'",
        "",
    ),
    (["draw", "gen.smi", "--grid", "5"], 2, "'5' is no grid", "5x4"),
    (["draw", "gen.smi", "--out", "o.pdf"], 2, "unknown output type '.pdf'", ""),
    (["draw", "gen.smi", "--legends", "quality"], 2, "unknown property 'quality'", ""),
    (["draw", "empty.smi"], 3, "no molecule to draw", ""),
]


@pytest.mark.parametrize(
    ("words", "code", "said", "hint"), REFUSED, ids=[" ".join(r[0][:4]) for r in REFUSED]
)
def test_a_refusal_is_one_line_with_a_way_on_and_leaves_nothing_behind(
    words: list[str], code: int, said: str, hint: str, suffuse: Run, tmp_path: Path
) -> None:
    for name, content in (
        ("salt", "CCO\nCC(=O)[O-].[Na+]\n"),
        ("metal", "CCO\nCl[Pt](Cl)(N)N\n"),
        ("large", "C" * 80 + "\n"),
        ("typo", "CC\nC1CC\n"),
        ("empty", ""),
        ("gen", GENERATED.replace("nonsense\n", "").replace("C(C)(C)(C)(C)C\n", "").replace(".O", "")),
    ):
        (tmp_path / f"{name}.smi").write_text(content)
    before = sorted(tmp_path.iterdir())
    found = suffuse(*words)
    assert found.code == code, found.err
    assert said in found.err
    assert hint in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_evaluate_counts_every_string_of_anybody_s_file(suffuse: Run, tmp_path: Path) -> None:
    (tmp_path / "gen.smi").write_text(GENERATED)
    (tmp_path / "test.smi").write_text("CCO\nCCN\nCCC\n")
    (tmp_path / "train.csv").write_text("smiles\nCCO\nCCF\n")
    metrics = "validity,unique,novel,nspdk,scaffold,qed"
    found = suffuse(
        "evaluate",
        "--gen",
        "gen.smi",
        "--ref",
        "test.smi",
        "--train",
        "train.csv",
        "--metrics",
        metrics,
        "--json",
    )
    assert found.code == 0, found.err
    rates = found.json["rates"]
    assert rates["graphs"] == 6
    assert rates["valid_without_correction"] == pytest.approx(4 / 6)
    assert rates["valid"] == pytest.approx(5 / 6)
    scores = {row["metric"]: row for row in found.json["scores"]}
    assert scores["novel"]["value"] == pytest.approx(4 / 5)
    assert scores["scaffold"]["value"] is None
    assert scores["nspdk"]["value"] > 0
    assert (tmp_path / "runs" / "graphs-evaluate" / "scores.md").is_file()


@pytest.mark.parametrize("content", ["", "nonsense\n"], ids=["empty", "all invalid"])
def test_nothing_valid_is_validity_zero_and_no_distances(content: str, suffuse: Run, tmp_path: Path) -> None:
    (tmp_path / "gen.smi").write_text(content)
    (tmp_path / "ref.smi").write_text("CC\nCO\n")
    found = suffuse("evaluate", "--gen", "gen.smi", "--ref", "ref.smi", "--json")
    assert found.code == 0, found.err
    assert found.json["rates"]["valid"] == 0
    assert all(row["value"] is None for row in found.json["scores"])
    assert "distances do not exist" in found.err


def test_evaluate_prints_the_floor_beside_the_distances_of_graphs(suffuse: Run, tmp_path: Path) -> None:
    dense = read_set("community").graphs("train")
    np.savez(tmp_path / "gen.npz", adjacency=dense.edges.numpy(), num_nodes=dense.sizes.numpy())
    found = suffuse("evaluate", "--gen", "gen.npz", "--ref", "community:test", "--json")
    assert found.code == 0, found.err
    rows = {row["metric"]: row for row in found.json["scores"]}
    assert list(rows) == ["degree", "clustering", "orbit", "spectral", "mean"]
    # The generated graphs are the training set, so that each distance is its floor.
    assert all(row["ratio"] == pytest.approx(1) for row in rows.values())
    assert "80 generated graphs against 20" in found.err
    other = suffuse(
        "evaluate",
        "--gen",
        "gen.npz",
        "--ref",
        "community",
        "--kernel",
        "tv",
        "--no-floor",
        "--json",
        "--force",
    )
    assert all(row["floor"] is None for row in other.json["scores"])
    assert other.json["scores"][0]["mmd"] != rows["degree"]["mmd"]


def test_trees_are_judged_valid_unique_and_novel(suffuse: Run, tmp_path: Path) -> None:
    (tmp_path / "gen.edges").write_text("a b\nb c\n\na b\nb c\nc a\n\na b\n")
    found = suffuse("evaluate", "--gen", "gen.edges", "--ref", "tree", "--metrics", "degree,vun", "--json")
    assert found.code == 0, found.err
    assert found.json["vun"] == {"valid": 2 / 3, "unique": 1, "novel": 1, "vun": 2 / 3}
    assert found.json["vun_reference"]["valid"] == 1


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_draw_writes_a_grid_of_molecules_and_of_graphs(suffix: str, suffuse: Run, tmp_path: Path) -> None:
    (tmp_path / "gen.smi").write_text(GENERATED)
    found = suffuse(
        "draw", "gen.smi", "--out", f"m.{suffix}", "--legends", "qed", "--highlight", "scaffold", "--json"
    )
    assert found.code == 0, found.err
    assert (found.json["drawn"], found.json["left_out"]) == (5, 1)
    graphs = suffuse("draw", "community:test", "--out", f"g.{suffix}", "--grid", "2x2", "--json")
    assert graphs.code == 0, graphs.err
    assert graphs.json["drawn"] == 4
    start = {"svg": b"<?xml", "png": b"\x89PNG"}[suffix]
    assert all((tmp_path / f"{name}.{suffix}").read_bytes().startswith(start) for name in "mg")
    assert suffuse("draw", "gen.smi", "--out", f"m.{suffix}").code == 2
