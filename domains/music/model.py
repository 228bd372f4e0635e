"""A trained song model: the network with all that must be known to use it, and its file.

model.safetensors    weights, and in its header: process, settings of the network, and under "song" the
                     settings of training, the clock (rate, hop), latent channels, stems, phones and tags
card.json            the same record for readers
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from core.denoise import Wrapped, wrap
from core.errors import CheckpointError, ModelMismatch
from core.process import RectifiedFlow
from core.seeded import seeded
from core.train import Checkpoint, denoiser_of, load, save
from domains.music.config import SongConfig, checked
from domains.music.dit import SongDiT
from domains.music.frames import HOP, RATE
from domains.music.style import TagStyle

__all__ = [
    "FORMAT",
    "ROLE",
    "SongModel",
    "card_of",
    "load_model",
    "model_of",
    "network",
    "save_model",
    "untrained",
]

FORMAT = 1
ROLE = "song"


@dataclass(frozen=True)
class SongModel:
    """A model of songs.

    Attributes:
        denoiser: the posterior of clean latents, (B, stems x channels, L); under `net` the `SongDiT`.
        config: how it was built and trained.
        rate, hop: samples a second of its waves, and samples per latent frame.
        vocabulary: tags of its styles, for the encoder "tags".
        checkpoint: what is stored.
    """

    denoiser: Wrapped
    config: SongConfig
    rate: int
    hop: int
    vocabulary: Mapping[str, tuple[str, ...]]
    checkpoint: Checkpoint

    @property
    def net(self) -> SongDiT:
        return self.denoiser.net  # type: ignore[return-value]

    @property
    def student(self) -> bool:
        """Whether it is a flow map, sampled by jumps."""
        return bool(self.net.config["student"])

    @property
    def max_frames(self) -> int:
        """Longest canvas of one run, frames."""
        return self.net.max_frames

    @property
    def channels(self) -> int:
        """Of the latents of all stems."""
        return self.net.channels

    @property
    def device(self) -> torch.device:
        return self.net.leave.weight.device

    @property
    def tags(self) -> TagStyle:
        """The encoder of its tags."""
        return TagStyle(self.vocabulary)

    def check_codec(self, codec: Any) -> None:
        """Refuse a codec of another clock or size.

        Raises:
            ModelMismatch: lists the fields that differ.
        """
        own = {"rate": self.rate, "hop": self.hop, "channels": self.channels // self.net.stems}
        other = {name: getattr(codec, name) for name in own}
        if wrong := [
            f"{name} {other[name]} (the model has {own[name]})" for name in own if own[name] != other[name]
        ]:
            raise ModelMismatch(
                f"the codec differs from the one the model was trained with: {', '.join(wrong)}.",
                hint="Use the codec that ships beside the model.",
            )


def network(config: SongConfig, *, style: int | None = None, student: bool = False, seed: int = 0) -> SongDiT:
    """The network of a configuration with its first weights, a function of the seed.

    Args:
        style: length of a style vector, where its encoder sets it.
    """
    with seeded(seed):
        return SongDiT(
            config.channels * config.stems,
            stems=config.stems,
            style=config.style if style is None else style,
            student=student,
            **config.net.model_dump(),
        )


def untrained(config: SongConfig, *, style: int | None = None, seed: int = 0) -> Wrapped:
    """The denoiser of a configuration with its first weights."""
    return wrap(network(config, style=style, seed=seed), RectifiedFlow(), predicts="flow")


def card_of(
    config: SongConfig, vocabulary: Mapping[str, tuple[str, ...]], *, rate: int = RATE, hop: int = HOP
) -> dict[str, Any]:
    """What a checkpoint records under "song"."""
    return {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "rate": rate,
        "hop": hop,
        "channels": config.channels,
        "stems": config.stems,
        "phones": config.net.phones,
        "vocabulary": {name: list(tags) for name, tags in vocabulary.items()},
    }


def model_of(checkpoint: Checkpoint) -> SongModel:
    """The model of a checkpoint, ready to use.

    Raises:
        CheckpointError: it is no model of songs, or of another format.
    """
    card = checkpoint.training.get("song")
    if checkpoint.role != ROLE or not isinstance(card, Mapping):
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected '{ROLE}'.",
            hint="Train one: suffuse music train dit.",
        )
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"the model has format {card.get('format')}, this version reads {FORMAT}.", hint="Train it again."
        )
    try:
        net = SongDiT(**checkpoint.net)
    except TypeError as err:
        raise CheckpointError(f"the checkpoint describes no song network: {err}.") from err
    return SongModel(
        denoiser=denoiser_of(checkpoint, net),
        config=checked(SongConfig, card["config"]),
        rate=card["rate"],
        hop=card["hop"],
        vocabulary={name: tuple(tags) for name, tags in card["vocabulary"].items()},
        checkpoint=checkpoint,
    )


def save_model(model: SongModel, folder: Path, *, half: bool = False) -> Path:
    """Write `model.safetensors` and, for readers, `card.json`; returns the first.

    Args:
        half: weights in half precision, to ship them.
    """
    checkpoint = model.checkpoint
    if half:
        weights = {name: value.half() for name, value in checkpoint.weights.items()}
        checkpoint = Checkpoint(**{**vars(checkpoint), "weights": weights})
    path = folder / "model.safetensors"
    save(path, checkpoint)
    card = {key: getattr(checkpoint, key) for key in ("role", "preset", "net", "process", "training")}
    text = json.dumps(card, indent=2, default=asdict)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    return path


def load_model(path: Path, device: torch.device | str = "cpu") -> SongModel:
    """Read a model from its folder or its file.

    Raises:
        CheckpointError: it is missing, truncated, or of another format or kind.
    """
    model = model_of(load(path / "model.safetensors" if path.is_dir() else path))
    model.denoiser.to(device)
    return model
