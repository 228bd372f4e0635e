"""Small text models with random weights, so that every property that does not need training can be tested."""

import torch

from core.process import to_record
from core.train.checkpoint import Checkpoint
from domains.language.config import TextConfig, preset_for
from domains.language.radd import FORMAT, ROLE, TextModel, model_of
from domains.language.tokenizer import Tokenizer, train_tokenizer
from domains.language.training import untrained


def random_model(
    tokenizer: Tokenizer | None = None,
    config: TextConfig | None = None,
    scale: float = 1.0,
    **changes: object,
) -> TextModel:
    """An untrained network whose head says something."""
    tokenizer = tokenizer or train_tokenizer("char", ["abcdefgh"])
    config = config or preset_for("nano", {"length": 32, **changes})
    denoiser = untrained(config, tokenizer.size, seed=1)
    gen = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in denoiser.net.named_parameters():
            if parameter.abs().sum() == 0:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=gen))
            elif "qkv" in name:
                parameter.mul_(3.0)  # so that masks at different places differ by more than rounding
    card = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "kind": tokenizer.kind,
        "config": config.model_dump(mode="json"),
    }
    checkpoint = Checkpoint(
        weights=denoiser.net.state_dict(),
        process=to_record(denoiser.process),
        predicts="x0",
        data_std=1.0,
        role=ROLE,
        net=denoiser.net.config,
        training={"text": card},
    )
    return model_of(checkpoint, tokenizer)
