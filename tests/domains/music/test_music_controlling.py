"""The workflow of control: DITTO through all steps of a song model, and a surrogate of fewer."""

from pathlib import Path
from typing import Any

import pytest

from domains.music.request import SongRequest
from domains.music.workflows import Asked, Writing, control_file
from tests.domains.music.kit import make_kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kit(tmp_path_factory.mktemp("kit"))


def made(kit: Path, out: Path, surrogate: int) -> dict[str, Any]:
    request = SongRequest(
        operation="control", model=str(kit), style="piano, female", length_s=2.0, device="cpu"
    )
    asked = Asked(loudness="swell", surrogate=surrogate, iterations=2)
    control: dict[str, Any] = control_file(request, asked, Writing(out))["control"]
    return control


@pytest.mark.parametrize(
    ("surrogate", "method", "calls"),
    # The kit decodes with two steps of two calls. DITTO: two iterations of 4 calls, repeated going back, and
    # a last look of 4, which is decoded already. DITTO-2: two of 2, a look of 2, decoded at both ends.
    [(2, "DITTO", 2 * 8 + 4), (1, "DITTO-2", 2 * 2 + 2 + 2 * 4)],
)
def test_the_calls_are_those_of_the_method(
    kit: Path, tmp_path: Path, surrogate: int, method: str, calls: int
) -> None:
    control = made(kit, tmp_path / "a.flac", surrogate)
    assert control["method"] == method
    assert control["calls"] == calls
    assert control["loss_after"][0] <= control["loss_before"][0]
    assert control["asked"] == {
        "loudness": "swell",
        "surrogate": surrogate,
        "iterations": 2,
        "lr": 0.01,
        "norm_weight": 0.0,
        "space": "spec",
    }
