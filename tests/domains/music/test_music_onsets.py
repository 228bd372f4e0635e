"""Guessed onsets: vowels share a line's time evenly, consonants lead into them, nothing is lost."""

import torch

from domains.music.lrc import parse
from domains.music.onsets import spread_phones
from domains.music.phones.inventory import ids_of, names
from domains.music.phones.phonemise import encode


def placed(text: str, frames: int) -> list[tuple[int, str]]:
    ids = spread_phones(parse(text)[0], frames)
    return [(int(k), names()[int(ids[k])]) for k in ids.nonzero()[:, 0]]


def test_vowels_share_the_time_of_their_line() -> None:
    # 2 s are 43 frames: "no" begins the line, its vowel comes after the consonant; "me" owns the second half.
    found = placed("[00:00.00]no me\n[00:02.00]no me\n", 200)
    assert (
        found
        == [
            (0, "n"),
            (2, "oʊ"),
            (20, "m"),
            (22, "iː"),
            (43, "n"),
            (44, "oʊ"),
            (63, "m"),
            (64, "iː"),
        ]
        or [phone for _, phone in found] == ["n", "oʊ", "m", "iː"] * 2
    )
    vowels = [place for place, phone in found if phone in ("oʊ", "iː")]
    assert abs(vowels[1] - vowels[0] - 43 / 2) <= 2
    assert abs(vowels[2] - vowels[0] - 43) <= 2


def test_every_phone_is_written_in_order_and_a_pause_does_not_stretch_a_line() -> None:
    text = "[00:01.00]sing a song of sixpence\n[00:04.00]a pocket full of rye\n[00:30.00]sing a song\n"
    ids = spread_phones(parse(text)[0], 800)
    wanted = [
        number
        for line in ("sing a song of sixpence", "a pocket full of rye", "sing a song")
        for number in encode(line, boundaries=False)
    ]
    assert ids[ids > 0].tolist() == wanted
    second = [int(k) for k in ids.nonzero()[:, 0] if 86 <= int(k) < 640]
    assert second[-1] - second[0] < 150  # the pause before the third line is 26 s, 560 frames


def test_words_with_stamps_begin_at_them() -> None:
    ids = spread_phones(parse("[00:01.00]<00:01.00>no <00:03.00>me\n")[0], 100)
    assert int(ids[64]) == ids_of(["m"])[0]
    assert not ids[:21].any()
    assert torch.equal(ids, spread_phones(parse("[00:01.00]<00:01.00>no <00:03.00>me\n")[0], 120)[:100])


def test_what_lies_beyond_the_song_is_left_out() -> None:
    assert not spread_phones(parse("[00:10.00]no me\n")[0], 100).any()
    assert not spread_phones(parse("")[0], 10).any()
