"""Named texts and files: `read_set` turns whatever holds text into documents by split.

    name              text                                               splits              needs
    english_grammar   sentences of a grammar with known entropy          train valid test    nothing
    markov_text       characters of an order-2 source, likewise          train valid test    nothing
    python_manual     the topics of Python's language reference          train valid test    nothing
    books             seven English novels                               train valid         files
    text8_head        the first 4.4 million characters of text8          train valid         files
    tinyshakespeare   plays, one text                                    train valid         files
    wikitext2         WikiText-2 test rows                               test                files
    lambada           LAMBADA test passages                              test                files
    a path            a file or folder, see `formats`                    train               that path

Documents are made or read anew each time they are asked for; nothing is kept.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import unknown
from data import store
from data.synthetic.grammar import ENGLISH
from data.synthetic.markov_text import MarkovText, markov_text
from data.texts import python_manual
from domains.language.formats.position import advanced
from domains.language.formats.reading import Document, Reading, files_of, read_documents

__all__ = ["BUILTIN", "MARKOV", "NAMED", "TextSet", "read_set"]

MARKOV: MarkovText = markov_text()
"""The source of the set `markov_text`: six characters, see `data.synthetic.markov_text`."""

SENTENCES = {"train": 20_000, "valid": 2_000, "test": 2_000}
CHARACTERS = {"train": 200_000, "valid": 20_000, "test": 20_000}
SEEDS = {"train": 0, "valid": 1, "test": 2}

VALID_BOOK = "frankenstein_84.txt.gz"
SHAKESPEARE_TRAIN = 0.9  # of the characters, the usual split of this text


@dataclass(frozen=True)
class TextSet:
    """A text in splits.

    Attributes:
        name: of the set, or the file's.
        label: what figures on it are called.
        open: for each split, a function that starts reading its documents.
        files: for each split, the files it is from; empty for what is made here.
        kind: kind of tokenizer that suits it.
        ends: whether documents are followed by an end of text.
        note: what a reader of figures must know; empty for nothing.
    """

    name: str
    label: str
    open: Mapping[str, Callable[[], Iterator[Document]]]
    files: Mapping[str, tuple[Path, ...]]
    kind: str = "bpe"
    ends: bool = True
    note: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.open)

    def documents(self, split: str = "train") -> Iterator[Document]:
        """Read a split from its start.

        Raises:
            ConfigError: there is no split of that name.
        """
        if split not in self.open:
            raise unknown(f"split of '{self.name}'", split, self.open)
        return self.open[split]()


def read_set(source: str | Path, reading: Reading = Reading(), *, data_dir: Path | None = None) -> TextSet:
    """Find a text by name, or open a file or folder.

    Args:
        source: a path (a path that exists wins over a name), or a name of `NAMED` or `BUILTIN`.
        reading: how files of the user are read; named sets know their own.
        data_dir: searched before all other data folders.

    Raises:
        ConfigError: there is no set of that name.
        DataError: the files cannot be found, or are no text.
    """
    path, name = Path(source).expanduser(), str(source)
    if path.exists():
        files = tuple(files_of(path))
        return TextSet(
            path.name, path.name, {"train": lambda: read_documents(path, reading)}, {"train": files}
        )
    if name in BUILTIN:
        return BUILTIN[name]()
    if name in NAMED:
        card, build = NAMED[name]
        return build(store.path(card, data_dir=data_dir))
    if path.suffix or len(path.parts) > 1:
        files_of(path)  # says that there is no such file
    raise unknown("text", name, (*NAMED, *BUILTIN))


def _grammar() -> TextSet:
    def sentences(split: str) -> Iterator[Document]:
        for row, text in enumerate(ENGLISH.sentences(SENTENCES[split], seed=SEEDS[split])):
            yield Document(text, row + 1, "english_grammar", table=True)

    return _made(
        "english_grammar",
        sentences,
        "char",
        note=f"exact entropy: {ENGLISH.entropy:.4f} nats per sentence",
    )


def _markov() -> TextSet:
    def characters(split: str) -> Iterator[Document]:
        gen = np.random.default_rng(SEEDS[split])
        text = MARKOV.text(MARKOV.draw(1, CHARACTERS[split], gen)[0])
        yield Document(text, 1, "markov_text")

    return _made(
        "markov_text",
        characters,
        "char",
        ends=False,
        note=f"exact entropy rate: {MARKOV.entropy_rate:.4f} nats per character",
    )


def _manual() -> TextSet:
    # Of ten topics in alphabetical order the fifth is for testing and the last for validation.
    turn = {4: "test", 9: "valid"}

    def topics(split: str) -> Iterator[Document]:
        for row, text in enumerate(python_manual().values()):
            if turn.get(row % 10, "train") == split:
                yield Document(text, row + 1, "python_manual", table=True)

    return _made(
        "python_manual", topics, "bpe", note="the text differs from one version of Python to the next"
    )


def _made(
    name: str, documents: Callable[[str], Iterator[Document]], kind: str, *, note: str, ends: bool = True
) -> TextSet:
    """A set that is made here, in three splits."""

    def of(split: str) -> Callable[[], Iterator[Document]]:
        return lambda: documents(split)

    return TextSet(
        name, name, {split: of(split) for split in SEEDS}, dict.fromkeys(SEEDS, ()), kind, ends, note
    )


def _from_files(
    name: str,
    label: str,
    files: Mapping[str, tuple[Path, ...]],
    *,
    kind: str = "bpe",
    ends: bool = True,
    note: str = "",
) -> TextSet:
    """A set whose splits are files."""

    def of(paths: tuple[Path, ...]) -> Callable[[], Iterator[Document]]:
        return lambda: (item for path in paths for item in read_documents(path))

    opened = {split: of(paths) for split, paths in files.items()}
    return TextSet(name, label, opened, files, kind, ends, note)


def _books(folder: Path) -> TextSet:
    files = files_of(folder)
    held = tuple(path for path in files if path.name == VALID_BOOK)
    train = tuple(path for path in files if path.name != VALID_BOOK)
    return _from_files(
        "books", "books", {"train": train, "valid": held}, note="one of the seven novels is held out whole"
    )


def _text8_head(folder: Path) -> TextSet:
    files = {split: (folder / f"{split}.txt.gz",) for split in ("train", "valid")}
    return _from_files(
        "text8_head",
        "text8-head",
        files,
        kind="text8",
        ends=False,
        note="not the standard split of text8: bits per character do not compare with published ones",
    )


def _shakespeare(folder: Path) -> TextSet:
    path = folder / "input.txt.gz"

    def part(first: bool) -> Iterator[Document]:
        item = _joined(read_documents(path))
        cut = int(SHAKESPEARE_TRAIN * len(item.text))
        if first:
            yield replace(item, text=item.text[:cut])
        else:
            line, column = advanced(item.text[:cut], line=1, column=1)
            yield replace(item, text=item.text[cut:], row=line, line=line, column=column)

    return TextSet(
        "tinyshakespeare",
        "tinyshakespeare",
        {"train": lambda: part(True), "valid": lambda: part(False)},
        {"train": (path,), "valid": (path,)},
        kind="char",
        ends=False,
        note="the last tenth of the characters is held out",
    )


def _joined(documents: Iterator[Document]) -> Document:
    parts = list(documents)
    return replace(parts[0], text="".join(part.text for part in parts), ends=True)


def _wikitext2(folder: Path) -> TextSet:
    return _from_files(
        "wikitext2",
        "wikitext2 (test)",
        {"test": (folder / "test.jsonl.gz",)},
        note="the test file of WikiText-103 is the same text",
    )


def _lambada(folder: Path) -> TextSet:
    return _from_files("lambada", "lambada (test)", {"test": (folder / "lambada_test.jsonl.gz",)})


BUILTIN: Mapping[str, Callable[[], TextSet]] = {
    "english_grammar": _grammar,
    "markov_text": _markov,
    "python_manual": _manual,
}
"""Sets that need no download."""

NAMED: Mapping[str, tuple[str, Callable[[Path], TextSet]]] = {
    "books": ("books", _books),
    "lambada": ("lambada", _lambada),
    "text8_head": ("text8_head", _text8_head),
    "tinyshakespeare": ("tinyshakespeare", _shakespeare),
    "wikitext2": ("wikitext2_raw", _wikitext2),
}
"""Sets in files: the card that finds them, and how the folder is read."""
