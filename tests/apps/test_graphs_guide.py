"""`suffuse graphs guide | scaffold | animate | sample`: what is asked for is measured beside what comes by
itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit", reason="'rdkit' is not installed (extra 'graphs')")

from PIL import Image
from rdkit import Chem

from apps import cli
from core.train.checkpoint import save
from domains.graphs.data import Kind
from domains.graphs.formats.archives import read_npz
from domains.graphs.gdss import load_model, save_model
from domains.graphs.weights import shipped
from tests.apps.conftest import Outcome
from tests.domains.graphs.models import model_for
from tests.domains.graphs.test_guidance import MODEL, regressor

Run = Callable[..., Outcome]
FAST = ("--steps", 8, "--device", "cpu", "--quiet")
GRAPHS = ("--solver", "default", "--prior", "matched", *FAST)


@pytest.fixture
def suffuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `suffuse graphs WORDS...` in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = cli.run(["graphs", *map(str, words)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def told(folder: Path) -> None:
    """An untrained model that is told qed and logp, and a predictor of both under its process."""
    for name in ("told", "pred"):
        (folder / name).mkdir()
    save_model(MODEL, folder / "told")
    save(folder / "pred" / "model.safetensors", regressor().checkpoint)


def test_a_reward_moves_the_mean_and_both_means_have_their_error(suffuse: Run, tmp_path: Path) -> None:
    found = suffuse("guide", "small-molecules", "-o", "g.smi", "--reward", "logp", "--n", 24, *FAST, "--json")
    assert found.code == 0, found.err
    (row,) = found.json["properties"]
    # 24 samples a set: the change is about one, and its standard error a fifth of that.
    assert row["change"] > 2 * row["change_standard_error"] > 0
    assert row["change"] == pytest.approx(row["guided"] - row["without"])
    assert row["change_standard_error"] == pytest.approx(
        np.hypot(row["guided_standard_error"], row["without_standard_error"])
    )
    lines = (tmp_path / "g.smi").read_text().splitlines()
    assert len(lines) == found.json["written"]
    for name in ("properties.png", "properties.csv", "samples.png"):
        assert (tmp_path / "g.smi.run" / name).stat().st_size > 100
    lower = suffuse(
        "guide",
        "small-molecules",
        "-o",
        "l.smi",
        "--reward",
        "logp=min",
        "--n",
        6,
        "--particles",
        4,
        *FAST,
        "--json",
    )
    assert lower.json["properties"][0]["change"] < 0


def test_a_model_is_told_one_property_or_several(suffuse: Run, tmp_path: Path) -> None:
    told(tmp_path)
    one = suffuse("guide", "told", "-o", "one.smi", "--property", "qed=0.7", "--n", 3, *FAST, "--json")
    assert one.code == 0, one.err
    assert (one.json["how"], one.json["weight"]) == ("told", 2)
    plain = suffuse(
        "guide", "told", "-o", "no.smi", "--property", "qed=0.7", "--weight", 0, "--n", 4, *FAST, "--json"
    )
    assert plain.json["properties"][0]["change"] == 0
    both = suffuse(
        "guide", "told", "-o", "two.smi", "--property", "qed=0.7,logp=2", "--n", 3, *FAST, "--json"
    )
    assert [row["property"] for row in both.json["properties"]] == ["qed", "logp"]


def test_a_predictor_pulls_towards_values_or_upwards(suffuse: Run, tmp_path: Path) -> None:
    told(tmp_path)
    words = ("guide", "told", "--predictor", "pred", "--n", 4, *FAST, "--json")
    up = suffuse(*words, "-o", "up.smi", "--property", "qed,logp=min", "--lambda", 0.2)
    assert up.code == 0, up.err
    assert (up.json["how"], up.json["lambda"], up.json["weight"]) == ("predictor", 0.2, 0.5)
    still = suffuse(*words, "-o", "still.smi", "--property", "qed=0.6", "--weight", 0)
    assert still.json["properties"][0]["change"] == pytest.approx(0)


def test_generic_graphs_are_rewarded_too(suffuse: Run, tmp_path: Path) -> None:
    words = ("--reward", "density", "--n", 6, "--particles", 4, "--solver", "ancestral", "--prior", "matched")
    found = suffuse("guide", "community-small", "-o", "g.npz", *words, *FAST, "--json")
    assert found.code == 0, found.err
    assert found.json["properties"][0]["change"] > 0
    assert "rates" not in found.json


def test_every_molecule_of_a_scaffold_holds_it_and_few_do_by_chance(suffuse: Run, tmp_path: Path) -> None:
    words = ("--scaffold", "C1CC1*", "--n", 20, *FAST, "--json")
    found = suffuse("scaffold", "small-molecules", "-o", "s.smi", *words)
    assert found.code == 0, found.err
    assert found.json["attach"] == [2]
    assert found.json["kept"] > 0.5 > found.json["kept_without"]
    query = Chem.MolFromSmiles("C1CC1")
    lines = (tmp_path / "s.smi").read_text().splitlines()
    assert len(lines) == found.json["written"] == round(20 * found.json["kept"])
    assert all(Chem.MolFromSmiles(line).HasSubstructMatch(query) for line in lines)
    assert (tmp_path / "s.smi.run" / "samples.png").exists()
    jumps = suffuse("scaffold", "small-molecules", "-o", "j.smi", *words, "--jumps", 2)
    assert jumps.json["method"] == "replacement"


def test_a_film_has_its_frames(suffuse: Run, tmp_path: Path) -> None:
    found = suffuse("animate", "small-molecules", "-o", "f.gif", "--n", 2, "--frames", 4, *FAST, "--json")
    assert found.code == 0, found.err
    assert found.json["frames"] == Image.open(tmp_path / "f.gif").n_frames == 4  # type: ignore[attr-defined]
    several = suffuse(
        "animate", "community-small", "-o", "frames", "--n", 1, "--frames", 3, *GRAPHS, "--json"
    )
    assert several.code == 0, several.err
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3
    assert json.loads((tmp_path / "frames.json").read_text())["counts"]["frames"] == 3


def test_sizes_come_from_one_number_a_list_or_other_graphs(suffuse: Run, tmp_path: Path) -> None:
    def sizes(name: str, *words: object) -> list[int]:
        found = suffuse("sample", "small-molecules", "-o", f"{name}.npz", "--n", 6, *words, *FAST)
        assert found.code == 0, found.err
        return read_npz(tmp_path / f"{name}.npz").ragged.sizes.tolist()

    assert sizes("fixed", "--sizes", "fixed:3") == [3] * 6
    (tmp_path / "list.txt").write_text("1\n2\n3\n4\n5\n2\n")
    assert sizes("listed", "--sizes", "list.txt") == [1, 2, 3, 4, 5, 2]
    (tmp_path / "pairs.smi").write_text("CC\nCO\nCF\n")
    assert sizes("drawn", "--sizes", "pairs.smi") == [2] * 6


def test_connected_samples_are_in_one_part(suffuse: Run, tmp_path: Path) -> None:
    words = ("--n", 12, "--connected", "--steps", 3, "--device", "cpu", "--quiet", "--json")
    found = suffuse("sample", "small-molecules", "-o", "c.npz", *words)
    assert found.code == 0, found.err
    record = json.loads((tmp_path / "c.npz.json").read_text())
    assert record["counts"]["drawn"] > 12  # with three steps many fall apart
    assert found.json["fragmented"] == 0
    assert found.json["connected"] == pytest.approx(
        1 - record["counts"]["fragmented"] / record["counts"]["drawn"], abs=0.05
    )


def test_the_record_beside_an_output_says_how_it_was_made(suffuse: Run, tmp_path: Path) -> None:
    assert suffuse("sample", "small-molecules", "-o", "m.csv", "--n", 9, "--seed", 3, *FAST).code == 0
    record = json.loads((tmp_path / "m.csv.json").read_text())
    said = (record["preset"], record["seed"], record["steps"], record["solver"])
    assert said == ("tiny", 3, 8, "ancestral")
    assert set(record["versions"]) >= {"torch", "rdkit", "suffuse"}
    counts = record["counts"]
    assert counts["asked"] == counts["drawn"] == 9
    assert counts["written"] == 9 - counts["empty"]
    lines = [line.split(",")[1] for line in (tmp_path / "m.csv").read_text().splitlines()[1:]]
    assert counts["duplicates"] == len(lines) - len(set(lines))
    again = suffuse("sample", "small-molecules", "-o", "m.csv", "--n", 9, *FAST, "--run", "elsewhere")
    assert again.code == 2
    assert "exists" in again.err


def test_a_corrector_is_switched_off_by_an_snr_of_zero(suffuse: Run, tmp_path: Path) -> None:
    words = ("sample", "community-small", "--n", 2, "--solver", "em", *FAST, "--json")
    assert suffuse(*words, "-o", "a.npz").json["evaluations"] == 16
    found = suffuse(*words, "-o", "b.npz", "--snr", 0)
    assert found.json["evaluations"] == 8
    set_ = suffuse(*words, "-o", "c.npz", "--snr", 0.1, "--scale-eps", 0.5, "--chunk", 1)
    assert (set_.json["sampling"]["snr"], set_.json["sampling"]["scale_eps"]) == (0.1, 0.5)


REFUSED = [
    (["guide", "small-molecules", "-o", "g.smi"], 2, "nothing is wished for", "--reward qed"),
    (
        ["guide", "small-molecules", "-o", "g.smi", "--property", "qed=1"],
        2,
        "trained without properties",
        "predictor",
    ),
    (["guide", "told", "-o", "g.smi", "--property", "qed"], 2, "a model is told values", "qed=VALUE"),
    (["guide", "told", "-o", "g.smi", "--property", "sa=2"], 2, "is not told sa", "qed, logp"),
    (["guide", "told", "-o", "g.smi", "--property", "qed=high"], 2, "'high' is no number", "qed=0.9"),
    (["guide", "told", "-o", "g.smi", "--property", "qed=1,qed=2"], 2, "wished for twice", ""),
    (
        ["guide", "told", "-o", "g.smi", "--property", "qed=1", "--lambda", "0.5"],
        2,
        "--lambda",
        "--predictor",
    ),
    (["guide", "told", "-o", "g.smi", "--predictor", "pred", "--property", "sa"], 2, "knows qed, logp", ""),
    (["guide", "told", "-o", "g.smi", "--predictor", "pred", "--property", "qed,logp=1"], 2, "not both", ""),
    (
        ["guide", "told", "-o", "g.smi", "--predictor", "pred", "--property", "qed", "--lambda", "1"],
        2,
        "[0, 1)",
        "",
    ),
    (
        ["guide", "small-molecules", "-o", "g.smi", "--predictor", "pred", "--property", "qed"],
        5,
        "N=5",
        "N=9",
    ),
    (["guide", "told", "-o", "g.smi", "--predictor", "told", "--property", "qed"], 5, "graph-property", ""),
    (["guide", "told", "-o", "g.smi", "--predictor", "none", "--property", "qed"], 5, "none", ""),
    (["guide", "small-molecules", "-o", "g.smi", "--reward", "logq"], 2, "'logq' cannot be", "'logp'"),
    (
        ["guide", "small-molecules", "-o", "g.smi", "--reward", "qed", "--particles", "1"],
        2,
        "2 particles",
        "",
    ),
    (
        ["guide", "small-molecules", "-o", "g.smi", "--reward", "qed", "--solver", "ode"],
        2,
        "draws none",
        "ancestral",
    ),
    (["guide", "told", "-o", "g.smi", "--reward", "qed", "--property", "qed=1"], 2, "stands alone", ""),
    (
        ["guide", "community-small", "-o", "g.npz", "--reward", "qed"],
        2,
        "'qed' cannot be computed",
        "density",
    ),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "CCCCCC"], 3, "6 heavy atoms", "holds 5"),
    (
        ["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "CBr"],
        3,
        "element Br",
        "elements include",
    ),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "C(C)(C)(C)(C)C"], 3, "its valence", ""),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "C.O"], 3, "several fragments", ""),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "C[NH3+]"], 3, "has a charge", "neutral"),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "*"], 3, "without its marks", ""),
    (
        ["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "CC", "--attach", "7"],
        2,
        "atom 7",
        "from 0",
    ),
    (["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "CC", "--attach", "a"], 2, "'a'", "3,5"),
    (
        ["scaffold", "small-molecules", "-o", "s.smi", "--scaffold", "CC", "--sizes", "fixed:1"],
        2,
        "cannot hold",
        "",
    ),
    (["scaffold", "community-small", "-o", "s.npz", "--scaffold", "CC"], 2, "holds no molecules", ""),
    (
        [
            "scaffold",
            "small-molecules",
            "-o",
            "s.smi",
            "--scaffold",
            "CC",
            "--jumps",
            "2",
            "--solver",
            "default",
        ],
        2,
        "remember",
        "one step",
    ),
    (["sample", "small-molecules", "-o", "m.smi", "--sizes", "fixed:9"], 2, "[1, 5]", "fixed:5"),
    (["sample", "small-molecules", "-o", "m.smi", "--sizes", "few.txt"], 3, "2 sizes for 100", ""),
    (["sample", "small-molecules", "-o", "m.smi", "--sizes", "large.smi"], 2, "got 80 to 80", ""),
    (["sample", "small-molecules", "-o", "m.smi", "--sizes", "many"], 2, "'many'", "fixed:12"),
    (["animate", "small-molecules", "-o", "f.mp4"], 2, "unknown output type '.mp4'", ""),
]


@pytest.mark.parametrize(
    ("words", "code", "said", "hint"), REFUSED, ids=[" ".join([r[0][0], *r[0][4:]]) for r in REFUSED]
)
def test_a_refusal_is_one_line_with_a_way_on_and_leaves_nothing_behind(
    words: list[str], code: int, said: str, hint: str, suffuse: Run, tmp_path: Path
) -> None:
    if {"told", "pred"} & set(words):
        told(tmp_path)
    (tmp_path / "few.txt").write_text("2\n3\n")
    (tmp_path / "large.smi").write_text("C" * 80 + "\n")
    before = sorted(tmp_path.iterdir())
    found = suffuse(*words, "--device", "cpu")
    assert found.code == code, found.err
    assert said in found.err
    assert hint in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_predictor_of_another_process_is_refused(suffuse: Run, tmp_path: Path) -> None:
    told(tmp_path)
    other = load_model(shipped("small-molecules"))
    wide = Kind("qm9", ("C", "N", "O", "F"), 9, 4)
    changed = other.config.model_copy(update={"nodes": other.config.nodes.model_copy(update={"high": 5.0})})
    (tmp_path / "other").mkdir()
    save_model(model_for(wide, changed, {}), tmp_path / "other")
    found = suffuse(
        "guide", "other", "-o", "g.smi", "--predictor", "pred", "--property", "qed", "--device", "cpu"
    )
    assert found.code == 5
    assert "another process" in found.err
    assert not (tmp_path / "g.smi").exists()
