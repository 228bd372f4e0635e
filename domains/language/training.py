"""Training of text models, diffusion or the causal baseline of equal size, by the core's one loop."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.errors import ConfigError
from core.nets.transformer import block_causal
from core.process import Masking, UniformTokens
from core.process.masking import tokens_and_free
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source, uniform
from core.train import EMA, Batch, FitConfig, fit
from core.train.token_loss import TokenLoss
from domains.language import tokenizer_files
from domains.language.config import TextConfig
from domains.language.networks import TextNet, causal_nats
from domains.language.radd import FORMAT, ROLE, TextDenoiser, TextModel, model_of, save_model
from domains.language.streams import Blocks, BlockSamples
from domains.language.tokenizer import Tokenizer

__all__ = ["BlockLoss", "CausalLoss", "TextSamples", "fit_config", "train", "untrained"]


@dataclass(frozen=True)
class TextSamples:
    """Blocks as states. Padding may not change; after an end of text it is one more end of text instead.

    A model that has seen what follows the end can write texts of any length on a canvas of one.
    """

    samples: BlockSamples

    def __call__(self, numbers: range, seed: int) -> Batch:
        tokens = self.samples(numbers, seed).x0
        blocks = self.samples.blocks
        pad = tokens == blocks.pad_id
        if blocks.packing == "pad_after_eos":
            assert blocks.eos_id is not None
            return Batch(tokens.masked_fill(pad, blocks.eos_id))
        return Batch({"tokens": tokens, "mask": ~pad} if bool(pad.any()) else tokens)


@dataclass(frozen=True)
class CausalLoss:
    """-ln p of each sequence under a causal network, (B,), nats; the first token is predicted from padding.

    So a causal model scores all L tokens of a block, as the diffusion models do.
    """

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        tokens, free = tokens_and_free(batch.x0)
        return causal_nats(denoiser.net, tokens, free)


@dataclass(frozen=True)
class Lowered:
    """A loss with the network inside bfloat16; cross-entropies and sums stay in float32 and float64."""

    inner: Any
    device: str

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        with torch.autocast(self.device, dtype=torch.bfloat16):
            return self.inner(denoiser, batch, gen)


@dataclass(frozen=True)
class BlockLoss:
    """The bound of block diffusion, (B,), nats: each block masked at its own level, given clean ones before.

    The network sees a noisy copy and the clean text, 2 L tokens; see `block_causal`.

    Args:
        block: its length; the last one may be short.

    Source: Arriola et al. 2025, arXiv:2503.09573, eq. 8.
    """

    block: int

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        tokens, free = tokens_and_free(batch.x0)
        count, length = tokens.shape
        blocks = -(-length // self.block)
        u = uniform((count, blocks), gen, dtype=torch.float64, device=tokens.device)
        order = torch.arange(count * blocks, dtype=torch.float64, device=u.device).reshape(blocks, count).T
        level = (u + order) / (count * blocks)
        share = level.repeat_interleave(self.block, 1)[:, :length]
        hidden = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device) < share
        hidden = hidden if free is None else hidden & free
        each = block_nats(denoiser.net, tokens, hidden, self.block)
        return (each / share.clamp_min(1e-12)).sum(1)


def block_nats(net: TextNet, tokens: Tensor, hidden: Tensor, block: int) -> Tensor:
    """-ln q of each hidden token given the visible ones of its block and the clean blocks before, (B, L)."""
    length = tokens.shape[1]
    noisy = torch.where(hidden, net.vocab, tokens)
    place = torch.arange(length, device=tokens.device)
    attend = block_causal(length, block, copies=2, device=tokens.device)
    h = net.hidden(torch.cat([noisy, tokens], 1), attend=attend, positions=place.repeat(2))[:, :length]
    nats = functional.cross_entropy(net.head(h[hidden]).float(), tokens[hidden].long(), reduction="none")
    out = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
    out[hidden] = nats.double()
    return out


def untrained(config: TextConfig, vocab: int, *, seed: int = 0) -> TextDenoiser:
    """The network of a configuration with its first weights, a function of the seed."""
    with seeded(seed):
        net = TextNet(
            vocab, **config.net.model_dump(), causal=config.kind == "causal", timed=config.kind == "uniform"
        )
    process = (UniformTokens if config.kind == "uniform" else Masking)(vocab, config.survival)
    return TextDenoiser(net, process, config.block)


def fit_config(config: TextConfig) -> FitConfig:
    """The settings of the core's loop."""
    warmup = min(2500, config.steps // 50) if config.warmup is None else config.warmup
    beta = min(config.ema, 0.999) if config.steps < 5000 else config.ema
    return FitConfig(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        optimizer="adamw",
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        warmup=min(warmup, config.steps),
        clip=config.clip,
        ema=EMA(beta) if config.ema else None,
        micro_batches=config.micro_batches,
        every_steps=1000,
        every_seconds=600.0,
        log_every=max(config.steps // 500, 1),
    )


def objective(config: TextConfig) -> Any:
    """The loss of a configuration."""
    if config.kind == "causal":
        return CausalLoss()
    return BlockLoss(config.block) if config.block is not None else TokenLoss(config.loss)


def train(
    blocks: Blocks,
    tokenizer: Tokenizer,
    config: TextConfig,
    *,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    source: str = "",
    progress: Progress = silent,
) -> TextModel:
    """Train a model of text.

    Args:
        blocks: of tokens; their length must be the configuration's.
        config: network, loss, schedule; `config.preset_for` builds one.
        seed: of weights, order and masks; same seed, same model.
        folder: receives snapshots, log, `model.safetensors` and the tokenizer; None keeps all in memory.
        resume: go on from the newest snapshot in `folder`.
        source: what the text is, for the card.

    Raises:
        ConfigError: blocks of another length, or settings that differ from those of the run resumed.
        NumericalError: the loss is not finite; the last good snapshot is named.
    """
    if blocks.length != config.length:
        raise ConfigError(f"blocks are of {blocks.length} tokens, the model of {config.length}.")
    denoiser = untrained(config, tokenizer.size, seed=seed).to(device)
    bf16 = config.bf16 if config.bf16 is not None else torch.device(device).type == "cuda"
    shifted = config.shifted and blocks.packing != "pad_after_eos" and not blocks.keep_rest
    _keep_tokenizer(tokenizer, folder, resume)
    card = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "kind": tokenizer.kind,
        "config": config.model_dump(mode="json"),
        "tokens": len(blocks.ids),
        "source": source,
    }
    loss = objective(config)
    if bf16:
        loss = Lowered(loss, torch.device(device).type)
    checkpoint = fit(
        loss,
        _compiled(denoiser) if config.compile else denoiser,
        TextSamples(BlockSamples(blocks, shifted=shifted)),
        fit_config(config),
        seed=seed,
        folder=folder,
        resume=resume,
        card={"role": ROLE, "preset": preset, "net": denoiser.net.config, "training": {"text": card}},
        progress=progress,
    )
    model = model_of(checkpoint, tokenizer)
    if folder is not None:
        save_model(model, folder)
    return replace(model, net=model.net.to(device))


def _keep_tokenizer(tokenizer: Tokenizer, folder: Path | None, resume: bool) -> None:
    """Write the tokenizer of a run at its start; a resumed run must have the same one.

    Raises:
        ConfigError: it has another one; names both sizes.
    """
    if folder is None:
        return
    if resume and (folder / "tokenizer.json").is_file():
        old = tokenizer_files.load(folder)
        if old.fingerprint != tokenizer.fingerprint:
            raise ConfigError(
                f"the run in {folder} has a tokenizer of {old.size} tokens, this one has {tokenizer.size} or "
                "other ones.",
                hint="Resume with the same text and tokenizer, or name another folder.",
            )
        return
    if not any(folder.glob("step-*.safetensors")):  # another run's stays; the loop refuses that folder
        tokenizer_files.save(tokenizer, folder)


def _compiled(denoiser: TextDenoiser) -> TextDenoiser:
    """Compile the trunk; its shapes are fixed, unlike the number of rows of the head."""
    denoiser.net.trunk.compile()
    return denoiser
