"""suffuse ultrasound sample: frames from the shipped prior, and the options of noise search."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.search_options import chosen
from core.errors import ConfigError
from domains.ultrasound.formats.dispatch import read
from domains.ultrasound.sampling import VERIFIERS
from tests.apps.conftest import Suffuse

SMALL = ("--n", "1", "--size", "32x32", "--steps", "6", "--quiet", "--device", "cpu")


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_frames_are_the_same_whatever_is_drawn_beside_them(suffuse: Suffuse, tmp_path: Path) -> None:
    one, two = tmp_path / "one.hdf5", tmp_path / "two.hdf5"
    assert suffuse("sample", "-o", str(one), *SMALL).code == 0
    assert suffuse("sample", "-o", str(two), *SMALL, "--n", "2").code == 0
    first, both = read(one).values, read(two).values
    assert first.shape == (1, 32, 32)
    assert np.iscomplexobj(first)
    assert np.array_equal(first[0], both[0])
    assert (tmp_path / "two.run" / "frame-1.png").exists()


@pytest.mark.parametrize("method", ["random", "zero-order", "paths"])
def test_a_search_reports_cost_yardsticks_and_what_it_did_not_look_for(
    suffuse: Suffuse, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "found.npz"
    args = (*SMALL, "--search", method, "--verifier", "cavity", "--budget", "60")
    assert suffuse("sample", "-o", str(out), *args).code == 0
    found = report(tmp_path / "found.run")
    assert found["evaluations_per_frame"] <= 60
    assert found["second"] == "speckle"
    rows = {row["verifier"]: row for row in found["scores"]}
    assert rows["cavity"]["searched"]
    assert not rows["speckle"]["searched"]
    assert all(np.isfinite(row["simulated"]) for row in rows.values())
    tried = [row["score"] for row in found["tried"] if row["final"]]
    assert rows["cavity"]["these"] == pytest.approx(max(tried), rel=1e-4)
    assert (tmp_path / "found.run" / "search.png").exists()
    assert len((tmp_path / "found.run" / "search.csv").read_text().splitlines()) == 1 + len(found["tried"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--verifier", "cavity"), "--verifier was given without a search"),
        (("--budget", "9"), "--budget was given without a search"),
        (("--search", "random"), "needs to know what to look for"),
        (("--search", "randm", "--verifier", "cavity"), "Did you mean 'random'?"),
        (("--search", "random", "--verifier", "cavty"), "Did you mean 'cavity'?"),
        (("--search", "random", "--verifier", "cavity", "--budget", "5"), "search needs 6 evaluations"),
        (("--size", "32"), "a patch is samples x lines"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing_behind(
    suffuse: Suffuse, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    found = suffuse("sample", "-o", str(tmp_path / "x.hdf5"), *SMALL, *args)
    assert found.code == 2
    assert said in found.err
    assert list(tmp_path.iterdir()) == []


def test_sixteen_runs_are_the_default_budget() -> None:
    assert chosen("random", "cavity", None, steps=7).budget == 112
    assert chosen("5", "cavity", None, steps=7).budget == 35
    assert chosen(None, None, None, steps=7) is None
    with pytest.raises(ConfigError):
        chosen("random", "cavity", 0, steps=7)


def test_fully_developed_speckle_scores_best() -> None:
    """Windows of 64 Rayleigh samples have mean / std 1.95 on average, bright ones as well."""
    gen = torch.Generator().manual_seed(0)
    speckle = 0.02 * torch.randn(8, 2, 64, 64, generator=gen)
    flat = torch.full((8, 2, 64, 64), 0.3)
    scores = VERIFIERS["speckle"](speckle)
    assert float(scores.mean()) > -0.15
    assert float(VERIFIERS["speckle"](flat).max()) < -10
    dark = speckle.clone()
    dark[:, :, :16] *= 0.01
    assert bool((VERIFIERS["cavity"](dark) > VERIFIERS["cavity"](speckle)).all())
    assert bool((VERIFIERS["bright"](dark) < VERIFIERS["bright"](speckle)).all())
