"""Codecs on disk: one safetensors file with the size, the weights and the statistics of the latents."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.errors import CheckpointError, ModelMismatch
from core.train.checkpoint import Checkpoint, fill, load, save
from domains.music.codec.oobleck import Oobleck, OobleckConfig
from domains.music.codec.specvae import SpecVAE, SpecVAEConfig

__all__ = ["codec_of", "load_codec", "save_codec"]

ROLE = "codec"


def codec_of(checkpoint: Checkpoint) -> Any:
    """The codec that a checkpoint holds, ready to use.

    Raises:
        CheckpointError: it holds no codec, or one of an unknown kind.
    """
    net = dict(checkpoint.net)
    kind, rate = net.pop("kind", None), net.pop("rate", None)
    for name, value in net.items():
        net[name] = tuple(value) if isinstance(value, list) else value
    codec: nn.Module
    try:
        if kind == "specvae":
            codec = SpecVAE(SpecVAEConfig(**net), rate=rate)
        elif kind == "oobleck":
            codec = Oobleck(OobleckConfig(**net), rate=rate)
        else:
            raise CheckpointError(f"the checkpoint holds {kind!r}, expected a codec (specvae, oobleck).")
    except TypeError as err:
        raise CheckpointError(f"the codec's settings are not known here: {err}.") from err
    fill(codec, checkpoint.weights)
    return codec.eval().requires_grad_(False)


def load_codec(path: Path, *, rate: int | None = None, channels: int | None = None) -> Any:
    """Read a codec.

    Args:
        rate, channels: what the model that uses it was trained with; None accepts any.

    Raises:
        CheckpointError: the file is missing, truncated, or holds no codec.
        ModelMismatch: another rate or number of latent channels; the fields that differ are listed.
    """
    codec = codec_of(load(path, role=ROLE))
    asked = {"rate": rate, "channels": channels}
    differ = [
        f"{name} is {getattr(codec, name)}, expected {value}"
        for name, value in asked.items()
        if value is not None and value != getattr(codec, name)
    ]
    if differ:
        raise ModelMismatch(
            f"{path.name} does not fit: {'; '.join(differ)}.", hint="Use the codec of the model."
        )
    return codec


def save_codec(path: Path, codec: Any, checkpoint: Checkpoint, *, half: bool = True) -> None:
    """Write a codec, with the statistics it has now and the record of its training.

    Args:
        half: store weights as float16, which changes a decoded wave by less than the codec's own error; the
            statistics of the latents stay float32.
    """
    kept = {"shift", "spread"}
    weights = {
        name: value.to(torch.float16) if half and name not in kept and value.is_floating_point() else value
        for name, value in codec.state_dict().items()
    }
    record = {**vars(checkpoint), "weights": weights, "role": ROLE, "net": codec.config}
    save(path, Checkpoint(**record))
