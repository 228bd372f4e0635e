"""What the shipped models of M4 hourly series score on 64 named test instances, and what each method adds.

    python -m tests.benchmarks.timeseries_quality                     # prints the table
    python -m tests.benchmarks.timeseries_quality --only samplers     # one part of it
    python -m tests.benchmarks.timeseries_quality --write             # and keeps it in
    results/timeseries.json

The instances are series `numpy.random.default_rng(1).permutation(414)[:64]` of `m4_hourly`, their last 48
points the labels. Scores are mean weighted quantile losses over levels 0.1 .. 0.9 (sums first, GluonTS's
order statistic) with their standard error over instances; seasonal naive and ridge are scored on the same
instances. Everything runs on one thread and takes about half an hour of processor time.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import DataError
from domains.timeseries.baselines import ridge, seasonal_naive
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Forecast, Instance, Table, split
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats import read_table
from domains.timeseries.imputation import imputation_scores, impute, with_scenario
from domains.timeseries.lps import linear_predictive_score, real_windows
from domains.timeseries.metrics import LEVELS, quantile_losses, score
from domains.timeseries.refine import RefineConfig, refine, representative_step
from domains.timeseries.steering import steered_forecast
from domains.timeseries.synthesize import synthesize
from domains.timeseries.tsdiff import SeriesModel, load_model
from domains.timeseries.weights import shipped
from domains.timeseries.windows import Windows
from tests.conftest import data_root

RESULTS = Path(__file__).parent / "results" / "timeseries.json"
SEASON, SAMPLES = 24, 32
MODELS = {"tsdiff": "m4-hourly", "tsflow": "m4-hourly-flow"}


@cache
def m4() -> tuple[Table, list[Instance]]:
    """The training series, and the 64 named test instances."""
    root = data_root()
    path = root / "timeseries" / "m4_hourly" if root else None
    if path is None or not path.exists():
        raise DataError(
            "real data 'timeseries/m4_hourly' not found.", hint="Set SUFFUSE_DATA to their folder."
        )
    training, instances = split(read_table(path))
    return training, [instances[i] for i in np.random.default_rng(1).permutation(414)[:64]]


@cache
def model(kind: str) -> SeriesModel:
    return load_model(shipped(MODELS[kind]))


def row(forecasts: Sequence[Forecast], spent: float | None = None, **extra: Any) -> dict[str, Any]:
    found = score(forecasts, m4()[1], season=SEASON)
    out: dict[str, Any] = {
        "mean_wql": found.mean_wql,
        "standard_error": found.mean_wql_standard_error,
        "nd": found.nd,
        "mase": found.mase,
        "coverage_50": found.coverage["50"],
        "coverage_80": found.coverage["80"],
    }
    rounded = {name: None if value is None else round(value, 4) for name, value in out.items()}
    return rounded | ({} if spent is None else {"cpu_seconds": round(spent, 1)}) | extra


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return run(), time.process_time() - start


def sampled(kind: str, sampling: SampleConfig, seed: int = 0) -> dict[str, Any]:
    made, spent = timed(lambda: forecast(model(kind), [i.series for i in m4()[1]], sampling, seed=seed))
    return row(made.forecasts, spent, calls=made.calls)


def best() -> SampleConfig:
    return model("tsdiff").sampling.model_copy(update={"num_samples": SAMPLES})


def baselines() -> dict[str, Any]:
    training, instances = m4()
    return {
        "seasonal naive": row(seasonal_naive(instances, season=SEASON)),
        "ridge, context 312": row(ridge(training, instances, context_length=312)),
        "ridge, context 96": row(ridge(training, instances, context_length=96)),
    }


def shipped_models() -> dict[str, Any]:
    flow = model("tsflow").sampling.model_copy(update={"num_samples": SAMPLES})
    many = best().model_copy(update={"num_samples": 100})
    return {
        "TSDiff-Q, as shipped": sampled("tsdiff", best()),
        "TSDiff-Q, as shipped, 100 samples": sampled("tsdiff", many),
        "TSDiff-Q, as shipped, other seed": sampled("tsdiff", best(), seed=1),
        "TSFlow, 32 Euler steps": sampled("tsflow", flow),
        "TSFlow, 8 Euler steps": sampled("tsflow", flow.model_copy(update={"num_steps": 8})),
        "TSFlow, 100 samples": sampled("tsflow", flow.model_copy(update={"num_samples": 100})),
    }


def tuning() -> dict[str, Any]:
    """The guidance scale on the last 48 training points of 128 series, which training did not see.

    The sums of `mean_wql` are those of a few large series; `scale_free` divides the quantile loss of each
    instance by the mean absolute value of its context first, and is what the shipped scale is chosen by.
    """
    training, _ = m4()
    series = [training.series[i] for i in np.random.default_rng(1).permutation(414)[:128]]
    held = [Instance(item.upto(len(item) - 48), item.target[-48:]) for item in series]
    labels = np.stack([instance.label for instance in held])
    scales = np.array([np.abs(instance.series.target[-96:]).mean() for instance in held])

    def entry(forecasts: Sequence[Forecast]) -> dict[str, float | None]:
        quantiles = np.array([[one.quantile(level) for one in forecasts] for level in LEVELS])
        each = quantile_losses(labels, quantiles, LEVELS).mean((0, 2)) / scales
        found = score(forecasts, held, season=SEASON)
        out = {"scale_free": each.mean(), "standard_error": each.std() / np.sqrt(len(each))}
        out |= {"mean_wql": found.mean_wql, "mase": found.mase, "coverage_80": found.coverage["80"]}
        return {name: None if value is None else round(float(value), 4) for name, value in out.items()}

    out: dict[str, Any] = {"seasonal naive": entry(seasonal_naive(held, season=SEASON))}
    for scale in (1.0, 2.0, 3.0, 4.0, 6.0):
        sampling = best().model_copy(update={"scale": scale})
        made = forecast(model("tsdiff"), [instance.series for instance in held], sampling)
        out[f"scale {scale:g}"] = entry(made.forecasts)
    return out


def samplers() -> dict[str, Any]:
    """Published quality at a fraction of the calls: the same weights under other plans."""
    base, out = best(), {}
    for name, changes in {
        "ddim 10": {"num_steps": 10},
        "ddim 25": {"num_steps": 25},
        "ddim 50": {"num_steps": 50},
        "default plan 20": {"sampler": "default", "num_steps": 20},
        "ddim 20, scale 2": {"scale": 2},
        "ddpm 100, paper, scale 2": {"sampler": "ddpm", "num_steps": None, "scale": 2},
        "ddpm 100, reference, scale 2": {
            "sampler": "ddpm",
            "num_steps": None,
            "scale": 2,
            "placement": "reference",
        },
        "ddpm 100, paper, scale 4": {"sampler": "ddpm", "num_steps": None, "scale": 4},
        "ddim 20, squared error, scale 1": {"guidance": "mse", "scale": 1},
    }.items():
        out[name] = sampled("tsdiff", base.model_copy(update=changes))
    return out


def particles() -> dict[str, Any]:
    """Self-guidance and twisted particles, both with one call and one gradient per step and sample."""
    out = {}
    series = [instance.series for instance in m4()[1]]
    guided = best().model_copy(update={"sampler": "ddpm", "num_steps": 20})
    out["self-guidance, ancestral 20"] = sampled("tsdiff", guided)
    for noise in (0.1, 0.5, 2.0):
        made, spent = timed(
            lambda noise=noise: steered_forecast(
                model("tsdiff"), series, num_samples=SAMPLES, num_steps=20, noise=noise
            )
        )
        out[f"particles, ancestral 20, noise {noise}"] = row(
            made.forecasts, spent, calls=made.calls, mean_ess=round(float(made.ess.mean()), 2),
            mean_roots=round(float(made.roots.mean()), 2),
        )  # fmt: skip
    return out


def refinement() -> dict[str, Any]:
    training, instances = m4()
    series = [instance.series for instance in instances]
    step = representative_step(model("tsdiff"), Windows(training.series, model("tsdiff").shape))
    bases = {
        "seasonal naive": seasonal_naive(instances, season=SEASON),
        "ridge": ridge(training, instances, context_length=312),
    }
    out: dict[str, Any] = {"representative_step": step}
    for name, base in bases.items():
        out[name] = {"before": row(base)}
        for method in ("ml", "lmc"):
            for guidance in ("mse", "quantile"):
                config = RefineConfig(method=method, guidance=guidance, fixed_step=step, num_samples=SAMPLES)  # type: ignore[arg-type]
                made, spent = timed(
                    lambda base=base, config=config: refine(model("tsdiff"), base, series, config)
                )
                out[name][f"{method}, {guidance}"] = row(made.forecasts, spent)
    return out


def missing() -> dict[str, Any]:
    """Half of the context hidden, and gaps of a day in the middle of a history."""
    _, instances = m4()
    context, out = model("tsdiff").shape.context, {}
    for name in ("RM", "BM-B", "BM-E"):
        series = [with_scenario(instance.series, name, context) for instance in instances]
        made, spent = timed(lambda series=series: forecast(model("tsdiff"), series, best()))
        out[f"forecast under {name}"] = row(made.forecasts, spent)
    some = [instance.series for instance in instances[:32]]
    masks = []
    for item in some:
        known = np.isfinite(item.target)
        known[-200:-176] = False
        masks.append(known)
    made, spent = timed(lambda: impute(model("tsdiff"), some, best(), known=masks))
    found = imputation_scores(made, [item.target for item in some])
    out["gap of 24 hours"] = {name: round(value, 4) for name, value in found.items()} | {
        "cpu_seconds": round(spent, 1)
    }
    return out


def synthesis() -> dict[str, Any]:
    training, instances = m4()
    shape = model("tsdiff").shape
    windows, spent = timed(lambda: synthesize(model("tsdiff"), 2000))
    real = real_windows(
        training,
        2000,
        context_length=shape.context,
        prediction_length=shape.prediction,
        gen=np.random.default_rng(0),
    )
    return {
        "windows": 2000,
        "lps of synthetic windows": round(
            linear_predictive_score(windows, instances, prediction_length=48), 4
        ),
        "lps of real windows": round(linear_predictive_score(real, instances, prediction_length=48), 4),
        "cpu_seconds": round(spent, 1),
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "baselines": baselines,
    "shipped": shipped_models,
    "tuning": tuning,
    "samplers": samplers,
    "particles": particles,
    "refinement": refinement,
    "missing": missing,
    "synthesis": synthesis,
}


def main() -> None:
    options = argparse.ArgumentParser(description="Score the shipped models of series on M4 hourly.")
    options.add_argument("--only", choices=PARTS, action="append", help="these parts alone")
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = (
        json.loads(RESULTS.read_text("utf-8")) if arguments.only and RESULTS.exists() else {}
    )
    report |= {
        "command": "python -m tests.benchmarks.timeseries_quality --write",
        "settings": f"64 instances of m4_hourly, {SAMPLES} samples unless stated, context 96, one thread",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    for name in arguments.only or PARTS:
        report[name] = PARTS[name]()
        print(json.dumps({name: report[name]}, indent=2), flush=True)
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
