"""Plans as tables: grids, JSON, printing, errors, and laws that hold on any grid."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import (
    JointRow,
    LangevinRow,
    Plan,
    Row,
    TokenRow,
    adams,
    ancestral,
    corrected,
    ddim,
    default,
    dpmpp,
    euler,
    euler_maruyama,
    heun,
    karras,
    log,
    logistic,
    reverse_diffusion,
    rk4,
    splitting,
    uniform,
    unmask,
)
from core.process import VE, VP, CosineVP, Karras, Masking, Product, RectifiedFlow, SubVP
from core.run import sample, steps
from core.state import Seeds
from tests.fixtures.mixtures import ring8
from tests.fixtures.normal import Normal

EDM = Karras()


@st.composite
def grids(draw: Any, final_zero: bool = True) -> list[float]:
    """Any decreasing grid of noise levels, perhaps ending at zero noise."""
    levels = draw(st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=8, unique=True))
    return [*sorted(levels, reverse=True), 0.0] if final_zero else sorted([*levels, 200.0], reverse=True)


class Knows:
    """The denoiser that always answers the same clean state."""

    def __init__(self, x0: Any, process: Any = EDM) -> None:
        self.x0, self.process = x0, process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.x0)


def test_a_grid_has_n_steps_the_last_to_zero_noise() -> None:
    process = VP()
    for times in (karras(process, 7), log(process, 7), logistic(process, 7, data_std=0.5)):
        assert len(times) == 8
        assert times == sorted(times, reverse=True)
        assert (times[0], times[-2], times[-1]) == pytest.approx((1.0, 1e-3, 0.0), abs=1e-12)
    assert uniform(process, 4) == pytest.approx([1.0, 0.75025, 0.5005, 0.25075, 1e-3])


def test_karras_points_are_those_of_the_source() -> None:
    # Eq. 5 of Karras et al. 2022 written out for 3 points, rho = 7.
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert karras(EDM, 3) == pytest.approx([80.0, middle, 0.002, 0.0], rel=1e-12)


def test_logistic_points_are_equally_spaced_quantiles() -> None:
    times = logistic(EDM, 9, data_std=0.8)
    quantile = [1 / (1 + math.exp(-(math.log(t) - math.log(0.8) + 0.5) / 1.6)) for t in times[:-1]]
    gaps = [a - b for a, b in pairwise(quantile)]
    assert gaps == pytest.approx([gaps[0]] * 8, rel=1e-9)


def test_a_grid_means_the_same_ratios_under_every_process() -> None:
    for process in (VP(), SubVP(), VE(), CosineVP(), RectifiedFlow()):
        times = log(process, 5, low=0.05, high=10.0)
        expected = log(EDM, 5, low=0.05, high=10.0)
        assert [process.ratio(t) for t in times] == pytest.approx(expected, rel=1e-9)


def test_a_logistic_grid_may_start_where_no_signal_is_left() -> None:
    times = logistic(RectifiedFlow(), 6, data_std=1.0)
    assert (len(times), times[0], times[-1]) == (7, 1.0, 0.0)
    with pytest.raises(ConfigError, match="no signal at its noise end"):
        log(RectifiedFlow(), 6)


def test_a_product_shares_one_grid_that_is_legal_for_every_part() -> None:
    for parts in ({"a": VE(), "b": VP()}, {"a": VP(), "b": VE()}):
        plan = ddim(Product(parts), log(Product(parts), 5), eta=1.0)
        assert all(isinstance(row, JointRow) and set(row.parts) == {"a", "b"} for row in plan.rows)
        numbers = [v for row in plan.rows for part in row.parts.values() for v in (part.keep, *part.pull)]
        assert all(math.isfinite(v) for v in numbers)


PLANS = {
    "ddim": ddim(VP(), karras(VP(), 5), eta=0.3),
    "default": default(EDM, 6, data_std=0.7),
    "dpmpp": dpmpp(VE(), log(VE(), 5), eta=1.0),
    "rk4": rk4(EDM, log(EDM, 3)),
    "joint": ddim(Product({"a": VP(), "b": EDM}), [1.0, 0.5, 0.1]),
    "corrected": corrected(reverse_diffusion(VP(), uniform(VP(), 3)), VP(), n=2, pooled=False),
    "splitting": splitting(Product({"a": VP(), "b": VE()}), [1.0, 0.5, 0.1], snr=0.1, temper=0.7),
    "unmask": unmask(Masking(4), [1.0, 0.5, 0.0]),
}


@pytest.mark.parametrize("name", PLANS)
def test_json_gives_back_an_equal_plan_to_the_last_bit(name: str) -> None:
    plan = PLANS[name]
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert [type(row) for row in again.rows] == [type(row) for row in plan.rows]
    assert again.to_json() == plan.to_json()


@given(grid=grids(), eta=st.floats(0, 1))
def test_json_is_exact_on_any_grid(grid: list[float], eta: float) -> None:
    plan = ddim(EDM, grid, eta=eta)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', '{"name": "x", "rows": [{"t": 1}]}', "3"])
def test_json_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a plan as JSON"):
        Plan.from_json(text)


@pytest.mark.parametrize("name", PLANS)
def test_a_printed_plan_has_a_title_and_a_line_per_row_and_part(name: str) -> None:
    plan = PLANS[name]
    lines = str(plan).splitlines()
    assert lines[0].startswith(f"{plan.name}: {plan.evaluations} evaluations")
    assert len(lines) == 1 + sum(len(row.parts) if isinstance(row, JointRow) else 1 for row in plan.rows)


def test_a_printed_row_shows_its_coefficients() -> None:
    assert str(ddim(EDM, [2.0, 1.0])).splitlines()[1] == (
        "   0          t 2          s 1          keep +0.500000  pull +0.500000  fresh 0.000000"
    )


def test_a_plan_knows_its_cost_order_and_ends() -> None:
    assert (PLANS["rk4"].evaluations, PLANS["default"].order) == (9, 3)
    assert [PLANS[name].stochastic for name in ("ddim", "default", "corrected", "unmask")] == [1, 0, 1, 1]
    assert (PLANS["joint"].start, PLANS["joint"].end) == (1.0, 0.1)
    with pytest.raises(ConfigError, match="at least one step"):
        Plan("empty", ())


def test_plans_and_rows_are_immutable() -> None:
    plan = PLANS["ddim"]
    with pytest.raises(AttributeError):
        plan.name = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan.rows[0].keep = 1.0  # type: ignore[union-attr,misc]


RULES = [ddim, ancestral, euler_maruyama, reverse_diffusion, euler, heun, rk4, dpmpp]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0], [1.0, 0.5, 0.7], [1.0, math.nan]])
def test_grids_that_are_not_monotone_are_refused(rule: Any, times: list[float]) -> None:
    with pytest.raises(ConfigError, match="at least two strictly monotone times"):
        rule(EDM, times)


@pytest.mark.parametrize("rule", RULES)
def test_no_step_begins_at_zero_noise(rule: Any) -> None:
    for times in ([0.0, 1.0], [1.0, 0.0, -1.0]):
        with pytest.raises(ConfigError, match="no step can start at zero noise"):
            rule(EDM, times)


@pytest.mark.parametrize("rule", RULES)
def test_other_processes_are_refused_by_name(rule: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{rule.__name__}' plans need a Gaussian process, got Masking"):
        rule(Masking(3), [1.0, 0.0])


@pytest.mark.parametrize(
    "build",
    [
        lambda t: ddim(EDM, t, eta=0.5),
        lambda t: ancestral(EDM, t),
        lambda t: dpmpp(EDM, t, eta=1.0),
        lambda t: euler_maruyama(EDM, t),
        lambda t: reverse_diffusion(EDM, t),
    ],
)
def test_stochastic_plans_run_from_noise_to_data(build: Any) -> None:
    with pytest.raises(ConfigError, match="from noise to data"):
        build([0.1, 1.0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ddim(EDM, [1.0, 0.5], eta=1.5), "eta must lie in"),
        (lambda: dpmpp(EDM, [1.0, 0.5], eta=-0.1), "eta must not be negative"),
        (lambda: dpmpp(EDM, [1.0, 0.5], order=3), "order must be 1 or 2"),
        (lambda: adams(EDM, [1.0, 0.5], data_std=1.0, order=5), "order must be 1, 2, 3 or 4"),
        (lambda: adams(EDM, [1.0, 0.5], data_std=0.0), "data_std must be positive"),
        (lambda: heun(EDM, [1.0, 0.5], clock="lag"), "unknown clock 'lag'"),  # type: ignore[arg-type]
        (lambda: heun(RectifiedFlow(), [1.0, 0.5]), "clock 'ratio' is infinite at t=1"),
        (lambda: euler_maruyama(RectifiedFlow(), [1.0, 0.5]), "no finite drift at t=1"),
        (lambda: log(EDM, 0), "at least 1 step"),
        (lambda: log(EDM, 3, low=5.0, high=1.0), "0 < low < high"),
        (lambda: corrected(ddim(EDM, [1.0, 0.5]), EDM, snr=0.0), "snr > 0"),
        (lambda: corrected(PLANS["joint"], EDM), "only plans of linear rows"),
        (lambda: corrected(PLANS["joint"], Product({"a": VP()})), "parts"),
        (lambda: corrected(ddim(VP(), [1.0, 0.5]), Masking(4)), "needs a Gaussian process"),
        (lambda: splitting(EDM, [1.0, 0.5], snr=0.0), "snr > 0"),
        (lambda: splitting(EDM, [1.0, 0.5], variance="exat"), "unknown variance 'exat'"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_make_no_plan_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@given(grid=grids())
def test_ddim_lands_on_the_answer_of_a_sure_denoiser_on_any_grid(grid: list[float]) -> None:
    x0 = torch.tensor([[1.0, -3.0], [0.2, 7.0]], dtype=torch.float64)
    x = grid[0] * torch.tensor([[0.5, 1.0], [-2.0, 0.1]], dtype=torch.float64)
    assert torch.equal(sample(ddim(EDM, grid), Knows(x0), x), x0)


@given(grid=grids(final_zero=False), eta=st.floats(0, 1))
def test_ddim_keeps_the_predicted_noise_of_a_sure_denoiser(grid: list[float], eta: float) -> None:
    x0 = torch.tensor([[1.0, -3.0]], dtype=torch.float64)
    eps = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    end = sample(ddim(EDM, grid), Knows(x0), x0 + grid[0] * eps)
    assert torch.allclose(end, x0 + grid[-1] * eps, rtol=1e-9)


@given(order=st.permutations(range(5)))
def test_the_order_of_the_batch_does_not_matter(order: list[int]) -> None:
    mix = ring8()
    plan = ddim(EDM, karras(EDM, 4), eta=0.7)
    x = mix.process.prior(torch.zeros(5, 2, dtype=torch.float64), Seeds(range(5)))
    straight = sample(plan, mix, x, Seeds(range(10, 15)))
    shuffled = sample(plan, mix, x[order], Seeds([10 + i for i in order]))
    assert torch.equal(shuffled, straight[order])


def test_a_part_without_noise_gets_none_while_another_draws() -> None:
    # The last step leaves zero noise in VP and a residue in VE: only VE may draw.
    process = Product({"a": VE(), "b": VP()})
    x0 = {"a": torch.ones(1000, 2, dtype=torch.float64), "b": torch.full((1000, 2), 3.0, dtype=torch.float64)}
    plan = ddim(process, [1.0, 0.5, 0.0], eta=1.0)
    end = sample(plan, Knows(x0, process), process.prior(x0, Seeds(range(1000))), Seeds(range(1000)))
    assert torch.equal(end["b"], x0["b"])
    # 2000 draws: four standard errors of a deviation, relative.
    assert (end["a"] - 1).std().item() == pytest.approx(VE().sigma_min, rel=0.065)


@pytest.mark.parametrize("build", [ddim, dpmpp, heun, lambda p, t: adams(p, t, data_std=0.5)])
def test_gradients_flow_through_a_run(build: Any) -> None:
    normal = Normal()
    plan = build(EDM, [5.0, 1.0, 0.2, 0.0])

    def end(x: torch.Tensor) -> torch.Tensor:
        for step in steps(plan, normal, x):
            x = step.next
        return x

    x = torch.tensor([3.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(end, (x,))


def test_a_corrector_follows_every_step_that_leaves_noise() -> None:
    plan = corrected(reverse_diffusion(EDM, [2.0, 1.0, 0.0]), EDM, n=2)
    assert [type(row) for row in plan.rows] == [Row, LangevinRow, LangevinRow, Row]
    assert replace(plan, rows=plan.rows[:1]) == replace(reverse_diffusion(EDM, [2.0, 1.0]), name=plan.name)


def test_token_rows_carry_their_probabilities() -> None:
    assert json.loads(PLANS["unmask"].to_json())["rows"][0]["reveal"] == 0.5
    assert isinstance(PLANS["unmask"].rows[1], TokenRow)
    assert PLANS["unmask"].rows[1].reveal == 1.0
