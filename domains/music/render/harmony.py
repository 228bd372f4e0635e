"""Chords under a melody: the best path through the seven triads of the key.

Each span of the melody scores a triad by the time its notes agree with it; moving from one triad to the next
scores by how common the step is. The Viterbi algorithm (Viterbi 1967, doi:10.1109/TIT.1967.1054010) finds the
path with the highest sum; the piece starts and ends on the tonic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.music.render.score import Note, Score

__all__ = ["Chord", "harmonise", "overlap_scores", "spans", "step_scores", "viterbi"]

# Triads of the major and the harmonic minor scale as (semitones of the root above the tonic, quality).
TRIADS = {
    "major": ((0, "maj"), (2, "min"), (4, "min"), (5, "maj"), (7, "maj"), (9, "min"), (11, "dim")),
    "minor": ((0, "min"), (2, "dim"), (3, "maj"), (5, "min"), (7, "maj"), (8, "maj"), (10, "maj")),
}
INTERVALS = {"maj": (0, 4, 7), "min": (0, 3, 7), "dim": (0, 3, 6)}
# Prior taste for a triad by degree, and for the step between degrees (fifth down best), in units of one beat.
_DEGREE = np.array([0.3, 0.0, -0.3, 0.2, 0.25, 0.05, -0.8])
_STEP = {0: 0.0, 3: 0.25, 4: 0.15, 1: 0.1, 6: -0.05, 5: 0.05, 2: -0.15}


@dataclass(frozen=True)
class Chord:
    """A triad in time: root pitch class, quality ("maj", "min", "dim"), start and end in seconds."""

    root: int
    quality: str
    start_s: float
    end_s: float

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + step) % 12 for step in INTERVALS[self.quality])


def spans(score: Score) -> list[tuple[float, float]]:
    """Times that may have a chord of their own: half bars when a bar has four quarters, else bars."""
    quarter = 60.0 / score.bpm
    out = []
    for start, end in zip(score.bars, score.bars[1:], strict=False):
        if round((end - start) / quarter) == 4:
            middle = (start + end) / 2
            out += [(start, middle), (middle, end)]
        else:
            out.append((start, end))
    return out


def overlap_scores(
    notes: Sequence[Note], times: Sequence[tuple[float, float]], *, tonic: int, mode: str, bpm: float
) -> NDArray[np.float64]:
    """Beats of melody inside each triad minus half the beats outside, plus a prior; (spans, 7)."""
    out = np.tile(_DEGREE, (len(times), 1))
    for i, (start, end) in enumerate(times):
        for note in notes:
            shared = (min(end, note.end_s) - max(start, note.start_s)) * bpm / 60
            if shared <= 0:
                continue
            for j, (root, quality) in enumerate(TRIADS[mode]):
                inside = (note.pitch - tonic - root) % 12 in INTERVALS[quality]
                out[i, j] += shared if inside else -0.5 * shared
    return out


def step_scores() -> NDArray[np.float64]:
    """Taste for the step from one degree to another, (7, 7)."""
    return np.array([[_STEP[(b - a) % 7] for b in range(7)] for a in range(7)])


def viterbi(
    scores: NDArray[np.float64], steps: NDArray[np.float64], *, first: int, last: int
) -> tuple[list[int], float]:
    """Find the path of states with the highest sum of scores and steps, with both ends fixed.

    Args:
        scores: score of each state at each time, (T, S).
        steps: score of moving from state a to state b, (S, S).
        first: state at the first time.
        last: state at the last time.

    Returns:
        The path, T states, and its sum.
    """
    best = np.full(scores.shape[1], -np.inf)
    best[first] = scores[0, first]
    back = np.zeros(scores.shape, dtype=int)
    for i in range(1, len(scores)):
        reach = best[:, None] + steps
        back[i] = reach.argmax(axis=0)
        best = reach.max(axis=0) + scores[i]
    path = [last]
    for i in range(len(scores) - 1, 0, -1):
        path.append(int(back[i, path[-1]]))
    return path[::-1], float(best[last])


def harmonise(score: Score) -> list[Chord]:
    """Choose a triad for every bar or half bar; the tonic opens and closes."""
    times = spans(score)
    scores = overlap_scores(score.notes, times, tonic=score.tonic, mode=score.mode, bpm=score.bpm)
    path, _ = viterbi(scores, step_scores(), first=0, last=0)
    chords: list[Chord] = []
    for degree, (start, end) in zip(path, times, strict=True):
        root, quality = TRIADS[score.mode][degree]
        chords.append(Chord((score.tonic + root) % 12, quality, start, end))
    return chords
