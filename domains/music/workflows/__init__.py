"""What a user asks of the music domain, one function each; `suffuse music` calls these.

Each reads and checks everything before it writes anything; `ready` is told in between (see `core.outlook`).
"""

from domains.music.workflows.calibrating import calibrate_file
from domains.music.workflows.coding import decode_file, encode_file, encode_folder
from domains.music.workflows.controlling import Asked, control_file
from domains.music.workflows.corpus import import_songs, render_songs
from domains.music.workflows.lyrics import check_lyrics, draft_lyrics, fit_lyrics_file
from domains.music.workflows.saving import Writing
from domains.music.workflows.scoring import evaluate_songs
from domains.music.workflows.songs import inherited, lyrics_text, reproduce_file, song_file
from domains.music.workflows.suites import (
    evaluate_codec,
    evaluate_control,
    evaluate_cost,
    evaluate_edits,
)
from domains.music.workflows.training import (
    distil_file,
    train_recogniser_file,
    train_song_file,
    train_tagger_file,
)
from domains.music.workflows.training_codec import train_codec_file

__all__ = [
    "Asked",
    "Writing",
    "calibrate_file",
    "check_lyrics",
    "control_file",
    "decode_file",
    "distil_file",
    "draft_lyrics",
    "encode_file",
    "encode_folder",
    "evaluate_codec",
    "evaluate_control",
    "evaluate_cost",
    "evaluate_edits",
    "evaluate_songs",
    "fit_lyrics_file",
    "import_songs",
    "inherited",
    "lyrics_text",
    "render_songs",
    "reproduce_file",
    "song_file",
    "train_codec_file",
    "train_recogniser_file",
    "train_song_file",
    "train_tagger_file",
]
