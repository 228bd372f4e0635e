"""Whether the words are there and on time, as far as this project's recogniser can hear.

    PER-own   edit distance between heard and asked phones over the phones asked, summed over songs
    timing    median over lines of |onset found by forced alignment - onset asked|, s

PER-own is read against two rows of the same table: real songs of the test split (the floor) and the same
songs against the lyrics of another (the ceiling).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import DataError
from domains.music.lrc.events import Lyrics
from domains.music.lrc.fit import align
from domains.music.metrics.interval import Estimate, ratio, resampled
from domains.music.phones.phonemise import phones_of, words_of
from domains.music.recogniser import SILENCE, Heard, edit_distance, labels_of

__all__ = ["Sung", "deranged", "line_onsets", "per_own", "sung_of_lyrics", "sung_of_song", "timing"]


@dataclass(frozen=True)
class Sung:
    """The words asked for, as lines of (start in seconds, labels of the recogniser)."""

    lines: tuple[tuple[float, tuple[int, ...]], ...]

    @property
    def labels(self) -> list[int]:
        """All labels in order."""
        return [label for _, line in self.lines for label in line]


def sung_of_lyrics(lyrics: Lyrics, language: str = "en") -> Sung:
    """Labels of lyrics with stamps.

    Raises:
        MissingExtra: a word needs espeak-ng, which is absent.
    """
    lines = []
    for line in lyrics.lines:
        phones = [phone for word in words_of(line.text) for phone in phones_of(word, language)]
        lines.append((line.start_s, tuple(labels_of(phones))))
    return Sung(tuple(line for line in lines if line[1]))


def sung_of_song(facts: dict[str, Any]) -> Sung:
    """Labels of a rendered song, from the phones of its song.json."""
    starts = [line["start_s"] for line in facts["lines"]]
    lines: list[list[str]] = [[] for _ in starts]
    for start, _, ipa in facts["phones"]:
        # Phones lie on a grid of 5 ms and may begin 2.5 ms before the stamp of their line.
        at = int(np.searchsorted(starts, start + 0.005, side="right")) - 1
        lines[max(at, 0)].append(ipa)
    pairs = [(start, tuple(labels_of(line))) for start, line in zip(starts, lines, strict=True)]
    return Sung(tuple(pair for pair in pairs if pair[1]))


def per_own(heard: Sequence[Heard], asked: Sequence[Sung], *, seed: int = 0) -> Estimate:
    """Phone error rate over songs, which are resampled for the interval.

    Raises:
        DataError: the numbers of songs differ, or a song has no words.
    """
    if len(heard) != len(asked) or not all(sung.labels for sung in asked):
        raise DataError(f"{len(heard)} recordings need as many lyrics with words, got {len(asked)}.")
    errors = [edit_distance(sung.labels, one.phones()) for one, sung in zip(heard, asked, strict=True)]
    return ratio(errors, [len(sung.labels) for sung in asked], seed=seed)


def deranged(asked: Sequence[Sung], *, seed: int = 0) -> list[Sung]:
    """The lyrics of another song for every song: a random cyclic order, so none keeps its own.

    Raises:
        DataError: there is only one song.
    """
    if len(asked) < 2:
        raise DataError("shuffled lyrics need two songs or more.")
    order = np.random.default_rng(seed).permutation(len(asked))
    out: list[Sung] = list(asked)
    for a, b in zip(order, np.roll(order, 1), strict=True):
        out[int(a)] = asked[int(b)]
    return out


def line_onsets(heard: Heard, asked: Sung) -> list[float]:
    """Onset of every line by forced alignment of all its song's phones, in seconds.

    Raises:
        DataError: there are no phones, or more than frames.
    """
    found = align(heard.log_probs, asked.labels, silence=SILENCE)
    firsts = np.cumsum([0] + [len(line) for _, line in asked.lines])[:-1]
    return [float(found.starts[int(first)]) * heard.frame_s for first in firsts]


def timing(heard: Sequence[Heard], asked: Sequence[Sung], *, seed: int = 0) -> Estimate:
    """Median distance of line onsets from their stamps in seconds; songs are resampled for the interval.

    Songs whose phones do not fit their frames count as if each line were missed by the song's length.
    """
    gaps: list[list[float]] = []
    for one, sung in zip(heard, asked, strict=True):
        try:
            found = line_onsets(one, sung)
        except DataError:
            gaps.append([len(one.log_probs) * one.frame_s] * len(sung.lines))
            continue
        gaps.append([abs(at - start) for at, (start, _) in zip(found, sung.lines, strict=True)])
    return resampled(
        lambda index: float(np.median([gap for i in index for gap in gaps[int(i)]])), len(gaps), seed=seed
    )
