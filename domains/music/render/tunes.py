"""A few tunes of the public domain, entered by hand, so that rendering works where no data set is installed.

Melodies: "Ah! vous dirai-je, maman" (France, 1761) to words of Jane Taylor (1806); New Britain to John
Newton's words (1779); Old Hundredth (Bourgeois 1551) to William Kethe's words (1561); the Ode to Joy
(Beethoven 1824) to Henry van Dyke's words (1907); "Row, row, row your boat" (USA, 1852 to 1881). They have
the form of the hymn collection.
"""

from domains.music.render.score import Hymn, parse_hymn

__all__ = ["embedded_hymns"]

# Notes: "pitch:quarters", "~" before a note that continues the syllable. Words: "-" joins syllables, "|" ends
# a line.
_TUNES = (
    {
        "id": "twinkle-twinkle",
        "title": "Twinkle, twinkle, little star",
        "tonic": 0,
        "time": [4, 4],
        "pickup": 0.0,
        "notes": "60 60 67 67 69 69 67:2 65 65 64 64 62 62 60:2 67 67 65 65 64 64 62:2 67 67 65 65 64 64 "
        "62:2 60 60 67 67 69 69 67:2 65 65 64 64 62 62 60:2",
        "words": "Twin- kle, twin- kle, lit- tle star, | How I won- der what you are! | Up a- bove the "
        "world so high, | Like a dia- mond in the sky. | Twin- kle, twin- kle, lit- tle star, | "
        "How I won- der what you are!",
    },
    {
        "id": "new-britain",
        "title": "Amazing grace",
        "tonic": 7,
        "time": [3, 4],
        "pickup": 1.0,
        "notes": "62 67:2 71:0.5 ~67:0.5 71:2 69 67:2 64 62:2 62 67:2 71:0.5 ~67:0.5 71:2 69 74:5 71 "
        "74:1.5 71:0.5 ~74:0.5 ~71:0.5 67:2 62 64:1.5 67:0.5 ~67:0.5 ~64:0.5 62:2 62 67:2 71:0.5 "
        "~67:0.5 71:2 69 67:5",
        "words": "A- maz- ing grace! how sweet the sound, | That saved a wretch like me! | I once was "
        "lost, but now am found, | Was blind, but now I see.",
    },
    {
        "id": "old-hundredth",
        "title": "All people that on earth do dwell",
        "tonic": 7,
        "time": [4, 4],
        "pickup": 1.0,
        "notes": "67 67 66 64 62 67 69 71:2 71 71 71 69 67 72 71 69:2 67 69 71 69 67 64 66 67:2 74 71 67 "
        "69 72 71 69 67:2",
        "words": "All peo- ple that on earth do dwell, | Sing to the Lord with cheer- ful voice; | Him "
        "serve with fear, his praise forth tell, | Come ye be- fore him and re- joice.",
    },
    {
        "id": "ode-to-joy",
        "title": "Joyful, joyful, we adore thee",
        "tonic": 7,
        "time": [4, 4],
        "pickup": 0.0,
        "notes": "71 71 72 74 74 72 71 69 67 67 69 71 71:1.5 69:0.5 69:2 71 71 72 74 74 72 71 69 67 67 69 "
        "71 69:1.5 67:0.5 67:2",
        "words": "Joy- ful, joy- ful, we a- dore thee, | God of glo- ry, Lord of love; | Hearts un- fold "
        "like flowers be- fore thee, | O- pening to the sun a- bove.",
    },
    {
        "id": "row-your-boat",
        "title": "Row, row, row your boat",
        "tonic": 0,
        "time": [6, 8],
        "pickup": 0.0,
        "notes": "60:1.5 60:1.5 60 62:0.5 64:1.5 64 62:0.5 64 65:0.5 67:3 72:0.5 72:0.5 72:0.5 67:0.5 "
        "67:0.5 67:0.5 64:0.5 64:0.5 64:0.5 60:0.5 60:0.5 60:0.5 67 65:0.5 64 62:0.5 60:3",
        "words": "Row, row, row your boat, | Gent- ly down the stream; | Mer- ri- ly, mer- ri- ly, mer- "
        "ri- ly, mer- ri- ly, | Life is but a dream.",
    },
)


def embedded_hymns() -> tuple[Hymn, ...]:
    """The tunes of this module as hymns."""
    return tuple(
        parse_hymn(
            {
                "id": tune["id"],
                "title": tune["title"],
                "tonic": tune["tonic"],
                "mode": "major",
                "time": tune["time"],
                "pickup": tune["pickup"],
                "notes": _notes(str(tune["notes"])),
                "verses": [_verse(str(tune["words"]))],
            }
        )
        for tune in _TUNES
    )


def _notes(text: str) -> list[tuple[int, float, int]]:
    """Parse "67:2" and "~67" to (pitch, quarters, tied)."""
    notes = []
    for item in text.split():
        pitch, _, length = item.lstrip("~").partition(":")
        notes.append((int(pitch), float(length or 1), int(item.startswith("~"))))
    return notes


def _verse(text: str) -> list[tuple[str, int, int]]:
    """Parse words to (syllable, joined to the next, begins a line)."""
    verse: list[tuple[str, int, int]] = []
    begins = 1
    for item in text.split():
        if item == "|":
            begins = 1
            continue
        verse.append((item.removesuffix("-"), int(item.endswith("-")), begins))
        begins = 0
    return verse
