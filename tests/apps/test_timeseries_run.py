"""suffuse timeseries train, forecast, impute, refine, synthesize, tune-scale, score: on a stranger's CSV."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gluonts", reason="'gluonts' is not installed (extra 'timeseries')")

import pandas as pd

from apps import cli
from data.synthetic.series import SeasonalAR

P = 12


def csv(path: Path) -> Path:
    """Hourly sales of three shops: unsorted rows, a time zone, gaps, an empty cell and a blank."""
    values = SeasonalAR().draw(3, 264, np.random.default_rng(1))
    frames = []
    for shop, row in zip(("north", "south", "east"), values, strict=True):
        stamps = pd.date_range("2024-03-01", periods=len(row), freq="h", tz="Europe/Berlin")
        frames.append(
            pd.DataFrame({"shop": shop, "when": stamps.astype(str), "sold": row.round(3).astype(str)})
        )
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[[40, 300], "sold"] = ["", " "]
    frame = frame.drop(index=[100, 101, 102]).sample(frac=1, random_state=0)
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table and a model trained on it."""
    folder = tmp_path_factory.mktemp("series")
    data = csv(folder / "sales.csv")
    words = ["timeseries", "train", str(data), "-o", str(folder / "model"), "-p", str(P), "-c", "36"]
    assert cli.run([*words, "--steps", "80", "--batch", "8", "--device", "cpu", "--quiet"]) == 0
    return folder


def suffuse(home: Path, *words: object) -> int:
    return cli.run(["timeseries", *map(str, words), "--device", "cpu", "--quiet"])


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def scores(folder: Path) -> dict[str, float]:
    return {row["model"]: row["mean_wql"] for row in report(folder)["scores"]}


def test_training_tells_what_it_read_and_scores_beside_the_baselines(home: Path) -> None:
    found = report(home / "model")
    assert any("UTC" in note for note in report(home / "model")["notes"])
    assert any("gap" in note or "missing" in note for note in found["notes"])
    assert set(scores(home / "model")) == {"tsdiff", "seasonal_naive", "ridge"}
    assert found["instances"] == 3
    for name in ("model.safetensors", "card.json", "log.jsonl", "forecasts.png", "scores.md", "run.json"):
        assert (home / "model" / name).stat().st_size > 0


def test_forecasts_of_the_future_are_samples_quantiles_and_pictures(home: Path) -> None:
    out = home / "future"
    words = ("forecast", home / "model", home / "sales.csv", "-o", out, "--samples", 10, "--steps", 4)
    assert suffuse(home, *words) == 0
    frame = pd.read_parquet(out / "forecasts.parquet")
    assert list(frame.columns[:3]) == ["item_id", "timestamp", "mean"]
    assert len(frame) == 3 * P
    assert (np.diff(frame[["0.1", "0.5", "0.9"]].to_numpy(), axis=1) >= 0).all()
    assert np.load(out / "forecasts.npz")["samples"].shape == (3, 10, P)
    assert (out / "fans.png").exists()
    assert "scores" not in report(out)
    assert suffuse(home, *words) == 2  # nothing is overwritten
    assert suffuse(home, *words, "--force", "--nixtla", "TSDiff") == 0
    assert {"unique_id", "ds", "TSDiff", "TSDiff-lo-80"} <= set(
        pd.read_parquet(out / "forecasts.parquet").columns
    )


def test_forecasts_of_test_windows_are_scored_and_can_be_evaluated_again(home: Path) -> None:
    out = home / "tests"
    words = ("forecast", home / "model", home / "sales.csv", "-o", out, "--test-windows", 1)
    assert suffuse(home, *words, "--samples", 10, "--steps", 4) == 0
    own = scores(out)
    again = home / "evaluated"
    words = ("timeseries", "evaluate", str(out), str(home / "sales.csv"), "-p", str(P), "--run", str(again))
    assert cli.run([*words, "--quiet"]) == 0
    assert scores(again)[out.name] == pytest.approx(own["tsdiff"], abs=1e-9)
    assert scores(again)["seasonal_naive"] == pytest.approx(own["seasonal_naive"], abs=1e-9)


def test_gaps_are_filled_and_observed_values_stay(home: Path) -> None:
    out = home / "filled"
    words = ("impute", home / "model", home / "sales.csv", "-o", out, "--samples", 9, "--steps", 4)
    assert suffuse(home, *words) == 0
    frame = pd.read_parquet(out / "imputed.parquet")
    assert frame["target"].notna().all()
    assert frame["imputed"].sum() == report(out)["imputed"] == 5
    assert frame.loc[~frame["imputed"], "0.5"].isna().all()
    assert (out / "imputed-0.png").exists()


def test_hidden_values_are_scored_against_straight_lines(home: Path) -> None:
    out = home / "hidden"
    words = ("impute", home / "model", home / "sales.csv", "-o", out, "--scenario", "RM", "--missing", 10)
    assert suffuse(home, *words, "--samples", 9, "--steps", 4, "--plots", 0) == 0
    assert {"mean_wql", "mean_wql_straight_lines", "positions"} <= set(report(out)["scores"])
    assert report(out)["scores"]["positions"] == 30


def test_refinement_reports_energy_and_scores_before_and_after(home: Path) -> None:
    out = home / "refined"
    assert suffuse(home, "refine", home / "model", home / "sales.csv", "-o", out, "--fixed-step", 30) == 0
    found = report(out)
    assert set(scores(out)) == {"seasonal_naive", "seasonal_naive, refined", "ridge"}
    assert found["gain"] == pytest.approx(
        scores(out)["seasonal_naive"] - scores(out)["seasonal_naive, refined"]
    )
    assert found["step"] == 30
    assert (out / "refined-0.png").exists()


def test_synthetic_windows_have_their_score_beside_that_of_real_ones(home: Path) -> None:
    out = home / "synthetic"
    words = ("synthesize", home / "model", "-o", out, "--n", 12, "--steps", 5, "--lps", home / "sales.csv")
    assert suffuse(home, *words) == 0
    assert set(json.loads((out / "lps.json").read_text())) == {"synthetic", "real"}
    assert pd.read_parquet(out / "synthetic.parquet")["item_id"].nunique() == 12


def test_the_tuned_scale_is_the_best_of_those_tried_and_is_kept_when_asked(home: Path) -> None:
    out = home / "tuned"
    words = ("tune-scale", home / "model", home / "sales.csv", "-o", out, "--scales", "1,6", "--steps", 4)
    assert suffuse(home, *words, "--samples", 9, "--save") == 0
    rows = {row["scale"]: row["mean_wql"] for row in report(out)["scales"]}
    assert report(out)["best_scale"] == min(rows, key=lambda scale: rows[scale])
    card = json.loads((home / "model" / "card.json").read_text())
    assert f'"scale": {report(out)["best_scale"]}' in json.dumps(card)


def test_a_planted_spike_is_the_strangest_point(home: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(home / "sales.csv")
    frame["sold"] = pd.to_numeric(frame["sold"], errors="coerce")
    at = frame.index[(frame["shop"] == "south") & frame["when"].str.startswith("2024-03-11 05:00")][0]
    frame.loc[at, "sold"] *= 4
    frame[frame["shop"] != "east"].to_csv(tmp_path / "spiked.csv", index=False)
    out = home / "scored"
    assert suffuse(home, "score", home / "model", tmp_path / "spiked.csv", "-o", out, "--last", 24) == 0
    first = report(out)["strangest"][0]
    assert first["item_id"] == "south"
    assert first["deviations"] > 5
    assert pd.Timestamp(first["timestamp"]) == pd.Timestamp("2024-03-11 04:00")  # UTC


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("forecast", "nowhere", "sales.csv"), 5, "nowhere"),
        (("forecast", "model", "none.csv"), 3, "none.csv"),
        (("forecast", "model", "co2"), 5, "frequency 'W-SAT'"),
        (("forecast", "model", "sales.csv", "--scale", "-1"), 2, "scale must be positive"),
        (("forecast", "model", "sales.csv", "--sampler", "euler"), 2, "tsflow"),
        (("forecast", "model", "sales.csv", "--steer", "magic"), 2, "guidance, particles"),
        (("impute", "model", "sales.csv", "--scenario", "XX"), 2, "RM, BM-B, BM-E"),
        (("refine", "model", "sales.csv", "--base", "none.npz"), 2, "none.npz"),
        (("tune-scale", "model", "sales.csv", "--scales", "1,x"), 2, "1,x"),
        (("train", "sales.csv"), 2, "--prediction-length"),
        (("train", "sales.csv", "-p", "12", "-c", "400"), 3, "largest context"),
        (("train", "sales.csv", "-p", "12", "--preset", "huge"), 2, "unknown preset"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(home)
    assert suffuse(home, *words, "-o", tmp_path / "out") == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
