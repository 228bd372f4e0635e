"""suffuse music: the group.

music_song      compose, edit, extend, loop, relyric, accompany, variation, reproduce, models
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
    music_control,
    music_data,
    music_lrc,
    music_metrics,
    music_song,
    music_train,
)

app = typer.Typer(no_args_is_help=True)
for part in (music_song.app, music_control.app, music_codec.app, music_train.distil_app, music_metrics.app):
    app.add_typer(part)
app.add_typer(music_lrc.app, name="lrc", help="Check, draft and fit lyrics with time stamps.")
app.add_typer(music_data.app, name="data", help="Render a corpus, or import your own songs.")
app.add_typer(music_train.app, name="train", help="Train codec, song model, tagger and recogniser.")
