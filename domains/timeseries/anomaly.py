"""How likely a stretch of a series is under a model, and which of its points stand out.

    bound   log p(x_0) >= log N(x_0; D(x_1), s_1^2) - int E|eps - eps(x_t, t)|^2 d ln r - KL(q(x_n | x_0) ||
    N(0, I))
            with r = sigma / alpha, the integral from the first noising step (s_1 = r there) to the last, by
            the midpoint rule in ln r
    ode     the likelihood of the probability-flow ODE (`core.density`), its trace estimated by random probes

Both are nats of a scaled window, all channels together; the scale is added, so that densities are per unit of
the data, and they are divided by the number of entries. The bound is that of continuous time: the sum over
the 100 steps of the chain is far looser, since its first steps are coarse (45 nats for nine entries in the
tests, against 2).

A series is covered by windows one prediction length apart, and each point is scored where it is the most
recent: by the last P points of the first window that ends at or after it. Its score is its own squared noise
error, averaged over ln r. Low is expected, high is an anomaly; unpredictable noise has 1.

Sources: Kingma et al. 2021, arXiv:2107.00630, eqs. 13 to 18 (bound); Song et al. 2021, arXiv:2011.13456,
section 4.3 (ode).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from core.denoise import Denoiser, noise_of
from core.density import hutchinson, log_prob
from core.errors import ConfigError, DataError, unknown
from core.process import LinearBetas
from core.progress import Progress, silent
from core.state import Seeds
from core.train.samples import mixed_seed
from domains.timeseries.data import Array, Series
from domains.timeseries.forecasting import check_series, over_ranks
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import Cut, cut_span, filled

__all__ = ["Anomaly", "bound", "log_density", "score_points"]

Method = Literal["bound", "ode"]


@dataclass(frozen=True)
class Anomaly:
    """Scores of one series.

    Attributes:
        item_id: the series.
        ends: position after the last point of each window, (W,).
        log_density: nats per entry and unit of the data, (W,); higher is more likely.
        points: score of each point, (T,), NaN where no window reaches or the value is missing; higher is
        stranger.
    """

    item_id: str
    ends: Array
    log_density: Array
    points: Array


def bound(denoiser: Denoiser, x0: Tensor, gen: Seeds, *, levels: int = 100) -> tuple[Tensor, Tensor]:
    """The variational bound of log p(x_0).

    Args:
        x0: clean windows, (B, channels, L).
        gen: one seed per window.
        levels: of the integral; one call each, and a tenth as many for the first term.

    Returns:
        Nats, (B,), float64, with a standard error of about 0.8 sqrt(entries) at 100 levels, and the squared
        noise error of each entry averaged over levels, like x0.
    """
    process: Any = denoiser.process
    if not isinstance(process, LinearBetas):
        raise ConfigError("the bound needs a model of noising steps, of kind 'tsdiff'.")
    d, (near, far) = x0[0].numel(), process.ends
    low, high = math.log(process.ratio(near)), math.log(process.ratio(far))
    a, s2 = process.alpha(far), process.sigma(far) ** 2
    square = x0.double().square().flatten(1).sum(1)
    total = -(a**2 * square + d * (s2 - 1 - math.log(s2))) / 2
    each = torch.zeros_like(x0)
    with torch.no_grad():
        for number in range(levels):
            t = process.time(math.exp(low + (high - low) * (number + 0.5) / levels))
            x, eps = process.perturb(x0, t, gen)
            found: Any = noise_of(process, x, denoiser(x, t).mean, t)
            each += (found - eps).square() / levels
        miss, again = torch.zeros_like(total), max(1, levels // 10)
        for _ in range(again):
            x, _ = process.perturb(x0, near, gen)
            miss += (denoiser(x, near).mean - x0).double().square().flatten(1).sum(1) / again
    total -= (high - low) * each.double().flatten(1).sum(1)
    spread = process.ratio(near) ** 2
    return total - miss / (2 * spread) - d * math.log(2 * math.pi * spread) / 2, each


def log_density(
    model: SeriesModel,
    cuts: Sequence[Cut],
    keys: Sequence[tuple[str, ...]],
    *,
    method: Method = "bound",
    seed: int = 0,
) -> tuple[Array, Array]:
    """Log density of windows, nats per entry and unit of the data, (N,), and errors per entry (N, channels,
    L).

    Args:
        keys: what the random numbers of each window depend on.
        method: "bound", or "ode" (whose second result is NaN).
    """
    if method not in get_args(Method):
        raise unknown("method", method, get_args(Method))
    device = next(model.denoiser.parameters()).device
    out, errors = [], []
    for piece, key in zip(cuts, keys, strict=True):
        x0 = torch.from_numpy(piece.values).to(device, torch.float32)[None]
        seeds = Seeds([mixed_seed(seed, *key, "density")])
        if method == "bound":
            nats, each = bound(model.denoiser, x0, seeds)
        else:
            # Read as a state at the first noising step, which the network was trained on.
            noisy, _ = model.denoiser.process.perturb(x0, 1.0, seeds)
            nats = log_prob(
                model.denoiser, noisy, n=25, divergence=hutchinson(model.denoiser, seeds, probes=4)
            ).nats
            each = torch.full_like(x0, math.nan)
        out.append(float(nats) / x0.numel() - math.log(piece.scale))
        errors.append(each[0].cpu().numpy())
    return np.array(out), np.stack(errors)


def score_points(
    model: SeriesModel,
    series: Sequence[Series],
    *,
    method: Method = "bound",
    last: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Anomaly]:
    """Score the points of every series.

    Args:
        model: unconditional, of the same frequency.
        last: score this many points at the end; all that a window reaches by default.
        seed: same seed, same scores.

    Raises:
        DataError: a series is shorter than a window.
    """
    if model.kind != "tsdiff":
        raise ConfigError(
            f"a score needs an unconditional model, got one of kind '{model.kind}'.", hint="Use a tsdiff one."
        )
    shape = model.shape
    for item in series:
        check_series(model, item)
        if len(item) < shape.length:
            raise DataError(
                f"series '{item.item_id}' has {len(item)} points, a window of the model {shape.length}.",
                hint="Leave the series out, or train a model with a shorter context.",
            )
    places = [_ends(len(item), shape.length, shape.prediction, last) for item in series]
    most_windows, most_points = max(map(len, places)), max(len(item) for item in series)
    done = 0

    def some(index: list[int]) -> Array:
        nonlocal done
        out = np.full((len(index), most_windows + most_points), 0.0)
        for row, i in zip(out, index, strict=True):
            item, ends = series[i], places[i]
            closed = filled(item.target)
            cuts = [cut_span(closed[:end], end, shape) for end in ends]
            keys = [(item.item_id, str(item.start + end)) for end in ends]
            density, errors = log_density(model, cuts, keys, method=method, seed=seed)
            row[: len(ends)] = density
            points = np.full(len(item), np.nan)
            for end, error in zip(ends, errors, strict=True):
                points[end - shape.prediction : end] = error[0, -shape.prediction :]
            row[most_windows : most_windows + len(item)] = np.where(np.isnan(item.target), np.nan, points)
            done += 1
            progress("score", done, len(series), None)
        return out

    rows = over_ranks(len(series), (most_windows + most_points,), some)
    return [
        Anomaly(item.item_id, np.array(ends), row[: len(ends)], row[most_windows : most_windows + len(item)])
        for item, ends, row in zip(series, places, rows, strict=True)
    ]


def _ends(n: int, length: int, step: int, last: int | None) -> list[int]:
    """Ends of windows one step apart, counted back from the end of the series, left to right."""
    first = length if last is None else max(length, n - last + 1)
    return sorted(range(n, first - 1, -step))
