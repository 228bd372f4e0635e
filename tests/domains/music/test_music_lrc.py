"""The .lrc reader by a table of cases, what is written, drafted stamps, and alignment by enumeration."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch

from core.errors import ConfigError, DataError
from domains.music.frames import frames_of
from domains.music.hymns import hymn, hymns
from domains.music.lrc import Event, Line, Lyrics, Word, parse, read_lrc, stamp_text, to_lrc, write_lrc
from domains.music.lrc.draft import beats_of, draft, seconds_of_bars
from domains.music.lrc.fit import align, fit_lyrics
from domains.music.lyrics import frame_phones

Starts = list[tuple[float, str]]

# name, text, lines as (start, words), kinds of problems with their line
CASES: list[tuple[str, str, Starts, list[tuple[int, str]]]] = [
    ("hundredths", "[00:12.34]hello", [(12.34, "hello")], []),
    ("thousandths", "[00:12.345]hello", [(12.345, "hello")], []),
    ("tenths", "[00:12.3]hello", [(12.3, "hello")], []),
    ("no fraction", "[01:02]hello", [(62.0, "hello")], []),
    ("hours", "[1:00:05]hello", [(3605.0, "hello")], []),
    ("hours and fraction", "[0:01:05.50]hello", [(65.5, "hello")], []),
    ("decimal comma", "[00:12,50]hello", [(12.5, "hello")], []),
    ("long minutes", "[100:00.00]hello", [(6000.0, "hello")], []),
    ("several stamps", "[00:01.00][00:05.00]la\n[00:03.00]lo", [(1, "la"), (3, "lo"), (5, "la")], []),
    ("mark of UTF-8", "\ufeff[00:01.00]hello", [(1.0, "hello")], []),
    ("CRLF", "[00:01.00]one\r\n[00:02.00]two\r\n", [(1, "one"), (2, "two")], []),
    ("CR alone", "[00:01.00]one\r[00:02.00]two", [(1, "one"), (2, "two")], []),
    ("spaces", "  [00:01.00]   a   b  ", [(1.0, "a b")], []),
    ("offset forward", "[offset:+500]\n[00:02.00]hello", [(1.5, "hello")], []),
    ("offset backward", "[offset:-500]\n[00:02.00]hello", [(2.5, "hello")], []),
    ("offset at the end", "[00:02.00]hello\n[offset:1000]", [(1.0, "hello")], []),
    ("offset too far", "[offset:3000]\n[00:02.00]hello", [(0.0, "hello")], [(2, "negative")]),
    ("offset that is none", "[offset:soon]\n[00:02.00]hi", [(2.0, "hi")], [(1, "malformed")]),
    ("comment", "# mine\n[00:01.00]hello", [(1.0, "hello")], []),
    ("stamp without words", "[00:01.00]hello\n[00:09.00]", [(1.0, "hello")], []),
    ("not in order", "[00:09.00]b\n[00:05.00]a", [(5, "a"), (9, "b")], [(2, "order")]),
    ("negative", "[-00:01.00]hello", [(0.0, "hello")], [(1, "negative")]),
    ("seventy seconds", "[00:70.00]hello", [], [(1, "malformed"), (1, "unstamped"), (0, "unstamped")]),
    ("letters for digits", "[0O:12.00]a\n[00:13.00]b", [(13, "b")], [(1, "malformed"), (1, "unstamped")]),
    ("a line without a stamp", "[00:01.00]one\ntwo", [(1.0, "one")], [(2, "unstamped")]),
    ("plain words", "one\ntwo", [], [(1, "unstamped"), (2, "unstamped"), (0, "unstamped")]),
    ("empty", "", [], [(0, "empty")]),
    ("tags alone", "[ti:Song]\n\n", [], [(0, "empty")]),
    ("unknown tag", "[mood:sad]\n[00:01.00]hello", [(1.0, "hello")], [(1, "tag")]),
    ("tag before words", "[00:01.00][softly] hello", [(1.0, "hello")], [(1, "tag")]),
    ("tag among words", "[00:01.00]hello [x2] you", [(1.0, "hello you")], [(1, "tag")]),
    ("empty brackets", "[]\n[00:01.00]hello", [(1.0, "hello")], [(1, "malformed")]),
    ("word stamps", "[00:01.00]<00:01.00>a <00:02.00>b", [(1.0, "a b")], []),
    ("word stamps fall", "[00:01.00]<00:03.00>a <00:02.00>b", [(1.0, "a b")], [(1, "order")]),
    ("word stamp that is none", "[00:01.00]<x>a <00:02.00>b", [(1.0, "a b")], [(1, "malformed")]),
    ("words before word stamps", "[00:01.00]oh <00:02.00>b", [(1.0, "oh b")], [(1, "words")]),
    ("section and singer", "[Chorus 2]\n[female]\n[00:01.00]la", [(1.0, "la")], []),
    ("a heart is no stamp", "[00:01.00]I <3 you", [(1.0, "I <3 you")], []),
]


@pytest.mark.parametrize(("text", "starts", "told"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_each_line_becomes_an_event_or_a_problem(
    text: str, starts: Starts, told: list[tuple[int, str]]
) -> None:
    lyrics, problems = parse(text)
    assert [(pytest.approx(line.start_s, abs=1e-9), line.text) for line in lyrics.lines] == starts
    assert [(problem.number, problem.kind) for problem in problems] == told


def test_the_table_has_thirty_cases_at_least() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize(("text", "told"), [(case[1], case[3]) for case in CASES], ids=[c[0] for c in CASES])
def test_strict_reading_refuses_every_problem_and_nothing_else(
    text: str, told: list[tuple[int, str]]
) -> None:
    fatal = [row for row in told if row[1] != "empty"]
    if not fatal:
        parse(text, strict=True)
        return
    with pytest.raises(ConfigError, match=rf"line {fatal[0][0]}|no line has a time stamp"):
        parse(text, strict=True)


def test_messages_name_line_and_stamp() -> None:
    _, problems = parse("[00:09.00]b\n[00:05.00]a\n[00:7x.00]c\n[00:10.00]d")
    assert [str(problem) for problem in problems] == [
        "line 2: stamp 00:05.00 comes before 00:09.00 of line 1; sorted",
        "line 3: unknown tag [00:7x.00] has no effect",
        "line 3: 'c' has no time stamp and is not sung",
    ]


def test_words_have_times_and_syllables_are_joined() -> None:
    lyrics, problems = parse("[00:01.00]<00:01.00>Hel<00:01.50>lo <00:02.00>world <00:03.00>")
    assert problems == ()
    assert lyrics.lines[0].text == "Hello world"
    assert lyrics.lines[0].words == (Word("Hello", 1.0, 2.0), Word("world", 2.0, 3.0))


def test_sections_and_singers_are_events_that_lines_carry() -> None:
    text = "[ti:Song]\n[Verse 1]\n[male]\n[00:01.00]a\n[00:05.00][Pre-Chorus]\n[00:06.00]b\n[outro]"
    lyrics, problems = parse(text)
    assert problems == ()
    assert lyrics.events == (
        Event("section", "verse", 1.0, 2),
        Event("singer", "male", 1.0, 3),
        Event("section", "prechorus", 5.0, 5),
        Event("section", "outro", None, 7),
    )
    assert [(line.section, line.singer) for line in lyrics.lines] == [
        ("verse", "male"),
        ("prechorus", "male"),
    ]
    assert lyrics.meta == {"ti": "Song"}


def test_what_is_written_reads_back_as_the_same() -> None:
    text = (
        "[ti:Song]\n[00:01.00][verse]\n[00:01.00]one two\n[00:04.00][chorus]\n"
        "[00:04.00]<00:04.00>three <00:05.00>four <00:06.00>\n[00:08.00][instrumental]\n"
    )
    lyrics, problems = parse(text)
    assert problems == ()
    assert to_lrc(lyrics) == text
    assert parse(to_lrc(lyrics))[0] == lyrics


def test_files_are_read_and_written_in_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.lrc"
    path.write_bytes("\ufeff[00:01.00]naïve\r\n".encode())
    lyrics, problems = read_lrc(path)
    assert (lyrics.lines[0].text, problems) == ("naïve", ())
    with pytest.raises(ConfigError, match="exists"):
        write_lrc(path, lyrics)
    write_lrc(path, lyrics, overwrite=True)
    assert path.read_text("utf-8") == "[00:01.00]naïve\n"
    path.write_bytes(b"[00:01.00]ok\n[00:02.00]na\xefve\n")
    with pytest.raises(DataError, match="byte 0xef in line 2"):
        read_lrc(path)
    with pytest.raises(DataError, match="cannot read"):
        read_lrc(tmp_path / "absent.lrc")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00.00"), (59.999, "01:00.00"), (3605.5, "60:05.50"), (-1, "-00:01.00")]
)
def test_stamps_are_rounded_to_hundredths(seconds: float, text: str) -> None:
    assert stamp_text(seconds) == text


def test_real_stamps_of_a_song_are_kept_through_a_file(real_data) -> None:
    rows = (real_data("music/lyrics") / "Fantasma_-_Los_Rombos.lines.csv").read_text("utf-8").splitlines()[1:]
    parts = [row.split(",", 2) for row in rows if row]
    lines = tuple(Line(float(start), text.strip('"')) for start, _, text in parts)
    again, problems = parse(to_lrc(Lyrics(lines)))
    assert problems == ()
    assert [line.text for line in again.lines] == [" ".join(line.text.split()) for line in lines]
    assert max(abs(a.start_s - b.start_s) for a, b in zip(again.lines, lines, strict=True)) <= 0.005 + 1e-9


@pytest.mark.parametrize("name", hymns())
def test_every_shipped_hymn_is_clean_and_fits_its_frames(name: str) -> None:
    lyrics = hymn(name)
    minutes, seconds = lyrics.meta["length"].split(":")
    total = 60 * int(minutes) + float(seconds)
    assert frame_phones(lyrics, frames_of(total)).problems == ()
    with pytest.raises(ConfigError, match="unknown hymn"):
        hymn(f"{name}s")


WORDS = "[verse]\nall glory laud and honor\nto thee redeemer king\n\n[chorus]\nto whom the lips of children\n"


def test_drafted_lines_begin_on_bars_and_fill_the_song() -> None:
    lyrics, total = draft(WORDS, bpm=120, bars=20)
    bar_s = seconds_of_bars(1, 120)
    assert bar_s == 2.0
    assert total == 40.0
    assert [line.start_s % bar_s for line in lyrics.lines] == [0, 0, 0]
    assert lyrics.lines[0].start_s == bar_s  # one bar of introduction
    assert [event.start_s for event in lyrics.events] == [lyrics.lines[0].start_s, lyrics.lines[2].start_s]
    tight, least = draft(WORDS, bpm=120)
    # 16, 13 and 20 phones ask for 8.6, 7.5 and 10.2 beats: 2, 2 and 3 bars; pauses and end take 3 more.
    assert [line.start_s for line in tight.lines] == [2.0, 6.0, 12.0]
    assert least == 20.0


def test_predicted_beats_follow_the_measured_line() -> None:
    assert beats_of(20) == pytest.approx(10.16)


def test_a_fast_tempo_never_crowds_the_frames() -> None:
    lyrics, total = draft(WORDS, bpm=300)
    assert frame_phones(lyrics, frames_of(total)).problems == ()


@pytest.mark.parametrize(
    ("text", "change", "cause"),
    [
        ("", {}, "no words to draft"),
        ("[00:01.00]la", {}, "line 1 has a time stamp already"),
        (WORDS, {"bpm": 5}, "cannot draft at 5 bpm"),
        (WORDS, {"bars": 3}, "3 bars are too few for 3 lines: they need 9"),
    ],
)
def test_drafts_that_cannot_be_are_refused(text: str, change: dict, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        draft(text, **({"bpm": 120} | change))


def enumerate_best(log_probs: torch.Tensor, states: list[int], may_skip: list[bool]) -> float:
    """Log-probability of the best labelling, by trying all of them."""
    frames, best = len(log_probs), float("-inf")
    for steps in combinations_with_replacement(range(len(states)), frames):
        used = set(steps)
        if any(s not in used and not may_skip[s] for s in range(len(states))):
            continue
        best = max(best, sum(float(log_probs[t, states[s]]) for t, s in enumerate(steps)))
    return best


@pytest.mark.parametrize("pauses", [[True, True, True], [True, False, True], [False, False, False]])
def test_alignment_is_the_best_of_all(pauses: list[bool], gen: torch.Generator) -> None:
    labels = [2, 1, 2]
    states: list[int] = []
    may_skip: list[bool] = []
    for label, pause in zip(labels, pauses, strict=True):
        states += [0, label] if pause else [label]
        may_skip += [True, False] if pause else [False]
    for _ in range(20):
        table = torch.randn(7, 4, generator=gen, dtype=torch.float64).log_softmax(-1)
        found = align(table, labels, pauses=pauses)
        assert found.total == pytest.approx(enumerate_best(table, [*states, 0], [*may_skip, True]), abs=1e-12)
        inside = sum(
            float(table[int(start) : int(end), label].sum())
            for start, end, label in zip(found.starts, found.ends, labels, strict=True)
        )
        silent = [
            t for t in range(7) if not any(s <= t < e for s, e in zip(found.starts, found.ends, strict=True))
        ]
        assert found.total == pytest.approx(inside + float(table[silent, 0].sum()), abs=1e-12)


def test_a_recursion_without_skips_is_worse_where_no_silence_is(gen: torch.Generator) -> None:
    """The wrong variant: silences that must be there cost probability, and the enumeration shows it."""
    table = torch.full((4, 3), -5.0)
    table[:2, 1] = table[2:, 2] = -0.1
    assert align(table, [1, 2]).total == pytest.approx(-0.4)
    assert enumerate_best(table, [0, 1, 0, 2, 0], [False] * 5) == float("-inf")


def one_hot(*labels: int) -> torch.Tensor:
    table = torch.full((len(labels), 8), -10.0)
    table[range(len(labels)), list(labels)] = 0.0
    return table


def test_lyrics_get_the_times_at_which_their_words_are_sung() -> None:
    label_of: Callable[[str], int | None] = {"l": 1, "aɪ": 2, "t": 3, "h": 4, "eɪ": 5}.get
    lyrics, _ = parse("[verse]\nlight,\nhay light")
    table = one_hot(0, 0, 1, 2, 2, 3, 0, 4, 5, 5, 1, 2, 3, 0)
    fitted = fit_lyrics(table, 0.1, lyrics, label_of)
    assert [line.start_s for line in fitted.lyrics.lines] == pytest.approx([0.2, 0.7])
    assert [(w.text, w.start_s, w.end_s) for w in fitted.lyrics.lines[1].words] == [
        ("hay", pytest.approx(0.7), pytest.approx(1.0)),
        ("light", pytest.approx(1.0), pytest.approx(1.3)),
    ]
    assert fitted.scores == (0.0, 0.0)
    assert fitted.lyrics.events == (Event("section", "verse", pytest.approx(0.2), 1),)


def test_a_line_with_several_stamps_is_fitted_where_it_is_sung() -> None:
    label_of: Callable[[str], int | None] = {"l": 1, "aɪ": 2, "t": 3, "h": 4, "eɪ": 5}.get
    lyrics, _ = parse("[00:01.00][00:09.00]light\n[00:05.00]hay")
    fitted = fit_lyrics(one_hot(1, 2, 3, 0, 4, 5, 0, 1, 2, 3), 0.1, lyrics, label_of)
    assert [(line.text, line.start_s) for line in fitted.lyrics.lines] == [
        ("light", 0.0),
        ("hay", pytest.approx(0.4)),
        ("light", pytest.approx(0.7)),
    ]


def test_alignment_refuses_what_cannot_be() -> None:
    with pytest.raises(DataError, match="3 phones cannot lie on 2 frames"):
        align(torch.zeros(2, 4), [1, 2, 3])
    with pytest.raises(DataError, match="no phones"):
        align(torch.zeros(2, 4), [])
    with pytest.raises(DataError, match="must lie in"):
        align(torch.zeros(2, 4), [4])
    with pytest.raises(DataError, match="NaN"):
        align(torch.full((2, 4), float("nan")), [1])
