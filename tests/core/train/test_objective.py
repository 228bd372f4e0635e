"""The denoising objective where its value and its minimiser are known."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior, wrap
from core.errors import ConfigError, DataError
from core.process import VE, VP, CosineVP, Gaussian, Karras, Product, RectifiedFlow, SigmaPower, SubVP
from core.state import Masked, Seeds, Spaces, Symmetric
from core.train.objective import Denoising, LogNormal, LogUniform, UniformTime, data_std, within_variance
from core.train.samples import Batch

PROCESSES = [VP(), SubVP(), VE(), Karras(), CosineVP(), RectifiedFlow(), SigmaPower()]
LAWS = [LogUniform(0.05, 5.0), LogNormal(-0.5, 0.6), UniformTime()]


def names(values: list) -> list[str]:
    return [type(value).__name__ for value in values]


@dataclass(frozen=True)
class Known:
    """A denoiser given by a formula: answer(x, t) is its mean."""

    process: Any
    answer: Callable[[Any, Any], Any]

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.answer(x, t))


@pytest.mark.parametrize("process", PROCESSES, ids=names(PROCESSES))
@pytest.mark.parametrize("law", LAWS, ids=names(LAWS))
def test_the_density_of_a_law_is_the_slope_of_its_draws(process: Gaussian, law: Any) -> None:
    u = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    h = 1e-5
    slope = (law.times(process, u + h) - law.times(process, u - h)) / (2 * h)
    # Central differences: relative error of order h^2, plus rounding of about 1e-11 / h.
    torch.testing.assert_close(
        slope * law.density(process, law.times(process, u)), torch.ones(9).double(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("process", PROCESSES, ids=names(PROCESSES))
def test_log_uniform_draws_have_the_levels_asked_for(process: Gaussian) -> None:
    u = torch.tensor([0.0, 0.5, 1.0])
    ratios = process.ratio(LogUniform(0.1, 2.0).times(process, u))
    torch.testing.assert_close(ratios, torch.tensor([0.1, math.sqrt(0.2), 2.0], dtype=torch.float64))


def test_log_normal_draws_survive_a_zero() -> None:
    assert LogNormal().times(Karras(), torch.zeros(1)).isfinite().all()


def test_the_untrained_edm_network_is_exact_for_gaussian_data_and_costs_one(gen: torch.Generator) -> None:
    # c_skip x is the posterior mean of N(0, sd^2); its error sd^2 r^2 / (sd^2 + r^2) inverts the edm weight.
    x0 = 0.7 * torch.randn(400, 500, generator=gen)
    denoiser = wrap(lambda x, c, cond: torch.zeros_like(x), VP(), predicts="edm", data_std=0.7)
    loss = Denoising(LogUniform(0.01, 50.0), data_std=0.7)(denoiser, Batch(x0), gen)
    # 200 000 squared normals: standard error 0.003 on the mean.
    assert loss.shape == (400,)
    assert loss.mean().item() == pytest.approx(1, abs=0.012)


@pytest.mark.parametrize("weight", ["edm", "noise", "data"])
def test_the_minimiser_is_the_posterior_mean(weight: Any, gen: torch.Generator) -> None:
    # At one level the best affine denoiser k x + c of N(m, sd^2) is its posterior mean; the loss is
    # quadratic in (k, c).
    process, m, sd, ratio = VP(), 0.5, 0.8, 0.9
    x0 = m + sd * torch.randn(1, 200_000, generator=gen, dtype=torch.float64)
    objective = Denoising(LogUniform(ratio, ratio * (1 + 1e-9)), weight, data_std=sd)

    def loss(theta: Tensor) -> Tensor:
        affine = Known(process, lambda x, t: theta[0] * x + theta[1])
        return objective(affine, Batch(x0), torch.Generator().manual_seed(3)).mean()

    theta = torch.zeros(2, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(loss, theta)
    curvature = torch.autograd.functional.hessian(loss, theta)
    best = theta - torch.linalg.solve(curvature, gradient)
    t = process.time(ratio)
    alpha, sigma = process.alpha(t), process.sigma(t)
    k = sd**2 * alpha / (alpha**2 * sd**2 + sigma**2)
    # Regression on 200 000 points with residual deviation 0.54: standard errors 0.0012 and 0.0013.
    torch.testing.assert_close(best, torch.tensor([k, m - k * alpha * m]).double(), atol=0.006, rtol=0)


@pytest.mark.parametrize("process", [VP(), CosineVP(), Karras(0.01, 10.0)], ids=["VP", "CosineVP", "Karras"])
def test_every_law_estimates_the_same_likelihood_integral(process: Gaussian, gen: torch.Generator) -> None:
    # D = x / alpha errs by r^2 eps^2: the integrand is g^2 / sigma^2, the integral 2 ln(r_end / r_start).
    denoiser = Known(process, lambda x, t: x / process.alpha(t)[:, None].to(x.dtype))
    low, high = (process.ratio(t) for t in process.ends)
    exact = 2 * math.log(high / low)
    batch = Batch(torch.zeros(4000, 64, dtype=torch.float64))
    even = Denoising(LogUniform(low, high), "likelihood")(denoiser, batch, gen)
    # Importance sampling leaves the spread of a mean of 64 squared normals, sqrt(2 / 64) of the integral.
    assert even.std().item() == pytest.approx(exact * math.sqrt(2 / 64), rel=0.06)
    assert even.mean().item() == pytest.approx(exact, rel=5 * math.sqrt(2 / 64 / 4000))
    plain = Denoising(UniformTime(), "likelihood")(denoiser, batch, gen)
    error = plain.std().item() / math.sqrt(4000)
    assert plain.mean().item() == pytest.approx(exact, abs=5 * error)
    assert plain.std() > 1.5 * even.std()


def test_the_weights_are_those_of_the_table() -> None:
    process = VP()
    t = torch.tensor([0.2, 0.6], dtype=torch.float64)
    alpha, sigma, _, g2 = process.coeffs(t)
    r = sigma / alpha
    for weight, exact in {
        "edm": (r**2 + 0.25) / (0.5 * r) ** 2,
        "noise": 1 / r**2,
        "data": torch.ones(2).double(),
        "likelihood": g2 * alpha**2 / sigma**4 * (1 - 1e-3),
    }.items():
        torch.testing.assert_close(Denoising(UniformTime(), weight, 0.5).weights(process, t), exact)  # type: ignore[arg-type]


def off_by_one(x0: Any) -> Callable[[Any, Any], Any]:
    def answer(x: Any, t: Any) -> Any:
        return (
            {key: value if key == "mask" else value + 1 for key, value in x0.items()}
            if isinstance(x0, dict)
            else x0 + 1
        )

    return answer


def test_absent_nodes_do_not_count(gen: torch.Generator) -> None:
    # Every present entry errs by 1, so every graph costs 1 per part, whatever its number of nodes.
    mask = torch.tensor([[True, True, True], [True, True, False]])
    x0 = {
        "nodes": torch.randn(2, 3, 4, generator=gen),
        "edges": torch.randn(2, 3, 3, generator=gen),
        "mask": mask,
    }
    process = VP(space=Spaces({"nodes": Masked(), "edges": Symmetric()}))
    loss = Denoising(weight="data")(Known(process, off_by_one(x0)), Batch(x0), gen)
    torch.testing.assert_close(loss, torch.tensor([2.0, 2.0]))


def test_what_stands_in_absent_nodes_does_not_matter(gen: torch.Generator) -> None:
    mask = torch.tensor([[True, True, False]])
    process = VP(space=Spaces({"nodes": Masked()}))
    half = Known(process, lambda x, t: {"nodes": x["nodes"] / 2, "mask": mask})
    losses = []
    for rubbish in (0.0, 1e6):
        nodes = torch.tensor([[[1.0], [2.0], [rubbish]]])
        losses.append(
            Denoising()(half, Batch({"nodes": nodes, "mask": mask}), torch.Generator().manual_seed(1))
        )
    assert torch.equal(*losses)


def test_parts_of_a_product_are_weighted_by_their_own_levels(gen: torch.Generator) -> None:
    process = Product({"tissue": Karras(0.1, 0.2), "haze": Karras(0.1, 0.2)})
    x0 = {"tissue": torch.zeros(3, 5), "haze": torch.zeros(3, 5)}
    objective = Denoising(UniformTime(), "edm", {"tissue": 0.5, "haze": 2.0})
    loss = objective(Known(process, off_by_one(x0)), Batch(x0), Seeds([7, 8, 9]))
    t = 0.1 + 0.1 * torch.cat(
        [torch.rand(1, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (7, 8, 9)]
    )
    exact = (t**2 + 0.25) / (0.5 * t) ** 2 + (t**2 + 4) / (2 * t) ** 2
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


def test_a_product_has_no_single_level() -> None:
    process = Product({"a": VP()})
    with pytest.raises(ConfigError, match="no single noise level for LogUniform"):
        Denoising()(Known(process, lambda x, t: x), Batch({"a": torch.zeros(1, 2)}), Seeds([0]))
    with pytest.raises(ConfigError, match=r"parts \['b'\], the process asks for 'a'"):
        Denoising(UniformTime(), data_std={"b": 1.0})(
            Known(process, lambda x, t: x), Batch({"a": torch.zeros(1, 2)}), Seeds([0])
        )


def test_a_sample_costs_the_same_alone_and_in_a_batch() -> None:
    x0 = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    shrink = Known(VP(), lambda x, t: x / 2)
    whole = Denoising()(shrink, Batch(x0), Seeds([4, 5, 6]))
    torch.testing.assert_close(Denoising()(shrink, Batch(x0[1:2]), Seeds([5])), whole[1:2])


def test_the_condition_reaches_the_network(gen: torch.Generator) -> None:
    denoiser = wrap(lambda x, c, cond: cond.expand_as(x), VP(), predicts="x0")
    x0 = torch.full((4, 3), 2.0)
    loss = Denoising(weight="data")(denoiser, Batch(x0, torch.full((4, 1), 2.0)), gen)
    assert torch.equal(loss, torch.zeros(4))


def test_the_standard_deviation_is_that_of_all_entries(gen: torch.Generator) -> None:
    x = 3 + 0.5 * torch.randn(40, 7, 5, generator=gen)
    exact = x.double().std(correction=0).item()
    assert data_std(x) == pytest.approx(exact, rel=1e-12)
    assert data_std([x[:3], x[3:11].flatten(), x[11:]]) == pytest.approx(exact, rel=1e-12)
    assert data_std(torch.tensor([1 + 1j, -1 - 1j])) == pytest.approx(1)


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([], "no values"),
        (torch.ones(3), "one value throughout"),
        (torch.tensor([0.0, math.nan]), "not finite"),
    ],
)
def test_data_without_a_spread_are_refused(states: Any, found: str) -> None:
    with pytest.raises(DataError, match=found):
        data_std(states)


def test_variance_within_samples_ignores_their_means() -> None:
    assert within_variance(torch.tensor([[1.0, 3.0], [101.0, 105.0]])) == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogUniform(2.0, 1.0), "low < high"),
        (lambda: LogNormal(std=0.0), "std > 0"),
        (lambda: Denoising(weight="emd"), "Did you mean 'edm'|unknown weight 'emd'"),
        (lambda: Denoising(data_std=0.0), "must be positive, got 0.0"),
    ],
)
def test_wrong_settings_are_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
