"""Tokenizers in folders.

    tokenizer.json     the vocabulary, in the format of the `tokenizers` library; end, mask and padding are
                       special tokens in it, so that `PreTrainedTokenizerFast(tokenizer_file=...)` takes them
    special_ids.json   size, eos_id, mask_id, pad_id
    meta.json          kind, fingerprint, and name and SHA-256 of each file it was made from

`load` also takes a folder with the two files of GPT-2, and a `tokenizer.json` of another program.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import CheckpointError, DataError
from core.extras import require
from data import store
from data.download import sha256_of
from domains.language.tokenizer import (
    END,
    MASK,
    PAD,
    PROBE,
    Origin,
    Tokenizer,
    finished,
    of_symbols,
    train_tokenizer,
)

__all__ = ["GPT2_PROBE", "GPT2_SIZE", "find_tokenizer", "load", "load_gpt2", "origins", "save"]

GPT2_SIZE = 50257
GPT2_PROBE = (15496, 995, 11, 340, 338, 7358, 0, 198)
"""Ids of `tokenizer.PROBE` under the vocabulary of GPT-2."""

FOREIGN_ENDS = (END, "</s>", "<eos>", "[SEP]", "<|end_of_text|>")
UNKNOWN = "<|unk|>"  # names no entry: an unknown character is an error, not a token


def origins(paths: Iterable[Path]) -> tuple[Origin, ...]:
    """Name and SHA-256 of files, for the record of what a tokenizer was made from."""
    return tuple(Origin(path.name, sha256_of(path)) for path in paths)


def save(tokenizer: Tokenizer, folder: Path) -> Path:
    """Write a tokenizer; each file appears under its name only once it is complete.

    Returns:
        The folder, made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = tokenizer.model.to_str(pretty=True) if tokenizer.model is not None else _of_characters(tokenizer)
    special = {
        "size": tokenizer.size,
        "eos_id": tokenizer.eos_id,
        "mask_id": tokenizer.mask_id,
        "pad_id": tokenizer.pad_id,
    }
    meta = {
        "kind": tokenizer.kind,
        "fingerprint": tokenizer.fingerprint,
        "sources": [asdict(source) for source in tokenizer.sources],
    }
    files = {"tokenizer.json": text, "special_ids.json": _pretty(special), "meta.json": _pretty(meta)}
    for name, content in files.items():
        part = folder / f"{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(folder / name)
    return folder


def load(folder: Path) -> Tokenizer:
    """Read a tokenizer that `save` wrote, the two files of GPT-2, or a `tokenizer.json` of another program.

    Args:
        folder: the folder, or the `tokenizer.json` itself.

    Raises:
        DataError: it holds none of the three, or one that loses text.
        CheckpointError: the files of a saved tokenizer do not belong together.
        MissingExtra: `tokenizers` is not installed, and the kind needs it.
    """
    folder = folder.expanduser()
    file = folder if folder.is_file() else folder / "tokenizer.json"
    if file.is_file():
        meta = file.parent / "meta.json"
        return _load_saved(file, meta) if meta.is_file() else _load_foreign(file)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return load_gpt2(folder)
    raise DataError(
        f"{folder} holds no tokenizer (no tokenizer.json, no vocab.json with merges.txt).",
        hint="Make one with: suffuse language tokenizer train",
    )


def find_tokenizer(source: str | Path, *, data_dir: Path | None = None) -> Tokenizer:
    """A tokenizer by name or folder.

    Args:
        source: a path (a path that exists wins over a name), "text8", or "gpt2", whose files are searched in
            the data folders.
        data_dir: searched before all other data folders.

    Raises:
        DataError: there is none.
    """
    path = Path(source).expanduser()
    if not path.exists() and str(source) == "text8":
        return train_tokenizer("text8")
    if not path.exists() and str(source) == "gpt2":
        return load_gpt2(store.path("gpt2_bpe", data_dir=data_dir))
    return load(path)


def load_gpt2(folder: Path) -> Tokenizer:
    """The byte-level BPE of GPT-2 from `vocab.json` and `merges.txt` (Radford et al. 2019).

    Raises:
        DataError: a file is missing, or size or probe are not those of GPT-2.
    """
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    for path in (vocab, merges):
        if not path.is_file():
            raise DataError(
                f"there is no {path}.", hint="The vocabulary of GPT-2 is vocab.json and merges.txt."
            )
    library = require("tokenizers", extra="language")
    try:
        model = library.Tokenizer.from_str(library.ByteLevelBPETokenizer(str(vocab), str(merges)).to_str())
    except Exception as err:  # the library raises bare Exception
        raise DataError(f"{folder} holds no vocabulary that can be read: {err}.") from err
    size = model.get_vocab_size()
    if size != GPT2_SIZE:
        raise DataError(f"{vocab} has {size} entries, that of GPT-2 has {GPT2_SIZE}.")
    model.add_special_tokens([END])  # an entry already: it keeps its id, and is marked as special
    made = finished(model, "gpt2", size, model.token_to_id(END), sources=origins((vocab, merges)))
    if (ids := tuple(made.encode(PROBE))) != GPT2_PROBE:
        raise DataError(f"{folder} encodes {PROBE!r} to {ids}, GPT-2 to {GPT2_PROBE}.")
    return made


def _load_saved(file: Path, meta_file: Path) -> Tokenizer:
    try:
        meta = json.loads(meta_file.read_text("utf-8"))
        special = json.loads((file.parent / "special_ids.json").read_text("utf-8"))
        kind, size, eos_id = meta["kind"], special["size"], special["eos_id"]
        sources = tuple(Origin(**source) for source in meta["sources"])
        if kind in ("char", "text8"):
            made = _characters_of(json.loads(file.read_text("utf-8")), kind, eos_id, sources)
        else:
            made = finished(_read(file), kind, size, eos_id, sources=sources)
    except (OSError, KeyError, TypeError, ValueError) as err:
        raise CheckpointError(f"{file.parent} holds no complete tokenizer: {err}.") from err
    if (made.size, made.fingerprint) != (size, meta["fingerprint"]):
        raise CheckpointError(
            f"{file} is not the one that {meta_file.name} describes ({made.size} and {size} entries).",
            hint="Make the tokenizer again, or restore its three files together.",
        )
    return made


def _load_foreign(file: Path) -> Tokenizer:
    """A `tokenizer.json` of another program; its own mask or padding tokens count as vocabulary."""
    model = _read(file)
    names = [name for name in FOREIGN_ENDS if model.token_to_id(name) is not None]
    eos_id = model.token_to_id(names[0]) if names else None
    return finished(model, "bpe", model.get_vocab_size(), eos_id, sources=origins((file,)))


def _read(file: Path) -> Any:
    library = require("tokenizers", extra="language")
    try:
        return library.Tokenizer.from_file(str(file))
    except Exception as err:  # the library raises bare Exception
        raise DataError(f"{file} is no tokenizer that can be read: {err}.") from err


def _of_characters(tokenizer: Tokenizer) -> str:
    """A vocabulary of characters in the format of the library: one word per character."""
    vocabulary = {symbol: i for i, symbol in enumerate(tokenizer.symbols)}
    special = {MASK: tokenizer.mask_id, PAD: tokenizer.pad_id}
    if tokenizer.eos_id is not None:
        special[END] = tokenizer.eos_id
        vocabulary[END] = tokenizer.eos_id
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": name, **flags} for name, i in sorted(special.items(), key=lambda x: x[1])]
    split = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    parts = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    }
    return _pretty(parts)


def _characters_of(saved: Any, kind: Any, eos_id: int | None, sources: tuple[Origin, ...]) -> Tokenizer:
    """The inverse of `_of_characters`."""
    vocabulary = sorted(saved["model"]["vocab"].items(), key=lambda entry: entry[1])
    symbols = "".join(name for name, i in vocabulary if i != eos_id)
    return of_symbols(kind, symbols, ends=eos_id is not None, sources=sources)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
