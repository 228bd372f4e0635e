r"""Holes in text: `[[n]]` stands for n tokens to fill in, `[[n:m]]` for any number from n to m.

    The cat [[2]] on the mat, [[1:4]].

`parse_holes` gives the pieces with their positions, `layouts` the token rows for each choice of lengths. A
literal pair of brackets is written `\[[`.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from domains.language.formats.position import place
from domains.language.tokenizer import Tokenizer

__all__ = ["Hole", "Layout", "Piece", "Words", "layouts", "parse_holes"]

Array = np.ndarray[Any, np.dtype[Any]]

OPENING = re.compile(r"\\\[\[|\[\[")
INSIDE = re.compile(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?\]\]")
HINT = r"Write [[3]] for three tokens or [[2:5]] for two to five, and \[[ for plain brackets."


@dataclass(frozen=True)
class Words:
    """Text that stays.

    Attributes:
        text: with `\\[[` already read as `[[`.
        start: its first character in the marked-up text, from 0.
    """

    text: str
    start: int


@dataclass(frozen=True)
class Hole:
    """Tokens to fill in: any number from `shortest` to `longest`.

    Attributes:
        start: its first bracket in the marked-up text, from 0.
    """

    shortest: int
    longest: int
    start: int


Piece = Words | Hole


@dataclass(frozen=True)
class Layout:
    """A row of tokens for one choice of lengths.

    Attributes:
        ids: (L,) int64, the mask where something is to be filled in.
        free: (L,) booleans, those places.
        lengths: tokens of each hole, in order.
        spans: first token and one past the last of each hole.
    """

    ids: Array
    free: Array
    lengths: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def parse_holes(text: str, *, source: str = "text") -> tuple[Piece, ...]:
    """Split marked-up text into what stays and what is to be filled in; empty text between is left out.

    Raises:
        DataError: a hole is not closed, holds no number, no token, or a range that falls; names its place.
    """
    pieces: list[Piece] = []
    held, start, at = "", 0, 0
    while found := OPENING.search(text, at):
        held += text[at : found.start()]
        if found.group().startswith("\\"):
            held += "[["
            at = found.end()
            continue
        inside = INSIDE.match(text, found.end())
        where = f"{source}, {place(text, found.start())}"
        if inside is None:
            shown = text[found.start() : found.start() + 12].split("\n")[0]
            raise DataError(f"{where}: '{shown}' is no hole.", hint=HINT)
        low = int(inside.group(1))
        high = int(inside.group(2)) if inside.group(2) else low
        if low < 1:
            raise DataError(f"{where}: a hole needs at least 1 token, got {low}.", hint=HINT)
        if high < low:
            raise DataError(f"{where}: a hole of {low} to {high} tokens holds no length.", hint=HINT)
        if held:
            pieces.append(Words(held, start))
        pieces.append(Hole(low, high, found.start()))
        held, start, at = "", inside.end(), inside.end()
    if held := held + text[at:]:
        pieces.append(Words(held, start))
    return tuple(pieces)


def layouts(
    pieces: Sequence[Piece], tokenizer: Tokenizer, *, length: int | None = None, most: int = 256
) -> Iterator[Layout]:
    """Every choice of lengths as a row of tokens, shorter holes first, later holes growing fastest.

    Args:
        length: tokens that the model takes; None for any.
        most: choices allowed.

    Raises:
        ConfigError: there are more choices than `most`, or the longest does not fit into the model.
        DataError: there is no hole.
    """
    holes = [piece for piece in pieces if isinstance(piece, Hole)]
    if not holes:
        raise DataError("the text has no hole to fill in.", hint=HINT)
    choices = math.prod(hole.longest - hole.shortest + 1 for hole in holes)
    if choices > most:
        raise ConfigError(
            f"the ranges of {len(holes)} holes give {choices} choices of lengths, at most {most} are tried.",
            hint="Narrow the ranges, or give single numbers.",
        )
    encoded = [tokenizer.encode(piece.text) if isinstance(piece, Words) else [] for piece in pieces]
    needed = sum(map(len, encoded)) + sum(hole.longest for hole in holes)
    if length is not None and needed > length:
        raise ConfigError(
            f"text and holes need {needed} tokens, the model takes {length}.", hint="Shorten the text."
        )
    ranges = [range(hole.shortest, hole.longest + 1) for hole in holes]
    return (_layout(pieces, encoded, lengths, tokenizer.mask_id) for lengths in itertools.product(*ranges))


def _layout(
    pieces: Sequence[Piece], encoded: list[list[int]], lengths: tuple[int, ...], mask_id: int
) -> Layout:
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    left = iter(lengths)
    for piece, words in zip(pieces, encoded, strict=True):
        if isinstance(piece, Hole):
            spans.append((len(ids), len(ids) + next(left)))
            ids += [mask_id] * (spans[-1][1] - spans[-1][0])
        else:
            ids += words
    row = np.asarray(ids, dtype=np.int64)
    return Layout(row, row == mask_id, lengths, tuple(spans))
