"""Blocks of L tokens out of a stream: what a model is trained and judged on.

    packing         a block
    eos             the next L tokens of the stream, whose documents are parted by ends of text
    bos_eos         end of text, the next L - 2 tokens, end of text (the blocks of the MDLM family)
    pad_after_eos   one document from its start, its end of text, then padding; a long one goes on in further
                    blocks, and only its last has the end

The first two drop the remainder unless asked to keep it as a short block, filled up with padding. Blocks are
cut when they are asked for, from an array or a memory map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch

from core.errors import ConfigError, DataError, unknown
from core.train.samples import Batch, mixed_seed
from domains.language.token_files import TokenFile

__all__ = ["PACKINGS", "BlockSamples", "Blocks", "Packing", "blocks_of"]

Array = np.ndarray[Any, np.dtype[Any]]
Packing = Literal["eos", "bos_eos", "pad_after_eos"]
PACKINGS: tuple[str, ...] = get_args(Packing)


@dataclass(frozen=True)
class Blocks:
    """Blocks by number.

    Args:
        ids: (n,), the stream.
        length: L.
        eos_id: end of text; needed by `bos_eos` and `pad_after_eos`.
        pad_id: fills up.
        packing: see the module.
        keep_rest: whether the remainder is a last, short block.
    """

    ids: Array
    length: int
    eos_id: int | None
    pad_id: int
    packing: Packing = "eos"
    keep_rest: bool = False

    def __post_init__(self) -> None:
        if self.packing not in PACKINGS:
            raise unknown("packing", self.packing, PACKINGS)
        if self.length < (3 if self.packing == "bos_eos" else 1):
            raise ConfigError(f"a block of packing '{self.packing}' is too short at length {self.length}.")
        if self.packing != "eos" and self.eos_id is None:
            raise ConfigError(
                f"packing '{self.packing}' needs an end of text, which this tokenizer lacks.",
                hint="Use packing 'eos', which also works without one.",
            )
        if not len(self):
            most = len(self.ids) + self.length - self.room
            raise DataError(
                f"found {len(self.ids)} tokens, a block of packing '{self.packing}' needs {self.room}.",
                hint=f"Pass --length {most} or less, or give more text." if most else "Give more text.",
            )

    @property
    def room(self) -> int:
        """Tokens of the stream that a full block holds."""
        return self.length - 2 if self.packing == "bos_eos" else self.length

    def __len__(self) -> int:
        if self.packing == "pad_after_eos":
            return len(self._starts)
        whole, rest = divmod(len(self.ids), self.room)
        return whole + (1 if self.keep_rest and rest else 0)

    def row(self, number: int, *, shift: int = 0) -> Array:
        """One block, (L,) int64, padded at its end where it is short.

        Args:
            number: from 0.
            shift: tokens that the grid of blocks is moved by; not for `pad_after_eos`.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"block {number} of {len(self)}")
        if self.packing == "pad_after_eos":
            found = self.ids[self._starts[number] : self._stops[number]]
        else:
            start = shift + number * self.room
            found = self.ids[start : start + self.room]
        block = np.full(self.length, self.pad_id, dtype=np.int64)
        if self.packing == "bos_eos":
            assert self.eos_id is not None
            block[0] = block[len(found) + 1] = self.eos_id
            block[1 : len(found) + 1] = found
        else:
            block[: len(found)] = found
        return block

    def rows(self, numbers: Sequence[int] | Array, *, shift: int = 0) -> Array:
        """Several blocks, (B, L) int64."""
        return np.stack([self.row(int(number), shift=shift) for number in numbers])

    @cached_property
    def sizes(self) -> Array:
        """Tokens of each block that are no padding, (len,) int64."""
        if self.packing == "pad_after_eos":
            return self._stops - self._starts
        sizes = np.full(len(self), self.length, dtype=np.int64)
        if rest := len(self.ids) % self.room if self.keep_rest else 0:
            sizes[-1] = rest + self.length - self.room
        return sizes

    @cached_property
    def _stops(self) -> Array:
        """Where the blocks of single documents end."""
        return np.minimum(self._starts + self.length, self._document_stops)

    @cached_property
    def _starts(self) -> Array:
        first, last = self._documents
        counts = -(-(last - first) // self.length)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(first, counts) + within * self.length

    @cached_property
    def _document_stops(self) -> Array:
        first, last = self._documents
        return np.repeat(last, -(-(last - first) // self.length))

    @cached_property
    def _documents(self) -> tuple[Array, Array]:
        """First token and one past the end of text of each document; a tail without an end counts too."""
        chunk = 1 << 24
        ends = [
            at + np.flatnonzero(np.asarray(self.ids[at : at + chunk]) == self.eos_id)
            for at in range(0, len(self.ids), chunk)
        ]
        last = np.concatenate([np.zeros(0, np.int64), *ends]).astype(np.int64) + 1
        if len(self.ids) and (not len(last) or last[-1] < len(self.ids)):
            last = np.append(last, len(self.ids))
        return np.concatenate([np.zeros(1, np.int64), last[:-1]])[: len(last)], last


def blocks_of(tokens: TokenFile, length: int, packing: Packing = "eos", *, keep_rest: bool = False) -> Blocks:
    """Blocks of a token file.

    Raises:
        ConfigError: the packing needs an end of text and there is none.
        DataError: there are fewer tokens than one block; says how many were found and are needed.
    """
    return Blocks(tokens.ids, length, tokens.eos_id, tokens.size + 1, packing, keep_rest)


@dataclass(frozen=True)
class BlockSamples:
    """Training blocks by number, a pure function of (seed, number): every block once per epoch.

    Args:
        blocks: to draw from.
        shifted: whether each epoch cuts the stream at another offset, so that a small text gives more than
            one grid of blocks; at most one block fewer per epoch.
    """

    blocks: Blocks
    shifted: bool = False

    def __post_init__(self) -> None:
        if self.shifted and (self.blocks.packing == "pad_after_eos" or self.blocks.keep_rest):
            raise ConfigError("only whole blocks of a stream can be shifted.", hint="Use packing 'eos'.")

    @property
    def count(self) -> int:
        """Blocks per epoch."""
        if not self.shifted:
            return len(self.blocks)
        return max((len(self.blocks.ids) - self.blocks.room + 1) // self.blocks.room, 1)

    def place(self, number: int, seed: int) -> tuple[int, int]:
        """The block that a sample takes, and the shift of its epoch."""
        epoch, at = divmod(number, self.count)
        block = int(_order(self.count, mixed_seed(seed, "order", epoch))[at])
        if not self.shifted:
            return block, 0
        spare = len(self.blocks.ids) - self.count * self.blocks.room
        return block, mixed_seed(seed, "shift", epoch) % (min(spare, self.blocks.room - 1) + 1)

    def __call__(self, numbers: range, seed: int) -> Batch:
        """Blocks (B, L) int64, padding included."""
        places = [self.place(number, seed) for number in numbers]
        return Batch(torch.from_numpy(np.stack([self.blocks.row(at, shift=shift) for at, shift in places])))


@lru_cache(maxsize=4)
def _order(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).permutation(count)
