"""A corpus as standardised latents on disk: one safetensors file a song, and an index.

A file holds, for each stem ("voice", "backing", "mix"), its mean (C, L) and, under "<stem>.std", the
deviation of its law, both float16. Its metadata name the encoder that made it, so that a run that was cut
short goes on where it stopped and files of another encoder are made again. The index `latents.json` appears
last.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.errors import CheckpointError, DataError
from core.progress import Progress, silent
from domains.music.codec import chunked

__all__ = ["INDEX", "encode_corpus", "encoder_digest", "read_latents"]

INDEX = "latents.json"
STEMS = ("voice", "backing", "mix")


def encode_corpus(
    codec: Any,
    corpus: Path,
    folder: Path,
    *,
    stems: Sequence[str] = STEMS,
    progress: Progress = silent,
) -> list[str]:
    """Encode every song of a corpus that is not encoded yet.

    Args:
        corpus: folder of songs `<id>/{mix,voice,backing}.flac, song.json`.
        folder: receives `<id>.safetensors` and the index.
        stems: which files of a song.

    Returns:
        The identifiers of all songs, in order.

    Raises:
        DataError: no songs, or stems of one song that differ in length.
    """
    cards = sorted(corpus.glob("*/song.json"))
    if not cards:
        raise DataError(f"{corpus} holds no songs.", hint="Render the corpus first.")
    folder.mkdir(parents=True, exist_ok=True)
    digest = encoder_digest(codec)
    for done, card in enumerate(cards):
        path = folder / f"{card.parent.name}.safetensors"
        if _maker(path) != digest:
            _write(path, _song(codec, card.parent, stems), digest)
        progress("encode corpus", done + 1, len(cards))
    songs = [card.parent.name for card in cards]
    index = {
        "encoder": digest,
        "codec": codec.config,
        "rate": codec.rate,
        "hop": codec.hop,
        "channels": codec.channels,
        "stems": list(stems),
        "songs": songs,
    }
    temporary = folder / f".{INDEX}.part"
    temporary.write_text(json.dumps(index, indent=1), "utf-8")
    os.replace(temporary, folder / INDEX)
    return songs


def read_latents(path: Path, *, digest: str | None = None) -> dict[str, Tensor]:
    """The latents of a song, float32: each stem's mean (C, L), and its deviation under "<stem>.std".

    Args:
        digest: of the encoder that must have made them; None accepts any.

    Raises:
        CheckpointError: the file is missing, broken, or made by another encoder.
    """
    maker = _maker(path)
    if maker is None:
        raise CheckpointError(f"no latents at {path}.", hint="Encode the corpus again.")
    if digest is not None and maker != digest:
        raise CheckpointError(
            f"{path.name} was made by encoder {maker}, expected {digest}.", hint="Encode the corpus again."
        )
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)


def encoder_digest(codec: Any) -> str:
    """Twelve hex digits that change with the encoder or the units of the latents, not with the decoder."""
    total = hashlib.sha256(json.dumps(codec.config, sort_keys=True).encode())
    for name, value in sorted(codec.state_dict().items()):
        if not name.startswith("decoder."):
            total.update(name.encode())
            # Half precision, so that storing the weights that way does not change it.
            total.update(value.detach().cpu().to(torch.float16).contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def _song(codec: Any, folder: Path, stems: Sequence[str]) -> dict[str, Tensor]:
    from domains.music.audio import read_audio

    found = [
        read_audio(folder / f"{name}.flac", codec.rate, channels=codec.wave_channels).samples
        for name in stems
    ]
    lengths = {wave.shape[-1] for wave in found}
    if len(lengths) > 1:
        raise DataError(f"the stems of {folder.name} differ in length: {sorted(lengths)} samples.")
    with torch.no_grad():
        law = chunked.encode(codec, torch.stack(found))
    out: dict[str, Tensor] = {}
    for name, mean, std in zip(stems, law.mean, law.std, strict=True):
        out |= {name: mean.half().contiguous(), f"{name}.std": std.half().contiguous()}
    return out


def _write(path: Path, tensors: Mapping[str, Tensor], digest: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    save_file(dict(tensors), temporary, {"encoder": digest})
    os.replace(temporary, path)


def _maker(path: Path) -> str | None:
    """The encoder that made a file, or None where there is no whole file."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("encoder")
    except (SafetensorError, OSError):
        return None
