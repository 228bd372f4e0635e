"""suffuse language: the group.

language_write   what a model writes: generate, infill, search, models
language_text    tokenizer, train, energy, score, evaluate, export
"""

import typer

from apps.commands import language_text, language_write

app = typer.Typer(no_args_is_help=True)
for part in (language_text, language_write):
    app.add_typer(part.app)
