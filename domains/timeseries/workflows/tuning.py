"""Tuning the strength of guidance on validation windows, whose truth the model was not told."""

from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.data import Instance, Series
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats.frames import Reading
from domains.timeseries.metrics import score
from domains.timeseries.plots import plot_scores
from domains.timeseries.sampling import check_sampling
from domains.timeseries.tsdiff import save_model
from domains.timeseries.workflows.opening import evenly, opened, sampling_of

__all__ = ["SCALES", "tune_scale_file"]

SCALES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def tune_scale_file(
    run: str,
    data: str | Path,
    folder: Path,
    *,
    reading: Reading = Reading(),
    scales: tuple[float, ...] = SCALES,
    sampling: dict[str, Any] | None = None,
    skip_windows: int | None = None,
    most: int = 32,
    save: bool = False,
    seed: int = 0,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score several guidance scales on the window before the test windows.

    Args:
        scales: s.
        sampling: other settings of the sampler.
        skip_windows: test windows at the end that must not be looked at; the table's own by default, else 1.
        most: series scored, spread over the table.
        save: store the best as the model's recommendation (a model that ships is never changed).

    Returns:
        Report: validation mean weighted quantile loss of each scale, the best one.

    Raises:
        ConfigError: the model takes no guidance, or no scale is given.
    """
    found = opened(run, data, reading, device)
    model, p = found.model, found.model.shape.prediction
    if model.kind != "tsdiff":
        raise ConfigError(f"a model of kind '{model.kind}' takes no guidance; there is nothing to tune.")
    if not scales or min(scales) <= 0:
        raise ConfigError(f"scales must be positive, got {list(scales)}.")
    if save and not Path(run).exists():
        raise ConfigError(f"'{run}' ships with the project and is not changed.", hint="Leave --save out.")
    skip = skip_windows if skip_windows is not None else (found.table.rolling_windows or 1)
    instances = [
        instance for instance in (_validation(item, p, skip) for item in found.table) if instance is not None
    ]
    if not instances:
        raise ConfigError(
            f"no series has {p} points before its last {skip} test windows.", hint="Pass --skip-windows 0."
        )
    instances = [instances[i] for i in evenly(len(instances), most)]
    settings = [sampling_of(model, {**(sampling or {}), "scale": scale}) for scale in scales]
    warnings = check_sampling(model, settings[0])
    line = f"tune the scale of guidance over {list(scales)} on {many(len(instances), 'window')}"
    ready(Outlook((*found.plan, line), tuple(warnings), str(found.device)))
    rows = []
    for number, each in enumerate(settings):
        progress("tune", number, len(settings), None)
        made = forecast(model, [item.series for item in instances], each, seed=seed)
        scores = score(made.forecasts, instances, season=model.season)
        rows.append(
            {
                "scale": each.scale,
                "mean_wql": scores.mean_wql,
                "standard_error": scores.to_dict()["mean_wql_standard_error"],
                "coverage_80": scores.to_dict()["coverage_80"],
            }
        )
    progress("tune", len(settings), len(settings), None)
    best = min(range(len(rows)), key=lambda i: rows[i]["mean_wql"])
    plot_scores(
        {f"s = {row['scale']:g}": row["mean_wql"] for row in rows},
        folder / "scales.png",
        label="mean weighted quantile loss, validation",
    )
    if save:
        path = Path(run)
        kept = settings[best].model_copy(update={"num_samples": model.sampling.num_samples})
        save_model(model.with_sampling(kept), path if path.is_dir() else path.parent)
    return {
        "run": run,
        "data": str(data),
        "windows": len(instances),
        "sampling": settings[best].model_dump(mode="json"),
        "scales": rows,
        "best_scale": settings[best].scale,
        "saved": save,
    }


def _validation(item: Series, p: int, skip: int) -> Instance | None:
    """The window that ends where the test windows begin."""
    end = len(item) - skip * p
    if end - p < 1:
        return None
    return Instance(item.upto(end - p), item.target[end - p : end])
