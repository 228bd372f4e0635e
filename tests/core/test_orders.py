"""Plans on a Gaussian, where flow, law and therefore the error of every sampler are closed form (C30).

Means and deviations come from `moments_of`, which propagates a linear plan without drawing; what is left is
the discretisation error alone, so its order can be read off by halving the step.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from core.plan import (
    Plan,
    Row,
    adams,
    ancestral,
    ddim,
    default,
    dpmpp,
    euler,
    euler_maruyama,
    heun,
    karras,
    log,
    midpoint,
    reverse_diffusion,
    rk4,
    uniform,
)
from core.process import VE, VP, CosineVP, Gaussian, Karras, RectifiedFlow, SigmaPower, SubVP
from core.run import sample
from tests.fixtures.normal import Normal, moments_of

PROCESSES = [VP(), SubVP(), VE(), Karras(), CosineVP(), RectifiedFlow(), SigmaPower()]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
START = torch.tensor([-1.5, 0.3, 2.0], dtype=torch.float64)


def between(process: Gaussian, n: int, high: float = 20.0, low: float = 0.05) -> list[float]:
    """n steps equal in log ratio that stop short of zero noise."""
    return log(process, n + 1, low=low, high=high)[:-1]


def flow_error(plan: Plan, normal: Normal) -> float:
    """Largest error of a deterministic plan against the probability-flow ODE."""
    x = normal.process.alpha(plan.start) * normal.mean + math.sqrt(normal.variance(plan.start)) * START
    return float((sample(plan, normal, x) - normal.flow(x, plan.start, plan.end)).abs().max())


def law_error(plan: Plan, normal: Normal) -> float:
    """Error of the mean and of the deviation that a plan reaches, relative to the exact law at its end."""
    mean, std = moments_of(plan, normal)
    exact = math.sqrt(normal.variance(plan.end))
    return (abs(mean - normal.process.alpha(plan.end) * normal.mean) + abs(std - exact)) / exact


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_reaches_the_moments_of_samples(eta: float) -> None:
    gen = torch.Generator().manual_seed(0)
    normal = Normal(process=CosineVP())
    plan = ddim(normal.process, torch.linspace(1, 0, 201).tolist(), eta=eta)
    x = sample(plan, normal, torch.randn(40_000, generator=gen, dtype=torch.float64), gen)
    # 40 000 draws: four standard errors are 0.01 on the mean and 0.007 on the deviation; the plan adds 0.004.
    assert x.mean().item() == pytest.approx(2.0, abs=0.014)
    assert x.std().item() == pytest.approx(0.5, abs=0.011)


STOCHASTIC: dict[str, Callable[..., Plan]] = {
    "ddim, eta 0": ddim,
    "ddim, eta 0.5": lambda p, t: ddim(p, t, eta=0.5),
    "ancestral": ancestral,
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "dpmpp, eta 1, order 1": lambda p, t: dpmpp(p, t, eta=1.0, order=1),
    "dpmpp, eta 1, order 2": lambda p, t: dpmpp(p, t, eta=1.0),
    "dpmpp, eta 0.5": lambda p, t: dpmpp(p, t, eta=0.5),
}


@every_process
@pytest.mark.parametrize("rule", STOCHASTIC)
def test_the_law_converges_at_first_order_or_better(process: Gaussian, rule: str) -> None:
    normal = Normal(process=process)
    coarse, fine = (law_error(STOCHASTIC[rule](process, between(process, n)), normal) for n in (200, 400))
    # Halving the step halves a first-order error (asymptotically 2; 1.8 leaves room for the next term).
    assert fine < 0.06
    assert coarse / fine > 1.8


@every_process
def test_ancestral_sampling_is_ddim_with_eta_one(process: Gaussian) -> None:
    times = between(process, 10)
    assert ancestral(process, times).rows == ddim(process, times, eta=1.0).rows


@every_process
def test_ancestral_noise_is_that_of_the_exact_bridge(process: Gaussian) -> None:
    # With D known, x_s given x_t and x_0 has variance sig_s^2 (1 - (alpha_t sig_s / (alpha_s sig_t))^2).
    row = ancestral(process, between(process, 3)).rows[1]
    assert isinstance(row, Row)
    precision = 1 / process.sigma(row.s) ** 2 + (process.alpha(row.t) / process.alpha(row.s)) ** 2 / (
        process.sigma(row.t) ** 2 - (process.alpha(row.t) / process.alpha(row.s) * process.sigma(row.s)) ** 2
    )
    assert row.fresh == pytest.approx(precision**-0.5, rel=1e-9)


def marginal_kept(plan: Plan, process: Gaussian) -> bool:
    """Whether each row maps q(x_t given x_0) to q(x_s given x_0) when the denoiser knows x_0."""
    return all(
        math.isclose(row.keep * process.alpha(row.t) + sum(row.pull), process.alpha(row.s), rel_tol=1e-9)
        and math.isclose(
            (row.keep * process.sigma(row.t)) ** 2 + row.fresh**2, process.sigma(row.s) ** 2, rel_tol=1e-9
        )
        for row in plan.rows
        if isinstance(row, Row)
    )


@every_process
def test_exact_plans_keep_the_marginals_of_known_data(process: Gaussian) -> None:
    times = between(process, 7)
    for eta in (0.0, 0.3, 1.0):
        assert marginal_kept(ddim(process, times, eta=eta), process)
        assert marginal_kept(dpmpp(process, times, eta=eta), process)
    wrong = ddim(process, times, eta=0.3).rows[2]
    assert isinstance(wrong, Row)
    assert not marginal_kept(Plan("wrong", (wrong._replace(fresh=-wrong.fresh + 0.1),)), process)


@every_process
def test_euler_in_the_ratio_clock_is_ddim(process: Gaussian) -> None:
    times = between(process, 9)
    x = torch.tensor([0.7, -2.0], dtype=torch.float64) * process.sigma(times[0])
    normal = Normal(process=process)
    a = sample(euler(process, times, clock="ratio"), normal, x)
    assert torch.allclose(a, sample(ddim(process, times), normal, x), rtol=1e-11)


@every_process
def test_first_order_dpmpp_is_ddim(process: Gaussian) -> None:
    times = between(process, 9)
    for a, b in zip(dpmpp(process, times, order=1).rows, ddim(process, times).rows, strict=True):
        assert isinstance(a, Row)
        assert isinstance(b, Row)
        assert (a.keep, *a.pull) == pytest.approx((b.keep, *b.pull), rel=1e-9, abs=1e-12)


RULES: dict[str, tuple[float, Callable[..., Plan]]] = {
    "ddim": (1.8, ddim),
    "euler, time": (1.8, euler),
    "heun, ratio": (3.5, heun),
    "heun, log": (3.5, lambda p, t: heun(p, t, clock="log")),
    "heun, time": (3.5, lambda p, t: heun(p, t, clock="time")),
    "midpoint, time": (3.5, midpoint),
    "midpoint, ratio": (3.5, lambda p, t: midpoint(p, t, clock="ratio")),
    "rk4, log": (13.0, rk4),
    "rk4, ratio": (13.0, lambda p, t: rk4(p, t, clock="ratio")),
    "rk4, time": (13.0, lambda p, t: rk4(p, t, clock="time")),
    "dpmpp": (3.2, dpmpp),
    "adams, order 2": (3.2, lambda p, t: adams(p, t, data_std=1.0, order=2)),
}


@every_process
@pytest.mark.parametrize("rule", RULES)
def test_halving_the_step_divides_the_error_of_the_flow(process: Gaussian, rule: str) -> None:
    least, build = RULES[rule]
    normal = Normal(process=process)
    coarse, fine = (flow_error(build(process, between(process, n)), normal) for n in (160, 320))
    # Asymptotically 2, 4 and 16; the lower figures leave room for the next term at these steps, and for the
    # low-order start of multistep rules.
    assert coarse / fine > least


def angles(process: Gaussian, n: int, data_std: float) -> list[float]:
    """Times whose angles atan(sigma / (alpha sd)) are equally spaced, for n steps from ratio 10 to 0.1."""
    first, last = (math.atan(r / data_std) for r in (10.0, 0.1))
    return [process.time(data_std * math.tan(first + (last - first) * i / n)) for i in range(n + 1)]


def primed_error(process: Gaussian, order: int, n: int, data_std: float = 1.0) -> float:
    """Error of `adams` when the derivatives before the first step are exact."""
    normal = Normal(process=process)
    grid = angles(process, n, data_std)
    before, times = grid[: order - 1], grid[order - 1 :]
    plan = adams(process, times, data_std=data_std, order=order, before=before)
    x = process.alpha(grid[0]) * normal.mean + math.sqrt(normal.variance(grid[0])) * START

    def slope(t: float) -> Tensor:
        here = normal.flow(x, grid[0], t)
        theta = math.atan2(process.sigma(t), process.alpha(t) * data_std)
        rho = math.hypot(process.alpha(t), process.sigma(t) / data_std)
        return (math.cos(theta) * here / rho - normal(here, t).mean) / math.sin(theta)

    history = [slope(t) for t in before][::-1]
    end = sample(plan, normal, normal.flow(x, grid[0], times[0]), history=history)
    return float((end - normal.flow(x, grid[0], times[-1])).abs().max())


@pytest.mark.parametrize("process", [Karras(), VP(), RectifiedFlow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(("order", "least"), [(1, 1.8), (2, 3.5), (3, 6.5), (4, 12.0)])
def test_adams_has_its_order_when_its_history_is_exact(process: Gaussian, order: int, least: float) -> None:
    # C30: 1.8, 3.5 and 6.5 for orders 1 to 3; asymptotically 2, 4, 8 (and 16).
    coarse, fine = (primed_error(process, order, n) for n in (40, 80))
    assert coarse / fine >= least


def test_adams_is_exact_for_data_of_its_own_deviation() -> None:
    normal = Normal(mean=0.0, std=0.7, process=VP())
    plan = adams(normal.process, [*between(normal.process, 3), normal.process.time(0.0)], data_std=0.7)
    assert flow_error(plan, normal) < 1e-12


def test_the_default_plan_is_third_order_adams_and_uses_every_evaluation() -> None:
    plan = default(Karras(), 12, data_std=0.9)
    assert (plan.name, plan.evaluations, plan.order, plan.stochastic) == ("adams", 12, 3, False)
    assert (plan.start, plan.end) == (80.0, 0.0)


FINAL: dict[str, Callable[[Any, Sequence[float]], Plan]] = {
    "ddim": ddim,
    "ancestral": ancestral,
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "euler": euler,
    "heun": heun,
    "rk4": rk4,
    "dpmpp": dpmpp,
    "dpmpp, eta 1": lambda p, t: dpmpp(p, t, eta=1.0),
    "adams": lambda p, t: adams(p, t, data_std=1.0),
}


@every_process
@pytest.mark.parametrize("rule", FINAL)
def test_a_step_to_zero_noise_ends_at_rest_near_the_clean_law(process: Gaussian, rule: str) -> None:
    normal = Normal(process=process)
    plan = FINAL[rule](process, karras(process, 120, low=0.01, high=20.0))
    last = plan.rows[-1]
    assert isinstance(last, Row)
    assert last.fresh == 0
    mean, std = moments_of(plan, normal)
    # 120 steps of the coarsest first-order rule are off by 14 % on the deviation.
    assert (mean, std) == pytest.approx((2.0, 0.5), rel=0.15)


@pytest.mark.parametrize(
    "build",
    [
        ddim,
        ancestral,
        dpmpp,
        lambda p, t: dpmpp(p, t, eta=1.0),
        lambda p, t: adams(p, t, data_std=1.0),
        lambda p, t: euler(p, t, clock="time"),
        lambda p, t: heun(p, t, clock="time"),
    ],
)
def test_the_straight_path_starts_where_no_signal_is_left(build: Callable[..., Plan]) -> None:
    flow = RectifiedFlow()
    plan = build(flow, [*uniform(flow, 80)[:-1], 0.01, 0.0])
    assert plan.start == 1.0
    # 80 first-order steps: below 4 % of the deviation, measured 3.2 % for the stochastic rules.
    assert law_error(plan, Normal(process=flow)) < 0.06
