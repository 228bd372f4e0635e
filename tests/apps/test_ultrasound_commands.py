"""`suffuse ultrasound`: every command end to end on small files, what it prints and what it leaves."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from apps import claim as claims
from apps import cli
from apps.settings import to_yaml
from domains.ultrasound.config import RECIPES, DehazeConfig
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats import read
from tests.apps.conftest import Suffuse
from tests.fixtures.recordings import CAVITY, TISSUE, recording, write_recording

COMMANDS = ("simulate", "info", "convert", "beamform", "bmode", "train", "dehaze", "evaluate", "config")
PNG = b"\x89PNG\r\n\x1a\n"


def record_of(folder: str) -> dict:
    return json.loads(Path(folder, "run.json").read_text())


def write_regions(path: Path) -> Path:
    regions = {
        name: [[rows.start, rows.stop, cols.start, cols.stop]]
        for name, (rows, cols) in (("cavity", CAVITY), ("tissue", TISSUE))
    }
    path.write_text(json.dumps(regions))
    return path


def quick(priors: dict[str, Path], *words: object) -> list[object]:
    """A dehazing of three steps with the tiny priors."""
    return ["--tissue", priors["tissue"], "--haze", priors["haze"], "--steps", 3, "--device", "cpu", *words]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_explains_each_option(command: str, suffuse: Suffuse) -> None:
    done = suffuse(command, "--help")
    assert done.code == 0
    assert "--json" in done.out
    needed = {"info": [], "config": ["--recipe", "--config"]}.get(command, ["--force", "--run", "--quiet"])
    assert all(option in done.out for option in needed)


def test_the_group_answers_to_its_short_name_without_listing_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["us", "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gamma"] == DehazeConfig().gamma
    assert cli.run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "ultrasound" in listed
    assert re.search(r"\bus\b", listed) is None


def test_help_of_dehaze_states_the_defaults_of_its_settings(
    suffuse: Suffuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(suffuse("dehaze", "--help").out.split())
    defaults = DehazeConfig().model_dump()
    for name in ("gamma", "steps", "start_sigma", "consistency", "weight_tissue", "weight_haze", "eta",
                 "samples", "interleave", "overlap", "batch"):  # fmt: skip
        option = re.search(rf"--{name.replace('_', '-')} .*?\[default: \((.*?)\)\]", text)
        assert option is not None, name
        assert option.group(1) == ("the rule's" if defaults[name] is None else str(defaults[name]))


def test_simulate_writes_lines_truth_pictures_and_a_run_folder(suffuse: Suffuse) -> None:
    done = suffuse("simulate", "--frames", 1, "--haze", 0.3, "-o", "sim.hdf5", "--seed", 7, "--json")
    assert done.code == 0
    assert done.json["folder"] == "sim.run"
    row = done.json["files"][0]
    assert row["gcnr_clean"] > 0.97 > row["gcnr_hazy"]
    assert row["ventricle_clean_db"] < row["ventricle_hazy_db"]
    record = read(Path("sim.hdf5"))
    assert record.values.shape == (1, 528, 96)
    assert set(record.truth) == {"tissue", "haze", "ventricle", "myocardium"}
    run = record_of("sim.run")
    assert (run["state"], run["seed"], run["command"]) == ("done", 7, "ultrasound simulate")
    assert run["config"]["haze"] == "0.3"
    assert run["files"] == ["clean.csv", "clean.png", "hazy.csv", "hazy.png", "report.json"]
    assert json.loads(Path("sim.run/report.json").read_text()) | {"folder": "sim.run"} == done.json
    assert Path("sim.run/hazy.png").read_bytes()[:8] == PNG


def test_several_haze_levels_make_one_file_each_of_the_same_heart(suffuse: Suffuse) -> None:
    done = suffuse("simulate", "--frames", 1, "--haze", "0,0.2", "-o", "sim.npz", "--json")
    assert [row["output"] for row in done.json["files"]] == ["sim-haze0.npz", "sim-haze0.2.npz"]
    none, some = (read(Path(row["output"])) for row in done.json["files"])
    # Without haze the lines are the tissue; with it they are a common factor away from it.
    np.testing.assert_allclose(none.values, none.truth["tissue"], atol=1e-7)
    ratio = np.vdot(none.truth["tissue"], some.truth["tissue"]) / np.vdot(
        some.truth["tissue"], some.truth["tissue"]
    )
    np.testing.assert_allclose(ratio * some.truth["tissue"], none.truth["tissue"], atol=1e-5)


def test_info_names_what_is_missing_and_writes_nothing(suffuse: Suffuse, tmp_path: Path) -> None:
    record = recording()
    write_recording(tmp_path / "bare.npz", Record("beamformed_data", record.values, Geometry(fs_hz=3.4e6)))
    done = suffuse("info", "bare.npz", "--json")
    assert done.code == 0
    assert done.json["missing"]["scan_convert"] == ["probe", "r0_m", "r1_m", "angles_rad or lateral_m"]
    assert done.json["shape"] == [2, 64, 48]
    assert "angles_rad or lateral_m" in suffuse("info", "bare.npz").out
    assert [path.name for path in tmp_path.iterdir()] == ["bare.npz"]


def test_convert_goes_along_the_chain_and_takes_the_truth_with_it(suffuse: Suffuse, tmp_path: Path) -> None:
    source = read(write_recording(tmp_path / "iq.hdf5"))
    assert suffuse("convert", "iq.hdf5", "rf.npz", "--to", "rf").code == 0
    rf = read(Path("rf.npz"))
    assert rf.domain == "rf"
    assert rf.geometry.fs_hz == 4 * source.geometry.fs_hz
    assert rf.truth["tissue"].shape == rf.truth["ventricle"].shape == rf.values.shape == (2, 256, 48)
    # A mask covers the same depths at any sampling rate, to half an IQ sample.
    rows = [np.flatnonzero(record.truth["ventricle"].any(axis=(0, 2))) for record in (source, rf)]
    assert [rows[1][0] / 4, rows[1][-1] / 4] == pytest.approx([rows[0][0], rows[0][-1]], abs=0.5)
    assert suffuse("convert", "iq.hdf5", "image.npz", "--to", "image", "--dr", 50).code == 0
    image = read(Path("image.npz"))
    assert image.kind == "image"
    assert image.values.max() == 0
    assert image.values.min() >= -50
    assert set(image.truth) == {"ventricle", "myocardium"}


@pytest.mark.parametrize("name", ["film.mp4", "capture.dcm", "volume.nii.gz", "frames"])
def test_convert_writes_pictures_in_every_format_of_pictures(
    name: str, suffuse: Suffuse, tmp_path: Path
) -> None:
    write_recording(tmp_path / "iq.npz")
    done = suffuse("convert", "iq.npz", name, "--to", "image", "--json")
    assert done.code == 0
    assert done.json["folder"] == f"{name}.run"
    assert read(tmp_path / name).values.shape[0] == 2


def test_beamform_turns_echoes_into_lines_and_draws_them(suffuse: Suffuse) -> None:
    assert suffuse("simulate", "--backend", "channel", "--frames", 1, "-o", "echoes.npz", "--quiet").code == 0
    done = suffuse(
        "beamform", "echoes.npz", "-o", "lines.npz", "--r0", 0.02, "--r1", 0.1, "--samples", 128,
        "--lines", 24, "--half-angle", 35, "--fnumber", 2, "--json",
    )  # fmt: skip
    assert done.code == 0
    lines = read(Path("lines.npz"))
    assert lines.values.shape == (1, 128, 24)
    assert lines.domain == "iq"
    assert lines.geometry.angles_rad[-1] == pytest.approx(np.deg2rad(35))
    assert Path("lines.run/bmode.png").read_bytes()[:8] == PNG
    assert record_of("lines.run")["config"]["f_number"] == 2


def test_bmode_draws_a_png_with_its_numbers_in_the_run_folder(suffuse: Suffuse, tmp_path: Path) -> None:
    write_recording(tmp_path / "iq.npz")
    assert suffuse("bmode", "iq.npz", "-o", "out.png", "--dr", 50).code == 0
    assert Path("out.png").read_bytes() == Path("out.png.run/bmode.png").read_bytes()
    rows = [
        [float(cell) for cell in row]
        for row in csv.reader(Path("out.png.run/bmode.csv").read_text().splitlines())
    ]
    assert np.shape(rows) == (64, 48)
    assert np.max(rows) == 0
    assert np.min(rows) >= -50
    scan = suffuse("bmode", "iq.npz", "-o", "scan.png", "--scan-convert", "--frame", 1, "--json")
    assert scan.json["picture_shape"] != [64, 48]


def test_bmode_takes_the_geometry_that_a_file_lacks_from_the_command_line(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    write_recording(tmp_path / "bare.npz", Record("beamformed_data", recording().values))
    fan = ("--probe", "curvilinear", "--r0", 0.01, "--r1", 0.06, "--half-angle", 40)
    assert suffuse("bmode", "bare.npz", "-o", "fan.png", "--scan-convert", *fan).code == 0
    flat = ("--r0", 0, "--r1", 0.04, "--width", 0.04)
    done = suffuse("bmode", "bare.npz", "-o", "flat.png", "--scan-convert", *flat, "--json")
    # 40 mm x 40 mm in pixels of depth / 512: a square, and a pixel for the far edge.
    assert done.json["picture_shape"] == [513, 513]


def test_train_writes_a_prior_that_dehaze_accepts(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    write_recording(tmp_path / "iq.npz")
    words = ("--recipe", "demo", "--steps", 2, "--batch", 2, "--patch", "32x32", "--device", "cpu")
    done = suffuse("train", "tissue", "-o", "tissue.safetensors", "--data", "iq.npz", *words, "--json")
    assert done.code == 0
    assert done.json["frame_shape"] == [64, 48]
    assert "2 steps x 2 patches of 32 x 32 = 4 network calls" in done.err
    assert f"{done.json['parameters'] / 1e3:.0f} k parameters" in done.err
    files = record_of("tissue.run")["files"]
    assert {"log.jsonl", "model.safetensors", "report.json"} <= set(files)
    assert record_of("tissue.run")["config"]["patch"] == [32, 32]
    again = quick(priors, "--tissue", "tissue.safetensors", "-o", "clean.npz")
    assert suffuse("dehaze", "iq.npz", *again).code == 0


def test_train_simulates_its_frames_when_no_data_are_given(suffuse: Suffuse) -> None:
    words = ("--recipe", "demo", "--steps", 3, "--frames", 1, "--batch", 1, "--patch", "32x32")
    done = suffuse("train", "haze", "-o", "haze.safetensors", *words, "--json")
    assert done.json["frames"] == 1
    assert done.json["frame_shape"] == [528, 96]
    assert "1 simulated frame (IQ)" in done.err


def test_training_goes_on_from_a_checkpoint_and_from_an_interruption(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recording(tmp_path / "iq.npz")
    Path("small.yaml").write_text(to_yaml({"widths": [8, 16], "patch": [32, 32], "batch": 2, "steps": 4}))
    words = ["train", "tissue", "-o", "t.safetensors", "--data", "iq.npz", "--config", "small.yaml",
             "--recipe", "demo", "--start", priors["tissue"]]  # fmt: skip

    def stop(self: object, stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(claims.Claim, "progress", stop)
        stopped = suffuse(*words)
    assert stopped.code == 130
    assert "step-000000002.safetensors; go on with the same command and --resume." in stopped.err
    assert not Path("t.safetensors").exists()
    assert record_of("t.run")["state"] == "interrupted"
    assert suffuse(*words).code == 2
    assert suffuse(*words, "--resume").code == 0
    assert Path("t.safetensors").is_file()
    assert [part["state"] for part in record_of("t.run")["earlier"]] == ["interrupted"]


def test_dehaze_writes_lines_haze_figures_and_a_verdict(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    source = read(write_recording(tmp_path / "iq.hdf5"))
    words = quick(priors, "-o", "clean.hdf5", "--samples", 2, "--save-haze", "--seed", 5, "--json")
    done = suffuse("dehaze", "iq.hdf5", *words)
    assert done.code == 0
    clean, haze = read(Path("clean.hdf5")), read(Path("clean-haze.hdf5"))
    assert clean.values.shape == haze.values.shape == source.values.shape
    assert clean.geometry.fs_hz == source.geometry.fs_hz
    assert clean.truth == {}
    assert done.json["verdict"] in ("dehazed", "not dehazed")
    assert done.json["notice"] == "Research use only; not for diagnosis."
    assert len(done.json["residual"]) == 2
    assert len(done.json["checkpoints_sha256"]["haze"]) == 64
    assert "3 steps of rule 'projection' x 2 priors x 2 samples x 2 frames = 24 network calls" in done.err
    run = record_of("clean.run")
    assert (run["device"], run["seed"], run["config"]["samples"]) == ("cpu", 5, 2)
    assert {"comparison.png", "comparison.csv", "comparison-levels.png"} <= set(run["files"])
    # x + gamma h + residual = y: what is written is what was measured.
    rest = source.values - clean.values - haze.values
    share = np.linalg.norm(rest, axis=(1, 2)) / np.linalg.norm(source.values, axis=(1, 2))
    np.testing.assert_allclose(share, done.json["residual"], rtol=1e-4)


def test_a_baseline_needs_no_priors(suffuse: Suffuse, tmp_path: Path) -> None:
    write_recording(tmp_path / "iq.npz")
    done = suffuse("dehaze", "iq.npz", "-o", "thin.npz", "--method", "threshold")
    assert done.code == 0
    assert "verdict" in done.out
    assert done.out.rstrip().endswith("run folder: thin.run")
    assert np.abs(read(Path("thin.npz")).values).sum() < np.abs(read(Path("iq.npz")).values).sum()


def test_rf_is_dehazed_by_priors_of_rf(suffuse: Suffuse, tmp_path: Path) -> None:
    from tests.fixtures.recordings import write_prior

    write_recording(tmp_path / "rf.npz", recording(domain="rf", frames=1))
    rf = {role: write_prior(tmp_path / role, role, "rf") for role in ("tissue", "haze")}
    assert suffuse("dehaze", "rf.npz", *quick(rf, "-o", "clean.npz")).code == 0
    assert read(Path("clean.npz")).domain == "rf"


@pytest.mark.parametrize("suffix", ["json", "csv", "html"])
def test_evaluate_writes_the_report_in_the_format_of_its_name(
    suffix: str, suffuse: Suffuse, tmp_path: Path
) -> None:
    record = recording()
    write_recording(tmp_path / "y.npz", Record("beamformed_data", record.values, record.geometry))
    write_recording(tmp_path / "x.npz", Record("beamformed_data", record.truth["tissue"], record.geometry))
    roi = write_regions(tmp_path / "roi.json")
    words = ("--input", "y.npz", "--output", "x.npz", "--roi", roi, "-o", f"report.{suffix}")
    done = suffuse("evaluate", *words, "--json")
    assert done.code == 0
    assert done.json["mean"]["cavity_change_db"] < -3
    assert done.json["warnings"] != []
    assert all(f"warning: {line}" in done.err for line in done.json["warnings"])
    text = Path(f"report.{suffix}").read_text()
    match suffix:
        case "json":
            assert json.loads(text) | {"folder": "report.json.run"} == done.json
        case "csv":
            rows = list(csv.DictReader(text.splitlines()))
            assert [row["frame"] for row in rows] == ["0", "1", "mean", "std"]
            assert float(rows[2]["gcnr_output"]) == done.json["mean"]["gcnr_output"]
            assert rows[0]["axial_fwhm_ratio"] != ""
        case "html":
            assert text.count("data:image/png;base64,") == 2
            assert "not for diagnosis" in text
            assert f"{done.json['verdict'].capitalize()}." in text
    assert set(record_of(f"report.{suffix}.run")["files"]) == {
        "comparison.csv", "comparison.png", "levels.csv", "levels.png", "report.json"
    }  # fmt: skip


def test_evaluate_without_a_name_goes_to_runs_evaluate(suffuse: Suffuse, tmp_path: Path) -> None:
    record = recording()
    write_recording(tmp_path / "y.npz", Record("beamformed_data", record.values, record.geometry))
    roi = write_regions(tmp_path / "roi.json")
    done = suffuse("evaluate", "--input", "y.npz", "--output", "y.npz", "--roi", roi)
    assert done.code == 0
    assert "not dehazed" in done.out
    assert record_of("runs/evaluate")["state"] == "done"


@pytest.mark.slow
def test_evaluate_takes_regions_and_reference_from_a_simulated_input(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    record = recording()
    write_recording(tmp_path / "y.npz", record)
    write_recording(tmp_path / "x.npz", Record("beamformed_data", record.truth["tissue"], record.geometry))
    done = suffuse("evaluate", "--input", "y.npz", "--output", "x.npz", "--json")
    assert done.json["mean"]["psnr_output_db"] is None  # the output is the reference
    assert done.json["mean"]["ssim_output"] == pytest.approx(1, abs=1e-5)
    assert done.json["mean"]["psnr_input_db"] > 10


def test_settings_come_from_the_command_line_then_the_file_then_the_defaults(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    write_recording(tmp_path / "iq.npz", recording(frames=1))
    Path("mine.yaml").write_text("gamma: 0.7\nweight_haze: 0.25\nsteps: 9\n")
    done = suffuse("dehaze", "iq.npz", *quick(priors, "-o", "clean.npz", "--config", "mine.yaml"))
    assert done.code == 0
    used = record_of("clean.run")["config"]
    assert (used["steps"], used["gamma"], used["weight_haze"], used["eta"]) == (3, 0.7, 0.25, 0.0)


def test_a_file_wins_over_the_recipe_and_the_recipe_over_the_defaults(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    Path("mine.yaml").write_text("steps: 17\n")
    shown = suffuse("config", "train", "--recipe", "gpu", "--config", "mine.yaml", "--json").json
    assert shown["steps"] == 17
    assert shown["batch"] == RECIPES["gpu"].batch != RECIPES["demo"].batch


@pytest.mark.parametrize("words", [["dehaze"], ["train", "--recipe", "demo"], ["train", "--recipe", "gpu"]])
def test_config_prints_yaml_that_reads_back_to_the_same_settings(words: list[str], suffuse: Suffuse) -> None:
    text = suffuse("config", *words).out
    Path("mine.yaml").write_text(text)
    assert suffuse("config", *words, "--config", "mine.yaml").out == text
    assert "\n" in text.strip()


def test_nothing_is_overwritten_without_force(suffuse: Suffuse, tmp_path: Path) -> None:
    write_recording(tmp_path / "iq.npz")
    assert suffuse("bmode", "iq.npz", "-o", "out.png", "--dr", 50).code == 0
    before = Path("out.png").read_bytes()
    assert suffuse("bmode", "iq.npz", "-o", "out.png", "--dr", 60).code == 2
    assert Path("out.png").read_bytes() == before
    # A refused command does not cost the earlier run either, not even with --force.
    assert suffuse("bmode", "iq.npz", "-o", "out.png", "--frame", 9, "--force").code == 2
    assert record_of("out.png.run")["config"]["dynamic_range_db"] == 50
    assert suffuse("bmode", "iq.npz", "-o", "out.png", "--dr", 60, "--overwrite").code == 0
    assert Path("out.png").read_bytes() != before
    assert record_of("out.png.run")["config"]["dynamic_range_db"] == 60


def test_an_output_never_replaces_its_input(suffuse: Suffuse, tmp_path: Path) -> None:
    before = write_recording(tmp_path / "iq.npz").read_bytes()
    done = suffuse("convert", "iq.npz", "./iq.npz", "--to", "rf", "--force")
    assert done.code == 2
    assert "is the input" in done.err
    assert Path("iq.npz").read_bytes() == before


def test_a_recording_its_picture_and_its_report_have_run_folders_of_their_own(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    write_recording(tmp_path / "iq.npz")
    assert suffuse("convert", "iq.npz", "rf.npz", "--to", "rf").code == 0
    assert suffuse("bmode", "rf.npz", "-o", "rf.png").code == 0
    assert sorted(path.name for path in tmp_path.glob("*.run")) == ["rf.png.run", "rf.run"]


def test_a_run_folder_in_use_names_the_option_that_helps(suffuse: Suffuse, tmp_path: Path) -> None:
    write_recording(tmp_path / "iq.npz")
    assert suffuse("convert", "iq.npz", "rf.npz", "--to", "rf").code == 0
    done = suffuse("convert", "iq.npz", "rf.hdf5", "--to", "rf")
    assert done.code == 2
    assert "--run" in done.err
    assert suffuse("convert", "iq.npz", "rf.hdf5", "--to", "rf", "--run", "second.run").code == 0
    assert record_of("second.run")["state"] == "done"


def test_ctrl_c_leaves_no_folder_when_nothing_was_written(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recording(tmp_path / "iq.npz")

    def stop(self: object, stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claims.Claim, "progress", stop)
    done = suffuse("dehaze", "iq.npz", *quick(priors, "-o", "out/clean.npz"))
    assert done.code == 130
    assert "interrupted." in done.err
    assert "Nothing was written." in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["iq.npz"]


def test_quiet_keeps_warnings_and_drops_the_plan(suffuse: Suffuse, tmp_path: Path) -> None:
    record = recording()
    values = record.values.copy()
    values[..., 3] = 0
    write_recording(tmp_path / "iq.npz", record.with_values(values))
    done = suffuse("bmode", "iq.npz", "-o", "out.png", "--quiet", "--json")
    assert done.err == "warning: 1 of 48 lines are all zero (first: line 3).\n"
