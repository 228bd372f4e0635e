"""Songs chosen by noise search: every candidate told, the same again, ears that may not judge refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("mutagen", reason="needs the extra 'music'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from core.errors import CheckpointError, ConfigError
from core.outlook import Outlook
from core.process import RectifiedFlow, to_record
from core.train import Checkpoint
from domains.music.metrics.words import Sung
from domains.music.recogniser import Recogniser, RecogniserConfig, save_recogniser
from domains.music.request import SongRequest
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.tagger import Tagger, TaggerConfig, save_tagger
from domains.music.workflows import Writing, reproduce_file, song_file
from domains.music.workflows.coding import read_latent_file
from domains.music.workflows.opening import digest
from domains.music.workflows.scoring import Card, Heard, _score_style, _score_words
from tests.domains.music.kit import make_kit

LYRICS = "[00:00.20]grace\n[00:01.40]amazing\n"
METRICS = ("per_own", "style_similarity")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its codec, both ears, and a record that calls them informative."""
    folder = tmp_path_factory.mktemp("search")
    make_kit(folder / "kit")
    empty = Checkpoint({}, to_record(RectifiedFlow()), "flow", 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ear, judge = Recogniser(RecogniserConfig(8, (1,))), Tagger(TaggerConfig(8, 8))
    save_recogniser(folder / "ear.safetensors", ear, empty)
    save_tagger(folder / "judge.safetensors", judge, empty)
    calibrated(folder / "good.json", folder, dict.fromkeys(METRICS, True))
    return folder


def calibrated(path: Path, home: Path, verdicts: dict[str, bool]) -> Path:
    ears = {"recogniser": home / "ear.safetensors", "tagger": home / "judge.safetensors"}
    record = {
        "networks": {name: digest(path) for name, path in ears.items()},
        "verdicts": [
            {"metric": name, "informative": good, "why": "rows meet"} for name, good in verdicts.items()
        ],
        "rows": {},
    }
    path.write_text(json.dumps(record))
    return path


def request(home: Path, search: dict[str, Any] | None = None, **changes: Any) -> SongRequest:
    ears = {
        "recogniser": str(home / "ear.safetensors"),
        "tagger": str(home / "judge.safetensors"),
        "calibration": str(home / "good.json"),
    }
    asked = {"model": str(home / "kit"), "lyrics": LYRICS, "style": "piano", "length_s": 2.5, "device": "cpu"}
    return SongRequest(**{**asked, "search": {**ears, "runs": 3, **(search or {})}, **changes})


def plain(home: Path, **changes: Any) -> SongRequest:
    return request(home, **changes).model_copy(update={"search": None})


def test_the_best_of_three_is_told_beside_the_song_of_the_seed(home: Path, tmp_path: Path) -> None:
    told: list[Outlook] = []
    writing = Writing(tmp_path / "a.flac", latents=tmp_path / "a.safetensors")
    report = song_file(request(home, {"verifiers": ["words"]}), writing, ready=told.append)
    assert any("random search for words: 6 evaluations" in line for line in told[0].plan)
    rows = report["candidates"]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    best = max(rows, key=lambda row: row["words"])
    assert [row["seed"] for row in rows if row["chosen"]] == [best["seed"]]
    found = report["search"]
    assert (found["verifiers"], found["second"]) == (["words"], "style")
    assert found["chosen"]["words"] == pytest.approx(best["words"], abs=1e-4)
    assert found["first_seed"] == {"words": rows[0]["words"], "style": rows[0]["style"]}
    assert (found["evaluations"], found["calls"], report["nfe"]) == (6, 12, 12)
    assert read_sidecar(sidecar_path(tmp_path / "a.flac"))["search"] == found
    again = reproduce_file(sidecar_path(tmp_path / "a.flac"), tmp_path / "b.flac")
    assert again["identical"] is True
    # The song of the chosen seed alone is the same up to the rounding of a batch.
    writing = Writing(tmp_path / "c.flac", latents=tmp_path / "c.safetensors")
    assert song_file(plain(home, seed=best["seed"]), writing)["nfe"] == 4
    one, other = (read_latent_file(tmp_path / f"{name}.safetensors")[0] for name in "ac")
    assert torch.allclose(one, other, atol=1e-4)


def test_a_long_song_is_searched_by_tiles_and_compared_with_its_first_seed(
    home: Path, tmp_path: Path
) -> None:
    report = song_file(request(home, length_s=5.0), Writing(tmp_path / "a.flac"))
    found = report["search"]
    assert report["tiles"] == 2
    assert [row["tile"] for row in report["candidates"]] == [1, 1, 1, 2, 2, 2]
    assert sum(row["chosen"] for row in report["candidates"]) == 2
    assert found["verifiers"] == ["words", "style"]
    assert (found["calls"], found["calls_of_yardstick"]) == (24, 8)
    assert set(found["first_seed"]) == set(found["chosen"]) == {"words", "style"}


def test_a_search_by_pivots_comes_again_too(home: Path, tmp_path: Path) -> None:
    asked = request(home, {"method": "zero-order", "verifiers": ["style"]})
    song_file(asked, Writing(tmp_path / "a.flac"))
    assert reproduce_file(sidecar_path(tmp_path / "a.flac"), tmp_path / "b.flac")["identical"] is True


@pytest.mark.parametrize(
    ("search", "changes", "cause"),
    [
        ({"verifiers": ["word"]}, {}, "unknown verifier 'word' .*"),
        ({"method": "randon"}, {}, "unknown search 'randon'"),
        ({"verifiers": ["words"]}, {"lyrics": ""}, "'words' needs lyrics"),
        ({"verifiers": ["style"]}, {"style": ""}, "'style' needs style words"),
        ({"second": "style"}, {"style": ""}, "'style' needs style words"),
        ({}, {"lyrics": "", "style": ""}, "nothing to listen for"),
        ({"budget": 1}, {}, "a budget of 1 evaluations is too small: one run takes 2"),
        ({"calibration": "absent.json"}, {}, "have not been calibrated"),
        ({}, {"operation": "variation", "source": "SONG"}, "not by variation"),
    ],
)
def test_searches_that_cannot_be_are_refused(
    home: Path, tmp_path: Path, search: dict[str, Any], changes: dict[str, Any], cause: str
) -> None:
    if "source" in changes:
        song_file(plain(home), Writing(tmp_path / "s.flac"))
        changes = {**changes, "source": str(tmp_path / "s.flac")}
    with pytest.raises(ConfigError, match=cause):
        song_file(request(home, search, **changes), Writing(tmp_path / "a.flac"))


def test_an_ear_that_was_not_calibrated_or_cannot_tell_judges_nothing(home: Path, tmp_path: Path) -> None:
    blind = calibrated(tmp_path / "blind.json", home, {"per_own": False, "style_similarity": True})
    with pytest.raises(ConfigError, match="its per_own is not informative"):
        song_file(request(home, {"calibration": str(blind)}), Writing(tmp_path / "a.flac"))
    # Nor is it reported beside an ear that can.
    style = request(home, {"calibration": str(blind), "verifiers": ["style"]})
    assert song_file(style, Writing(tmp_path / "a.flac"))["search"]["second"] is None
    with pytest.raises(ConfigError, match="another recogniser"):
        song_file(request(home, {"recogniser": "recogniser"}), Writing(tmp_path / "b.flac"))


def test_a_search_is_not_repeated_with_other_ears(home: Path, tmp_path: Path) -> None:
    song_file(request(home), Writing(tmp_path / "a.flac"))
    path = sidecar_path(tmp_path / "a.flac")
    record = json.loads(path.read_text())
    record["search"]["networks"]["recogniser"] = "0" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="the song was chosen by 000000000000"):
        reproduce_file(path, tmp_path / "b.flac")


def test_what_is_kept_of_a_chosen_song_stays_chosen(home: Path, tmp_path: Path) -> None:
    song_file(request(home), Writing(tmp_path / "a.flac"))
    asked = plain(home, operation="edit", source=str(tmp_path / "a.flac"), spans=((1, 1.5),))
    report = song_file(asked, Writing(tmp_path / "b.flac"))
    assert report["search"]["verifiers"] == ["words", "style"]
    assert report["search"]["of"] == str(tmp_path / "a.flac")


def test_a_song_is_not_scored_by_the_ear_that_chose_it(home: Path) -> None:
    from domains.music.workflows.opening import open_recogniser, open_tagger

    ear, judge = open_recogniser(str(home / "ear.safetensors")), open_tagger(str(home / "judge.safetensors"))
    wave = torch.randn(30_000, generator=torch.Generator().manual_seed(0))
    plain = Heard(
        {}, wave, Sung(((0.0, (5, 6)),)), {"instrument": "piano"}, torch.zeros(0).numpy(), frozenset()
    )
    chosen = replace(plain, wave=wave.flip(0), chosen=frozenset({"recogniser"}))
    both, one = Card(0), Card(0)
    _score_words(both, [plain, chosen], ear)
    _score_words(one, [plain], ear)
    assert both.own == one.own
    assert both.notes == ["the recogniser chose 1 of 2 songs: their words are not scored"]
    _score_style(both, [plain, chosen], judge)
    assert both.own["style_accuracy"].n == 2  # the tagger did not choose it
