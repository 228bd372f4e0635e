"""Training of the networks that judge songs, the recogniser and the tagger: one recipe for both.

Adam with a short warm-up and a rate that falls to 0 along a cosine; the weights that are kept are a running
average. Samples are drawn from recordings in memory, so snapshots are taken by the clock.
"""

from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import nn

from core.progress import Progress, silent
from core.train.checkpoint import Checkpoint
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Objective
from core.train.samples import Drawn

__all__ = ["Recipe", "fit_judge"]

M = TypeVar("M", bound=nn.Module)


class Recipe(Protocol):
    """What the settings of both have."""

    @property
    def steps(self) -> int: ...

    @property
    def batch(self) -> int: ...

    @property
    def lr(self) -> float: ...

    @property
    def ema(self) -> float: ...


def fit_judge(
    model: M,
    loss: Objective,
    samples: Any,
    recipe: Recipe,
    *,
    role: str,
    facts: dict[str, Any],
    seed: int,
    folder: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[M, Checkpoint]:
    """Train a network in place.

    Args:
        loss: of the core's loop.
        samples: a generator -> one sample, for `core.train.Drawn`.
        recipe: steps, batch, rate, decay of the average.
        role: "recogniser" or "tagger"; of the checkpoint, and what the progress line says.
        facts: for the record of training.
        seed: of samples.
        folder: where snapshots and the log go.
        resume: go on from the newest snapshot.

    Returns:
        The network with its averaged weights, for use, and the record of its training.
    """
    config = FitConfig(
        steps=recipe.steps,
        batch=recipe.batch,
        lr=recipe.lr,
        schedule="cosine",
        warmup=min(30, recipe.steps // 10),
        ema=EMA(recipe.ema),
        every_steps=None,
        every_seconds=120.0,
        log_every=10,
    )
    checkpoint = fit(
        loss,
        model,
        Drawn(samples),
        config,
        seed=seed,
        folder=folder,
        resume=resume,
        card={"role": role, "training": facts},
        stage=f"train {role}",
        progress=progress,
    )
    model.load_state_dict(dict(checkpoint.weights))
    return model.eval().requires_grad_(False), checkpoint
