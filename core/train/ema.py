"""Averages of the weights along training.

    shadow <- beta_n shadow + (1 - beta_n) weights,        n = 1, 2, ... the step just done

Traditional: beta_n = min(decay, (1 + n) / (10 + n)); the ramp forgets the start-up, whose weights are bad.

Power function: beta_n = (1 - 1/n)^(gamma + 1), so that the weights of step k count with exactly (k^(gamma+1)
- (k-1)^(gamma+1)) / n^(gamma+1): the average always covers the same share of the run, however long it gets.
That share is its relative width std = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3))).

Sources: Song et al. 2021, arXiv:2011.13456, appendix H (traditional; the ramp is in the authors' code);
Karras et al. 2024, arXiv:2312.02696, section 3.1 and appendix C (power function).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = ["EMA", "PowerEMA", "WeightAverage", "averaged"]


@dataclass(frozen=True)
class EMA:
    """Exponential average with a ramp."""

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"EMA needs 0 <= decay < 1, got {self.decay}.")

    def beta(self, step: int) -> float:
        """What is kept of the average after `step` steps, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class PowerEMA:
    """Average over a fixed share of the run.

    Args:
        std: relative width, the standard deviation of the averaged time over the time trained, in (0, 0.289).
    """

    std: float = 0.05

    def __post_init__(self) -> None:
        # gamma = 0, the plain mean over the run, has the width 1 / sqrt(12).
        if not 0 < self.std <= 12**-0.5:
            raise ConfigError(f"PowerEMA needs 0 < std <= {12**-0.5:.3f}, got {self.std}.")

    @property
    def gamma(self) -> float:
        """The exponent: the real root of g^3 + 7 g^2 + (16 - std^-2) g + 12 - std^-2 that is not negative."""
        inverse = self.std**-2
        return max(float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max()), 0.0)

    def beta(self, step: int) -> float:
        """What is kept of the average after `step` steps, counted from 1."""
        return (1 - 1 / step) ** (self.gamma + 1)


WeightAverage: TypeAlias = EMA | PowerEMA


@torch.no_grad()
def averaged(shadow: dict[str, Tensor], weights: dict[str, Tensor], beta: float) -> dict[str, Tensor]:
    """One step of an average, beta shadow + (1 - beta) weights; integers and flags are taken over."""
    return {
        name: torch.lerp(value, shadow[name], beta) if value.is_floating_point() else value.clone()
        for name, value in weights.items()
    }
