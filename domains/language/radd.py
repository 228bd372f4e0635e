"""Text models: a network, its process, its tokenizer; saved, loaded, ready to generate and score.

The posterior of masked text needs no time: p(x0_i | x_t) = softmax(net(x_t))_i, so that an answer holds as
long as the text does not change, whatever the noise level.

Source: Ou et al. 2024, arXiv:2406.03736 (RADD); Sahoo et al. 2024, arXiv:2406.07524 (MDLM); Arriola et al.
2025, arXiv:2503.09573 (blocks).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import TokenPosterior
from core.errors import CheckpointError, ModelMismatch
from core.nets.transformer import Cache, block_causal
from core.process import Masking, UniformTokens, from_record
from core.process.masking import tokens_and_free
from core.state import take
from core.train.checkpoint import Checkpoint, fill, load, save
from domains.language import tokenizer_files
from domains.language.config import TextConfig, checked
from domains.language.networks import TextNet
from domains.language.tokenizer import Tokenizer

__all__ = ["FORMAT", "ROLE", "Continued", "TextDenoiser", "TextModel", "load_model", "model_of", "save_model"]

ROLE, FORMAT = "text", 1


class TextDenoiser(nn.Module):
    """Posterior of the clean tokens; rows of a batch are independent.

    Args:
        net: gives the logits.
        process: `Masking` or `UniformTokens` of the same vocabulary.
        block: a block sees itself and the blocks before it only; None sees everything.
    """

    rowwise = True

    def __init__(self, net: TextNet, process: Masking | UniformTokens, block: int | None = None) -> None:
        super().__init__()
        self.net, self.process, self.block = net, process, block

    def forward(self, x: Any, t: Any, cond: Any = None) -> TokenPosterior:
        """x: (B, L) or {"tokens", "mask"}; logits are computed where they are asked for."""
        tokens, _ = tokens_and_free(x)
        attend = None
        if self.block is not None:
            attend = block_causal(tokens.shape[1], self.block, device=tokens.device)
        hidden = self.net.hidden(tokens, t, attend=attend)
        return TokenPosterior(lambda where: self.net.head(hidden[where]), tokens.shape)


@dataclass(frozen=True)
class Continued:
    """Posterior of a part of a text whose other positions are remembered as keys and values.

    A state has an entry "row" (B,), the rows of the cache that its sequences continue.

    Args:
        positions: of the tokens of the state, (L,) or (B, L) of the whole batch.
        seen: which remembered positions are no padding, (B, S), or None for all.
    """

    net: TextNet
    process: Masking
    past: Cache
    positions: Tensor
    seen: Tensor | None = None
    rowwise: bool = True

    def __call__(self, x: Mapping[str, Tensor], t: Any, cond: Any = None) -> TokenPosterior:
        tokens, rows = x["tokens"], x["row"]
        whole = len(rows) == len(self.past.keys[0])
        past = self.past
        if not whole:
            past = Cache(*(tuple(value.index_select(0, rows) for value in part) for part in self.past))
        positions = self.positions if self.positions.ndim == 1 else self.positions.index_select(0, rows)
        attend = None
        if self.seen is not None:
            own = torch.ones_like(tokens, dtype=torch.bool)
            attend = torch.cat([take(self.seen, rows), own], 1)[:, None, None]
        hidden = self.net.hidden(tokens, None, attend=attend, positions=positions, past=past)
        return TokenPosterior(lambda where: self.net.head(hidden[where]), tokens.shape)


@dataclass(frozen=True)
class TextModel:
    """A trained model of text.

    Attributes:
        net: in evaluation mode.
        process: of the tokens.
        tokenizer: of the same vocabulary.
        config: how it was built and trained.
        checkpoint: what is stored.
    """

    net: TextNet
    process: Masking | UniformTokens
    tokenizer: Tokenizer
    config: TextConfig
    checkpoint: Checkpoint

    @property
    def denoiser(self) -> TextDenoiser:
        """The posterior of clean tokens."""
        return TextDenoiser(self.net, self.process, self.config.block).eval()

    @property
    def length(self) -> int:
        """Longest text that it was trained on, tokens."""
        return self.config.length

    @property
    def device(self) -> torch.device:
        return self.net.bias.device


def network_of(settings: Mapping[str, Any]) -> TextNet:
    """The untrained network that a checkpoint's settings describe.

    Raises:
        CheckpointError: they describe none.
    """
    try:
        return TextNet(**settings)
    except TypeError as err:
        raise CheckpointError(f"the checkpoint describes no text network: {err}.") from err


def model_of(checkpoint: Checkpoint, tokenizer: Tokenizer) -> TextModel:
    """The model of a checkpoint, ready to use.

    Raises:
        CheckpointError: it is no model of text, or of another format.
        ModelMismatch: the tokenizer is not the one it was trained with.
    """
    card = checkpoint.training.get("text")
    if checkpoint.role != ROLE or not isinstance(card, Mapping):
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected '{ROLE}'.",
            hint="Train one: suffuse language train.",
        )
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"the model has format {card.get('format')}, this version reads {FORMAT}.", hint="Train it again."
        )
    net = network_of(checkpoint.net)
    tokenizer.check_model(net.vocab)
    if card["tokenizer"] != tokenizer.fingerprint:
        raise ModelMismatch(
            "the tokenizer has the model's size and other tokens.",
            hint="Use the tokenizer that is saved beside the model.",
        )
    fill(net, checkpoint.weights)
    return TextModel(
        net=net.eval().requires_grad_(False),
        process=from_record(checkpoint.process),
        tokenizer=tokenizer,
        config=checked(TextConfig, dict(card["config"])),
        checkpoint=checkpoint,
    )


def save_model(model: TextModel, folder: Path) -> Path:
    """Write `model.safetensors`, the tokenizer and, for readers, `card.json`; returns the first."""
    tokenizer_files.save(model.tokenizer, folder)
    path = folder / "model.safetensors"
    save(path, model.checkpoint)
    card = {key: getattr(model.checkpoint, key) for key in ("preset", "net", "process", "training")}
    text = json.dumps(card, indent=2, default=lambda value: vars(value))
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    return path


def load_model(path: Path, device: torch.device | str = "cpu") -> TextModel:
    """Read a model from its folder, or from its file with the tokenizer beside it.

    Raises:
        CheckpointError: it is missing, truncated, or of another format or kind.
        ModelMismatch: the tokenizer beside it is of another vocabulary.
    """
    folder = path if path.is_dir() else path.parent
    checkpoint = load(folder / "model.safetensors" if path.is_dir() else path)
    model = model_of(checkpoint, tokenizer_files.load(folder))
    model.net.to(device)
    return model
