"""How a network is trained: the settings of `fit`, and the learning rate they mean."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from core.errors import ConfigError, unknown
from core.train.ema import EMA, WeightAverage

__all__ = ["FitConfig", "rate"]

Optimizer: TypeAlias = Literal["adam", "adamw"]
Schedule: TypeAlias = Literal["constant", "cosine", "exponential"]


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained.

    Args:
        steps: updates of the weights.
        batch: samples per update, over all processes.
        lr: peak learning rate.
        optimizer: "adam" or "adamw".
        betas: decay of Adam's two moments.
        weight_decay: decoupled, for "adamw" only.
        schedule: "constant", "cosine" from the peak to 0 at the last step, or "exponential".
        decay: factor of the rate after each step, for "exponential" only.
        warmup: steps over which the rate rises linearly from lr / warmup to lr.
        clip: largest norm of the gradient; None for no limit.
        ema: the average that is sampled from: EMA, PowerEMA, or None for the last weights.
        micro_batches: parts the batch is cut into, to save memory.
        every_steps: steps between snapshots; None for none but the last.
        every_seconds: also a snapshot when the last one is this old.
        keep: snapshots kept.
        log_every: steps between lines of the log.
    """

    steps: int
    batch: int
    lr: float = 2e-4
    optimizer: Optimizer = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    decay: float = 1.0
    warmup: int = 0
    clip: float | None = 1.0
    ema: WeightAverage | None = field(default_factory=EMA)
    micro_batches: int = 1
    every_steps: int | None = 1000
    every_seconds: float | None = None
    keep: int = 2
    log_every: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro_batches", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("lr", "clip", "every_steps", "every_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}.")
        if not 0 <= self.warmup <= self.steps:
            raise ConfigError(f"warmup must lie in [0, {self.steps}] steps, got {self.warmup}.")
        if self.batch % self.micro_batches:
            raise ConfigError(
                f"a batch of {self.batch} does not divide into {self.micro_batches} micro-batches."
            )
        if self.optimizer not in get_args(Optimizer):
            raise unknown("optimizer", self.optimizer, get_args(Optimizer))
        if self.schedule not in get_args(Schedule):
            raise unknown("schedule", self.schedule, get_args(Schedule))
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay must lie in (0, 1], got {self.decay}.")
        if self.weight_decay and self.optimizer == "adam":
            raise ConfigError("weight_decay is for adamw.", hint="Set optimizer='adamw'.")


def rate(config: FitConfig, step: int) -> float:
    """Learning rate of a step, counted from 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "exponential":
        return config.lr * config.decay**step
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * (1 + math.cos(math.pi * done)) / 2
