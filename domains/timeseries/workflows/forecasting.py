"""Forecasting a table from its end, or its test windows, with a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.data import Forecast, Instance, Series
from domains.timeseries.evaluation import evaluate, markdown_table
from domains.timeseries.forecasting import check_series, forecast
from domains.timeseries.formats.forecasts import write_forecasts
from domains.timeseries.formats.frames import Reading
from domains.timeseries.plots import plot_forecasts
from domains.timeseries.sampling import check_sampling, plan_of
from domains.timeseries.steering import steered_forecast
from domains.timeseries.workflows.opening import Opened, beside, evenly, opened, sampling_of, tests_of

__all__ = ["forecast_file"]

STEERING = ("guidance", "particles")


def forecast_file(
    run: str,
    data: str | Path,
    folder: Path,
    *,
    reading: Reading = Reading(),
    sampling: dict[str, Any] | None = None,
    horizon: int | None = None,
    test_windows: int | None = None,
    steer: str = "guidance",
    nixtla: str | None = None,
    plots: int = 8,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Forecast every series of a table and write samples, quantiles and fan charts.

    Args:
        run: folder or file of a model, or the name of one that ships.
        sampling: settings that replace the model's recommendation; see `SampleConfig`.
        horizon: points; the model's P by default, more in blocks.
        test_windows: forecast the last K windows, whose truth is known, in place of the future; the report
            then has scores.
        steer: "guidance", or "particles" (`steering.steered_forecast`).
        nixtla: name of the model in Nixtla's column names; None for this project's.
        plots: series to draw.

    Returns:
        Report: settings, calls of the network, notes, and with `test_windows` the scores.
    """
    if steer not in STEERING:
        raise ConfigError(f"steer is one of {', '.join(STEERING)}, got '{steer}'.")
    found = opened(run, data, reading, device)
    settings = sampling_of(found.model, sampling or {})
    warnings = check_sampling(found.model, settings)
    if horizon is not None and (test_windows is not None or steer == "particles"):
        raise ConfigError("a horizon of its own goes with forecasts of the future by guidance only.")
    instances = tests_of(found, test_windows) if test_windows is not None else []
    series = [item.series for item in instances] if instances else list(found.table)
    for item in series:
        check_series(found.model, item)
    plan = plan_of(found.model, settings)
    how = "particles, ancestral" if steer == "particles" else f"{settings.guidance} guidance, {plan.name}"
    line = (
        f"forecast {many(len(series), 'window')} with {settings.num_samples} samples: {how}, "
        f"{plan.evaluations} calls each"
    )
    ready(Outlook((*found.plan, line), tuple(warnings), str(found.device)))
    report: dict[str, Any] = {
        "run": run,
        "data": str(data),
        "series": len(series),
        "steer": steer,
        "sampling": settings.model_dump(mode="json"),
    }
    if steer == "particles":
        made = steered_forecast(
            found.model,
            series,
            num_samples=settings.num_samples,
            num_steps=settings.num_steps,
            seed=seed,
            progress=progress,
        )
        forecasts: list[Forecast] = made.forecasts
        report |= {"calls": made.calls, "ess": float(made.ess.mean()), "roots": float(made.roots.mean())}
        notes: Sequence[str] = ()
    else:
        result = forecast(found.model, series, settings, horizon=horizon, seed=seed, progress=progress)
        forecasts, notes = result.forecasts, result.notes
        report |= {"calls": result.calls, "blocks": result.blocks}
    stamp = found.table.stamp
    write_forecasts(forecasts, folder / "forecasts.npz", stamp=stamp, overwrite=overwrite)
    write_forecasts(forecasts, folder / "forecasts.parquet", stamp=stamp, nixtla=nixtla, overwrite=overwrite)
    write_forecasts(forecasts, folder / "forecasts.csv", stamp=stamp, nixtla=nixtla, overwrite=overwrite)
    report |= {"points": len(forecasts[0]), "notes": [*found.table.notes, *notes], "warnings": warnings}
    if instances:
        scored = evaluate(
            found.table,
            forecasts,
            name=found.model.kind,
            prediction_length=found.model.shape.prediction,
            windows=test_windows,
            season=found.model.season,
            others=beside(found.table, instances),
            seed=seed,
        )
        report |= {key: scored[key] for key in ("instances", "scores", "beats", "season", "quantile_rule")}
        report["warnings"] = [*warnings, *scored["warnings"]]
        (folder / "scores.md").write_text(markdown_table(scored), encoding="utf-8")
    _draw(found, forecasts, series, instances, folder, plots)
    return report


def _draw(
    found: Opened,
    forecasts: Sequence[Forecast],
    series: Sequence[Series],
    instances: Sequence[Instance],
    folder: Path,
    plots: int,
) -> None:
    chosen = evenly(len(series), plots)
    if chosen:
        plot_forecasts(
            [forecasts[i] for i in chosen],
            [series[i] for i in chosen],
            folder / "fans.png",
            truths=[instances[i].label for i in chosen] if instances else None,
            stamp=found.table.stamp,
        )
