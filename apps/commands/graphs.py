"""suffuse graphs: the group; `graphs_data` works on data and files of samples."""

import typer

from apps.commands import graphs_data

app = typer.Typer(no_args_is_help=True)
app.add_typer(graphs_data.app)
