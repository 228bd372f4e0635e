"""suffuse graphs: the group.

graphs_data    data and files of samples: prepare, evaluate, draw
graphs_train   train, train-property, presets
graphs_run     what a model draws: sample, animate, models
graphs_guide   what it is asked for: guide, scaffold
"""

import typer

from apps.commands import graphs_data, graphs_guide, graphs_run, graphs_train

app = typer.Typer(no_args_is_help=True)
for part in (graphs_data, graphs_train, graphs_run, graphs_guide):
    app.add_typer(part.app)
