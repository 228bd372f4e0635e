"""Whether a song was copied: the nearest training clip by style and by chords.

    style     largest cosine between the tagger's embeddings of clips, centred on the training mean
    chords    largest correlation of chroma over all time shifts and the twelve transpositions

A song is flagged where either exceeds the threshold, which is the largest value that real test songs reach:
hymns share progressions, so an absolute limit would flag them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Nearest", "chroma_match", "flagged", "nearest"]


@dataclass(frozen=True)
class Nearest:
    """The nearest training song: index and value, by style and by chords."""

    style_index: int
    style: float
    chroma_index: int
    chroma: float


def chroma_match(a: NDArray[np.float64], b: NDArray[np.float64], *, overlap: float = 0.5) -> float:
    """Largest correlation of two chroma sequences (12, T) and (12, S), in [-1, 1].

    Every shift in time is tried that leaves `overlap` of the shorter one shared, with every transposition.
    """
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    least = max(1, round(overlap * min(x.shape[1], y.shape[1])))
    size = x.shape[1] + y.shape[1] - 1
    length = 1 << (size - 1).bit_length()
    spectra = np.fft.rfft(x, length), np.fft.rfft(y, length)
    # Energy of both over the part that each shift shares.
    powers = [np.fft.rfft((part**2).sum(axis=0), length) for part in (x, y)]
    masks = [np.fft.rfft(np.ones(part.shape[1]), length) for part in (x, y)]

    def correlate(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.fft.irfft(first * second.conj(), length)

    shared = correlate(masks[0], masks[1])
    norm = np.sqrt(np.maximum(correlate(powers[0], masks[1]) * correlate(masks[0], powers[1]), 1e-18))
    usable = shared > least - 0.5
    best = -1.0
    for steps in range(12):
        inner = correlate(spectra[0], np.roll(spectra[1], steps, axis=0)).reshape(12, length).sum(axis=0)
        best = max(best, float((inner[usable] / norm[usable]).max()))
    return min(best, 1.0)


def nearest(
    embedding: Tensor,
    chords: NDArray[np.float64],
    others: Tensor,
    their_chords: Sequence[NDArray[np.float64]],
) -> Nearest:
    """Find the training song nearest to one.

    Args:
        embedding: of the song, (d,).
        chords: its chroma, (12, T).
        others: embeddings of the training songs, (n, d).
        their_chords: their chroma.
    """
    mean = others.mean(0)
    a, b = embedding - mean, others - mean
    cosines = (b @ a) / (b.norm(dim=1) * a.norm()).clamp(min=1e-12)
    matches = [chroma_match(chords, one) for one in their_chords]
    style, chord = int(cosines.argmax()), int(np.argmax(matches))
    return Nearest(style, float(cosines[style]), chord, matches[chord])


def flagged(found: Sequence[Nearest], real: Sequence[Nearest]) -> list[bool]:
    """Which songs are nearer to training than every real test song is, by style or by chords."""
    style, chord = max(one.style for one in real), max(one.chroma for one in real)
    return [one.style > style or one.chroma > chord for one in found]
