"""The demo's second section: a day ahead, with bands, beside the best that is possible."""

from typing import Any

from apps.report import Column, Number, Picture, Row, Section, Table
from apps.runfolder import RunFolder

__all__ = ["forecast_section"]

COLUMNS = (
    Column("mean wQL", "", "lower", 4),
    Column("MASE", "", "lower", 3),
    Column("50 % band covers", "%", None, 0),
    Column("90 % band covers", "%", None, 0),
)
ROLES = {"seasonal_naive": "baseline", "exact law": "ceiling"}
NAMES = {
    "TSDiff": "TSDiff, shipped weights",
    "seasonal_naive": "the last day again",
    "ridge": "ridge regression",
}


def forecast_section(run: RunFolder, facts: dict[str, Any]) -> Section:
    """What `domains.timeseries.workflows.showcase` found."""
    order = {"seasonal_naive": 0, "ridge": 1, "TSDiff": 2, "exact law": 3}
    rows = sorted(facts["scores"], key=lambda row: order.get(row["model"], 9))
    return Section(
        "Time series, a day ahead",
        "Hourly series with a daily rhythm and noise that lingers, from a generator whose exact law of the "
        "future is known: the last row is the lowest loss that any forecaster can expect. One unconditional "
        f"model draws {facts['samples']} futures of each series, steered by its past.",
        (
            Picture(
                run.path / facts["picture"],
                "The end of the history, the median, 50 and 90 % bands, and what really came.",
                "Four fan charts of hourly series.",
            ),
        ),
        (
            Table(
                COLUMNS,
                tuple(_row(row) for row in rows),
                first="forecast",
                note=f"{facts['instances']} held-out days of {facts['points']} hours, "
                f"{facts['calls']} network calls a sample. Mean wQL: quantile loss over the sum of values.",
            ),
        ),
        command="suffuse timeseries forecast simulated simulated --test-windows 1\n"
        "suffuse timeseries train your.csv -p 24     # a model of your own series",
    )


def _row(row: dict[str, Any]) -> Row:
    covers = [None if row[key] is None else Number(100 * row[key]) for key in ("coverage_50", "coverage_90")]
    cells = (Number(row["mean_wql"], row["mean_wql_standard_error"]), Number(row["mase"]), *covers)
    name = NAMES.get(row["model"], row["model"])
    return Row(name, cells, ROLES.get(row["model"], "result"))  # type: ignore[arg-type]
