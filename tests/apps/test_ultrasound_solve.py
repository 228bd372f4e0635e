"""`suffuse ultrasound solve`: every operator from a file to a restored file, and bad input.

The prior's network has never been trained, so it returns 0 and the denoiser is exactly that of independent
pixels N(0, s^2): what a solver must find is then known pixel by pixel.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core import errors
from core.inverse import METHODS, adjoint_gap
from core.train.checkpoint import load, save
from domains.ultrasound.config import PriorConfig
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats import read, write
from domains.ultrasound.video.prior import train_picture_prior
from domains.ultrasound.workflows.solving import OPERATORS, operator_of
from tests.apps.conftest import Suffuse
from tests.apps.test_bad_input import contents

Words = list[Any]
STD = 0.4


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior whose denoiser is that of independent pixels N(0, .4^2), in levels."""
    folder = tmp_path_factory.mktemp("exact")
    config = PriorConfig(widths=(8, 16), patch=(32, 32), batch=1, steps=1)
    levels = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    train_picture_prior(levels, config, folder=folder)
    stored = load(folder / "model.safetensors")
    silent = {k: torch.zeros_like(v) if k.startswith("head.") else v for k, v in stored.weights.items()}
    save(folder / "exact.safetensors", replace(stored, weights=silent, data_std=STD))
    return folder / "exact.safetensors"


def pictures(
    path: Path, frames: int = 2, shape: tuple[int, int] = (32, 48), *, db: bool = False
) -> np.ndarray:
    """Smooth pictures about the middle of the range, 8 bit or dB."""
    rng = np.random.default_rng(0)
    levels = np.clip(STD * rng.normal(size=(frames, shape[0] // 4, shape[1] // 4)), -1, 1)
    levels = levels.repeat(4, axis=1).repeat(4, axis=2)
    values = ((levels - 1) * 30).astype(np.float32) if db else np.rint((levels + 1) * 127.5).astype(np.uint8)
    write(Record("image", values, Geometry(pixel_m=(1e-3, 1e-3))), path)
    return values


def solve(
    operator: str, prior: Path | None, *words: object, source: str = "in.npz", out: str = "out.npz"
) -> Words:
    given = ["--prior", prior] if prior else []
    return ["solve", source, "-o", out, "--operator", operator, *given, "--device", "cpu", *words]


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_its_adjoint(name: str, gen: torch.Generator) -> None:
    operator = operator_of(name, (32, 24))
    assert adjoint_gap(operator, gen) < 1e-5
    assert operator.shape == (1, 32, 24)


def test_masks_keep_their_share_and_the_middle_of_k_space() -> None:
    kept = operator_of("inpaint", (200, 200), keep=0.3).mask.float().mean()  # type: ignore[attr-defined]
    assert float(kept) == pytest.approx(0.3, abs=0.01)  # 40 000 draws: standard error .002
    rows = operator_of("mri", (200, 64), keep=0.3, seed=1).mask[:, 0]  # type: ignore[attr-defined]
    assert bool(rows[:8].all())
    assert bool(rows[-8:].all())
    assert 0.3 < float(rows.float().mean()) < 0.45
    whole = operator_of("mri", (16, 16), keep=1.0)
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole.At(whole.A(x)), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_simulated_measurement_comes_back_with_its_yardstick(
    operator: str, suffuse: Suffuse, tmp_path: Path, exact: Path
) -> None:
    values = pictures(tmp_path / "in.npz")
    done = suffuse(*solve(operator, exact, "--simulate", "--method", "ddrm", "--nfe", 10, "--json"))
    assert done.code == 0, done.err
    report = done.json
    assert (report["operator"], report["method"], report["kind"], report["nfe"]) == (
        operator,
        "ddrm",
        "sample",
        10,
    )
    restored = read(Path("out.npz"))
    assert restored.values.shape == values.shape
    assert restored.values.dtype == np.uint8
    error = np.mean((restored.values.astype(float) - values) ** 2)
    # Written as whole levels: rounding moves the error by at most a part in a hundred here.
    assert report["psnr_db"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.1)
    assert report["psnr_first_guess_db"] > 5
    # A solver explains the measurement to about its noise, 2 levels.
    assert max(report["residual"]) < 6
    assert Path("out.run/solved.png").is_file()
    panels = {line.split(",")[0] for line in Path("out.run/solved.csv").read_text().splitlines()[1:]}
    assert panels == {"first guess", "solved by ddrm", "truth"}
    assert "10 evaluations x 1 sample x 2 frames = 20 network calls" in done.err


def test_inpainting_keeps_what_counts_and_knows_nothing_of_the_rest(
    suffuse: Suffuse, tmp_path: Path, exact: Path
) -> None:
    values = pictures(tmp_path / "in.npz", db=True)
    mask = np.full((32, 48), 255, np.uint8)
    mask[8:24, 8:40] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--mask", "mask.png", "--method", "ddrm", "--nfe", 20, "--samples", 8, "--noise", 1.0, "--json"]
    done = suffuse(*solve("inpaint", exact, *words))
    assert done.code == 0, done.err
    assert done.json["kind"] == "mean"
    assert "psnr_db" not in done.json
    restored = read(Path("out.npz")).values
    off = (restored - values)[:, mask > 0]
    # Noise of 1 dB under a prior of 12 dB: the posterior spread is 1 dB, its mean moves by less.
    assert float(np.sqrt(np.mean(off**2))) < 1.5
    # Where nothing was seen the mean of 8 samples of N(-30, 12^2) is left: spread 12 / sqrt 8 = 4.2 dB.
    hole = restored[:, mask == 0]
    assert float(hole.mean()) == pytest.approx(-30, abs=1.0)  # 1024 pixels: standard error .13
    assert float(hole.std()) == pytest.approx(12 / np.sqrt(8), rel=0.2)


def test_super_resolution_grows_the_picture_and_shrinks_its_pixels(
    suffuse: Suffuse, tmp_path: Path, exact: Path
) -> None:
    values = pictures(tmp_path / "in.npz", shape=(16, 20))
    done = suffuse(*solve("sr4", exact, "--method", "ddrm", "--nfe", 20, "--noise", 0.5))
    assert done.code == 0, done.err
    restored = read(Path("out.npz"))
    assert restored.values.shape == (2, 64, 80)
    assert restored.geometry.pixel_m == (2.5e-4, 2.5e-4)
    means = restored.values.reshape(2, 16, 4, 20, 4).mean((2, 4))
    # Levels clipped at 0 and 255 and rounded: the means are those measured but for that.
    assert np.abs(means - values).mean() < 6


def test_reddiff_is_the_default_and_an_optimum(suffuse: Suffuse, tmp_path: Path, exact: Path) -> None:
    pictures(tmp_path / "in.npz", frames=1)
    done = suffuse(*solve("blur", exact, "--simulate", "--nfe", 20, "--json"))
    assert done.code == 0, done.err
    assert (done.json["method"], done.json["kind"]) == ("reddiff", "optimum")


def test_the_same_seed_gives_the_same_restoration(suffuse: Suffuse, tmp_path: Path, exact: Path) -> None:
    pictures(tmp_path / "in.npz")
    outs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ["--simulate", "--method", "ddrm", "--nfe", 5, "--seed", seed]
        assert suffuse(*solve("inpaint", exact, *words, out=f"{name}.npz")).code == 0
        outs.append(read(Path(f"{name}.npz")).values)
    np.testing.assert_array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


Build = Callable[[Path, Path], Words]
REFUSED: list[Any] = []


def refused(name: str, error: type[errors.SuffuseError], *said: str) -> Callable[[Build], Build]:
    """Register a command line that must fail: what it says, in message and hint, and the class of error."""

    def register(build: Build) -> Build:
        REFUSED.append(pytest.param(build, error, said, id=name))
        return build

    return register


@refused("unknown operator", errors.ConfigError, "unknown operator 'inpant'", "Did you mean 'inpaint'?")
def _(folder: Path, prior: Path) -> Words:
    return solve("inpant", prior)


@refused("unknown solver", errors.ConfigError, "unknown method 'redif'", "Did you mean 'reddiff'?")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", prior, "--method", "redif")


@refused("no prior", errors.ConfigError, "solve needs a prior of pictures", "train bmode")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", None)


@refused("k-space from a picture", errors.ConfigError, "k-space is not read from pictures", "--simulate")
def _(folder: Path, prior: Path) -> Words:
    return solve("mri", prior)


@refused("inpainting of nothing", errors.ConfigError, "which pixels count", "--mask")
def _(folder: Path, prior: Path) -> Words:
    return solve("inpaint", prior)


@refused("mask of another size", errors.DataError, "(16, 16)", "expected (32, 48)")
def _(folder: Path, prior: Path) -> Words:
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(folder / "mask.png")
    return solve("inpaint", prior, "--mask", "mask.png")


@refused("mask that is no picture", errors.DataError, "cannot be read as a mask")
def _(folder: Path, prior: Path) -> Words:
    (folder / "mask.png").write_text("white")
    return solve("inpaint", prior, "--mask", "mask.png")


@refused("keeping nothing", errors.ConfigError, "keep must lie in (0, 1], got 0.0")
def _(folder: Path, prior: Path) -> Words:
    return solve("inpaint", prior, "--simulate", "--keep", 0)


@refused("blur of no width", errors.ConfigError, "blur_px must be above 0")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", prior, "--blur-px", 0)


@refused("averaging an optimum", errors.ConfigError, "'reddiff' finds an optimum; only samples")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", prior, "--samples", 4)


@refused("negative noise", errors.ConfigError, "noise >= 0, got 100, 1, -1.0")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", prior, "--noise", -1)


@refused("no file", errors.DataError, "nowhere.png: no such file")
def _(folder: Path, prior: Path) -> Words:
    return solve("blur", prior, source="nowhere.png")


@refused("output exists", errors.ConfigError, "out.npz exists; nothing was overwritten")
def _(folder: Path, prior: Path) -> Words:
    (folder / "out.npz").write_bytes(b"earlier")
    return solve("blur", prior)


@pytest.mark.parametrize(("build", "error", "said"), REFUSED)
def test_bad_input_is_refused_in_words_and_leaves_nothing(
    build: Build,
    error: type[errors.SuffuseError],
    said: tuple[str, ...],
    suffuse: Suffuse,
    tmp_path: Path,
    exact: Path,
) -> None:
    pictures(tmp_path / "in.npz")
    words = build(tmp_path, exact)
    before = contents(tmp_path)
    done = suffuse(*words, "--debug")  # the traceback names the class
    assert contents(tmp_path) == before
    assert done.code == error.exit_code
    assert done.out == ""
    assert re.findall(r"^core\.errors\.(\w+): ", done.err, re.MULTILINE)[-1] == error.__name__
    message = done.err[done.err.rindex("\nerror: ") :]
    for fragment in said:
        assert fragment in message


def test_help_lists_operators_and_solvers(suffuse: Suffuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(suffuse("solve", "--help").out.split())
    assert "inpaint, sr4, blur or mri" in text
    assert "--json" in text
    assert all(name in text for name in METHODS)
