"""Scores, syllables and chords, where every answer can be counted or enumerated."""

from itertools import pairwise, product

import numpy as np
import pytest

from core.errors import ConfigError, DataError, MissingExtra
from domains.music.phones import espeak
from domains.music.render import fluid
from domains.music.render.arrange import STYLES, arrange
from domains.music.render.corpus import HELD_CELL, HELD_VOICE, hymns, plan_songs, split_hymns
from domains.music.render.harmony import TRIADS, harmonise, overlap_scores, spans, step_scores, viterbi
from domains.music.render.mix import PEAK, mix, sounding_rms
from domains.music.render.score import parse_hymn, perform
from domains.music.render.speech import split
from domains.music.render.tunes import embedded_hymns
from domains.music.render.vocoder import pitch_curve, source_times

HYMN = {
    "id": "small",
    "title": "Small",
    "tonic": 0,
    "mode": "major",
    "time": [4, 4],
    "pickup": 1.0,
    "notes": [[67, 1, 0], [60, 1, 0], [64, 1, 1], [62, 2, 0], [None, 1, 0], [60, 3, 0]],
    "verses": [[["A", 1, 1], ["way", 0, 0], ["O,", 0, 0], [None, 0, 0]]],
}


def test_a_verse_falls_on_the_beats_of_its_score() -> None:
    score = perform(parse_hymn(HYMN), 0, bpm=120, transposition=2, octave=-1)
    # One bar of introduction, then the up-beat on the fourth quarter of the second bar.
    assert [(n.pitch, n.start_s, n.duration_s) for n in score.notes] == [
        (57, 3.5, 0.5),
        (50, 4.0, 0.5),
        (54, 4.5, 0.5),
        (52, 5.0, 1.0),
        (50, 6.5, 1.5),
    ]
    assert score.tonic == 2
    assert score.duration_s == 10.0
    assert score.bars == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)


def test_a_hold_lengthens_the_word_before_it() -> None:
    score = perform(parse_hymn(HYMN), 0, bpm=120, transposition=0)
    (line,) = score.lines
    assert [word.text for word in line.words] == ["Away", "O,"]
    assert len(line.words[1].syllables[0].notes) == 2


def test_a_capital_after_a_comma_opens_a_line_only_after_four_syllables() -> None:
    verse = [["We", 0, 1], ["sing,", 0, 0], ["O", 0, 0], ["King,", 0, 0], ["To", 0, 0], ["Thee", 0, 0]]
    song = {**HYMN, "pickup": 0, "notes": [[60, 1, 0]] * 6, "verses": [verse]}
    lines = perform(parse_hymn(song), 0, bpm=100, transposition=0).lines
    assert [line.text for line in lines] == ["We sing, O King,", "To Thee"]


def test_a_verse_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="1 syllables for 4 notes"):
        parse_hymn({**HYMN, "verses": [[["A", 0, 1]]]})


def test_a_verse_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="asked for number 2"):
        perform(parse_hymn(HYMN), 1, bpm=100, transposition=0)


@pytest.mark.parametrize(
    ("phones", "syllables", "groups"),
    [
        ("ɡ l oː ɹ iə s", 2, [[0, 1, 2], [3, 4, 5]]),  # glo-rious
        ("h ɛ v ə n", 1, [[0, 1, 2, 3, 4]]),  # heav'n on one note
        ("f aɪ ɚ", 1, [[0, 1, 2]]),
        ("m ɪ s t ɹ i", 2, [[0, 1], [2, 3, 4, 5]]),  # my-stery: str opens a syllable
        ("w ɪ n t ɚ", 2, [[0, 1, 2], [3, 4]]),
        ("d eɪ", 2, [[0, 1], []]),  # a word with too few vowels
    ],
)
def test_syllables_share_the_phones_of_a_word(phones: str, syllables: int, groups: list[list[int]]) -> None:
    assert split(phones.split(), syllables) == groups


def test_viterbi_finds_what_enumeration_finds() -> None:
    rng = np.random.default_rng(0)
    scores, steps = rng.normal(size=(5, 4)), rng.normal(size=(4, 4))

    def total(path: tuple[int, ...]) -> float:
        return sum(scores[i, s] for i, s in enumerate(path)) + sum(steps[a, b] for a, b in pairwise(path))

    paths = [path for path in product(range(4), repeat=5) if path[0] == 0 and path[-1] == 2]
    best = max(paths, key=total)
    path, value = viterbi(scores, steps, first=0, last=2)
    assert tuple(path) == best
    assert value == pytest.approx(total(best))


def test_a_greedy_choice_is_not_the_best_path() -> None:
    # The wrong variant: taking the best state at each time ignores the steps between them.
    scores = np.array([[1.0, 0.0], [0.0, 0.5], [1.0, 0.0]])
    steps = np.array([[0.0, -1.0], [-1.0, 0.0]])
    path, _ = viterbi(scores, steps, first=0, last=0)
    assert path == [0, 0, 0]
    assert [int(s) for s in scores.argmax(axis=1)] != path


def test_overlap_counts_beats_inside_and_outside_a_triad() -> None:
    score = perform(parse_hymn(HYMN), 0, bpm=120, transposition=0)
    times = [(4.0, 6.0)]  # C and E for a beat each, D for two
    got = overlap_scores(score.notes, times, tonic=0, mode="major", bpm=120)
    prior = overlap_scores([], times, tonic=0, mode="major", bpm=120)
    assert (got - prior)[0, 0] == pytest.approx(2 - 0.5 * 2)  # C major holds C and E, not D
    assert (got - prior)[0, 4] == pytest.approx(2 - 0.5 * 2)  # G major holds D alone
    assert (got - prior)[0, 3] == pytest.approx(1 - 0.5 * 3)  # F major holds C alone


@pytest.mark.parametrize("hymn", embedded_hymns(), ids=lambda hymn: hymn.name)
def test_chords_cover_the_piece_and_close_on_the_tonic(hymn) -> None:
    score = perform(hymn, 0, bpm=100, transposition=3)
    chords = harmonise(score)
    assert chords[0].start_s == 0
    assert chords[-1].end_s == pytest.approx(score.duration_s)
    assert all(a.end_s == b.start_s for a, b in pairwise(chords))
    assert chords[0].root == chords[-1].root == score.tonic
    scale = {(score.tonic + root) % 12 for root, _ in TRIADS["major"]}
    assert {chord.root for chord in chords} <= scale
    assert len(spans(score)) == len(chords)
    assert step_scores().shape == (7, 7)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_plays_only_notes_of_the_chord_it_is_under(style: str) -> None:
    score = perform(embedded_hymns()[0], 0, bpm=100, transposition=0)
    chords = harmonise(score)
    for play in arrange(score, chords, style):
        assert 0 <= play.start_s < score.duration_s
        if play.channel == 9:
            continue
        chord = next(c for c in chords if c.start_s - 1e-9 <= play.start_s < c.end_s - 1e-9)
        assert play.pitch % 12 in chord.pitch_classes


def test_an_unknown_style_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown style 'polka'"):
        arrange(perform(embedded_hymns()[0], 0, bpm=100, transposition=0), [], "polka")


def test_the_mix_is_the_sum_of_its_stems_at_their_loudness() -> None:
    rng = np.random.default_rng(0)
    voice = 3.0 * np.sin(np.arange(40960) / 7)
    voice[20480:] = 0
    stems = mix(voice, 0.01 * rng.normal(size=40960))
    assert np.array_equal(stems.mix, stems.voice + stems.backing)
    assert np.abs(stems.mix).max() / 32767 <= PEAK + 2e-4
    # The silent half does not count.
    assert sounding_rms(stems.voice / 32767) == pytest.approx(0.12, rel=1e-3)
    assert sounding_rms(stems.backing / 32767) == pytest.approx(0.07, rel=1e-3)


def test_a_loud_peak_turns_both_stems_down_together() -> None:
    voice = np.zeros(4096)
    voice[::512] = 1.0
    stems = mix(voice, np.sin(np.arange(4096) / 5))
    ratio = sounding_rms(stems.voice / 32767) / sounding_rms(stems.backing / 32767)
    assert ratio == pytest.approx(0.12 / 0.07, rel=1e-3)
    assert np.abs(stems.mix).max() / 32767 <= PEAK + 1e-4


def test_stretching_keeps_the_edges_of_a_vowel_at_their_pace() -> None:
    at = np.array([0.0, 0.03, 0.5, 0.97, 1.0])
    assert source_times(at, 1.0, 0.1) == pytest.approx([0.0, 0.03, 0.05, 0.07, 0.1])
    assert source_times(np.array([0.05]), 0.1, 0.2) == pytest.approx([0.1])


def test_the_pitch_curve_holds_each_note_and_slides_between_them() -> None:
    score = perform(parse_hymn(HYMN), 0, bpm=60, transposition=0)
    f0 = pitch_curve(score.notes, 2001, vibrato=False)
    assert f0[round(8.5 / 0.005)] == pytest.approx(440 * 2 ** ((60 - 69) / 12))
    edge = round(score.notes[1].start_s / 0.005)
    assert f0[edge - 7] == pytest.approx(440 * 2 ** ((67 - 69) / 12))
    assert f0[edge - 7] > f0[edge - 3] > f0[edge + 3] > f0[edge + 7]


def test_splits_never_share_a_hymn_and_training_never_meets_what_is_held_out() -> None:
    collection = [parse_hymn({**HYMN, "id": f"h{i}", "verses": HYMN["verses"] * 3}) for i in range(130)]
    splits = split_hymns([hymn.name for hymn in collection])
    assert sorted(splits.values()).count("train") == 100
    assert list(splits.values()).count("test") == list(splits.values()).count("validation") == 15
    plans = plan_songs(collection, minutes=1000)
    assert len(plans) == 390
    assert {plan.hymn for plan in plans[:130]} == set(splits)
    assert all(plan.split == splits[plan.hymn] for plan in plans)
    train = [plan for plan in plans if plan.split == "train"]
    assert HELD_VOICE not in {plan.voice for plan in train}
    assert HELD_CELL not in {(plan.style, plan.tempo) for plan in train}
    test = [plan for plan in plans if plan.split == "test"]
    assert HELD_VOICE in {plan.voice for plan in test}
    assert HELD_CELL in {(plan.style, plan.tempo) for plan in test}


def test_the_same_seed_plans_the_same_songs() -> None:
    collection = embedded_hymns()
    assert plan_songs(collection, minutes=2, seed=3) == plan_songs(collection, minutes=2, seed=3)
    assert plan_songs(collection, minutes=2, seed=3) != plan_songs(collection, minutes=2, seed=4)


def test_the_installed_collection_holds_130_hymns(real_data, monkeypatch) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(real_data("music").parent))
    assert len(hymns()) == 130


@pytest.mark.parametrize(
    ("module", "packages"), [(espeak, "espeak-ng"), (fluid, "fluidsynth timgm6mb-soundfont")]
)
def test_an_absent_library_is_named_with_its_debian_packages(module, packages, monkeypatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(module.ctypes, "CDLL", absent)
    with pytest.raises(MissingExtra, match="not installed") as err:
        module._library.__wrapped__()
    assert packages in (err.value.hint or "")


def test_an_absent_sound_font_is_named(monkeypatch) -> None:
    monkeypatch.setattr(fluid, "FOLDERS", ())
    with pytest.raises(MissingExtra, match="sound font"):
        fluid.find_font()
