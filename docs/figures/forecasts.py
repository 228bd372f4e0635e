"""What the shipped models of time series score, and the README figure of forecasts.

Run from the root: python -m docs.figures.forecasts
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import DataError
from docs.figures.scores import marked
from domains.timeseries.data import Table, split
from domains.timeseries.evaluation import evaluate
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats.read import open_table
from domains.timeseries.plots import plot_forecasts
from domains.timeseries.tsdiff import load_model
from domains.timeseries.weights import SHIPPED, cards, shipped
from domains.timeseries.workflows.opening import beside, evenly

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
SAMPLES = 100
M4 = "suffuse timeseries train m4_hourly --preset tiny"
# Table that a shipped model is scored on, how many of its test windows, and the command that made the model.
TESTED: dict[str, tuple[str, int, str]] = {
    "simulated": (
        "simulated",
        32,
        "suffuse timeseries train simulated --preset tiny -c 96 -o sim && "
        "suffuse timeseries tune-scale sim simulated --scales 1,2,3,4,6 --most 16 --save",
    ),
    "m4-hourly": (
        "m4_hourly",
        64,
        f"{M4} -o m4; the scale of guidance by python -m tests.benchmarks.timeseries_quality --only tuning",
    ),
    "m4-hourly-flow": ("m4_hourly", 64, f"{M4} --kind tsflow -o flow"),
}


def chosen_windows(count: int, wanted: int) -> list[int]:
    """All windows, or the first of a permutation by seed 1: the named subset of the specification."""
    if wanted >= count:
        return list(range(count))
    return [int(i) for i in np.random.default_rng(1).permutation(count)[:wanted]]


def scored(name: str, table: Table, windows: int) -> tuple[dict[str, Any], Any, Any]:
    """Scores of one model, the forecasts and the test windows."""
    model = load_model(shipped(name))
    _, every = split(table, model.shape.prediction)
    instances = [every[i] for i in chosen_windows(len(every), windows)]
    settings = model.sampling.model_copy(update={"num_samples": SAMPLES})
    made = forecast(model, [item.series for item in instances], settings, seed=0)
    report = evaluate(
        table,
        made.forecasts,
        name=model.kind,
        prediction_length=model.shape.prediction,
        season=model.season,
        others=beside(table, instances),
    )
    keys = ("model", "mean_wql", "mean_wql_standard_error", "nd", "mase", "coverage_50", "coverage_90")
    facts = {
        "data": table.name,
        "freq": table.freq,
        "context_length": model.shape.context,
        "prediction_length": model.shape.prediction,
        "instances": len(instances),
        "samples": SAMPLES,
        "seed": 0,
        "sampling": model.sampling.model_dump(mode="json"),
        "parameters": sum(weight.numel() for weight in model.denoiser.parameters()),
        "scores": [{key: row[key] for key in keys} for row in report["scores"]],
    }
    return facts, made.forecasts, instances


def table_of(cards: list[dict[str, Any]]) -> str:
    """The README's table: every shipped model beside its baselines."""
    names = {
        "tsdiff": "**TSDiff, shipped**",
        "tsflow": "**TSFlow, shipped**",
        "seasonal_naive": "seasonal naive",
        "ridge": "ridge regression",
    }
    lines = ["| data | forecast | mean wQL | MASE | 90 % band covers |", "| --- " * 5 + "|"]
    for card in cards:
        for row in sorted(card["scores"], key=lambda row: -row["mean_wql"]):
            covers = "" if row["coverage_90"] is None else f"{100 * row['coverage_90']:.0f} %"
            where = f"`{card['data']}`, {card['instances']} windows of {card['prediction_length']}"
            name = names.get(row["model"], row["model"])
            error = f"{row['mean_wql']:.4f} ± {row['mean_wql_standard_error']:.4f}"
            lines.append(f"| {where} | {name} | {error} | {row['mase']:.3f} | {covers} |")
    return "\n".join(lines) + "\n"


def write_readme() -> None:
    """Carry the scores into the README."""
    page = README.read_text("utf-8")
    README.write_text(marked("forecasts").sub(rf"\g<1>{table_of(cards())}\g<2>", page), "utf-8")


def main() -> None:
    torch.set_num_threads(1)
    for name in SHIPPED:
        source, windows, command = TESTED[name]
        try:
            table = open_table(source)
        except DataError as err:
            print(f"{name}: left as it is, {err}")
            continue
        facts, forecasts, instances = scored(name, table, windows)
        path = shipped(name) / "scores.json"
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        facts = {"command": command or known.get("command", ""), **facts}
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        if name == "simulated":
            chosen = evenly(len(instances), 4)
            picture, numbers = plot_forecasts(
                [forecasts[i] for i in chosen],
                [instances[i].series for i in chosen],
                HERE / "forecasts.png",
                truths=[instances[i].label for i in chosen],
                stamp=table.stamp,
            )
            numbers.unlink()  # the scores are what the text quotes
            (HERE / "forecasts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            print(picture)
        print(path, {row["model"]: round(row["mean_wql"], 4) for row in facts["scores"]})
    write_readme()


if __name__ == "__main__":
    main()
