"""The committed table of the community-small model keeps what `tests.benchmarks.graphs` measured."""

import json
from typing import Any

import pytest

pytest.importorskip("rdkit", reason="needs the extra 'graphs'")

from domains.graphs.gdss import load_model
from domains.graphs.weights import SHIPPED, cards, shipped
from tests.benchmarks.graphs import REFERENCE, RESULTS, ROWS

report: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
rows: dict[str, Any] = report["rows"]


def test_every_row_stands_beside_its_floor() -> None:
    assert set(rows) <= set(ROWS)
    for row in rows.values():
        assert all(
            row[metric]["mmd"] > row[metric]["floor"] > 0 for metric in ("degree", "clustering", "orbit")
        )


def test_a_training_step_costs_at_most_half_of_the_reference() -> None:
    assert report["training_step_cpu_s"] <= REFERENCE["train_cpu_s"] / 2  # type: ignore[operator]


def test_a_matched_start_is_what_few_steps_need() -> None:
    assert rows["default, 50"]["mean"]["mmd"] < 0.5 * rows["default, 50, normal start"]["mean"]["mmd"]
    assert rows["default, 50"]["mean"]["mmd"] < rows["s4, 100"]["mean"]["mmd"]


@pytest.mark.parametrize("name", ["community-small", "small-molecules"])
def test_shipped_models_load(name: str) -> None:
    assert name in SHIPPED
    assert load_model(shipped(name)).denoiser.process is not None
    assert (shipped(name) / "model.safetensors").stat().st_size < 2**20
    assert all("command" in card for card in cards())
