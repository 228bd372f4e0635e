"""Steering by a measurement where the exact posterior is known: the mixture lowrank32, conditioned (C12).

The case of the specification: averages of groups of 4 coordinates with gain 1/2 per coordinate, noise .3,
50 Karras levels from 20 to .02, 1000 samples. It quotes a floor of .014 and an unconditional distance of 1.0,
which generator seed 11 gives; how other measurements fare is a test of its own.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.errors import ConfigError
from core.infer import difference, fk_sample
from core.inverse import Inpainting, Matrix, repeated
from core.metrics import sliced_wasserstein
from core.plan import Plan, ddim, heun, karras
from core.process import VP, Karras, Product
from core.run import sample
from core.steer import measured
from core.steer.consistency import Steered
from core.steer.measured import Observation, open_variance
from tests.fixtures.mixtures import lowrank32

F64 = torch.float64
PROCESS = Karras(0.02, 20.0)
OPEN = 0.3**0.5
N = 1000


@dataclass(frozen=True)
class Case:
    """A measurement y of one draw of the mixture, and the posterior it leaves."""

    a: Tensor
    noise: float
    seed: int
    prior: Mixture = field(default_factory=lambda: lowrank32().under(PROCESS))

    @property
    def gen(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @property
    def y(self) -> Tensor:
        gen = self.gen
        x0 = self.prior.sample(1, gen)
        return x0 @ self.a.T + self.noise * torch.randn(1, len(self.a), generator=gen, dtype=F64)

    def exact(self, n: int = N) -> Tensor:
        cov = self.noise**2 * torch.eye(len(self.a), dtype=F64)
        return self.prior.condition(self.a, self.y[0], cov).sample(n, torch.Generator().manual_seed(100))

    def observation(self, n: int = N) -> Observation:
        return Observation(Matrix(self.a), self.y.expand(n, -1), self.noise)

    def misfit(self, x: Tensor) -> float:
        """Root mean square of (A x - y) / noise."""
        return float(((x @ self.a.T - self.y) / self.noise).square().mean().sqrt())


def groups_of_four(seed: int = 11) -> Case:
    return Case(0.5 * torch.eye(8, dtype=F64).repeat_interleave(4, dim=1), 0.3, seed)


def every_other(seed: int = 11) -> Case:
    return Case(torch.eye(32, dtype=F64)[::2], 0.05, seed)


def pair_sums(seed: int = 11) -> Case:
    return Case(torch.eye(16, dtype=F64).repeat_interleave(2, dim=1), 0.05, seed)


def plan(n: int = 50) -> Plan:
    return ddim(PROCESS, karras(PROCESS, n), eta=1.0)


def run(model: Any, plan: Plan, n: int = N) -> Tensor:
    gen = torch.Generator().manual_seed(0)
    start = PROCESS.prior(torch.zeros(n, 32, dtype=F64), gen, plan.start)
    out: Tensor = sample(plan, model, start, gen)
    return out


def test_the_likelihood_score_reaches_the_exact_posterior() -> None:  # C12, items 1 and 2
    case = groups_of_four()
    exact = case.exact()
    x = run(measured.pigdm(case.prior, case.observation(), data_std=OPEN), plan())
    floor = sliced_wasserstein(exact, case.exact(2 * N)[N:])
    distance = sliced_wasserstein(x, exact)
    print(f"SW2 {distance:.4f}, floor {floor:.4f}, misfit {case.misfit(x):.3f}")
    assert floor <= 0.02
    assert sliced_wasserstein(case.prior.sample(N, torch.Generator().manual_seed(0)), exact) > 0.9
    assert distance <= 0.07
    assert 0.8 <= case.misfit(x) <= 1.2


def test_walking_every_level_twice_still_fits_the_measurement() -> None:  # item 1
    case = groups_of_four()
    twice = repeated(plan(25), PROCESS, 2)
    x = run(measured.pigdm(case.prior, case.observation(500), data_std=OPEN), twice, n=500)
    assert twice.evaluations == 49
    assert sliced_wasserstein(x, case.exact(500)) <= 0.08  # the floor rises to about .02 at 500 samples
    assert 0.8 <= case.misfit(x) <= 1.2


@pytest.mark.parametrize("make", [every_other, pair_sums])
def test_half_of_the_coordinates_or_their_sums_lead_near_the_posterior(make: Any) -> None:
    # A noise of .05 leaves a posterior about as narrow as the fixture's own .1 noise floor; the unconditional
    # distance is 1.2.
    case = make(seed=0)
    x = run(measured.pigdm(case.prior, case.observation(400), data_std=OPEN), plan(), n=400)
    assert sliced_wasserstein(x, case.exact(400)) <= 0.1
    assert 0.8 <= case.misfit(x) <= 1.3


def test_guidance_alone_can_miss_the_mode_that_was_measured() -> None:
    """A Gaussian likelihood chooses the wrong component for many measurements; particles mend it."""
    far = []
    for seed in range(4):
        case = groups_of_four(seed)
        x = run(measured.pigdm(case.prior, case.observation(300), data_std=OPEN), plan(30), n=300)
        far.append(sliced_wasserstein(x, case.exact(300)))
    # Measured .43, .60, .11, .37 at 50 steps and 1000 samples.
    assert 0.2 <= sum(far) / len(far) <= 0.6


@pytest.mark.parametrize(
    "wrong",
    [
        lambda prior, seen: measured.pigdm(prior, seen, data_std=OPEN, weight=-0.1),
        lambda prior, seen: measured.pigdm(prior, seen, data_std=OPEN, weight=0.3),
        lambda prior, seen: measured.explicit(
            prior, seen, lambda t: open_variance(PROCESS, t, OPEN), blend=-0.1
        ),
    ],
)
def test_a_wrong_sign_or_weight_is_caught(wrong: Any) -> None:
    case = groups_of_four()
    x = run(wrong(case.prior, case.observation(300)), plan(30), n=300)
    assert sliced_wasserstein(x, case.exact(300)) > 0.15


def test_two_conditions_at_once_are_both_satisfied() -> None:  # item 3
    even, odd = torch.eye(32, dtype=F64)[:8], torch.eye(32, dtype=F64)[16:24]
    both = Case(torch.cat([even, odd]), 0.1, seed=0)
    y = both.y.expand(300, -1)
    parts = [Observation(Matrix(even), y[:, :8], 0.1), Observation(Matrix(odd), y[:, 8:], 0.1)]
    x = run(measured.pigdm(both.prior, parts, data_std=OPEN), plan(), n=300)
    for part in parts:
        misfit = float(((part.operator.A(x) - part.y) / 0.1).square().mean().sqrt())
        assert 0.7 <= misfit <= 1.3


def test_conditions_of_separate_coordinates_add_to_the_joint_one() -> None:
    case = Case(torch.eye(32, dtype=F64)[:16], 0.1, seed=0)
    y = case.y.expand(5, -1)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(1), dtype=F64)
    parts = [Observation(Matrix(case.a[i : i + 8]), y[:, i : i + 8], 0.1) for i in (0, 8)]
    joint = Observation(Matrix(case.a), y, 0.1)
    for rule in (
        lambda seen: measured.pigdm(case.prior, seen, data_std=OPEN),
        lambda seen: measured.explicit(case.prior, seen, lambda t: t**2),
    ):
        assert torch.allclose(rule(parts)(x, 1.0).mean, rule(joint)(x, 1.0).mean, atol=1e-10)


def gaussian_posterior(x: Tensor, t: float, mix: Mixture, a: Tensor, y: Tensor, noise: float) -> Tensor:
    """Exact E[x_0 given x_t, y] of a single Gaussian."""
    eye = torch.eye(mix.dim, dtype=F64)
    cov = torch.linalg.inv(torch.linalg.inv(mix.covs[0]) + eye / t**2 + a.T @ a / noise**2)
    rest = torch.linalg.solve(mix.covs[0], mix.means[0]) + x / t**2 + y @ a / noise**2
    return rest @ cov


def test_isotropic_priors_make_the_likelihood_score_exact() -> None:
    """With x_0 ~ N(0, d^2 I), pigdm and explicit both are E[x_0 given x_t, y] itself."""
    gen = torch.Generator().manual_seed(0)
    d = 0.7
    mix = Mixture(
        torch.ones(1, dtype=F64), torch.zeros(1, 6, dtype=F64), d**2 * torch.eye(6, dtype=F64)[None]
    )
    a = torch.randn(3, 6, generator=gen, dtype=F64)
    x, y = torch.randn(4, 6, generator=gen, dtype=F64), torch.randn(4, 3, generator=gen, dtype=F64)
    for t in (0.1, 1.0, 10.0):
        want = gaussian_posterior(x, t, mix, a, y, 0.2)
        seen = Observation(Matrix(a), y, 0.2)
        for model in (
            measured.pigdm(mix, seen, data_std=d),
            measured.pigdm(mix, seen, data_std=d, reach=1.0),
            measured.explicit(mix, seen, lambda t: open_variance(mix.process, t, d)),
        ):
            assert torch.allclose(model(x, t).mean, want, atol=1e-9)
        assert not torch.allclose(measured.pigdm(mix, seen, data_std=1.2 * d)(x, t).mean, want, atol=1e-3)


def test_an_exact_measurement_is_reproduced_by_the_explicit_rule() -> None:
    mask = torch.rand(32, generator=torch.Generator().manual_seed(0)) < 0.5
    prior = lowrank32().under(PROCESS)
    y = prior.sample(4, torch.Generator().manual_seed(1)) * mask
    model = measured.explicit(prior, Observation(Inpainting(mask), y, 0.0), lambda t: t**2)
    x = run(model, plan(10), n=4)
    assert torch.allclose(x * mask, y, atol=1e-12)


def test_dps_moves_the_state_after_the_step_whatever_the_process() -> None:
    """In the variance-preserving state the move is zeta grad |y - A D|; other processes rescale it."""
    case = every_other()
    prior, seen = case.prior, case.observation(3)
    moves = []
    x_vp = torch.randn(3, 32, generator=torch.Generator().manual_seed(2), dtype=F64)
    vp, ve = VP(), Karras()
    t, s = 0.6, 0.5
    for process in (vp, ve):
        at = [process.time(vp.ratio(u)) for u in (t, s)]
        scale = [(process.alpha(u) ** 2 + process.sigma(u) ** 2) ** 0.5 for u in at]
        step = ddim(process, at)
        model = prior.under(process)
        start = x_vp * scale[0]
        moved = sample(step, measured.dps(model, seen, step, weight=0.4), start)
        moves.append((moved - sample(step, model, start)) / scale[1])
    assert torch.allclose(moves[0], moves[1], atol=1e-9)
    free = x_vp.clone().requires_grad_(True)
    loss = (seen.y - seen.operator.A(prior.under(vp)(free, t).mean)).norm(dim=1).sum()
    (grad,) = torch.autograd.grad(loss, free)
    assert torch.allclose(moves[0], -0.4 * grad, atol=1e-9)


class Watched:
    """A denoiser that counts calls and refuses to be differentiated when `closed`."""

    def __init__(self, prior: Mixture, *, closed: bool) -> None:
        self.prior, self.closed, self.calls, self.process = prior, closed, 0, prior.process

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        self.calls += 1
        assert not (self.closed and x.requires_grad)
        return self.prior(x, t)


def test_each_rule_calls_the_denoiser_once_per_evaluation() -> None:
    case = groups_of_four()
    steps = plan(5)
    for closed, rule in (
        (True, lambda d: measured.explicit(d, case.observation(2), lambda t: t**2)),
        (False, lambda d: measured.pigdm(d, case.observation(2), reach=3.0)),
        (False, lambda d: measured.dps(d, case.observation(2), steps)),
    ):
        watched = Watched(case.prior, closed=closed)
        run(rule(watched), steps, n=2)
        assert watched.calls == 5


def test_a_bounded_move_reaches_no_further_than_it_says() -> None:
    case = every_other()
    x = 3 * torch.randn(8, 32, generator=torch.Generator().manual_seed(0), dtype=F64)
    seen = case.observation(8)
    bound = measured.pigdm(case.prior, seen, data_std=0.05, reach=1.0)(x, 2.0).mean
    plain = case.prior(x, 2.0).mean
    before, after = ((seen.operator.A(m) - seen.y).norm(dim=1) for m in (plain, bound))
    assert bool((after <= before + 1e-12).all())


def histogram(x: Tensor) -> Tensor:
    """How many of the coordinates lie between -2, -1, ... and 2, rounded to even numbers, (B, 4)."""
    bins = torch.stack([((x >= low) & (x < low + 1)).sum(1) for low in (-2.0, -1.0, 0.0, 1.0)], dim=1)
    return 2 * torch.round(bins / 2).to(x.dtype)


def test_a_rounded_histogram_steers_through_particles() -> None:  # item 4
    """No gradient exists; the exact posterior is that of weighted exact samples of the prior.

    A posterior mean is narrower than any state it may become, so its histogram misleads while noise is high.
    """
    prior = lowrank32().under(PROCESS)
    gen = torch.Generator().manual_seed(0)
    seen = torch.tensor([[4.0, 14.0, 10.0, 4.0]], dtype=F64)

    def reward(x: Tensor) -> Tensor:
        return -(histogram(x) - seen).square().sum(1) / (2 * 1.5**2)

    exact = prior.sample(100_000, gen)
    weights = torch.softmax(reward(exact), 0)
    draws = [exact[torch.multinomial(weights, N, replacement=True, generator=gen)] for _ in range(2)]
    start = PROCESS.prior(torch.zeros(4 * N, 32, dtype=F64), gen, plan().start)
    potential = difference(reward, trust=lambda t: 1 / (1 + (t / 0.1) ** 2))
    particles = fk_sample(plan(), prior, potential, start, gen)
    found = particles.even(gen)[torch.randperm(4 * N, generator=gen)[:N]]
    misfit, best, free = (float(-reward(x).mean()) for x in (found, draws[0], exact))
    distance, floor = sliced_wasserstein(found, draws[0]), sliced_wasserstein(*draws)
    unsteered = sliced_wasserstein(exact[:N], draws[0])
    print(f"misfit {misfit:.2f}, exact {best:.2f}, unsteered {free:.2f}")
    print(f"SW2 {distance:.3f}, unsteered {unsteered:.3f}, floor {floor:.3f}")
    assert particles.calls == 50
    assert misfit <= 1.3 * best < 0.3 * free
    assert distance <= 3 * floor < unsteered


def test_guidance_refuses_what_it_cannot_read() -> None:
    case = groups_of_four()
    with pytest.raises(ConfigError, match="negative"):
        Observation(Matrix(case.a), case.y, -1.0)
    with pytest.raises(ConfigError, match="at least one"):
        measured.pigdm(case.prior, [])
    product = Product({"a": PROCESS, "b": PROCESS})
    with pytest.raises(ConfigError, match="one state"):
        measured.dps(case.prior, case.observation(), ddim(product, [1.0, 0.5]))
    with pytest.raises(ConfigError, match="single-step"):
        repeated(heun(PROCESS, [1.0, 0.5]), PROCESS, 2)


def test_a_repeat_of_a_step_has_the_law_of_the_level() -> None:
    """Step and forward process in one row: with the constant denoiser x_0 = 0 the variance is sigma_t^2."""
    process = VP()
    row = repeated(ddim(process, [0.8, 0.5, 0.2], eta=0.6), process, 2).rows[0]
    constant = Steered(process, lambda x, t, cond: torch.zeros_like(x))
    gen = torch.Generator().manual_seed(0)
    start = process.sigma(0.8) * torch.randn(20_000, 1, generator=gen, dtype=F64)
    out = sample(Plan("one", (row,)), constant, start, gen)
    # 20 000 draws: relative standard error 1 % of the variance.
    assert float(out.var()) == pytest.approx(process.sigma(0.8) ** 2, rel=0.04)
