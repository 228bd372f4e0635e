"""Text files as documents, read piece by piece.

    .txt .text .raw .tokens .md   the whole file, its lines, or its paragraphs (`Reading.unit`)
    .jsonl .ndjson                one document per row, the text in one field
    .parquet                      likewise, where pyarrow is installed
    .gz after a text name         the same, compressed
    a folder                      its files of these types, in the order of their names

A file need not fit in memory: a long document arrives in pieces of about a million characters, of which the
last has `ends`. A piece ends where a run of white space begins; no token of a byte-level BPE of GPT-2's kind
crosses there, so that the pieces encode to the ids of the whole.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

from core.errors import ConfigError, DataError
from core.extras import require
from domains.language.formats.position import advanced

__all__ = [
    "SUFFIXES",
    "TEXT_SUFFIXES",
    "Document",
    "Reading",
    "Unit",
    "files_of",
    "read_documents",
    "suffix_of",
]

Unit = Literal["file", "line", "paragraph"]
TEXT_SUFFIXES = (".txt", ".text", ".raw", ".tokens", ".md")
JSON_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, ".parquet")

CHUNK = 1 << 20
"""Bytes read, and about the characters of a piece."""


@dataclass(frozen=True)
class Document:
    """A document, or a piece of a long one.

    Attributes:
        text: without the line break that ends it, where documents are lines.
        row: number of the line or row that it starts at, from 1.
        source: file it is from.
        line: line of its first character within `text`'s own file, from 1; 1 for rows of a table.
        column: likewise.
        ends: whether the document ends here.
        table: whether `row` numbers records and not lines.
    """

    text: str
    row: int
    source: str
    line: int = 1
    column: int = 1
    ends: bool = True
    table: bool = False

    @property
    def name(self) -> str:
        """What an error calls it."""
        return f"{self.source}, row {self.row}" if self.table else self.source


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        field: of JSON rows and columns of a table, where the text is.
        encoding: of text and JSON.
        unit: what a document of a text file is; paragraphs are parted by blank lines.
        limit: most documents to read, None for all.
    """

    field: str = "text"
    encoding: str = "utf-8"
    unit: Unit = "file"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}.")
        if self.unit not in ("file", "line", "paragraph"):
            raise ConfigError(f"unit must be file, line or paragraph, got '{self.unit}'.")
        try:
            codecs.lookup(self.encoding)
        except LookupError as err:
            raise ConfigError(f"unknown encoding '{self.encoding}'.", hint="Try utf-8 or latin-1.") from err


def files_of(source: Path) -> list[Path]:
    """The file, or the readable files of a folder in the order of their names.

    Raises:
        DataError: there is nothing to read.
    """
    source = source.expanduser()
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if path.is_file() and suffix_of(path) in SUFFIXES)
        if not found:
            raise DataError(f"{source} holds no text (looked for {', '.join(SUFFIXES)}, also with .gz).")
        return found
    if not source.exists():
        raise DataError(f"there is no file {source}.", hint="Check the path.")
    if suffix_of(source) not in SUFFIXES:
        raise DataError(
            f"{source}: '{source.suffix or source.name}' is no known type of text "
            f"(known: {', '.join(SUFFIXES)}).",
            hint="Rename plain text to .txt, or write JSON rows with a field 'text'.",
        )
    return [source]


def suffix_of(path: Path) -> str:
    """The extension that says what the content is, in lower case, without ".gz"."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def read_documents(source: Path, reading: Reading = Reading()) -> Iterator[Document]:
    """Iterate over the documents of a file or folder; nothing is kept.

    Raises:
        DataError: a file is missing, empty, not in the encoding (with the byte offset), no gzip, or a row has
            no text; found when that place is reached.
        MissingExtra: a Parquet file, and pyarrow is not installed.
    """
    left = reading.limit
    for path in files_of(source):
        for document in _documents_of(path, reading):
            yield document
            if left is not None and document.ends:
                left -= 1
                if not left:
                    return


def _documents_of(path: Path, reading: Reading) -> Iterator[Document]:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes).", hint="Give a file with text.")
    suffix = suffix_of(path)
    if suffix == ".parquet":
        yield from _parquet(path, reading)
    elif suffix in JSON_SUFFIXES:
        yield from _rows(path, reading)
    elif reading.unit == "file":
        yield from _whole(path, reading)
    else:
        found = _paragraphs(path, reading) if reading.unit == "paragraph" else _lines(path, reading)
        yield from found


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """The text in chunks; line breaks become "\\n" and a leading byte order mark is dropped.

    Raises:
        DataError: bytes that are not of the encoding, with their offset in the (unpacked) file.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    offset, held, first = 0, "", True
    try:
        with cast(IO[bytes], opener(path, "rb")) as file:
            while True:
                chunk = file.read(CHUNK)
                waiting = len(decoder.getstate()[0])
                try:
                    text = held + decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as err:
                    raise DataError(
                        f"{path} is not {encoding}: byte 0x{err.object[err.start]:02x} at offset "
                        f"{offset - waiting + err.start}.",
                        hint="Name its encoding, such as --encoding latin-1.",
                    ) from err
                offset += len(chunk)
                held = "\r" if chunk and text.endswith("\r") else ""
                text = text[: len(text) - len(held)].replace("\r\n", "\n")
                if first and text:
                    text, first = text.removeprefix("\ufeff"), False
                if text:
                    yield text
                if not chunk:
                    break
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"{path} cannot be read: {err}.") from err
    if not offset:
        raise DataError(f"{path} is empty (0 bytes).", hint="Give a file with text.")


def _whole(path: Path, reading: Reading) -> Iterator[Document]:
    """The file as one document in pieces."""
    rest, line, column = "", 1, 1
    for text in _decoded(path, reading.encoding):
        rest += text
        cut = _cut(rest) if len(rest) >= CHUNK else 0
        if cut:
            yield Document(rest[:cut], line, str(path), line, column, ends=False)
            line, column = advanced(rest[:cut], line=line, column=column)
            rest = rest[cut:]
    yield Document(rest, line, str(path), line, column)


def _cut(text: str) -> int:
    """Where the last run of white space begins, if at a space or line break; 0 where there is none."""
    at = len(text)
    while (at := max(text.rfind(" ", 0, at), text.rfind("\n", 0, at))) > 0:
        if not text[at - 1].isspace():
            return at
    return 0


def _lines(path: Path, reading: Reading) -> Iterator[Document]:
    """Every line, empty ones too, without its line break."""
    number, rest = 0, ""
    for text in _decoded(path, reading.encoding):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            number += 1
            yield Document(line, number, str(path), number)
    if rest:
        yield Document(rest, number + 1, str(path), number + 1)


def _paragraphs(path: Path, reading: Reading) -> Iterator[Document]:
    """Runs of lines that are not blank, joined by their line breaks."""
    held: list[Document] = []
    for line in _lines(path, reading):
        if line.text.strip():
            held.append(line)
        elif held:
            yield replace(held[0], text="\n".join(part.text for part in held))
            held = []
    if held:
        yield replace(held[0], text="\n".join(part.text for part in held))


def _rows(path: Path, reading: Reading) -> Iterator[Document]:
    """JSON rows; blank lines are skipped, empty texts are documents."""
    for line in _lines(path, reading):
        if not line.text.strip():
            continue
        try:
            row = json.loads(line.text)
        except ValueError as err:
            raise DataError(f"{path}, line {line.row} is no JSON: {err}.") from err
        if not isinstance(row, dict) or reading.field not in row:
            found = f"fields {', '.join(map(str, row)) or 'none'}" if isinstance(row, dict) else "no object"
            raise DataError(
                f"{path}, line {line.row} has no field '{reading.field}' ({found}).",
                hint="Name the field that holds the text with --field.",
            )
        yield Document(_text(row[reading.field], path, line.row, reading), line.row, str(path), table=True)


def _parquet(path: Path, reading: Reading) -> Iterator[Document]:
    parquet = require("pyarrow.parquet", extra="pyarrow")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is no Parquet file: {str(err).splitlines()[0]}.") from err
    with file:
        names = file.schema_arrow.names
        if reading.field not in names:
            raise DataError(
                f"{path} has no column '{reading.field}' (columns: {', '.join(names)}).",
                hint="Name the column that holds the text with --field.",
            )
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=[reading.field]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield Document(_text(value, path, number, reading), number, str(path), table=True)


def _text(value: Any, path: Path, row: int, reading: Reading) -> str:
    if not isinstance(value, str):
        raise DataError(f"{path}, row {row}: '{reading.field}' is {type(value).__name__}, expected text.")
    try:
        value.encode()
    except UnicodeEncodeError as err:  # JSON can escape what no UTF-8 can hold
        raise DataError(
            f"{path}, row {row}: character {err.start + 1} of '{reading.field}' is half of a surrogate pair.",
            hint="Leave the row out, or write its text as UTF-8.",
        ) from err
    return value
