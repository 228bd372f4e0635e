"""Self-guidance on Gaussian windows, whose noise predictor is linear and known.

Every run here is compared with the published loop written out: x_{k-1} = mu + s v g + sqrt(v) z.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from core.plan import Plan, Row, ancestral, ddim, default
from core.process import LinearBetas
from core.run import sample
from core.state import Seeds
from domains.timeseries.guidance import Known, Rule, levels_of, self_guided
from domains.timeseries.sampling import ddim_times
from domains.timeseries.tsdiff import SeriesModel
from domains.timeseries.windows import Shape
from tests.domains.timeseries.exact import DDPM, GaussianNet, covariance, gaussian_model

SHAPES = {"plain": Shape(6, 3), "lags": Shape(5, 2, lags=(2, 3))}
SHORT = LinearBetas(steps=25, first=1e-3, last=0.3)  # a quarter of the steps, for runs that are written out
ABAR = [1.0]
for beta in SHORT.betas:
    ABAR.append(ABAR[-1] * (1 - beta))


def known_of(shape: Shape, n: int, *, quantile: bool, gen: torch.Generator) -> Known:
    """A random observation: the context, and of the lag channels what lies before the forecast."""
    y = torch.randn(1, shape.channels, shape.length, generator=gen, dtype=torch.float64)
    mask = torch.zeros_like(y)
    for channel, lag in enumerate((0, *shape.lags)):
        mask[0, channel, : shape.context + lag] = 1
    return Known(y, mask, levels_of(torch.arange(n), n) if quantile else None)


def energy(known: Known, net: GaussianNet, x: Tensor, k: int) -> Tensor:
    """E of each window, from the noise predictor alone."""
    t = torch.full((len(x),), float(k), dtype=torch.float64)
    f = (x - math.sqrt(1 - ABAR[k]) * net(x, t)) / math.sqrt(ABAR[k])
    e = known.y - f
    if known.levels is None:
        each = known.mask * e**2
    else:
        level = known.levels[:, None, None]
        each = known.mask * torch.where(e > 0, level * e, (level - 1) * e)
    return each.flatten(1).sum(1)


def pull(known: Known, net: GaussianNet, x: Tensor, k: int) -> Tensor:
    """g = -grad E."""
    at = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(energy(known, net, at, k).sum(), at)
    return -grad


def published(
    known: Known, net: GaussianNet, x: Tensor, noises: list[Tensor], s: float, placement: str
) -> Tensor:
    """DDPM with guidance, step by step; k counts down to 1."""
    for k, z in zip(range(SHORT.steps, 0, -1), noises, strict=True):
        beta, v = SHORT.betas[k - 1], SHORT.betas[k - 1] * (1 - ABAR[k - 1]) / (1 - ABAR[k])
        t = torch.full((len(x),), float(k), dtype=torch.float64)
        mu = (x - beta / math.sqrt(1 - ABAR[k]) * net(x, t)) / math.sqrt(1 - beta)
        if placement == "paper":
            x = mu + s * v * pull(known, net, x, k) + math.sqrt(v) * z
        else:
            x = mu + math.sqrt(v) * z
            x = x + s * v * pull(known, net, x, k)
    return x


def short_model(shape: Shape) -> SeriesModel:
    return gaussian_model(shape.context, shape.prediction, shape.lags, process=SHORT)


@pytest.mark.parametrize("placement", ["paper", "reference"])
@pytest.mark.parametrize("quantile", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_a_guided_run_is_the_published_loop(name: str, quantile: bool, placement: str) -> None:
    shape, gen = SHAPES[name], torch.Generator().manual_seed(0)
    model = short_model(shape)
    net, n = model.denoiser.net, 7
    known = known_of(shape, n, quantile=quantile, gen=gen)
    size = (n, shape.channels, shape.length)
    x, *noises = (torch.randn(size, generator=gen, dtype=torch.float64) for _ in range(SHORT.steps + 1))
    plan = ancestral(SHORT, ddim_times(25, 25))
    steered = self_guided(model.denoiser, known, 2.0, plan, placement=placement)
    found = sample(plan, steered, x, noises=[*noises[:-1], None])
    exact = published(known, net, x, noises, 2.0, placement)
    assert torch.allclose(found, exact, atol=1e-8)
    # The other placement, and a scale that is not the one asked for, are other runs.
    other = published(known, net, x, noises, 2.0, "reference" if placement == "paper" else "paper")
    assert (other - exact).abs().max() > 1e-3
    assert (published(known, net, x, noises, 1.0, placement) - exact).abs().max() > 1e-3


def reached(plan: Plan, model: SeriesModel) -> Tensor:
    """The exact covariance of what a plan makes of N(0, I): runs of linear rows are linear in every noise."""
    d = model.shape.channels * model.shape.length
    drawing = [i for i, row in enumerate(plan.rows) if row.fresh]
    units = torch.eye(d, dtype=torch.float64).reshape(d, model.shape.channels, model.shape.length)
    total = torch.zeros(d, d, dtype=torch.float64)
    zero = torch.zeros_like(units)
    for source in (-1, *drawing):
        noises = [(units if i == source else zero) if i in drawing else None for i in range(len(plan.rows))]
        out = sample(plan, model.denoiser, units if source == -1 else zero, noises=noises).flatten(1)
        total += out.T @ out
    return total


def recursion(plan: Plan, process: LinearBetas, exact: Tensor) -> Tensor:
    """The same for rows of one denoised state, eigenvalue by eigenvalue of the data's covariance."""
    values, vectors = torch.linalg.eigh(exact)
    variance = torch.ones_like(values)
    for row in plan.rows:
        assert isinstance(row, Row)
        a, s = process.alpha(row.t), process.sigma(row.t)
        gain = a * values / (a**2 * values + s**2)
        variance = (row.keep + row.pull[0] * gain) ** 2 * variance + row.fresh**2
    return vectors @ variance.diag() @ vectors.T


@pytest.mark.parametrize("name", SHAPES)
def test_ddpm_reaches_the_covariance_that_its_steps_allow(name: str) -> None:
    shape = SHAPES[name]
    plan = ancestral(SHORT, ddim_times(25, 25))
    exact = recursion(plan, SHORT, covariance(shape))
    assert torch.allclose(reached(plan, short_model(shape)), exact, atol=1e-8)


def test_plans_reach_the_covariance_of_the_data() -> None:
    shape = SHAPES["plain"]
    exact = covariance(shape)

    def gap(found: Tensor) -> float:
        return float((found - exact).abs().max())

    # Without sampling error: 100 ancestral steps hold 5.5 % too little variance, which is the
    # discretisation's.
    assert 0.03 < gap(recursion(ancestral(DDPM, ddim_times(100, 100)), DDPM, exact)) < 0.06
    finer = LinearBetas(steps=400, first=1e-4 / 4, last=0.1 / 4)
    assert gap(recursion(ancestral(finer, ddim_times(400, 400)), finer, exact)) < 0.02
    assert gap(reached(default(DDPM, 25, data_std=1.0), gaussian_model(6, 3))) < 0.03


@pytest.mark.parametrize("quantile", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_the_gradient_of_the_energy_is_the_difference_quotient(name: str, quantile: bool) -> None:
    shape, gen = SHAPES[name], torch.Generator().manual_seed(2)
    model = short_model(shape)
    net = model.denoiser.net
    known = known_of(shape, 2, quantile=quantile, gen=gen)
    x = torch.randn(2, shape.channels, shape.length, generator=gen, dtype=torch.float64)
    plan, k = ancestral(SHORT, ddim_times(25, 25)), 10
    steered = self_guided(model.denoiser, known, 1.0, plan)
    row = next(row for row in plan.rows if row.t == k)
    found = (steered(x, float(k)).mean - model.denoiser(x, float(k)).mean) * row.pull[0] / row.fresh**2
    h = 1e-6
    for channel in range(shape.channels):
        for at in range(shape.length):
            step = torch.zeros_like(x)
            step[:, channel, at] = h
            slope = (energy(known, net, x + step, k) - energy(known, net, x - step, k)) / (2 * h)
            assert torch.allclose(found[:, channel, at], -slope, atol=1e-5)


def test_the_score_rule_adds_the_pull_to_the_predicted_noise() -> None:
    gen = torch.Generator().manual_seed(3)
    model = short_model(SHAPES["plain"])
    known = known_of(model.shape, 4, quantile=True, gen=gen)
    x = torch.randn(4, 1, 9, generator=gen, dtype=torch.float64)
    plan = ddim(SHORT, ddim_times(25, 5))
    found = sample(plan, self_guided(model.denoiser, known, 3.0, plan, rule="score"), x)
    net = model.denoiser.net
    for k, s in pairwise(int(t) for t in ddim_times(25, 5)):
        t = torch.full((4,), float(k), dtype=torch.float64)
        eps = net(x, t) - 3.0 * math.sqrt(1 - ABAR[k]) * pull(known, net, x, k)
        clean = (x - math.sqrt(1 - ABAR[k]) * eps) / math.sqrt(ABAR[k])
        x = math.sqrt(ABAR[s]) * clean + math.sqrt(1 - ABAR[s]) * eps
    assert torch.allclose(found, x, atol=1e-8)


def test_the_last_step_is_not_guided() -> None:
    gen = torch.Generator().manual_seed(4)
    model = gaussian_model(6, 3)
    known = known_of(model.shape, 2, quantile=False, gen=gen)
    x = torch.randn(2, 1, 9, generator=gen, dtype=torch.float64)
    plan = ancestral(DDPM, ddim_times(100, 100))
    steered = self_guided(model.denoiser, known, 5.0, plan)
    assert torch.equal(steered(x, 1.0).mean, model.denoiser(x, 1.0).mean)
    assert not torch.allclose(steered(x, 2.0).mean, model.denoiser(x, 2.0).mean)


class Counting:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: object) -> None:
        self.inner, self.calls, self.process = denoiser, 0, DDPM

    def __call__(self, x: Tensor, t: float, cond: object = None) -> object:
        self.calls += 1
        return self.inner(x, t, cond)


@pytest.mark.parametrize(
    ("rule", "placement", "calls"), [("variance", "paper", 100), ("variance", "reference", 199)]
)
def test_the_paper_placement_calls_the_network_once_a_step(rule: Rule, placement: str, calls: int) -> None:
    gen = torch.Generator().manual_seed(5)
    model = gaussian_model(6, 3)
    counting = Counting(model.denoiser)
    known = known_of(model.shape, 2, quantile=True, gen=gen)
    plan = ancestral(DDPM, ddim_times(100, 100))
    steered = self_guided(counting, known, 1.0, plan, rule=rule, placement=placement)
    sample(plan, steered, torch.randn(2, 1, 9, generator=gen), Seeds([0, 1]))
    assert counting.calls == calls


def test_guided_samples_come_near_what_is_known() -> None:
    gen = torch.Generator().manual_seed(6)
    model = gaussian_model(6, 3)
    known = known_of(model.shape, 64, quantile=False, gen=gen)
    plan = ancestral(DDPM, ddim_times(100, 100))
    start = torch.randn(64, 1, 9, generator=gen)
    free = sample(plan, model.denoiser, start, gen)
    bound = sample(plan, self_guided(model.denoiser, known, 4.0, plan), start, gen)
    assert known(bound).mean() < 0.2 * known(free).mean()


def test_levels_belong_to_the_number_of_a_sample() -> None:
    assert levels_of(torch.arange(4), 4).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert levels_of(torch.tensor([2, 3]), 4).tolist() == levels_of(torch.arange(4), 4)[2:].tolist()
    x, y = torch.zeros(2, 1, 1), torch.ones(1, 1, 1)
    # Too low by one costs the level, too high by one what is left of it.
    assert Known(y, torch.ones(1, 1, 1), torch.tensor([0.2, 0.8]))(x).tolist() == pytest.approx([0.2, 0.8])
    assert Known(-y, torch.ones(1, 1, 1), torch.tensor([0.2, 0.8]))(x).tolist() == pytest.approx([0.8, 0.2])


def test_settings_that_cannot_guide_are_refused() -> None:
    model = gaussian_model(6, 3)
    known = Known(torch.zeros(1, 1, 9), torch.ones(1, 1, 9))
    plan = ancestral(DDPM, ddim_times(100, 100))
    with pytest.raises(ConfigError, match="positive, got 0"):
        self_guided(model.denoiser, known, 0, plan)
    with pytest.raises(ConfigError, match="unknown placement"):
        self_guided(model.denoiser, known, 1, plan, placement="late")
    with pytest.raises(ConfigError, match="unknown guidance rule"):
        self_guided(model.denoiser, known, 1, plan, rule="both")
    with pytest.raises(ConfigError, match="variance rule"):
        self_guided(model.denoiser, known, 1, ddim(DDPM, ddim_times(100, 10)))
    with pytest.raises(ConfigError, match="variance rule"):
        self_guided(model.denoiser, known, 1, default(DDPM, 10, data_std=1.0))
    with pytest.raises(ConfigError, match="belongs to the variance rule"):
        self_guided(model.denoiser, known, 1, plan, rule="score", placement="reference")
