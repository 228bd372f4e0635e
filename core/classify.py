"""Classification by a conditional diffusion model: the class under which a clean state is denoised best.

    label = argmin_c  sum over (t, eps) of  distance(D(x_t, t, c), x_0),      x_t = alpha x_0 + sigma eps

Every class sees the same times and the same noise: the noise's share of the error is then common to all
classes and cancels in their differences. Distances are taken in the unit of the data ("data", the default) or
of the noise ("noise", divided by r = sigma / alpha, as published); the second gives small noise levels, where
classes differ least from one another, the largest say.

The posterior comes from the evidence bound whatever the distance: with times even in ln r,

    -log p(x_0 | c) <= const + ln(r_high / r_low) mean over times of |D - x_0|^2 / r^2 = bound,

so p(c | x_0) = softmax(log prior - bound / temperature). The temperature is 1 for an exact model with many
times; `temperature` fits it to labelled states.

Sources: Li et al. 2023, arXiv:2303.16203, algorithms 1 (paired) and 2 (successive elimination); the bound is
that of Kingma et al. 2021, arXiv:2107.00630, eq. 15.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, unknown
from core.process.gaussian import Gaussian
from core.state import Source, batch_size, leaves

__all__ = ["Distance", "Evidence", "Unit", "classify", "even_times", "temperature"]

Distance: TypeAlias = Literal["l2", "l1", "huber"]
Unit: TypeAlias = Literal["data", "noise"]

DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "l2": lambda e: e.square(),
    "l1": lambda e: e,
    "huber": lambda e: torch.where(e < 1, e.square() / 2, e - 0.5),
}


@dataclass(frozen=True)
class Evidence:
    """What a run of the classifier found; B states, C classes.

    Attributes:
        distance: mean distance over the times that a class saw, (B, C); infinite once it was eliminated.
        bound: bound on -log p(x_0 | c) up to a constant, nats, (B, C), from the times that a class saw.
        evaluations: denoised states per sample.
    """

    distance: Tensor
    bound: Tensor
    evaluations: int

    @property
    def label(self) -> Tensor:
        """The class of least distance, (B,)."""
        return self.distance.argmin(1)

    def posterior(self, *, temperature: float = 1.0, log_prior: Tensor | None = None) -> Tensor:
        """p(c | x_0) from the bounds, (B, C); zero for classes that were eliminated."""
        logits = -self.bound / temperature
        logits = logits if log_prior is None else logits + log_prior
        return torch.softmax(logits.masked_fill(self.distance.isinf(), -math.inf), 1)

    def confidence(self, *, temperature: float = 1.0, log_prior: Tensor | None = None) -> Tensor:
        """Share of the chosen label in the posterior of it and its best rival, (B,), in [0, 1].

        Abstain where it is low. Below 1/2 the distance and the bound disagree.
        """
        probs = self.posterior(temperature=temperature, log_prior=log_prior)
        mine = probs.gather(1, self.label[:, None])[:, 0]
        rival = probs.scatter(1, self.label[:, None], 0.0).amax(1)
        return mine / (mine + rival).clamp(min=torch.finfo(probs.dtype).tiny)


def even_times(
    process: Gaussian, n: int, *, low: float | None = None, high: float | None = None
) -> list[float]:
    """n times at the middles of equal cells of ln(sigma / alpha), in an order whose every beginning is spread
    out.

    Args:
        low, high: ratios sigma / alpha that the cells cover; the ends of the process by default.
    """
    near, far = process.ends
    low = process.ratio(near) if low is None else low
    high = process.ratio(far) if high is None else high
    if n < 1 or not 0 < low < high < math.inf:
        raise ConfigError(f"times need n >= 1 and 0 < low < high, got n={n}, low={low}, high={high}.")
    bits = max(1, (n - 1).bit_length())
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]  # van der Corput's order
    cells = [(i + 0.5) / n for i in order if i < n]
    return [process.time(low * (high / low) ** cell) for cell in cells]


def classify(
    denoiser: Denoiser,
    x0: Any,
    conds: Any,
    times: Sequence[float],
    gen: Source,
    *,
    distance: Distance = "l2",
    unit: Unit = "data",
    stages: Sequence[tuple[int, int]] = (),
) -> Evidence:
    """Find the class under which each state is denoised best. One call per time, on all classes left.

    Args:
        denoiser: a conditional model of a Gaussian process.
        x0: clean states, (B, ...) or a mapping.
        conds: one condition per class, (C, ...) or a mapping: labels, embeddings of prompts.
        times: one trial each, spread over the noise levels from the first on; see `even_times`.
        gen: draws one noise per time, shared by all classes.
        distance: "l2", "l1" or "huber" (with threshold 1), summed over entries.
        unit: "data" or "noise".
        stages: pairs (n, keep): after n times only the best `keep` classes of each state go on; when one is
            left the run ends.

    Raises:
        ConfigError: unknown distance or unit, the process is not Gaussian, or stages that do not decrease.
    """
    process = denoiser.process
    if not isinstance(process, Gaussian):
        raise ConfigError(f"the classifier needs a Gaussian process, got {type(process).__name__}.")
    if distance not in DISTANCES:
        raise unknown("distance", distance, DISTANCES)
    if unit not in get_args(Unit):
        raise unknown("unit", unit, get_args(Unit))
    size, count = batch_size(x0), batch_size(conds)
    cuts = _cuts(stages, len(times), count)
    first = next(leaves(x0))
    width = _width(process, times)
    kept = torch.arange(count, device=first.device).expand(size, count)
    sums = torch.zeros(2, size, count, dtype=torch.float64, device=first.device)
    seen = torch.zeros(size, count, dtype=torch.float64, device=first.device)
    evaluations = 0
    for number, t in enumerate(times):
        x, _ = process.perturb(x0, t, gen)
        found = _errors(denoiser, x0, x, t, conds, kept, DISTANCES[distance], unit)
        evaluations += kept.shape[1]
        for total, value in zip(sums, found, strict=True):
            total.scatter_add_(1, kept, value)
        seen.scatter_add_(1, kept, torch.ones_like(found[0]))
        if number + 1 in cuts:
            best = sums[0].gather(1, kept).argsort(dim=1, stable=True)[:, : cuts[number + 1]]
            kept = kept.gather(1, best).sort(1).values
            if kept.shape[1] == 1:
                break
    left = torch.zeros(size, count, dtype=torch.bool, device=first.device).scatter(1, kept, True)
    means = sums / seen
    return Evidence(means[0].masked_fill(~left, math.inf), width * means[1], evaluations)


def temperature(bound: Tensor, labels: Tensor, *, log_prior: Tensor | None = None) -> float:
    """The temperature of least log loss on labelled states, found on a grid that is refined three times.

    Args:
        bound: (B, C), of `Evidence` without elimination.
        labels: true classes, (B,).
    """
    shift = 0.0 if log_prior is None else log_prior

    def loss(value: float) -> float:
        logits = torch.log_softmax(-bound / value + shift, 1)
        return -float(logits.gather(1, labels[:, None]).mean())

    centre, reach = 0.0, math.log(1e4)
    for _ in range(4):
        grid = [centre + reach * (i / 20 - 1) for i in range(41)]
        centre = min(grid, key=lambda u: loss(math.exp(u)))
        reach /= 20
    return math.exp(centre)


def _errors(
    denoiser: Denoiser,
    x0: Any,
    x: Any,
    t: float,
    conds: Any,
    kept: Tensor,
    distance: Callable[[Tensor], Tensor],
    unit: str,
) -> tuple[Tensor, Tensor]:
    """Distance in its unit and squared error in units of the noise, of the classes left, (B, K) each."""
    size, count = kept.shape
    rows = torch.arange(size, device=kept.device).repeat_interleave(count)
    with torch.no_grad():
        mean = denoiser(_taken(x, rows), t, _taken(conds, kept.reshape(-1))).mean
    ratio = denoiser.process.ratio(t)
    gaps = [
        (found - true).abs().flatten(1).to(torch.float64)
        for found, true in zip(leaves(mean), leaves(_taken(x0, rows)), strict=True)
    ]
    scaled = [distance(gap / ratio if unit == "noise" else gap).sum(1) for gap in gaps]
    squares = [(gap / ratio).square().sum(1) for gap in gaps]
    return sum(scaled[1:], scaled[0]).reshape(size, count), sum(squares[1:], squares[0]).reshape(size, count)


def _taken(state: Any, index: Tensor) -> Any:
    """Rows of a state or of conditions, masks included."""
    if isinstance(state, Mapping):
        return {key: _taken(value, index) for key, value in state.items()}
    return state[index]


def _width(process: Gaussian, times: Sequence[float]) -> float:
    """ln(r_high / r_low) that evenly spaced times stand for: their range and half a cell at each end.

    One time says nothing of its range and counts as 1.
    """
    if not times:
        raise ConfigError("the classifier needs at least one time, got none.")
    logs = [math.log(process.ratio(t)) for t in times]
    n = len(logs)
    return (max(logs) - min(logs)) * n / (n - 1) if n > 1 else 1.0


def _cuts(stages: Sequence[tuple[int, int]], n: int, classes: int) -> dict[int, int]:
    after, keep = 0, classes
    for stage in stages:
        if not (after < stage[0] <= n and 1 <= stage[1] < keep):
            raise ConfigError(
                f"stages need rising numbers of times up to {n} and falling numbers of classes below "
                f"{classes}, got {list(stages)}."
            )
        after, keep = stage
    return dict(stages)
