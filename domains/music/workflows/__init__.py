"""What a user asks of the music domain, one function each; `suffuse music` calls these.

Each reads and checks everything before it writes anything; `ready` is told in between (see `core.outlook`).
"""

from domains.music.workflows.coding import decode_file, encode_file, encode_folder
from domains.music.workflows.lyrics import check_lyrics, draft_lyrics, fit_lyrics_file
from domains.music.workflows.saving import Writing
from domains.music.workflows.songs import inherited, lyrics_text, reproduce_file, song_file

__all__ = [
    "Writing",
    "check_lyrics",
    "decode_file",
    "draft_lyrics",
    "encode_file",
    "encode_folder",
    "fit_lyrics_file",
    "inherited",
    "lyrics_text",
    "reproduce_file",
    "song_file",
]
