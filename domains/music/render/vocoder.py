"""The singer: words spoken once are stretched to the notes of a score and re-pitched by WORLD.

Consonants keep their natural length, at most half a note; vowels fill the rest: their attack and release keep
their pace and the middle is stretched. Every boundary lies on the 5 ms grid of the vocoder, so the phone
times returned are those of the synthesis. The pitch of a frame is the note's, smoothed over 13 frames (65 ms)
in log frequency, with a vibrato of 5.3 Hz and 25 cents from 0.25 s into a note.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.music.phones.espeak import Phone
from domains.music.render.score import Note, Score, Word
from domains.music.render.speech import FRAME_S, RATE, Speaker, Unit, is_vowel, split, world

__all__ = ["Singing", "pitch_curve", "schedule", "sing", "source_times"]

GAP_S = 0.015  # silence before the next note of another syllable
SMOOTHING = 13  # frames
VIBRATO_HZ, VIBRATO_CENTS, VIBRATO_AFTER_S = 5.3, 25.0, 0.25
SHORTEST_S = 0.04  # a final consonant of the library can last 5 ms; no phone aims for less than this
_EDGE = 0.4  # share of a vowel at each end that keeps its pace
_SILENCE = 1e-16  # power of a silent frame


@dataclass(frozen=True)
class Singing:
    """A sung part: samples (T,) float64 at 22,050 a second, and the phones in time."""

    samples: NDArray[np.float64]
    phones: tuple[Phone, ...]


@dataclass(frozen=True)
class Slot:
    """A phone with its place in the song and in the spoken word, in seconds."""

    ipa: str
    start_s: float
    end_s: float
    spoken_start_s: float
    spoken_end_s: float


def sing(score: Score, speaker: Speaker, *, vibrato: bool = True) -> Singing:
    """Sing every word of a score.

    Args:
        score: what to sing.
        speaker: the voice.
        vibrato: whether long notes waver.

    Raises:
        MissingExtra: espeak-ng or pyworld is absent.
    """
    frames = round(score.duration_s / FRAME_S) + 1
    spectrum: NDArray[np.float64] | None = None
    aperiodicity: NDArray[np.float64] | None = None
    voiced = np.zeros(frames, dtype=bool)
    phones: list[Phone] = []
    for line in score.lines:
        for word in line.words:
            unit = speaker.say(word.text)
            if not unit.phones:
                continue
            if spectrum is None or aperiodicity is None:
                bins = unit.spectrum.shape[1]
                spectrum = np.full((frames, bins), _SILENCE)
                aperiodicity = np.ones((frames, bins))
            for slot in schedule(word, unit):
                where, picked = _frames_of(slot, unit, frames)
                spectrum[where] = unit.spectrum[picked] + _SILENCE
                aperiodicity[where] = unit.aperiodicity[picked]
                voiced[where] = unit.voiced[picked]
                phones.append(Phone(slot.ipa, slot.start_s, slot.end_s))
    if spectrum is None or aperiodicity is None:
        return Singing(np.zeros(round(score.duration_s * RATE)), ())
    f0 = np.where(voiced, pitch_curve(score.notes, frames, vibrato=vibrato), 0.0)
    samples = world().synthesize(f0, spectrum, aperiodicity, RATE, 1000 * FRAME_S)
    length = round(score.duration_s * RATE)
    return Singing(np.pad(samples, (0, max(0, length - len(samples))))[:length], tuple(phones))


def schedule(word: Word, unit: Unit) -> list[Slot]:
    """Give each phone of a word its time in the song.

    Returns:
        Slots in order, on the grid of 5 ms, each at least one frame long. They fill each syllable from the
        start of its first note to 15 ms before the end of its last.
    """
    groups = split([phone.ipa for phone in unit.phones], len(word.syllables))
    owners: list[tuple[list[int], list[Note]]] = []
    for group, syllable in zip(groups, word.syllables, strict=True):
        if group or not owners:
            owners.append((group, list(syllable.notes)))
        else:
            owners[-1][1].extend(syllable.notes)
    slots: list[Slot] = []
    for group, notes in owners:
        slots += _fit([unit.phones[i] for i in group], notes)
    return slots


def _fit(phones: Sequence[Phone], notes: Sequence[Note]) -> list[Slot]:
    """Fit the phones of one syllable to its notes."""
    start = round(notes[0].start_s / FRAME_S)
    end = max(start + len(phones), round((notes[-1].end_s - GAP_S) / FRAME_S))
    vowels = np.array([is_vowel(phone.ipa) for phone in phones])
    natural = np.array([max(phone.end_s - phone.start_s, SHORTEST_S) / FRAME_S for phone in phones])
    room = float(end - start)
    if not vowels.any():
        lengths = natural * min(1.0, room / natural.sum())
    else:
        first, last = int(np.flatnonzero(vowels)[0]), int(np.flatnonzero(vowels)[-1])
        lengths = natural.copy()
        onset, coda = slice(0, first), slice(last + 1, len(phones))
        for part, note in ((onset, notes[0]), (coda, notes[-1])):
            # With one note the onset and the coda share its half; with several each has half of its own.
            shared = len(notes) == 1 and first > 0 and coda.start < coda.stop
            most = note.duration_s / FRAME_S / (4 if shared else 2)
            total = lengths[part].sum()
            if total > most:
                lengths[part] *= most / total
        inside = slice(first, last + 1)
        middle = max(room - lengths[onset].sum() - lengths[coda].sum(), 1.0)
        lengths[inside] *= middle / lengths[inside].sum()
    edges = start + np.round(np.concatenate([[0.0], np.cumsum(lengths)])).astype(int)
    for i in range(len(phones)):
        edges[i + 1] = max(edges[i + 1], edges[i] + 1)
    return [
        Slot(phone.ipa, a * FRAME_S, b * FRAME_S, phone.start_s, phone.end_s)
        for phone, a, b in zip(phones, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def source_times(at: NDArray[np.float64], length: float, natural: float) -> NDArray[np.float64]:
    """Map times inside a sung phone to times inside the spoken one.

    Args:
        at: times since the start of the sung phone, in [0, length].
        length: duration of the sung phone.
        natural: duration of the spoken phone.

    Returns:
        Times in [0, natural]. A phone not longer than spoken is squeezed evenly; a longer one keeps the pace
        of its first and last 40 % and stretches the middle.
    """
    if length <= natural:
        return at * (natural / length)
    edge = _EDGE * natural
    return np.interp(at, [0.0, edge, length - edge, length], [0.0, edge, natural - edge, natural])


def _frames_of(slot: Slot, unit: Unit, frames: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Frames of the song that a slot fills, and the spoken frame for each; vowels use voiced frames alone."""
    first, last = round(slot.start_s / FRAME_S), round(slot.end_s / FRAME_S)
    where = np.arange(first, min(last, frames))
    at = np.asarray((where - first + 0.5) * FRAME_S, np.float64)
    begin, end = slot.spoken_start_s, slot.spoken_end_s
    if is_vowel(slot.ipa):
        begin, end = _voiced_part(unit.voiced, begin, end)
    natural = max(end - begin, FRAME_S)
    spoken = begin + source_times(at, slot.end_s - slot.start_s, natural)
    picked = np.clip((spoken / FRAME_S).astype(int), 0, len(unit.voiced) - 1)
    if is_vowel(slot.ipa) and unit.voiced.any():
        voiced = np.flatnonzero(unit.voiced)
        picked = voiced[np.abs(voiced[None, :] - picked[:, None]).argmin(axis=1)]
    return where, picked


def _voiced_part(voiced: NDArray[np.bool_], begin: float, end: float) -> tuple[float, float]:
    """The part of a spoken phone from its first to its last voiced frame; all of it when none is voiced."""
    first, last = round(begin / FRAME_S), round(end / FRAME_S)
    inside = np.flatnonzero(voiced[first:last])
    if not len(inside):
        return begin, end
    return (first + int(inside[0])) * FRAME_S, (first + int(inside[-1]) + 1) * FRAME_S


def pitch_curve(notes: Sequence[Note], frames: int, *, vibrato: bool = True) -> NDArray[np.float64]:
    """Fundamental frequency of every frame in Hz; rests carry the pitch of the note before them."""
    cents = np.zeros(frames)
    waver = np.zeros(frames)
    now = np.arange(frames) * FRAME_S
    cents[:] = 100.0 * notes[0].pitch
    for note in notes:
        cents[now >= note.start_s - 1e-9] = 100.0 * note.pitch
        inside = (now >= note.start_s + VIBRATO_AFTER_S) & (now < note.end_s)
        since = now[inside] - note.start_s - VIBRATO_AFTER_S
        swell = np.minimum(since / 0.2, 1.0)
        waver[inside] = VIBRATO_CENTS * swell * np.sin(2 * np.pi * VIBRATO_HZ * since)
    half = SMOOTHING // 2
    smooth = np.convolve(np.pad(cents, half, mode="edge"), np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
    if vibrato:
        smooth = smooth + waver
    return 440.0 * 2.0 ** ((smooth - 6900.0) / 1200.0)
