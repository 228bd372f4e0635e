"""Protocols of likelihood on held-out text: which rows, which blocks, and the hashes that pin them down.

    protocol   blocks of the stream
    radd       the next L tokens, the remainder dropped
    mdlm       end of text, the next L - 2 tokens, end of text; the remainder dropped; one draw per block
    suffuse    as radd, and the remainder is a last, short block: every token counts once

The stream is the same for all: each row is detokenised, encoded, and followed by the end of text, empty rows
too. `ZERO_SHOT` lists the sets of the published tables, with the stream that the vocabulary of GPT-2 gives.

The public evaluator of RADD cuts blocks inside batches of 1000 rows (`grouped_blocks`), so it drops a few
more tokens; and it reads the train split for "WikiText2", since the test files of WikiText-2 and WikiText-103
are the same text. A figure on that test file compares with its WikiText103 column.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from core.errors import DataError, unknown
from domains.language.detokenize import detokeniser
from domains.language.formats.reading import Document
from domains.language.streams import Blocks, blocks_of
from domains.language.token_files import Prepared, TokenFile, encoded, in_memory
from domains.language.tokenizer import Tokenizer

__all__ = [
    "PROTOCOLS",
    "ZERO_SHOT",
    "Protocol",
    "Stream",
    "ZeroShot",
    "check_stream",
    "grouped_blocks",
    "protocol_blocks",
    "rows_of",
    "zero_shot_tokens",
]

Array = np.ndarray[Any, np.dtype[Any]]
Protocol = Literal["radd", "mdlm", "suffuse"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
BLOCK = 1024


@dataclass(frozen=True)
class Stream:
    """The stream that a set must give under the vocabulary of GPT-2.

    Attributes:
        rows: documents, empty ones included.
        tokens: with the ends of text.
        blocks: whole ones of 1024.
        first: ids of the first tokens.
        sha256: first 16 hexadecimal digits, of the ids as int32, little-endian.
    """

    rows: int
    tokens: int
    blocks: int
    first: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class ZeroShot:
    """One set of the published tables.

    Attributes:
        card: its dataset; None for licensed text, which the user brings.
        detokeniser: its rules, see `detokenize`.
        row: what a line of the file is: "kept" with its line break, an all-blank one being empty; "stripped";
            or "passage", a record as it is.
        stream: what must come out; None where no figure is published here.
    """

    card: str | None
    detokeniser: str
    row: Literal["kept", "stripped", "passage"]
    stream: Stream | None


ZERO_SHOT: Mapping[str, ZeroShot] = {
    "wikitext2": ZeroShot(
        "wikitext2_raw",
        "wikitext",
        "kept",
        Stream(4358, 274_796, 268, (50256, 796, 5199, 347, 2852, 353, 796, 198), "d1e6d0b30e64048d"),
    ),
    "ptb": ZeroShot(
        None,
        "ptb",
        "stripped",
        Stream(3761, 91_135, 88, (3919, 340, 2492, 470, 2042, 285, 3204, 50256), "d42126919b3be6d2"),
    ),
    "lambada": ZeroShot(
        "lambada",
        "lambada",
        "passage",
        Stream(5153, 428_743, 418, (198, 818, 616, 18057, 318, 257, 1598, 7815), "1a8fad2510d4c5dd"),
    ),
    "lm1b": ZeroShot(None, "lm1b", "stripped", None),
}


def rows_of(documents: Iterable[Document], row: str) -> Iterator[Document]:
    """Lines or records as the rows of a set, see `ZeroShot.row`.

    A WikiText row keeps its line break whether it came from a text file, whose reader takes it off, or from
    a table, which has it.
    """
    for item in documents:
        text = item.text
        if row == "stripped":
            text = text.strip()
        elif row == "kept":
            text = text if item.table else text + "\n"
            text = text if text.strip() else ""
        yield replace(item, text=text)


def zero_shot_tokens(name: str, documents: Iterable[Document], tokenizer: Tokenizer) -> TokenFile:
    """The stream of a set.

    Args:
        name: of `ZERO_SHOT`.
        documents: lines of a text file (`Reading(unit="line")`) or rows of a table.

    Raises:
        ConfigError: there is no set of that name.
    """
    if name not in ZERO_SHOT:
        raise unknown("zero-shot set", name, ZERO_SHOT)
    entry = ZERO_SHOT[name]
    return in_memory(rows_of(documents, entry.row), tokenizer, Prepared(detokeniser(entry.detokeniser)))


def check_stream(name: str, tokens: TokenFile) -> None:
    """Refuse a stream that is not the published one of a set; does nothing where none is known.

    Raises:
        DataError: rows, tokens or hash differ; names the first that does, found and expected.
    """
    wanted = ZERO_SHOT[name].stream
    if wanted is None:
        return
    pairs = {
        "rows": (tokens.documents, wanted.rows),
        "tokens": (tokens.count, wanted.tokens),
        "SHA-256": (tokens.sha256[:16], wanted.sha256),
    }
    for what, (found, expected) in pairs.items():
        if found != expected:
            raise DataError(
                f"{name}: the stream has {what} {found}, the published one {expected}.",
                hint="Use the file of the standard test split, and the vocabulary of GPT-2.",
            )


def protocol_blocks(tokens: TokenFile, protocol: str, length: int = BLOCK) -> Blocks:
    """Cut a stream by a protocol.

    Raises:
        ConfigError: the protocol is unknown, or needs an end of text that the tokenizer lacks.
        DataError: there are fewer tokens than one block.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    packing: Literal["eos", "bos_eos"] = "bos_eos" if protocol == "mdlm" else "eos"
    return blocks_of(tokens, length, packing, keep_rest=protocol == "suffuse")


def grouped_blocks(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    prepared: Prepared,
    *,
    length: int = BLOCK,
    group: int = 1000,
) -> Array:
    """Blocks (n, L) int64 cut inside groups of `group` rows, each of which drops its own remainder."""
    kept: list[Array] = []
    held: list[Array] = []
    rows = 0

    def cut() -> None:
        ids = np.concatenate([np.zeros(0, np.int32), *held])
        whole = len(ids) // length
        kept.append(ids[: whole * length].reshape(whole, length).astype(np.int64))
        held.clear()

    for item, ids in encoded(documents, tokenizer, prepared):
        held.append(ids)
        rows += item.ends
        if item.ends and rows % group == 0:
            cut()
    cut()
    return np.concatenate(kept)
