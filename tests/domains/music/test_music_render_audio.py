"""Rendered sound: phones and pitches where they were written, a corpus that continues where it stopped."""

import json
from itertools import pairwise

import numpy as np
import pytest

from domains.music.frames import RATE
from domains.music.phones import espeak
from domains.music.render import corpus, fluid
from domains.music.render.arrange import Play
from domains.music.render.score import parse_hymn, perform
from domains.music.render.speech import FRAME_S, Speaker, world
from domains.music.render.vocoder import schedule, sing

pytest.importorskip("pyworld", reason="'pyworld' is not installed (extra 'render')")
pytest.importorskip("soundfile", reason="'soundfile' is not installed (extra 'music')")
pytestmark = [
    pytest.mark.skipif(not espeak.available(), reason="needs the Debian package espeak-ng"),
    pytest.mark.skipif(
        not fluid.available(), reason="needs the Debian packages fluidsynth, timgm6mb-soundfont"
    ),
]

HYMN = parse_hymn(
    {
        "id": "small",
        "title": "Small",
        "tonic": 0,
        "mode": "major",
        "time": [4, 4],
        "pickup": 0,
        "notes": [[60, 1, 0], [64, 1, 0], [67, 1, 0], [65, 0.5, 0], [64, 0.5, 1], [62, 1, 0], [60, 3, 0]],
        "verses": [
            [["Glo", 1, 1], ["ry", 0, 0], ["now", 0, 0], ["we", 0, 0], ["sing", 0, 1], ["Lord", 0, 0]],
        ],
    }
)


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker("en-us+f3")


def test_phones_fill_their_notes_without_overlap(speaker: Speaker) -> None:
    score = perform(HYMN, 0, bpm=90, transposition=0)
    for line in score.lines:
        for word in line.words:
            slots = schedule(word, speaker.say(word.text))
            notes = [note for syllable in word.syllables for note in syllable.notes]
            assert slots[0].start_s == pytest.approx(notes[0].start_s, abs=FRAME_S / 2)
            assert slots[-1].end_s == pytest.approx(notes[-1].end_s - 0.015, abs=FRAME_S)
            for a, b in pairwise(slots):
                assert a.end_s <= b.start_s + 1e-9
            assert all(round(s.start_s / FRAME_S) * FRAME_S == pytest.approx(s.start_s) for s in slots)


def test_the_voice_sings_the_pitches_of_the_score_at_its_times(speaker: Speaker) -> None:
    score = perform(HYMN, 0, bpm=90, transposition=0)
    singing = sing(score, speaker)
    f0, times = world().dio(singing.samples, RATE, f0_floor=71.0, f0_ceil=800.0)
    f0 = world().stonemask(singing.samples, f0, times, RATE)
    errors = []
    for note in score.notes:
        inside = f0[(times > note.start_s + 0.12) & (times < note.end_s - 0.06) & (f0 > 0)]
        errors.append(1200 * np.log2(np.median(inside) / 440) - 100 * (note.pitch - 69))
    assert np.median(np.abs(errors)) < 5
    assert np.abs(errors).max() < 50
    before = singing.samples[: round((score.notes[0].start_s - 0.02) * RATE)]
    assert np.abs(before).max() < 1e-3 * np.abs(singing.samples).max()


def test_a_played_note_sounds_at_its_time_and_pitch() -> None:
    sound = fluid.play([Play(0.5, 1.5, 0, 0, 69, 90)], 2.0)
    assert len(sound) == 2 * RATE
    quiet = np.abs(sound[: round(0.5 * RATE) - 64]).max()
    assert quiet < 1e-4 * np.abs(sound).max()
    onset = np.flatnonzero(np.abs(sound) > 0.05 * np.abs(sound).max())[0] / RATE
    assert onset == pytest.approx(0.5, abs=0.02)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    spectrum[: 2 * 400] = 0
    assert np.argmax(spectrum[: 2 * 480]) / 2 == pytest.approx(440, abs=1.5)


def test_a_corpus_has_matching_stems_and_continues_where_it_stopped(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(corpus, "hymns", lambda scores: (HYMN,))
    (song,) = corpus.render_corpus(tmp_path, minutes=1)
    import soundfile

    parts = {
        name: soundfile.read(song.folder / f"{name}.flac", dtype="int16")[0]
        for name in ("mix", "voice", "backing")
    }
    assert np.array_equal(parts["mix"], parts["voice"] + parts["backing"])
    facts = song.facts()
    assert len(parts["mix"]) / RATE == pytest.approx(facts["duration_s"])
    assert [line["text"] for line in facts["lines"]] == ["Glory now we", "sing Lord"]
    first = facts["phones"][0]
    assert first[2] == "ɡ"
    assert first[0] == pytest.approx(facts["lines"][0]["start_s"], abs=FRAME_S)
    lyrics = (song.folder / "song.lrc").read_text(encoding="utf-8")
    assert "]Glory now we\n" in lyrics

    def refuse(*_: object) -> None:
        raise AssertionError("a finished song was rendered again")

    monkeypatch.setattr(corpus, "render_song", refuse)
    assert corpus.render_corpus(tmp_path, minutes=1) == [song]
    row = json.loads((tmp_path / "index.jsonl").read_text(encoding="utf-8"))
    assert row["tags"]["voice"] in {"female", "male"}
