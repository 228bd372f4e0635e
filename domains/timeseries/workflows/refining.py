"""Refining the forecasts of another method on the test windows of a table."""

from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.baselines import ridge, seasonal_naive
from domains.timeseries.config import checked
from domains.timeseries.data import Forecast, Instance, split
from domains.timeseries.evaluation import evaluate, markdown_table, paired
from domains.timeseries.formats.forecast_files import read_forecasts
from domains.timeseries.formats.forecasts import write_forecasts
from domains.timeseries.formats.frames import Reading
from domains.timeseries.plots import plot_refinement
from domains.timeseries.refine import RefineConfig, refine
from domains.timeseries.windows import Windows, usable
from domains.timeseries.workflows.opening import evenly, opened

__all__ = ["refine_file"]

BASES = ("seasonal_naive", "ridge")


def refine_file(
    run: str,
    data: str | Path,
    folder: Path,
    *,
    base: str = "seasonal_naive",
    reading: Reading = Reading(),
    settings: dict[str, Any] | None = None,
    windows: int | None = None,
    tests: int | None = 64,
    plots: int = 2,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Refine base forecasts of the test windows and score them before and after.

    Args:
        base: "seasonal_naive", "ridge", or a file of forecasts of the test windows.
        settings: of `RefineConfig`: method, guidance, iterations, lr, fixed_step ...
        windows: K; the table's own by default.
        tests: windows refined at most, spread over the table; None for all.

    Returns:
        Report: settings, the step tau, the energy before and after, and the scores of both.

    Raises:
        ConfigError: a setting is wrong.
        DataError: the file holds no forecast of a test window.
    """
    config = checked(RefineConfig, {k: v for k, v in (settings or {}).items() if v is not None})
    found = opened(run, data, reading, device)
    p = found.model.shape.prediction
    count = windows if windows is not None else (found.table.rolling_windows or 1)
    training, instances = split(found.table, p, count)
    if tests is not None:
        instances = [instances[i] for i in evenly(len(instances), tests)]
    context = found.model.shape.context
    forecasts: list[Forecast]
    if base == "seasonal_naive":
        forecasts = seasonal_naive(instances, season=found.model.season)
    elif base == "ridge":
        forecasts = ridge(training, instances, context_length=min(context, training.longest - p), seed=seed)
    else:
        forecasts, instances = _read(base, instances, found.table.freq)
    line = (
        f"refine {many(len(instances), 'forecast')} of {base}: {config.method}, {config.guidance}, "
        f"{config.iterations} iterations"
    )
    ready(Outlook((*found.plan, line), device=str(found.device)))
    kept, _ = usable(training, found.model.shape)
    made = refine(
        found.model,
        forecasts,
        [item.series for item in instances],
        config,
        windows=Windows(tuple(kept), found.model.shape),
        seed=seed,
        progress=progress,
    )
    stamp = found.table.stamp
    write_forecasts(made.forecasts, folder / "forecasts.npz", stamp=stamp, overwrite=overwrite)
    write_forecasts(made.forecasts, folder / "refined.parquet", stamp=stamp, overwrite=overwrite)
    scored = evaluate(
        found.table,
        made.forecasts,
        name=f"{base}, refined",
        prediction_length=p,
        windows=count,
        season=found.model.season,
        others={base: forecasts} if base not in BASES else {},
        seed=seed,
    )
    (folder / "scores.md").write_text(markdown_table(scored), encoding="utf-8")
    for number, i in enumerate(evenly(len(instances), plots)):
        plot_refinement(
            forecasts[i],
            made.forecasts[i],
            instances[i].series,
            folder / f"refined-{number}.png",
            truth=instances[i].label,
            stamp=stamp,
        )
    rows = {row["model"]: row["mean_wql"] for row in scored["scores"]}
    return {
        "run": run,
        "data": str(data),
        "base": base,
        "step": made.step,
        "settings": made.config.model_dump(mode="json"),
        "energy_before": float(made.energy[:, 0].mean()),
        "energy_after": float(made.energy[:, -1].mean()),
        "gain": rows[base] - rows[f"{base}, refined"],
        **{key: scored[key] for key in ("instances", "scores", "season", "quantile_rule", "warnings")},
    }


def _read(base: str, instances: list[Instance], freq: str) -> tuple[list[Forecast], list[Instance]]:
    path = Path(base).expanduser()
    if not path.exists():
        raise ConfigError(f"base is {', '.join(BASES)} or a file of forecasts; there is no file '{base}'.")
    read, kept = paired(read_forecasts(path, freq=freq), instances)
    if not all(isinstance(one, Forecast) for one in read):
        raise DataError(
            f"{path.name} holds quantiles; refinement needs samples.", hint="Give an .npz file of samples."
        )
    return [one for one in read if isinstance(one, Forecast)], kept
