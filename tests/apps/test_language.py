"""suffuse language: train, generate, infill, score, evaluate on a stranger's text, and every bad input."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from apps import cli

TEXT = "the cat sat on the mat. the dog sat on the log. a cat is not a dog.\n" * 60


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, and a model and its causal baseline trained on it for a moment."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "cats.txt").write_text(TEXT)
    words = ["train", str(folder / "cats.txt"), "--preset", "nano", "--kind", "char", "--steps", "30"]
    assert run(*words, "--length", "32", "--baseline", "-o", folder / "model", "--valid-blocks", "4") == 0
    return folder


def run(*words: object) -> int:
    return cli.run(["language", *map(str, words)])


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_training_prints_bound_baseline_and_gap_together(home: Path) -> None:
    found = report(home / "model")
    rows = {row["model"]: row for row in found["validation"]}
    assert set(rows) == {"radd", "causal", "6-gram"}
    assert rows["radd"]["what"] == "bound, 8 draws"
    assert rows["causal"]["what"] == "exact"
    gap = rows["radd"]["bits_per_token"] - rows["causal"]["bits_per_token"]
    assert found["gap_bits_per_token"] == pytest.approx(gap)
    assert rows["radd"]["standard_error"] > 0
    for name in (
        "model.safetensors",
        "tokenizer.json",
        "loss.png",
        "samples.txt",
        "causal/model.safetensors",
    ):
        assert (home / "model" / name).stat().st_size > 0


def test_prompts_are_continued_with_everything_a_record_needs(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.jsonl"
    (tmp_path / "prompts.txt").write_text("a dog\n\nthe log\n")
    words = [
        "generate",
        home / "model",
        "-o",
        out,
        "-p",
        "the cat",
        "--prompt-file",
        tmp_path / "prompts.txt",
    ]
    assert run(*words, "--n", 2, "--length", 12, "--steps", 6, "--seed", 3) == 0
    rows = records(out)
    assert [row["prompt"] for row in rows] == ["the cat"] * 2 + ["a dog"] * 2 + ["the log"] * 2
    for row in rows:
        assert set(row) >= {"id", "text", "ids", "n_new", "stop_reason", "nfe", "cpu_seconds", "settings"}
        assert row["nfe"] <= 6
        assert row["n_new"] == len(row["ids"]) <= 12
        assert row["settings"]["sampling_dtype"] == "fp64"
    again = tmp_path / "again.jsonl"
    words[3] = again
    assert run(*words, "--n", 2, "--length", 12, "--steps", 6, "--seed", 3) == 0
    assert [row["text"] for row in records(again)] == [row["text"] for row in rows]
    found = report(tmp_path / "made.jsonl.run")
    assert found["exact"] is True
    assert found["evaluations_expected"] == pytest.approx(6 * (1 - (5 / 6) ** 12))


def test_orders_and_bent_laws_say_that_they_are_not_exact(home: Path, tmp_path: Path) -> None:
    for number, words in enumerate((["--order", "confidence"], ["--temperature", "0.7"], ["--top-p", "0.9"])):
        out = tmp_path / f"{number}.txt"
        assert run("generate", home / "model", "-o", out, "--n", 1, "--steps", 4, *words) == 0
        assert report(tmp_path / f"{number}.txt.run")["exact"] is False


def test_watching_shows_the_text_come_out_of_its_masks(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["generate", home / "model", "-o", tmp_path / "a.txt", "--n", 1, "--length", 20, "--steps", 10]
    assert run(*words, "--watch", "--quiet") == 0
    lines = capsys.readouterr().err.splitlines()
    masks = [line.count("▒") for line in lines if "▒" in line]
    assert len(masks) >= 5
    assert masks == sorted(masks, reverse=True)


def test_a_causal_model_writes_too(home: Path, tmp_path: Path) -> None:
    assert run("generate", home / "model/causal", "-o", tmp_path / "c.txt", "--n", 1, "--length", 8) == 0
    assert (tmp_path / "c.txt").read_text().strip() != ""


def test_holes_are_filled_and_what_was_given_stays(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled.jsonl"
    assert run("infill", home / "model", "-o", out, "-t", "the [[3]] sat on [[1:3]].", "--steps", 4) == 0
    (row,) = records(out)
    assert row["text"].startswith("the ")
    assert " sat on " in row["text"]
    assert row["lengths"][0] == 3
    assert 1 <= row["lengths"][1] <= 3
    assert row["lengths_tried"] == 3
    assert len(row["filled"][0]) == 3


def test_documents_are_scored_with_their_errors(home: Path, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("the cat sat.\na dog.\n")
    assert run("score", home / "model", tmp_path / "two.txt", "-o", tmp_path / "s", "--draws", 4) == 0
    rows = records(tmp_path / "s" / "scores.jsonl")
    assert [row["characters"] for row in rows] == [12, 6]
    assert all(row["error"] > 0 for row in rows)
    total = report(tmp_path / "s")["total"]
    assert total["nats"] == pytest.approx(sum(row["nats"] for row in rows))
    assert (tmp_path / "s" / "scores.png").is_file()
    assert run("score", home / "model", tmp_path / "two.txt", "-o", tmp_path / "o", "--exact-order") == 0


def test_a_set_is_evaluated_beside_the_baseline(home: Path, tmp_path: Path) -> None:
    words = ["evaluate", home / "model", home / "cats.txt", "--blocks", 4, "--draws", 2]
    assert run(*words, "--beside", home / "model/causal", "-o", tmp_path / "e") == 0
    rows = report(tmp_path / "e")["results"]
    assert [row["estimate"] for row in rows] == ["bound, 2 draws", "exact"]
    assert "±" in (tmp_path / "e" / "results.md").read_text()


def test_a_tokenizer_is_learned_and_looked_at(home: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("tokenizer", "train", home / "cats.txt", "-o", tmp_path / "t", "--vocab-size", 280) == 0
    capsys.readouterr()
    assert run("tokenizer", "inspect", tmp_path / "t", "-t", "the cat", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["round_trip"] is True
    assert found["pieces"] == ["the", " cat"]
    assert found["sources"][0].startswith("cats.txt ")
    words = ["train", home / "cats.txt", "--preset", "nano", "--tokenizer", tmp_path / "t", "--steps", 2]
    assert run(*words, "--length", 16, "-o", tmp_path / "m", "--valid-blocks", 1) == 0
    assert report(tmp_path / "m")["vocabulary"] == found["size"]


def test_an_energy_is_trained_and_corrects_what_is_drawn(home: Path, tmp_path: Path) -> None:
    words = ["energy", "train", home / "model", home / "cats.txt", "-o", tmp_path / "e", "--steps", 3]
    assert run(*words, "--batch", 4) == 0
    told = report(tmp_path / "e")["told_apart"]
    assert told[-1]["step"] == 3
    assert 0 <= told[-1]["accuracy"] <= 1
    for kind, model in (("nce", tmp_path / "e"), ("coar", home / "model/causal")):
        out = tmp_path / f"{kind}.jsonl"
        words = ["generate", home / "model", "-o", out, "--n", 2, "--length", 8, "--steps", 4]
        assert run(*words, "--energy", kind, "--energy-model", model, "--window", 1) == 0
        found = report(tmp_path / f"{kind}.jsonl.run")
        assert found["energy"] == f"energy {kind} of {model}, 2 candidates, window 1"
        assert found["exact"] is False


def test_a_search_spends_its_budget_and_reports_what_it_did_not_search_on(home: Path, tmp_path: Path) -> None:
    words = ["search", home / "model", "-o", tmp_path / "s.jsonl", "--verifier", "holding", "--words", "a"]
    words += ["--second", "consistency", "--budget", 48, "--steps", 6, "--length", 10]
    assert run(*words) == 0
    found = report(tmp_path / "s.jsonl.run")
    assert found["evaluations"] <= 48
    scores = [row["score"] for row in found["best_of"]]
    assert scores == sorted(scores)
    assert found["best_of"][-1]["second"] < 0
    assert (tmp_path / "s.jsonl.run" / "search.png").is_file()
    assert len(records(tmp_path / "s.jsonl")) == 1


def test_an_exported_model_writes_the_same_texts(home: Path, tmp_path: Path) -> None:
    assert run("export", home / "model", "-o", tmp_path / "shared") == 0
    assert {path.name for path in (tmp_path / "shared").iterdir()} >= {"config.json", "model.safetensors"}
    from domains.language.exchange import from_pretrained
    from domains.language.generation import generate
    from domains.language.radd import load_model

    made = [
        generate(model, [[]], new=10, seed=1)[0].ids
        for model in (load_model(home / "model"), from_pretrained(tmp_path / "shared"))
    ]
    assert made[0] == made[1]
    assert run("export", home / "model", "-o", tmp_path / "shared") == 2


def bad(home: Path, folder: Path) -> dict[str, tuple[Sequence[object], int, str]]:
    """name -> command, exit code, what the line says."""
    model, cats = home / "model", home / "cats.txt"
    (folder / "empty.txt").write_text("")
    (folder / "short.txt").write_text("abc")
    (folder / "latin.txt").write_bytes("caf\xe9 au lait".encode("latin-1") * 30)
    (folder / "Upper.txt").write_text("hello World hello " * 50)
    (folder / "strange.txt").write_text("the cät")
    (folder / "there.txt").write_text("kept")
    out = ["-o", folder / "x.jsonl"]
    again = ["--preset", "nano", "--kind", "char", "--steps", 30, "--length", 32, "--baseline"]
    nano = ["--preset", "nano", "--length", 32, "-o", folder / "run"]
    return {
        "empty": (["train", folder / "empty.txt", *nano], 3, "is empty"),
        "short": (["train", folder / "short.txt", *nano, "--kind", "char"], 3, "--length"),
        "not UTF-8": (["train", folder / "latin.txt", *nano], 3, "--encoding"),
        "text8": (["train", folder / "Upper.txt", *nano, "--kind", "text8"], 3, "line 1, column 7"),
        "no such set": (["train", "bookz", *nano], 2, "unknown text 'bookz'"),
        "unknown character": (["generate", model, *out, "-p", "cät"], 3, "'ä' is not among"),
        "long prompt": (["generate", model, *out, "-p", "cat " * 20], 3, "--truncate-left"),
        "hole": (["infill", model, *out, "-t", "a [[x]] b"], 3, "line 1, column 3"),
        "hole of none": (["infill", model, *out, "-t", "a [[0]] b"], 3, "at least 1 token"),
        "no hole": (["infill", model, *out, "-t", "plain"], 3, "no hole"),
        "nothing to fill": (["infill", model, *out], 3, "--file"),
        "temperature": (["generate", model, *out, "--temperature", -1], 2, "temperature=-1.0"),
        "top_p": (["generate", model, *out, "--top-p", 1.5], 2, "top_p=1.5"),
        "conflict": (["generate", model, *out, "--order", "left", "--exact"], 2, "--exact was asked for"),
        "threshold": (["generate", model, *out, "--threshold", 0.9], 2, "--order confidence"),
        "cache": (["generate", model, *out, "--cache", "exact", "--block-length", 4], 2, "block-causal"),
        "output exists": (["generate", model, "-o", folder / "there.txt"], 2, "nothing was overwritten"),
        "output type": (["generate", model, "-o", folder / "x.doc"], 2, "unknown output type"),
        "no model": (["generate", folder / "nowhere", *out], 5, "no checkpoint"),
        "protocol": (["evaluate", model, cats, "--protocol", "other"], 2, "unknown protocol"),
        "other tokenizer": (
            ["evaluate", model, cats, "--beside", "nowhere", "-o", folder / "e"],
            5,
            "no checkpoint",
        ),
        "two tokenizers": (
            ["train", cats, *nano, "--tokenizer", model, "--kind", "bpe"],
            2,
            "Leave out --kind",
        ),
        "energy alone": (["generate", model, *out, "--energy", "ar"], 2, "--energy-model"),
        "energy of masks": (
            ["generate", model, *out, "--energy", "ar", "--energy-model", model],
            2,
            "causal",
        ),
        "search for nothing": (["search", model, *out], 2, "--verifier"),
        "search without a judge": (["search", model, *out, "--verifier", "likelihood"], 2, "--judge"),
        "budget": (
            ["search", model, *out, "--verifier", "holding", "--words", "a", "--budget", 1],
            2,
            "too small",
        ),
        "preset": (["train", cats, "--preset", "nan", "-o", folder / "run"], 2, "Did you mean 'nano'"),
        "loss": (["train", cats, *nano, "--loss", "dce"], 2, "loss='dce'"),
        "unit": (["score", model, cats, "--unit", "verse", "-o", folder / "e"], 2, "unknown unit"),
        "bad score text": (["score", model, folder / "strange.txt", "-o", folder / "e"], 3, "--normalize"),
        "other settings": (
            ["train", cats, *again, "--lr", 0.5, "--resume", "-o", model],
            2,
            "other settings: lr",
        ),
        "other vocabulary": (
            ["train", folder / "Upper.txt", *again, "--resume", "-o", model],
            2,
            "tokenizer of",
        ),
    }


def test_every_bad_input_gives_its_line_and_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = bad(home, tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    wrong = []
    for name, (words, code, said) in cases.items():
        capsys.readouterr()
        got = run(*words, "--quiet") if words[0] != "tokenizer" else run(*words)
        err = capsys.readouterr().err
        if got != code or said not in err or "Traceback" in err:
            wrong.append((name, got, err.strip()[:200]))
    assert not wrong, "\n".join(map(str, wrong))
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after
    assert (tmp_path / "there.txt").read_text() == "kept"
