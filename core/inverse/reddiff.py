"""RED-diff: the posterior as an optimisation, and the classical regularisation by denoising.

RED-diff minimises over mu, with no gradient through the network (sg),

    a |y - A(mu)|^2 / 2 + lambda E_{t, eps} f(sigma / alpha) <sg[e(x_t) - eps], mu>,

with x_t = alpha mu + sigma eps, by Adam, with times swept from noise to data or drawn uniformly; `spread`
s_0 > 0 perturbs mu itself by s_0 z. The two terms are sums, or means per element as in the authors' code
("mean"). For a Gaussian prior N(m, S), f = identity and alpha = 1 the stationary point solves

    (a A^T A + lambda W) mu = a A^T y + lambda W m,    W = mean_t sigma^2 (S + sigma^2 I)^-1,

which is not the posterior mean: W is not S^-1, whatever lambda. The result is an optimum, not a sample.

Deviations: the learning rate decays geometrically to a tenth over the run (`decay`), which the published one
does not; noise levels follow the Karras grid instead of a table of 1000.

RED seeks the state where A^T (A x - y) / noise^2 + lambda (x - D(x)) = 0, with D at one noise level, by its
fixed-point iteration: denoise, then solve the data term exactly. That is a plan whose rows stay at one time.

Sources: Mardani et al. 2024, arXiv:2305.04391, algorithm 1 and eq. 10; Romano, Elad & Milanfar 2017,
arXiv:1611.02862, eq. 37.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.errors import ConfigError, NumericalError, unknown
from core.inverse.problem import Kind, Problem, misfit
from core.plan import Plan, Row
from core.run import sample
from core.state import Source, per_sample, uniform
from core.steer import measured
from core.steer.gradient import gradient

__all__ = ["RED", "WEIGHTS", "RedDiff", "Weight"]

Weight: TypeAlias = Literal["identity", "sqrt", "square", "log", "clipped", "constant", "two_thirds"]

WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda r: r,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "log": torch.log1p,
    "clipped": lambda r: r.clamp_max(1.0),
    "constant": torch.ones_like,
    "two_thirds": lambda r: r ** (2 / 3),
}


@dataclass(frozen=True)
class RedDiff:
    """Regularisation by a denoising diffusion process.

    Attributes:
        lr: learning rate of Adam at the start.
        decay: factor of the learning rate at the end; 1 keeps it.
        betas: of Adam.
        strength: lambda.
        observation: a.
        weight: f.
        terms: "mean" divides each term by its number of elements, "sum" does not.
        order: times "descending" from noise to data, or "uniform", drawn anew for every step and draw.
        draws: noises per step, each an evaluation; their gradients are averaged.
        spread: s_0.
        times: noise levels to use, instead of a grid; drawn from when "uniform".
        low, high: smallest and largest noise-to-signal ratio of that grid.
    """

    lr: float = 0.1
    decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    strength: float = 0.25
    observation: float = 1.0
    weight: Weight = "identity"
    terms: Literal["mean", "sum"] = "mean"
    order: Literal["descending", "uniform"] = "descending"
    draws: int = 1
    spread: float = 0.0
    times: Sequence[float] | None = None
    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "reddiff"
    kind: ClassVar[Kind] = "optimum"
    nonlinear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise unknown("weight", self.weight, get_args(Weight))
        for name, known in (("terms", ("mean", "sum")), ("order", ("descending", "uniform"))):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if not (self.lr > 0 and 0 < self.decay <= 1 and self.draws >= 1 and self.spread >= 0):
            raise ConfigError(
                f"RED-diff needs lr > 0, 0 < decay <= 1, draws >= 1 and spread >= 0, got {self.lr}, "
                f"{self.decay}, {self.draws}, {self.spread}."
            )

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        if nfe % self.draws:
            raise ConfigError(f"nfe={nfe} is not a multiple of the {self.draws} draws of a step.")
        steps = nfe // self.draws
        levels = torch.tensor(
            problem.times(steps, low=self.low, high=self.high)[:-1] if self.times is None else self.times,
            dtype=torch.float64,
        )
        mu = problem.start()
        scale = (1 / problem.seen.y[0].numel(), 1 / mu[0].numel()) if self.terms == "mean" else (1.0, 1.0)
        first, second = torch.zeros_like(mu), torch.zeros_like(mu)
        for step in range(steps):
            if self.order == "uniform":
                spot = uniform((len(mu), self.draws), gen, dtype=torch.float64, device="cpu")
                t = levels[(spot * len(levels)).long()]
            else:
                t = levels[step * len(levels) // steps].expand(len(mu), self.draws)
            pull, _ = gradient(lambda at: misfit(problem, at), mu)
            grad = self.observation * scale[0] * pull
            grad += self.strength * scale[1] * self._regulariser(problem, mu, t, gen)
            lr = self.lr * self.decay ** (step / max(steps - 1, 1))
            mu, first, second = self._adam(step + 1, lr, mu, grad, first, second)
        if not bool(torch.isfinite(mu).all()):
            raise NumericalError("RED-diff diverged.", hint="Lower RedDiff(lr=...).")
        return mu

    def _adam(
        self, step: int, lr: float, mu: Tensor, grad: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of Adam, Kingma & Ba 2015, arXiv:1412.6980, algorithm 1."""
        b1, b2 = self.betas
        first = b1 * first + (1 - b1) * grad
        second = b2 * second + (1 - b2) * grad**2
        root = (second / (1 - b2**step)).sqrt() + 1e-8
        return mu - lr / (1 - b1**step) * first / root, first, second

    @torch.no_grad()
    def _regulariser(self, problem: Problem, mu: Tensor, t: Tensor, gen: Source | None) -> Tensor:
        """Mean over draws of f(sigma / alpha) (e(x_t) - eps), shaped like mu (B, ...); t: (B, draws)."""
        process = problem.process
        many = mu[:, None].expand(-1, self.draws, *mu.shape[1:])
        eps = process.space.noise(many, gen).flatten(0, 1)
        if self.spread > 0:
            many = many + self.spread * process.space.noise(many, gen)
        flat = t.flatten()
        alpha, sigma = (value.to(mu) for value in (process.alpha(flat), process.sigma(flat)))
        x = per_sample(alpha, eps) * many.flatten(0, 1) + per_sample(sigma, eps) * eps
        clean = problem.prior(x, flat, problem.cond).mean
        found = (x - per_sample(alpha, eps) * clean) / per_sample(sigma, eps)
        weighted = per_sample(WEIGHTS[self.weight](sigma / alpha), eps) * (found - eps)
        return weighted.unflatten(0, (len(mu), self.draws)).mean(1)


@dataclass(frozen=True)
class RED:
    """Regularisation by denoising, by fixed-point iteration.

    Attributes:
        level: noise-to-signal ratio at which the denoiser is called.
        strength: lambda; 1 / level^2 by default, which makes the result the exact posterior mean under a
            Gaussian prior whose covariance is that of the data plus level^2.
    """

    level: float = 0.1
    strength: float | None = None

    name: ClassVar[str] = "red"
    kind: ClassVar[Kind] = "optimum"
    nonlinear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.level > 0 or (self.strength is not None and not self.strength > 0):
            raise ConfigError(f"RED needs level > 0 and lambda > 0, got {self.level}, {self.strength}.")

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        process = problem.process
        t = process.time(self.level)
        strength = 1 / self.level**2 if self.strength is None else self.strength
        model = measured.explicit(problem.prior, problem.seen, lambda t: 1 / strength)
        alpha = process.alpha(t)
        plan = Plan("fixed point", (Row(t, t, 0.0, (alpha,)),) * nfe)
        out: Tensor = sample(plan, model, alpha * problem.start(), cond=problem.cond)
        return out / alpha
