"""Text to token ids and back.

    kind    vocabulary                                              end of text
    bpe     bytes and the merges learned from text                  the last id
    gpt2    the 50257 entries of GPT-2, from its two files          50256
    char    the characters of the training text, in code order      the last id, when asked for
    text8   space and a to z                                        none

Ids 0 .. size - 1 are the data vocabulary, which the network predicts. Two more ids exist in input rows only:
`mask_id` = size stands for a token that is not known yet, `pad_id` = size + 1 fills rows up. Neither is ever
the end of text, and no text encodes to any of the three: the strings that name them are read as plain text.

`tokenizer.json` holds every kind in the format of the `tokenizers` library, so that other programs can load
it. Characters are looked up in one array here, which gives the same ids as the library and is faster.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from core.errors import ConfigError, DataError, ModelMismatch, unknown
from core.extras import require
from domains.language.formats.position import place
from domains.language.normalise import to_text8

__all__ = [
    "END",
    "KINDS",
    "MASK",
    "MASK_SIGN",
    "PAD",
    "PROBE",
    "TEXT8",
    "Kind",
    "Origin",
    "Tokenizer",
    "finished",
    "of_symbols",
    "train_tokenizer",
]

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["bpe", "gpt2", "char", "text8"]
KINDS: tuple[str, ...] = get_args(Kind)

END, MASK, PAD = "<|endoftext|>", "<|mask|>", "<|pad|>"
MASK_SIGN = "█"
TEXT8 = " abcdefghijklmnopqrstuvwxyz"
PROBE = "Hello world, it's 1999!\n"
BYTES = 256


@dataclass(frozen=True)
class Origin:
    """A file that a tokenizer was made from, and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text maps to it; `train_tokenizer` and `tokenizer_files` make one.

    Attributes:
        kind: see the table of the module.
        size: V, number of ids that a network predicts.
        eos_id: end of text, inside the vocabulary; None where there is none.
        fingerprint: SHA-256 of vocabulary and rules; two tokenizers that agree in it encode alike.
        model: the `tokenizers.Tokenizer`, with the three names added; None for characters.
        symbols: characters of the ids 0, 1, ...; empty for BPE.
        sources: what it was made from.
    """

    kind: Kind
    size: int
    eos_id: int | None
    fingerprint: str
    model: Any = field(repr=False, compare=False)
    symbols: str = field(default="", repr=False)
    sources: tuple[Origin, ...] = field(default=(), compare=False)

    @property
    def mask_id(self) -> int:
        """V: a token that is not known yet, in input rows only."""
        return self.size

    @property
    def pad_id(self) -> int:
        """V + 1: fills rows up, in input rows only; nothing predicts it."""
        return self.size + 1

    @property
    def rows(self) -> int:
        """V + 2, rows of an input embedding."""
        return self.size + 2

    def encode(self, text: str, *, source: str = "text", line: int = 1, column: int = 1) -> list[int]:
        """Ids of a text, without special ones.

        Args:
            source: what an error names.
            line: of the first character, for errors; from 1.
            column: likewise.

        Raises:
            DataError: a character is not in the vocabulary of a `char` or `text8` tokenizer.
        """
        return self.encode_array(text, source=source, line=line, column=column).tolist()

    def encode_array(self, text: str, *, source: str = "text", line: int = 1, column: int = 1) -> Array:
        """The same as an int32 array (L,)."""
        if not self.symbols:
            return np.asarray(self.model.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ids = self._table[np.minimum(codes, len(self._table) - 1)]
        if len(ids) and int(ids.min()) < 0:
            at = int(np.argmin(ids))
            raise DataError(
                f"{source}, {place(text, at, line=line, column=column)}: {text[at]!r} is not among the "
                f"{len(self.symbols)} characters of this {self.kind} tokenizer.",
                hint="Pass --normalize to replace such characters, or use a bpe tokenizer.",
            )
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; BPE works on several texts at once."""
        if self.symbols:
            return [self.encode(text) for text in texts]
        found = self.model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [entry.ids for entry in found]

    def decode(self, ids: Iterable[int], *, mask: str = MASK_SIGN, end: str = END) -> str:
        """Text of ids, with a sign for masked tokens, a name for ends of text and nothing for padding.

        Bytes that are no UTF-8 become the replacement character U+FFFD, as parts of a character next to a
        mask do.

        Raises:
            DataError: an id is outside of 0 .. V + 1.
        """
        signs = {self.mask_id: mask, self.pad_id: ""}
        if self.eos_id is not None:
            signs[self.eos_id] = end
        parts: list[str] = []
        run: list[int] = []
        for i in map(int, ids):
            if not 0 <= i < self.rows:
                raise DataError(f"id {i} is outside of this vocabulary of {self.size} and its mask and pad.")
            if i == self.pad_id:
                continue
            if i in signs:
                parts += (self._plain(run), signs[i])
                run = []
            else:
                run.append(i)
        return "".join([*parts, self._plain(run)])

    def _plain(self, ids: list[int]) -> str:
        if not ids:
            return ""
        if self.symbols:
            return "".join(self.symbols[i] for i in ids)
        text: str = self.model.decode(ids, skip_special_tokens=False)
        return text

    def normalised(self, text: str) -> str:
        """The text with what a `char` or `text8` tokenizer lacks replaced, what `--normalize` does.

        text8 follows the rules of `normalise.to_text8`; for other characters a space stands in, where the
        vocabulary has one, else nothing. BPE has every byte and changes nothing.
        """
        if self.kind == "text8":
            return to_text8(text)
        if not self.symbols:
            return text
        known = set(self.symbols)
        blank = " " if " " in known else ""
        return "".join(character if character in known else blank for character in text)

    def check_ids(self, ids: Iterable[int], *, source: str = "ids") -> None:
        """Refuse ids from a user that are not of the data vocabulary.

        Raises:
            DataError: the mask, the pad or an id outside is among them; names the first and its position.
        """
        for at, i in enumerate(ids):
            if not 0 <= i < self.size:
                what = {self.mask_id: " (the mask)", self.pad_id: " (padding)"}.get(i, "")
                raise DataError(
                    f"{source}: id {i}{what} at position {at} is not in the vocabulary 0 .. {self.size - 1}.",
                    hint="Mark what to fill in with [[n]] in text.",
                )

    def check_model(self, size: int) -> None:
        """Refuse a network of another vocabulary.

        Raises:
            ModelMismatch: the sizes differ; names both.
        """
        if size != self.size:
            raise ModelMismatch(
                f"the tokenizer has {self.size} tokens, the model {size}.",
                hint="Use the tokenizer that is saved beside the model.",
            )

    @cached_property
    def _table(self) -> Array:
        """Id of each code point up to the largest, -1 where there is none; the last entry is always -1."""
        codes = [ord(character) for character in self.symbols]
        table = np.full(max(codes) + 2, -1, dtype=np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table


def train_tokenizer(
    kind: str,
    texts: Iterable[str] = (),
    vocab_size: int | None = None,
    *,
    ends: bool = True,
    sources: tuple[Origin, ...] = (),
) -> Tokenizer:
    """Learn a vocabulary.

    Args:
        kind: "bpe", "char" or "text8"; the vocabulary of "gpt2" is read from files.
        texts: to learn from, read once; "text8" needs none.
        vocab_size: V. For BPE at least 257 (the bytes and the end), and reached only if the texts hold enough
            pairs; for characters the largest number allowed, None for as many as there are.
        ends: whether a `char` vocabulary has an end of text.
        sources: recorded.

    Raises:
        ConfigError: the kind cannot be trained, or the size is out of its bounds.
        DataError: the texts are empty, or hold more characters than `vocab_size`.
        MissingExtra: `tokenizers` is not installed.
    """
    if kind == "text8":
        return of_symbols("text8", TEXT8, ends=False, sources=sources)
    if kind == "char":
        found: set[str] = set()
        for text in texts:
            found.update(text)
        if not found:
            raise DataError("there is no text to learn characters from.", hint="Give a file with text.")
        limit = vocab_size - ends if vocab_size is not None else len(found)
        if len(found) > limit:
            raise DataError(
                f"the texts hold {len(found)} characters, {limit} fit into a vocabulary of {vocab_size}.",
                hint=f"Pass --vocab-size {len(found) + ends}, or use --kind bpe.",
            )
        return of_symbols("char", "".join(sorted(found)), ends=ends, sources=sources)
    if kind == "bpe":
        return _trained_bpe(texts, 4096 if vocab_size is None else vocab_size, sources)
    if kind == "gpt2":
        raise ConfigError("the gpt2 vocabulary is not trained.", hint="Load its vocab.json and merges.txt.")
    raise unknown("kind of tokenizer", kind, KINDS)


def _trained_bpe(texts: Iterable[str], vocab_size: int, sources: tuple[Origin, ...]) -> Tokenizer:
    """Byte-level BPE (Radford et al. 2019): every byte is a token, so that any text round-trips."""
    if vocab_size <= BYTES:
        raise ConfigError(
            f"a byte-level BPE needs at least {BYTES + 1} tokens, the bytes and the end, got {vocab_size}."
        )
    library = require("tokenizers", extra="language")
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
    )
    seen = 0

    def counted() -> Iterable[str]:
        nonlocal seen
        for text in texts:
            seen += len(text)
            yield text

    model.train_from_iterator(counted(), trainer)
    if not seen:
        raise DataError("there is no text to learn merges from.", hint="Give a file with text.")
    size = model.get_vocab_size() + 1
    model.add_special_tokens([END])
    return finished(model, "bpe", size, size - 1, sources=sources)


def of_symbols(
    kind: Literal["char", "text8"], symbols: str, *, ends: bool, sources: tuple[Origin, ...] = ()
) -> Tokenizer:
    """One id per character, in the order given, and the end of text last if there is one."""
    size = len(symbols) + ends
    digest = hashlib.sha256(repr((kind, symbols, ends)).encode()).hexdigest()
    return Tokenizer(kind, size, size - 1 if ends else None, digest, None, symbols, sources)


def finished(
    model: Any, kind: Kind, size: int, eos_id: int | None, *, sources: tuple[Origin, ...] = ()
) -> Tokenizer:
    """A tokenizer of the library with the names of mask and padding added, after a probe.

    Args:
        model: a `tokenizers.Tokenizer` of `size` entries; it may have the two names already.

    Raises:
        DataError: it encodes the probe to nothing, or to nothing known.
    """
    for at, name in enumerate((MASK, PAD)):
        if model.token_to_id(name) is None:
            model.add_special_tokens([name])
        if model.token_to_id(name) != size + at:
            raise DataError(
                f"the tokenizer has {name} at id {model.token_to_id(name)}, expected {size + at}."
            )
    # Names in the text itself are text: nobody's file may hold a mask or an end by accident.
    model.encode_special_tokens = True
    made = Tokenizer(kind, size, eos_id, _fingerprint(model, eos_id), model, "", sources)
    _check_probe(made)
    return made


def _fingerprint(model: Any, eos_id: int | None) -> str:
    """SHA-256 over what decides the ids, in one form for all versions of the library."""
    saved = json.loads(model.to_str())
    merges = [rule.split(" ") if isinstance(rule, str) else rule for rule in saved["model"].get("merges", ())]
    rules = [eos_id, saved["model"]["vocab"], merges, saved["normalizer"], saved["pre_tokenizer"]]
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _check_probe(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that loses text: library calls with wrong arguments give one without an error."""
    ids = tokenizer.encode(PROBE)
    unk = getattr(tokenizer.model.model, "unk_token", None)
    lost = tokenizer.model.token_to_id(unk) if unk is not None else None
    if not ids or all(i == lost for i in ids):
        what = "nothing" if not ids else f"{unk} only"
        raise DataError(
            f"the tokenizer of {tokenizer.size} entries encodes {PROBE!r} to {what}.",
            hint="Its vocabulary and merges were not read; give the folder that holds both files.",
        )
