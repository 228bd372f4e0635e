"""Likelihood where the density is known: two mixtures, and the divergence behind it (C02, C03)."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.density import Likelihood, exact_divergence, hutchinson, log_prob
from core.errors import ConfigError
from core.process import VP, Gaussian, Masking, RectifiedFlow, SubVP
from core.state import Seeds
from tests.fixtures.mixtures import lowrank32, ring8
from tests.fixtures.normal import Normal

F64 = torch.float64
LOW, HIGH = 0.002, 80.0
MIXTURES = {"ring8": ring8(), "lowrank32": lowrank32()}
every_mixture = pytest.mark.parametrize("name", MIXTURES)


@cache
def points(name: str) -> Tensor:
    """400 clean points noised to the smallest level, from generator seed 0."""
    gen = torch.Generator().manual_seed(0)
    x0 = MIXTURES[name].sample(400, gen)
    return x0 + LOW * torch.randn(x0.shape, generator=gen, dtype=F64)


@cache
def measured(name: str, method: str, n: int) -> Likelihood:
    mix = MIXTURES[name]
    return log_prob(mix, points(name), n=n, method=method, terminal=lambda x: mix.log_prob(x, 1.0, HIGH))  # type: ignore[arg-type]


def bias(name: str, method: str, n: int) -> float:
    """Mean error in bits per dimension, with the exact density at the noise end."""
    mix = MIXTURES[name]
    exact = -mix.log_prob(points(name), 1.0, LOW) / (mix.dim * math.log(2))
    return abs(float((measured(name, method, n).bits_per_dim - exact).mean()))


@every_mixture
@pytest.mark.parametrize(
    ("method", "n", "most"),
    # C02, bits per dimension. Measured on ring8 / lowrank32: 7e-5 / 1.8e-4, 5e-6 / 1.1e-5, .0099 / .0141.
    [("rk4", 50, 5e-4), ("rk4", 100, 5e-5), ("heun", 100, 0.02)],
)
def test_the_bias_of_the_likelihood_is_small(name: str, method: str, n: int, most: float) -> None:
    assert bias(name, method, n) <= most


@every_mixture
def test_the_likelihood_converges_at_fourth_order(name: str) -> None:
    # Halving the step divides a fourth-order error by 16; measured 14 on both.
    assert bias(name, "rk4", 25) / bias(name, "rk4", 50) >= 8


@every_mixture
def test_the_shift_of_the_default_terminal_density_is_what_it_says(name: str) -> None:
    mix = MIXTURES[name]
    exact = measured(name, "rk4", 25)
    plain = log_prob(mix, points(name), n=25)
    normal = -(plain.latent.square().sum(1) / HIGH**2 + mix.dim * math.log(2 * math.pi * HIGH**2)) / 2
    assert torch.allclose(plain.nats - exact.nats, normal - mix.log_prob(plain.latent, 1.0, HIGH), atol=1e-8)
    # Measured 1.7e-4 in 2 dimensions and 6e-5 in 32, bits per dimension.
    shift = float((plain.bits_per_dim - exact.bits_per_dim).mean())
    assert 0 < shift < 4e-4
    assert (plain.terminal, exact.terminal) == ("N(0, 80^2 I)", "given")


def test_nats_bits_and_cost_belong_together() -> None:
    found = measured("ring8", "rk4", 50)
    assert torch.allclose(found.bits_per_dim, -found.nats / (2 * math.log(2)), rtol=1e-14)
    assert found.evaluations == 200
    assert measured("ring8", "heun", 100).evaluations == 200


@pytest.mark.parametrize("process", [VP(), SubVP(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_the_likelihood_counts_the_volume_of_a_shrinking_signal(process: Gaussian) -> None:
    mix = ring8().under(process)
    t = process.ends[0]
    x, _ = process.perturb(mix.sample(100, torch.Generator().manual_seed(5)), t, torch.Generator())
    far = 1.0 if process.alpha(1.0) > 0 else process.time(1e3)
    found = log_prob(
        mix, x, n=100, terminal=lambda z: mix.log_prob(z, process.alpha(far), process.sigma(far))
    )
    # Worst of 100 points in nats at 100 steps of fourth order.
    assert (found.nats - mix.log_prob(x, process.alpha(t), process.sigma(t))).abs().max().item() < 5e-3


def test_the_latent_is_the_end_of_the_ode() -> None:
    normal = Normal()
    x = torch.tensor([[1.0, 2.5]], dtype=F64)
    found = log_prob(normal, x, n=100)
    assert torch.allclose(found.latent, normal.flow(x, LOW, HIGH), rtol=1e-5)


@every_mixture
def test_jacobian_vector_products_give_the_closed_divergence(name: str) -> None:
    mix = MIXTURES[name]

    class Plain:
        """The mixture without its closed form."""

        process = mix.process

        def __call__(self, x: Tensor, t: float, cond: object = None) -> object:
            return mix(x, t)

    for t in (0.05, 0.5, 5.0):
        x = points(name)[:20] + t * torch.randn(
            20, mix.dim, generator=torch.Generator().manual_seed(1), dtype=F64
        )
        assert torch.allclose(exact_divergence(Plain())(x, t), mix.divergence(x, t), rtol=1e-9)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def probed() -> tuple[Tensor, Tensor, float, Tensor]:
    """4096 single-probe estimates of each kind at one point of lowrank32, the exact trace, the Jacobian."""
    mix, t = lowrank32(), 0.5
    x = mix.sample(1, torch.Generator().manual_seed(6)) + t
    many = x.expand(4096, -1)
    rademacher = hutchinson(mix, torch.Generator().manual_seed(7))(many, t)
    normal = hutchinson(mix, torch.Generator().manual_seed(8), kind="gaussian")(many, t)
    jacobian = torch.autograd.functional.jacobian(lambda v: mix(v, t).mean, x)[0, :, 0]
    return rademacher, normal, float(mix.divergence(x, t)), jacobian


def test_hutchinson_probes_are_unbiased(probed: tuple[Tensor, Tensor, float, Tensor]) -> None:
    rademacher, normal, exact, jacobian = probed
    assert float(jacobian.trace()) == pytest.approx(exact, rel=1e-9)
    for found in (rademacher, normal):
        # C03: four standard errors over 4096 probes.
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / math.sqrt(4096)


def test_the_variance_of_one_probe_is_the_known_one(probed: tuple[Tensor, Tensor, float, Tensor]) -> None:
    rademacher, normal, _, jacobian = probed
    s = (jacobian + jacobian.mT) / 2
    off = float(2 * (s.square().sum() - s.diagonal().square().sum()))
    # C03: within 10 %; the standard error of a variance over 4096 nearly normal values is 2.2 %.
    assert float(rademacher.var()) == pytest.approx(off, rel=0.1)
    assert float(normal.var()) == pytest.approx(float(2 * s.square().sum()), rel=0.1)


def test_more_probes_divide_the_variance() -> None:
    mix, t = lowrank32(), 0.5
    x = (mix.sample(1, torch.Generator().manual_seed(6)) + t).expand(1500, -1)
    one, four = (hutchinson(mix, torch.Generator().manual_seed(9), probes=k)(x, t).var() for k in (1, 4))
    # Standard error of the ratio of two variances over 1500 values each: 5 %; four of them.
    assert float(one / four) == pytest.approx(4, rel=0.2)


def test_probes_are_held_along_the_path_and_follow_the_seeds() -> None:
    mix = ring8()
    x = points("ring8")[:3]
    estimate = hutchinson(mix, Seeds([1, 2, 3]))
    assert torch.equal(estimate(x, 0.3), estimate(x, 0.3))
    alone = hutchinson(mix, Seeds([2]))(x[1:2], 0.3)
    assert torch.equal(alone, estimate(x, 0.3)[1:2])


def test_a_hutchinson_likelihood_agrees_within_its_spread() -> None:
    mix = ring8()
    x = points("ring8")
    noisy = log_prob(mix, x, n=25, divergence=hutchinson(mix, torch.Generator().manual_seed(2)))
    gap = (noisy.bits_per_dim - log_prob(mix, x, n=25).bits_per_dim).double()
    # 400 points: four standard errors of the mean gap.
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(400)


def test_what_has_no_ode_is_refused() -> None:
    class Tokens:
        process = Masking(3)

        def __call__(self, x: Tensor, t: float, cond: object = None) -> object:
            raise AssertionError

    with pytest.raises(ConfigError, match="needs a Gaussian process, got Masking"):
        log_prob(Tokens(), torch.zeros(1, 2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown method 'hean'"):
        log_prob(ring8(), torch.zeros(1, 2), method="hean")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown probe"):
        hutchinson(ring8(), torch.Generator(), kind="normal")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1 probe"):
        hutchinson(ring8(), torch.Generator(), probes=0)


def test_a_mixture_of_other_shapes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs weights \(1,\)"):
        Mixture(torch.ones(2), torch.zeros(1, 2), torch.eye(2)[None])
