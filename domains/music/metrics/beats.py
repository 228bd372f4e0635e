"""Beats and tempo: found in a recording, and compared with reference beats.

Onset strength is the rise of the log-mel bands; the tempo is the lag of its autocorrelation that is highest
under a log-normal preference for 100 bpm (one octave wide); beats follow by dynamic programming, which trades
strength against steadiness.

Sources: Ellis 2007 (beats by dynamic programming), doi:10.1080/09298210701653344; Davies et al. 2009 (F
measure at 70 ms), C4DM-TR-09-06; Zhu et al. 2022, arXiv:2204.00604 (coverage and hit over bins of a second).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domains.music.mel import MEL_RATE, at_rate, log_mel
from domains.music.metrics.interval import Estimate, bootstrap

__all__ = [
    "BeatScores",
    "beat_f",
    "beat_rows",
    "beat_scores",
    "estimate_tempo",
    "onset_strength",
    "track_beats",
]

PREFERRED_BPM, OCTAVES = 100.0, 1.0
SLOWEST_BPM, FASTEST_BPM = 40.0, 220.0
STEADINESS = 100.0


@dataclass(frozen=True)
class BeatScores:
    """Beats against reference beats.

    Attributes:
        coverage: seconds with a found beat over seconds with a reference beat; 1 is best, more is possible.
        hit: share of the seconds with a reference beat that have a found one.
        f: F measure with a tolerance of 70 ms.
    """

    coverage: float
    hit: float
    f: float


def onset_strength(samples: Tensor, rate: int) -> NDArray[np.float64]:
    """Mean rise of the mel bands from frame to frame, 43 a second, with its mean removed and deviation 1."""
    mel = log_mel(at_rate(samples, rate)).numpy().astype(np.float64)
    rise = np.maximum(np.diff(mel, axis=1, prepend=mel[:, :1]), 0).mean(axis=0)
    return (rise - rise.mean()) / max(float(rise.std()), 1e-9)


def estimate_tempo(strength: NDArray[np.float64], *, frame_rate: float = MEL_RATE) -> float:
    """Tempo in bpm of an onset strength; the peak of the autocorrelation is refined by a parabola."""
    n = len(strength)
    spectrum = np.abs(np.fft.rfft(strength, 2 * n)) ** 2
    auto = np.fft.irfft(spectrum)[:n] / np.arange(n, 0, -1)
    lags = np.arange(1, n)
    bpm = 60 * frame_rate / lags
    prefer = np.exp(-0.5 * (np.log2(bpm / PREFERRED_BPM) / OCTAVES) ** 2)
    allowed = (bpm >= SLOWEST_BPM) & (bpm <= FASTEST_BPM) & (lags < n - 1)
    if not allowed.any():
        return PREFERRED_BPM
    best = int(lags[np.where(allowed, auto[1:] * prefer, -np.inf).argmax()])
    left, middle, right = auto[best - 1], auto[best], auto[best + 1]
    curve = left - 2 * middle + right
    shift = 0.5 * (left - right) / curve if curve < 0 else 0.0
    return float(60 * frame_rate / (best + min(max(shift, -0.5), 0.5)))


def track_beats(samples: Tensor, rate: int, *, bpm: float | None = None) -> NDArray[np.float64]:
    """Times of the beats in seconds.

    Args:
        samples: (channels, T) or (T,).
        rate: samples a second.
        bpm: the tempo where it is known.
    """
    strength = onset_strength(samples, rate)
    period = 60 * MEL_RATE / (bpm or estimate_tempo(strength))
    n = len(strength)
    reach = np.arange(max(1, round(period / 2)), round(2 * period) + 1)
    cost = -STEADINESS * np.log(reach / period) ** 2
    score, back = strength.copy(), np.full(n, -1)
    for i in range(int(reach[0]), n):
        before = i - reach
        usable = before >= 0
        values = score[before[usable]] + cost[usable]
        best = int(values.argmax())
        if values[best] > 0:
            score[i] += values[best]
            back[i] = before[usable][best]
    if n == 0:
        return np.zeros(0)
    at = n - 1 - int(np.argmax(score[::-1][: max(1, round(period))]))
    beats = [at]
    while back[beats[-1]] >= 0:
        beats.append(int(back[beats[-1]]))
    return np.array(beats[::-1]) / MEL_RATE


def beat_scores(found: NDArray[np.float64], reference: NDArray[np.float64]) -> BeatScores:
    """Coverage and hit over bins of one second, and F at 70 ms."""
    seconds = {math.floor(beat) for beat in found.tolist()}
    wanted = {math.floor(beat) for beat in reference.tolist()}
    if not wanted:
        return BeatScores(0.0, 0.0, 0.0)
    return BeatScores(
        len(seconds) / len(wanted), len(seconds & wanted) / len(wanted), beat_f(found, reference)
    )


def beat_f(found: NDArray[np.float64], reference: NDArray[np.float64], *, tolerance_s: float = 0.07) -> float:
    """2 matched / (found + reference), each beat matched once, within the tolerance."""
    if not len(found) or not len(reference):
        return 0.0
    a, b = np.sort(found), np.sort(reference)
    i = j = matched = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance_s + 1e-9:
            matched, i, j = matched + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return 2 * matched / (len(a) + len(b))


def beat_rows(
    found: Sequence[NDArray[np.float64]], reference: Sequence[NDArray[np.float64]], *, seed: int = 0
) -> dict[str, Estimate]:
    """Coverage, hit and F of several songs, which are resampled for the intervals.

    Coverage is capped at both sides of 1: c and 1 / c count alike, so that beats in excess are no merit.
    """
    scores = [beat_scores(a, b) for a, b in zip(found, reference, strict=True)]
    coverage = [min(one.coverage, 1 / one.coverage) if one.coverage else 0.0 for one in scores]
    return {
        "beat_coverage": bootstrap(coverage, seed=seed),
        "beat_hit": bootstrap([one.hit for one in scores], seed=seed),
        "beat_f": bootstrap([one.f for one in scores], seed=seed),
    }
