"""The committed tables of graphs say what the documents say: cost, plans, scores, guidance."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rdkit", reason="needs the extra 'graphs'")

from domains.graphs.gdss import load_model
from domains.graphs.weights import shipped
from tests.benchmarks import graphs_cost, graphs_guidance, graphs_molecules, graphs_seeds


def table(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def test_both_networks_cost_less_than_before_and_half_of_the_reference() -> None:
    cost = table(graphs_cost.RESULTS)
    for task in ("training_step", *(f"s4_step, chunk {chunk}" for chunk in graphs_cost.CHUNKS)):
        assert cost[task]["here"]["least_cpu_s"] < cost[task]["before"]["least_cpu_s"]
    assert cost["training_step"]["here"]["median_cpu_s"] < cost["reference"]["training_step"] / 2
    least = min(cost[f"s4_step, chunk {chunk}"]["here"]["least_cpu_s"] for chunk in graphs_cost.CHUNKS)
    assert 1000 * least < cost["reference"]["s4_1000_steps"] / 2


def test_every_seed_lies_above_the_floor() -> None:
    seeds = table(graphs_seeds.RESULTS)
    for row in seeds["seeds"].values():
        assert row["mean"]["mmd"] > row["mean"]["floor"] > 0
    least = min(seeds["seeds"], key=lambda seed: seeds["seeds"][seed]["to_training"])
    assert seeds["chosen"] == least


def test_the_plan_of_the_shipped_model_is_the_chosen_one() -> None:
    found = table(graphs_molecules.RESULTS)
    model = load_model(shipped("qm9-small"))
    assert model.sampling == graphs_molecules.PLANS[found["chosen"]]
    assert model.config.properties == graphs_molecules.TOLD


def test_a_thousand_molecules_cost_a_third_of_the_reference() -> None:
    found = table(graphs_molecules.RESULTS)
    chosen = found["plans"][found["chosen"]]
    assert chosen["cpu_s_per_1000"] < found["reference"]["s4_1000_cpu_s_per_1000"] / 3
    assert chosen["valid_without_correction"] > 0.85


def test_telling_the_model_logp_moves_logp() -> None:
    rows = table(graphs_guidance.RESULTS)["rows"]
    plain, told = rows["unguided"]["logp"], rows["told logp, 1"]["logp"]
    target = graphs_guidance.TARGETS["logp"]
    assert abs(told["mean"] - target) < abs(plain["mean"] - target) - 4 * (plain["se"] + told["se"])
