"""A run small enough to be repeated: a perceptron with dropout on 24 vectors.

As a program, `tiny_run.py FOLDER`, it can be killed.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import Wrapped, wrap
from core.process import Karras
from core.train.checkpoint import Checkpoint
from core.train.config import FitConfig
from core.train.ema import PowerEMA
from core.train.loop import fit
from core.train.objective import Denoising, LogUniform
from core.train.samples import Shuffled

OBJECTIVE = Denoising(LogUniform(0.01, 2.0), data_std=1.0)
CONFIG = FitConfig(
    steps=20,
    batch=8,
    lr=1e-2,
    schedule="cosine",
    warmup=4,
    ema=PowerEMA(0.1),
    every_steps=3,
    every_seconds=None,
    keep=2,
)


class Perceptron(nn.Module):
    """net(x (B, 4), c_noise (B,)) -> (B, 4)."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.config = {"dropout": dropout}
        self.layers = nn.ModuleList([nn.Linear(5, 16), nn.Linear(16, 4)])
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.training:
            self.calls += 1
        h = torch.tanh(self.layers[0](torch.cat([x, c_noise[:, None]], 1)))
        return self.layers[1](self.dropout(h))


def build(dropout: float = 0.1) -> tuple[Wrapped, Shuffled]:
    """A new denoiser and its data, the same at every call; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        denoiser = wrap(Perceptron(dropout), Karras(0.01, 2.0), predicts="edm", data_std=1.0)
    vectors = torch.randn(24, 4, generator=torch.Generator().manual_seed(2))
    return denoiser, Shuffled(vectors, augment=flipped)


def flipped(x0: Tensor, gen: torch.Generator) -> Tensor:
    return x0.flip(0) if torch.rand((), generator=gen) < 0.5 else x0


def train(config: FitConfig = CONFIG, *, seed: int = 5, dropout: float = 0.1, **options: Any) -> Checkpoint:
    """The run."""
    denoiser, data = build(dropout)
    return fit(OBJECTIVE, denoiser, data, config, seed=seed, **options)


def tell(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
    """Say which step is done, and wait before the last one for a kill that comes late."""
    print(done, flush=True)
    time.sleep(0.02 if done < CONFIG.steps - 1 else 60)  # so that the kill lands near the step it chose


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(folder=Path(sys.argv[1]), progress=tell)
