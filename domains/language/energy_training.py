"""Training of a learned energy (`nce`): tell true texts from the predictor's own, at the same masks.

    loss = softplus(E(x0, x_t)) + softplus(-E(x', x_t)),   x' drawn from q(. given x_t)

The best E is -ln p(x0 given x_t) + ln q(x0 given x_t) with log Z = 0. The share of texts that the sign of E
tells apart says how it goes: one half means that nothing was learned (or nothing is to be), near one that the
predictor is poor.

Source: Xu et al. 2024, arXiv:2410.21357 (EDLM), section 4.2; Gutmann & Hyvarinen 2010 (noise contrast).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.categorical import drawn
from core.errors import CheckpointError, ConfigError, ModelMismatch
from core.process import Masking, from_record
from core.process.masking import tokens_and_free, with_tokens
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source, uniform
from core.train import EMA, Batch, FitConfig, fit, seeds_of
from core.train.checkpoint import Checkpoint, fill, load, save
from core.train.token_loss import hidden_share
from domains.language.energy import PairEnergy
from domains.language.radd import TextModel
from domains.language.streams import Blocks, BlockSamples
from domains.language.training import TextSamples

__all__ = ["FORMAT", "ROLE", "Contrast", "accuracy", "energy_of", "load_energy", "train_energy"]

ROLE, FORMAT = "text energy", 1


@dataclass(frozen=True)
class Contrast:
    """The loss of each pair, (B,), for `core.train.fit`; the predictor is not trained.

    Args:
        predictor: draws the false texts; of masks, in evaluation mode.
    """

    predictor: Any = field(repr=False)

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        true, false = energies(denoiser, self.predictor, batch, gen)
        return functional.softplus(true) + functional.softplus(-false)


def energies(energy: Any, predictor: Any, batch: Batch, gen: Source) -> tuple[Tensor, Tensor]:
    """E of the true texts and of one draw of the predictor each, (B,), at masks that are spread evenly."""
    process: Masking = predictor.process
    tokens, free = tokens_and_free(batch.x0)
    place = torch.arange(len(tokens), device=tokens.device)
    u = uniform((len(tokens),), gen, dtype=torch.float64, device=tokens.device)
    hidden = hidden_share(tokens, free, (u + place) / len(tokens), gen)
    points = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device)
    x = with_tokens(batch.x0, torch.where(hidden, process.mask_token, tokens))
    false = tokens.clone()
    with torch.no_grad():
        if bool(hidden.any()):
            false[hidden] = drawn(predictor(x, 1.0).at(hidden), points[hidden]).to(tokens.dtype)
    return energy(tokens, x), energy(false, x)


def accuracy(energy: PairEnergy, predictor: Any, samples: Any, *, count: int = 64, seed: int = 0) -> float:
    """Share of `count` true texts with E < 0 and as many false ones with E > 0; E = 0 counts half.

    Args:
        samples: `TextSamples` of text that was not trained on.
    """
    batch = samples(range(count), seed)
    device = energy.score.weight.device
    x0 = {k: v.to(device) for k, v in batch.x0.items()} if isinstance(batch.x0, Mapping) else batch.x0
    x0 = x0.to(device) if isinstance(x0, Tensor) else x0
    was = energy.training
    energy.eval()
    with torch.no_grad():
        true, false = energies(energy, predictor, Batch(x0), seeds_of(range(count), seed, "pairs", device))
    energy.train(was)
    right = torch.cat([-true, false]).sign()
    return float((right + 1).mean() / 2)


def train_energy(
    blocks: Blocks,
    model: TextModel,
    *,
    steps: int = 10_000,
    batch: int = 32,
    lr: float = 3e-4,
    warmup: int | None = None,
    ema: float = 0.999,
    held: Blocks | None = None,
    every: int = 100,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[PairEnergy, Checkpoint]:
    """Train the energy of a model, which stays as it is.

    Args:
        blocks: of text that the model was trained on, of its length.
        held: of text that it was not: how well pairs are told apart is measured on it, or on `blocks`.
        every: steps between two measurements, written as lines of `accuracy.jsonl` in `folder`.
        folder: receives snapshots, logs and `model.safetensors`; None keeps all in memory.

    Returns:
        The energy with its averaged weights, and what is stored: under training["energy"] the accuracy by
        step, of the weights of that step.

    Raises:
        ConfigError: the model is of another kind, or blocks are of another length.
    """
    if blocks.length != model.length:
        raise ConfigError(f"blocks are of {blocks.length} tokens, the model of {model.length}.")
    predictor = model.denoiser
    with seeded(seed):
        energy = PairEnergy.from_predictor(predictor).requires_grad_(True)
    samples = TextSamples(BlockSamples(blocks))
    watched = samples if held is None else TextSamples(BlockSamples(held))
    seen: list[tuple[int, float]] = []

    def watch(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        if done % every == 0 or done == total:
            seen.append((done, accuracy(energy, predictor, watched, seed=seed)))
            if folder is not None:
                with open(folder / "accuracy.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": done, "accuracy": seen[-1][1]}) + "\n")
        progress(stage, done, total, f"{metric}, told apart {seen[-1][1]:.0%}" if seen else metric)

    config = FitConfig(
        steps=steps,
        batch=batch,
        lr=lr,
        optimizer="adamw",
        warmup=min(2500, steps // 50) if warmup is None else warmup,
        clip=1.0,
        ema=EMA(ema) if ema else None,
        every_steps=1000,
        every_seconds=600.0,
        log_every=max(steps // 500, 1),
    )
    card = {"format": FORMAT, "tokenizer": model.tokenizer.fingerprint}
    entries = {"role": ROLE, "net": energy.config, "training": {"energy": card}}
    checkpoint = fit(
        Contrast(predictor),
        energy,
        samples,
        config,
        seed=seed,
        folder=folder,
        resume=resume,
        card=entries,
        progress=watch,
    )
    measured = {"energy": {**card, "accuracy": seen}}
    checkpoint = replace(checkpoint, training={**checkpoint.training, **measured})
    if folder is not None:
        save(folder / "model.safetensors", checkpoint)
    return energy_of(checkpoint, model), checkpoint


def energy_of(checkpoint: Checkpoint, model: TextModel) -> PairEnergy:
    """The energy of a checkpoint, for the model that it corrects.

    Raises:
        CheckpointError: it is no energy, or of another format.
        ModelMismatch: it was trained with another tokenizer.
    """
    card = checkpoint.training.get("energy")
    if checkpoint.role != ROLE or not isinstance(card, Mapping) or card.get("format") != FORMAT:
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected '{ROLE}' of format {FORMAT}.",
            hint="Train one: suffuse language energy train.",
        )
    if card["tokenizer"] != model.tokenizer.fingerprint:
        raise ModelMismatch(
            "the energy was trained with another tokenizer.", hint="Use the model that it was trained for."
        )
    made = PairEnergy(from_record(checkpoint.process), **checkpoint.net)
    fill(made, checkpoint.weights)
    return made.to(model.device).eval().requires_grad_(False)


def load_energy(path: Path, model: TextModel) -> PairEnergy:
    """Read an energy from its folder or file; raises as `energy_of` and when the file cannot be read."""
    return energy_of(load(path / "model.safetensors" if path.is_dir() else path), model)
