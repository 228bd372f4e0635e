"""Guidance towards rare samples: a classifier of how hard a state is to denoise, and its gradient.

    1. score      l(x_0) = mean over eps of d(x_0, D(alpha x_0 + sigma eps, t)) at one noise level
    2. cut        l into `levels` classes of equal size: class 0 is typical, the last is rare
    3. train      a classifier of the class that sees noisy states (`Noisy`, `Labelled`, `core.train.fit`)
    4. sample     with `core.steer.guidance.classifier` towards a class, weight w

A state from a thin region is denoised towards the dense ones, so its error is large. With the squared
distance l is (sigma / alpha)^2 times the error of the predicted noise. Without a classifier, train the model
itself with the class as its condition and use `core.steer.guidance.classifier_free`.

Source: Um et al. 2023, arXiv:2301.12334, eqs. 6 to 8. Their settings for LSUN bedrooms: 5 repeats, step 60 of
1000, 100 classes, w = 3.5 towards the last, AdamW 3e-4 with weight decay 0.05, batch 256, 60 000 updates.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from core.denoise import Denoiser
from core.errors import ConfigError
from core.process.gaussian import Gaussian
from core.state import Source, batch_size, leaves, per_sample, uniform
from core.steer.guidance import Guided, Scale, classifier
from core.train.objective import LogUniform, Times
from core.train.samples import Batch

__all__ = ["Labelled", "Noisy", "Perceptual", "minority", "minority_score", "quantile_classes", "squared"]

Perceptual: TypeAlias = Callable[[Any, Any], Tensor]


def squared(x0: Any, mean: Any) -> Tensor:
    """Squared distance of states, summed over entries, (B,)."""
    parts = [(a - b).abs().square().flatten(1).sum(1) for a, b in zip(leaves(x0), leaves(mean), strict=True)]
    return sum(parts[1:], parts[0])


def minority_score(
    denoiser: Denoiser,
    x0: Any,
    t: float,
    gen: Source,
    *,
    repeats: int = 5,
    distance: Perceptual = squared,
    cond: Any = None,
) -> Tensor:
    """How badly a state comes back from the noise level t, (B,). One call of the denoiser per repeat.

    Args:
        x0: clean states, (B, ...) or a mapping.
        t: one level, where sigma / alpha is about the distance between clusters (0.6 on unit data).
        repeats: noises per state.
        distance: (x0, mean) -> (B,): squared, or a perceptual one.
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}.")
    total = torch.zeros(batch_size(x0), dtype=torch.float64, device=next(leaves(x0)).device)
    with torch.no_grad():
        for _ in range(repeats):
            x, _ = denoiser.process.perturb(x0, t, gen)
            total += distance(x0, denoiser(x, t, cond).mean).to(torch.float64)
    return total / repeats


def quantile_classes(scores: Tensor, levels: int) -> Tensor:
    """Class 0 .. levels - 1 of each score by its rank, (B,); classes differ by at most one in size."""
    if not 2 <= levels <= len(scores):
        raise ConfigError(f"levels must lie in [2, {len(scores)}], got {levels}.")
    rank = torch.empty_like(scores, dtype=torch.long)
    rank[scores.argsort(stable=True)] = torch.arange(len(scores), device=scores.device)
    return rank * levels // len(scores)


class Noisy(nn.Module):
    """A classifier of noisy states: net(c_in x, ln(sigma / alpha) / 4) -> logits (B, levels).

    Args:
        net: called with the state at unit variance, (B, ...), and the noise level, (B,).
        process: Gaussian.
        data_std: root-mean-square standard deviation of the clean data.
    """

    def __init__(self, net: nn.Module, process: Gaussian, data_std: float = 1.0) -> None:
        super().__init__()
        if not isinstance(process, Gaussian):
            raise ConfigError(f"a noisy classifier needs a Gaussian process, got {type(process).__name__}.")
        self.net, self.process, self.data_std = net, process, data_std

    def forward(self, x: Tensor, t: Any) -> Tensor:
        """Logits of the classes at noisy states x, (B, levels)."""
        t = t if isinstance(t, Tensor) else torch.full((len(x),), t, dtype=torch.float64, device=x.device)
        t = t.to(torch.float64).expand(len(x))
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        unit = (alpha**2 * self.data_std**2 + sigma**2).rsqrt().to(x.dtype)
        out: Tensor = self.net(per_sample(unit, x) * x, ((sigma / alpha).log() / 4).to(x.dtype))
        return out

    def log_prob(self, x: Tensor, t: Any, label: int) -> Tensor:
        """log p(label | x_t), (B,)."""
        return torch.log_softmax(self(x, t), 1)[:, label]


@dataclass(frozen=True)
class Labelled:
    """Objective of `core.train.fit`: cross entropy of the class (the batch's `cond`) at noisy states.

    Args:
        times: law of the noise levels.
    """

    times: Times = field(default_factory=lambda: LogUniform(0.01, 20.0))

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        process = denoiser.process
        u = uniform((batch_size(batch.x0),), gen, dtype=torch.float64, device=batch.x0.device)
        t = self.times.times(process, u)
        x, _ = process.perturb(batch.x0, t, gen)
        return nn.functional.cross_entropy(denoiser(x, t), batch.cond, reduction="none")


def minority(denoiser: Denoiser, noisy: Noisy, label: int, scale: Scale = 1.0) -> Guided:
    """Steer a model, conditional or not, towards one class of rareness.

    Args:
        noisy: the trained classifier; `core.steer.guidance.classifier` takes a closed form as well.
        label: the class wanted; the last one is the rarest.
        scale: w.
    """
    return classifier(denoiser, lambda x, t: noisy.log_prob(x, t, label), scale)
