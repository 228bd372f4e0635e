"""Interpolants: their schedules, exact fields between Gaussian mixtures, and runs along them (C06)."""

import itertools
import math
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.errors import ConfigError
from core.metrics import sliced_wasserstein
from core.mixture_bridge import MixtureBridge
from core.plan import Row, bridge, span
from core.process import Interpolant, from_record, to_record
from core.run import sample
from core.transport import Drift, Flow

F64 = torch.float64

ALL = [
    Interpolant(path, gamma, scale)
    for path, gamma, scale in itertools.product(
        ("linear", "trigonometric", "vp", "mirror"), ("brownian", "sine", "none"), (0.5, 2.0)
    )
    if not (path == "vp" and gamma == "sine") and not (path == "mirror" and gamma == "none")
]


def circle(n: int, radius: float, var: float) -> Mixture:
    """n blobs on a circle; two of radius 2 lie at (+-2, 0)."""
    angle = 2 * math.pi * torch.arange(n, dtype=F64) / n
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return Mixture(torch.ones(n, dtype=F64), means, var * torch.eye(2, dtype=F64).expand(n, 2, 2))


TWO, FIVE = circle(2, 2.0, 0.1), circle(5, 1.5, 0.05)


# -- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", ALL, ids=str)
def test_the_ends_are_the_data(process: Interpolant) -> None:
    first, last = process.weights(0.0), process.weights(1.0)
    assert first == pytest.approx((0, 1) if process.path == "mirror" else (1, 0), abs=1e-15)
    assert last == pytest.approx((0, 1), abs=1e-15)
    assert (process.noise_level(0.0), process.noise_level(1.0)) == pytest.approx((0, 0), abs=1e-15)


@pytest.mark.parametrize("process", ALL, ids=str)
def test_rates_are_the_derivatives_of_the_weights(process: Interpolant) -> None:
    h = 1e-6
    for t in (0.1, 0.35, 0.5, 0.8):
        for i in range(2):
            slope = (process.weights(t + h)[i] - process.weights(t - h)[i]) / (2 * h)
            assert process.rates(t)[i] == pytest.approx(slope, abs=1e-7)
        square = (process.noise_level(t + h) ** 2 - process.noise_level(t - h) ** 2) / (4 * h)
        assert process.noise_rate(t) == pytest.approx(square, abs=1e-7)


@pytest.mark.parametrize("process", ALL, ids=str)
def test_tensor_times_agree_with_float_times(process: Interpolant) -> None:
    times = torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    for method in ("weights", "rates", "noise_level", "noise_rate"):
        found = getattr(process, method)(times)
        for i, t in enumerate(times.tolist()):
            value = getattr(process, method)(t)
            if isinstance(value, tuple):
                assert [float(f[i]) for f in found] == pytest.approx(value, rel=1e-14)
            else:
                assert float(found[i]) == pytest.approx(value, rel=1e-14)


def test_the_variance_preserving_path_keeps_unit_variance() -> None:
    for process in (Interpolant("vp", scale=2.0), Interpolant("vp", "none")):
        for t in (0.05, 0.3, 0.5, 0.95):
            (a, b), gamma = process.weights(t), process.noise_level(t)
            assert a**2 + b**2 + gamma**2 == pytest.approx(1, rel=1e-14)


def test_the_speed_is_the_derivative_of_the_state(gen: torch.Generator) -> None:
    x0, x1, z = torch.randn(3, 5, 4, generator=gen, dtype=F64)
    h, t = 1e-6, torch.tensor([0.2, 0.4, 0.5, 0.7, 0.9], dtype=F64)
    for process in ALL:
        slope = (process.blend(x0, x1, z, t + h) - process.blend(x0, x1, z, t - h)) / (2 * h)
        assert torch.allclose(process.speed(x0, x1, z, t), slope, atol=1e-8)


def test_a_record_gives_back_an_equal_interpolant() -> None:
    for process in ALL:
        assert from_record(to_record(process)) == process


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "liner"}, "unknown path 'liner'"),
        ({"gamma": "brown"}, "unknown gamma 'brown'"),
        ({"scale": 0.0}, "scale > 0"),
        ({"tmin": 0.5}, "tmin"),
        ({"one_sided": True}, "no other noise than x_0"),
        ({"path": "mirror", "gamma": "none"}, "stands still"),
        ({"path": "vp", "gamma": "sine"}, "gamma below 1"),
        ({"path": "vp", "scale": 4.0}, "gamma below 1"),
    ],
)
def test_impossible_interpolants_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Interpolant(**settings)


# -- the exact field --------------------------------------------------------------------------------


@pytest.mark.parametrize("process", ALL[:6], ids=str)
def test_the_exact_score_is_the_gradient_of_the_marginal(process: Interpolant, gen: torch.Generator) -> None:
    exact = MixtureBridge(TWO, FIVE, process)
    for t in (0.05, 0.5, 0.9):
        x = exact.marginal(t).sample(50, gen)
        assert torch.allclose(exact(x, t).score, exact.marginal(t).score(x), atol=1e-9)
    times = torch.linspace(0.1, 0.9, 50, dtype=F64)
    each = torch.cat([exact(x[i : i + 1], float(t)).velocity for i, t in enumerate(times)])
    assert torch.allclose(exact(x, times).velocity, each, atol=1e-10)


def transport_error(exact: Any, law: MixtureBridge, t: float, x: Tensor) -> float:
    """Largest |d rho/dt + div (b rho)| / rho at x."""
    h = 1e-4

    def log_rho(at: float) -> Tensor:
        return law.marginal(at).log_prob(x)

    slope = (log_rho(t + h) - log_rho(t - h)) / (2 * h)
    flow = exact(x, t)
    div = sum(
        (exact(x + h * e, t).velocity - exact(x - h * e, t).velocity) @ e / (2 * h)
        for e in torch.eye(2, dtype=F64)
    )
    return float((slope + div + (flow.velocity * law.marginal(t).score(x)).sum(1)).abs().max())


@pytest.mark.parametrize("process", ALL[:8], ids=str)
def test_the_exact_velocity_solves_the_transport_equation(process: Interpolant, gen: torch.Generator) -> None:
    exact = MixtureBridge(TWO, FIVE, process)
    for t in (0.1, 0.5, 0.85):
        x = exact.marginal(t).sample(40, gen)
        assert transport_error(exact, exact, t, x) < 1e-4

    def without_noise(x: Tensor, t: float) -> Flow:
        flow = exact(x, t)
        return Flow(flow.velocity + process.noise_rate(t) * flow.score)

    if process.gamma != "none":
        assert transport_error(without_noise, exact, 0.1, exact.marginal(0.1).sample(40, gen)) > 0.1


# -- generation ---------------------------------------------------------------------------------------

EPSILONS = (0.0, 0.5, 2.0)


@lru_cache
def references(law: Mixture, n: int) -> tuple[list[Tensor], float]:
    """Eight exact samples, and the floor: their mean SW2 to eight others. One pair scatters by a third."""
    gen = torch.Generator().manual_seed(100)
    samples, others = ([law.sample(n, gen).float() for _ in range(8)] for _ in range(2))
    return samples, sum(sliced_wasserstein(x, y) for x, y in zip(samples, others, strict=True)) / 8


def distance(x: Tensor, law: Mixture) -> tuple[float, float]:
    """Mean SW2 to eight exact samples, and the floor."""
    samples, least = references(law, len(x))
    far = sum(sliced_wasserstein(x.float(), y) for y in samples) / 8
    print(f"SW2 {far:.4f}, floor {least:.4f}")
    return far, least


@lru_cache
def run(epsilon: Any, n: int, seed: int, backwards: bool = False, steps: int = 200) -> Tensor:
    field = MixtureBridge(TWO.to(torch.float32), FIVE.to(torch.float32), Interpolant())
    drift = Drift(field, epsilon, backwards)
    gen = torch.Generator().manual_seed(seed)
    start = (FIVE if backwards else TWO).to(torch.float32).sample(n, gen)
    return sample(bridge(drift, span(drift.process, steps, backwards=backwards)), drift, start, gen)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_any_epsilon_reaches_the_other_law(epsilon: float) -> None:
    far, least = distance(run(epsilon, 4000, EPSILONS.index(epsilon)), FIVE)
    assert far <= 1.5 * least


def test_the_marginals_do_not_depend_on_epsilon() -> None:
    ends = [run(epsilon, 4000, i).double() for i, epsilon in enumerate(EPSILONS)]
    # 4000 draws of standard deviation 1.08 per axis: standard error 0.017 of a mean, 0.013 of a second moment
    # (the radius hardly varies); 4 of their differences.
    for end in ends:
        print("mean", end.mean(0).tolist(), "covariance", torch.cov(end.T).flatten().tolist())
    for a, b in itertools.combinations(ends, 2):
        assert (a.mean(0) - b.mean(0)).abs().max().item() < 4 * 0.017 * math.sqrt(2)
        assert (torch.cov(a.T) - torch.cov(b.T)).abs().max().item() < 4 * 0.013 * math.sqrt(2)


@pytest.mark.parametrize("epsilon", [0.5, lambda t: 4 * t * (1 - t)], ids=["constant", "of time"])
def test_backwards_runs_reach_the_first_law(epsilon: Any) -> None:
    far, least = distance(run(epsilon, 1000, 0, backwards=True), TWO)
    assert far <= 1.5 * least


def test_a_score_of_the_wrong_sign_misses_the_law() -> None:
    field = MixtureBridge(TWO, FIVE, Interpolant())

    class Wrong:
        process = field.process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
            flow = field(x, t)
            return Flow(flow.velocity, -flow.score)

    gen = torch.Generator().manual_seed(0)
    drift = Drift(Wrong(), 0.5)
    end = sample(bridge(drift, span(field.process, 100)), drift, TWO.sample(500, gen), gen)
    assert not sliced_wasserstein(end, FIVE.sample(500, gen)) < 0.5


def test_a_mirror_interpolant_returns_to_its_law() -> None:
    process = Interpolant("mirror")
    drift = Drift(MixtureBridge(FIVE, FIVE, process), 1.0)
    gen = torch.Generator().manual_seed(0)
    end = sample(bridge(drift, span(process, 100)), drift, FIVE.sample(1000, gen), gen)
    far, least = distance(end, FIVE)
    assert far <= 1.5 * least


@pytest.mark.parametrize(("rule", "ratio"), [("euler", 1.8), ("heun", 3.5), ("rk4", 12.0)])
def test_deterministic_runs_converge_at_the_order_of_their_rule(rule: Any, ratio: float) -> None:
    # Gaussian to Gaussian: the ODE keeps the standardised state, so its end is known exactly.
    start, end = circle(1, 0.0, 0.25), circle(1, 1.0, 4.0)
    law = MixtureBridge(start, end, Interpolant("trigonometric", "sine"))
    drift, x = Drift(law), torch.tensor([[0.7, -0.4]], dtype=F64)
    low, high = 0.1, 0.9
    first, last = law.marginal(low), law.marginal(high)
    exact = last.means + (x - first.means) * (last.covs[0, 0, 0] / first.covs[0, 0, 0]).sqrt()
    errors = []
    for n in (20, 40):
        times = [low + (high - low) * i / n for i in range(n + 1)]
        errors.append((sample(bridge(drift, times, rule=rule), drift, x) - exact).norm().item())
    assert errors[0] / errors[1] > ratio


# -- plans ----------------------------------------------------------------------------------------------


def test_a_row_of_an_sde_is_the_euler_step() -> None:
    drift = Drift(MixtureBridge(TWO, FIVE, Interpolant()), 0.5, backwards=True)
    assert bridge(drift, [0.75, 0.5]).rows == (Row(0.75, 0.5, 1.0, (-0.25,), 0.5),)
    forwards = bridge(Drift(drift.field), span(drift.process, 7))
    assert (forwards.start, forwards.end, forwards.evaluations) == (1e-3, 1 - 1e-3, 7)
    assert not forwards.stochastic


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda d: bridge(Drift(d), [0.9, 0.1]), "needs increasing times"),
        (lambda d: bridge(Drift(d, backwards=True), [0.1, 0.9]), "needs decreasing times"),
        (lambda d: bridge(Drift(d), [0.0, 0.9]), "lives on"),
        (lambda d: bridge(Drift(d), [0.1, 1.5]), "lives on"),
        (lambda d: bridge(Drift(d, -1.0), [0.1, 0.5]), "epsilon must not be negative"),
        (lambda d: bridge(Drift(d, 1.0), [0.1, 0.5], rule="heun"), "takes Euler steps"),
        (lambda d: bridge(Drift(d), [0.1, 0.5], rule="hein"), "unknown rule"),
        (lambda d: span(d.process, 0), "at least 1 step"),
    ],
)
def test_runs_that_make_no_sense_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(MixtureBridge(TWO, FIVE, Interpolant()))
