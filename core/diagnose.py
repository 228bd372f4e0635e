"""Diagnostics against a known truth: errors of a denoiser, a bound on what a sampler loses, guided laws.

    score_error      E |D - D*|^2 by noise level, where the exact denoiser D* is known
    girsanov         an upper bound on KL(truth || samples) of an ancestral plan, split by cause
    kl_estimate      KL between two samples, by nearest neighbours
    guidance_sweep   the law that a guided run reaches, against the tilted law it is often taken for

The bound. With r = sigma / alpha the reverse process of x / alpha has drift (D* - x / alpha) / r^2 per unit
of removed noise, and an ancestral step is the exact solution of the same equation with D held at its value
D_k at the start of the step. By Girsanov's theorem the two path laws differ by

    KL = KL(q_T || prior) + 1/2 sum_k E int_{r_{k+1}}^{r_k} |D*_r - D_k|^2 r^-4 d(r^2),

and the laws of the ends by no more. Along the true process D*_r is a martingale, so the integrand splits into
|D*_k - D_k|^2, the error of the model, and mmse(r_k) - mmse(r), what holding still for a step costs, with
mmse(r) = E tr Cov[x_0 | x_r].

Sources: Chen et al. 2023, arXiv:2209.11215, section 5 (Girsanov); Benton et al. 2024, arXiv:2308.03686 (the
martingale); Wang, Kulkarni & Verdu 2009, IEEE TIT 55(5), p. 2392 (nearest neighbours); Chidambaram et al.
2024, arXiv:2409.13074 (guidance is not the tilted law).
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Denoiser
from core.density.path import prior_log_prob
from core.errors import ConfigError
from core.metrics import sliced_wasserstein
from core.plan.table import Plan, Row
from core.run import sample
from core.state import Source, randn, uniform
from core.steer.guidance import classifier

__all__ = [
    "Departure",
    "KLBound",
    "LevelError",
    "component_classifier",
    "girsanov",
    "guidance_sweep",
    "kl_estimate",
    "score_error",
]

# Nodes and weights of Gauss-Legendre quadrature on [0, 1], exact to degree 7.
NODES = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263)
WEIGHTS = (0.17392742256872693, 0.32607257743127307, 0.32607257743127307, 0.17392742256872693)


@dataclass(frozen=True)
class LevelError:
    """Error of a denoiser at one noise level.

    Attributes:
        ratio: sigma / alpha.
        square: E |D - D*|^2, summed over entries, and its standard error.
        mmse: E |x_0 - D*|^2, what no denoiser can avoid: the yardstick.
        score: E |s - s*|^2 = alpha^2 / sigma^4 times `square`.
    """

    t: float
    ratio: float
    square: float
    standard_error: float
    mmse: float
    score: float


@dataclass(frozen=True)
class KLBound:
    """An upper bound on KL(truth || samples) at the end of a plan, nats, as a sum of causes.

    Attributes:
        prior: the law of the start is not the noise that the plan begins with.
        score: the model is not the exact denoiser.
        discretisation: the denoised state is held still for a step.
        standard_error: of the total.
    """

    prior: float
    score: float
    discretisation: float
    standard_error: float

    @property
    def total(self) -> float:
        return self.prior + self.score + self.discretisation

    def __str__(self) -> str:
        return (
            f"KL <= {self.total:.4g} +- {self.standard_error:.2g} nats (prior {self.prior:.3g}, "
            f"score {self.score:.3g}, discretisation {self.discretisation:.3g})"
        )


@dataclass(frozen=True)
class Departure:
    """A guided law beside the tilted law p(x) p(c | x)^scale.

    Attributes:
        distance: sliced Wasserstein-2 between guided samples and exact ones of the tilted law, root mean
            square over four exact samples.
        floor: the same between two exact samples, over four pairs. Where the class has several modes, both
            vary with how many samples each mode got.
        spread: standard deviation of the guided samples over that of the tilted law.
    """

    scale: float
    distance: float
    floor: float
    spread: float


def score_error(
    denoiser: Denoiser, exact: Mixture, times: Sequence[float], gen: Source, *, n: int = 2000
) -> list[LevelError]:
    """Compare a denoiser with the exact one on the exact noisy law of each time."""
    out = []
    for t in times:
        clean = exact.sample(n, gen)
        x: Any = exact.process.mix(clean, randn(clean, gen), t)
        alpha, sigma = exact.process.alpha(t), exact.process.sigma(t)
        with torch.no_grad():
            square = (denoiser(x, t).mean - exact(x, t).mean).square().sum(1)
        mean = float(square.mean())
        mmse = float(exact.divergence(x, t).mean()) * sigma**2 / alpha
        error = float(square.std()) / math.sqrt(n)
        out.append(LevelError(t, sigma / alpha, mean, error, mmse, mean * alpha**2 / sigma**4))
    return out


def girsanov(plan: Plan, denoiser: Denoiser, exact: Mixture, gen: Source, *, n: int = 4000) -> KLBound:
    """Bound the KL divergence from the noisy truth at `plan.end` to what an ancestral plan samples there.

    Args:
        plan: ancestral rows, ending at positive noise.
        denoiser: the model that the plan is run with.
        exact: the data, as the exact denoiser under the same process.
        n: draws behind every expectation; the same ones at every level.

    Raises:
        ConfigError: the plan's rows are not ancestral, or end at zero noise.
    """
    process = exact.process
    x0, start = exact.sample(n, gen), plan.start
    eps = randn(x0, gen)

    def at(t: float) -> Any:
        return process.mix(x0, eps, t)

    noisy = at(start)
    exact_start = exact.log_prob(noisy, process.alpha(start), process.sigma(start))
    prior = exact_start - prior_log_prob(process, noisy, start)
    score, held = torch.zeros_like(prior), torch.zeros_like(prior)

    def open_variance(ratio: float) -> Tensor:
        t = process.time(ratio)
        return exact.divergence(at(t), t) * process.sigma(t) ** 2 / process.alpha(t)

    for row in plan.rows:
        before, after = _ratios(process, row)
        x = at(row.t)
        with torch.no_grad():
            miss = (denoiser(x, row.t).mean - exact(x, row.t).mean).square().sum(1)
        score += miss * (after**-2 - before**-2) / 2
        known, width = open_variance(before), math.log(before / after)
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            ratio = after * math.exp(width * node)
            held += weight * width * (known - open_variance(ratio)) / ratio**2
    total = prior + score + held
    causes = [float(part.mean()) for part in (prior, score, held)]
    return KLBound(causes[0], causes[1], causes[2], float(total.std()) / math.sqrt(n))


def _ratios(process: Any, row: Any) -> tuple[float, float]:
    """sigma / alpha before and after an ancestral row; others are refused."""
    if isinstance(row, Row) and process.sigma(row.s) > 0 and process.alpha(row.t) > 0:
        before, after = process.ratio(row.t), process.ratio(row.s)
        a_t, a_s = process.alpha(row.t), process.alpha(row.s)
        left = (after / before) ** 2
        rule = (left * a_s / a_t, (1 - left) * a_s, a_s * after * math.sqrt(1 - left))
        found = (row.keep, *row.pull, row.fresh)
        if len(found) == 3 and all(
            math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found, rule, strict=True)
        ):
            return before, after
    raise ConfigError(
        f"the bound holds for ancestral rows that end at positive noise, got one from t={row.t:.4g} to "
        f"{row.s:.4g} that is not.",
        hint="Use ancestral, on a grid without the final zero noise.",
    )


def kl_estimate(x: Tensor, y: Tensor, *, k: int = 5) -> float:
    """KL divergence from the law of x (n, d) to that of y (m, d), nats, by k-th nearest neighbours.

    Consistent, but biased at finite sizes where densities vary within a neighbourhood; its value for two
    samples of one law is the yardstick.
    """
    n, m = len(x), len(y)
    if not 1 <= k < min(n, m + 1):
        raise ConfigError(f"k must lie in [1, {min(n - 1, m)}], got {k}.")

    x, y = x.to(torch.float64), y.to(torch.float64)

    def radius(to: Tensor, rank: int) -> Tensor:
        return torch.cat([torch.cdist(part, to).kthvalue(rank, 1).values for part in x.split(1024)])

    own, other = radius(x, k + 1), radius(y, k)  # the first neighbour of a point of x is itself
    return float(x.shape[1] * (other / own).log().mean()) + math.log(m / (n - 1))


def component_classifier(exact: Mixture, members: Sequence[int]) -> Callable[[Any, Any], Tensor]:
    """log p(the component is one of `members` | x_t) of a mixture under its process: Bayes' rule."""
    part, share = _among(exact, members)

    def log_prob(x: Tensor, t: Any) -> Tensor:
        at = exact.process.alpha(t), exact.process.sigma(t)
        return math.log(share) + part.log_prob(x, *at) - exact.log_prob(x, *at)

    return log_prob


def guidance_sweep(
    plan: Plan, exact: Mixture, members: Sequence[int], scales: Sequence[float], gen: Source, *, n: int = 3000
) -> list[Departure]:
    """Run classifier guidance with the exact classifier at several scales and report what it reaches.

    Args:
        plan: ends at (nearly) zero noise.
        members: components of the mixture that make the class.
        n: samples per scale.
    """
    model = component_classifier(exact, members)
    like = exact.means.new_empty(n, exact.dim)
    out = []
    for scale in scales:
        start = exact.process.prior(like, gen, plan.start)
        guided = sample(plan, classifier(exact, model, scale), start, gen)
        drawn = [_tilted(exact, members, scale, n, gen) for _ in range(8)]
        pairs = list(zip(drawn[:4], drawn[4:], strict=True))
        distance = _root_mean(sliced_wasserstein(guided, first) for first, _ in pairs)
        floor = _root_mean(sliced_wasserstein(first, second) for first, second in pairs)
        spread = float(guided.var(0).sum() / torch.cat(drawn).var(0).sum()) ** 0.5
        out.append(Departure(scale, distance, floor, spread))
    return out


def _root_mean(values: Iterable[float]) -> float:
    return math.sqrt(statistics.fmean(value**2 for value in values))


def _among(exact: Mixture, members: Sequence[int]) -> tuple[Mixture, float]:
    """The mixture of some components, and their share."""
    index = list(members)
    part = Mixture(exact.weights[index], exact.means[index], exact.covs[index], exact.process)
    return part, float(exact.weights[index].sum())


def _tilted(exact: Mixture, members: Sequence[int], scale: float, n: int, gen: Source) -> Tensor:
    """Draws of p(x) p(c | x)^scale: exact at scales 0 and 1, else resampled from 20 n draws of p(x | c)."""
    part, _ = _among(exact, members)
    if scale in (0, 1):
        return (part if scale else exact).sample(n, gen)
    pool = part.sample(20 * n, gen)
    log_w = (scale - 1) * (part.log_prob(pool) - exact.log_prob(pool))
    cumulated = torch.softmax(log_w, 0).cumsum(0)
    u = uniform((n,), gen, dtype=cumulated.dtype, device=cumulated.device)
    return pool[torch.searchsorted(cumulated, u).clamp_max(len(pool) - 1)]
