"""Superposition of several models along one run: their densities are tracked, and decide how they are mixed.

The posterior mean that the plan sees is sum_i k_i D_i with sum_i k_i = 1, so the score is sum_i k_i s_i. A
rule chooses the weights k at every evaluation from what is known of the densities q_i of the models:

    rule      weights                                                       result
    Or        k = softmax(T log q + l)                                      the mixture of the models
    And       k such that log q_i are equal after the step                  where the models agree
    Average   k = 1 / M                                                     neither

log q is read along the run: by Ito's estimate on a stochastic plan (`superpose`; one call of each model per
step, no derivative), by the divergences of the models on the probability-flow ODE (`superpose_smooth`). With
the units of `core.density.moves` both change log q_i in a way that is linear in k,

    d log q_i = a_i + gain <z_i, sum_j k_j z_j>,

    stochastic   a_i = <m_0, z_i> - |z_i|^2 / 2,      m_0 the move for the score zero, noise included
    smooth       a_i = -div v_i + |z_i|^2, gain = -1,  per unit of ln(sigma / alpha),
                 z_i = (sigma / alpha) s_i

so And solves M - 1 linear equations. For two models on an ancestral plan that is the published
k = -(<dx_0, d> - q <d, s_1 + s_2> / 2 + L_1 - L_2) / (q |d|^2), d = s_1 - s_2, where the gap L_1 - L_2 that
has built up is ours: it is closed instead of carried. k is pulled towards 1 / M where an entry would exceed
`limit`.

The tracker of a run is made by the function that runs it and dies with it. And needs the noise of a step
before the step; it is drawn when the row is reached, in the order of an ordinary run.

Source: Skreta et al. 2024, arXiv:2412.17762, algorithm 1 (SuperDiff).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.density.likelihood import Divergence, exact_divergence
from core.density.moves import Part, flat, move_of, parts_of, score_of_part
from core.density.path import check_noise, prior_log_prob
from core.errors import ConfigError
from core.plan.table import Plan, Row
from core.process.gaussian import Gaussian
from core.run import Step, steps
from core.state import Source, State, per_sample, tree_map
from core.steer.mixing import And, Average, Or, Rule, Sight

__all__ = ["And", "Average", "Or", "Rule", "Sight", "Superposed", "superpose", "superpose_smooth"]


@dataclass(frozen=True)
class Superposed:
    """End of a superposed run.

    Attributes:
        x: the final state.
        log_q: tracked log densities of the models at x, (M, B), nats, float64.
        weights: k of every evaluation, (evaluations, M, B), float64.
        clamped: share of all choices in which a weight hit the limit.
        calls: calls of all models.
    """

    x: Any
    log_q: Tensor
    weights: Tensor
    clamped: float
    calls: int


def superpose(
    plan: Plan,
    models: Sequence[Denoiser],
    x: State,
    gen: Source | None,
    *,
    rule: Rule,
    start: Tensor | None = None,
    noises: Sequence[State] | None = None,
) -> Superposed:
    """Run a stochastic plan with a superposition of models. One call of each model per row.

    Args:
        plan: rows of one call each with the noise of the reverse process (ancestral, dpmpp with eta = 1 and
            order 1, euler_maruyama, reverse_diffusion), ending at positive noise.
        models: denoisers of one process; conditions are bound with `core.steer.guidance.given`.
        x: state at time `plan.start`.
        rule: `Or()`, `And()`, `Average()`.
        start: log q_i at x, (M, B); N(0, sigma^2 I) for every model by default.
        noises: one per row, used instead of drawing.

    Raises:
        ConfigError: a row reads history, has another noise, or ends at zero noise.
    """
    tracker = _Tracker(plan, models, rule, x, start)
    given: Any = _Drawn(tracker.process.space, x, gen) if noises is None else noises
    tracker.noises = given
    with torch.no_grad():
        for step in steps(plan, tracker, x, noises=given):
            tracker.advance(step)
            x = step.next
    return tracker.result(x)


def superpose_smooth(
    plan: Plan,
    models: Sequence[Denoiser],
    x: State,
    *,
    rule: Rule,
    start: Tensor | None = None,
    divergences: Sequence[Divergence] | None = None,
) -> Superposed:
    """Run the probability-flow ODE with a superposition of models. A call and a divergence of each per row.

    The densities are stages of the same Runge-Kutta rule as the state. And does not close gaps here.

    Args:
        plan: `euler`, `heun` or `rk4` with clock="log", ending at positive noise.
        divergences: trace of dD_i/dx at (x, t), one per model; exact by default, see `hutchinson`.

    Other arguments as for `superpose`.

    Raises:
        ConfigError: the plan draws noise or has another clock, or the state is not one tensor.
    """
    traces = [exact_divergence(model) for model in models] if divergences is None else list(divergences)
    tracker = _SmoothTracker(plan, models, rule, x, start, traces=traces)
    with torch.no_grad():
        for step in steps(plan, tracker, x):
            tracker.advance(step)
            x = step.next
    return tracker.result(x)


@dataclass
class _Tracker:
    """The denoiser sum_i k_i D_i of one stochastic run, and the densities behind it."""

    plan: Plan
    models: Sequence[Denoiser]
    rule: Rule
    x: State
    start: Tensor | None
    noises: Any = None
    chosen: list[Tensor] = field(default_factory=list)
    clamps: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigError("a superposition needs at least one model, got none.")
        self.process = self.models[0].process
        prior = prior_log_prob(self.process, self.x, self.plan.start) if self.start is None else self.start
        self.log_q = prior.expand(len(self.models), -1).to(torch.float64)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.means = [model(x, t).mean for model in self.models]
        k, clamped = self.rule(self.sight(x))
        self.chosen.append(k)
        self.clamps.append(clamped)
        return Posterior(mean=_mixed(k, self.means))

    def sight(self, x: Any) -> Sight:
        number = len(self.chosen)
        row: Any = self.plan.rows[number]
        self.parts = parts_of(self.process, row, x)
        noise = self.noises[number]
        self.scores, rests, gains = zip(*(self._part(part, x, noise) for part in self.parts), strict=True)
        z = torch.cat(self.scores, -1)
        rates = (torch.cat(rests, -1) * z).sum(-1) - z.square().sum(-1) / 2
        return Sight(self.log_q, z, rates.to(torch.float64), torch.cat(gains), 1.0)

    def _part(self, part: Part, x: Any, noise: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, move without score, and weight of the score in the move, of one part."""
        check_noise(part)
        row, alpha, here = part.row, part.process.alpha(part.row.t), part.of(x)
        if len(row.pull) != 1 or row.frame is not None:
            raise ConfigError(
                f"a superposition needs rows without history, got {len(row.pull)} values at t={row.t:.4g}.",
                hint="Use ancestral, euler_maruyama, reverse_diffusion or dpmpp with eta=1 and order=1.",
            )
        after = (row.keep + row.pull[0] / alpha) * here + row.fresh * part.of(noise)
        z = score_of_part(part, here, [part.of(mean) for mean in self.means])
        gain = row.pull[0] * part.process.ratio(row.t) ** 2 / (part.process.alpha(row.s) * part.removed)
        return z, move_of(part, here, after), z.new_full(z.shape[-1:], gain)

    def advance(self, step: Step) -> None:
        """Add what the step changed of every log q_i."""
        for part, z in zip(self.parts, self.scores, strict=True):
            move = move_of(part, part.of(step.x), part.of(step.next))
            self.log_q = self.log_q + ((move - z / 2) * z).sum(-1, dtype=torch.float64) + part.shift

    def result(self, x: Any) -> Superposed:
        clamped = float(torch.stack(self.clamps).double().mean())
        calls = len(self.chosen) * len(self.models)
        return Superposed(x, self.log_q, torch.stack(self.chosen), clamped, calls)


@dataclass
class _SmoothTracker(_Tracker):
    """The same along the probability-flow ODE."""

    traces: Sequence[Callable[[Any, Any], Tensor]] = ()
    past: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.process, Gaussian) or not isinstance(self.x, Tensor):
            raise ConfigError("the smooth superposition needs one tensor under a Gaussian process.")

    def sight(self, x: Any) -> Sight:
        row = self.plan.rows[len(self.chosen)]
        alpha = self.process.alpha(row.t)
        clock = (1 / alpha, -1.0)  # that of ln(sigma / alpha)
        smooth = isinstance(row, Row) and row.fresh == 0 and row.frame is not None
        if not smooth or any(abs(a - b) > 1e-9 * abs(b) for a, b in zip(row.frame, clock, strict=True)):  # type: ignore[union-attr, arg-type]
            raise ConfigError(
                "the smooth superposition needs a plan of the ODE in ln(sigma / alpha).",
                hint="Use rk4, heun or euler with clock='log', and a grid that ends at positive noise.",
            )
        gap = torch.stack([flat(mean) for mean in self.means]) - flat(x) / alpha
        z = gap / self.process.ratio(row.t)
        dim = z.shape[-1]
        rates = torch.stack([alpha * trace(x, row.t) - dim for trace in self.traces]) + z.square().sum(-1)
        return Sight(self.log_q, z, rates.to(torch.float64), -torch.ones_like(z[0, 0]), 0.0)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.means = [model(x, t).mean for model in self.models]
        sight = self.sight(x)
        k, clamped = self.rule(sight)
        self.chosen.append(k)
        self.clamps.append(clamped)
        mixed = torch.einsum("mb,mbn->bn", k.to(sight.scores.dtype), sight.scores)
        self.past.insert(0, sight.rates + (sight.gain * sight.scores * mixed).sum(-1).to(torch.float64))
        return Posterior(mean=_mixed(k, self.means))

    def advance(self, step: Step) -> None:
        """Stage by stage, with the weights of the row."""
        row: Any = step.row
        scale = self.process.alpha(row.s)
        change = sum(w / scale * rate for w, rate in zip(row.pull, self.past, strict=False))
        shift = flat(step.x).shape[1] * math.log(scale / self.process.alpha(row.t))
        self.log_q = self.log_q + change - shift


@dataclass
class _Drawn:
    """Noises of a run, each drawn when its row is reached; rows without noise draw none."""

    space: Any
    like: Any
    gen: Source | None
    number: int = -1
    latest: Any = None

    def __getitem__(self, number: int) -> Any:
        if number != self.number:
            self.number, self.latest = number, self.space.noise(self.like, self.gen)
        return self.latest


def _mixed(k: Tensor, means: Sequence[Any]) -> Any:
    """sum_i k_i D_i, with k (M, B)."""
    return tree_map(
        lambda *each: sum(per_sample(w.to(d.real.dtype), d) * d for w, d in zip(k, each, strict=True)), *means
    )
