"""suffuse music: every command on a small model, what it writes and prints, and every bad input."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("mutagen", reason="needs the extra 'music'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from apps import cli
from core.process import RectifiedFlow, to_record
from core.train import Checkpoint
from domains.music.audio import read_audio, write_audio
from domains.music.frames import RATE
from domains.music.lrc import read_lrc
from domains.music.recogniser import Recogniser, RecogniserConfig, save_recogniser
from domains.music.tagger import Tagger, TaggerConfig, save_tagger
from domains.music.workflows.opening import digest
from tests.domains.music.kit import make_kit

LYRICS = "[bpm:120]\n[00:00.20][verse]\n[00:00.20]grace\n[00:01.40]amazing\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its codec, networks that judge, lyrics, and one song."""
    folder = tmp_path_factory.mktemp("music")
    make_kit(folder / "kit")
    empty = Checkpoint({}, to_record(RectifiedFlow()), "flow", 1.0)
    for name in ("ear", "judge"):
        (folder / name).mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ear, judge = Recogniser(RecogniserConfig(8, (1,))), Tagger(TaggerConfig(8, 8))
    save_recogniser(folder / "ear" / "model.safetensors", ear, empty)
    save_tagger(folder / "judge" / "model.safetensors", judge, empty)
    (folder / "a.lrc").write_text(LYRICS)
    words = [
        "--lrc",
        folder / "a.lrc",
        "--style",
        "piano, female",
        "--length",
        2.5,
        "--model",
        folder / "kit",
    ]
    assert run("compose", *words, "-o", folder / "a.flac", "--quiet") == 0
    return folder


def run(*words: object) -> int:
    return cli.run(["music", *map(str, words)])


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Standard output of a command as exactly one JSON object."""
    capsys.readouterr()
    assert run(*words, "--json", "--quiet") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and standard error of a command that must not leave a traceback."""
    capsys.readouterr()
    code = run(*words)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "fault of the program" not in error
    return code, error


def test_a_song_has_its_stems_sidecar_and_run_folder(home: Path) -> None:
    for name in ("a.flac", "a-voice.flac", "a-backing.flac", "a.flac.json", "a.flac.run/run.json"):
        assert (home / name).stat().st_size > 0
    report = json.loads((home / "a.flac.run" / "report.json").read_text())
    assert (report["nfe"], report["seconds"]) == (4, 2.5)
    assert {"song.png", "song.csv"} <= {path.name for path in (home / "a.flac.run").iterdir()}


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "compose",
        "--hymn",
        "amazing-grace",
        "--model",
        home / "kit",
        "-o",
        tmp_path / "b.flac",
        "--dry-run",
    ]
    found = printed(capsys, *words)
    assert found["dry_run"] is True
    assert "4 lines of 'Amazing Grace'" in found["plan"][1]
    assert list(tmp_path.iterdir()) == []


def test_a_song_is_made_again(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "again.flac"
    assert printed(capsys, "reproduce", home / "a.flac.json", "-o", out)["identical"] is True
    assert torch.equal(read_audio(out).samples, read_audio(home / "a.flac").samples)


@pytest.mark.parametrize(
    ("verb", "words", "seconds"),
    [
        ("edit", ["--span", "1:1.5"], 2.5),
        ("extend", ["--right", 0.4], (54 + 9) * 1024 / RATE),  # both lengths rounded up to frames
        ("loop", ["--seam", 0.5, "--bars", 1], 2.0),  # one bar of four beats at 120 bpm
        ("relyric", ["--hymn", "be-thou-my-vision"], 2.5),
        ("accompany", ["--style", "organ"], 2.5),
        ("variation", ["--strength", 0.5], 2.5),
    ],
)
def test_every_edit_writes_a_song(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    words: list[object],
    seconds: float,
) -> None:
    out = tmp_path / f"{verb}.flac"
    report = printed(capsys, verb, "--in", home / "a.flac", "--model", home / "kit", *words, "-o", out)
    assert report["operation"] == verb
    assert report["seconds"] == pytest.approx(seconds, abs=1e-3)
    assert read_audio(out).seconds == pytest.approx(seconds, abs=1e-3)


def test_control_reports_saved_figures_and_can_be_made_again(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--intensity", "crescendo", "--length", 2, "--iterations", 2, "--model", home / "kit"]
    out = tmp_path / "c.flac"
    found = printed(capsys, "control", *words, "-o", out)
    control = found["control"]
    assert control["saved_after"].keys() == control["saved_before"].keys()
    assert control["loss_after"][0] <= control["loss_before"][0]
    assert (tmp_path / "c.flac.run" / "history.jsonl").read_text().count("\n") == 3
    again = printed(capsys, "reproduce", f"{out}.json", "-o", tmp_path / "d.flac")
    assert again["identical"] is True
    rows = printed(capsys, "evaluate", out, "--suite", "control", "-o", tmp_path / "run")["rows"]
    assert {row["figure"] for row in rows} == set(control["saved_before"])


def test_the_best_of_several_is_shown_with_all_of_them(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {
        "networks": {"tagger": digest(home / "judge" / "model.safetensors")},
        "verdicts": [{"metric": "style_similarity", "informative": True, "why": ""}],
    }
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    ears = ["--tagger", home / "judge", "--recogniser", home / "ear", "--calibration", tmp_path]
    words = ["--style", "piano", "--length", 2, "--model", home / "kit", *ears]
    out = tmp_path / "a.flac"
    assert run("compose", *words, "--search", 2, "-o", out) == 0
    assert "candidates" in capsys.readouterr().out
    found = json.loads((tmp_path / "a.flac.run" / "report.json").read_text())
    assert [row["seed"] for row in found["candidates"]] == [0, 1]
    assert found["search"]["verifiers"] == ["style"]
    assert (tmp_path / "a.flac.run" / "search.csv").read_text().count("\n") == 3
    assert printed(capsys, "reproduce", f"{out}.json")["identical"] is True


def test_edits_and_costs_are_evaluated(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e.flac"
    words = ["edit", "--in", home / "a.flac", "--model", home / "kit", "--span", "1:1.5", "-o", out]
    printed(capsys, *words)
    found = printed(capsys, "evaluate", out, "--suite", "edit", "-o", tmp_path / "one")
    assert [(row["row"], row["borders"]) for row in found["rows"]] == [
        ("edited", 2),
        ("recording", 2),
        ("hard cut", 2),
    ]
    found = printed(capsys, "evaluate", out, "--suite", "cost", "--device", "cpu", "-o", tmp_path / "two")
    (row,) = found["rows"]
    assert (row["song"], row["nfe"], row["runs"]) == ("e.flac", 4, 3)
    assert row["real_time_factor"] > 0
    assert "CPU" in found["device"]
    code, error = refused(capsys, "evaluate", home / "a.flac", "--suite", "edit", "-o", tmp_path / "three")
    assert (code, "is no edit of a recording" in error) == (3, True)


def test_lyrics_are_checked_drafted_and_fitted(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = printed_plain(capsys, "lrc", "check", home / "a.lrc")
    assert [row["phones"] for row in checked["sung"]] == [5, 7]
    (tmp_path / "w.txt").write_text("amazing grace\nhow sweet the sound\n")
    drafted = printed(capsys, "lrc", "draft", tmp_path / "w.txt", "-o", tmp_path / "w.lrc", "--bpm", 120)
    assert drafted["lines"] == 2
    words = ["--in", home / "a.flac", "--recogniser", home / "ear"]
    fitted = printed(capsys, "lrc", "fit", home / "a.lrc", *words, "-o", tmp_path / "f.lrc")
    assert [row["words"] for row in fitted["fitted"]] == ["grace", "amazing"]
    lyrics, problems = read_lrc(tmp_path / "f.lrc")
    assert problems == ()
    assert all(line.words for line in lyrics.lines)


def printed_plain(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_latents_go_to_a_file_and_back(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = ["--codec", home / "kit"]
    assert (
        printed(capsys, "encode", home / "a.flac", "-o", tmp_path / "a.safetensors", *codec)["channels"] == 4
    )
    found = printed(capsys, "decode", tmp_path / "a.safetensors", "-o", tmp_path / "a.wav", *codec)
    assert found["seconds"] == 2.5
    scored = printed(capsys, "evaluate", home / "a.flac", "--suite", "codec", *codec, "-o", tmp_path / "run")
    assert [row["row"] for row in scored["rows"]] == ["lossless in", "MP3 in", "MP3 alone"]


def recordings(folder: Path, count: int = 3) -> Path:
    """Sound files with lyrics and style words of the same stem."""
    folder.mkdir()
    for n in range(count):
        x = 0.3 * torch.sin(2 * math.pi * (200 + 50 * n) * torch.arange(4 * RATE) / RATE)
        write_audio(folder / f"s{n}.wav", x[None], RATE)
        (folder / f"s{n}.lrc").write_text("[00:00.50]grace\n")
        (folder / f"s{n}.txt").write_text(f"instrument: {('piano', 'organ')[n % 2]}")
    return folder


def test_own_recordings_are_imported_trained_on_and_distilled(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recordings(tmp_path / "mine")
    (source / "s2.licence").write_text("CC BY-NC 4.0")
    found = printed(capsys, "data", "import", source, "-o", tmp_path / "corpus", "--held", 0)
    assert (found["songs"], found["refused"], found["with_lyrics"]) == (2, 1, 2)
    assert "s2 is left out: licence CC BY-NC 4.0" in found["warnings"]
    quick = ["--steps", 2, "--batch", 2]
    codec = ["train", "codec", tmp_path / "corpus", "-o", tmp_path / "codec", "--preset", "tiny"]
    planned = printed(capsys, *codec, "--adversarial-steps", 5, "--dry-run")
    assert "then 5 of the decoder against a critic" in planned["plan"]
    coded = printed(capsys, *codec, *quick)
    assert coded["steps"] == 2
    words = [
        "--codec",
        tmp_path / "codec",
        "--preset",
        "nano",
        "--stems",
        1,
        "--alignment",
        "sentence",
        *quick,
    ]
    trained = printed(capsys, "train", "dit", tmp_path / "corpus", "-o", tmp_path / "dit", *words)
    assert (trained["songs"], trained["synthetic"]) == (2, False)
    latents = ["--latents", tmp_path / "dit" / "latents", "--model", tmp_path / "dit"]
    student = printed(capsys, "distil", tmp_path / "corpus", *latents, "-o", tmp_path / "student", *quick)
    assert student["calls"] == 4
    model = ["--model", tmp_path / "student", "--length", 2]
    made = printed(capsys, "compose", *model, "--style", "organ", "-o", tmp_path / "a.flac")
    assert made["nfe"] == 4
    assert len(made["files"]) == 1


def test_nothing_is_scored_before_a_calibration(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges = ["--recogniser", home / "ear", "--tagger", home / "judge", "--calibration", tmp_path]
    words = ["evaluate", home / "a.flac", "--against", tmp_path, "-o", tmp_path / "run", *judges]
    code, error = refused(capsys, *words)
    assert code == 2
    assert "have not been calibrated" in error
    (tmp_path / "calibration.json").write_text('{"networks": {"recogniser": "0"}}')
    assert "calibrates another recogniser" in refused(capsys, *words)[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["compose", "--model", "absent", "-o", "x.flac"], 5, "no model at absent"),
        (["compose", "--hymn", "amazing-gras", "-o", "x.flac"], 2, "Did you mean 'amazing-grace'?"),
        (["compose", "-o", "x.aac", "--model", "KIT"], 2, "unknown output type '.aac'"),
        (["compose", "-o", "x.flac", "--depth", "32f", "--model", "KIT"], 2, ".flac has 16, 24; got '32f'"),
        (["compose", "-o", "x.flac", "--style", "pian", "--model", "KIT"], 2, "Did you mean 'piano'?"),
        (["compose", "-o", "x.flac", "--length", "0", "--model", "KIT"], 2, "length_s=0.0"),
        (
            ["compose", "-o", "x.flac", "--length", "9", "--no-tile", "--model", "KIT"],
            2,
            "longer than the model's",
        ),
        (
            ["compose", "-o", "x.flac", "--section-style", "chorus", "--model", "KIT"],
            2,
            "is no style of a section",
        ),
        (["compose", "-o", "x.flac", "--solver", "eulr", "--model", "KIT"], 2, "solver='eulr'"),
        (
            ["edit", "--in", "absent.wav", "--span", "1:2", "-o", "x.flac", "--model", "KIT"],
            3,
            "no such sound file",
        ),
        (["edit", "--in", "SONG", "--span", "1-2", "-o", "x.flac", "--model", "KIT"], 2, "'1-2' is no span"),
        (
            ["edit", "--in", "SONG", "--span", "1:9", "-o", "x.flac", "--model", "KIT"],
            2,
            "lies outside the song",
        ),
        (["edit", "--in", "SONG", "--span", "2:1", "-o", "x.flac", "--model", "KIT"], 2, "empty or reversed"),
        (["extend", "--in", "SONG", "-o", "x.flac", "--model", "KIT"], 2, "needs a length"),
        (["relyric", "--in", "SONG", "-o", "x.flac", "--model", "KIT"], 2, "new words are missing"),
        (["control", "-o", "x.flac", "--model", "KIT"], 2, "nothing to control"),
        (["control", "-o", "x.flac", "--intensity", "cresc", "--model", "KIT"], 2, "unknown loudness curve"),
        (["control", "-o", "x.flac", "--structure", "A", "--model", "KIT"], 2, "letters, such as ABA"),
        (["compose", "-o", "x.flac", "--search", "-3", "--model", "KIT"], 2, "takes 1 run or more, got -3"),
        (["compose", "-o", "x.flac", "--search", "3", "--budget", "9"], 2, "a number of runs and a budget"),
        (["compose", "-o", "x.flac", "--second", "style"], 2, "--second was given without a search"),
        (["compose", "-o", "x.flac", "--verifier", "style"], 2, "--verifier was given without a search"),
        (
            [
                *("compose", "-o", "x.flac", "--search", "2", "--style", "piano", "--model", "KIT"),
                *("--verifier", "style", "--verifier", "style, pitch"),
            ],
            2,
            "unknown verifier 'pitch'",
        ),
        (
            ["compose", "-o", "x.flac", "--search", "3", "--verifier", "words", "--model", "KIT"],
            2,
            "'words' needs lyrics",
        ),
        (["reproduce", "absent.json"], 3, "cannot read the sidecar"),
        (["lrc", "check", "absent.lrc"], 3, "cannot read the lyrics"),
        (["compose", "-o", "x.flac", "--lufs", "nan", "--model", "KIT"], 2, "a number of LUFS, got nan"),
        (
            ["compose", "-o", "x.flac", "--length", "9", "--overlap", "2", "--model", "KIT"],
            2,
            "tiles of 3.0 s cannot overlap by 2 s",
        ),
        (
            ["compose", "-o", "x.flac", "--run", "SONG", "--model", "KIT"],
            2,
            "is a file; it cannot hold a run",
        ),
        (["data", "import", "HOME", "-o", "FILE"], 2, "is a file; it cannot hold a corpus"),
        (["data", "import", "absent", "-o", "c"], 3, "absent is no folder"),
        (["train", "codec", ".", "-o", "c", "--preset", "tny"], 2, "unknown codec preset"),
        (["train", "codec", ".", "-o", "c"], 3, "holds no songs"),
        (["train", "tagger", ".", "-o", "c"], 3, "no readable index"),
        (["evaluate", "SONG", "-o", "c"], 2, "scored against a corpus"),
        (["evaluate", "SONG", "-o", "c", "--suite", "sing"], 2, "unknown suite"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_named_with_its_exit_code_and_leaves_nothing(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    known = {
        "KIT": str(home / "kit"),
        "SONG": str(home / "a.flac"),
        "HOME": str(home),
        "FILE": str(home / "a.lrc"),
    }
    found, error = refused(capsys, *(known.get(word, word) for word in words))
    assert (found, message in error) == (code, True), error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s0.txt", b"instrument: pi\xe9no", "s0.txt is not UTF-8: byte 0xe9 at 14"),
        ("s0.licence", b"\xff", "s0.licence is not UTF-8"),
        ("s0.lrc", b"[00:00.20]caf\xe9", "s0.lrc is not UTF-8: byte 0xe9 in line 1"),
        ("t.wav", b"no sound at all " * 50, "t.wav cannot be read as sound"),
        ("JamendoLyrics.csv", b"Filepath\n\xff", "JamendoLyrics.csv is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    source = recordings(tmp_path / "mine", 1)
    (source / name).write_bytes(content)
    code, error = refused(capsys, "data", "import", source, "-o", tmp_path / "corpus")
    assert (code, message in error) == (3, True), error
    assert list(tmp_path.iterdir()) == [source]


def test_lyrics_without_a_line_are_checked_as_an_instrumental(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.lrc").write_text("")
    found = printed_plain(capsys, "lrc", "check", tmp_path / "a.lrc")
    assert (found["instrumental"], found["sung"]) == (True, [])
    (tmp_path / "b.lrc").write_bytes("[00:00.20]grace".encode("utf-16"))
    code, error = refused(capsys, "lrc", "check", tmp_path / "b.lrc")
    assert (code, "iconv -f utf-16 -t utf-8" in error) == (3, True)


def test_nothing_is_overwritten_without_force(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compose", "--length", 2, "--model", home / "kit", "-o", home / "a.flac"]
    code, error = refused(capsys, *words)
    assert code == 2
    assert "not empty; nothing was overwritten" in error
    code, error = refused(capsys, *words, "--run", home / "other")
    assert "a.flac exists" in error


def test_what_ships_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed_plain(capsys, "models")
    assert {"hymn": "amazing-grace"} in listed["hymns"]
    assert {row["part"] for row in listed["models"]} == {row["name"] for row in listed["scores"]}
    assert all(row["measured"] and row["yardstick"] for row in listed["models"])
