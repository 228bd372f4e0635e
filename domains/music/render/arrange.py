"""Five accompaniments of the same chords, as notes for a General MIDI synthesiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import unknown
from domains.music.render.harmony import INTERVALS, Chord
from domains.music.render.score import Score

__all__ = ["STYLES", "Play", "arrange"]

DRUMS = 9  # channel of percussion in General MIDI
KICK, SNARE, HAT, CLAP = 36, 38, 42, 39


@dataclass(frozen=True)
class Play:
    """One note of the accompaniment: channel, General MIDI program, pitch, velocity and time in seconds."""

    start_s: float
    end_s: float
    channel: int
    program: int
    pitch: int
    velocity: int


def _near(pitch_class: int, centre: int) -> int:
    """The pitch of a class that lies nearest to a centre."""
    return centre + (pitch_class - centre + 6) % 12 - 6


def _voicing(chord: Chord, centre: int) -> list[int]:
    """The triad close to a centre, low to high."""
    return sorted(_near(pitch_class, centre) for pitch_class in chord.pitch_classes)


def _bass(chord: Chord) -> int:
    return _near(chord.root, 41)


def _fifth(chord: Chord) -> int:
    return _bass(chord) + INTERVALS[chord.quality][2]


def _grid(chord: Chord, step_s: float) -> list[float]:
    """Times inside a chord, one each step."""
    count = max(1, round((chord.end_s - chord.start_s) / step_s))
    return [chord.start_s + i * step_s for i in range(count)]


def _piano(chords: Sequence[Chord], quarter: float) -> list[Play]:
    """Broken chords in eighths over a held bass."""
    plays = []
    for chord in chords:
        plays.append(Play(chord.start_s, chord.end_s, 0, 0, _bass(chord), 66))
        low, middle, high = _voicing(chord, 62)
        for i, at in enumerate(_grid(chord, quarter / 2)):
            pitch = (low, middle, high, middle)[i % 4]
            plays.append(Play(at, at + 0.7 * quarter, 0, 0, pitch, 62 if i % 2 == 0 else 52))
    return plays


def _organ(chords: Sequence[Chord], quarter: float) -> list[Play]:
    """Held chords with a pedal."""
    plays = []
    for chord in chords:
        end = chord.end_s - 0.04 * quarter
        pitches = [_bass(chord), *_voicing(chord, 62), _near(chord.root, 74)]
        plays += [Play(chord.start_s, end, 0, 19, pitch, 70) for pitch in pitches]
    return plays


def _strings(chords: Sequence[Chord], quarter: float) -> list[Play]:
    """Held strings with plucked basses on the beat."""
    plays = []
    for chord in chords:
        plays += [Play(chord.start_s, chord.end_s, 0, 48, pitch, 68) for pitch in _voicing(chord, 65)]
        for i, at in enumerate(_grid(chord, quarter)):
            pitch = _bass(chord) if i % 2 == 0 else _fifth(chord)
            plays.append(Play(at, at + 0.6 * quarter, 1, 45, pitch, 74))
    return plays


def _drums(chord: Chord, quarter: float, bar_beats: int, *, snare: int, first_beat: int) -> list[Play]:
    """Kick on odd beats, snare on even ones, hats in eighths; in three, kick on one and snare after."""
    plays = []
    for i, at in enumerate(_grid(chord, quarter)):
        beat = (first_beat + i) % bar_beats
        hit = KICK if (beat == 0 or (bar_beats % 2 == 0 and beat % 2 == 0)) else snare
        plays.append(Play(at, at + 0.1, DRUMS, 0, hit, 88 if hit == KICK else 70))
        plays += [Play(at + j * quarter / 2, at + j * quarter / 2 + 0.05, DRUMS, 0, HAT, 52) for j in (0, 1)]
    return plays


def _pop(
    chords: Sequence[Chord],
    quarter: float,
    bar_beats: int,
    *,
    lead: int,
    bass: int,
    snare: int,
    pad: int | None,
) -> list[Play]:
    """Chords struck in a steady rhythm over a bass in quarters or eighths, with drums."""
    plays = []
    beat = 0
    for chord in chords:
        plays += _drums(chord, quarter, bar_beats, snare=snare, first_beat=beat)
        step = quarter / 2 if pad is not None else quarter
        for at in _grid(chord, step):
            plays.append(Play(at, at + 0.85 * step, 1, bass, _bass(chord), 78))
        if pad is None:
            for i, at in enumerate(_grid(chord, quarter / 2)):
                if i % 4 == 1:
                    continue
                velocity = 72 if i % 2 == 0 else 58
                # A strum: the strings follow one another by 12 ms.
                for j, pitch in enumerate(_voicing(chord, 60)):
                    plays.append(Play(at + 0.012 * j, at + 0.45 * quarter, 0, lead, pitch, velocity))
        else:
            notes = _voicing(chord, 69)
            for i, at in enumerate(_grid(chord, quarter / 4)):
                plays.append(Play(at, at + 0.2 * quarter, 0, lead, notes[(0, 1, 2, 1)[i % 4]], 58))
            plays += [Play(chord.start_s, chord.end_s, 2, pad, pitch, 54) for pitch in _voicing(chord, 60)]
        beat += len(_grid(chord, quarter))
    return plays


def _guitar_pop(chords: Sequence[Chord], quarter: float, bar_beats: int) -> list[Play]:
    return _pop(chords, quarter, bar_beats, lead=25, bass=33, snare=SNARE, pad=None)


def _synth_pop(chords: Sequence[Chord], quarter: float, bar_beats: int) -> list[Play]:
    return _pop(chords, quarter, bar_beats, lead=81, bass=38, snare=CLAP, pad=89)


STYLES: dict[str, Callable[[Sequence[Chord], float, int], list[Play]]] = {
    "piano": lambda chords, quarter, _: _piano(chords, quarter),
    "organ": lambda chords, quarter, _: _organ(chords, quarter),
    "strings": lambda chords, quarter, _: _strings(chords, quarter),
    "guitar-pop": _guitar_pop,
    "synth-pop": _synth_pop,
}


def arrange(score: Score, chords: Sequence[Chord], style: str) -> list[Play]:
    """Write the accompaniment of a score.

    Args:
        score: gives tempo and metre.
        chords: cover the piece without gaps.
        style: a name of `STYLES`.

    Returns:
        Notes by start time. Louder in the middle of a phrase of four bars than at its ends, by 15 % of
        velocity.

    Raises:
        ConfigError: no such style.
    """
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    quarter = 60.0 / score.bpm
    bar_s = score.bars[1] - score.bars[0]
    plays = STYLES[style](chords, quarter, round(bar_s / quarter))
    out = []
    for play in plays:
        phase = play.start_s / (4 * bar_s) % 1.0
        swell = 0.9 + 0.15 * (1 - abs(2 * phase - 1))
        velocity = max(1, min(127, round(play.velocity * swell)))
        out.append(Play(play.start_s, play.end_s, play.channel, play.program, play.pitch, velocity))
    return sorted(out, key=lambda play: (play.start_s, play.channel, play.pitch))
