"""Training of the tagger: clips and their tags are brought together, and each field has a head.

    loss = 1/2 (CE over clips + CE over tags)  +  mean over fields of CE(head)

Rows of one batch often have the same tags; the target of a row is then even over all its equals. Half of the
fields of a row are hidden from the tag tower on average, so that "piano" alone has a place, and rows that
show the same tags are equal there.

Source: Radford et al. 2021 (CLIP), arXiv:2103.00020, figure 3; Khosla et al. 2020, arXiv:2004.11362 (several
positives).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.device import bare
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source
from core.train.checkpoint import Checkpoint
from core.train.samples import Batch
from domains.music.frames import RATE
from domains.music.judge_training import fit_judge
from domains.music.mel import BANDS, STEP, log_mel
from domains.music.recogniser_training import SCALE, Recording
from domains.music.tagger import Tagger, TaggerConfig

__all__ = ["TaggerTraining", "contrast", "train_tagger"]


@dataclass(frozen=True)
class TaggerTraining:
    """How a tagger is trained; a clip has `frames` frames of 23 ms."""

    steps: int = 600
    batch: int = 32
    lr: float = 2e-3
    frames: int = 344  # 8 s
    shown: float = 0.5
    ema: float = 0.99


@dataclass(frozen=True)
class Clips:
    """Draws samples for `core.train.Drawn`: a song, a place, a balance of voice and accompaniment."""

    songs: Sequence[Recording]
    tagger: TaggerConfig
    settings: TaggerTraining

    def __call__(self, gen: torch.Generator) -> Batch:
        """A spectrogram (64, frames), the tag number of each field, and the tags that are shown."""
        samples = (self.settings.frames - 1) * STEP
        song = self.songs[int(torch.randint(len(self.songs), (1,), generator=gen))]
        start = int(_unit(gen) * max(len(song.voice) - samples, 1))
        voice, backing = (
            F.pad(one, (0, samples - len(one)))
            for one in (part[start : start + samples].float() / SCALE for part in (song.voice, song.backing))
        )
        wave = voice * 10 ** ((8 * _unit(gen) - 4) / 20) + backing * 10 ** ((10 * _unit(gen) - 5) / 20)
        wave = wave + 10 ** (-(50 + 30 * _unit(gen)) / 20) * torch.randn(samples, generator=gen)
        mel = log_mel(wave * 10 ** (-12 * _unit(gen) / 20))
        mel = mel + (3 * _unit(gen) - 1.5) * torch.linspace(-0.5, 0.5, BANDS)[:, None]
        mel = mel + 0.5 * _unit(gen) ** 2 * torch.randn(mel.shape, generator=gen)
        fields, shown, first = [], torch.zeros(len(self.tagger.tags)), 0
        for name, tags in self.tagger.vocabulary.items():
            number = tags.index(song.tags[name])
            fields.append(number)
            if _unit(gen) < self.settings.shown:
                shown[first + number] = 1.0
            first += len(tags)
        return Batch(mel, {"fields": torch.tensor(fields), "shown": shown})


def contrast(audio: Tensor, tags: Tensor, shown: Tensor, own: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss of a batch, (B,): a clip fits every row of tags that its own tags contain.

    Args:
        audio, tags: unit vectors, (B, length).
        shown: multi-hot tags that the tag tower saw, (B, K).
        own: all tags of each clip, (B, K).
        scale: of the cosines.
    """
    fits = (own @ shown.T >= shown.sum(1) - 0.5).to(audio.dtype)  # clip i has every tag shown in row j
    cosines = scale * audio @ tags.T
    rows = -(fits * torch.log_softmax(cosines, 1)).sum(1) / fits.sum(1).clamp(min=1)
    columns = -(fits * torch.log_softmax(cosines, 0)).sum(0) / fits.sum(0).clamp(min=1)
    return (rows + columns) / 2


@dataclass(frozen=True)
class TagLoss:
    """The contrastive loss and the mean of the heads' cross-entropies, (B,)."""

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        model = cast(Tagger, bare(denoiser))
        hidden = denoiser(batch.x0)
        fields, shown = batch.cond["fields"], batch.cond["shown"]
        heads = [
            F.cross_entropy(head(hidden), fields[:, i], reduction="none")
            for i, head in enumerate(model.heads.values())
        ]
        sizes = [len(tags) for tags in model.settings.vocabulary.values()]
        own = torch.cat([F.one_hot(fields[:, i], size) for i, size in enumerate(sizes)], 1).to(hidden.dtype)
        scale = model.log_scale.exp().clamp(max=50)
        pair = contrast(F.normalize(hidden, dim=1), model.tag_vectors(shown), shown, own, scale)
        return pair + torch.stack(heads).mean(0)


def train_tagger(
    songs: Sequence[Recording],
    settings: TaggerTraining | None = None,
    *,
    net: TaggerConfig | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[Tagger, Checkpoint]:
    """Train a tagger.

    Args:
        songs: of the training split.
        settings: steps, batch, rates.
        net: size of the network and the tags.
        seed: of weights and clips.
        folder: where snapshots and the log go.
        resume: go on from the newest snapshot.
        progress: told after every step.

    Returns:
        The model with its averaged weights, and the record of its training.
    """
    chosen = settings or TaggerTraining()
    with seeded(seed):
        model = Tagger(net)
    return fit_judge(
        model,
        TagLoss(),
        Clips(songs, model.settings, chosen),
        chosen,
        role="tagger",
        facts={"songs": len(songs), "rate": RATE},
        seed=seed,
        folder=folder,
        resume=resume,
        progress=progress,
    )


def _unit(gen: torch.Generator) -> float:
    return float(torch.rand((), generator=gen))
