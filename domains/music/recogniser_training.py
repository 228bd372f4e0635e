"""Training of the recogniser on rendered songs, whose phone times are exact.

    loss = cross-entropy of the frames' labels, consonants counted three times, + 0.3 CTC / phones

A consonant fills few frames and counts as much as a long vowel in the phone error rate, hence its weight.

A sample is a crop whose mix is made anew: the voice, its own accompaniment or another song's, at a drawn
balance, and noise. The spectrogram is then changed as recordings and codecs change it: a tilt and a shift
along frequency (another vocal tract), a blur and noise of its levels (a codec), bands and frames left out.

Sources: Graves et al. 2006, doi:10.1145/1143844.1143891; Park et al. 2019 (SpecAugment), arXiv:1904.08779;
Jaitly & Hinton 2013 (vocal tract length perturbation).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import DataError
from core.extras import require
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source
from core.train.checkpoint import Checkpoint
from core.train.samples import Batch
from domains.music.frames import RATE
from domains.music.judge_training import fit_judge
from domains.music.mel import BANDS, STEP, blurred, log_mel
from domains.music.recogniser import LABELS, SILENCE, Recogniser, RecogniserConfig, label_of
from domains.music.render.corpus import Song, read_index

__all__ = [
    "Augment",
    "RecogniserTraining",
    "Recording",
    "augmented",
    "frame_labels",
    "read_recordings",
    "train_recogniser",
]

SCALE = 32767.0
MOST_PHONES = 120  # in one crop
FIRST_CONSONANT = LABELS.index("p")


@dataclass(frozen=True)
class Recording:
    """A rendered song in memory.

    Attributes:
        voice, backing: (T,) int16.
        phones: (start s, end s, label) in order.
        tags: one tag per field of style.
    """

    voice: Tensor
    backing: Tensor
    phones: tuple[tuple[float, float, int], ...]
    tags: dict[str, str] = field(default_factory=dict)


def read_recordings(corpus: Path, split: str, *, limit: int | None = None) -> list[Recording]:
    """Read the songs of one split, in the order of the index.

    Raises:
        DataError: the folder is no corpus, or the split has no song.
    """
    songs = [song for song in read_index(corpus) if song.split == split][:limit]
    if not songs:
        raise DataError(f"{corpus} has no song of the split '{split}'.", hint="Render more minutes.")
    return [_read(song) for song in songs]


def _read(song: Song) -> Recording:
    soundfile = require("soundfile", extra="music")
    voice, backing = (
        torch.from_numpy(soundfile.read(song.folder / f"{stem}.flac", dtype="int16")[0])
        for stem in ("voice", "backing")
    )
    phones = [(start, end, label_of(ipa)) for start, end, ipa in song.facts()["phones"]]
    known = tuple((start, end, label) for start, end, label in phones if label is not None)
    return Recording(voice, backing, known, dict(song.tags))


def frame_labels(
    phones: Sequence[tuple[float, float, int]], start_s: float, frames: int
) -> tuple[Tensor, list[int]]:
    """Labels of the frames of a crop, (frames,) int64, and the phones that own one, in order.

    Frame k stands for the time start + k 512 / 22050 s. Two equal phones in a row are two phones.
    """
    labels = torch.full((frames,), SILENCE)
    present: list[int] = []
    for begin, end, label in phones:
        first, last = (math.ceil((at - start_s) * RATE / STEP - 1e-6) for at in (begin, end))
        first, last = max(first, 0), min(last, frames)
        if last > first:
            labels[first:last] = label
            present.append(label)
    return labels, present


@dataclass(frozen=True)
class Augment:
    """How strongly a sample is changed; probabilities, and ranges that draws are uniform in.

    Attributes:
        backing_db: gain of the accompaniment relative to the corpus.
        other_backing, no_backing: shares of samples with another song's accompaniment, and with none.
        noise: share with white noise 15 to 50 dB below the mix.
        tilt: slope of the log power from the lowest to the highest band, at most, nats.
        shift: largest relative change of frequency.
        blur, rough: largest weight of the neighbouring frames, and deviation of the level noise, nats.
        holes: probability of leaving out up to 8 bands, and of up to 10 frames.
    """

    backing_db: tuple[float, float] = (-12.0, 4.0)
    other_backing: float = 0.3
    no_backing: float = 0.1
    noise: float = 0.4
    tilt: float = 1.5
    shift: float = 0.08
    blur: float = 0.5
    rough: float = 0.5
    holes: float = 0.4


@dataclass(frozen=True)
class RecogniserTraining:
    """How a recogniser is trained; a crop has `frames` frames of 23 ms."""

    steps: int = 900
    batch: int = 16
    lr: float = 2e-3
    frames: int = 256
    ctc: float = 0.3
    consonants: float = 3.0
    ema: float = 0.99
    augment: Augment = Augment()


def augmented(mel: Tensor, settings: Augment, gen: torch.Generator) -> Tensor:
    """A spectrogram (64, T) changed as recordings and codecs change it; the same shape."""
    slope = settings.tilt * (2 * _unit(gen) - 1)
    mel = mel + slope * torch.linspace(-0.5, 0.5, BANDS)[:, None]
    mel = _shifted(mel, 1 + settings.shift * (2 * _unit(gen) - 1))
    if _unit(gen) < 0.5:
        weight = settings.blur * _unit(gen)
        mel = blurred(mel, torch.tensor([weight, 1.0, weight]) / (1 + 2 * weight))
    level = settings.rough * _unit(gen) ** 2
    mel = mel + level * torch.randn(mel.shape, generator=gen)
    for size, most, axis in ((BANDS, 8, 0), (mel.shape[1], 10, 1)):
        if _unit(gen) < settings.holes:
            width = 1 + int(most * _unit(gen))
            at = int((size - width) * _unit(gen))
            mel = mel.clone()
            mel.narrow(axis, at, width).fill_(float(mel.mean()))
    return mel


def _shifted(mel: Tensor, factor: float) -> Tensor:
    """Bands read at `factor` times their number, between neighbours; the edges repeat."""
    at = (torch.arange(BANDS) * factor).clamp(max=BANDS - 1)
    low = at.floor().long()
    share = (at - low)[:, None]
    return mel[low] * (1 - share) + mel[(low + 1).clamp(max=BANDS - 1)] * share


@dataclass(frozen=True)
class Crops:
    """Draws samples for `core.train.Drawn`."""

    songs: Sequence[Recording]
    settings: RecogniserTraining

    def __call__(self, gen: torch.Generator) -> Batch:
        """A spectrogram (64, frames), its frames' labels, and its phones padded with silence."""
        chosen = self.settings
        song = self._song(gen)
        samples = (chosen.frames - 1) * STEP
        start = int(_unit(gen) * max(len(song.voice) - samples, 1))
        wave = _cut(song.voice, start, samples) + self._backing(song, start, samples, gen)
        if _unit(gen) < chosen.augment.noise:
            down = 10 ** (-(15 + 35 * _unit(gen)) / 20)
            wave = wave + down * wave.square().mean().sqrt() * torch.randn(samples, generator=gen)
        wave = wave * 10 ** (-12 * _unit(gen) / 20)
        mel = augmented(log_mel(wave), chosen.augment, gen).clamp(min=-14.0)
        labels, present = frame_labels(song.phones, start / RATE, chosen.frames)
        targets = torch.zeros(MOST_PHONES, dtype=torch.int64)
        present = present[:MOST_PHONES]
        targets[: len(present)] = torch.tensor(present, dtype=torch.int64)
        return Batch(mel, {"labels": labels, "phones": targets, "count": torch.tensor(len(present))})

    def _song(self, gen: torch.Generator) -> Recording:
        lengths = torch.tensor([float(len(song.voice)) for song in self.songs])
        return self.songs[int(torch.multinomial(lengths, 1, generator=gen))]

    def _backing(self, song: Recording, start: int, samples: int, gen: torch.Generator) -> Tensor:
        augment = self.settings.augment
        u = _unit(gen)
        low, high = augment.backing_db
        gain = 10 ** ((low + (high - low) * _unit(gen)) / 20)
        if u < augment.no_backing:
            return torch.zeros(samples)
        if u < augment.no_backing + augment.other_backing:
            other = self._song(gen)
            at = int(_unit(gen) * max(len(other.backing) - samples, 1))
            return gain * _cut(other.backing, at, samples)
        return gain * _cut(song.backing, start, samples)


def _cut(wave: Tensor, start: int, samples: int) -> Tensor:
    """Samples of a wave as float32, silence beyond its end."""
    piece = wave[start : start + samples].float() / SCALE
    return F.pad(piece, (0, samples - len(piece)))


def _unit(gen: torch.Generator) -> float:
    return float(torch.rand((), generator=gen))


@dataclass(frozen=True)
class PhoneLoss:
    """Weighted mean cross-entropy of the frames plus weighted CTC a phone, (B,)."""

    ctc: float
    consonants: float = 3.0

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        logits = denoiser(batch.x0)
        cond = batch.cond
        weights = 1 + (self.consonants - 1) * (cond["labels"] >= FIRST_CONSONANT).to(logits.dtype)
        each = F.cross_entropy(logits.transpose(1, 2), cond["labels"], reduction="none")
        frames = (weights * each).sum(1) / weights.sum(1)
        if not self.ctc:
            return frames
        length = torch.full((len(logits),), logits.shape[1])
        whole = F.ctc_loss(
            torch.log_softmax(logits, -1).transpose(0, 1),
            cond["phones"],
            length,
            cond["count"],
            blank=SILENCE,
            reduction="none",
            zero_infinity=True,
        )
        return frames + self.ctc * whole / cond["count"].clamp(min=1)


def train_recogniser(
    songs: Sequence[Recording],
    settings: RecogniserTraining | None = None,
    *,
    net: RecogniserConfig | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[Recogniser, Checkpoint]:
    """Train a recogniser.

    Args:
        songs: of the training split.
        settings: steps, batch, rates, augmentation.
        net: size of the network.
        seed: of weights, crops and augmentation.
        folder: where snapshots and the log go.
        resume: go on from the newest snapshot.
        progress: told after every step.

    Returns:
        The model with its averaged weights, and the record of its training.
    """
    chosen = settings or RecogniserTraining()
    with seeded(seed):
        model = Recogniser(net)
    return fit_judge(
        model,
        PhoneLoss(chosen.ctc, chosen.consonants),
        Crops(songs, chosen),
        chosen,
        role="recogniser",
        facts={"songs": len(songs), "labels": len(LABELS)},
        seed=seed,
        folder=folder,
        resume=resume,
        progress=progress,
    )
