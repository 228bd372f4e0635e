"""Models by folder, file or shipped name, and a model with the codec that it was trained with."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CheckpointError
from domains.music.codec.stored import load_codec
from domains.music.model import SongModel, load_model
from domains.music.recogniser import Recogniser, load_recogniser
from domains.music.tagger import Tagger, load_tagger
from domains.music.weights import PARTS, SHIPPED, shipped

__all__ = ["Opened", "digest", "find", "open_codec", "open_recogniser", "open_song", "open_tagger"]

FILES = ("model.safetensors", "codec.safetensors")


@dataclass(frozen=True)
class Opened:
    """A song model and its codec, with the files they came from."""

    model: SongModel
    codec: Any
    model_file: Path
    codec_file: Path

    def hashes(self) -> dict[str, str]:
        """SHA-256 of both files."""
        return {"model": digest(self.model_file), "codec": digest(self.codec_file)}


def find(name: str, *, prefer: str = "model.safetensors") -> Path:
    """The file of a model: a file, a run folder, or the name of a part that ships.

    Args:
        prefer: the file of a folder that holds several.

    Raises:
        CheckpointError: there is none; says what ships.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folder = shipped(name) if name in PARTS and not path.exists() else path
    for file in dict.fromkeys((prefer, *FILES)):
        if (folder / file).is_file():
            return folder / file
    if name in PARTS:
        raise CheckpointError(
            f"the shipped part '{name}' is not installed.",
            hint=f"Train one and name its folder: suffuse music train {TRAIN[name]}.",
        )
    known = f"shipped are {', '.join(SHIPPED)}" if SHIPPED else "nothing ships with this installation"
    raise CheckpointError(
        f"no model at {name} ({known}).", hint="Give the run folder of 'suffuse music train'."
    )


TRAIN = {"song": "dit", "student": "dit, then distil it", "codec": "codec"} | {
    name: name for name in ("recogniser", "tagger")
}


def open_codec(name: str | None, device: Any = "cpu", *, beside: Path | None = None) -> tuple[Any, Path]:
    """A codec and its file.

    Args:
        name: a file, a folder or "codec"; None takes the one beside a model, else the shipped one.
        beside: file of the model.
    """
    own = beside.with_name("codec.safetensors") if beside is not None else None
    if name is None and own is not None and own.is_file() and own != beside:
        file = own
    else:
        file = find(name or "codec", prefer="codec.safetensors")
    return load_codec(file).to(device), file


def open_song(model: str, codec: str | None = None, device: Any = "cpu") -> Opened:
    """A song model with its codec.

    Raises:
        CheckpointError: one of them is missing or no such thing.
        ModelMismatch: the codec has another rate, hop or number of channels; the fields are listed.
    """
    file = find(model)
    found = load_model(file, device)
    coder, coder_file = open_codec(codec, device, beside=file)
    found.check_codec(coder)
    return Opened(found, coder, file, coder_file)


def open_recogniser(name: str = "recogniser") -> Recogniser:
    """A recogniser by file, folder or shipped name."""
    return load_recogniser(find(name))


def open_tagger(name: str = "tagger") -> Tagger:
    """A tagger by file, folder or shipped name."""
    return load_tagger(find(name))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
