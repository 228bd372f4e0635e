"""Words as WORLD frames: spoken once for each voice, analysed, and split into syllables.

Source: Morise, Yokomori & Ozawa 2016 (WORLD), doi:10.1587/transinf.2015EDP7457.
"""

import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from core.extras import require
from domains.music.phones import espeak

__all__ = ["FRAME_S", "Speaker", "Unit", "is_vowel", "split", "world"]

FRAME_S = 0.005  # time between frames of analysis and synthesis
RATE = espeak.RATE
_VOWEL = re.compile("[aeiouyæɐɑɒɔəɚɛɜɝɪɨʉʊʌøœɯɤᵻ]|[lmn]̩")
# Clusters of consonants that begin an English syllable; the rest splits before its last consonant.
_ONSET_SECOND = {"l", "ɹ", "w", "j"}
_ONSET_FIRST = {"p", "b", "t", "d", "k", "ɡ", "f", "θ", "ʃ", "s", "v"}


@cache
def world() -> ModuleType:
    """Import pyworld, which asks setuptools for its version and is warned about it.

    Raises:
        MissingExtra: pyworld is absent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return require("pyworld", extra="render")


@dataclass(frozen=True)
class Unit:
    """A spoken word as frames of WORLD, 5 ms apart.

    Attributes:
        phones: IPA phones with start and end in seconds.
        voiced: (T,) bool.
        spectrum: spectral envelope (power), (T, bins) float32.
        aperiodicity: (T, bins) float32 in [0, 1].
    """

    phones: tuple[espeak.Phone, ...]
    voiced: NDArray[np.bool_]
    spectrum: NDArray[np.float32]
    aperiodicity: NDArray[np.float32]


class Speaker:
    """One voice with a cache of the words it has spoken."""

    def __init__(self, voice: str, *, capacity: int = 300) -> None:
        self.voice = voice
        self._capacity = capacity
        self._units: OrderedDict[str, Unit] = OrderedDict()

    def say(self, word: str) -> Unit:
        """Speak and analyse a word.

        Raises:
            MissingExtra: espeak-ng or pyworld is absent.
        """
        if word in self._units:
            self._units.move_to_end(word)
            return self._units[word]
        speech = espeak.speak(word, self.voice)
        unit = analyse(speech)
        self._units[word] = unit
        if len(self._units) > self._capacity:
            self._units.popitem(last=False)
        return unit


def analyse(speech: espeak.Speech) -> Unit:
    """Run WORLD's analysis: dio, stonemask, cheaptrick, d4c."""
    pyworld = world()
    wave = speech.samples.astype(np.float64)
    f0, times = pyworld.dio(wave, RATE, f0_floor=71.0, f0_ceil=500.0, frame_period=1000 * FRAME_S)
    f0 = pyworld.stonemask(wave, f0, times, RATE)
    spectrum = pyworld.cheaptrick(wave, f0, times, RATE)
    # The threshold of 0 turns off the second opinion on voicing, which calls a closed vowel of a high voice
    # noise.
    aperiodicity = pyworld.d4c(wave, f0, times, RATE, threshold=0.0)
    return Unit(speech.phones, f0 > 0, spectrum.astype(np.float32), aperiodicity.astype(np.float32))


def is_vowel(ipa: str) -> bool:
    """Whether a phone can carry a syllable."""
    return bool(_VOWEL.search(ipa))


def split(phones: Sequence[str], syllables: int) -> list[list[int]]:
    """Share the phones of a word among its sung syllables.

    Each vowel is a nucleus. With more vowels than syllables, vowels that touch are merged first, then the
    last ones; with fewer, the last syllables get no phones and their notes go to the syllable before. A lone
    consonant between vowels opens the next syllable, and so does a cluster that can begin an English word.

    Args:
        phones: IPA phones of the word.
        syllables: number of sung syllables, at least 1.

    Returns:
        Indices of phones for each syllable, in order; some lists at the end may be empty.
    """
    nuclei = [[i] for i, phone in enumerate(phones) if is_vowel(phone)]
    while len(nuclei) > syllables:
        gaps = [nuclei[i + 1][0] - nuclei[i][-1] for i in range(len(nuclei) - 1)]
        smallest = min(gaps)
        at = len(gaps) - 1 - gaps[::-1].index(smallest)
        nuclei[at : at + 2] = [nuclei[at] + nuclei[at + 1]]
    if not nuclei:
        return [list(range(len(phones)))] + [[] for _ in range(syllables - 1)]
    cuts = [0]
    for left, right in pairwise(nuclei):
        between = list(range(left[-1] + 1, right[0]))
        cuts.append(right[0] - _onset_length([phones[i] for i in between]))
    cuts.append(len(phones))
    groups = [list(range(a, b)) for a, b in pairwise(cuts)]
    return groups + [[] for _ in range(syllables - len(groups))]


def _onset_length(cluster: Sequence[str]) -> int:
    """How many consonants of a cluster between vowels open the next syllable."""
    if len(cluster) < 2:
        return len(cluster)
    if cluster[-1] in _ONSET_SECOND and cluster[-2] in _ONSET_FIRST:
        return 3 if len(cluster) > 2 and cluster[-3] == "s" and cluster[-2] in {"p", "t", "k"} else 2
    if cluster[-2] == "s" and cluster[-1] in {"p", "t", "k", "m", "n"}:
        return 2
    return 1
