"""Finetuning for few steps: samples of a short plan are pulled to the data by a kernel distance.

    loss  =  MMD^2( features(sample(plan, denoiser)),  features(x0) )

in its unbiased form, one number per batch, with gradients through every step of the plan. The plan is never
changed. The memory is that of one call of the network, and each call is made twice, when `checkpoint` is on.

The features that are trained on say nothing about themselves: report the distance on held-out data, and
another metric beside it.

Source: Aiello et al. 2024, arXiv:2301.07969, eq. 5 and algorithm 1 (there DDIM with 5 steps, the cubic
polynomial kernel and image features).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from core.errors import ConfigError
from core.metrics import mmd2, polynomial
from core.plan.table import Plan
from core.recompute import Recomputed
from core.run import steps
from core.state import Source
from core.train.samples import Batch

__all__ = ["MMDFinetune"]

Kernel = Callable[[Tensor, Tensor], Tensor]


def _flat(x: Any) -> Tensor:
    return x.flatten(1)


@dataclass(frozen=True)
class MMDFinetune:
    """Kernel distance between a batch of samples and a batch of data.

    Args:
        plan: deterministic rows; the sampler that is finetuned.
        features: states -> (B, F), differentiable and frozen.
        kernel: of (n, F) and (m, F) -> (n, m); see `core.metrics`.
        checkpoint: recompute each call of the network on the way back.

    Raises:
        ConfigError: the plan draws noise.
    """

    plan: Plan
    features: Callable[[Any], Tensor] = field(default=_flat, repr=False)
    kernel: Kernel = field(default_factory=lambda: polynomial(3), repr=False)
    checkpoint: bool = True

    def __post_init__(self) -> None:
        if self.plan.stochastic:
            raise ConfigError(
                f"finetuning goes through a deterministic plan, '{self.plan.name}' draws noise.",
                hint="Use ddim with eta=0.",
            )

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        """The one distance of the batch, given to each of its samples, (B,)."""
        x = denoiser.process.prior(batch.x0, gen, self.plan.start)
        model = Recomputed(denoiser) if self.checkpoint else denoiser
        for step in steps(self.plan, model, x, cond=batch.cond):
            x = step.next
        made, real = self.features(x), self.features(batch.x0)
        return mmd2(made, real.to(made), self.kernel).expand(len(made))
