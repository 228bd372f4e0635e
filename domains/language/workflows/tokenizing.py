"""Learning a tokenizer from text, and looking at one."""

from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once
from domains.language import tokenizer_files
from domains.language.formats.reading import Reading
from domains.language.sets import read_set
from domains.language.tokenizer import PROBE, Tokenizer
from domains.language.workflows.opening import open_tokenizer

__all__ = ["inspect_tokenizer", "tokenizer_file"]


def tokenizer_file(
    source: str,
    folder: Path,
    *,
    reading: Reading = Reading(),
    kind: str = "bpe",
    vocab_size: int | None = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Learn a tokenizer and write it into a folder.

    Raises:
        ConfigError: the folder holds one already, or a setting is wrong.
    """
    if (folder / "tokenizer.json").exists() and not overwrite:
        raise ConfigError(
            f"{folder} holds a tokenizer; nothing was overwritten.",
            hint="Name another folder, or pass --force.",
        )
    text = read_set(source, reading, data_dir=data_dir)
    made, line = open_tokenizer(text, None, kind, vocab_size)
    ready(Outlook((line,)))
    tokenizer_files.save(made, folder)
    return {"tokenizer": str(folder), **_described(made)}


def inspect_tokenizer(folder: Path, sample: str = PROBE) -> dict[str, Any]:
    """What a tokenizer is, and what it makes of a text."""
    found = tokenizer_files.load(folder)
    ids = found.encode(sample)
    pieces = [found.decode([i]) for i in ids]
    return {
        **_described(found),
        "sample": sample,
        "ids": ids,
        "pieces": pieces,
        "characters_per_token": len(sample) / max(len(ids), 1),
        "round_trip": found.decode(ids) == sample,
        "sources": [f"{source.name} {source.sha256[:16]}" for source in found.sources],
    }


def _described(found: Tokenizer) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "size": found.size,
        "eos_id": found.eos_id,
        "mask_id": found.mask_id,
        "pad_id": found.pad_id,
        "fingerprint": found.fingerprint[:16],
    }
