"""suffuse timeseries train, forecast, impute, refine, synthesize, tune-scale, score: what needs a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.timeseries_options import (
    Data,
    Decimal,
    Freq,
    IdCol,
    PredictionLength,
    TargetCol,
    TimeCol,
    TimeFormat,
    Windows,
    reading,
)
from apps.options import AsJson, Device, Force, Quiet, Resume, Seed

app = typer.Typer()

Run = Annotated[
    str,
    typer.Argument(
        help="Run folder or weights of a model, or one that ships: see 'suffuse timeseries models'.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/timeseries-VERB")
]
Samples = Annotated[
    int | None, typer.Option(min=1, help="Samples of each window.", show_default="the model's")
]
SamplerName = Annotated[
    str | None, typer.Option("--sampler", help="ddpm, ddim, default or euler.", show_default="the model's")
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Network calls of the sampler.", show_default="the model's")
]
Guidance = Annotated[str | None, typer.Option(help="quantile, mse or none.", show_default="the model's")]
Scale = Annotated[float | None, typer.Option(help="Strength of guidance.", show_default="the model's")]
Placement = Annotated[
    str | None, typer.Option(help="paper or reference, of the guidance.", show_default="the model's")
]
Plots = Annotated[int, typer.Option(min=0, help="Series to draw.")]


def sampling(
    samples: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: str | None = None,
    scale: float | None = None,
    placement: str | None = None,
) -> dict[str, Any]:
    """The options of sampling as fields of its settings; None where an option was not given."""
    return {
        "num_samples": samples,
        "sampler": sampler,
        "num_steps": steps,
        "guidance": guidance,
        "scale": scale,
        "placement": placement,
    }


@app.command()
def train(
    data: Data,
    out: Folder = None,
    preset: Annotated[str, typer.Option(help="tiny, small or paper.")] = "tiny",
    kind: Annotated[str, typer.Option(help="tsdiff, tsdiff-cond or tsflow.")] = "tsdiff",
    prediction_length: PredictionLength = None,
    context_length: Annotated[
        int | None, typer.Option("--context-length", "-c", min=1, show_default="the preset's")
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(min=0, help="Test windows kept from training.", show_default="the data's own, else 1"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    batch: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    lr: Annotated[float | None, typer.Option(show_default="the preset's")] = None,
    lags: Annotated[str | None, typer.Option(help="auto or none.", show_default="the preset's")] = None,
    ema: Annotated[float | None, typer.Option(help="0 for none.", show_default="the preset's")] = None,
    val: Annotated[
        str | None, typer.Option(help="holdout, reference or none.", show_default="holdout")
    ] = None,
    tests: Annotated[int, typer.Option(min=0, help="Test windows scored at the end, at most.")] = 64,
    plots: Plots = 4,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model of a table; its scores stand beside seasonal naive and ridge."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import train_file

    folder = out or Path("runs/timeseries-train")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    given = {
        "kind": kind,
        "context_length": context_length,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "lags": lags,
        "ema": ema,
        "validation": val,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    config = {"data": data, "preset": preset, "prediction_length": prediction_length, **changes, **vars(how)}
    with claimed(
        folder,
        command="timeseries train",
        config=config,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        report = train_file(
            data,
            folder,
            reading=how,
            preset=preset,
            prediction_length=prediction_length,
            windows=windows,
            changes=changes,
            tests=tests,
            plots=plots,
            seed=seed,
            resume=resume,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "sampling"), as_json=as_json, folder=folder)


@app.command()
def forecast(
    run: Run,
    data: Data,
    out: Folder = None,
    samples: Samples = None,
    sampler: SamplerName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    scale: Scale = None,
    placement: Placement = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=1, help="Points; more than the model's go block by block.", show_default="the model's"
        ),
    ] = None,
    test_windows: Annotated[
        int | None,
        typer.Option(min=1, help="Forecast the last windows instead, and score.", show_default="the future"),
    ] = None,
    steer: Annotated[str, typer.Option(help="guidance or particles.")] = "guidance",
    nixtla: Annotated[
        str | None, typer.Option(help="Write Nixtla's columns under this model name.", show_default=False)
    ] = None,
    plots: Plots = 8,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Forecast every series: samples, quantiles and fan charts."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import forecast_file

    folder = out or Path("runs/timeseries-forecast")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    settings = sampling(samples, sampler, steps, guidance, scale, placement)
    config = {"run": run, "data": data, "horizon": horizon, "test_windows": test_windows, "steer": steer}
    with claimed(
        folder,
        command="timeseries forecast",
        config={**config, **settings, **vars(how)},
        seed=seed,
        force=force,
        quiet=quiet,
    ) as claim:
        report = forecast_file(
            run,
            data,
            folder,
            reading=how,
            sampling=settings,
            horizon=horizon,
            test_windows=test_windows,
            steer=steer,
            nixtla=nixtla,
            plots=plots,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "sampling"), as_json=as_json, folder=folder)


@app.command()
def impute(
    run: Run,
    data: Data,
    out: Folder = None,
    mask_column: Annotated[
        str | None,
        typer.Option(
            "--mask-column", help="Column that is 0 where a value must not be used.", show_default=False
        ),
    ] = None,
    scenario: Annotated[str, typer.Option(help="Hide values and score: RM, BM-B or BM-E.")] = "none",
    missing: Annotated[
        int | None, typer.Option(min=1, help="Values hidden per series.", show_default="half the context")
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Build on what was imputed before.")
    ] = False,
    samples: Samples = None,
    sampler: SamplerName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    scale: Scale = None,
    plots: Plots = 4,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fill the gaps of every series with samples; observed values stay as they are."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import impute_file

    folder = out or Path("runs/timeseries-impute")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    settings = sampling(samples, sampler, steps, guidance, scale)
    config = {"run": run, "data": data, "mask_column": mask_column, "scenario": scenario, "missing": missing}
    with claimed(
        folder,
        command="timeseries impute",
        config={**config, **settings, **vars(how)},
        seed=seed,
        force=force,
        quiet=quiet,
    ) as claim:
        report = impute_file(
            run,
            data,
            folder,
            reading=how,
            mask_column=mask_column,
            scenario=scenario,
            missing=missing,
            sampling=settings,
            sequential=sequential,
            plots=plots,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "sampling"), as_json=as_json, folder=folder)


@app.command()
def refine(
    run: Run,
    data: Data,
    out: Folder = None,
    base: Annotated[
        str, typer.Option(help="seasonal_naive, ridge, or a file of forecasts of the test windows.")
    ] = "seasonal_naive",
    method: Annotated[str | None, typer.Option(help="ml, lmc, hmc or udld.", show_default="ml")] = None,
    guidance: Annotated[str | None, typer.Option(help="mse or quantile.", show_default="quantile")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, show_default="20")] = None,
    lr: Annotated[float | None, typer.Option(help="Step size.", show_default="0.1")] = None,
    fixed_step: Annotated[
        int | None, typer.Option("--fixed-step", help="Noising step.", show_default="the representative one")
    ] = None,
    windows: Windows = None,
    tests: Annotated[int, typer.Option(min=1, help="Windows refined, at most.")] = 64,
    plots: Plots = 2,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Move the forecasts of another method towards what the model finds likely."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import refine_file

    folder = out or Path("runs/timeseries-refine")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    settings = {
        "method": method,
        "guidance": guidance,
        "iterations": iterations,
        "lr": lr,
        "fixed_step": fixed_step,
    }
    config = {"run": run, "data": data, "base": base, "windows": windows, "tests": tests}
    with claimed(
        folder,
        command="timeseries refine",
        config={**config, **settings, **vars(how)},
        seed=seed,
        force=force,
        quiet=quiet,
    ) as claim:
        report = refine_file(
            run,
            data,
            folder,
            base=base,
            reading=how,
            settings=settings,
            windows=windows,
            tests=tests,
            plots=plots,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "settings"), as_json=as_json, folder=folder)


@app.command()
def synthesize(
    run: Run,
    out: Folder = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Windows.")] = 1000,
    lps: Annotated[
        str | None,
        typer.Option("--lps", help="Table to score them on (Linear Predictive Score).", show_default=False),
    ] = None,
    downstream: Annotated[
        str | None,
        typer.Option(help="Train these on the windows too: deepar,transformer.", show_default=False),
    ] = None,
    windows: Windows = None,
    sampler: SamplerName = None,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw synthetic windows; with --lps, score what a linear map learns from them."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import synthesize_file

    folder = out or Path("runs/timeseries-synthesize")
    settings = {"sampler": sampler, "num_steps": steps}
    names = [] if downstream is None else downstream.split(",")
    config = {"run": run, "n": n, "lps": lps, "downstream": names, "windows": windows, **settings}
    with claimed(
        folder, command="timeseries synthesize", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = synthesize_file(
            run,
            folder,
            n=n,
            data=lps,
            downstream=names,
            windows=windows,
            sampling=settings,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "sampling"), as_json=as_json, folder=folder)


@app.command("tune-scale")
def tune_scale(
    run: Run,
    data: Data,
    out: Folder = None,
    scales: Annotated[str, typer.Option(help="Scales to try, by comma.")] = "0.5,1,2,4,8,16",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples of each window.", show_default="16")
    ] = 16,
    sampler: SamplerName = None,
    steps: Steps = None,
    guidance: Guidance = None,
    skip_windows: Annotated[
        int | None,
        typer.Option(
            min=0, help="Test windows that are not looked at.", show_default="the data's own, else 1"
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Series scored, at most.")] = 32,
    save: Annotated[bool, typer.Option("--save", help="Store the best in the model.")] = False,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score guidance scales on the windows before the test windows."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import tune_scale_file

    folder = out or Path("runs/timeseries-tune-scale")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    settings = sampling(samples, sampler, steps, guidance)
    tried = scales_of(scales)
    config = {"run": run, "data": data, "scales": list(tried), "skip_windows": skip_windows, "most": most}
    with claimed(
        folder,
        command="timeseries tune-scale",
        config={**config, **settings, **vars(how)},
        seed=seed,
        force=force,
        quiet=quiet,
    ) as claim:
        report = tune_scale_file(
            run,
            data,
            folder,
            reading=how,
            scales=tried,
            sampling=settings,
            skip_windows=skip_windows,
            most=most,
            save=save,
            seed=seed,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else brief(report, "sampling"), as_json=as_json, folder=folder)


@app.command()
def score(
    run: Run,
    data: Data,
    out: Folder = None,
    method: Annotated[str, typer.Option(help="bound (points and windows) or ode (windows).")] = "bound",
    last: Annotated[
        int | None, typer.Option(min=1, help="Points at the end to score.", show_default="all")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Strangest points shown.")] = 10,
    plots: Plots = 4,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every point by how unlikely the model finds it: anomalies."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.workflows import score_file

    folder = out or Path("runs/timeseries-score")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    config = {"run": run, "data": data, "method": method, "last": last, **vars(how)}
    with claimed(
        folder, command="timeseries score", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = score_file(
            run,
            data,
            folder,
            reading=how,
            method=method,
            last=last,
            top=top,
            plots=plots,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that ship, what they were trained on and what they score."""
    from apps.show import show
    from domains.timeseries.weights import cards

    show({"models": cards()}, as_json=as_json)


def scales_of(text: str) -> tuple[float, ...]:
    """Scales from "0.5,1,2"."""
    from core.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as err:
        raise ConfigError(f"expected numbers by comma, such as 1,2,4, got '{text}'.") from err


def brief(report: dict[str, Any], *hidden: str) -> dict[str, Any]:
    """What a terminal shows: without settings, warnings (shown already), and score columns that are empty."""
    out = {key: value for key, value in report.items() if key not in (*hidden, "warnings", "beats")}
    rows = out.get("scores")
    if isinstance(rows, list) and rows:
        shown = ("model", "mean_wql", "nd", "mase", "coverage_50", "coverage_90")
        out["scores"] = [{key: row[key] for key in shown if row.get(key) is not None} for row in rows]
    return {key: value for key, value in out.items() if value is not None}
