"""Words to phones: a table of English words first, espeak-ng for every other.

Each word is transcribed alone, as the rendered corpus speaks them, so that a word sounds the same in every
line. The table holds what espeak-ng 1.51 says of the words of the shipped hymns; with it those are sung where
espeak-ng is not installed, and other words are refused by name.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

from core.errors import MissingExtra
from domains.music.phones import espeak
from domains.music.phones.inventory import BOUNDARY, PUNCTUATION, ids_of
from domains.music.phones.scripts import check_language, check_script

__all__ = ["encode", "phonemise", "phones_of", "table", "word_ids", "words_of"]

QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "´": "'", "`": "'"})
MARKS = str.maketrans({"。": ".", "，": ",", "、": ",", "！": "!", "？": "?", "；": ";", "：": ":", "⋯": "…"})
SPOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?|'[^\W_]+(?:'[^\W_]+)*|[&%$€£@+]|[,.?!:;…]")


def words_of(text: str, *, punctuation: bool = False) -> list[str]:
    """Words of a line in order, lower case; hyphens part words, apostrophes stay.

    Args:
        punctuation: keep , . ? ! : ; … as words of their own.
    """
    plain = unicodedata.normalize("NFC", text).translate(QUOTES).translate(MARKS).replace("...", "…")
    found = [match.group(0).lower() for match in SPOKEN.finditer(plain)]
    return found if punctuation else [word for word in found if word not in PUNCTUATION]


@cache
def table() -> Mapping[str, tuple[str, ...]]:
    """Phones of English words as espeak-ng says each alone."""
    text = resources.files("domains.music.phones").joinpath("english.txt").read_text("utf-8")
    rows = (line.split("\t") for line in text.split("\n") if line and not line.startswith("#"))
    return {word: tuple(phones.split(" ")) for word, phones in rows}


@lru_cache(maxsize=50_000)
def phones_of(word: str, language: str = "en") -> tuple[str, ...]:
    """IPA phones of one word, without stress; empty for what is not spoken.

    Args:
        word: as `words_of` gives it.

    Raises:
        ConfigError: no rules for the language.
        DataError: letters of another script.
        MissingExtra: espeak-ng is not installed and the word is not in the table.
    """
    if language == "en":
        known = table().get(word) or table().get(word.strip("'"))
        if known:
            return known
    voice = check_language(language)
    check_script(word, language, where=f"'{word}'")
    try:
        spoken = espeak.transcribe(word, voice)
    except MissingExtra as err:
        raise MissingExtra(
            f"the phones of '{word}' ({language}) need espeak-ng, which is not installed.",
            hint="Install the Debian packages espeak-ng and libespeak-ng1. Without it only the words of the "
            "shipped hymns can be sung.",
        ) from err
    return tuple(phone for part in spoken for phone in part)


def phonemise(text: str, language: str = "en") -> list[str]:
    """IPA phones of a line, word after word.

    Raises:
        ConfigError, DataError, MissingExtra: see `phones_of`.
    """
    check_script(text, language)
    return [phone for word in words_of(text) for phone in phones_of(word, language)]


def word_ids(word: str, language: str = "en") -> list[int]:
    """Numbers of the phones of one word, or of one mark of punctuation."""
    if word in PUNCTUATION:
        return [PUNCTUATION[word]]
    return ids_of(phones_of(word, language), language=language)


def encode(
    text: str, language: str = "en", *, boundaries: bool = True, punctuation: bool = False
) -> list[int]:
    """Numbers of the phones of a line.

    Args:
        boundaries: write "_" between words, as the published model does.
        punctuation: keep marks; its model reads them, the small ones never saw any.

    Raises:
        ConfigError, DataError, MissingExtra: see `phones_of`.
    """
    check_script(text, language)
    found: list[int] = []
    after_word = False
    for word in words_of(text, punctuation=punctuation):
        ids, is_word = word_ids(word, language), word not in PUNCTUATION
        if boundaries and is_word and after_word and ids:
            found.append(BOUNDARY)
        found += ids
        after_word = is_word and (bool(ids) or after_word)
    return found
