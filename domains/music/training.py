"""Training a song model: flow matching in the latents, by the core's one loop.

    x_t = (1 - t) x_0 + t eps,     loss = mean over what is hidden of |u(x_t, t, cond) - (eps - x_0)|^2

with ln(t / (1 - t)) normal. Frames of padding, and the context that a sample is given, do not count. What is
given, and what is told, is drawn per sample (`domains.music.conditions`).

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.3, with time reversed: t = 1 is noise here.
Deviation: the loss leaves out given frames, where the flow is known from the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.denoise import Wrapped
from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.state import Source, per_sample, uniform
from core.train import EMA, Batch, FitConfig, LogNormal, fit
from core.train.distributed import Parallel
from domains.music.conditions import Dropout, Spans, dropped, masked
from domains.music.config import SongConfig
from domains.music.model import ROLE, SongModel, card_of, model_of, save_model, untrained
from domains.music.songs import Song, SongSamples, vocabulary_of
from domains.music.style import TagStyle

__all__ = ["SongLoss", "evaluate_loss", "fit_config", "loss_of", "samples_of", "train"]


@dataclass(frozen=True)
class SongLoss:
    """Loss of each sample, (B,); the module docstring has it.

    Args:
        stems: parts side by side in the channels.
        times: law of the training times.
        dropout: of what is told.
        spans: how context is chosen.
        autocast: device type whose matrix products run in bfloat16, or None.
    """

    stems: int = 1
    times: LogNormal = field(default_factory=lambda: LogNormal(0.0, 1.0))
    dropout: Dropout = field(default_factory=Dropout)
    spans: Spans = field(default_factory=Spans)
    autocast: str | None = None

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        x0, cond = batch.x0, batch.cond
        count, channels, frames = x0.shape
        valid = cond.get("valid", torch.ones(count, frames, dtype=torch.bool, device=x0.device))
        u = uniform((count,), gen, dtype=torch.float64, device=x0.device)
        t = self.times.times(denoiser.process, u)
        keep = masked(valid.sum(1), frames, self.stems, self.spans, gen)
        told = dropped({**cond, "context": x0, "keep": keep}, self.dropout, gen, count)
        x, _ = denoiser.process.perturb(x0, t, gen)
        with torch.autocast(self.autocast or "cpu", torch.bfloat16, enabled=self.autocast is not None):
            mean = denoiser(x, t, told).mean
        # On the straight path the flow is (x - D) / t, so its error is that of D over t.
        error = ((mean - x0) / per_sample(t.to(x0.dtype), x0)).square()
        given = keep * told["has_context"][:, None, None]
        counts = (1 - given).repeat_interleave(channels // self.stems, 1) * valid[:, None]
        return (error * counts).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)


def fit_config(config: SongConfig) -> FitConfig:
    """The settings of the core's loop."""
    return FitConfig(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        optimizer="adamw",
        betas=config.betas,
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        warmup=min(config.warmup, config.steps),
        clip=config.clip,
        ema=EMA(config.ema) if config.ema else None,
        micro_batches=config.micro_batches,
        every_steps=None,
        every_seconds=300.0,
        log_every=max(config.steps // 500, 1),
    )


def loss_of(config: SongConfig, device: torch.device | str = "cpu") -> SongLoss:
    """The objective of a configuration."""
    kind = torch.device(device).type
    bf16 = config.bf16 if config.bf16 is not None else kind == "cuda"
    times = LogNormal(config.time_mean, config.time_std)
    return SongLoss(config.stems, times, config.dropout, config.spans, kind if bf16 else None)


def samples_of(songs: Sequence[Song], config: SongConfig, encoder: TagStyle | None) -> SongSamples:
    """Crops of these songs as the configuration cuts them."""
    return SongSamples(songs, config.crop, encoder, config.excerpt, config.from_line, config.open_tag)


def train(
    songs: Sequence[Song],
    config: SongConfig,
    *,
    split: str | None = "train",
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    source: str = "",
    parallel: Parallel = "ddp",
    progress: Progress = silent,
) -> SongModel:
    """Train a model of songs.

    Args:
        songs: with latents; `domains.music.corpus_latents` reads an encoded corpus.
        config: network, conditions, schedule; `config.preset_for` builds one.
        split: which of them train; None takes all.
        seed: of weights, crops and noise; same seed, same model.
        folder: receives snapshots, log, `model.safetensors` and `card.json`; None keeps all in memory.
        resume: go on from the newest snapshot in `folder`.
        source: what the songs are, for the card.
        parallel: "ddp", or "fsdp" to cut weights over the processes of a `core.train.group()`.

    Raises:
        DataError: no song, or latents of another number of channels.
        NumericalError: the loss is not finite; the last good snapshot is named.
    """
    chosen = [song for song in songs if split is None or song.split == split]
    if not chosen:
        raise DataError(f"none of the {len(songs)} songs is in the split '{split}'.")
    wanted = config.channels * config.stems
    if wrong := [song for song in chosen if song.latents.shape[0] != wanted]:
        raise DataError(
            f"song '{wrong[0].name}' has {wrong[0].latents.shape[0]} latent channels, the model {wanted}.",
            hint=f"Encode with the codec of {config.channels} channels, {config.stems} stems.",
        )
    vocabulary = vocabulary_of(songs) if config.encoder == "tags" else {}
    if config.encoder == "tags" and not vocabulary:
        raise ConfigError("the songs have no tags, and styles are told by tags.", hint="Use another encoder.")
    encoder = TagStyle(vocabulary) if vocabulary else None
    denoiser = untrained(config, style=encoder.length if encoder else None, seed=seed).to(device)
    if config.compile:
        denoiser.net.compile()  # type: ignore[union-attr]
    card = {
        **card_of(config, vocabulary),
        "songs": len(chosen),
        "frames": sum(song.frames for song in chosen),
        "source": source,
    }
    checkpoint = fit(
        loss_of(config, device),
        denoiser,
        samples_of(chosen, config, encoder),
        fit_config(config),
        seed=seed,
        folder=folder,
        resume=resume,
        card={
            "role": ROLE,
            "preset": preset,
            "net": vars(denoiser.net)["config"],
            "training": {"song": card},
        },
        parallel=parallel,
        progress=progress,
    )
    model = model_of(checkpoint)
    if folder is not None:
        save_model(model, folder)
    model.denoiser.to(device)
    return model


@torch.no_grad()
def evaluate_loss(
    denoiser: Wrapped, songs: Sequence[Song], config: SongConfig, encoder: TagStyle | None, *, count: int = 64
) -> float:
    """Mean loss over `count` crops, nothing hidden and no context given; the same draws for every model."""
    loss = SongLoss(
        config.stems,
        LogNormal(config.time_mean, config.time_std),
        Dropout(0.0, 0.0, 0.0, 0.0),
        Spans(share=0.0),
    )
    data, total = samples_of(songs, config, encoder), 0.0
    for start in range(0, count, 8):
        numbers = range(start, min(start + 8, count))
        gen = torch.Generator(next(denoiser.parameters()).device).manual_seed(start)
        total += float(loss(denoiser, data(numbers, 0), gen).sum())
    return total / count
