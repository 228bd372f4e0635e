"""The denoising objective: the mean of w(t) |D(alpha x0 + sigma eps, t) - x0|^2 over data, noise and times.

Times are drawn by one of three laws, and errors weighted in one of four ways. With r = sigma / alpha the
noise-to-signal ratio:

    law          r or t                        density in t
    LogUniform   ln r uniform                  (d ln r / dt) / ln(high / low)
    LogNormal    ln r normal                   (d ln r / dt) N(ln r; mean, std)
    UniformTime  t uniform on the ends         1 / (end - start)

    weight       w(t)
    edm          (r^2 + sd^2) / (r sd)^2       unit weight on the output of an "edm" network, at every level
    noise        alpha^2 / sigma^2             unit weight on the noise
    data         1
    likelihood   g^2 alpha^2 / sigma^4         divided by the density: estimates the integral of w over t

d ln r / dt = g^2 / (2 sigma^2) for every Gaussian process, so LogUniform is the law that makes the likelihood
weight even in the noise (w / density = 2 ln(high / low) alpha^2 / sigma^2): the matching importance
distribution.

Errors are averaged over the valid entries of each part of the state and added over parts.

Sources: Karras et al. 2022, arXiv:2206.00364, table 1 (edm, LogNormal); Song et al. 2021, arXiv:2011.13456,
eq. 7; Song et al. 2021, arXiv:2101.09258 (likelihood weight and importance). The
factor 1/2 of the likelihood bound is left out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, DataError, unknown
from core.process import Gaussian, Product
from core.state import Source, batch_size, leaves, tree_map, uniform
from core.train.samples import Batch

__all__ = [
    "Denoising",
    "LogNormal",
    "LogUniform",
    "Objective",
    "Times",
    "UniformTime",
    "Weight",
    "data_std",
    "within_variance",
]

Weight: TypeAlias = Literal["edm", "noise", "data", "likelihood"]


class Objective(Protocol):
    """What `fit` lowers: a loss per sample, (B,), a pure function of denoiser, batch and noise."""

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor: ...


class Times(Protocol):
    """A law of training times."""

    def times(self, process: Any, u: Tensor) -> Tensor:
        """Map u uniform on [0, 1), (B,), to times, (B,), float64."""

    def density(self, process: Any, t: Tensor) -> Tensor:
        """Density of the law at t, (B,), per unit of t."""


@dataclass(frozen=True)
class LogUniform:
    """ln(sigma / alpha) uniform between ln low and ln high."""

    low: float = 0.002
    high: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ConfigError(f"LogUniform needs 0 < low < high, got low={self.low}, high={self.high}.")

    def times(self, process: Gaussian, u: Tensor) -> Tensor:
        return _times_of(process, math.log(self.low) + u.double() * math.log(self.high / self.low))

    def density(self, process: Gaussian, t: Tensor) -> Tensor:
        return _log_speed(process, t) / math.log(self.high / self.low)


@dataclass(frozen=True)
class LogNormal:
    """ln(sigma / alpha) normal; the defaults are those of EDM for images of standard deviation 0.5."""

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ConfigError(f"LogNormal needs std > 0, got {self.std}.")

    def times(self, process: Gaussian, u: Tensor) -> Tensor:
        # u = 0 can be drawn and would be minus infinity; half of the spacing of the draws takes its place.
        normal = torch.special.ndtri(u.double().clamp(min=2.0**-54))
        return _times_of(process, self.mean + self.std * normal)

    def density(self, process: Gaussian, t: Tensor) -> Tensor:
        z = (torch.log(process.ratio(t)) - self.mean) / self.std
        return _log_speed(process, t) * torch.exp(-(z**2) / 2) / (self.std * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class UniformTime:
    """t uniform between the ends of the process."""

    def times(self, process: Any, u: Tensor) -> Tensor:
        start, end = process.ends
        return start + (end - start) * u.double()

    def density(self, process: Any, t: Tensor) -> Tensor:
        start, end = process.ends
        return torch.full_like(t, 1 / (end - start))


@dataclass(frozen=True)
class Denoising:
    """Denoising score matching; see the module docstring.

    Args:
        times: law of the training times. A product has no single noise level and takes UniformTime.
        weight: how errors count.
        data_std: standard deviation of the clean data, for "edm"; a mapping gives one per part of a product.
    """

    times: Times = LogUniform()
    weight: Weight = "edm"
    data_std: float | Mapping[str, float] = 1.0

    def __post_init__(self) -> None:
        if self.weight not in get_args(Weight):
            raise unknown("weight", self.weight, get_args(Weight))
        stds = self.data_std.values() if isinstance(self.data_std, Mapping) else [self.data_std]
        if not all(std > 0 for std in stds):
            raise ConfigError(
                f"data_std must be positive, got {self.data_std}.", hint="Measure it: data_std(states)."
            )

    def __call__(self, denoiser: Denoiser, batch: Batch, gen: Source) -> Tensor:
        """Loss of each sample, (B,), at times and noise drawn from `gen`; with `Seeds`, sample by sample."""
        x0, process = batch.x0, denoiser.process
        if isinstance(process, Product) and not isinstance(self.times, UniformTime):
            raise ConfigError(
                f"a product process has no single noise level for {type(self.times).__name__}.",
                hint="Use UniformTime().",
            )
        first = next(leaves(x0))
        u = uniform((batch_size(x0),), gen, dtype=torch.float64, device=first.device)
        t = self.times.times(process, u)
        x, _ = process.perturb(x0, t, gen)
        error = tree_map(lambda d, a: (d - a).abs().square(), denoiser(x, t, batch.cond).mean, x0)
        valid = process.space.project(tree_map(lambda a: torch.ones_like(a.abs()), x0))
        if not isinstance(process, Product):
            return self.weights(process, t).to(first.real.dtype) * _averaged(error, valid)
        terms = [
            self.weights(process, t, part=name).to(first.real.dtype) * _averaged(error[name], valid[name])
            for name in process.parts
        ]
        return torch.stack(terms).sum(0)

    def weights(self, process: Any, t: Tensor, *, part: str | None = None) -> Tensor:
        """w(t), (B,), float64, of a Gaussian process or one part of a product; "likelihood": w / density."""
        alpha, sigma, _, g2 = (process if part is None else process.parts[part]).coeffs(t)
        match self.weight:
            case "edm":
                ratio, std = sigma / alpha, self._std(part)
                return (ratio**2 + std**2) / (ratio * std) ** 2
            case "noise":
                return (alpha / sigma) ** 2
            case "likelihood":
                return g2 * alpha**2 / sigma**4 / self.times.density(process, t)
            case _:
                return torch.ones_like(t)

    def _std(self, part: str | None) -> float:
        if not isinstance(self.data_std, Mapping):
            return self.data_std
        if part is None or part not in self.data_std:
            raise ConfigError(f"data_std has parts {sorted(self.data_std)}, the process asks for '{part}'.")
        return self.data_std[part]


def _averaged(error: Any, valid: Any) -> Tensor:
    """Mean error over the valid entries of each leaf, added over leaves, (B,)."""
    return torch.stack(
        [
            (e * v).flatten(1).sum(1) / v.flatten(1).sum(1).clamp(min=1)
            for e, v in zip(leaves(error), leaves(valid), strict=True)
        ]
    ).sum(0)


def _times_of(process: Gaussian, log_ratio: Tensor) -> Tensor:
    times = [process.time(math.exp(value)) for value in log_ratio.tolist()]
    return torch.tensor(times, dtype=torch.float64, device=log_ratio.device)


def _log_speed(process: Gaussian, t: Tensor) -> Tensor:
    """d ln(sigma / alpha) / dt."""
    return process.g2(t) / (2 * process.sigma(t) ** 2)


def data_std(states: Tensor | Iterable[Tensor]) -> float:
    """Standard deviation of all entries of the clean data about their one mean, for `wrap` and "edm".

    Args:
        states: one tensor, or any number of them, of any shapes. Of a coupled state, measure each part.

    Raises:
        DataError: there is nothing to measure, an entry is not finite, or all entries are equal.
    """
    count, mean, square = 0, 0.0, 0.0
    for x in [states] if isinstance(states, Tensor) else states:
        flat = torch.view_as_real(x).double() if x.is_complex() else x.double()
        n = flat.numel()
        if n == 0:
            continue
        here = float(flat.mean())
        step = here - mean  # the pairwise update of Chan, Golub and LeVeque 1983
        square += float((flat - here).square().sum()) + step**2 * count * n / (count + n)
        mean += step * n / (count + n)
        count += n
    if count == 0 or not math.isfinite(square) or square == 0:
        found = (
            "no values" if count == 0 else "values that are not finite" if square else "one value throughout"
        )
        raise DataError(f"data_std needs finite data that vary, got {found}.")
    return math.sqrt(square / count)


def within_variance(states: Tensor) -> float:
    """Mean over samples of the variance among the entries of one sample, `v0`; states (N, ...)."""
    return float(states.double().flatten(1).var(1, correction=0).mean())
