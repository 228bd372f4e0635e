"""The benchmark of edits counts what it says, and its committed figures keep their limits."""

import json
from typing import Any

import pytest
import torch

from domains.music.weights import shipped
from domains.music.workflows.opening import digest
from tests.benchmarks.music_edits import ADDED, FADE, RESULTS, changed_samples
from tests.benchmarks.music_song import CANVAS

found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
rows = {(row["part"], row["name"]): row for row in found.get("rows", ())}
measured = pytest.mark.skipif(not found, reason="edits were not measured yet")


def test_samples_that_differ_are_counted_in_the_kept_ranges_alone() -> None:
    before = torch.zeros(2, 100)
    after = before.clone()
    after[0, 40:60] = 1
    assert changed_samples(before, after, [(0, 40), (60, 100)]) == 0
    after[1, 3] = 1e-30
    assert changed_samples(before, after, [(0, 40), (60, 100)]) == 1
    assert changed_samples(before, after, [(0, 100)]) == 21


def test_an_extension_fits_one_tile_with_half_of_it_before() -> None:
    assert ADDED <= CANVAS // 2 + 1
    assert FADE == 441  # 20 ms


@measured
@pytest.mark.parametrize("name", ["codec", "song", "student"])
def test_the_measured_weights_are_the_ones_that_ship(name: str) -> None:
    assert found["weights_sha256"][name] == digest(shipped(name) / "model.safetensors")


@measured
def test_nothing_outside_an_edit_is_changed() -> None:
    assert all(row["changed"] == 0 for row in found["rows"] if "changed" in row)


@measured
@pytest.mark.parametrize(
    "name", ["student, own words", "student, new words", "song, own words", "song, new words"]
)
def test_an_edit_has_softer_borders_than_a_cut(name: str) -> None:
    assert rows["edit", name]["seam"][0] < rows["edit", "cut"]["seam"][0]


@measured
def test_the_wrap_of_a_loop_is_no_seam() -> None:
    assert rows["loop", "song, wrap"]["seam"][0] <= 1.5
    assert rows["loop", "cut, wrap"]["seam"][0] > rows["loop", "song, wrap"]["seam"][0]


@measured
def test_copies_are_flagged_and_songs_are_farther_from_training_than_copies() -> None:
    assert rows["memory", "training"]["flagged"][0] > 0.9
    for name in ("student", "song"):
        assert rows["memory", name]["flagged"][0] < 0.5
        assert rows["memory", name]["chords"][2] < rows["memory", "training"]["chords"][1]
