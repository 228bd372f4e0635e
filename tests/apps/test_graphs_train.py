"""`suffuse graphs train | train-property | presets`: run folders, resumption, and one line for bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rdkit", reason="'rdkit' is not installed (extra 'graphs')")

from rdkit import Chem
from rdkit.Chem import Crippen

from apps import cli
from core.errors import ConfigError
from domains.graphs.gdss import load_model
from domains.graphs.property import load_predictor
from domains.graphs.sets import read_set
from domains.graphs.workflows.training import config_for
from tests.apps.conftest import Outcome

Run = Callable[..., Outcome]
TINY = ("--set", "width=8", "--set", "attention=4", "--set", "depth=1", "--set", "heads=2")
FEW = (*TINY, "--set", "sampling.steps=4", "--set", "warmup=0", "--batch", 8, "--device", "cpu", "--quiet")
SMILES = ("CCO", "CCN", "C=O", "CC#N", "OCF", "C1CN1", "CO", "CN", "CF", "CC", "NCF", "C1CO1")


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


def table(folder: Path, extra: str = "") -> None:
    """A table of small molecules with a column of boiling points, as a chemist keeps one."""
    rows = [f"{smiles},{40 + 7 * i}" for i, smiles in enumerate(SMILES)]
    (folder / "mine.csv").write_text("smiles,boiling\n" + "\n".join(rows) + "\n" + extra)


def test_a_run_folder_holds_model_card_curve_picture_and_scores_beside_the_floor(
    suffuse: Run, tmp_path: Path
) -> None:
    table(tmp_path)
    found = suffuse(
        "train",
        "mine.csv",
        "-o",
        "run",
        "--steps",
        6,
        "--property",
        "logp,boiling",
        "--samples",
        8,
        *FEW,
        "--json",
    )
    assert found.code == 0, found.err
    for name in ("model.safetensors", "card.json", "loss.png", "loss.csv", "samples.png", "run.json"):
        assert (tmp_path / "run" / name).stat().st_size > 50, name
    model = load_model(tmp_path / "run")
    assert list(model.properties) == ["logp", "boiling"]
    assert model.kind.atoms == ("C", "N", "O", "F")
    # What can be computed is, from the training molecules; the other is the file's column.
    train = read_set(tmp_path / "mine.csv").at("train").tolist()
    logp = [Crippen.MolLogP(Chem.MolFromSmiles(SMILES[i])) for i in train]  # type: ignore[attr-defined]
    assert found.json["properties"]["logp"]["mean"] == pytest.approx(np.mean(logp))
    assert found.json["properties"]["boiling"]["mean"] == pytest.approx(np.mean([40 + 7 * i for i in train]))
    rows = {row["metric"]: row for row in found.json["scores"]}
    assert rows["unique"]["floor"] == 1
    assert rows["nspdk"]["floor"] > 0
    assert found.json["rates"]["graphs"] == 8


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(suffuse: Run, tmp_path: Path) -> None:
    table(tmp_path)
    words = ("--samples", 0, *FEW)
    assert suffuse("train", "mine.csv", "-o", "whole", "--steps", 6, *words).code == 0
    assert suffuse("train", "mine.csv", "-o", "half", "--steps", 3, *words).code == 0
    refused = suffuse("train", "mine.csv", "-o", "half", "--steps", 6, *words)
    assert refused.code == 2
    assert "not empty" in refused.err
    assert suffuse("train", "mine.csv", "-o", "half", "--steps", 6, *words, "--resume").code == 0
    ends = [load_model(tmp_path / name).checkpoint.weights for name in ("whole", "half")]
    assert all(bool((ends[0][key] == ends[1][key]).all()) for key in ends[0])


def test_graphs_train_either_architecture(suffuse: Run, tmp_path: Path) -> None:
    (tmp_path / "in.edges").write_text("\n\n".join("a b\nb c\nc d" + "\nd a" * (i % 2) for i in range(10)))
    small = ("--set", "layers=2", "--set", "hidden=2", "--set", "final=2")
    found = suffuse("train", "in.edges", "-o", "run", "--arch", "gdss", "--steps", 2, *small, *FEW, "--json")
    assert found.code == 0, found.err
    assert (found.json["arch"], found.json["target"]) == ("gdss", "score")
    assert [row["metric"] for row in found.json["scores"]] == [
        "degree",
        "clustering",
        "orbit",
        "spectral",
        "mean",
    ]
    told = suffuse(
        "train", "in.edges", "-o", "told", "--steps", 2, "--property", "density", *FEW, "--samples", 0
    )
    assert told.code == 0, told.err
    # A square has density 4 / 6, a path 3 / 6.
    mean, _ = load_model(tmp_path / "told").properties["density"]
    assert 0.5 < mean < 4 / 6


def test_settings_are_changed_by_name_and_refused_by_name() -> None:
    config = config_for(
        "tiny", given={"arch": "gdss"}, settings=["sampling.steps=7", "nodes.kind=ve", "width=16"]
    )
    assert (config.target, config.sampling.steps, config.nodes.kind, config.width) == ("score", 7, "ve", 16)
    assert config_for("community_small", given={"target": "clean"}).arch == "transformer"
    for setting, said in (
        ("widht=3", "unknown setting 'widht'"),
        ("sampling.stps=3", "unknown setting of sampling 'stps'"),
        ("width.x=3", "unknown setting of width 'x'"),
        ("width=many", "width='many'"),
        ("width", "sets nothing"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_for("tiny", settings=[setting])


def test_a_predictor_is_measured_beside_the_mean_and_knows_its_model(suffuse: Run, tmp_path: Path) -> None:
    table(tmp_path)
    words = (
        "--property",
        "logp,boiling",
        "--steps",
        4,
        "--width",
        8,
        "--depth",
        1,
        "--device",
        "cpu",
        "--quiet",
    )
    found = suffuse("train-property", "small-molecules", "mine.csv", *words, "-o", "pred", "--json")
    assert found.code == 0, found.err
    rows = found.json["errors"]
    assert {(row["property"], row["t"]) for row in rows} >= {("logp", 0.05), ("boiling", 0.75)}
    assert all(row["mae_of_the_mean"] > 0 for row in rows)
    assert load_predictor(tmp_path / "pred").kind.max_nodes == 5
    assert (tmp_path / "pred" / "loss.png").exists()


def test_presets_are_listed_and_shown(suffuse: Run) -> None:
    listed = suffuse("presets", "--json").json["presets"]
    assert {"tiny", "community_small", "qm9"} <= {row["preset"] for row in listed}
    assert suffuse("presets", "qm9", "--json").json["sampling"]["snr"] == 0.2


REFUSED = [
    (["train"], 2, "nothing to train on", "Name a file or a set"),
    (["train", "empty.smi"], 3, "empty.smi is empty", "at least one"),
    (["train", "salt.smi"], 3, "row 2: 'CC(=O)[O-].[Na+]' has 2 fragments", "--largest-fragment"),
    (["train", "metal.smi"], 3, "element Pt is outside the vocabulary", "--elements"),
    (["train", "large.smi", "--max-nodes", "38"], 3, "80 heavy atoms; at most 38", "--drop-large"),
    (["train", "typo.smi"], 3, "typo.smi, row 2: 'C1CC' is no molecule", "--skip-invalid"),
    (["train", "typo.smi", "--preset", "tinny"], 2, "unknown preset 'tinny'", "Did you mean 'tiny'"),
    (["train", "good.smi", "--property", "logq"], 2, "'logq' is neither computable", "Did you mean 'logp'"),
    (["train", "good.smi", "--set", "widht=8"], 2, "unknown setting 'widht'", "Did you mean 'width'"),
    (["train", "good.smi", "--arch", "gdss", "--target", "clean"], 2, "predict scores", "arch='transformer'"),
    (["train", "hole.csv", "--property", "boiling"], 3, "column 'boiling', row 2", "Fill the column"),
    (["train", "same.smi", "--property", "NumHDonors"], 3, "one value throughout", ""),
    (["train", "good.smi", "--split-file", "split.json"], 3, "out of range, first 9", "count from 0"),
    (["train", "loop.npz"], 3, "self-loop", ""),
    (["train", "star.npz", "--features", "3"], 3, "degree 4", "5 features"),
    (["train", "directed.npz"], 3, "not symmetric (largest difference 1)", "symmetrise"),
    (["train", "weighted.npz"], 3, "graph 0 is weighted", "Threshold"),
    (["train", "single.npz"], 3, "has a single node", "Leave such graphs out"),
    (["train-property", "small-molecules", "metal.smi", "--property", "qed"], 3, "element Pt", "--elements"),
    (
        ["train-property", "small-molecules", "large.smi", "--property", "qed"],
        3,
        "at most 5 are held",
        "--drop",
    ),
    (
        ["train-property", "small-molecules", "good.smi", "--property", ","],
        2,
        "no property",
        "--property qed",
    ),
    (
        ["train-property", "small-molecules", "community", "--property", "qed"],
        5,
        "N=5, F=4",
        "generic graphs",
    ),
    (
        ["train-property", "nowhere", "good.smi", "--property", "qed"],
        5,
        "no model 'nowhere'",
        "small-molecules",
    ),
]


@pytest.mark.parametrize(
    ("words", "code", "said", "hint"), REFUSED, ids=[" ".join(r[0][:4]) for r in REFUSED]
)
def test_a_refusal_is_one_line_with_a_way_on_and_leaves_nothing_behind(
    words: list[str], code: int, said: str, hint: str, suffuse: Run, tmp_path: Path
) -> None:
    bad_files(tmp_path)
    before = sorted(tmp_path.iterdir())
    found = suffuse(*words, "--device", "cpu")
    assert found.code == code, found.err
    assert said in found.err
    assert hint in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert sorted(tmp_path.iterdir()) == before


def bad_files(folder: Path) -> None:
    """One file for each way in which data go wrong."""
    for name, content in (
        ("good.smi", "CCO\nCCN\nCC\nCO\n"),
        ("same.smi", "CC\nCCC\nCCCC\nCCCCC\n"),
        ("salt.smi", "CCO\nCC(=O)[O-].[Na+]\n"),
        ("metal.smi", "CCO\nCl[Pt](Cl)(N)N\n"),
        ("large.smi", "C" * 80 + "\n"),
        ("typo.smi", "CC\nC1CC\n"),
        ("empty.smi", ""),
        ("hole.csv", "smiles,boiling\nCC,1\nCO,\nCN,2\n"),
        ("split.json", json.dumps({"test": [9]})),
    ):
        (folder / name).write_text(content)
    path = np.diag([1, 1, 1, 1], 1)
    path = path + path.T
    star = np.zeros((5, 5), int)
    star[0, 1:] = star[1:, 0] = 1
    loop, directed, weighted = path.copy(), path.copy(), path.astype(float)
    loop[2, 2], directed[0, 1], weighted[0, 1] = 1, 0, 0.5
    single = np.zeros((5, 5), int)
    for name, first in (
        ("loop", loop),
        ("star", star),
        ("directed", directed),
        ("weighted", weighted),
        ("single", single),
    ):
        sizes = [1 if name == "single" else 5, 5]
        np.savez(folder / f"{name}.npz", adjacency=np.stack([first, path]), num_nodes=np.asarray(sizes))
