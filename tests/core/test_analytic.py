"""The mixture itself, against which everything else is checked: each closed form by another route."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from core.analytic import Mixture
from core.errors import ConfigError
from core.process import VP
from core.state import Seeds
from tests.fixtures.mixtures import gaussian, lowrank32, pair, ring8, ring8_radial

F64 = torch.float64
MIXTURES = {"ring8": ring8(), "ring8_radial": ring8_radial(), "lowrank32": lowrank32(), "pair": pair()[1]}
every_mixture = pytest.mark.parametrize("name", MIXTURES)
LEVELS = [(1.0, 0.05), (0.7, 0.6), (0.3, 2.0)]
every_level = pytest.mark.parametrize(("alpha", "sigma"), LEVELS)


def points(mix: Mixture, alpha: float, sigma: float, n: int = 12) -> Tensor:
    gen = torch.Generator().manual_seed(0)
    return alpha * mix.sample(n, gen) + sigma * torch.randn(n, mix.dim, generator=gen, dtype=F64)


@every_mixture
@every_level
def test_the_density_is_that_of_torch(name: str, alpha: float, sigma: float) -> None:
    mix = MIXTURES[name]
    noisy = alpha**2 * mix.covs + sigma**2 * torch.eye(mix.dim, dtype=F64)
    law = MixtureSameFamily(Categorical(mix.weights), MultivariateNormal(alpha * mix.means, noisy))
    x = points(mix, alpha, sigma)
    assert torch.allclose(mix.log_prob(x, alpha, sigma), law.log_prob(x), rtol=1e-9)


@every_mixture
@every_level
def test_the_score_is_the_gradient_of_the_density(name: str, alpha: float, sigma: float) -> None:
    mix = MIXTURES[name]
    x = points(mix, alpha, sigma).requires_grad_(True)
    (gradient,) = torch.autograd.grad(mix.log_prob(x, alpha, sigma).sum(), x)
    assert torch.allclose(mix.score(x, alpha, sigma), gradient, rtol=1e-8, atol=1e-10)


@every_mixture
@every_level
def test_the_posterior_mean_is_tweedies(name: str, alpha: float, sigma: float) -> None:
    # E[x_0 given x] = (x + sigma^2 score) / alpha.
    mix = MIXTURES[name]
    x = points(mix, alpha, sigma)
    assert torch.allclose(
        mix.denoise(x, alpha, sigma), (x + sigma**2 * mix.score(x, alpha, sigma)) / alpha, atol=1e-10
    )


@every_mixture
@every_level
def test_the_posterior_covariance_is_the_jacobian_of_the_mean(name: str, alpha: float, sigma: float) -> None:
    # V = (sigma^2 / alpha) dD/dx.
    mix = MIXTURES[name]
    x = points(mix, alpha, sigma, n=4)
    jacobian = torch.autograd.functional.jacobian(lambda v: mix.denoise(v, alpha, sigma).sum(0), x)
    expected = sigma**2 / alpha * jacobian.permute(1, 0, 2)
    assert torch.allclose(mix.posterior_cov(x, alpha, sigma), expected, atol=1e-9)


@every_mixture
def test_the_divergence_is_the_scaled_trace_of_the_covariance(name: str) -> None:
    mix = MIXTURES[name].under(VP())
    alpha, sigma = VP().alpha(0.3), VP().sigma(0.3)
    x = points(mix, alpha, sigma)
    trace = torch.diagonal(mix.posterior_cov(x, alpha, sigma), dim1=1, dim2=2).sum(1)
    assert torch.allclose(mix.divergence(x, 0.3), alpha / sigma**2 * trace, rtol=1e-10)


@every_mixture
def test_samples_have_the_mean_and_covariance_of_the_mixture(name: str) -> None:
    mix = MIXTURES[name]
    x = mix.sample(40_000, torch.Generator().manual_seed(1))
    off = x - mix.mean()
    # 40 000 draws: five standard errors, for the largest of up to 1056 comparisons.
    assert ((off.mean(0)).abs() < 5 * mix.cov().diagonal().sqrt() / 200).all()
    products = off[:, :, None] * off[:, None, :]
    assert ((products.mean(0) - mix.cov()).abs() < 5 * products.std(0) / 200).all()


def test_samples_visit_components_by_weight() -> None:
    mix = ring8()
    x = mix.sample(20_000, torch.Generator().manual_seed(2))
    shares = torch.bincount(torch.cdist(x, 1e3 * mix.means).argmin(1), minlength=8) / 20_000
    # Sectors of 45 degrees: a blob of deviation .22 at radius 1.3 leaks 1.3 % of its weight to each side.
    assert (shares - mix.weights).abs().max().item() < 0.02


def test_noisy_samples_follow_the_noisy_density() -> None:
    # E log p under p against a grid integral of p log p.
    mix = ring8_radial()
    x = points(mix, 0.7, 0.6, n=20_000)
    axis = torch.linspace(-5, 5, 401, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    log_p = mix.log_prob(grid, 0.7, 0.6)
    cell = (10 / 400) ** 2
    assert float(log_p.exp().sum() * cell) == pytest.approx(1, abs=1e-6)
    entropy = float((log_p.exp() * log_p).sum() * cell)
    found = mix.log_prob(x, 0.7, 0.6)
    assert found.mean().item() == pytest.approx(entropy, abs=4 * float(found.std()) / math.sqrt(20_000))


def grid_law(log_p: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised weights on a grid, and the mean and covariance they give."""
    w = torch.softmax(log_p, 0)
    mean = w @ grid
    off = grid - mean
    return w, mean, torch.einsum("n,ni,nj->ij", w, off, off)


AXIS = torch.linspace(-4, 4, 321, dtype=F64)
GRID = torch.cartesian_prod(AXIS, AXIS)
CELL = (8 / 320) ** 2


def test_the_conditioned_mixture_is_bayes_rule() -> None:
    mix = ring8_radial()
    a = torch.tensor([[0.8, -0.5]], dtype=F64)
    y, noise = torch.tensor([0.4], dtype=F64), torch.tensor([[0.05]], dtype=F64)
    likelihood = -((y - GRID @ a.mT) ** 2).sum(1) / (2 * 0.05)
    w, mean, cov = grid_law(mix.log_prob(GRID) + likelihood, GRID)
    found = mix.condition(a, y, noise)
    # A grid of 0.025 integrates densities of deviation above 0.1 to rounding.
    assert torch.allclose(found.log_prob(GRID).exp() * CELL, w, atol=1e-10)
    assert torch.allclose(found.mean(), mean, atol=1e-8)
    assert torch.allclose(found.cov(), cov, atol=1e-8)


def test_conditioning_on_two_independent_views_is_conditioning_twice() -> None:
    mix = lowrank32()
    a = torch.randn(2, 32, generator=torch.Generator().manual_seed(3), dtype=F64)
    y, noise = torch.tensor([0.3, -1.0], dtype=F64), torch.diag(torch.tensor([0.2, 0.5], dtype=F64))
    both = mix.condition(a, y, noise)
    each = mix.condition(a[:1], y[:1], noise[:1, :1]).condition(a[1:], y[1:], noise[1:, 1:])
    assert torch.allclose(both.mean(), each.mean(), atol=1e-9)
    assert torch.allclose(both.cov(), each.cov(), atol=1e-9)


def test_the_product_is_the_normalised_product_of_densities() -> None:
    a, b = pair()
    w, mean, cov = grid_law(a.log_prob(GRID) + b.log_prob(GRID), GRID)
    found = a.product(b)
    assert found.means.shape == (4, 2)
    # The grid ends at 4, six deviations from the farthest mean: 1e-7 of the mass is left out.
    assert torch.allclose(found.log_prob(GRID).exp() * CELL, w, atol=1e-7)
    assert torch.allclose(found.mean(), mean, atol=1e-6)
    assert torch.allclose(found.cov(), cov, atol=1e-6)


def test_the_mixture_is_a_denoiser_at_scalar_and_batched_times() -> None:
    process = VP()
    mix = ring8().under(process)
    x = points(mix, 0.7, 0.6)
    t = torch.linspace(0.1, 0.9, len(x), dtype=F64)
    batched = mix(x, t).mean
    for i in range(len(x)):
        single = mix(x[i : i + 1], float(t[i])).mean
        assert torch.allclose(batched[i : i + 1], single, rtol=1e-9)
        assert torch.allclose(
            single, mix.denoise(x[i : i + 1], process.alpha(float(t[i])), process.sigma(float(t[i])))
        )


def test_data_std_is_the_root_mean_square_deviation() -> None:
    x = lowrank32().sample(20_000, torch.Generator().manual_seed(4))
    # 640 000 entries; between-component spread dominates the error, below 1 %.
    assert lowrank32().data_std == pytest.approx(float(x.var(0).mean().sqrt()), rel=0.01)
    assert gaussian(3.0, 0.5).data_std == pytest.approx(0.5, rel=1e-12)


def test_precision_is_converted_as_a_whole() -> None:
    mix = ring8().to(torch.float32)
    assert mix(torch.zeros(2, 2), 0.5).mean.dtype == torch.float32
    assert mix.sample(3, torch.Generator()).dtype == torch.float32


def test_weights_are_normalised_and_seeds_draw_alone() -> None:
    mix = Mixture(torch.tensor([2.0, 6.0]), torch.zeros(2, 1), torch.ones(2, 1, 1))
    assert mix.weights.tolist() == [0.25, 0.75]
    assert torch.equal(mix.sample(3, Seeds([1, 2, 3]))[1:2], mix.sample(1, Seeds([2])))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a mixture of 2 means in 3 dimensions needs weights \(2,\)"):
        Mixture(torch.ones(3), torch.zeros(2, 3), torch.ones(2, 3, 3))
