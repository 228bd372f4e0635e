"""Run folders: nothing is overwritten unasked, nothing is half written, and the record is complete."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from apps.runfolder import RunFolder, read_run, write_atomic
from core.errors import ConfigError, DataError, NumericalError


class Settings(BaseModel):
    steps: int = 30
    out: Path = Path("runs/x")


class Drawing:
    """Stands for a matplotlib figure: writes known bytes."""

    def savefig(self, fname, *, format: str, dpi: float, bbox_inches: str) -> None:
        fname.write(b"picture")


def test_a_run_records_command_settings_seed_versions_time_and_state(tmp_path: Path) -> None:
    with RunFolder.open(
        tmp_path / "r", command="ultrasound dehaze", config=Settings(), seed=3, device="cpu"
    ) as run:
        assert read_run(run.path)["state"] == "running"
        np.linalg.inv(np.eye(200))
        run.report({"gain_db": 2.5})
    record = read_run(tmp_path / "r")
    assert record["command"] == "ultrasound dehaze"
    assert record["command_line"][0] == "suffuse"
    assert record["config"] == {"steps": 30, "out": "runs/x"}
    assert (record["seed"], record["device"], record["state"]) == (3, "cpu", "done")
    assert record["versions"]["numpy"] == np.__version__
    assert record["python"].startswith("3.")
    assert record["wall_s"] > 0
    assert record["files"] == ["report.json"]


def test_the_git_revision_is_that_of_the_checkout(tmp_path: Path) -> None:
    git = Path(__file__).parents[2] / ".git"
    if not git.exists():
        pytest.skip("not in a git checkout")
    with RunFolder.open(tmp_path / "r", command="test") as run:
        revision = run.record["git_revision"]
    assert len(revision) == 40
    assert set(revision) <= set("0123456789abcdef")


def test_a_folder_that_holds_anything_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; nothing was overwritten") as caught:
        RunFolder.open(tmp_path, command="test")
    assert caught.value.exit_code == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_force_removes_what_the_earlier_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "r", command="first") as run:
        run.write("figures/old.txt", "old")
        run.report({"gain_db": 1.0})
    (tmp_path / "r" / "mine.txt").write_text("mine")
    with RunFolder.open(tmp_path / "r", command="second", force=True):
        pass
    names = sorted(
        p.relative_to(tmp_path / "r").as_posix() for p in (tmp_path / "r").rglob("*") if p.is_file()
    )
    assert names == ["mine.txt", "run.json"]
    assert read_run(tmp_path / "r")["command"] == "second"


def test_force_never_removes_a_file_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text(
        json.dumps({"files": ["../outside.txt", str(tmp_path / "outside.txt")]})
    )
    RunFolder.open(tmp_path / "r", command="test", force=True)
    assert (tmp_path / "outside.txt").exists()


def test_resume_keeps_the_files_and_the_times_of_the_earlier_part(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "r", command="train")
    run.write("checkpoint", b"weights")
    with pytest.raises(RuntimeError), run:
        raise RuntimeError("power cut")
    with RunFolder.open(tmp_path / "r", command="train", resume=True):
        assert (tmp_path / "r" / "checkpoint").read_bytes() == b"weights"
    record = read_run(tmp_path / "r")
    assert [part["state"] for part in record["earlier"]] == ["failed"]
    assert record["files"] == ["checkpoint"]


def test_force_and_resume_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        RunFolder.open(tmp_path / "r", command="test", force=True, resume=True)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file")
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder.open(tmp_path / "r", command="test", force=True)


def test_a_failed_run_says_so_in_its_record(tmp_path: Path) -> None:
    with pytest.raises(DataError), RunFolder.open(tmp_path / "r", command="test"):
        raise DataError("frame 3 is constant.")
    record = read_run(tmp_path / "r")
    assert (record["state"], record["error"]) == ("failed", "DataError: frame 3 is constant.")


def test_an_interrupted_run_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, RunFolder.open(tmp_path / "r", command="test"):
        raise KeyboardInterrupt
    assert read_run(tmp_path / "r")["state"] == "interrupted"
    assert caught.value.__notes__ == [f"What was done is in {tmp_path / 'r'}."]


@pytest.mark.parametrize("bad", [math.nan, math.inf, np.float32("nan")])
def test_a_report_with_a_number_that_is_none_is_refused_by_name(bad: float, tmp_path: Path) -> None:
    with pytest.raises(NumericalError, match=r"report\.frames\[1\]\.gcnr is (nan|inf)"):
        RunFolder.open(tmp_path / "r", command="test").report({"frames": [{"gcnr": 0.5}, {"gcnr": bad}]})
    assert not (tmp_path / "r" / "report.json").exists()


def test_a_figure_has_its_numbers_beside_it(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "r", command="test") as run:
        columns = {"gamma": [0, 1], "gcnr": np.array([0.25, 0.5]), "note": [None, "a, b"]}
        assert run.figure("sweep", Drawing(), columns=columns) == tmp_path / "r" / "sweep.png"
    assert (tmp_path / "r" / "sweep.png").read_bytes() == b"picture"
    assert (tmp_path / "r" / "sweep.csv").read_text() == 'gamma,gcnr,note\n0,0.25,\n1,0.5,"a, b"\n'
    assert read_run(tmp_path / "r")["files"] == ["sweep.csv", "sweep.png"]


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "a", "\ud800")
    assert (tmp_path / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_broken_run_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*run\.json"):
        read_run(tmp_path)
