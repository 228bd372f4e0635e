"""A song composed by the shipped model: its spectrogram with the words at their stamps.

    python -m docs.figures.song      # half a minute on two cores

Writes docs/figures/song.png, and docs/figures/song.json with the calls of the network, the levels and the
hash of the samples.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from domains.music.config import checked
from domains.music.request import SongRequest
from domains.music.workflows import Writing, lyrics_text, song_file

HERE = Path(__file__).parent
ASKED = {"operation": "compose", "lyrics": lyrics_text(None, "silent-night"), "style": "piano, slow, female"}
KEPT = ("operation", "seconds", "rate", "seed", "nfe", "tiles", "steps", "style", "files", "samples_sha256")


def main() -> None:
    request = checked(SongRequest, {**ASKED, "length_s": 11.8, "seed": 0, "device": "cpu"})
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        report = song_file(request, Writing(Path(folder) / "song.flac"), folder=run)
        shutil.copy(run / "song.png", HERE / "song.png")
    facts: dict[str, Any] = {
        "command": "python -m docs.figures.song",
        **{k: report[k] for k in KEPT if k in report},
    }
    facts["files"] = [{**file, "file": Path(file["file"]).name} for file in report["files"]]
    (HERE / "song.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    print(f"wrote {HERE / 'song.png'} and song.json")


if __name__ == "__main__":
    main()
