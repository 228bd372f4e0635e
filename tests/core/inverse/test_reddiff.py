"""RED-diff and RED where their stationary points are known (C27, U16)."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.analytic import Mixture
from core.denoise import Posterior, wrap
from core.errors import ConfigError, NumericalError
from core.inverse import HDR, RED, Inpainting, Matrix, RedDiff, Solved, solve
from core.inverse.reddiff import WEIGHTS
from core.process import VE, VP, Karras
from tests.fixtures.field import NOISE, Field, random_mask

F64 = torch.float64
LEVELS = torch.linspace(0.02, 3.0, 500, dtype=F64)


@cache
def gaussian() -> tuple[Mixture, Tensor, Tensor]:
    """A prior N(m, S) in 8 dimensions with variances between .4 and 2, H (4, 8), and a measurement (1, 4)."""
    gen = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=F64)

    m = 1.5 * draw(1, 8)
    q, _ = torch.linalg.qr(draw(8, 8))
    cov = q @ torch.diag(0.4 + 1.6 * torch.rand(8, generator=gen, dtype=F64)) @ q.T
    prior = Mixture(torch.ones(1, dtype=F64), m, cov[None])
    h = draw(4, 8)
    return prior, h, (m + draw(1, 8) @ torch.linalg.cholesky(cov).T) @ h.T + 0.1 * draw(1, 4)


def stationary(strength: float, precision: Tensor) -> Tensor:
    """(H^T H + lambda P)^-1 (H^T y + lambda P m): RED-diff's point for P = W, the posterior mean for P =
    S^-1 and a noise variance of lambda.
    """
    prior, h, y = gaussian()
    total = h.T @ h + strength * precision
    return torch.linalg.solve(total, (y @ h + strength * prior.means @ precision).T).T


def smoothing(levels: Tensor = LEVELS) -> Tensor:
    """W = mean_t sigma^2 (S + sigma^2 I)^-1."""
    cov, eye = gaussian()[0].covs[0], torch.eye(8, dtype=F64)
    return torch.stack([s**2 * torch.linalg.inv(cov + s**2 * eye) for s in levels]).mean(0)


def optimise(strength: float, *, steps: int = 3000, draws: int = 64, **settings: Any) -> Tensor:
    prior, h, y = gaussian()
    method = RedDiff(
        strength=strength,
        terms="sum",
        order="uniform",
        times=LEVELS.tolist(),
        draws=draws,
        **{"lr": 0.05, "decay": 0.01, **settings},
    )
    gen = torch.Generator().manual_seed(0)
    found: Tensor = solve(prior, Matrix(h), y, 0.1, method=method, nfe=steps * draws, gen=gen).x
    return found


def test_the_optimiser_finds_the_stationary_point() -> None:
    want = stationary(0.25, smoothing())
    found = optimise(0.25, steps=800, draws=32)
    print(f"distance {float((found - want).norm()):.4f}, |mu| {float(want.norm()):.2f}")
    assert float(want.norm()) == pytest.approx(4.9, abs=0.6)
    assert float((found - want).norm()) <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.25, 0.01, 0.003])
def test_the_optimiser_finds_the_stationary_point_at_every_strength(strength: float) -> None:  # C27
    gap = float((optimise(strength) - stationary(strength, smoothing())).norm())
    print(f"lambda {strength}: distance {gap:.4f}")
    assert gap <= 0.03


@pytest.mark.parametrize("strength", [0.01, 0.003])
def test_the_stationary_point_is_not_the_posterior_mean(strength: float) -> None:  # C27
    mean = stationary(strength, torch.linalg.inv(gaussian()[0].covs[0]))
    gap = float((stationary(strength, smoothing()) - mean).norm())
    print(f"lambda {strength}: gap to the posterior mean {gap:.3f}")
    assert 0.1 <= gap <= 0.3


def test_a_stationary_point_with_another_weight_is_missed() -> None:
    """f = r^2 gives W = mean_t sigma^3 (S + sigma^2)^-1: another point."""
    found = optimise(0.25, steps=800, draws=32, weight="square")
    assert float((found - stationary(0.25, smoothing())).norm()) > 0.07
    cov, eye = gaussian()[0].covs[0], torch.eye(8, dtype=F64)
    other = torch.stack([s**3 * torch.linalg.inv(cov + s**2 * eye) for s in LEVELS]).mean(0)
    assert float((found - stationary(0.25, other)).norm()) <= 0.04


def test_perturbing_mu_leaves_the_stationary_point_of_a_gaussian() -> None:
    """With s_0 > 0, e sees eps + s_0 z / sigma; e is linear and z has mean zero."""
    found = optimise(0.25, steps=600, draws=32, spread=0.2)
    assert float((found - stationary(0.25, smoothing())).norm()) <= 0.05


def test_weights_are_the_named_functions_of_the_noise_ratio() -> None:
    r = torch.tensor([0.25, 4.0], dtype=F64)
    want = {
        "identity": [0.25, 4.0],
        "sqrt": [0.5, 2.0],
        "square": [0.0625, 16.0],
        "log": [0.22314355131, 1.60943791243],
        "clipped": [0.25, 1.0],
        "constant": [1.0, 1.0],
        "two_thirds": [0.39685026299, 2.51984209979],
    }
    assert set(WEIGHTS) == set(want)
    for name, values in want.items():
        assert torch.allclose(WEIGHTS[name](r), torch.tensor(values, dtype=F64), atol=1e-10)


def network() -> tuple[Any, list[str]]:
    """A small network as a prior, and a list of the passes through it."""
    passes: list[str] = []
    torch.manual_seed(0)
    net = nn.Conv2d(1, 1, 3, padding=1)
    net.register_forward_hook(lambda *_: passes.append("forward"))
    net.register_full_backward_hook(lambda *_: passes.append("backward"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
            return self.net(x)

    return wrap(Net(), VP(), predicts="eps"), passes


def hdr_problem() -> tuple[Tensor, HDR]:
    x = Field().draw(2, torch.Generator().manual_seed(0))[..., :32, :32] * 2 - 1
    return x, HDR((1, 32, 32))


def test_no_gradient_passes_through_the_network() -> None:  # U16
    prior, passes = network()
    x, operator = hdr_problem()
    gen = torch.Generator().manual_seed(0)
    solve(prior, operator, operator.A(x), 0.05, method=RedDiff(), nfe=10, gen=gen)
    assert passes == ["forward"] * 10


def test_the_hook_that_counts_backward_passes_can_fire() -> None:
    prior, passes = network()
    x, operator = hdr_problem()
    gen = torch.Generator().manual_seed(0)
    solve(prior, operator, operator.A(x), 0.05, method="dps", nfe=2, gen=gen, data_std=0.4)
    assert passes.count("backward") == passes.count("forward") == 2


def test_a_saturated_exposure_is_recovered_from_a_wrong_start() -> None:  # U16
    """HDR on the 64 x 64 field: the residual falls tenfold, and clipped levels come nearer to the truth."""
    field = Field()
    gen = torch.Generator().manual_seed(0)
    x = field.draw(2, gen) * 2 - 1
    operator = HDR((1, 64, 64))
    y = operator.A(x) + 0.02 * torch.randn(x.shape, generator=gen)

    class Blank(HDR):
        def start(self, y: Tensor) -> Tensor:
            return torch.zeros_like(y)

    blank = Blank((1, 64, 64))
    solved = solve(field, blank, y, 0.02, method=RedDiff(lr=0.25, strength=1.0), nfe=300, gen=gen)
    before = (y - operator.A(torch.zeros_like(x))).square().mean().sqrt()
    print(f"residual {float(before):.3f} -> {float(solved.residual.mean()):.4f}")
    assert float(solved.residual.max()) <= float(before) / 10
    lost = operator.A(x).abs() == 1
    clipped = (operator.start(y) - x)[lost].square().mean().sqrt()
    assert float((solved.x - x)[lost].square().mean().sqrt()) < 0.95 * float(clipped)


def field_problem(**settings: Any) -> tuple[Field, Inpainting, Tensor, Solved]:
    gen = torch.Generator().manual_seed(0)
    field = Field()
    operator = Inpainting(random_mask(gen))
    x = field.draw(2, gen)
    y = operator.A(x + NOISE * torch.randn(x.shape, generator=gen))
    method = RedDiff(**settings)
    solved = solve(field, operator, y, NOISE, method=method, nfe=100, gen=gen, data_range=(0.0, 1.0))
    return field, operator, y, solved


def test_a_decaying_rate_ends_nearer_to_the_posterior_mean_than_a_constant_one() -> None:
    gaps = []
    for decay in (0.1, 1.0):
        field, operator, y, solved = field_problem(decay=decay)
        exact = field.posterior_mean(operator, y)
        gaps.append(float((solved.x - exact).square().mean().sqrt()))
    assert gaps[0] < 0.9 * gaps[1]


def test_red_finds_the_posterior_mean_of_the_prior_it_stands_for() -> None:
    """With D at level s and lambda = 1 / s^2, (I - D) / s^2 is the precision of N(m, S + s^2 I)."""
    prior, h, y = gaussian()
    level, noise = 0.3, 0.5
    wide = replace(prior, covs=prior.covs + level**2 * torch.eye(8, dtype=F64))
    want = wide.condition(h, y[0], noise**2 * torch.eye(4, dtype=F64)).means[0]
    for process in (Karras(), VE()):
        method = RED(level=level)
        solved = solve(prior.under(process), Matrix(h), y, noise, method=method, nfe=400)
        assert torch.allclose(solved.x[0], want, atol=1e-6)
    assert solved.kind == "optimum"
    other = solve(prior, Matrix(h), y, noise, method=RED(level=level, strength=2.0), nfe=200)
    assert not torch.allclose(other.x[0], want, atol=1e-2)


def test_settings_out_of_range_are_refused() -> None:
    for make in (
        lambda: RedDiff(lr=0.0),
        lambda: RedDiff(decay=2.0),
        lambda: RedDiff(draws=0),
        lambda: RedDiff(weight="cubic"),  # type: ignore[arg-type]
        lambda: RedDiff(order="ascending"),  # type: ignore[arg-type]
        lambda: RED(level=0.0),
        lambda: RED(strength=-1.0),
        lambda: field_problem(draws=3),
    ):
        with pytest.raises(ConfigError):
            make()


def test_a_prior_that_explodes_stops_the_run() -> None:
    class Broken(Field):
        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            return Posterior(mean=x * float("nan"))

    x, operator = hdr_problem()
    gen = torch.Generator().manual_seed(0)
    with pytest.raises(NumericalError, match="diverged"):
        solve(Broken(), operator, operator.A(x), 0.05, nfe=3, gen=gen)
