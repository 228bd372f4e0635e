"""What a noise search looks for in songs: words that the recogniser hears, a style that the tagger hears.

    words   sum over lines of (log p of the likeliest place of its phones in its slot - log p of the likeliest
            labels there, any at all) / phones of all lines, nats, at most 0
    style   cosine of the wave and the tags that were asked for, in the tagger's space

Both hear the decoded mix. A slot reaches from a line's stamp to the next, 0.25 s wider at either side. The
difference of words says how much must be given up to hear the words asked for, whatever the level of the
recogniser's certainty, and it is finer than counted errors, of which a tile has few.

Source: Witt & Young 2000, doi:10.1016/S0167-6393(99)00044-8, eq. 3 (goodness of pronunciation), here over a
line and without priors of phones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from domains.music.codec import chunked
from domains.music.lrc.fit import align
from domains.music.metrics.words import Sung
from domains.music.recogniser import FRAME_S, SILENCE, Recogniser
from domains.music.tagger import Tagger

__all__ = ["EARS", "Mixes", "Slot", "Style", "Words", "chosen_by", "slots"]

# Verifier: the network that it is, and the metric that a calibration must have found informative.
EARS = {"words": ("recogniser", "per_own"), "style": ("tagger", "style_similarity")}

MARGIN_S = 0.25


@dataclass
class Mixes:
    """Decodes latents (n, stems x C, L) to mixes (n, samples); those just heard are kept for the next ear."""

    codec: Any
    stems: int
    _seen: Tensor | None = field(default=None, init=False)
    _made: Tensor | None = field(default=None, init=False)

    def __call__(self, x: Tensor) -> Tensor:
        if self._made is None or self._seen is not x:
            with torch.no_grad():
                parts = [chunked.decode(self.codec, one.reshape(self.stems, -1, x.shape[-1])) for one in x]
            self._seen, self._made = x, torch.stack([part.flatten(0, 1).sum(0) for part in parts]).cpu()
        return self._made


@dataclass(frozen=True)
class Slot:
    """Where a line belongs: first frame of the recogniser, frame after the last, and its labels."""

    first: int
    end: int
    labels: tuple[int, ...]


def slots(asked: Sung, start_s: float, end_s: float) -> list[Slot]:
    """Slots of the lines that begin in a part of a song, counted from its start.

    A line whose phones do not fit into its slot is left out: nothing could be heard of it.
    """
    ends = [at for at, _ in asked.lines[1:]] + [end_s]
    found = []
    for (at, labels), after in zip(asked.lines, ends, strict=True):
        first = max(at - MARGIN_S, start_s) - start_s
        last = min(max(after, at) + MARGIN_S, end_s) - start_s
        slot = Slot(round(first / FRAME_S), round(last / FRAME_S), labels)
        if start_s <= at < end_s and slot.end - slot.first >= len(labels):
            found.append(slot)
    return found


@dataclass(frozen=True)
class Words:
    """See the module; 0 for all where no line begins."""

    mixes: Mixes
    ear: Recogniser
    slots: Sequence[Slot]
    rate: int

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tensor([self._score(wave) for wave in self.mixes(x)], dtype=torch.float64)

    def _score(self, wave: Tensor) -> float:
        heard = self.ear.hear(wave, self.rate).log_probs
        lost, phones = 0.0, 0
        for slot in self.slots:
            part = heard[slot.first : slot.end]
            if len(part) < len(slot.labels):
                continue
            forced = align(part, slot.labels, silence=SILENCE).total
            lost += forced - float(part.double().amax(1).sum())
            phones += len(slot.labels)
        return lost / max(phones, 1)


@dataclass(frozen=True)
class Style:
    """See the module; `tags` by field."""

    mixes: Mixes
    tagger: Tagger
    tags: dict[str, str]
    rate: int

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            words = self.tagger.tag_vectors(self.tagger.given(self.tags)[None])[0]
            heard = [F.normalize(self.tagger.embed_audio(wave, self.rate), dim=0) for wave in self.mixes(x)]
        return torch.stack([one @ words for one in heard]).double()


def chosen_by(record: Mapping[str, Any], network: str, digest: str) -> bool:
    """Whether the song of a sidecar was chosen by this network, so that it can say nothing about it."""
    search = record.get("search") or {}
    names = {EARS[name][0] for name in search.get("verifiers", ()) if name in EARS}
    return network in names and search.get("networks", {}).get(network) == digest
