"""suffuse graphs: the group; `graphs_data` works on data and files of samples, `graphs_run` with models."""

import typer

from apps.commands import graphs_data, graphs_run

app = typer.Typer(no_args_is_help=True)
app.add_typer(graphs_data.app)
app.add_typer(graphs_run.app)
