"""Anomalies as what a prior of healthy pictures does not give back: noise to a level, denoise, compare.

    x_t = x + sigma z,    x_hat = what the deterministic sampler reaches from x_t,    |x - x_hat|

What the prior knows returns; what it never saw is replaced by what it would expect there. The level decides:
too little noise and everything returns, too much and nothing does. Several noises are averaged.

For pictures of one law N(m, s^2) per pixel the sampler is the linear map x_hat = m + (x_t - m) s / sqrt(s^2 +
sigma^2), so an offset d of x is off by d (1 - s / sqrt(s^2 + sigma^2)) in the mean.

Source: Wyatt et al. 2022, CVPR workshops 650-656 (AnoDDPM: partial noising, reconstruction, difference).
Deviations: a deterministic reconstruction, averaged over noises; plain Gaussian noise, not simplex noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan import ddim, log
from core.progress import Progress, silent
from core.run import sample
from core.state import Seeds

__all__ = ["Anomaly", "find_anomalies"]


@dataclass(frozen=True)
class Anomaly:
    """What was found in each picture, levels, (F, H, W).

    Attributes:
        expected: mean reconstruction.
        difference: |x - expected|.
    """

    expected: Tensor
    difference: Tensor


def find_anomalies(
    levels: Tensor,
    denoiser: Denoiser,
    *,
    sigma: float,
    steps: int = 20,
    end: float = 0.01,
    samples: int = 4,
    seed: int = 0,
    batch: int = 8,
    progress: Progress = silent,
) -> Anomaly:
    """Map what a prior would not have drawn.

    Args:
        levels: pictures (F, H, W), in the unit of the prior.
        denoiser: of pictures (B, 1, H, W).
        sigma: noise level that pictures are taken to, over alpha.
        steps: calls of the denoiser per picture and noise; levels are spaced evenly in their logarithm.
        end: last noise level before the clean estimate.
        samples: noises averaged. Noise k is the same for every picture.
        batch: pictures handled together; the result does not depend on it.

    Raises:
        ConfigError: levels in the wrong order, or no sample.
    """
    if not 0 < end < sigma:
        raise ConfigError(f"the noise level {sigma} must exceed the last one, {end}.", hint="Raise --sigma.")
    if samples < 1 or steps < 2:
        raise ConfigError(f"expected 1 sample and 2 steps at least, got {samples} and {steps}.")
    process = denoiser.process
    plan = ddim(process, log(process, steps, low=end, high=sigma))
    total = torch.zeros_like(levels)
    jobs = [(k, first) for k in range(samples) for first in range(0, len(levels), batch)]
    for done, (k, first) in enumerate(jobs):
        some = levels[first : first + batch, None]
        x, _ = process.perturb(some, plan.start, Seeds([seed + k] * len(some)))
        total[first : first + batch] += sample(plan, denoiser, x)[:, 0]
        progress("anomaly", done + 1, len(jobs), None)
    expected = total / samples
    return Anomaly(expected, (levels - expected).abs())
