"""Detokenisers of the zero-shot sets: from spaced-out tokens back to the text a reader would write.

Each set of the published tables was released with spaces around its tokens. Likelihoods are comparable only
if the same rules undo them, in the same order:

    wikitext   WikiText-2 and WikiText-103 rows
    ptb        Penn Treebank lines
    lambada    LAMBADA passages
    lm1b       1 Billion Word lines
    none       text as it is

Source: the rules used by the tables of Lou et al. 2024 (SEDD, arXiv:2310.16834), Sahoo et al. 2024 (MDLM,
arXiv:2406.07524) and Ou et al. 2025 (RADD, arXiv:2406.03736). One rule of the WikiText set, which matches a
literal slash before an apostrophe, never fires and is left out.
"""

import re
from collections.abc import Callable, Mapping

from core.errors import unknown

__all__ = ["DETOKENISERS", "detokeniser", "lambada", "lm1b", "ptb", "wikitext"]

Detokeniser = Callable[[str], str]

# A pair of marks, and the text between them without the spaces next to the marks; the shortest pair wins.
BRACKETS = {pair: re.compile(rf"\{pair[0]}\s*([^\{pair[1]}]*?)\s*\{pair[1]}") for pair in ("()", "[]", "{}")}
QUOTES = {mark: re.compile(rf"{mark}\s*([^{mark}]*?)\s*{mark}") for mark in ('"', "'")}
INNER = {**BRACKETS, **{2 * mark: pattern for mark, pattern in QUOTES.items()}}

WORD_QUOTED = re.compile(r" '(\w+)")
STOPPED = re.compile(r" (\w+) \. ")
STOPPED_LAST = re.compile(r" (\w+) \.$")


def _tight(text: str, pairs: tuple[str, ...]) -> str:
    """Strip the inner spaces of each kind of pair, one kind after the other."""
    for pair in pairs:
        text = INNER[pair].sub(rf"{pair[0]}\1{pair[1]}", text)
    return text


def _replaced(text: str, rules: tuple[tuple[str, str], ...]) -> str:
    for old, new in rules:
        text = text.replace(old, new)
    return text


WIKITEXT_FIRST = (
    ("s '", "s'"),
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
)
WIKITEXT_LAST = (
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def wikitext(text: str) -> str:
    """Undo the spacing of a WikiText row."""
    text = _replaced(text, WIKITEXT_FIRST)
    return _replaced(_tight(text, ("()", "[]", "{}", '""', "''")), WIKITEXT_LAST)


PTB = (
    (" 's", "'s"),
    ("s ' ", "s' "),
    (" n't", "n't"),
    (" \n ", "\n"),
    ("\\/", "/"),
    *(((" N ", " 1 "),) * 10),  # neighbouring numbers share a space, so one pass leaves every other one
    ("$ 1", "$1"),
    ("# 1", "#1"),
    ("<unk>", "?"),
)


def ptb(text: str) -> str:
    """Undo the spacing of a Penn Treebank line; numbers, all written N there, become 1."""
    return _replaced(text, PTB)


def lambada(text: str) -> str:
    """A LAMBADA passage with straight quotes, stripped, after one newline."""
    return "\n" + text.replace("“", '"').replace("”", '"').strip()


LM1B_SPLIT_LINKS = (("http : / / ", "http://"), ("https : / / ", "https://"))
LM1B_MARKS = (
    (" ? ", "? "),
    (" ! ", "! "),
    (" , ", ", "),
    (" : ", ": "),
    (" ; ", "; "),
    (" / ", "/"),
)
LM1B_MONEY = (("$ ", "$"), ("£ ", "£"))


def lm1b(text: str) -> str:
    """Undo the spacing of a 1 Billion Word line."""
    text = _replaced(text, LM1B_SPLIT_LINKS)
    text = WORD_QUOTED.sub(r"'\1", text)
    text = STOPPED_LAST.sub(r" \1.", STOPPED.sub(r" \1. ", text))
    for mark in "?!":
        text = text.removesuffix(f" {mark}") + mark if text.endswith(f" {mark}") else text
    text = _replaced(text, LM1B_MARKS)
    return _replaced(_tight(text, ('""', "''", "()", "[]")), LM1B_MONEY)


def _same(text: str) -> str:
    return text


DETOKENISERS: Mapping[str, Detokeniser] = {
    "none": _same,
    "wikitext": wikitext,
    "ptb": ptb,
    "lambada": lambada,
    "lm1b": lm1b,
}


def detokeniser(name: str) -> Detokeniser:
    """The rules of a set by name.

    Raises:
        ConfigError: there are none of that name.
    """
    if name not in DETOKENISERS:
        raise unknown("detokeniser", name, DETOKENISERS)
    return DETOKENISERS[name]
