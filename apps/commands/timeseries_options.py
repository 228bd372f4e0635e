"""Options that several time-series commands share, spelt and explained once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from domains.timeseries.formats import Reading

__all__ = [
    "Data",
    "Decimal",
    "Force",
    "Freq",
    "IdCol",
    "PredictionLength",
    "RunDir",
    "Season",
    "TargetCol",
    "TimeCol",
    "TimeFormat",
    "Windows",
    "reading",
]

Data = Annotated[
    str,
    typer.Argument(
        help="CSV, Parquet or JSON lines file, a folder, or a built-in table: co2, elnino, macrodata, "
        "simulated, sunspots.",
        show_default=False,
    ),
]
IdCol = Annotated[
    str | None, typer.Option("--id-col", help="Column of series ids.", show_default="item_id, unique_id, ...")
]
TimeCol = Annotated[
    str | None, typer.Option("--time-col", help="Column of times.", show_default="timestamp, ds, date, ...")
]
TargetCol = Annotated[
    str | None, typer.Option("--target-col", help="Column of values.", show_default="target, y, ...")
]
Freq = Annotated[
    str | None,
    typer.Option(
        "--freq",
        help="Frequency: h, D, B, W, M, 15min ...; int for times that count steps.",
        show_default="read off the times",
    ),
]
TimeFormat = Annotated[
    str | None,
    typer.Option(
        "--time-format", help="How times are written, such as '%d/%m/%Y'.", show_default="read off them"
    ),
]
Decimal = Annotated[
    str | None, typer.Option("--decimal", help="Decimal mark: . or ,", show_default="read off the cells")
]
PredictionLength = Annotated[
    int | None,
    typer.Option(
        "--prediction-length", "-p", min=1, help="Points to forecast.", show_default="the data's own"
    ),
]
Windows = Annotated[
    int | None,
    typer.Option(
        min=1, help="Test windows at the end of each series.", show_default="the data's own, else 1"
    ),
]
Season = Annotated[
    int | None,
    typer.Option(
        min=1, help="Points per season; 7 for daily data.", show_default="the data's own, else GluonTS's"
    ),
]
RunDir = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default=False)]
Force = Annotated[
    bool, typer.Option("--force", "--overwrite", help="Replace the output and the run in its folder.")
]


def reading(
    id_col: str | None,
    time_col: str | None,
    target_col: str | None,
    freq: str | None,
    time_format: str | None,
    decimal: str | None,
) -> "Reading":
    """The options of reading as the value that workflows take."""
    from domains.timeseries.formats import Reading

    return Reading(id_col, time_col, target_col, freq, time_format, decimal)
