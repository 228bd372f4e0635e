"""Drawing synthetic windows, and scoring them by what a linear map learns from them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.timeseries.config import SampleConfig, checked
from domains.timeseries.data import Instance, split
from domains.timeseries.density_plots import plot_windows
from domains.timeseries.downstream import Downstream, downstream_score
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.formats.write import write_table
from domains.timeseries.lps import linear_predictive_score, real_windows
from domains.timeseries.sampling import plan_of
from domains.timeseries.synthesize import as_table, synthesize
from domains.timeseries.tsdiff import check_frequency
from domains.timeseries.workflows.opening import open_run

__all__ = ["synthesize_file"]


def synthesize_file(
    run: str,
    folder: Path,
    *,
    n: int = 1000,
    data: str | Path | None = None,
    reading: Reading = Reading(),
    windows: int | None = None,
    downstream: Sequence[str] = (),
    sampling: dict[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Draw windows and write them as a table of series; with data, score them.

    Args:
        n: windows.
        data: table whose test windows the Linear Predictive Score is measured on.
        windows: K of that table.
        downstream: forecasters trained on the windows, and on as many real ones: "deepar", "transformer".
        sampling: sampler and steps; 100 steps of DDPM by default, as published.

    Returns:
        Report: settings and, with data, the score of synthetic and of real windows; lower is better.
    """
    from core.device import choose_device

    where, note = choose_device(device)
    model = open_run(run)
    given = {key: value for key, value in (sampling or {}).items() if value is not None}
    settings = checked(SampleConfig, {"sampler": "ddpm", "guidance": "none", **given})
    plan = plan_of(model, settings)
    if n < 1:
        raise ConfigError(f"n must be at least 1 window, got {n}.")
    for name in downstream:
        if name not in get_args(Downstream):
            raise unknown("downstream model", name, get_args(Downstream))
    if downstream and data is None:
        raise ConfigError("downstream models are tested on real series.", hint="Pass the table with --lps.")
    c, p = model.shape.context, model.shape.prediction
    table = training = None
    instances: list[Instance] = []
    if data is not None:
        table = open_table(data, reading)
        check_frequency(model, table.series[0])
        training, instances = split(table, p, windows)
    lines = (
        f"synthesize {n} windows of {c} + {p} points from {run}: {plan.name}, {plan.evaluations} calls each",
        *([f"score them on {len(instances)} test windows of {data}"] if instances else []),
        *([note] if note else []),
    )
    ready(Outlook(lines, device=str(where)))
    made = synthesize(model.to(where), n, sampling=settings, seed=seed, progress=progress)
    write_table(as_table(made, model.freq), folder / "synthetic.parquet", overwrite=overwrite)
    real = None
    report: dict[str, Any] = {
        "run": run,
        "windows": n,
        "context_length": c,
        "prediction_length": p,
        "sampling": settings.model_dump(mode="json"),
    }
    if training is not None:
        gen = np.random.default_rng(seed)
        real = real_windows(training, max(n, 1000), context_length=c, prediction_length=p, gen=gen)
        scores = {
            "synthetic": linear_predictive_score(made, instances, prediction_length=p),
            "real": linear_predictive_score(real[: max(n, 1000)], instances, prediction_length=p),
        }
        for number, name in enumerate(downstream):
            progress(f"train {name}", number, len(downstream), None)
            scores |= {
                f"{name}, {kind}": downstream_score(
                    drawn,
                    instances,
                    prediction_length=p,
                    freq=model.freq,
                    season=model.season,
                    model=name,  # type: ignore[arg-type]  # checked above
                    seed=seed,
                )
                for kind, drawn in (("synthetic", made), ("real", real[: len(made)]))
            }
        (folder / "lps.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        report |= {"data": str(data), "instances": len(instances), "linear_predictive_score": scores}
    plot_windows(made, folder / "windows.png", real=real, context=c)
    return report
