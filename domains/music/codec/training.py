"""Training a codec with the core's loop, and reading songs to train on.

    1. everything        `train`, from random weights
    2. statistics        `standardised`: mean and deviation of each latent channel over training songs
    3. decoder alone     `train(..., start=codec, frozen=True)`: latents stay, for a generator to be trained
                         on meanwhile

The published recipe has the second and third stage too: an encoder that was trained once, and a decoder
trained on for restoration.

Sources: DiffRhythm, arXiv:2503.01183, section 3.2; Rombach et al. 2022, arXiv:2112.10752, appendix G (latents
rescaled to unit deviation, here per channel).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import DataError
from core.process import RectifiedFlow
from core.progress import Progress, silent
from core.seeded import seeded
from core.train.checkpoint import Checkpoint, fill
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Objective
from core.train.samples import Drawn
from domains.music.codec.augment import SCALE, Crops
from domains.music.codec.losses import SpectralLoss, WaveLoss
from domains.music.codec.spectrum import frames, levels
from domains.music.codec.specvae import PRESETS, SpecVAE, SpecVAEConfig, folded
from domains.music.frames import HOP

__all__ = ["CodecRecipe", "Trainee", "standardised", "stems", "train", "waves"]

STEMS = ("voice", "backing", "mix")


@dataclass(frozen=True)
class CodecRecipe:
    """How a codec is trained.

    Attributes:
        steps, batch, lr: of the core's loop; the rate falls to 0 along a cosine.
        seconds: of a crop, rounded down to whole latent frames.
        lossy: share of the crops whose encoder hears an MP3; published 2/3, on hardware where a step costs
            more than the coding.
        gain_db: range of the gain of a crop.
        loss: of the spectral codec.
        wave_loss: of any other.
        ema: decay of the average that is kept.
        every: steps between snapshots.
        components: latent frames that the first principal components are measured on.
    """

    steps: int = 3000
    batch: int = 8
    lr: float = 1.5e-3
    warmup: int = 50
    seconds: float = 1.0
    lossy: float = 0.1
    gain_db: tuple[float, float] = (-12.0, 0.0)
    loss: SpectralLoss = field(default_factory=SpectralLoss)
    wave_loss: WaveLoss = field(default_factory=WaveLoss)
    ema: float = 0.998
    every: int = 500
    components: int = 8000


class Trainee(nn.Module):
    """A codec as `fit` takes it."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.net = codec
        self.process = RectifiedFlow()  # the trainer stores one; a codec has no noise level


def train(
    groups: Mapping[str, Sequence[Tensor]],
    recipe: CodecRecipe,
    *,
    weights: Mapping[str, float] | None = None,
    config: SpecVAEConfig = PRESETS["small"],
    start: nn.Module | None = None,
    frozen: bool = False,
    objective: Objective | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Checkpoint:
    """Train a codec on waves.

    Args:
        groups: training waves by group, (channels, samples), int16 or float32, such as voices, backings and
            mixes.
        recipe: steps, crops, rates, losses.
        weights: how often a crop comes from each group; equal shares by default.
        config: size of a new spectral codec.
        start: a codec to go on from, such as an Oobleck or the result of the first stage; it is trained in
            place.
        frozen: leave its encoder as it is.
        objective: instead of the recipe's loss, such as an adversarial one.

    Returns:
        A checkpoint with the role "codec"; its latents are standardised only after `standardised`.
    """
    codec: Any = start if start is not None else _new(config, groups, recipe.components, seed)
    if frozen:
        codec.encoder.requires_grad_(False)
    if objective is None:
        objective = recipe.loss if isinstance(codec, SpecVAE) else recipe.wave_loss
    length = max(2, int(recipe.seconds * codec.rate) // codec.hop) * codec.hop
    shares = dict.fromkeys(groups, 1.0) if weights is None else dict(weights)
    crops = Crops(groups, shares, length, codec.rate, recipe.gain_db, recipe.lossy)
    settings = FitConfig(
        steps=recipe.steps,
        batch=recipe.batch,
        lr=recipe.lr,
        schedule="cosine",
        warmup=min(recipe.warmup, recipe.steps),
        ema=EMA(recipe.ema),
        every_steps=min(recipe.every, recipe.steps),
        log_every=max(1, recipe.steps // 500),
    )
    seconds = {name: round(sum(w.shape[-1] for w in group) / codec.rate) for name, group in groups.items()}
    return fit(
        objective,
        Trainee(codec),
        Drawn(crops),
        settings,
        seed=seed,
        folder=folder,
        resume=resume,
        card={
            "role": "codec",
            "net": codec.config,
            "training": {
                "recipe": asdict(recipe),
                "frozen_encoder": frozen,
                "seconds": seconds,
                "shares": shares,
                "crop_samples": length,
            },
        },
        stage="train codec",
        progress=progress,
    )


def standardised(codec: Any, pieces: Iterable[Tensor]) -> None:
    """Measure the latents over training waves and store their mean and deviation in the codec.

    The deviation is that of draws, sqrt(var(mean) + E std^2), which is what a generator is trained on.

    Args:
        pieces: waves (1, channels, samples).

    Raises:
        DataError: no waves, or a channel that does not vary.
    """
    codec.shift.zero_()
    codec.spread.fill_(1.0)
    total, square = torch.zeros(2, codec.channels, dtype=torch.float64)
    count = 0
    with torch.no_grad():
        for piece in pieces:
            mean, std = (part[0].double() for part in codec.encode(piece))
            total = total + mean.sum(1)
            square = square + (mean**2 + std**2).sum(1)
            count += mean.shape[1]
    if count < 2:
        raise DataError("latents are standardised on at least two frames.")
    centre = total / count
    spread = (square / count - centre**2).clamp(min=0).sqrt()
    if not bool((spread > 0).all()):
        raise DataError(
            "a latent channel does not vary.", hint="Train longer, or lower the weight of the KL."
        )
    codec.shift.copy_(centre[:, None])
    codec.spread.copy_(spread[:, None])


def stems(corpus: Path, *, split: str = "train", rate: int, least: int) -> dict[str, list[Tensor]]:
    """The voices, backings and mixes of a rendered corpus, int16, (1, samples).

    Args:
        corpus: folder of songs `<id>/{mix,voice,backing}.flac, song.json`.
        split: "train", "validation" or "test", as the songs say.
        least: samples below which a file is left out.

    Raises:
        DataError: no song of that split.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in STEMS}
    for card in sorted(corpus.glob("*/song.json")):
        if json.loads(card.read_text("utf-8")).get("split", "train") != split:
            continue
        for name in STEMS:
            found[name] += waves([card.parent / f"{name}.flac"], rate=rate, least=least)
    if not found["mix"]:
        raise DataError(f"{corpus} holds no song of the split '{split}'.", hint="Render the corpus first.")
    return found


def waves(paths: Iterable[Path], *, rate: int, least: int) -> list[Tensor]:
    """Sound files mixed to mono at this rate, int16, (1, samples); shorter ones than `least` are left out."""
    from domains.music.audio import read_audio

    out = []
    for path in paths:
        samples = read_audio(path, rate, channels=1).samples
        if samples.shape[-1] >= least:
            out.append((samples.clamp(-1, 1) * SCALE).round().to(torch.int16))
    return out


def filled(checkpoint: Checkpoint, codec: nn.Module) -> nn.Module:
    """The codec with the weights of a checkpoint, ready to use."""
    fill(codec, checkpoint.weights)
    return codec.eval().requires_grad_(False)


def _new(config: SpecVAEConfig, groups: Mapping[str, Sequence[Tensor]], count: int, seed: int) -> SpecVAE:
    """A spectral codec that begins with the principal components of an even share of every group."""
    with seeded(seed):
        codec = SpecVAE(config)
        gen = torch.Generator().manual_seed(seed)
        length = HOP * min(32, *(wave.shape[-1] // HOP for group in groups.values() for wave in group))
        crops = Crops(groups, dict.fromkeys(groups, 1.0), length, codec.rate, lossy=0.0)
        picked = torch.stack([crops(gen).x0 for _ in range(max(1, count // (length // HOP)))])
        codec.fit_straight(levels(frames(folded(picked))))
    return codec
