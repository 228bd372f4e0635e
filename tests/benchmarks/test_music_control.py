"""The benchmark of control asks what it says, and its committed figures keep their limits."""

import argparse
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from domains.music.control import Loudness, Structure, Target, heard_wave, pattern
from domains.music.frames import HOP, RATE
from domains.music.weights import shipped
from domains.music.workflows.opening import digest
from tests.benchmarks.music_control import (
    FRAMES,
    RESULTS,
    Study,
    asked_of,
    curve,
    faded,
    summary,
    tune,
)

found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
measured = pytest.mark.skipif("weights_sha256" not in found, reason="control was not measured by this script")


def test_a_curve_has_the_level_and_the_spread_it_is_said_to_have() -> None:
    one = curve(-20.0, 3)
    assert one.shape == (FRAMES,)
    assert float(one.mean()) == pytest.approx(-20, abs=1e-3)
    assert float(one.std(correction=0)) == pytest.approx(6, abs=1e-3)
    assert not torch.equal(one, curve(-20.0, 4))


def test_a_tune_has_eight_notes_of_one_scale() -> None:
    for number in range(10):
        notes = tune(number).reshape(8, -1)
        assert bool((notes == notes[:, :1]).all())
        assert set(notes[:, 0].tolist()) <= {0, 2, 4, 5, 7, 9, 11}


@pytest.mark.parametrize("kind", ["loudness", "melody", "structure"])
def test_the_target_of_a_batch_is_that_of_each_song(kind: str) -> None:
    both, each = asked_of(kind, [0, 1], [-20.0, -30.0])
    names = {"loudness": "curve_db", "melody": "classes", "structure": "matrix"}
    whole = getattr(both, names[kind])
    assert torch.equal(whole, torch.stack([getattr(one, names[kind]) for one in each]))


def test_a_fall_is_of_the_sums_and_methods_are_apart() -> None:
    def row(target: int, method: str, before: float, after: float) -> dict[str, Any]:
        return {
            "kind": "loudness",
            "target": target,
            "method": method,
            "loudness_mse_db2, plain": before,
            "loudness_mse_db2, controlled": after,
        }

    rows = [row(0, "DITTO-2", 30.0, 3.0), row(1, "DITTO-2", 10.0, 5.0)]
    rows += [row(0, "DITTO-2, compared", 30.0, 3.0), row(0, "DITTO", 30.0, 6.0)]
    made = summary(rows)
    assert made["loudness, DITTO-2"]["fall"][0] == pytest.approx(1 - 8 / 40)  # not the mean of .9 and .5
    assert made["loudness, DITTO-2, compared"]["fall"][0] == pytest.approx(0.9)
    assert made["loudness, DITTO"]["fall"][0] == pytest.approx(0.8)
    assert made["loudness, DITTO-2"]["n"] == 2


class Loud:
    """A codec of one channel whose wave is the latent, held for a frame."""

    rate, hop, channels = RATE, HOP, 1

    def decode(self, latent: Tensor) -> Tensor:
        return latent.repeat_interleave(HOP, -1)


def test_a_song_beyond_full_scale_is_lowered_and_clipped_only_where_its_loudness_is_asked() -> None:
    ramp = torch.linspace(-2, 2, FRAMES)[None].repeat(2, 1)[:, None]
    study = Study(argparse.Namespace(), None, None, Loud())  # type: ignore[arg-type]
    asked: list[Target] = [Structure(pattern("ABA", FRAMES)), Loudness(torch.full((FRAMES,), -20.0))]
    _, (lowered, clipped) = study.saved(ramp, asked)
    whole = ramp[0, 0].repeat_interleave(HOP)
    assert torch.allclose(lowered, whole / 2, atol=1e-4)  # 16 bits
    assert torch.allclose(clipped, whole.clamp(-1, 1), atol=1e-4)


def test_a_faded_song_follows_its_curve() -> None:
    gen = torch.Generator().manual_seed(0)
    wave = 0.05 * torch.randn(FRAMES * HOP, generator=gen)
    target = Loudness(curve(-25.0, 1))
    before, after = (
        float(target.report(heard_wave(one[None], RATE, HOP))["loudness_mse_db2"])
        for one in (wave, faded(wave, target))
    )
    assert after < 0.1 < 30 < before


@measured
@pytest.mark.parametrize("name", ["codec", "song", "student"])
def test_the_measured_weights_are_the_ones_that_ship(name: str) -> None:
    assert found["weights_sha256"][name] == digest(shipped(name) / "model.safetensors")


@measured
def test_control_reaches_what_is_asked_of_it() -> None:
    level, melody, form = (
        found["summary"][f"{kind}, DITTO-2"] for kind in ("loudness", "melody", "structure")
    )
    assert (level["n"], melody["n"]) == (20, 10)
    assert level["fall"][0] >= 0.8
    assert level["loudness_r, controlled"][0] >= 0.9
    assert melody["melody_accuracy, controlled"][0] >= 0.6
    assert form["fall"][0] >= 0.7


@measured
def test_the_student_is_controlled_at_a_tenth_of_the_cost() -> None:
    ditto, fast = (found["summary"][f"loudness, {name}"] for name in ("DITTO", "DITTO-2, compared"))
    assert ditto["processor_s"][0] >= 10 * fast["processor_s"][0]
    assert ditto["calls"][0] >= 10 * fast["calls"][0]
