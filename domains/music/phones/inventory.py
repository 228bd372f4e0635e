"""The phones that song models read, by number: 363 of the published model, and 0 between them.

The numbers are those of DiffRhythm, so that its weights read the lyrics written here; the small models use
the same. English phones of espeak-ng are folded as its front end folds them; phones of other languages that
have no number are taken apart ("ɛ̃" is "ɛ" and the tilde) or replaced by a neighbour.

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.3; numbers from its public vocabulary.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from core.errors import DataError

__all__ = ["BOUNDARY", "COMMA", "FILLER", "PUNCTUATION", "SIZE", "STOP", "ids_of", "inventory", "names"]

FILLER = 0  # a frame that begins no phone
SIZE = 364  # 363 phones and the filler
COMMA, STOP, BOUNDARY = 1, 2, 5  # "," and "." of the line's end, "_" between words
PUNCTUATION = {",": 1, ".": 2, "?": 3, "!": 4, ":": 360, ";": 361, "…": 363}

# Pairs that English speech joins, and phones that it writes otherwise.
JOINED = {("t", "ɹ"): "tɹ", ("d", "ɹ"): "dɹ", ("t", "s"): "ts", ("d", "z"): "dz", ("ɪ", "ɹ"): "ɪɹ"}
JOINED |= {("oː", "ɹ"): "oːɹ"}
ENGLISH = {"ɐ": "ɚ", "ᵻ": "ɪ", "əl": "l", "x": "k", "ɬ": "l", "ʔ": "t", "n̩": "n"}
# Neighbours of phones that no number stands for, in any language.
NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "β": ("b",),
    "ɣ": ("ɡ",),
    "ʎ": ("l", "j"),
    "ɨ": ("i",),
    "ᵻ": ("ɪ",),
    "ə-": ("ə",),
    "ʔ": ("t",),
    "χ": ("x",),
    "ɱ": ("m",),
    "ʋ": ("v",),
    "ʝ": ("j",),
    "ɟ": ("ɡʲ",),
    "c": ("k", "ʲ"),
    "ħ": ("h",),
    "ɦ": ("h",),
    "əl": ("ə", "l"),
    "n̩": ("n",),
    "l̩": ("l",),
    "pf": ("p", "f"),
}


@cache
def inventory() -> Mapping[str, int]:
    """Number of every phone, 1 to 363."""
    text = resources.files("domains.music.phones").joinpath("diffrhythm.txt").read_text("utf-8")
    rows = (line.split("\t", 1) for line in text.split("\n") if line and not line.startswith("#"))
    return {phone: int(number) for number, phone in rows}


@cache
def names() -> tuple[str, ...]:
    """Phone of every number, 0 to 363; the filler is the empty string."""
    found = [""] * SIZE
    for phone, number in inventory().items():
        found[number] = phone
    return tuple(found)


def ids_of(phones: Sequence[str], *, language: str = "en") -> list[int]:
    """Numbers of the phones of one word.

    Args:
        phones: IPA phones as espeak-ng writes them, without stress.
        language: "en" folds as the published front end does; others keep what has a number.

    Returns:
        Numbers from 1 to 363; joined pairs make fewer, phones taken apart make more.

    Raises:
        DataError: a phone has no number and no neighbour that has one.
    """
    known = inventory()
    if language == "en":
        phones = [ENGLISH.get(phone, phone) for phone in _joined(phones)]
    found: list[int] = []
    for phone in phones:
        if phone in known:
            found.append(known[phone])
        else:
            found += [known[part] for part in _parts(phone)]
    return found


def _joined(phones: Sequence[str]) -> list[str]:
    """Join the pairs of `JOINED`, from left to right."""
    found: list[str] = []
    for phone in phones:
        pair = JOINED.get((found[-1], phone)) if found else None
        if pair is None:
            found.append(phone)
        else:
            found[-1] = pair
    return found


@cache
def _parts(phone: str) -> tuple[str, ...]:
    """Take a phone apart into the longest pieces that have numbers or neighbours."""
    found: list[str] = []
    rest = phone
    while rest:
        size = next(
            (n for n in range(len(rest), 0, -1) if rest[:n] in inventory() or rest[:n] in NEIGHBOURS), 0
        )
        if not size:
            raise DataError(
                f"the phone '{phone}' has no number in the inventory of song models.",
                hint="Write the word otherwise, or in another language.",
            )
        found += NEIGHBOURS.get(rest[:size], (rest[:size],))
        rest = rest[size:]
    return tuple(found)
