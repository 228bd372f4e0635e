"""What `suffuse ultrasound` says to bad input, row by row: message, class, exit code; and nothing is left.

| input                                                     | class             | exit code |
| --------------------------------------------------------- | ----------------- | --------- |
| a setting, an output name, a device                       | `ConfigError`     | 2         |
| a file, a frame, its size, its band                       | `DataError`       | 3         |
| geometry that is missing                                  | `GeometryError`   | 3         |
| a package that is missing                                 | `MissingExtra`    | 4         |
| divergence                                                | `NumericalError`  | 4         |
| a checkpoint that is damaged or has another role          | `CheckpointError` | 5         |
| lines of another kind than the checkpoint's, or no phase  | `ModelMismatch`   | 5         |

The specification knows four codes (0 done, 2 usage, 3 bad data, 4 numerical failure). Its 3 is split here:
data that do not fit a checkpoint, or the checkpoint itself, exit with 5, and a missing package shares 4.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core import errors
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats import read, write
from domains.ultrasound.formats.tags import encode
from tests.apps.conftest import Suffuse
from tests.fixtures.recordings import F0_HZ, recording, write_prior, write_recording

Words = list[Any]
Build = Callable[[Path, dict[str, Path]], Words]
REFUSED: list[Any] = []


def refused(name: str, error: type[errors.SuffuseError], code: int, *said: str) -> Callable[[Build], Build]:
    """Register a command line that must fail: what it says, in message and hint, and how it ends."""

    def register(build: Build) -> Build:
        REFUSED.append(pytest.param(build, error, code, said, id=name))
        return build

    return register


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, so that any trace of a refused command shows."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def dehaze(source: object, priors: dict[str, Path], *words: object, out: str = "clean.npz") -> Words:
    both = ["--tissue", priors["tissue"], "--haze", priors["haze"]]
    return ["dehaze", source, "-o", out, *both, "--steps", 3, "--device", "cpu", *words]


def lines(folder: Path, name: str = "iq.npz", **changes: Any) -> str:
    """A small recording in a file, some of its values or geometry replaced."""
    record = recording(frames=changes.pop("frames", 1), domain=changes.pop("domain", "iq"))
    values = changes.pop("values", record.values)
    geometry = Geometry(**{**vars(record.geometry), **changes})
    write_recording(folder / name, Record("beamformed_data", values, geometry))
    return name


def spoilt(folder: Path, change: Callable[[np.ndarray], None]) -> str:
    values = recording(frames=3).values.copy()
    change(values)
    return lines(folder, values=values)


def meta_image(folder: Path, values: np.ndarray, kind: str, orientation: str, name: str = "lines.mha") -> str:
    """An uncompressed MetaImage of (frame, y, x) int16 samples."""
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "DimSize": " ".join(str(n) for n in reversed(values.shape)),
        "ElementType": "MET_SHORT",
        "UltrasoundImageType": kind,
        "UltrasoundImageOrientation": orientation,
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    (folder / name).write_bytes(text.encode() + values.astype("<i2").tobytes())
    return name


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, shape)


# ---- geometry


@refused("no geometry", errors.GeometryError, 3, "needs probe, r0_m, r1_m", "--probe, --r0 and --r1")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    write(Record("beamformed_data", recording().values), folder / "bare.npz")
    return ["bmode", "bare.npz", "-o", "out.png", "--scan-convert"]


@refused("no positions of the lines", errors.GeometryError, 3, "lateral_m", "--width")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    lines(folder, probe="linear", angles_rad=None)
    return ["bmode", "iq.npz", "-o", "out.png", "--scan-convert"]


@refused("no angles of the lines", errors.GeometryError, 3, "angles_rad", "--half-angle")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["bmode", lines(folder, angles_rad=None), "-o", "out.png", "--scan-convert"]


@refused("no sound speed to beamform with", errors.GeometryError, 3, "sound_speed_m_s", "--sound-speed")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    elements = np.zeros((4, 3))
    geometry = Geometry(elements_m=elements, fs_hz=1e7, t0_s=0.0)
    write(Record("raw_data", noise(1, 1, 64, 4).astype(np.float32), geometry), folder / "raw.npz")
    return ["beamform", "raw.npz", "-o", "lines.npz"]


@refused("RF of unknown band", errors.GeometryError, 3, "needs fs_hz, f0_hz, bandwidth", "--bandwidth")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    name = lines(folder, domain="rf", fs_hz=None, f0_hz=None, bandwidth=None)
    return ["convert", name, "iq.hdf5", "--to", "iq"]


# ---- values


@refused("NaN", errors.DataError, 3, "frame 1 of beamformed_data holds 1 NaN or Inf")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    def change(values: np.ndarray) -> None:
        values[1, 2, 3] = np.nan

    return dehaze(spoilt(folder, change), priors)


@refused("Inf", errors.DataError, 3, "frame 2 of beamformed_data holds 1 NaN or Inf")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    def change(values: np.ndarray) -> None:
        values[2, 0, 0] = np.inf

    return ["convert", spoilt(folder, change), "out.hdf5"]


@refused("all zero", errors.DataError, 3, "frame 0 of beamformed_data is all zero")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    def change(values: np.ndarray) -> None:
        values[0] = 0

    return ["bmode", spoilt(folder, change), "-o", "out.png"]


@refused("constant", errors.DataError, 3, "frame 2 of beamformed_data is constant")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    def change(values: np.ndarray) -> None:
        values[2] = 0.5

    return dehaze(spoilt(folder, change), priors)


# ---- phase and model


@refused("envelope", errors.ModelMismatch, 5, "no phase found", "dehaze-video")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    record = recording()
    write(Record("envelope_data", np.abs(record.values), record.geometry), folder / "envelope.npz")
    return dehaze("envelope.npz", priors)


@refused("lines without a sign", errors.ModelMismatch, 5, "no phase found", "dehaze-video")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    values = np.abs(recording(domain="rf").values)
    return dehaze(lines(folder, domain="rf", values=values), priors)


@refused("8-bit picture", errors.ModelMismatch, 5, "no phase found", "dehaze-video")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    picture(folder / "frame.png")
    return dehaze("frame.png", priors)


@refused("log image to a baseline", errors.ModelMismatch, 5, "no phase found", "dehaze-video")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    levels = -np.abs(noise(1, 64, 48)).astype(np.float32) / 20
    write(Record("image", levels), folder / "levels.npz")
    return ["dehaze", "levels.npz", "-o", "clean.npz", "--method", "threshold"]


@refused("envelope to train on", errors.DataError, 3, "no phase found", "envelope.npz")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    write(Record("envelope_data", np.abs(recording().values)), folder / "envelope.npz")
    return ["train", "tissue", "-o", "t.safetensors", "--data", "envelope.npz"]


@refused("RF to IQ priors", errors.ModelMismatch, 5, "the input is RF", "trained on IQ", "convert --to iq")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder, "rf.npz", domain="rf"), priors)


@refused("other sampling rate", errors.ModelMismatch, 5, "fs/f0 = 1.12", "trained at 1", "Resample")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder, fs_hz=1.12 * F0_HZ), priors)


@refused("band that folds", errors.DataError, 3, "straddles 5.000 MHz", "folds onto itself")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    name = lines(folder, domain="rf", fs_hz=10e6, f0_hz=4.8e6, bandwidth=0.3)
    return ["convert", name, "iq.hdf5", "--to", "iq"]


@refused("tiny frames", errors.DataError, 3, "at least 16 x 16, got 15 x 40")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    values = recording(samples=15, lines=40).values
    write(Record("beamformed_data", values), folder / "tiny.npz")
    return dehaze("tiny.npz", priors)


@refused("tiny frames to train on", errors.DataError, 3, "at least 16 x 16")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    write(Record("beamformed_data", recording(samples=15, lines=40).values), folder / "tiny.npz")
    return ["train", "tissue", "-o", "t.safetensors", "--data", "tiny.npz"]


@refused("channel data", errors.DataError, 3, "raw_data has no lines", "suffuse ultrasound beamform")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    write(Record("raw_data", noise(1, 2, 64, 32).astype(np.float32)), folder / "raw.npz")
    return dehaze("raw.npz", priors)


# ---- files


@refused(
    "IQ in one channel",
    errors.DataError,
    3,
    "needs 2 channels (I, Q)",
    "sample, line, channel",
    "(1, 64, 48, 1)",
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    record = recording(frames=1)
    np.savez(folder / "one.npz", data=record.values.real[..., None], meta=encode(record))
    return ["info", "one.npz"]


@refused("odd interleaving", errors.DataError, 3, "even number of samples", "read 63", "RF_IQ_LINE")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["info", meta_image(folder, noise(1, 32, 63), "RF_IQ_LINE", "FMX")]


@refused(
    "wrong axis order in MetaImage", errors.DataError, 3, "wrong axis order", "read 'MFX'", "DimSize 32 64 1"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["info", meta_image(folder, noise(1, 64, 32), "RF_REAL", "MFX")]


@refused(
    "wrong axis order in an archive", errors.DataError, 3, "(frame, sample, line, channel)", "read shape"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    record = recording(frames=1)
    first = np.moveaxis(np.stack([record.values.real, record.values.imag], axis=-1), -1, 0)
    np.savez(folder / "first.npz", data=first, meta=encode(record))
    return ["info", "first.npz"]


@refused(
    "pictures of two sizes",
    errors.DataError,
    3,
    "frame_0.png is image 24 x 32",
    "frame_1.png is image 24 x 30",
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "frames").mkdir()
    picture(folder / "frames" / "frame_0.png")
    picture(folder / "frames" / "frame_1.png", (24, 30))
    return ["convert", "frames", "film.mp4"]


@refused("lines of two sizes", errors.DataError, 3, "a.npz has 64 x 48", "b.npz has 60 x 48")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "set").mkdir()
    write_recording(folder / "set" / "a.npz")
    write_recording(folder / "set" / "b.npz", recording(samples=60))
    return ["train", "haze", "-o", "h.safetensors", "--data", "set"]


@refused("empty folder to train on", errors.DataError, 3, "set holds no files of a known type")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "set").mkdir()
    return ["train", "haze", "-o", "h.safetensors", "--data", "set"]


@refused("no such file", errors.DataError, 3, "nowhere.hdf5: no such file")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze("nowhere.hdf5", priors)


@refused("unknown file type", errors.DataError, 3, "notes.txt: unknown file type '.txt'", ".hdf5", ".mha")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "notes.txt").write_text("nothing to see")
    return ["info", "notes.txt"]


@refused("truncated HDF5", errors.DataError, 3, "cut.hdf5", "cannot be read as an HDF5 file", "truncated")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    whole = write_recording(folder / "cut.hdf5").read_bytes()
    (folder / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    return dehaze("cut.hdf5", priors)


@refused(
    "truncated MetaImage", errors.DataError, 3, "lines.mha is truncated", "expected 4096 bytes", "found 4000"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    name = meta_image(folder, noise(1, 32, 64), "RF_REAL", "FMX")
    (folder / name).write_bytes((folder / name).read_bytes()[:-96])
    return ["bmode", name, "-o", "out.png"]


# ---- checkpoints


@refused("haze prior as tissue", errors.CheckpointError, 5, "has the role 'haze', expected 'tissue'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), {"tissue": priors["haze"], "haze": priors["haze"]})


@refused("tissue prior as haze", errors.CheckpointError, 5, "has the role 'tissue', expected 'haze'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), {"tissue": priors["tissue"], "haze": priors["tissue"]})


@refused("no checkpoint", errors.CheckpointError, 5, "no checkpoint at nowhere.safetensors")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), {**priors, "tissue": Path("nowhere.safetensors")})


@refused("truncated checkpoint", errors.CheckpointError, 5, "truncated or no safetensors file")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "cut.safetensors").write_bytes(priors["haze"].read_bytes()[:5000])
    return dehaze(lines(folder), {**priors, "haze": Path("cut.safetensors")})


@refused(
    "fine-tuning of another network", errors.CheckpointError, 5, "in the checkpoint", "Build the network"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    words = ["--data", lines(folder), "--start", priors["tissue"], "--recipe", "demo"]
    return ["train", "tissue", "-o", "t.safetensors", *words]


@refused("fine-tuning of IQ with RF", errors.ModelMismatch, 5, "is IQ, the training RF", "--domain iq")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    words = ["--domain", "rf", "--start", priors["tissue"]]
    return ["train", "tissue", "-o", "t.safetensors", "--data", lines(folder), *words]


# ---- settings


@refused("negative gamma", errors.ConfigError, 2, "gamma=-0.1", "greater than or equal to 0")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--gamma", -0.1)


@refused("one step", errors.ConfigError, 2, "steps=1", "greater than or equal to 2")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--steps", 1)


@refused(
    "start sigma above the range", errors.ConfigError, 2, "start_sigma 2.5", "(0.01, 2.0]", "tissue prior"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--start-sigma", 2.5)


@refused("start sigma below the range", errors.ConfigError, 2, "start_sigma 0.005", "(0.01, 2.0]")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--start-sigma", 0.005)


@refused("unknown rule", errors.ConfigError, 2, "consistency='dds'", "'projection', 'x0', 'dps' or 'pigdm'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--consistency", "dds")


@refused("unknown method", errors.ConfigError, 2, "unknown baseline 'bm3dd'", "Did you mean 'bm3d'?")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--method", "bm3dd")


@refused(
    "unknown key in a settings file", errors.ConfigError, 2, "mine.yaml", "'gama'", "Did you mean 'gamma'?"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "mine.yaml").write_text("gama: 0.3\n")
    return dehaze(lines(folder), priors, "--config", "mine.yaml")


@refused("settings file that is no YAML", errors.ConfigError, 2, "mine.yaml is not YAML in line 2")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "mine.yaml").write_text("gamma: 0.3\n  steps: [\n")
    return dehaze(lines(folder), priors, "--config", "mine.yaml")


@refused("settings file that is a list", errors.ConfigError, 2, "holds a list, expected 'name: value'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "mine.yaml").write_text("- gamma\n")
    return ["config", "--config", "mine.yaml"]


@refused("no settings file", errors.ConfigError, 2, "cannot read the settings file mine.yaml")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["config", "--config", "mine.yaml"]


@refused("unknown role", errors.ConfigError, 2, "unknown role 'tisue'", "Did you mean 'tissue'?")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["train", "tisue", "-o", "t.safetensors"]


@refused("unknown recipe", errors.ConfigError, 2, "unknown recipe 'gpus'", "Did you mean 'gpu'?")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["train", "tissue", "-o", "t.safetensors", "--recipe", "gpus"]


@refused("checkpoint of another name", errors.ConfigError, 2, "unknown output type '.pt'", ".safetensors")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["train", "tissue", "-o", "t.pt"]


@refused("lines to a picture", errors.ConfigError, 2, "unknown output type '.png'", ".hdf5")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, out="clean.png")


@refused("many frames in one PNG", errors.ConfigError, 2, "a PNG holds one frame", ".mp4")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["convert", lines(folder, frames=3), "out.png", "--to", "image"]


@refused("output exists", errors.ConfigError, 2, "clean.npz exists; nothing was overwritten", "--force")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "clean.npz").write_bytes(b"earlier")
    return dehaze(lines(folder), priors)


@refused("haze output exists", errors.ConfigError, 2, "clean-haze.npz exists; nothing was overwritten")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "clean-haze.npz").write_bytes(b"earlier")
    return dehaze(lines(folder), priors, "--save-haze")


@refused("run folder in use", errors.ConfigError, 2, "clean.run is not empty", "--run")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "clean.run").mkdir()
    (folder / "clean.run" / "notes.txt").write_text("mine")
    return dehaze(lines(folder), priors)


@refused("force and resume", errors.ConfigError, 2, "--force and --resume exclude each other")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    words = ["--data", lines(folder), "--recipe", "demo", "--steps", 1, "--force", "--resume"]
    return ["train", "tissue", "-o", "t.safetensors", *words]


@refused("unknown device", errors.ConfigError, 2, "unknown device 'gpu0'", "cuda")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--device", "gpu0")


@refused("haze that is no number", errors.ConfigError, 2, "haze must be a number", "'much'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["simulate", "-o", "sim.npz", "--haze", "much"]


# ---- evaluation


@refused("recordings of two sizes", errors.DataError, 3, "the output has shape (1, 60, 48)")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    write_recording(folder / "other.npz", recording(frames=1, samples=60))
    return ["evaluate", "--input", lines(folder), "--output", "other.npz"]


@refused("no regions", errors.DataError, 3, "no regions to measure in", "--roi FILE")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    name = lines(folder)
    return ["evaluate", "--input", name, "--output", name, "-o", "report.html"]


@refused("no cavity among the regions", errors.DataError, 3, "has no region 'cavity', found tissue")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    (folder / "roi.json").write_text(json.dumps({"tissue": [[0, 20, 0, 20]]}))
    return dehaze(lines(folder), priors, "--roi", "roi.json")


@refused("overlapping regions", errors.DataError, 3, "'tissue' and 'cavity' overlap in 100 pixels")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    regions = {"tissue": [[0, 20, 0, 20]], "cavity": [[10, 30, 10, 30]]}
    (folder / "roi.json").write_text(json.dumps(regions))
    name = lines(folder)
    return ["evaluate", "--input", name, "--output", name, "--roi", "roi.json"]


@refused("mask of another size", errors.DataError, 3, "(24, 32)", "(64, 48)")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    picture(folder / "roi.png")
    return dehaze(lines(folder), priors, "--roi", "roi.png")


@refused("unknown report type", errors.ConfigError, 2, "unknown output type '.pdf'", ".csv, .html, .json")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return ["evaluate", "--input", "a.npz", "--output", "b.npz", "-o", "report.pdf"]


# ---- divergence


@refused(
    "divergence with x0", errors.NumericalError, 4, "diverged at step 1 of 3", "rule 'x0'", "--weight-tissue"
)
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(
        lines(folder), priors, "--consistency", "x0", "--weight-tissue", 1e6, out="deep/er/clean.npz"
    )


@refused("divergence with dps", errors.NumericalError, 4, "diverged at step", "rule 'dps'")
def _(folder: Path, priors: dict[str, Path]) -> Words:
    return dehaze(lines(folder), priors, "--consistency", "dps", "--weight-haze", 1e6)


def picture(path: Path, shape: tuple[int, int] = (24, 32)) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.mark.parametrize(("build", "error", "code", "said"), REFUSED)
def test_bad_input_is_refused_in_words_and_leaves_nothing(
    build: Build,
    error: type[errors.SuffuseError],
    code: int,
    said: tuple[str, ...],
    suffuse: Suffuse,
    tmp_path: Path,
    priors: dict[str, Path],
) -> None:
    words = build(tmp_path, priors)
    before = contents(tmp_path)
    done = suffuse(*words, "--debug")  # the traceback names the class
    assert contents(tmp_path) == before
    assert done.code == code == error.exit_code
    assert done.out == ""
    assert re.findall(r"^core\.errors\.(\w+): ", done.err, re.MULTILINE)[-1] == error.__name__
    message = done.err[done.err.rindex("\nerror: ") :]
    for fragment in said:
        assert fragment in message
    assert len(message.strip().splitlines()) <= 2


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    suffuse: Suffuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recording(tmp_path / "iq.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    before = contents(tmp_path)
    done = suffuse("convert", "iq.hdf5", "rf.npz", "--to", "rf")
    assert done.code == 4
    assert "iq.hdf5 cannot be read: 'h5py' is not installed." in done.err
    assert "pip install 'suffuse[ultrasound]'" in done.err
    assert contents(tmp_path) == before


def test_a_missing_codec_of_dicom_is_named(
    suffuse: Suffuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = pytest.importorskip("pydicom.pixels")
    write(Record("image", noise(1, 24, 32).clip(0, 255).astype(np.uint8)), tmp_path / "scan.dcm")

    def no_codec(tags: object) -> None:
        raise RuntimeError("Unable to decode: all plugins are missing dependencies")

    monkeypatch.setattr(pixels, "pixel_array", no_codec)
    done = suffuse("convert", "scan.dcm", "scan.png")
    assert done.code == 4
    assert "scan.dcm: no codec for Explicit VR Little Endian is installed." in done.err
    assert "pip install" in done.err
    assert not (tmp_path / "scan.png").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_absent_is_an_error_and_auto_says_what_it_takes(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    words = [word if word != "cpu" else "cuda" for word in dehaze(lines(tmp_path), priors)]
    before = contents(tmp_path)
    done = suffuse(*words)
    assert done.code == 2
    assert "device 'cuda' was asked for, but none is there" in done.err
    assert contents(tmp_path) == before
    auto = suffuse(*[word if word != "cuda" else "auto" for word in words])
    assert auto.code == 0
    assert "device: CPU (no GPU found)" in auto.err


def test_lines_that_are_all_zero_are_a_warning(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    def change(values: np.ndarray) -> None:
        values[..., 5:7] = 0

    done = suffuse(*dehaze(spoilt(tmp_path, change), priors, "--json"))
    assert done.code == 0
    assert "2 of 48 lines are all zero (first: line 5)." in done.json["warnings"]
    assert done.err.count("warning: 2 of 48 lines are all zero") == 1


def test_clipped_samples_are_a_warning_with_their_share(suffuse: Suffuse, tmp_path: Path) -> None:
    values = noise(1, 32, 64)
    values[0, :4, 0] = 32767  # 4 of 2048 samples: 0.20 %
    meta_image(tmp_path, values, "RF_REAL", "FMX")
    assert "warning: 0.20 % of the samples sit at the integer limit" in suffuse("info", "lines.mha").err


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("plus_ultrasonix/UltrasonixLinearRfData.igs.mha", "0.22 % of the samples sit at the integer limit"),
        ("plus_bk/BkCurvilinearRfData.igs.mhd", None),
    ],
)
def test_the_real_recording_that_clipped_warns_and_the_other_does_not(
    name: str, warning: str | None, suffuse: Suffuse, real_data: Callable[[str], Path]
) -> None:
    done = suffuse("info", real_data(f"ultrasound/{name}"), "--json")
    assert done.code == 0
    assert len(done.json["warnings"]) == (warning is not None)
    assert warning is None or warning in done.err


def test_undersampled_rf_is_noted_and_demodulated_by_its_true_frequency(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    name = lines(tmp_path, "rf.npz", domain="rf", fs_hz=6.67e6, f0_hz=5e6, bandwidth=0.15)
    done = suffuse("convert", name, "iq.npz", "--to", "iq")
    assert done.code == 0
    assert "warning: undersampled RF" in done.err
    assert "band-pass demodulation with f0 5.000 MHz used" in done.err
    assert read(tmp_path / "iq.npz").geometry.fd_hz == 5e6


def test_frames_smaller_than_a_patch_are_padded_with_a_warning(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    write_recording(tmp_path / "small.npz", recording(samples=24, lines=20))
    done = suffuse(*dehaze("small.npz", priors, "--method", "joint"))
    assert "warning: frames of 24 x 20 are smaller than a patch of 32 x 32: padded by reflection." in done.err
    assert done.code == 0
    assert read(tmp_path / "clean.npz").values.shape == (2, 24, 20)


def test_a_sampling_rate_within_ten_percent_is_accepted(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    assert suffuse(*dehaze(lines(tmp_path, fs_hz=1.09 * F0_HZ), priors)).code == 0


def test_a_trained_range_is_that_of_the_checkpoint(
    suffuse: Suffuse, tmp_path: Path, priors: dict[str, Path]
) -> None:
    assert suffuse(*dehaze(lines(tmp_path), priors, "--start-sigma", 2.0)).code == 0


def test_patient_identity_is_copied_with_a_warning_and_never_printed(
    suffuse: Suffuse, tmp_path: Path
) -> None:
    pydicom = pytest.importorskip("pydicom")
    write(Record("image", noise(1, 24, 32).clip(0, 255).astype(np.uint8)), tmp_path / "scan.dcm")
    tags = pydicom.dcmread(tmp_path / "scan.dcm")
    tags.PatientName, tags.PatientID, tags.BurnedInAnnotation = "Roe^Jane", "MRN-4711", "NO"
    tags.save_as(tmp_path / "scan.dcm")

    plain = suffuse("convert", "scan.dcm", "copy.dcm", "--json")
    assert plain.code == 0
    assert "identity tags of the source were copied; strip them with --strip-phi" in plain.err
    assert pydicom.dcmread(tmp_path / "copy.dcm").PatientName == "Roe^Jane"
    kept = suffuse("convert", "scan.dcm", "kept.dcm", "--keep-phi")
    assert "identity" not in kept.err
    assert pydicom.dcmread(tmp_path / "kept.dcm").PatientID == "MRN-4711"
    stripped = suffuse("convert", "scan.dcm", "bare.dcm", "--strip-phi")
    assert stripped.code == 0
    assert pydicom.dcmread(tmp_path / "bare.dcm").PatientName == "ANONYMOUS"
    shown = suffuse("info", "scan.dcm")
    assert "the file carries patient identity" in shown.err

    said = "".join(done.out + done.err for done in (plain, kept, stripped, shown))
    logs = "".join(path.read_text() for path in tmp_path.glob("*.run/*.json"))
    assert logs
    for secret in ("Roe", "Jane", "4711"):
        assert secret not in said
        assert secret not in logs


def test_a_checkpoint_of_rf_refuses_iq(suffuse: Suffuse, tmp_path: Path) -> None:
    rf = {role: write_prior(tmp_path / role, role, "rf") for role in ("tissue", "haze")}  # type: ignore[arg-type]
    done = suffuse(*dehaze(lines(tmp_path), rf))
    assert done.code == 5
    assert "the input is IQ, the tissue prior was trained on RF." in done.err


def test_exit_codes_are_those_of_the_table() -> None:
    table = re.findall(r"^\|.*\| `(\w+)` +\| (\d) ", __doc__ or "", re.MULTILINE)
    assert len(table) == 7
    assert all(getattr(errors, name).exit_code == int(code) for name, code in table)
