"""Superposition of two exact mixtures (C10): OR is their mixture, AND is where their densities agree."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.errors import ConfigError
from core.metrics import sliced_wasserstein
from core.plan import Plan, ancestral, ddim, dpmpp, heun, log, rk4
from core.process import Karras, Product
from core.run import sample
from core.state import Seeds
from core.steer.superpose import And, Average, Or, Rule, Sight, Superposed, superpose, superpose_smooth
from tests.fixtures.mixtures import gaussian, pair

F64 = torch.float64
LOW, HIGH, COUNT = 0.01, 20.0, 3000
A, B = pair()


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts its calls."""

    inner: Any
    calls: list[float] = field(default_factory=list)

    @property
    def process(self) -> Any:
        return self.inner.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.calls.append(t)
        return self.inner(x, t, cond)


def either(share: float = 0.5) -> Mixture:
    """A with weight `share`, else B."""
    weights = torch.cat([share * A.weights, (1 - share) * B.weights])
    return Mixture(weights, torch.cat([A.means, B.means]), torch.cat([A.covs, B.covs]))


def plan_of(n: int) -> Plan:
    return ancestral(Karras(), log(Karras(), n + 1, low=LOW, high=HIGH)[:-1])


@cache
def run(rule: Rule, n: int, count: int = COUNT) -> Superposed:
    """From N(0, HIGH^2 I), generator seed 0."""
    gen = torch.Generator().manual_seed(0)
    x = HIGH * torch.randn(count, 2, generator=gen, dtype=F64)
    return superpose(plan_of(n), [A, B], x, gen, rule=rule)


def densities(x: Tensor) -> Tensor:
    return torch.stack([mix.log_prob(x, 1.0, LOW) for mix in (A, B)])


def gap(found: Superposed) -> float:
    """Median |log q_A - log q_B| of the final samples, exact densities, nats."""
    a, b = densities(found.x)
    return float((a - b).abs().median())


def error(found: Superposed) -> float:
    """Deviation of the tracked difference of log densities from the exact one, nats."""
    a, b = densities(found.x)
    return float((found.log_q[0] - found.log_q[1] - (a - b)).std())


def test_or_samples_the_mixture() -> None:
    gen = torch.Generator().manual_seed(1)
    exact = [either().sample(COUNT, gen) for _ in range(3)]
    floor = sliced_wasserstein(exact[0], exact[1])
    found = sliced_wasserstein(run(Or(), 200).x, exact[2])
    print(f"OR: SW2 {found:.4f}, floor {floor:.4f}")
    assert found <= 2 * floor


def test_the_tracked_difference_of_densities_is_close_to_the_exact_one() -> None:
    # C10, 200 steps: prototype .19.
    assert error(run(Or(), 200)) <= 0.3


@pytest.mark.slow
def test_the_tracked_difference_sharpens_with_the_steps() -> None:
    found = error(run(Or(), 1000))
    print(f"OR, 1000 steps: deviation {found:.3f} nats")
    # C10, 1000 steps: prototype .06.
    assert found <= 0.1


def test_and_ends_where_the_densities_agree_and_or_does_not() -> None:
    found = {
        And(): gap(run(And(), 200, 1500)),
        Or(): gap(run(Or(), 200)),
        Average(): gap(run(Average(), 200, 500)),
    }
    print({type(rule).__name__: round(value, 3) for rule, value in found.items()})
    # C10: prototype .25 for AND, 2.3 for OR.
    assert found[And()] <= 0.35
    assert found[Or()] == pytest.approx(2.3, abs=0.3)
    assert found[And()] < found[Average()] < found[Or()]


def test_the_share_of_clamped_choices_is_told() -> None:
    found = run(And(), 200, 1500)
    assert 0 < found.clamped < 1
    assert float(found.weights.abs().max()) <= 20 + 1e-9
    assert run(Or(), 200).clamped == 0


def test_weights_sum_to_one_and_every_model_is_called_once_a_step() -> None:
    a, b = Counted(A), Counted(B)
    x = HIGH * torch.randn(7, 2, generator=torch.Generator().manual_seed(2), dtype=F64)
    found = superpose(plan_of(30), [a, b], x, torch.Generator(), rule=And())
    assert (len(a.calls), len(b.calls), found.calls) == (30, 30, 60)
    assert found.weights.shape == (30, 2, 7)
    assert torch.allclose(found.weights.sum(1), torch.ones(30, 7, dtype=F64))


def near(mean: float) -> Mixture:
    return gaussian(mean, 1.0)


def test_one_step_of_and_is_the_published_formula() -> None:
    t, s = 3.0, 2.0
    gen = torch.Generator().manual_seed(3)
    x, xi = (scale * torch.randn(5, 2, generator=gen, dtype=F64) for scale in (t, 1.0))
    plan = ancestral(Karras(), [t, s])
    start = torch.randn(2, 5, generator=gen, dtype=F64)
    found = superpose(plan, [A, B], x, None, rule=And(limit=1e9), start=start, noises=[xi])
    s1, s2 = (mix.score(x, 1.0, t) for mix in (A, B))
    q, d = t**2 - s**2, s1 - s2
    dx0 = q * s2 + plan.rows[0].fresh * xi  # type: ignore[union-attr]
    k = -((dx0 * d).sum(1) - q * (d * (s1 + s2)).sum(1) / 2 + start[0] - start[1]) / (q * (d * d).sum(1))
    assert torch.allclose(found.weights[0, 0], k, rtol=1e-9)
    assert torch.allclose(found.log_q[0], found.log_q[1], atol=1e-9)


def test_and_makes_the_densities_of_three_models_equal_at_every_step() -> None:
    models = [A, B, near(0.3)]
    x = HIGH * torch.randn(20, 2, generator=torch.Generator().manual_seed(4), dtype=F64)
    found = superpose(plan_of(40), models, x, torch.Generator(), rule=And(limit=1e12))
    spread = found.log_q.max(0).values - found.log_q.min(0).values
    assert float(spread.max()) < 1e-6
    assert found.clamped == 0


@dataclass(frozen=True)
class Blind(And):
    """And without the noise of the step: wrong, since the noise moves the densities too."""

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]:
        return super().__call__(sight._replace(rates=-sight.scores.square().sum(-1) / 2))


@dataclass(frozen=True)
class Backward(And):
    """And that widens the standing gap instead of closing it."""

    def __call__(self, sight: Sight) -> tuple[Tensor, Tensor]:
        return super().__call__(sight._replace(log_q=-sight.log_q))


@pytest.mark.parametrize("rule", [Blind(limit=1e12), Backward(limit=1e12)])
def test_wrong_variants_of_and_are_caught(rule: And) -> None:
    x = HIGH * torch.randn(20, 2, generator=torch.Generator().manual_seed(4), dtype=F64)
    found = superpose(plan_of(40), [A, B, near(0.3)], x, torch.Generator(), rule=rule)
    spread = found.log_q.max(0).values - found.log_q.min(0).values
    # 1e-6 bounds the right rule.
    assert float(spread.median()) > 1e-3


def test_feedback_closes_what_clamping_left_open() -> None:
    def left(found: Superposed) -> float:
        return float((found.log_q[0] - found.log_q[1]).abs().median())

    published, ours = run(And(feedback=0.0), 200, 500), run(And(), 200, 500)
    # Measured .11 and .015 nats of tracked gap.
    assert left(ours) < left(published) / 3


def test_models_that_agree_share_the_weight() -> None:
    x = HIGH * torch.randn(4, 2, generator=torch.Generator().manual_seed(5), dtype=F64)
    same = superpose(plan_of(20), [A, A], x, torch.Generator().manual_seed(6), rule=And())
    alone = sample(plan_of(20), A, x, torch.Generator().manual_seed(6))
    assert torch.allclose(same.weights, torch.full_like(same.weights, 0.5))
    # The noises of a superposed run are those of an ordinary one.
    assert torch.allclose(same.x, alone, rtol=1e-12)
    one = superpose(plan_of(20), [A], x, torch.Generator().manual_seed(6), rule=And())
    assert torch.equal(one.x, alone)


def test_a_high_temperature_commits_to_one_model() -> None:
    found = run(Or(temperature=100.0), 50, 300)
    assert float((found.weights[-1].max(0).values > 0.99).double().mean()) > 0.9
    assert float((run(Or(), 50, 300).weights[-1].max(0).values > 0.99).double().mean()) < 0.6


def smooth(rule: Rule, n: int, share: float = 0.5) -> tuple[Superposed, Tensor]:
    """A smooth run from exact densities, and where the ODE of the exact mixture ends from the same start."""
    x = HIGH * torch.randn(200, 2, generator=torch.Generator().manual_seed(7), dtype=F64)
    plan = rk4(Karras(), log(Karras(), n + 1, low=LOW, high=HIGH)[:-1])
    start = torch.stack([mix.log_prob(x, 1.0, HIGH) for mix in (A, B)])
    return superpose_smooth(plan, [A, B], x, rule=rule, start=start), sample(plan, either(share), x)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_smooth_or_is_the_ode_of_the_mixture(share: float) -> None:
    bias = torch.tensor([share, 1 - share]).log().tolist()
    found, exact = smooth(Or(bias=tuple(bias)), 40, share)
    # Fourth order at 40 steps; measured 2e-4.
    assert float((found.x - exact).abs().max()) < 2e-3


@pytest.mark.parametrize("rule", [Or(), And(), Average()])
def test_the_smooth_densities_are_exact_whatever_drives_the_state(rule: Rule) -> None:
    coarse, fine = (
        float((f.log_q - densities(f.x)).abs().mean()) for f in (smooth(rule, n)[0] for n in (20, 40))
    )
    # Fourth order divides by 16; And switches the clamp on and off and is only asked to shrink.
    assert fine < 5e-3
    assert coarse / fine > (2 if isinstance(rule, And) else 8)


def test_the_smooth_and_keeps_equal_densities_equal() -> None:
    x = HIGH * torch.randn(100, 2, generator=torch.Generator().manual_seed(8), dtype=F64)
    plan = rk4(Karras(), log(Karras(), 60, low=LOW, high=HIGH)[:-1])
    models = [A, near(0.4)]
    found = superpose_smooth(plan, models, x, rule=And(limit=1e6), start=torch.zeros(2, 100, dtype=F64))
    # The tracked rates are equal at every stage: equal up to rounding, blown up by the limit.
    assert float((found.log_q[0] - found.log_q[1]).abs().max()) < 1e-6


@dataclass(frozen=True)
class Split:
    """A two-dimensional mixture seen as a state of two parts."""

    inner: Mixture
    process: Any = Product({"u": Karras(), "v": Karras()})  # noqa: RUF009

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        mean = self.inner(torch.cat([x["u"], x["v"]], 1), t).mean
        return Posterior(mean={"u": mean[:, :1], "v": mean[:, 1:]})


def test_a_mapping_of_states_is_superposed_like_the_tensor_it_splits() -> None:
    gen = torch.Generator().manual_seed(9)
    x = HIGH * torch.randn(6, 2, generator=gen, dtype=F64)
    noises = [torch.randn(6, 2, generator=gen, dtype=F64) for _ in range(25)]
    whole = superpose(plan_of(25), [A, B], x, None, rule=And(), noises=noises)
    models = [Split(A), Split(B)]
    plan = ancestral(models[0].process, [row.t for row in plan_of(25).rows] + [plan_of(25).end])
    cut = [{"u": z[:, :1], "v": z[:, 1:]} for z in (x, *noises)]
    parts = superpose(plan, models, cut[0], None, rule=And(), noises=cut[1:])
    assert torch.allclose(torch.cat([parts.x["u"], parts.x["v"]], 1), whole.x, rtol=1e-8)
    assert torch.allclose(parts.log_q, whole.log_q, rtol=1e-8)


def test_a_sample_of_a_batch_is_the_one_drawn_alone() -> None:
    x = HIGH * torch.randn(3, 2, generator=torch.Generator().manual_seed(10), dtype=F64)
    many = superpose(plan_of(15), [A, B], x, Seeds([1, 2, 3]), rule=And())
    alone = superpose(plan_of(15), [A, B], x[1:2], Seeds([2]), rule=And())
    assert torch.allclose(many.x[1:2], alone.x, rtol=1e-9)


def test_single_precision_stays_close_to_double() -> None:
    x = HIGH * torch.randn(50, 2, generator=torch.Generator().manual_seed(11), dtype=F64)
    noises = [torch.randn(50, 2, generator=torch.Generator().manual_seed(i), dtype=F64) for i in range(30)]
    double = superpose(plan_of(30), [A, B], x, None, rule=Or(), noises=noises)
    low = [mix.to(torch.float32) for mix in (A, B)]
    single = superpose(plan_of(30), low, x.float(), None, rule=Or(), noises=[z.float() for z in noises])
    assert single.x.dtype == torch.float32
    assert torch.allclose(single.x.double(), double.x, atol=1e-3)
    assert torch.allclose(single.log_q, double.log_q, atol=1e-2)


def test_what_cannot_be_tracked_is_refused() -> None:
    x, times = torch.ones(1, 2, dtype=F64), [10.0, 5.0, 2.0]
    with pytest.raises(ConfigError, match="rows without history"):
        superpose(dpmpp(Karras(), times, eta=1.0), [A, B], x, torch.Generator(), rule=And())
    with pytest.raises(ConfigError, match="times the squared noise"):
        superpose(ddim(Karras(), times), [A, B], x, torch.Generator(), rule=And())
    with pytest.raises(ConfigError, match="must stay positive"):
        superpose(ancestral(Karras(), [*times, 0.0]), [A, B], x, torch.Generator(), rule=Or())
    with pytest.raises(ConfigError, match="3 biases for 2 models"):
        superpose(ancestral(Karras(), times), [A, B], x, torch.Generator(), rule=Or(bias=(0, 0, 0)))
    with pytest.raises(ConfigError, match="at least one model"):
        superpose(ancestral(Karras(), times), [], x, torch.Generator(), rule=Or())
    for plan in (heun(Karras(), times), ancestral(Karras(), times)):
        with pytest.raises(ConfigError, match=r"ODE in ln\(sigma / alpha\)"):
            superpose_smooth(plan, [A, B], x, rule=Or())
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        replace(And(), limit=0.5)
