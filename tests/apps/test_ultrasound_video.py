"""`suffuse ultrasound dehaze-video`, `anomaly`, `tasks` and `train bmode`: end to end, and bad input."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from apps.settings import to_yaml
from core import errors
from domains.ultrasound.config import PriorConfig, VideoConfig
from domains.ultrasound.data import Record
from domains.ultrasound.formats import read, write
from domains.ultrasound.tasks import TASKS
from domains.ultrasound.video.prior import train_picture_prior
from tests.apps.conftest import Suffuse
from tests.apps.test_bad_input import contents
from tests.fixtures.recordings import recording, write_prior, write_recording

Words = list[Any]
TINY = PriorConfig(widths=(8, 16), patch=(32, 32), batch=2, steps=3)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session")
def bmode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior of pictures, trained for three steps: it has the right role and range, and cannot dehaze."""
    folder = tmp_path_factory.mktemp("bmode")
    levels = torch.rand(2, 48, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    train_picture_prior(levels, TINY, pixel_m=1e-3, folder=folder)
    return folder / "model.safetensors"


def film(path: Path, frames: int = 4, shape: tuple[int, int] = (32, 40), seed: int = 0) -> Path:
    """An 8-bit cine: a bright block that moves over a still, dim texture."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.integers(20, 80, (1, *shape)), frames, axis=0)
    for frame in range(frames):
        values[frame, 8:16, 4 + 3 * frame : 14 + 3 * frame] += 120
    write(Record("image", values.astype(np.uint8)), path)
    return path


def regions(path: Path, **more: Any) -> Path:
    boxes = {"tissue": [[8, 16, 13, 15]], "cavity": [[20, 30, 4, 36]], **more}
    path.write_text(json.dumps(boxes))
    return path


def quick(method: str, prior: Path | None = None, *words: object) -> Words:
    given = ["--prior", prior] if prior else []
    return ["--method", method, *given, "--steps", 2, "--device", "cpu", *words]


@pytest.mark.parametrize("command", ["dehaze-video", "anomaly", "tasks"])
def test_help_explains_each_option(command: str, suffuse: Suffuse) -> None:
    done = suffuse(command, "--help")
    assert done.code == 0
    assert "--json" in done.out
    needed = [] if command == "tasks" else ["--prior", "--force", "--run", "--quiet"]
    assert all(option in done.out for option in needed)


def test_help_states_the_defaults_of_the_settings(suffuse: Suffuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(suffuse("dehaze-video", "--help").out.split())
    defaults = VideoConfig().model_dump()
    for name in ("steps", "mu", "gamma", "window", "shrink", "guidance"):
        option = re.search(rf"--{name} .*?\[default: \((.*?)\)\]", text)
        assert option is not None, name
        assert option.group(1) == str(defaults[name])


@pytest.mark.parametrize("method", ["none", "threshold", "svd", "rpca", "nuclear", "semantic"])
def test_every_method_writes_pictures_figures_and_a_verdict(
    method: str, suffuse: Suffuse, tmp_path: Path, bmode: Path
) -> None:
    film(tmp_path / "film.npz")
    words = quick(method, bmode, "--roi", regions(tmp_path / "roi.json"), "--save-haze", "--json")
    done = suffuse("dehaze-video", "film.npz", "-o", "clean.npz", *words)
    assert done.code == 0, done.err
    clean, haze = read(Path("clean.npz")), read(Path("clean-haze.npz"), check=False)
    assert clean.kind == haze.kind == "image"
    assert clean.values.dtype == np.uint8
    assert clean.values.shape == haze.values.shape == (4, 32, 40)
    assert clean.meta["derivation"] == f"dehazed: {method}"
    report = done.json
    assert report["verdict"] in ("dehazed", "not dehazed")
    assert report["notice"] == "Research use only; not for diagnosis."
    assert {"gcnr_input", "gcnr_output", "tissue_ks", "cavity_ks"} <= set(report["mean"])
    assert report["flicker"] is not None
    assert len(report["residual"]) == 4
    assert report["network_calls"] == (2 if method in ("nuclear", "semantic") else 0)
    run = json.loads(Path("clean.run/run.json").read_text())
    assert (run["state"], run["command"], run["config"]["method"]) == (
        "done",
        "ultrasound dehaze-video",
        method,
    )
    assert {"comparison.png", "comparison.csv", "levels.png", "levels.csv", "report.json"} == set(
        run["files"]
    )
    assert Path("clean.run/comparison.png").read_bytes()[:8] == PNG
    header = Path("clean.run/comparison.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in header[1:]} == {"hazy", "dehazed", "haze"}
    if method == "none":
        np.testing.assert_array_equal(clean.values, read(Path("film.npz")).values)
        assert report["flicker"] == 1


def test_the_plan_counts_the_calls_of_the_network(suffuse: Suffuse, tmp_path: Path, bmode: Path) -> None:
    film(tmp_path / "film.npz", frames=9)
    done = suffuse("dehaze-video", "film.npz", "-o", "a.npz", *quick("nuclear", bmode))
    assert "2 steps x 14 frames = 28 network calls" in done.err  # two windows of 7, the second moved back
    done = suffuse("dehaze-video", "film.npz", "-o", "b.npz", *quick("semantic", bmode))
    assert "2 steps x 9 frames = 18 network calls, forward and backward" in done.err
    assert "no regions: semantic trusts the whole picture" in done.err
    done = suffuse("dehaze-video", "film.npz", "-o", "c.npz", *quick("rpca"))
    assert "no prior is used" in done.err


@pytest.mark.parametrize("name", ["film.mp4", "capture.dcm", "volume.nii.gz", "frames", "lines.hdf5"])
def test_pictures_are_written_in_every_format_of_pictures(
    name: str, suffuse: Suffuse, tmp_path: Path
) -> None:
    film(tmp_path / "in.npz")
    done = suffuse("dehaze-video", "in.npz", "-o", name, *quick("threshold", None, "--json"))
    assert done.code == 0, done.err
    assert done.json["folder"] == ("lines.run" if name.endswith("hdf5") else f"{name}.run")
    assert read(tmp_path / name).values.shape == (4, 32, 40)


def test_lines_are_shown_converted_and_measured_against_their_truth(suffuse: Suffuse, tmp_path: Path) -> None:
    write_recording(tmp_path / "iq.npz", recording(frames=3))
    done = suffuse("dehaze-video", "iq.npz", "-o", "clean.npz", *quick("none", None, "--json"))
    assert done.code == 0, done.err
    clean = read(Path("clean.npz"))
    assert clean.geometry.pixel_m == (5e-4, 5e-4)
    assert clean.values.dtype == np.float32
    assert clean.values.max() <= 0
    mean = done.json["mean"]
    assert mean["psnr_input_db"] == mean["psnr_output_db"]
    assert mean["cavity_level_reference_db"] < mean["cavity_level_input_db"] - 10
    assert done.json["flicker"] == 1


def test_the_pixels_of_the_prior_decide_the_conversion(suffuse: Suffuse, tmp_path: Path, bmode: Path) -> None:
    write_recording(tmp_path / "iq.npz", recording(frames=2))
    done = suffuse("dehaze-video", "iq.npz", "-o", "clean.npz", *quick("nuclear", bmode, "--window", 2))
    assert done.code == 0, done.err
    assert read(Path("clean.npz")).geometry.pixel_m == (1e-3, 1e-3)


def test_a_single_picture_goes_through_semantic(suffuse: Suffuse, tmp_path: Path, bmode: Path) -> None:
    film(tmp_path / "frame.npz", frames=1)
    done = suffuse("dehaze-video", "frame.npz", "-o", "clean.png", *quick("semantic", bmode, "--json"))
    assert done.code == 0, done.err
    assert Image.open("clean.png").size == (40, 32)
    assert "verdict" not in done.json
    assert done.json["notice"] == "Research use only; not for diagnosis."


def test_settings_come_from_the_command_line_then_the_file(
    suffuse: Suffuse, tmp_path: Path, bmode: Path
) -> None:
    film(tmp_path / "film.npz")
    Path("mine.yaml").write_text("mu: 0.3\nsteps: 9\nw_vent: 0.5\n")
    words = quick("nuclear", bmode, "--config", "mine.yaml")
    assert suffuse("dehaze-video", "film.npz", "-o", "clean.npz", *words).code == 0
    used = json.loads(Path("clean.run/run.json").read_text())["config"]
    assert (used["mu"], used["steps"], used["w_vent"], used["w_sept"]) == (0.3, 2, 0.5, 2.037)


def test_a_prior_is_trained_on_films_and_dehazes_them(suffuse: Suffuse, tmp_path: Path) -> None:
    film(tmp_path / "film.npz")
    words = ["--recipe", "demo", "--steps", 2, "--batch", 2, "--patch", "32x32", "--device", "cpu", "--json"]
    done = suffuse("train", "bmode", "-o", "p.safetensors", "--data", "film.npz", *words)
    assert done.code == 0, done.err
    assert (done.json["role"], done.json["frames"], done.json["frame_shape"]) == ("bmode", 4, [32, 40])
    assert "train a prior of bmode on 4 frames of film.npz" in done.err
    assert Path("p.run/log.jsonl").is_file()
    prior = Path("p.safetensors")
    assert suffuse("dehaze-video", "film.npz", "-o", "clean.npz", *quick("nuclear", prior)).code == 0
    again = ["--start", prior, *words]
    assert suffuse("train", "bmode", "-o", "q.safetensors", "--data", "film.npz", *again).code == 0


def test_a_prior_is_trained_on_the_truth_of_simulated_lines(suffuse: Suffuse, tmp_path: Path) -> None:
    from domains.ultrasound.video.levels import cine_of
    from domains.ultrasound.workflows.bmode import read_pictures

    record = recording(frames=2)
    (levels, pixel_m), _ = read_pictures(write_recording(tmp_path / "iq.npz", record))
    truth = cine_of(record.with_values(record.truth["tissue"], truth={}), pixel_m=5e-4)
    np.testing.assert_allclose(levels.numpy(), truth.levels, atol=1e-6)
    assert pixel_m == pytest.approx(5e-4)


def test_a_prior_is_trained_on_simulated_hearts_when_no_data_are_given(suffuse: Suffuse) -> None:
    words = ["--recipe", "demo", "--steps", 1, "--frames", 1, "--batch", 1, "--patch", "32x32"]
    done = suffuse("train", "bmode", "-o", "p.safetensors", *words, "--json")
    assert done.code == 0, done.err
    assert done.json["frame_shape"] == [241, 293]
    assert done.json["pixel_m"] == 5e-4
    assert "1 simulated picture" in done.err


def test_anomaly_writes_a_map_a_figure_and_a_row_per_frame(
    suffuse: Suffuse, tmp_path: Path, bmode: Path
) -> None:
    film(tmp_path / "film.npz", frames=2)
    words = ["--prior", bmode, "--steps", 2, "--samples", 2, "--device", "cpu", "--json"]
    done = suffuse("anomaly", "film.npz", "-o", "map.npz", *words)
    assert done.code == 0, done.err
    assert read(Path("map.npz")).values.shape == (2, 32, 40)
    assert [row["frame"] for row in done.json["frames"]] == [0, 1]
    for row in done.json["frames"]:
        assert 0 <= row["mean_db"] <= row["p99_db"] <= row["largest_db"] <= 60
    assert "2 steps x 2 noises x 2 frames = 8 network calls" in done.err
    assert Path("map.run/anomaly.png").read_bytes()[:8] == PNG
    panels = {line.split(",")[0] for line in Path("map.run/anomaly.csv").read_text().splitlines()[1:]}
    assert panels == {"picture", "expected", "difference"}
    # The brightness of the map is the difference, white at half of the display range.
    drawn = read(Path("map.npz")).values.max(axis=(1, 2)) / 255 * 30
    assert drawn == pytest.approx([min(row["largest_db"], 30) for row in done.json["frames"]], abs=0.1)


def test_tasks_lists_the_registry(suffuse: Suffuse, tmp_path: Path) -> None:
    done = suffuse("tasks", "--json")
    assert done.code == 0
    assert [row["family"] for row in done.json["tasks"]] == [task.family for task in TASKS]
    assert done.json["tasks"][0]["organs"] == ["heart"]
    shown = suffuse("tasks").out
    assert "anomaly detection" in shown
    assert "not implemented" in shown
    assert list(tmp_path.iterdir()) == []


Build = Callable[[Path, Path], Words]
REFUSED: list[Any] = []


def refused(name: str, error: type[errors.SuffuseError], *said: str) -> Callable[[Build], Build]:
    """Register a command line that must fail: what it says, in message and hint, and the class of error."""

    def register(build: Build) -> Build:
        REFUSED.append(pytest.param(build, error, said, id=name))
        return build

    return register


def video(source: object, method: str, prior: Path | None, *words: object, out: str = "clean.npz") -> Words:
    return ["dehaze-video", source, "-o", out, *quick(method, prior, *words)]


@refused("unknown method", errors.ConfigError, "unknown method 'nucleer'", "Did you mean 'nuclear'?")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "nucleer", prior)


@refused("no prior", errors.ConfigError, "method 'nuclear' needs a prior", "train bmode", "--prior")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "nuclear", None)


@refused("prior of tissue", errors.CheckpointError, "has the role 'tissue', expected 'bmode'")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "semantic", write_prior(folder / "t", "tissue"))


@refused("prior that is not there", errors.CheckpointError, "no checkpoint at nowhere.safetensors")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "semantic", Path("nowhere.safetensors"))


@refused("truncated prior", errors.CheckpointError, "truncated or no safetensors file")
def _(folder: Path, prior: Path) -> Words:
    (folder / "cut.safetensors").write_bytes(prior.read_bytes()[:4000])
    return video(film(folder / "film.npz"), "nuclear", Path("cut.safetensors"))


@refused("one frame for nuclear", errors.ConfigError, "needs at least 2 frames, the input has 1", "semantic")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz", frames=1), "nuclear", prior)


@refused("start sigma above the range", errors.ConfigError, "start_sigma 2.5", "(0.01, 2.0]", "bmode prior")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "nuclear", prior, "--start-sigma", 2.5)


@refused("mu of one", errors.ConfigError, "mu=1.0", "less than 1")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "nuclear", prior, "--mu", 1.0)


@refused("unknown shrinkage", errors.ConfigError, "shrink='proxy'", "'subgradient' or 'prox'")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "nuclear", prior, "--shrink", "proxy")


@refused("unknown key in a settings file", errors.ConfigError, "'w_septum'", "Did you mean 'w_sept'?")
def _(folder: Path, prior: Path) -> Words:
    (folder / "mine.yaml").write_text(to_yaml({"w_septum": 1.0}))
    return video(film(folder / "film.npz"), "semantic", prior, "--config", "mine.yaml")


@refused("no file", errors.DataError, "nowhere.mp4: no such file")
def _(folder: Path, prior: Path) -> Words:
    return video("nowhere.mp4", "rpca", None)


@refused("channel data", errors.DataError, "raw_data has no lines yet", "beamform")
def _(folder: Path, prior: Path) -> Words:
    write(Record("raw_data", np.ones((1, 2, 64, 32), np.float32) * np.arange(32)), folder / "raw.npz")
    return video("raw.npz", "threshold", None)


@refused("tiny frames", errors.DataError, "at least 16 x 16, got 15 x 40")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz", shape=(15, 40)), "threshold", None)


@refused("constant frame", errors.DataError, "frame 1 of image is constant")
def _(folder: Path, prior: Path) -> Words:
    values = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    values[1] = 7
    write(Record("image", values), folder / "film.npz")
    return video("film.npz", "svd", None)


@refused("film in one PNG", errors.ConfigError, "a PNG holds one frame; film.npz has 4", ".mp4")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "rpca", None, out="clean.png")


@refused("unknown output", errors.ConfigError, "unknown output type '.avi'")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "rpca", None, out="clean.avi")


@refused("output exists", errors.ConfigError, "clean.npz exists; nothing was overwritten", "--force")
def _(folder: Path, prior: Path) -> Words:
    (folder / "clean.npz").write_bytes(b"earlier")
    return video(film(folder / "film.npz"), "rpca", None)


@refused("haze output exists", errors.ConfigError, "clean-haze.npz exists; nothing was overwritten")
def _(folder: Path, prior: Path) -> Words:
    (folder / "clean-haze.npz").write_bytes(b"earlier")
    return video(film(folder / "film.npz"), "rpca", None, "--save-haze")


@refused("no cavity among the regions", errors.DataError, "has no region 'cavity', found tissue")
def _(folder: Path, prior: Path) -> Words:
    (folder / "roi.json").write_text(json.dumps({"tissue": [[8, 16, 4, 14]]}))
    return video(film(folder / "film.npz"), "rpca", None, "--roi", "roi.json")


@refused("overlapping regions", errors.DataError, "overlap in")
def _(folder: Path, prior: Path) -> Words:
    roi = regions(folder / "roi.json", cavity=[[8, 30, 4, 36]])
    return video(film(folder / "film.npz"), "rpca", None, "--roi", roi)


@refused("regions of another size", errors.DataError, "(20, 20)", "(32, 40)")
def _(folder: Path, prior: Path) -> Words:
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(folder / "roi.png")
    return video(film(folder / "film.npz"), "rpca", None, "--roi", folder / "roi.png")


@refused("range of zero", errors.ConfigError, "dynamic range must be above 0 dB, got 0")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "rpca", None, "--dr", 0)


@refused("unknown device", errors.ConfigError, "unknown device 'gpu0'")
def _(folder: Path, prior: Path) -> Words:
    return video(film(folder / "film.npz"), "rpca", None, "--device", "gpu0")


@refused("anomaly without a prior", errors.ConfigError, "needs a prior of healthy pictures", "train bmode")
def _(folder: Path, prior: Path) -> Words:
    return ["anomaly", film(folder / "film.npz"), "-o", "map.npz"]


@refused("anomaly beyond the range", errors.ConfigError, "start_sigma 3.0 lies outside", "(0.01, 2.0]")
def _(folder: Path, prior: Path) -> Words:
    return ["anomaly", film(folder / "film.npz"), "-o", "map.npz", "--prior", prior, "--sigma", 3.0]


@refused("anomaly of no noise", errors.ConfigError, "2 steps and 1 sample at least, got 1 and 4")
def _(folder: Path, prior: Path) -> Words:
    return ["anomaly", film(folder / "film.npz"), "-o", "map.npz", "--prior", prior, "--steps", 1]


@refused("films of two sizes to train on", errors.DataError, "a.npz has 32 x 40", "b.npz has 32 x 44")
def _(folder: Path, prior: Path) -> Words:
    (folder / "set").mkdir()
    film(folder / "set" / "a.npz")
    film(folder / "set" / "b.npz", shape=(32, 44))
    return ["train", "bmode", "-o", "p.safetensors", "--data", "set"]


@refused("empty folder to train on", errors.DataError, "set holds no files of a known type")
def _(folder: Path, prior: Path) -> Words:
    (folder / "set").mkdir()
    return ["train", "bmode", "-o", "p.safetensors", "--data", "set"]


@pytest.mark.parametrize(("build", "error", "said"), REFUSED)
def test_bad_input_is_refused_in_words_and_leaves_nothing(
    build: Build,
    error: type[errors.SuffuseError],
    said: tuple[str, ...],
    suffuse: Suffuse,
    tmp_path: Path,
    bmode: Path,
) -> None:
    words = build(tmp_path, bmode)
    before = contents(tmp_path)
    done = suffuse(*words, "--debug")  # the traceback names the class
    assert contents(tmp_path) == before
    assert done.code == error.exit_code
    assert done.out == ""
    assert re.findall(r"^core\.errors\.(\w+): ", done.err, re.MULTILINE)[-1] == error.__name__
    message = done.err[done.err.rindex("\nerror: ") :]
    for fragment in said:
        assert fragment in message
    assert len(message.strip().splitlines()) <= 2


def test_divergence_stops_with_its_own_code_and_leaves_nothing(
    suffuse: Suffuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bmode: Path
) -> None:
    from domains.ultrasound.video import dehaze

    film(tmp_path / "film.npz")
    monkeypatch.setattr(dehaze, "DIVERGED", 1e-3)  # any state is then too large
    before = contents(tmp_path)
    done = suffuse(*video("film.npz", "semantic", bmode, out="deep/er/clean.npz"))
    assert contents(tmp_path) == before
    assert done.code == 4
    assert "sampling diverged at step 1 of 2 (method 'semantic')" in done.err
