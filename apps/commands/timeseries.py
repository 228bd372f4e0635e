"""suffuse timeseries: the group; `timeseries_data` holds info, convert and evaluate."""

import typer

from apps.commands import timeseries_data

app = typer.Typer(no_args_is_help=True)
app.add_typer(timeseries_data.app)
