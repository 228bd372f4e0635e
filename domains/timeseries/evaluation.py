"""Score forecasts of a table's test windows, beside seasonal naive and ridge on the same instances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError, unknown
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.baselines import BASELINES, context_of, ridge, seasonal_naive
from domains.timeseries.data import Forecast, Instance, QuantileRule, Quantiles, Table, split
from domains.timeseries.formats.builtin import exact_forecasts
from domains.timeseries.formats.forecast_files import pick, read_forecasts
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.metrics import LEVELS, Predicted, Scores, score

__all__ = ["evaluate", "evaluate_file", "markdown_table", "paired"]

# Columns of the Markdown table and what heads them.
SHOWN = {
    "mean_wql": "mean wQL",
    "mean_wql_standard_error": "± s.e.",
    "nd": "ND",
    "nrmse": "NRMSE",
    "mase": "MASE",
    "coverage_50": "50 % covers",
    "coverage_80": "80 % covers",
    "coverage_90": "90 % covers",
    "width_90": "90 % width",
}
# Files that a run of `forecast` leaves, the one with every sample first.
RUN_FILES = ("forecasts.npz", "forecasts.parquet", "forecasts.csv")


def paired(
    forecasts: Sequence[Forecast | Quantiles], instances: Sequence[Instance]
) -> tuple[list[Forecast | Quantiles], list[Instance]]:
    """Find the forecast of each instance by series and start.

    Returns:
        Forecasts and the instances they belong to; instances without a forecast are left out.

    Raises:
        DataError: no instance has one; the message says what was due and what there is.
    """
    by_name: dict[str, list[Forecast | Quantiles]] = {}
    for forecast in forecasts:
        by_name.setdefault(forecast.item_id, []).append(forecast)
    found, kept = [], []
    for instance in instances:
        history = instance.series
        if (one := pick(by_name.get(history.item_id, ()), history.end, len(instance.label))) is not None:
            found.append(one)
            kept.append(instance)
    if not kept and instances:
        due = instances[0].series
        have = f"'{forecasts[0].item_id}' from {forecasts[0].start}" if forecasts else "none"
        raise DataError(
            f"no forecast fits a test window: due is for instance '{due.item_id}' from {due.end} over "
            f"{len(instances[0].label)} points, the first forecast is {have}"
            f"{f' over {len(forecasts[0])} points' if forecasts else ''}.",
            hint="Check the ids, --prediction-length and --windows: forecasts start where histories end.",
        )
    return found, kept


def evaluate(
    table: Table,
    forecasts: Sequence[Forecast | Quantiles] | None = None,
    *,
    name: str = "model",
    prediction_length: int | None = None,
    windows: int | None = None,
    season: int | None = None,
    context_length: int | None = None,
    levels: Sequence[float] = LEVELS,
    rule: QuantileRule = "gluonts",
    seed: int = 0,
    others: Mapping[str, Sequence[Forecast | Quantiles]] = {},
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score forecasts of the test windows of a table.

    Args:
        table: whole series, labels included.
        forecasts: of test windows, in any order; None scores the baselines alone.
        name: what to call them.
        prediction_length, windows: P and K; None takes the table's.
        season: of seasonal naive and MASE; None takes the table's.
        context_length: of ridge; None takes `baselines.context_of`.
        levels, rule: see `metrics.score`.
        seed: of the windows that ridge is fitted to.
        others: further forecasts to score on the same instances, by name: variants, or the exact law.

    Returns:
        A report: the setting, `scores` with one row per model, `wql` per level, `beats` per baseline, notes
            and
        warnings. Numbers that do not exist are None.

    Raises:
        DataError: no forecast fits an instance, or the series are too short.
    """
    training, instances = split(table, prediction_length, windows)
    total = len(instances)
    warnings: list[str] = []
    rows: dict[str, Scores] = {}
    m = season or table.season
    p = len(instances[0].label)
    if forecasts is not None:
        found, instances = paired(forecasts, instances)
        if len(instances) < total:
            warnings.append(
                f"only {len(instances)} of {total} test instances have a forecast; every model is scored on "
                "those."
            )
        rows[name] = score(found, instances, season=m, levels=levels, rule=rule)
    for other, several in others.items():
        matched, reached = paired(several, instances)
        if len(reached) < len(instances):
            raise DataError(
                f"'{other}' has forecasts for {len(reached)} of {len(instances)} test instances.",
                hint="Every model beside another needs the same instances.",
            )
        rows[other] = score(matched, instances, season=m, levels=levels, rule=rule)
    progress("score", 1, 3)
    naive = seasonal_naive(instances, season=m)
    rows["seasonal_naive"] = score(naive, instances, season=m, levels=levels, rule=rule)
    progress("score", 2, 3)
    c = context_length or context_of(training, p)
    try:
        linear = ridge(training, instances, context_length=c, seed=seed)
        rows["ridge"] = score(linear, instances, season=m, levels=levels, rule=rule)
    except DataError as err:
        warnings.append(f"ridge is left out: {err}")
    progress("score", 3, 3)
    beats = _beats(rows, name, warnings) if forecasts is not None else {}
    report: dict[str, Any] = {
        "data": table.name,
        "freq": table.freq,
        "series": len(table),
        "prediction_length": p,
        "windows": windows or table.rolling_windows or 1,
        "instances": len(instances),
        "points": next(iter(rows.values())).points,
        "season": m,
        "ridge_context_length": c,
        "quantile_rule": rule,
    }
    return report | {
        "scores": [{"model": model, **_row(scores)} for model, scores in rows.items()],
        "wql": {model: scores.wql for model, scores in rows.items()},
        "beats": beats,
        "notes": [*table.notes, *(note for note in training.notes if note not in table.notes)],
        "warnings": [*warnings, *_scoring_warnings(rows)],
    }


def _row(scores: Scores) -> dict[str, Any]:
    flat = scores.to_dict()
    return {key: flat[key] for key in (*SHOWN, "width_50", "width_80")}


def _beats(rows: Mapping[str, Scores], name: str, warnings: list[str]) -> dict[str, bool]:
    """Which baselines a model beats; a warning where it does not beat both."""
    own = rows[name].mean_wql
    beats, behind = {}, []
    for baseline in BASELINES:
        other = rows[baseline].mean_wql if baseline in rows else None
        if baseline == name or own is None or other is None:
            continue
        beats[baseline] = own < other
        if not beats[baseline]:
            behind.append(f"{baseline} ({other:.4f})")
    if behind and own is not None:
        verb = f"beats neither {' nor '.join(behind)}" if len(behind) > 1 else f"does not beat {behind[0]}"
        warnings.append(f"'{name}' ({own:.4f} mean wQL) {verb}.")
    return beats


def _scoring_warnings(rows: Mapping[str, Scores]) -> list[str]:
    first = next(iter(rows.values()))
    warnings = []
    if first.mean_wql is None:
        warnings.append("all labels are 0: scores relative to their sum do not exist.")
    if first.mase_left_out:
        warnings.append(
            f"MASE leaves out {many(first.mase_left_out, 'instance')} whose history is the same every season."
        )
    return warnings


def markdown_table(report: Mapping[str, Any]) -> str:
    """The scores of a report as a Markdown table, the best of each loss in bold."""
    rows = report["scores"]
    best = {
        key: min((row[key] for row in rows if row[key] is not None), default=None)
        for key in ("mean_wql", "nd", "nrmse", "mase")
    }
    lines = [
        f"{report['data'] or 'data'}: {report['instances']} test instances of {report['prediction_length']} "
        f"points, frequency {report['freq']}, season {report['season']}, quantiles by the "
        f"{report['quantile_rule']} rule",
        "",
        "| model | " + " | ".join(SHOWN.values()) + " |",
        "|---|" + "---|" * len(SHOWN),
    ]
    for row in rows:
        cells = [_shown(row[key], bold=best.get(key) is not None and row[key] == best[key]) for key in SHOWN]
        lines.append(f"| {row['model'].replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None, *, bold: bool) -> str:
    if value is None:
        return "-"
    return f"**{value:.4f}**" if bold else f"{value:.4f}"


def evaluate_file(
    subject: str,
    data: str | Path,
    *,
    reading: Reading = Reading(),
    name: str | None = None,
    prediction_length: int | None = None,
    windows: int | None = None,
    season: int | None = None,
    context_length: int | None = None,
    rule: QuantileRule = "gluonts",
    seed: int = 0,
    plots: int = 4,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a file of forecasts, a run folder that holds one, or a baseline, on a table.

    Args:
        subject: a file that `formats.read_forecasts` reads, a run folder, "seasonal_naive" or "ridge".
        data: what `formats.read_table` reads.
        reading: which column is what.
        name: what to call the forecasts; None takes the file's name.
        plots: series to draw.
        folder: `scores.md`, `scores.csv`, `forecasts.png` and their numbers go here.

    Raises:
        ConfigError: the prediction length is not known.
        DataError: the data or the forecasts cannot be used.
    """
    if rule not in ("gluonts", "numpy"):
        raise unknown("quantile rule", rule, ("gluonts", "numpy"))
    table = open_table(data, reading)
    if prediction_length is None and table.prediction_length is None:
        raise ConfigError(
            f"{data} does not say how many points are forecast.", hint="Pass --prediction-length, such as 24."
        )
    training, instances = split(table, prediction_length, windows)
    forecasts = None if subject in BASELINES else read_forecasts(_file(subject), freq=table.freq)
    label = name or (subject if forecasts is None else Path(subject).stem)
    if forecasts is not None and label in BASELINES:
        label = f"{label} (file)"
    p, k = len(instances[0].label), windows or table.rolling_windows or 1
    plan = (
        f"evaluate {subject} on {data}: {len(table)} series of up to {many(table.longest, 'point')}, "
        f"frequency {table.freq}",
        f"{many(len(instances), 'test instance')}: {many(k, 'window')} of {many(p, 'point')} a series",
        *(f"note: {note}" for note in table.notes),
    )
    if table.freq == "D" and season is None and table.seasonality is None:
        plan += ("note: the season of daily data is 1 day, as GluonTS has it; a weekly one is --season 7.",)
    ready(Outlook(plan))
    report = evaluate(
        table,
        forecasts,
        name=label,
        prediction_length=prediction_length,
        windows=windows,
        season=season,
        context_length=context_length,
        rule=rule,
        seed=seed,
        others={"exact law": exact_forecasts(instances)} if str(data) == "simulated" else {},
        progress=progress,
    )
    report = {"subject": subject, "source": str(data), **report}
    if folder is not None:
        drawn: Sequence[Predicted]
        if forecasts is not None:
            drawn, instances = paired(forecasts, instances)
        elif subject == "ridge":
            drawn = ridge(training, instances, context_length=report["ridge_context_length"], seed=seed)
        else:
            drawn = seasonal_naive(instances, season=report["season"])
        report["figures"] = _write(report, drawn, instances, table, folder, plots)
    return report


def _file(subject: str) -> Path:
    path = Path(subject).expanduser()
    if path.is_dir():
        found = next((path / name for name in RUN_FILES if (path / name).is_file()), None)
        if found is None:
            raise DataError(
                f"the folder {path} holds no forecasts ({', '.join(RUN_FILES)}).",
                hint="Make them first: suffuse timeseries forecast RUN DATA.",
            )
        return found
    if not path.is_file():
        raise DataError(
            f"there is no file {path}.",
            hint=f"Give a file of forecasts, a run folder, or a baseline: {', '.join(BASELINES)}.",
        )
    return path


def _write(
    report: Mapping[str, Any],
    drawn: Sequence[Predicted],
    instances: Sequence[Instance],
    table: Table,
    folder: Path,
    plots: int,
) -> list[str]:
    """Tables and figures of a report; returns their names."""
    from domains.timeseries.plots import plot_forecasts, plot_scores

    (folder / "scores.md").write_text(markdown_table(report), encoding="utf-8")
    scores = {row["model"]: row["mean_wql"] for row in report["scores"]}
    plot_scores(scores, folder / "scores.png", label="mean weighted quantile loss")
    names = ["scores.png", "scores.csv"]
    if plots > 0:
        # The newest window, spread over the series.
        last = instances[-min(len(instances), len(table)) :]
        offset = len(instances) - len(last)
        step = max(1, len(last) // plots)
        chosen = [offset + i for i in range(0, len(last), step)][:plots]
        plot_forecasts(
            [drawn[i] for i in chosen],
            [instances[i].series for i in chosen],
            folder / "forecasts.png",
            truths=[instances[i].label for i in chosen],
            stamp=table.stamp,
        )
        names += ["forecasts.png", "forecasts.csv"]
    return names
