"""Training of a codec from a corpus: reconstruction first; then, where asked, its decoder against a critic.

In the second stage the encoder is held, as published: latents stay what they are, and the decoder learns to
make waves that a critic of spectra cannot tell from recordings. The loss of the first stage stays, since the
phase of a spectral codec is made of slopes that no gradient of the wave reaches. The stage writes its own
snapshots into `adversarial/` of the run folder.

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.2.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from core.device import bare
from core.errors import DataError, unknown
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source
from core.train.checkpoint import Checkpoint
from core.train.samples import Batch
from domains.music.codec import PRESETS as CODECS
from domains.music.codec import SpecVAE, chunked, save_codec
from domains.music.codec.adversarial import Adversarial, Critic, Duel, codec_weights
from domains.music.codec.losses import SpectralLoss
from domains.music.codec.training import CodecRecipe, Trainee, filled, standardised, stems, train, waves
from domains.music.frames import HOP, RATE
from domains.music.metrics.reconstruction import log_spectral_distance
from domains.music.workflows.learning import HELD, changed, draw_loss, mean, stems_of

__all__ = ["train_codec_file"]

# Filters of the critic; 64 are published. A step with 16 takes a core 10 s at the recipe's batch.
CRITIC = {"tiny": 4, "small": 16, "base": 64}
LATER = 0.1  # rate of the second stage over that of the first: 1.5e-4, as published


def train_codec_file(
    corpus: Path,
    folder: Path,
    *,
    preset: str = "small",
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    adversarial_steps: int = 0,
    seed: int = 0,
    resume: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a spectral codec on voices, backings and mixes of a corpus, and measure its latents' statistics.

    Args:
        adversarial_steps: of a second stage, the decoder alone against a critic.

    Returns:
        Report: log-spectral distance on validation songs, beside that of the codec before training, and
        before the second stage.

    Raises:
        ConfigError: an unknown preset.
        DataError: no songs of the training split.
    """
    if preset not in CODECS:
        raise unknown("codec preset", preset, CODECS)
    changes = {"steps": steps, "batch": batch, "lr": lr}
    recipe: CodecRecipe = changed(CodecRecipe(), changes)
    least = (int(recipe.seconds * RATE) // HOP + 1) * HOP
    groups = _waves(corpus, "train", least)
    minutes = sum(wave.shape[-1] for group in groups.values() for wave in group) / RATE / 60
    second = [f"then {adversarial_steps:,} of the decoder against a critic"] if adversarial_steps else []
    ready(
        Outlook(
            (
                f"train the codec '{preset}' on {minutes:.1f} min of {', '.join(groups)} of {corpus}",
                f"{recipe.steps:,} steps of {recipe.batch} crops of {recipe.seconds:g} s",
                *second,
            )
        )
    )
    checkpoint = train(
        groups, recipe, config=CODECS[preset], seed=seed, folder=folder, resume=resume, progress=progress
    )
    codec: Any = filled(checkpoint, SpecVAE(CODECS[preset]))
    held = _held_mixes(corpus)
    earlier: dict[str, Any] = {}
    if adversarial_steps:
        earlier = {
            "adversarial_steps": adversarial_steps,
            "log_spectral_distance_before_critic_db": _distance(codec, held),
        }
        later = replace(recipe, steps=adversarial_steps, lr=LATER * recipe.lr)
        checkpoint = _duel(
            codec, checkpoint, groups, later, CRITIC[preset], seed, folder / "adversarial", resume, progress
        )
    standardised(codec, (wave[None].float() / 32767 for group in groups.values() for wave in group[:40]))
    save_codec(folder / "codec.safetensors", codec, checkpoint)
    draw_loss(folder)
    with seeded(seed):
        first = SpecVAE(CODECS[preset]).eval()
    return {
        "codec": str(folder / "codec.safetensors"),
        "parameters": sum(weight.numel() for weight in codec.parameters()),
        "steps": recipe.steps,
        "songs_held": len(held),
        **earlier,
        "log_spectral_distance_db": _distance(codec, held),
        "untrained_log_spectral_distance_db": _distance(first, held),
    }


def _duel(
    codec: Any,
    first: Checkpoint,
    groups: Mapping[str, Sequence[torch.Tensor]],
    recipe: CodecRecipe,
    width: int,
    seed: int,
    folder: Path,
    resume: bool,
    progress: Progress,
) -> Checkpoint:
    """Train the decoder of a codec against a critic, in place; the record of both stages."""
    codec.decoder.requires_grad_(True)
    with seeded(seed):
        duel = Duel(codec, Critic(codec.wave_channels, width=width))
    found = train(
        groups,
        recipe,
        start=duel,
        objective=Judged(recipe.loss, Adversarial()),
        seed=seed,
        folder=folder,
        resume=resume,
        progress=progress,
    )
    codec.load_state_dict(codec_weights(found.weights))
    codec.eval().requires_grad_(False)
    record = {**first.training, "adversarial": dict(found.training)}
    return replace(first, weights=codec.state_dict(), training=record)


@dataclass(frozen=True)
class Judged:
    """The loss of the first stage on the codec of a duel, and what the critic says of it."""

    spectral: SpectralLoss
    adversarial: Adversarial

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> torch.Tensor:
        plain = Trainee(cast(Duel, bare(denoiser.net)).codec)
        return self.spectral(plain, batch, gen) + self.adversarial(denoiser, batch, gen)


def _held_mixes(corpus: Path) -> list[torch.Tensor]:
    try:
        found = _waves(corpus, "validation", 1)["mix"][:HELD]
    except DataError:
        return []
    return [wave.float() / 32767 for wave in found]


def _waves(corpus: Path, split: str, least: int) -> dict[str, list[torch.Tensor]]:
    """Waves of a split by group, int16: three of a rendered corpus, the mixes alone of an imported one.

    Raises:
        DataError: no song of the split.
    """
    if "voice" in stems_of(corpus, ("mix",)):
        return stems(corpus, split=split, rate=RATE, least=least)
    cards = [path for path in sorted(corpus.glob("*/song.json")) if _split_of(path) == split]
    found = waves((path.with_name("mix.flac") for path in cards), rate=RATE, least=least)
    if not found:
        raise DataError(f"{corpus} holds no song of the split '{split}'.", hint="Import more songs.")
    return {"mix": found}


def _split_of(card: Path) -> str:
    return str(json.loads(card.read_text("utf-8")).get("split", "train"))


def _distance(codec: Any, held: Sequence[torch.Tensor]) -> float | None:
    """Mean log-spectral distance of what a codec makes of waves, dB."""
    if not held:
        return None
    found = []
    for wave in held:
        with torch.no_grad():
            decoded = chunked.decode(codec, chunked.encode(codec, wave[None]).mean)
        found.append(log_spectral_distance(decoded[0, 0, : wave.shape[-1]], wave[0]))
    return mean(found)
