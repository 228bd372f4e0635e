"""Moving samples along an interpolant: fields, drifts, and their meaning as denoisers.

A field answers, in one call, the two conditional means that generation needs:

    velocity  b(x, t) = E[dx_t / dt given x_t = x]
    score     s(x, t) = grad log rho_t(x) = -E[noise given x_t = x] / level(t)

Samples move along dx = b dt, or along any of dx = (b + eps s) dt + sqrt(2 eps) dW forwards and dx = (b - eps
s) dt + sqrt(2 eps) dW backwards, with eps(t) >= 0; all have the same marginals. A `Drift` is such a
right-hand side in the form of a denoiser, so the one executor walks it along the plan that `core.plan.bridge`
makes.

A one-sided interpolant is a Gaussian process run from noise to data: with r = a / b the state of one is a
multiple of the state of the other at the same noise-to-signal ratio, and

    b = a' e + b' D,    e = (x - b D) / a,    D = (a v - a' x) / (a b' - a' b),

so `field_of` and `denoiser_of` convert exactly, between any pair of them.

Source: Albergo, Boffi & Vanden-Eijnden 2023, arXiv:2303.08797, theorems 2.6 to 2.8, corollary 2.10, section
5.1; the bound: theorem 2.23.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.plan.table import Plan
from core.process.interpolant import Interpolant
from core.process.scheduled import Scheduled, fitted
from core.run import steps
from core.state import Source, State, batch_size, leaves, tree_map

__all__ = [
    "Drift",
    "Field",
    "Flow",
    "Learned",
    "curvature",
    "denoiser_of",
    "field_of",
    "kl_bound",
    "kl_ceiling",
]

Epsilon: TypeAlias = float | Callable[[float], float]


class Flow(NamedTuple):
    """Velocity and score at one state; a model that was not taught the score has none."""

    velocity: Any
    score: Any = None


class Field(Protocol):
    """Anything that gives the flow of an interpolant. `t` is a float or (B,)."""

    @property
    def process(self) -> Interpolant: ...

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Flow: ...


class Learned(nn.Module):
    """A network as a field, one call per evaluation.

    Args:
        net: `net(x, t, cond) -> (velocity, noise)`, each like x, with t (B,); noise is E[z given x_t]. For
            one-sided interpolants, and where no score is wanted, the velocity alone.
        process: the interpolant it is or was trained on.
    """

    def __init__(self, net: nn.Module | Callable[..., Any], process: Interpolant) -> None:
        super().__init__()
        self.net = net
        self.process = process

    def forward(self, x: Any, t: Any, cond: Any = None) -> Flow:
        first = next(leaves(x))
        t = torch.as_tensor(t, dtype=torch.float64, device=first.device).expand(batch_size(x))
        out = self.net(x, t.to(first.dtype), cond)
        velocity, noise = out if isinstance(out, tuple) else (out, None)
        project = self.process.space.project
        if self.process.one_sided:
            return _one_sided(self.process, x, project(velocity), t)
        if noise is None:
            return Flow(project(velocity))
        level = self.process.level(t)
        score = tree_map(lambda e: -e / fitted(level, e), project(noise))
        return Flow(project(velocity), score)


@dataclass(frozen=True)
class Drift:
    """Right-hand side of the ODE (epsilon = 0) or of an SDE, as the denoiser of a `bridge` plan.

    Args:
        field: velocity, and score where epsilon is not zero.
        epsilon: strength of the noise, a number or a function of t, not negative.
        backwards: from x_1 to x_0.
    """

    field: Field
    epsilon: Epsilon = 0.0
    backwards: bool = False

    @property
    def process(self) -> Interpolant:
        return self.field.process

    def strength(self, t: float) -> float:
        """epsilon at time t."""
        value = float(self.epsilon(t) if callable(self.epsilon) else self.epsilon)
        if not value >= 0:
            raise ConfigError(f"epsilon must not be negative, got {value} at t={t:.4g}.")
        return value

    def __call__(self, x: Any, t: float, cond: Any = None) -> Posterior:
        """b + eps s, or b - eps s backwards, in the place of a posterior mean."""
        flow = self.field(x, t, cond)
        weight = self.strength(t) * (-1 if self.backwards else 1)
        if weight == 0:
            return Posterior(mean=flow.velocity)
        return Posterior(mean=_added(flow, weight))


def field_of(denoiser: Denoiser, process: Interpolant) -> Field:
    """A denoiser of a process with normal noise as the field of a one-sided interpolant.

    Raises:
        ConfigError: the interpolant is not one-sided.
    """
    _check_one_sided(process)
    return _FromDenoiser(denoiser, process)


def denoiser_of(field: Field, process: Scheduled) -> Denoiser:
    """The field of a one-sided interpolant as a denoiser of any process with normal noise.

    Raises:
        ConfigError: the interpolant is not one-sided.
    """
    _check_one_sided(field.process)
    return _FromField(field, process)


def curvature(plan: Plan, drift: Drift, x: State) -> float:
    """Mean squared second derivative |d^2 x / dt^2|^2 along deterministic paths; 0 for straight ones."""
    total, count, last = 0.0, 0, None
    with torch.no_grad():
        for step in steps(plan, drift, x):
            if last is not None and step.row.t != last.row.t:
                turn = tree_map(
                    lambda v, w, dt=step.row.t - last.row.t: (v - w) / dt,
                    step.posterior.mean,
                    last.posterior.mean,
                )
                total += float(_square(turn).mean())
                count += 1
            last = step
    return total / max(count, 1)


def kl_bound(
    field: Field, exact: Field, x0: State, x1: State, gen: Source, *, epsilon: float, times: int = 64
) -> float:
    """An upper bound, in nats, of KL(rho_1, model) for samples drawn with this epsilon.

    (1 / 4 epsilon) times the integral over [tmin, 1 - tmin] of E |(b + epsilon s) of one field less the
    other's|^2, by the midpoint rule; the error of starting at tmin is not in it.

    Args:
        exact: the true field of the coupling that x0 and x1, (B, ...) each, are drawn from.
    """

    def gap(x: Any, t: float, z: Any) -> Tensor:
        found, true = _added(field(x, t), epsilon), _added(exact(x, t), epsilon)
        return _square(tree_map(lambda p, q: p - q, found, true))

    return _integral(field.process, x0, x1, gen, gap, epsilon, times)


def kl_ceiling(field: Field, x0: State, x1: State, gen: Source, *, epsilon: float, times: int = 64) -> float:
    """A looser bound than `kl_bound` that needs pairs of data only, in nats.

    The true drift is replaced by dx_t / dt - epsilon z / level, whose mean given x_t it is. This adds the
    conditional variance of that target, a constant of the interpolant: what the figure falls by in training
    is what the bound falls by.
    """
    process = field.process

    def gap(x: Any, t: float, z: Any) -> Tensor:
        push = epsilon / process.level(t)
        noise = x0 if process.one_sided else z
        target = tree_map(lambda u, e: u - push * e, process.speed(x0, x1, z, t), noise)
        return _square(tree_map(lambda p, q: p - q, _added(field(x, t), epsilon), target))

    return _integral(process, x0, x1, gen, gap, epsilon, times)


@dataclass(frozen=True)
class _FromDenoiser:
    denoiser: Denoiser
    process: Interpolant

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Flow:
        (a, b), (da, db), base = self.process.weights(t), self.process.rates(t), self.denoiser.process
        tau = _times(base.time, a / b)
        scale = base.sigma(tau) / a
        mean = self.denoiser(tree_map(lambda p: fitted(scale, p) * p, x), tau, cond).mean
        noise = tree_map(lambda p, d: (p - fitted(b, p) * d) / fitted(a, p), x, mean)
        velocity = tree_map(lambda e, d: fitted(da, e) * e + fitted(db, e) * d, noise, mean)
        return Flow(velocity, tree_map(lambda e: -e / fitted(a, e), noise))


@dataclass(frozen=True)
class _FromField:
    field: Field
    process: Any

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        inner = self.field.process
        tau = _times(inner.time, self.process.ratio(t))
        scale = inner.weights(tau)[0] / self.process.sigma(t)
        y = tree_map(lambda p: fitted(scale, p) * p, x)
        return Posterior(mean=_clean(inner, y, self.field(y, tau, cond).velocity, tau))


def _one_sided(process: Interpolant, x: Any, velocity: Any, t: Any) -> Flow:
    a, b = process.weights(t)
    mean = _clean(process, x, velocity, t)
    score = tree_map(lambda p, d: (fitted(b, p) * d - p) / fitted(a, p) ** 2, x, mean)
    return Flow(velocity, score)


def _clean(process: Interpolant, x: Any, velocity: Any, t: Any) -> Any:
    """E[x_1 given x_t] of a one-sided interpolant."""
    (a, b), (da, db) = process.weights(t), process.rates(t)
    keep, pull = -da / (a * db - da * b), a / (a * db - da * b)
    return tree_map(lambda p, v: fitted(keep, p) * p + fitted(pull, p) * v, x, velocity)


def _added(flow: Flow, weight: float) -> Any:
    if flow.score is None:
        raise ConfigError(
            "this field has a velocity but no score, so it drives the ODE only.",
            hint="Set epsilon=0, or train a network that gives the noise as well.",
        )
    return tree_map(lambda v, s: v + weight * s, flow.velocity, flow.score)


def _integral(
    process: Interpolant, x0: Any, x1: Any, gen: Source, gap: Any, epsilon: float, times: int
) -> float:
    if not epsilon > 0:
        raise ConfigError(f"the bound needs epsilon > 0, got {epsilon}: the ODE has none of this form.")
    low, high = process.ends
    total = 0.0
    with torch.no_grad():
        for i in range(times):
            t = low + (high - low) * (i + 0.5) / times
            z = process.space.noise(x0, gen)
            total += float(gap(process.blend(x0, x1, z, t), t, z).double().mean())
    return total * (high - low) / times / (4 * epsilon)


def _square(state: Any) -> Tensor:
    """Squared norm of each sample, (B,)."""
    return torch.stack([leaf.flatten(1).square().sum(1) for leaf in leaves(state)]).sum(0)


def _times(time: Callable[[float], float], ratio: Any) -> Any:
    if not isinstance(ratio, Tensor):
        return time(ratio)
    values = [time(value) for value in ratio.flatten().tolist()]
    return torch.tensor(values, dtype=torch.float64, device=ratio.device).reshape(ratio.shape)


def _check_one_sided(process: Interpolant) -> None:
    if not process.one_sided:
        raise ConfigError(
            "only a one-sided interpolant is a Gaussian process.", hint="Build it with one_sided=True."
        )
