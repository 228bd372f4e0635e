"""The forecasts of the demo: series whose exact law of the future is known, by the model that ships."""

from pathlib import Path
from typing import Any

from core.progress import Progress, silent
from domains.timeseries.data import split
from domains.timeseries.evaluation import evaluate
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats.builtin import read_builtin
from domains.timeseries.plots import plot_forecasts
from domains.timeseries.workflows.opening import beside, evenly, open_run

__all__ = ["simulated_forecasts"]


def simulated_forecasts(
    folder: Path, *, windows: int = 16, samples: int = 32, seed: int = 0, progress: Progress = silent
) -> dict[str, Any]:
    """Forecast held-out days of simulated series, score and draw them.

    Args:
        folder: `forecasts.png` and its numbers go here.
        windows: test windows, out of 32.
        samples: of each.

    Returns:
        Scores of the model, of the exact law, of seasonal naive and ridge on the same windows; the picture's
        name; network calls of a sample.
    """
    table, model = read_builtin("simulated"), open_run("simulated")
    _, every = split(table)
    instances = [every[i] for i in evenly(len(every), windows)]
    settings = model.sampling.model_copy(update={"num_samples": samples})
    made = forecast(model, [item.series for item in instances], settings, seed=seed, progress=progress)
    law = beside(table, instances)
    scored = evaluate(table, made.forecasts, name="TSDiff", season=table.season, others=law, seed=seed)
    chosen = evenly(len(instances), 4)
    plot_forecasts(
        [made.forecasts[i] for i in chosen],
        [instances[i].series for i in chosen],
        folder / "forecasts.png",
        truths=[instances[i].label for i in chosen],
        stamp=table.stamp,
    )
    return {
        "scores": scored["scores"],
        "instances": len(instances),
        "points": model.shape.prediction,
        "samples": samples,
        "calls": made.calls,
        "picture": "forecasts.png",
    }
