"""suffuse music: the group.

music_compose   compose
music_edit      edit, extend, loop
music_remake    relyric, accompany, variation, reproduce
music_models    models
music_lrc       lrc check, draft, fit
music_control   control
music_codec     encode, decode
music_data      data render, import
music_train     train codec, dit, tagger, recogniser; distil
music_metrics   calibrate, evaluate
"""

import typer

from apps.commands import (
    music_codec,
    music_compose,
    music_control,
    music_data,
    music_edit,
    music_lrc,
    music_metrics,
    music_models,
    music_remake,
    music_train,
)

app = typer.Typer(no_args_is_help=True)
for module in (music_compose, music_edit, music_remake, music_models, music_control, music_codec):
    app.add_typer(module.app)
app.add_typer(music_train.distil_app)
app.add_typer(music_metrics.app)
app.add_typer(music_lrc.app, name="lrc", help="Check, draft and fit lyrics with time stamps.")
app.add_typer(music_data.app, name="data", help="Render a corpus, or import your own songs.")
app.add_typer(music_train.app, name="train", help="Train codec, song model, tagger and recogniser.")
