"""Training a model of a table, and scoring it on the windows that were held out for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.config import DATASETS, SampleConfig, checked, preset_for
from domains.timeseries.data import Instance, Table, split
from domains.timeseries.evaluation import evaluate, markdown_table
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.plots import plot_forecasts
from domains.timeseries.training import build, default_sampling, prepare, train
from domains.timeseries.workflows.opening import beside, evenly

__all__ = ["train_file"]


def train_file(
    data: str | Path,
    folder: Path,
    *,
    reading: Reading = Reading(),
    preset: str = "tiny",
    prediction_length: int | None = None,
    windows: int | None = None,
    changes: Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
    tests: int = 64,
    plots: int = 4,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a model and write it, its log and its scores into a folder.

    Args:
        data: what `formats.read_table` reads.
        preset: "tiny", "small" or "paper".
        prediction_length: P; None takes the table's.
        windows: K test windows kept from training; None takes the table's, else 1; 0 trains on everything.
        changes: settings that replace those of the preset.
        sampling: settings of the sampler, kept as the model's recommendation.
        tests: test windows forecast for the report, at most.
        plots: of them, to draw.

    Returns:
        Report: parameters, notes, validation scores by step, and the scores of the test windows beside
        seasonal naive and ridge.

    Raises:
        ConfigError: the prediction length is not known, or a setting is wrong.
        DataError: no series is long enough.
    """
    where, note = choose_device(device)
    table = open_table(data, reading)
    p = prediction_length or table.prediction_length
    if p is None:
        raise ConfigError(
            f"{data} does not say how many points are forecast.", hint="Pass --prediction-length, such as 24."
        )
    count = windows if windows is not None else (table.rolling_windows or 1)
    training, instances = split(table, p, count) if count else (table, [])
    own = {"context_length": table.context_length} if table.context_length and preset != "tiny" else {}
    config = preset_for(
        preset,
        prediction_length=p,
        freq=table.freq,
        dataset=table.name if table.name in DATASETS else None,
        changes={**own, **(changes or {})},
    )
    recommended = checked(SampleConfig, {**default_sampling(config).model_dump(), **(sampling or {})})
    prepared = prepare(training, config)
    size = sum(weight.numel() for weight in build(prepared, config, seed).parameters())
    plan = (
        f"train {config.kind} on {data}: {len(training)} series, frequency {table.freq}, preset {preset}, "
        f"{size:,} parameters",
        f"windows of {prepared.shape.context} + {p} points, lags {list(prepared.shape.lags) or 'none'}; "
        f"{config.steps:,} steps of {config.batch} windows",
        f"{many(len(prepared.validation), 'window')} held out for validation, {len(instances)} for tests",
        *(f"note: {line}" for line in (*training.notes, *prepared.notes)),
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    trained = train(
        training,
        config,
        sampling=recommended,
        seed=seed,
        folder=folder,
        resume=resume,
        device=where,
        preset=preset,
        progress=progress,
    )
    report: dict[str, Any] = {
        "model": str(folder / "model.safetensors"),
        "data": table.name or str(data),
        "kind": config.kind,
        "preset": preset,
        "parameters": size,
        "context_length": prepared.shape.context,
        "prediction_length": p,
        "lags": list(prepared.shape.lags),
        "steps": config.steps,
        "validation_mean_wql": {str(step): value for step, value in trained.scores.items()},
        "sampling": trained.model.sampling.model_dump(mode="json"),
        "notes": [*training.notes, *trained.notes],
    }
    if instances:
        some = [instances[i] for i in evenly(len(instances), tests)]
        found = forecast(trained.model, [item.series for item in some], seed=seed, progress=progress)
        scored = evaluate(
            table,
            found.forecasts,
            name=config.kind,
            prediction_length=p,
            windows=count,
            season=prepared.season,
            others=beside(table, some),
            seed=seed,
        )
        report |= {
            key: scored[key]
            for key in ("instances", "scores", "beats", "season", "quantile_rule", "warnings")
        }
        (folder / "scores.md").write_text(markdown_table(scored), encoding="utf-8")
        _draw(table, found.forecasts, some, folder, plots)
    return report


def _draw(table: Table, forecasts: Any, instances: list[Instance], folder: Path, plots: int) -> None:
    chosen = evenly(len(instances), plots)
    if chosen:
        plot_forecasts(
            [forecasts[i] for i in chosen],
            [instances[i].series for i in chosen],
            folder / "forecasts.png",
            truths=[instances[i].label for i in chosen],
            stamp=table.stamp,
        )
