"""Text reduced to the 27 symbols of text8: space and a to z."""

import re
import unicodedata

__all__ = ["to_text8"]

DIGITS = {
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
}
OTHER = re.compile(r"[^a-z]+")


def to_text8(text: str) -> str:
    """Lower case, digits as words, accents dropped, and one space for every run of anything else.

    Source: the filter of M. Mahoney 2006, "About the test data", without its removal of wiki markup; it
    deletes accented letters, here their base letter stays.
    """
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    spelt = "".join(f" {DIGITS[c]} " if c in DIGITS else c for c in plain)
    return OTHER.sub(" ", spelt)
