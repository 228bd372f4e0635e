"""Phones and their numbers; lyrics on frames: each phone where it was asked for, or a sentence about it."""

import pytest
import torch

from core.errors import ConfigError, DataError, MissingExtra
from domains.music.frames import FRAME_RATE
from domains.music.lrc import Line, Lyrics, parse
from domains.music.lyrics import frame_of, frame_phones, line_ids, phone_counts
from domains.music.phones import espeak
from domains.music.phones.inventory import BOUNDARY, COMMA, SIZE, STOP, ids_of, inventory, names
from domains.music.phones.phonemise import encode, phonemise, phones_of, table, words_of
from domains.music.phones.scripts import LANGUAGES, check_script, script_of

needs_espeak = pytest.mark.skipif(not espeak.available(), reason="needs the Debian package espeak-ng")


def test_the_inventory_has_the_published_numbers() -> None:
    known = inventory()
    assert sorted(known.values()) == list(range(1, SIZE))
    assert len(known) == 363
    some = {",": COMMA, ".": STOP, "_": BOUNDARY, "iː": 6, "ɹ": 50, "tɹ": 52, "oːɹ": 10, "a→": 212, "…": 363}
    assert {phone: known[phone] for phone in some} == some
    assert names()[0] == ""
    assert all(names()[number] == phone for phone, number in known.items())


def test_english_phones_are_folded_as_the_published_front_end_does() -> None:
    known = inventory()
    assert ids_of(["t", "ɹ", "iː"]) == [known["tɹ"], known["iː"]]
    assert ids_of(["oː", "ɹ"]) == [known["oːɹ"]]
    assert ids_of(["ɐ", "ᵻ", "əl"]) == [known["ɚ"], known["ɪ"], known["l"]]
    assert ids_of(["ɐ"], language="pt") == [known["ɐ"]]
    assert ids_of(["ʔ", "ɹ"]) == [known["t"], known["ɹ"]]  # pairs are joined before phones are replaced


def test_phones_without_a_number_are_taken_apart_or_replaced() -> None:
    known = inventory()
    assert ids_of(["ɛ̃"], language="fr") == [known["ɛ"], known["̃"]]
    assert ids_of(["yː"], language="de") == [known["y"], known["ː"]]
    assert ids_of(["ʎ", "ɣ"], language="es") == [known["l"], known["j"], known["ɡ"]]
    with pytest.raises(DataError, match="the phone '@' has no number"):
        ids_of(["@"])


@needs_espeak
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "quiero que llueva, niño: jugar con la guitarra y el año del huevo"),
        ("fr", "bonjour le monde, un bon vin blanc, peur, lune, œuf, montagne"),
        ("de", "Ich möchte ein schönes Lied für dich singen, Nacht, Küche, Straße, Pferd"),
        ("it", "gli occhi della bella ragazza che canta ogni giorno, zio"),
        ("pt", "coração não você lhe saudade manhã"),
    ],
)
def test_every_phone_of_the_other_languages_has_a_number(language: str, text: str) -> None:
    assert len(encode(text, language)) > 20


@needs_espeak
def test_the_table_says_what_the_library_says() -> None:
    words = sorted(table())[::40]
    assert len(words) > 40
    for word in words:
        assert table()[word] == tuple(p for part in espeak.transcribe(word, "en-us") for p in part), word


def test_words_keep_apostrophes_and_part_at_hyphens() -> None:
    assert words_of("O’er the self-same heav'n, 'twas 'Thee'!") == [
        "o'er",
        "the",
        "self",
        "same",
        "heav'n",
        "'twas",
        "'thee",
    ]
    assert words_of("la, la... la", punctuation=True) == ["la", ",", "la", "…", "la"]
    assert words_of("♪ ~ ♪") == []


def test_known_words_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(text: str, voice: str) -> list[list[str]]:
        raise MissingExtra("the speech library 'libespeak-ng' is not installed.")

    monkeypatch.setattr(espeak, "transcribe", absent)
    phones_of.cache_clear()
    assert phonemise("Amazing grace") == ["ɐ", "m", "eɪ", "z", "ɪ", "ŋ", "ɡ", "ɹ", "eɪ", "s"]
    with pytest.raises(MissingExtra, match=r"phones of 'dashboard' .* need espeak-ng") as caught:
        phonemise("my dashboard")
    assert caught.value.hint is not None
    assert "libespeak-ng1" in caught.value.hint
    phones_of.cache_clear()


def test_boundaries_and_marks_are_written_on_demand() -> None:
    known = inventory()
    grace = [known[p] for p in ("ɡ", "ɹ", "eɪ", "s")]
    assert encode("grace, grace") == [*grace, BOUNDARY, *grace]
    assert encode("grace, grace", boundaries=False) == grace * 2
    assert encode("grace, grace", punctuation=True) == [*grace, COMMA, *grace]
    assert line_ids("grace. grace.", punctuation=True) == [*grace, COMMA, *grace, STOP]
    assert line_ids("♪") == []


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("é", "Latin"),
        ("ß", "Latin"),
        ("你", "Han"),
        ("д", "Cyrillic"),
        ("か", "Hiragana"),
        ("한", "Hangul"),
        ("1", None),
        ("́", None),
    ],
)
def test_scripts_are_told_apart(character: str, script: str | None) -> None:
    assert script_of(character) == script


def test_a_script_without_rules_is_named_with_the_languages() -> None:
    with pytest.raises(
        DataError, match=r"no phone rules for 你 好 \(Han\) in line 2; the language is 'en'"
    ) as caught:
        frame_phones(Lyrics((Line(0.0, "hello", number=1), Line(1.0, "你好 you", number=2))), 100)
    assert caught.value.hint is not None
    assert ", ".join(sorted(LANGUAGES)) in caught.value.hint
    with pytest.raises(ConfigError, match="unknown language of lyrics 'eng'"):
        check_script("hello", "eng")


GRACE = [inventory()[p] for p in ("ɡ", "ɹ", "eɪ", "s")]


def test_a_line_is_written_one_phone_a_frame_from_its_stamp() -> None:
    ids, sections, singers, problems = frame_phones(parse("[00:01.00]grace")[0], 60)
    start = int(FRAME_RATE)  # 21.53 frames: the phone begins in frame 21
    expected = torch.zeros(60, dtype=torch.int64)
    expected[start : start + 5] = torch.tensor([*GRACE, STOP])
    assert torch.equal(ids, expected)
    assert int(sections.sum() + singers.sum()) == 0
    assert problems == ()


@pytest.mark.parametrize("frame", [0, 1, 7, 1000, 123456])
def test_a_stamp_on_a_frame_border_belongs_to_that_frame(frame: int) -> None:
    assert frame_of(frame / FRAME_RATE) == frame


def test_the_last_line_is_sung() -> None:
    ids = frame_phones(parse("[00:00.00]grace\n[00:01.00]grace")[0], 60).ids
    assert int((ids == STOP).sum()) == 2


def test_a_crowded_line_is_named_with_a_way_out_and_pushes_the_next() -> None:
    lyrics, _ = parse("[00:13.20]amazing grace\n[00:13.50]grace")
    size = len(line_ids("amazing grace"))
    found = frame_phones(lyrics, 400)
    assert size == 12
    assert [str(p) for p in found.problems] == [
        "line 1: 12 phones in 6 frames at 00:13.20; words will be skipped. "
        "Suggestion: begin the next line at 00:13.75 or later"
    ]
    first = frame_of(13.2)
    assert found.ids[first + size : first + size + 5].tolist() == [*GRACE, STOP]
    moved, _ = parse("[00:13.20]amazing grace\n[00:13.75]grace")
    assert frame_phones(moved, 400).problems == ()


def test_lines_at_and_beyond_the_end_are_told() -> None:
    lyrics, _ = parse("[00:00.90]grace\n[00:02.00]grace")
    found = frame_phones(lyrics, 22)  # 1.02 s
    assert [str(p) for p in found.problems] == [
        "line 2: stamp 00:02.00 lies beyond the length 00:01.02; not sung",
        "line 1: 5 phones in 3 frames at 00:00.90; words will be skipped. "
        "Suggestion: let the song last until 00:01.12",
    ]
    assert found.ids[19:].tolist() == GRACE[:3]


def test_words_with_stamps_stand_where_they_are_sung() -> None:
    lyrics, _ = parse("[00:00.50]<00:00.50>grace <00:01.50>grace\n[00:02.50]grace")
    found = frame_phones(lyrics, 80, "word")
    one, two, three = frame_of(0.5), frame_of(1.5), frame_of(2.5)
    assert found.ids[one : one + 5].tolist() == [*GRACE, BOUNDARY]
    assert found.ids[two : two + 5].tolist() == [*GRACE, STOP]
    assert found.ids[three : three + 5].tolist() == [*GRACE, STOP]
    assert [p.message for p in found.problems] == [
        "1 of 2 lines have no word stamps; their own stamps are used"
    ]
    sentence = frame_phones(lyrics, 80, "sentence").ids
    assert sentence[one : one + 10].tolist() == [*GRACE, BOUNDARY, *GRACE, STOP]


def test_without_alignment_the_stamps_do_not_matter() -> None:
    one, two = parse("[00:01.00]grace\n[00:02.00]grace")[0], parse("[00:00.00]grace\n[00:09.00]grace")[0]
    first, second = frame_phones(one, 60, "none"), frame_phones(two, 60, "none")
    assert torch.equal(first.ids, second.ids)
    assert first.ids[:10].tolist() == [*GRACE, STOP] * 2
    assert [p.kind for p in frame_phones(one, 7, "none").problems] == ["density"]
    with pytest.raises(ConfigError, match="unknown alignment 'line'"):
        frame_phones(one, 60, "line")  # type: ignore[arg-type]


def test_sections_and_singers_hold_until_the_next() -> None:
    text = "[verse]\n[female]\n[00:01.00]grace\n[00:02.00][chorus]\n[00:02.00][male]\n[00:02.00]grace"
    found = frame_phones(parse(text)[0], 60)
    a, b = frame_of(1.0), frame_of(2.0)
    assert found.sections.unique_consecutive().tolist() == [0, 2, 4]
    assert found.singers.unique_consecutive().tolist() == [0, 1, 2]
    assert (found.sections[a], found.sections[b - 1], found.sections[b]) == (2, 2, 4)
    made = Lyrics((Line(1.0, "grace", section="verse", singer="female"),))
    assert frame_phones(made, 60).sections.unique_consecutive().tolist() == [0, 2]


def test_an_instrumental_has_no_phones() -> None:
    lyrics, problems = parse("[ti:Nothing]")
    assert lyrics.instrumental
    assert problems[0].message == "no lyric lines: the song will be instrumental"
    assert int(frame_phones(lyrics, 50).ids.sum()) == 0


def test_counts_are_the_frames_that_lines_take() -> None:
    assert phone_counts(parse("[00:00.00]grace\n[00:01.00]amazing grace")[0]) == [5, 12]
