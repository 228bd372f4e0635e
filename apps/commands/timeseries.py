"""suffuse timeseries: the group; `timeseries_data` works on tables, `timeseries_run` with models."""

import typer

from apps.commands import timeseries_data, timeseries_run

app = typer.Typer(no_args_is_help=True)
app.add_typer(timeseries_data.app)
app.add_typer(timeseries_run.app)
