"""Tokens in files: a text of any size is encoded once and then read through a memory map.

    tokens.bin    ids one after the other, uint16 where V + 2 fits, else int32, little-endian
    tokens.json   count, dtype, SHA-256 of the ids as int32, ends of text, bytes and characters of the text,
                  fingerprint of the tokenizer

`write_tokens` takes documents as they come and keeps about a million characters of them. Both files are
written under another name and renamed at the end, so that a run that fails leaves an earlier pair as it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import CheckpointError, ConfigError, DataError
from core.progress import Progress, silent
from domains.language.formats.reading import Document
from domains.language.tokenizer import Tokenizer

__all__ = ["Ends", "Prepared", "TokenFile", "divided", "encoded", "in_memory", "open_tokens", "write_tokens"]

Array = np.ndarray[Any, np.dtype[Any]]
Ends = Literal["eos", "none"]

BATCH_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Prepared:
    """What happens to documents before they are encoded.

    Args:
        detokenise: changes a whole document, see `detokenize`; None leaves it.
        normalise: replace what the tokenizer lacks, instead of refusing it.
        ends: whether each document is followed by the end of text.
    """

    detokenise: Callable[[str], str] | None = None
    normalise: bool = False
    ends: Ends = "eos"


@dataclass(frozen=True)
class TokenFile:
    """A stream of tokens.

    Attributes:
        count: tokens, ends of text included.
        documents: how many ended.
        raw_bytes: UTF-8 bytes of the documents before anything was changed; what bits per byte count.
        characters: likewise.
        sha256: of the ids as int32, little-endian.
        dtype: of the file.
        fingerprint: of the tokenizer.
        size: V.
        eos_id: of the tokenizer.
        path: the file of ids, or None when they are in memory.
        held: the ids, when they are in memory.
    """

    count: int
    documents: int
    raw_bytes: int
    characters: int
    sha256: str
    dtype: str
    fingerprint: str
    size: int
    eos_id: int | None
    path: Path | None = None
    held: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def ids(self) -> Array:
        """(count,), read where it is needed."""
        if self.held is not None:
            return np.asarray(self.held)
        assert self.path is not None
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(self.count,))

    def check(self, tokenizer: Tokenizer) -> None:
        """Refuse a file of another tokenizer.

        Raises:
            CheckpointError: the fingerprints differ.
        """
        if self.fingerprint != tokenizer.fingerprint:
            raise CheckpointError(
                f"{self.path or 'the tokens'} were made with another tokenizer (of {self.size} tokens, "
                f"this one has {tokenizer.size}).",
                hint="Encode the text again with this tokenizer.",
            )


def encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, prepared: Prepared = Prepared()
) -> Iterator[tuple[Document, Array]]:
    """Ids of each document or piece, with the end of text where it belongs.

    Raises:
        ConfigError: ends are asked for and the tokenizer has none.
        DataError: a text has characters that the tokenizer lacks; names source, line and column.
    """
    if prepared.ends == "eos" and tokenizer.eos_id is None:
        raise ConfigError(
            f"a {tokenizer.kind} tokenizer has no end of text.", hint="Use ends='none', or another tokenizer."
        )
    held: list[tuple[Document, str]] = []
    waiting = 0
    blank = False
    for document in _whole(documents) if prepared.detokenise is not None else documents:
        text = document.text if prepared.detokenise is None else prepared.detokenise(document.text)
        if prepared.normalise:
            text = tokenizer.normalised(text)
            # Runs of spaces are one space in text8, also where two pieces of a document meet.
            if tokenizer.kind == "text8" and blank:
                text = text.removeprefix(" ")
            blank = not document.ends and (text.endswith(" ") or (blank and not text))
        held.append((document, text))
        waiting += len(text)
        if waiting >= BATCH_CHARACTERS or len(held) >= 4096:
            yield from _batch(held, tokenizer, prepared)
            held, waiting = [], 0
    yield from _batch(held, tokenizer, prepared)


def _batch(
    held: list[tuple[Document, str]], tokenizer: Tokenizer, prepared: Prepared
) -> Iterator[tuple[Document, Array]]:
    if tokenizer.symbols:
        rows: Iterable[Any] = (
            tokenizer.encode_array(text, source=item.name, line=item.line, column=item.column)
            for item, text in held
        )
    else:
        rows = tokenizer.encode_batch([text for _, text in held])
    for (item, _), row in zip(held, rows, strict=True):
        ids = np.asarray(row, dtype=np.int32)
        if item.ends and prepared.ends == "eos":
            assert tokenizer.eos_id is not None
            ids = np.append(ids, np.int32(tokenizer.eos_id))
        yield item, ids


def _whole(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents with their pieces joined: a detokeniser looks at all of one."""
    held: list[Document] = []
    for item in documents:
        held.append(item)
        if item.ends:
            yield item if len(held) == 1 else replace(held[0], text="".join(p.text for p in held), ends=True)
            held = []


def in_memory(
    documents: Iterable[Document], tokenizer: Tokenizer, prepared: Prepared = Prepared()
) -> TokenFile:
    """Encode documents that fit in memory."""
    parts: list[Array] = []
    found = _collect(documents, tokenizer, prepared, parts.append)
    return replace(found, held=np.concatenate([np.zeros(0, np.int32), *parts]), dtype="int32")


def write_tokens(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: Path,
    prepared: Prepared = Prepared(),
    *,
    progress: Progress = silent,
) -> TokenFile:
    """Encode documents into a folder.

    Raises:
        DataError: there is no text, a text cannot be encoded, or the disk is full; the folder then holds no
            new file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, note = folder / "tokens.bin.part", folder / "tokens.json.part"
    dtype = "<u2" if tokenizer.rows <= 1 << 16 else "<i4"
    done = 0
    try:
        with part.open("wb") as file:

            def put(ids: Array) -> None:
                nonlocal done
                file.write(ids.astype(dtype).tobytes())
                done += len(ids)
                progress("encode", done, None)

            found = _collect(documents, tokenizer, prepared, put)
        if not found.count:
            raise DataError("the documents hold no text.", hint="Give a file with text.")
        info = {**asdict(found), "dtype": dtype}
        del info["path"], info["held"]
        note.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        part.replace(folder / "tokens.bin")
        note.replace(folder / "tokens.json")
    except OSError as err:
        raise DataError(f"{folder} cannot be written: {err}.", hint="Free some space and try again.") from err
    finally:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
    return open_tokens(folder)


def open_tokens(folder: Path) -> TokenFile:
    """Open what `write_tokens` wrote.

    Raises:
        DataError: a file is missing, or has another length than it says.
    """
    path = folder / "tokens.bin"
    try:
        info = json.loads((folder / "tokens.json").read_text("utf-8"))
        found = TokenFile(**info, path=path)
        size = path.stat().st_size
    except (OSError, TypeError, ValueError) as err:
        raise DataError(f"{folder} holds no tokens that can be read: {err}.") from err
    if size != found.count * np.dtype(found.dtype).itemsize:
        raise DataError(f"{path} has {size} bytes, {found.count} tokens of {found.dtype} were expected.")
    return found


def divided(tokens: TokenFile, share: float) -> tuple[TokenFile, TokenFile]:
    """Split a stream in two: what trains, and the tail that is held out.

    The cut is after the first end of text from the nominal place on, where there is one, so that no document
    lies on both sides. Bytes and characters are divided in proportion to the tokens.

    Args:
        share: of the tokens that the tail gets, in (0, 1).

    Raises:
        ConfigError: the share is outside of its bounds.
        DataError: a part would have no token.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share that is held out lies in (0, 1), got {share}.")
    cut = round(tokens.count * (1 - share))
    if tokens.eos_id is not None:
        ends = np.flatnonzero(np.asarray(tokens.ids[cut - 1 : tokens.count - 1]) == tokens.eos_id)
        cut = cut + int(ends[0]) if cut > 0 and len(ends) else cut
    if not 0 < cut < tokens.count:
        raise DataError(f"{tokens.count} tokens cannot be divided with a share of {share}.")
    return _part(tokens, 0, cut), _part(tokens, cut, tokens.count)


def _part(tokens: TokenFile, start: int, stop: int) -> TokenFile:
    ids = tokens.ids[start:stop]
    part = (stop - start) / tokens.count
    ended = 0 if tokens.eos_id is None else int((np.asarray(ids) == tokens.eos_id).sum())
    return replace(
        tokens,
        count=stop - start,
        documents=ended,
        raw_bytes=round(tokens.raw_bytes * part),
        characters=round(tokens.characters * part),
        sha256=hashlib.sha256(np.asarray(ids).astype("<i4").tobytes()).hexdigest(),
        path=None,
        held=ids,
    )


def _collect(
    documents: Iterable[Document], tokenizer: Tokenizer, prepared: Prepared, put: Callable[[Array], None]
) -> TokenFile:
    digest = hashlib.sha256()
    count = ended = raw = characters = 0

    def measured() -> Iterator[Document]:
        nonlocal ended, raw, characters
        for item in documents:
            ended += item.ends
            raw += len(item.text.encode("utf-8", "surrogatepass"))
            characters += len(item.text)
            yield item

    for _, ids in encoded(measured(), tokenizer, prepared):
        digest.update(ids.astype("<i4").tobytes())
        count += len(ids)
        put(ids)
    return TokenFile(
        count,
        ended,
        raw,
        characters,
        digest.hexdigest(),
        "<i4",
        tokenizer.fingerprint,
        tokenizer.size,
        tokenizer.eos_id,
    )
