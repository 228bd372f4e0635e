"""Filling the gaps of a table, or hiding values to see how well they are filled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.timeseries.conditional import SCENARIOS
from domains.timeseries.data import Array, Series, Table, quantile_of
from domains.timeseries.forecasting import check_series
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import open_table
from domains.timeseries.frequency import times
from domains.timeseries.imputation import Imputed, imputation_scores, impute, with_scenario
from domains.timeseries.metrics import LEVELS
from domains.timeseries.plots import plot_imputation
from domains.timeseries.sampling import check_sampling
from domains.timeseries.workflows.opening import evenly, opened, sampling_of

__all__ = ["impute_file"]


def impute_file(
    run: str,
    data: str | Path,
    folder: Path,
    *,
    reading: Reading = Reading(),
    mask_column: str | None = None,
    scenario: str = "none",
    missing: int | None = None,
    sampling: dict[str, Any] | None = None,
    sequential: bool = False,
    plots: int = 4,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sample the missing values of every series; observed values come back unchanged.

    Args:
        mask_column: column that is 0 where a value must not be used, though it is there; those are imputed
            and, since their truth is known, scored.
        scenario: hide half of the last context of each series and score: "RM", "BM-B" or "BM-E".
        missing: how many to hide, in place of half.
        sequential: windows condition on what earlier ones imputed.

    Returns:
        Report: counts, settings, and where the truth is known the score beside that of straight lines.

    Raises:
        ConfigError: a mask and a scenario at once, or nothing is missing.
    """
    if scenario not in SCENARIOS:
        raise ConfigError(f"scenario is one of {', '.join(SCENARIOS)}, got '{scenario}'.")
    if scenario != "none" and mask_column is not None:
        raise ConfigError("give a mask column or a scenario, not both.")
    found = opened(run, data, reading, device)
    settings = sampling_of(found.model, sampling or {})
    warnings = check_sampling(found.model, settings)
    truth = [item.target for item in found.table]
    series = list(found.table)
    for item in series:
        check_series(found.model, item)
    if mask_column is not None:
        series = _masked(found.table, open_table(data, replace(reading, target_col=mask_column)), mask_column)
    elif scenario != "none":
        context = found.model.shape.context
        series = [with_scenario(item, scenario, context, missing=missing, seed=seed) for item in series]
    gaps = sum(int(np.isnan(item.target).sum()) for item in series)
    if not gaps:
        raise ConfigError(
            "no value is missing.", hint="Pass --scenario RM to hide some and see how well they are filled."
        )
    line = (
        f"impute {many(gaps, 'value')} of {many(len(series), 'series')}, {settings.num_samples} samples each"
    )
    ready(Outlook((*found.plan, line), tuple(warnings), str(found.device)))
    made = impute(found.model, series, settings, sequential=sequential, seed=seed, progress=progress)
    frame = pd.concat([_frame(one, found.table.stamp) for one in made], ignore_index=True)
    path = folder / "imputed.parquet"
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; nothing was overwritten.", hint="Pass --force.")
    frame.to_parquet(path, index=False)
    frame.to_csv(folder / "imputed.csv", index=False)
    report: dict[str, Any] = {
        "run": run,
        "data": str(data),
        "series": len(series),
        "imputed": gaps,
        "scenario": scenario,
        "sequential": sequential,
        "sampling": settings.model_dump(mode="json"),
        "notes": list(found.table.notes),
        "warnings": warnings,
    }
    if mask_column is not None or scenario != "none":
        report["scores"] = imputation_scores(made, truth)
    holed = [i for i, one in enumerate(made) if len(one.missing)]
    for number, i in enumerate(holed[j] for j in evenly(len(holed), plots)):
        _draw(made[i], truth[i], folder / f"imputed-{number}.png", found.table.stamp)
    return report


def _masked(table: Table, mask: Table, column: str) -> list[Series]:
    """The series without the values whose mask is 0."""
    out = []
    for item, flags in zip(table, mask, strict=True):
        if len(flags) != len(item) or flags.item_id != item.item_id:
            raise DataError(f"the column '{column}' does not cover series '{item.item_id}'.")
        hidden = flags.target == 0
        out.append(replace(item, target=np.where(hidden, np.nan, item.target)))
    return out


def _filled(one: Imputed, values: Array) -> Array:
    out = one.series.target.copy()
    out[one.missing] = values
    return out


def _frame(one: Imputed, stamp: str) -> pd.DataFrame:
    """item_id, timestamp, target (the median where it was missing), imputed, and a column per level."""
    was = np.zeros(len(one.series), dtype=bool)
    was[one.missing] = True
    columns: dict[str, Any] = {
        "item_id": one.series.item_id,
        "timestamp": times(one.series.start, len(one.series), stamp),
        "target": one.series.target if not len(one.missing) else _filled(one, quantile_of(one.samples, 0.5)),
        "imputed": was,
    }
    for level in LEVELS:
        column = np.full(len(one.series), np.nan)
        if len(one.missing):
            column[one.missing] = quantile_of(one.samples, level)
        columns[f"{level:g}"] = column
    return pd.DataFrame(columns)


def _draw(one: Imputed, truth: Array, out: Path, stamp: str) -> None:
    """The stretch around the gaps."""
    first = max(0, int(one.missing.min()) - 48)
    last = min(len(one.series), int(one.missing.max()) + 49, first + 400)
    inside = (one.missing >= first) & (one.missing < last)
    samples = np.full((len(one.samples), last - first), np.nan)
    samples[:, one.missing[inside] - first] = one.samples[:, inside]
    plot_imputation(one.series.cut(first, last), samples, out, truth=truth[first:last], stamp=stamp)
