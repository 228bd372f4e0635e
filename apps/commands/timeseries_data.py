"""suffuse timeseries info, convert, evaluate: what a table holds, and how well it is forecast."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.timeseries_options import (
    Data,
    Decimal,
    Force,
    Freq,
    IdCol,
    PredictionLength,
    RunDir,
    Season,
    TargetCol,
    TimeCol,
    TimeFormat,
    Windows,
    reading,
)
from apps.options import AsJson, Quiet, Seed

app = typer.Typer()


@app.command()
def info(
    data: Data,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    as_json: AsJson = False,
) -> None:
    """Show what a table was read as: series, frequency, gaps, and what reading changed."""
    from apps.show import say, show
    from domains.timeseries.convert import info_file

    report = info_file(data, reading=reading(id_col, time_col, target_col, freq, time_format, decimal))
    if as_json:
        show(report, as_json=True)
        return
    for note in report.pop("notes"):
        say(f"note: {note}")
    show({key: value for key, value in report.items() if value is not None})


@app.command()
def convert(
    data: Data,
    out: Annotated[
        Path,
        typer.Argument(
            help="File to write: .csv, .tsv, .parquet, .jsonl; or a folder (no extension).",
            show_default=False,
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Layout: long, nixtla, wide, entries, folder.", show_default="the extension's first"
        ),
    ] = None,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    run: RunDir = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a table in another format: CSV long or wide, Parquet, GluonTS JSON lines."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.convert import convert_file

    folder = run or out.with_name(f"{out.name}.run")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    config = {"data": data, "out": str(out), "to": to, **vars(how)}
    with claimed(folder, command="timeseries convert", config=config, force=force, quiet=quiet) as claim:
        report = convert_file(data, out, layout=to, reading=how, overwrite=force, ready=claim.ready)
        claim.report(report)
    hidden = () if as_json else ("warnings", "notes")
    show(
        {key: value for key, value in report.items() if key not in hidden and (as_json or value is not None)},
        as_json=as_json,
        folder=folder,
    )


@app.command()
def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            help="File of forecasts (.npz, .parquet, .csv, .jsonl), run folder of a forecast, or a baseline: "
            "seasonal_naive, ridge.",
            show_default=False,
        ),
    ],
    data: Data,
    prediction_length: PredictionLength = None,
    windows: Windows = None,
    season: Season = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            min=1, help="Points that ridge looks back.", show_default="the data's own, else 3 seasons"
        ),
    ] = None,
    quantile_rule: Annotated[
        str, typer.Option(help="How quantiles are read off samples: gluonts or numpy.")
    ] = "gluonts",
    name: Annotated[
        str | None, typer.Option(help="What to call the forecasts.", show_default="the file's name")
    ] = None,
    plots: Annotated[int, typer.Option(min=0, help="Series to draw.")] = 4,
    id_col: IdCol = None,
    time_col: TimeCol = None,
    target_col: TargetCol = None,
    freq: Freq = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder.", show_default="runs/timeseries-evaluate")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score forecasts of the last windows of a table, with seasonal naive and ridge beside them."""
    from apps.claim import claimed
    from apps.show import show
    from domains.timeseries.evaluation import evaluate_file

    folder = run or Path("runs/timeseries-evaluate")
    how = reading(id_col, time_col, target_col, freq, time_format, decimal)
    config = {
        "subject": subject,
        "data": data,
        "prediction_length": prediction_length,
        "windows": windows,
        "season": season,
        "context_length": context_length,
        "quantile_rule": quantile_rule,
        **vars(how),
    }
    with claimed(
        folder, command="timeseries evaluate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = evaluate_file(
            subject,
            data,
            reading=how,
            name=name,
            prediction_length=prediction_length,
            windows=windows,
            season=season,
            context_length=context_length,
            rule=quantile_rule,  # type: ignore[arg-type]  # checked there
            seed=seed,
            plots=plots,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else _summary(report), as_json=as_json, folder=folder)


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The setting and the scores, without columns that no model has."""
    keys = ("data", "freq", "instances", "prediction_length", "windows", "season", "quantile_rule")
    rows = report["scores"]
    known = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    return {key: report[key] for key in keys} | {"scores": [{key: row[key] for key in known} for row in rows]}
