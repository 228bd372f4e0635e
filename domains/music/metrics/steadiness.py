"""Whether a song holds together: seams of edits, tempo, key.

    seam      jump of the log-mel spectrum across a border over the median jump of the song; 1 is inaudible
    tempo     standard deviation of the tempo over windows of 10 s, relative to their median
    key       share of the chroma's energy on the seven notes of the song's own key

Source: Krumhansl 1990, Cognitive Foundations of Musical Pitch, table 2.1 (key profiles).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import DataError
from domains.music.frames import RATE
from domains.music.mel import MEL_RATE, at_rate, log_mel
from domains.music.metrics.beats import estimate_tempo, onset_strength

__all__ = ["chroma", "estimate_key", "in_key_share", "seam", "tempo_spread"]

SPAN = 4  # frames on each side of a border, 93 ms
WINDOW, HOP = 4096, 2048
LOWEST_HZ, HIGHEST_HZ = 65.0, 2000.0
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


def seam(samples: Tensor, rate: int, borders_s: Sequence[float]) -> list[float]:
    """Log-spectral jump at each border over the song's median jump.

    A jump is the distance between the mean log-mel spectra of the four frames before and after.

    Raises:
        DataError: a border lies within 0.1 s of the song's ends, or the song is silent.
    """
    mel = log_mel(at_rate(samples, rate)).double()
    means = mel.unfold(1, SPAN, 1).mean(-1)  # of frames k .. k + 3
    jumps = (means[:, SPAN:] - means[:, :-SPAN]).square().mean(0).sqrt()  # across frame k + 4
    usual = float(jumps.median())
    if usual <= 0:
        raise DataError("a seam needs a song that changes; its spectrum is constant.")
    found = []
    for border in borders_s:
        at = round(border * MEL_RATE) - SPAN
        if not 0 <= at < len(jumps):
            raise DataError(f"a border at {border:.2f} s lies at the edge of the song or beyond it.")
        found.append(float(jumps[at]) / usual)
    return found


def tempo_spread(samples: Tensor, rate: int, *, window_s: float = 10.0) -> float:
    """Relative standard deviation of the tempo over windows of 10 s, half overlapped; octaves are folded.

    Raises:
        DataError: the recording is shorter than two windows' hop.
    """
    strength = onset_strength(samples, rate)
    size = round(window_s * MEL_RATE)
    starts = range(0, len(strength) - size + 1, size // 2)
    if len(starts) < 2:
        raise DataError(f"the spread of the tempo needs {1.5 * window_s:.0f} s or more.")
    tempi = np.array([estimate_tempo(strength[start : start + size]) for start in starts])
    median = float(np.median(tempi))
    folded = tempi * 2.0 ** -np.round(np.log2(tempi / median))
    return float(folded.std() / np.median(folded))


def chroma(samples: Tensor, rate: int) -> NDArray[np.float64]:
    """Energy of the twelve pitch classes, (12, T), 10.8 frames a second; each frame sums to 1 or is 0.

    Bins from 65 Hz to 2 kHz are shared between the two nearest semitones of equal temperament at 440 Hz.
    """
    wave = at_rate(samples, rate)
    wave = torch.nn.functional.pad(wave, (0, max(WINDOW - len(wave), 0)))
    shape = torch.hann_window(WINDOW)
    power = torch.stft(wave, WINDOW, HOP, window=shape, return_complex=True).abs().square().double().numpy()
    hz = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    inside = (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
    semitone = 12 * np.log2(hz[inside] / 440.0) + 69
    low = np.floor(semitone).astype(int)
    share = semitone - low
    fold = np.zeros((12, inside.sum()))
    columns = np.arange(len(low))
    np.add.at(fold, (low % 12, columns), 1 - share)
    np.add.at(fold, ((low + 1) % 12, columns), share)
    # The square root keeps one loud partial from speaking for the whole frame.
    energy = fold @ np.sqrt(power[inside])
    total = energy.sum(axis=0)
    return np.where(total > 1e-6, energy / np.maximum(total, 1e-12), 0.0)


def estimate_key(profile: NDArray[np.float64]) -> tuple[int, str]:
    """Tonic (0 to 11) and mode of the mean chroma (12,): the best correlation with 24 rotated profiles."""
    best, found = -math.inf, (0, "major")
    for mode, weights in (("major", MAJOR), ("minor", MINOR)):
        for tonic in range(12):
            score = float(np.corrcoef(profile, np.roll(weights, tonic))[0, 1])
            if score > best:
                best, found = score, (tonic, mode)
    return found


def in_key_share(samples: Tensor, rate: int) -> float:
    """Share of the chroma's energy on the scale of the estimated key; chance is 7 / 12.

    Raises:
        DataError: the recording is silent.
    """
    profile = chroma(samples, rate).sum(axis=1)
    if profile.sum() <= 0 or profile.std() <= 0:
        raise DataError("a key needs sound with pitches.")
    tonic, mode = estimate_key(profile)
    return float(sum(profile[(tonic + step) % 12] for step in SCALES[mode]) / profile.sum())
