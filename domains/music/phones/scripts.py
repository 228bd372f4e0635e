"""Which writing a lyric uses, and whether there are phone rules for it.

Languages are those whose phones the inventory covers; all of them are written in Latin letters. Anything else
is refused by naming the characters, before a voice library reads them as something odd.
"""

import unicodedata
from collections.abc import Mapping

from core.errors import DataError, unknown

__all__ = ["LANGUAGES", "check_language", "check_script", "script_of"]

# Language of the lyrics: voice of espeak-ng that transcribes it.
LANGUAGES: Mapping[str, str] = {
    "en": "en-us",
    "de": "de",
    "es": "es",
    "fr": "fr",
    "it": "it",
    "pt": "pt",
}
SHOWN = 8  # characters named in a message
NAMES = {"CJK": "Han", "HANGUL": "Hangul"}


def script_of(character: str) -> str | None:
    """Script of a letter, such as "Latin" or "Han"; None for what is no letter."""
    if not unicodedata.category(character).startswith(("L", "M")):
        return None
    word = unicodedata.name(character, "UNKNOWN").split()[0]
    if word in ("COMBINING", "MODIFIER"):
        return None
    if word in ("FEMININE", "MASCULINE"):  # ordinals of the Romance languages
        return "Latin"
    return NAMES.get(word, word.capitalize())


def check_language(language: str) -> str:
    """The voice that transcribes a language.

    Raises:
        ConfigError: no rules for this language.
    """
    if language not in LANGUAGES:
        raise unknown("language of lyrics", language, LANGUAGES)
    return LANGUAGES[language]


def check_script(text: str, language: str, *, where: str = "the lyrics") -> None:
    """Refuse letters that no phone rules cover.

    Args:
        where: what the text is, for the message, such as "line 3".

    Raises:
        ConfigError: no rules for the language.
        DataError: letters of another script, named.
    """
    check_language(language)
    foreign: dict[str, str] = {}
    for character in text:
        script = script_of(character)
        if script not in (None, "Latin"):
            foreign.setdefault(character, script or "")
    if foreign:
        shown = " ".join(list(foreign)[:SHOWN]) + (" …" if len(foreign) > SHOWN else "")
        scripts = ", ".join(dict.fromkeys(foreign.values()))
        raise DataError(
            f"no phone rules for {shown} ({scripts}) in {where}; the language is '{language}'.",
            hint=f"Rules cover Latin letters in {', '.join(sorted(LANGUAGES))}: write the words in those.",
        )
