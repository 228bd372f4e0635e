"""Densities along a path where they are known: mixtures, and point masses with Gaussian reverse kernels."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.density import PathDensity, follow, path_density
from core.errors import ConfigError
from core.plan import Plan, ancestral, corrected, ddim, dpmpp, euler_maruyama, log, reverse_diffusion
from core.process import VP, Gaussian, Karras, Masking, Product
from core.run import steps
from core.state import Seeds, Symmetric
from tests.fixtures.mixtures import lowrank32, pair, ring8
from tests.fixtures.normal import Normal

F64 = torch.float64
LOW, HIGH = 0.002, 80.0
MIXTURES = {"ring8": ring8(), "lowrank32": lowrank32()}


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts its calls and has no closed divergence."""

    inner: Any
    calls: list[float] = field(default_factory=list)

    @property
    def process(self) -> Any:
        return self.inner.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.calls.append(t)
        return self.inner(x, t, cond)


def descent(process: Gaussian, n: int, low: float = LOW, high: float = HIGH) -> list[float]:
    """n + 1 times, uniform in log sigma / alpha, that stop at the noise `low`."""
    return log(process, n + 1, low=low, high=high)[:-1]


@cache
def errors(name: str, n: int, count: int, rule: Callable[..., Plan] = ancestral) -> dict[str, Tensor]:
    """Errors of the estimates in nats at the ends of `count` runs of a mixture, generator seed 0."""
    mix, gen = MIXTURES[name], torch.Generator().manual_seed(0)
    x = mix.sample(count, gen) + HIGH * torch.randn(count, mix.dim, generator=gen, dtype=F64)
    plan = rule(mix.process, descent(mix.process, n))
    found = path_density(plan, mix, x, gen, start=mix.log_prob(x, 1.0, HIGH)[None])
    exact = mix.log_prob(found.x, 1.0, LOW)
    return {"ito": found.ito[0] - exact, "ratio": found.ratio[0] - exact, "middle": found.middle[0] - exact}


@pytest.mark.parametrize(
    ("name", "n", "count", "ito", "ratio"),
    [
        # C09, prototype: Ito -1.07 -.41 on ring8, -21.5 on lowrank32; ratio 1.06 .44, 11.8.
        # Tolerance: four standard errors at the prototype's deviations plus its own rounding.
        ("ring8", 100, 1000, -1.07, 1.06),
        ("ring8", 300, 1000, -0.41, 0.44),
        ("lowrank32", 100, 200, -21.5, 11.8),
    ],
)
def test_the_bracket_is_as_wide_as_known(name: str, n: int, count: int, ito: float, ratio: float) -> None:
    found = errors(name, n, count)
    for key, expected in (("ito", ito), ("ratio", ratio)):
        # Both means carry a standard error, that of a prototype with a few hundred runs included.
        spread = float(found[key].std())
        assert float(found[key].mean()) == pytest.approx(expected, abs=4 * spread / 200**0.5)
    assert float(found["ito"].mean()) < 0 < float(found["ratio"].mean())


def test_the_bias_of_both_estimates_falls_with_the_step_on_ring8() -> None:
    ito, ratio = (
        [abs(float(errors("ring8", n, 1000)[key].mean())) for n in (100, 300)] for key in ("ito", "ratio")
    )
    # C09: first order, so about 3 for three times the steps; standard errors .04 of 1.0 and .024 of .35.
    assert ito[0] / ito[1] >= 2.2
    assert ratio[0] / ratio[1] >= 2.0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "last"), [("ring8", 3000, 0.25), ("lowrank32", 400, 4.0)])
def test_the_bias_law_holds_to_a_thousand_steps(name: str, count: int, last: float) -> None:
    ito = [float(errors(name, n, count)["ito"].mean()) for n in (100, 300, 1000)]
    ratio = [float(errors(name, n, count)["ratio"].mean()) for n in (100, 300, 1000)]
    print(f"{name}: ito {ito}, ratio {ratio}")
    # C09. Standard errors at 1000 steps: .008 on ring8, .1 on lowrank32.
    assert ito[0] / ito[1] >= 2.2
    assert ito[1] / ito[2] >= 2.2
    assert -last < ito[2] < 0 < ratio[2]


def test_the_estimates_call_no_divergence() -> None:
    model = Counted(ring8())
    x = HIGH * torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = path_density(ancestral(model.process, descent(model.process, 40)), model, x, torch.Generator())
    # An estimate exact at 100 steps would differentiate: here are 40 calls, one per step, without gradients.
    assert len(model.calls) == found.calls == 40
    assert not found.x.requires_grad


def test_several_models_are_read_along_one_path_at_one_call_each() -> None:
    a, b = (Counted(mix) for mix in pair())
    x = 20 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    plan = ancestral(a.process, descent(a.process, 30, 0.01, 20.0))
    found = path_density(plan, a, x, torch.Generator(), models=[a, b, b])
    assert (len(a.calls), len(b.calls), found.calls) == (30, 60, 90)
    assert found.ito.shape == (3, 6)
    assert torch.equal(found.ito[1], found.ito[2])


def test_a_path_driven_by_another_model_gives_the_density_all_the_same() -> None:
    a, b = pair()
    gen = torch.Generator().manual_seed(0)
    x = a.sample(1000, gen) + 20 * torch.randn(1000, 2, generator=gen, dtype=F64)
    start = torch.stack([a.log_prob(x, 1.0, 20.0), b.log_prob(x, 1.0, 20.0)])
    off = []
    for n in (100, 400):
        plan = ancestral(a.process, descent(a.process, n, 0.05, 20.0))
        found = path_density(plan, a, x, gen, models=[a, b], start=start)
        off.append(float((found.ito[1] - b.log_prob(found.x, 1.0, 0.05)).abs().mean()))
    # Discretisation noise of order n^-1/2 along a foreign path: half of it at four times the steps.
    assert off[1] < 0.65 * off[0]
    assert off[1] < 0.4


@dataclass(frozen=True)
class Point:
    """The denoiser of a point mass: its reverse kernel is the Gaussian of the kernel ratio, at any step."""

    at: Any
    process: Any

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.at)


def normal_log_prob(x: Tensor, mean: Tensor, std: float) -> Tensor:
    return -((x - mean) ** 2 / std**2 + math.log(2 * math.pi * std**2)).flatten(1).sum(1) / 2


@pytest.mark.parametrize("process", [Karras(), VP()], ids=["Karras", "VP"])
@pytest.mark.parametrize("rule", [ancestral, euler_maruyama, reverse_diffusion])
def test_the_kernel_ratio_of_a_point_mass_is_exact(process: Gaussian, rule: Callable[..., Plan]) -> None:
    gen = torch.Generator().manual_seed(2)
    at = torch.randn(4, 3, generator=gen, dtype=F64)
    times = [process.time(ratio) for ratio in (5.0, 3.0, 2.0, 1.4, 1.0)]
    x, _ = process.perturb(at, times[0], gen)
    start = normal_log_prob(x, process.alpha(times[0]) * at, process.sigma(times[0]))[None]
    found = path_density(rule(process, times), Point(at, process), x, gen, start=start)
    exact = normal_log_prob(found.x, process.alpha(times[-1]) * at, process.sigma(times[-1]))
    assert torch.allclose(found.ratio[0], exact, atol=1e-10)
    # Without log rho, or from x as if it were y, the answer is off by nats: 3 log 5 = 4.8 in VE.
    rho = process.ratio(times[-1]) / process.ratio(times[0])
    assert not torch.allclose(found.ratio[0] + 3 * math.log(rho), exact, atol=1)


def test_the_ito_estimate_of_a_point_mass_has_the_bias_of_its_closed_form() -> None:
    process, gen, n, count = Karras(), torch.Generator().manual_seed(3), 20, 20_000
    at = torch.zeros(count, 2, dtype=F64)
    x = 80 * torch.randn(count, 2, generator=gen, dtype=F64)
    found = path_density(ancestral(process, descent(process, n)), Point(at, process), x, gen)
    error = found.ito[0] - normal_log_prob(found.x, at, LOW)
    rho = (LOW / HIGH) ** (1 / n)
    # Each step adds d ((1 - rho^2) / 2 + log rho) in the mean.
    expected = n * 2 * ((1 - rho**2) / 2 + math.log(rho))
    assert float(error.mean()) == pytest.approx(expected, abs=4 * float(error.std()) / count**0.5)
    wrong = n * 2 * ((1 - rho**2) + math.log(rho))  # the drift counted twice
    assert abs(wrong - expected) > 40 * float(error.std()) / count**0.5


def test_every_process_gives_the_density_of_its_own_state() -> None:
    # The same path in VE and in VP, x_VP = alpha x_VE: densities differ by d log alpha, the gain does not.
    ve, vp = Karras(), VP()
    mix, n = ring8(), 25
    ratios = [20.0 * 0.7**i for i in range(n + 1)]
    gen = torch.Generator().manual_seed(4)
    y = 20 * torch.randn(50, 2, generator=gen, dtype=F64)
    noises = [torch.randn(50, 2, generator=gen, dtype=F64) for _ in range(n)]
    found = {}
    for process in (ve, vp):
        times = [process.time(r) for r in ratios]
        plan, model = ancestral(process, times), mix.under(process)
        x = y * process.alpha(times[0])
        start = model.log_prob(x, process.alpha(times[0]), process.sigma(times[0]))[None]
        out = path_density(plan, model, x, None, start=start, noises=noises)
        alpha = process.alpha(times[-1])
        found[process] = [out.x / alpha, out.ito[0] + 2 * math.log(alpha), out.ratio[0] + 2 * math.log(alpha)]
    for a, b in zip(found[ve], found[vp], strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("rule", [euler_maruyama, reverse_diffusion, lambda p, t: dpmpp(p, t, eta=1.0)])
def test_any_plan_with_the_noise_of_the_process_will_do(rule: Callable[..., Plan]) -> None:
    found = errors("ring8", 400, 300, rule)
    # Biases of order 1 / n, at most .3 in the mean at 400 steps; standard errors .04.
    assert abs(float(found["ito"].mean())) < 0.45
    assert abs(float(found["middle"].mean())) < 0.2


def test_the_density_of_a_product_is_the_sum_over_its_parts_and_masks_count() -> None:
    square = Karras(space=Symmetric())
    product = Product({"a": Karras(), "b": square})
    gen = torch.Generator().manual_seed(5)
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    zeros = {"a": torch.zeros(2, 3, dtype=F64), "b": torch.zeros(2, 4, 4, dtype=F64), "mask": mask}
    plan = ancestral(product, [3.0, 2.0, 1.0, 0.5])
    x = product.prior(zeros, gen, 3.0)
    found = path_density(plan, Point(zeros, product), x, gen)
    upper = torch.triu(torch.ones(4, 4, dtype=F64), 1) * (mask[:, :, None] & mask[:, None, :])
    free = upper.sum((1, 2))  # 3 and 6 edges, each stored twice
    edges = -((found.x["b"] ** 2 * upper).sum((1, 2)) / 0.25 + free * math.log(2 * math.pi * 0.25)) / 2
    exact = edges + normal_log_prob(found.x["a"], zeros["a"], 0.5)
    assert torch.allclose(found.ratio[0], exact, atol=1e-10)


def test_a_sample_of_a_batch_has_the_density_it_has_alone() -> None:
    mix = ring8()
    plan = ancestral(mix.process, descent(mix.process, 20))
    x = HIGH * torch.randn(3, 2, generator=torch.Generator().manual_seed(6), dtype=F64)
    many = path_density(plan, mix, x, Seeds([4, 5, 6]))
    alone = path_density(plan, mix, x[1:2], Seeds([5]))
    assert torch.allclose(many.ito[:, 1:2], alone.ito, rtol=1e-12)
    assert torch.allclose(many.ratio[:, 1:2], alone.ratio, rtol=1e-12)


def test_following_passes_the_steps_on() -> None:
    mix = Normal()
    x = 80 * torch.randn(2, 2, generator=torch.Generator().manual_seed(7), dtype=F64)
    plan = ancestral(mix.process, descent(mix.process, 5))
    run = list(steps(plan, mix, x, torch.Generator().manual_seed(8)))
    points = list(follow(run, [mix], x))
    assert [point.step is step for point, step in zip(points, run, strict=True)] == [True] * 5
    assert [point.calls for point in points] == [1, 2, 3, 4, 5]
    free = list(follow(run, [mix], x, driver=mix))
    assert torch.equal(free[-1].ito, points[-1].ito)
    assert free[-1].calls == 0


def run_of(plan: Plan, model: Any) -> PathDensity:
    return path_density(plan, model, torch.ones(1, 2, dtype=F64), torch.Generator())


def test_what_has_no_density_along_its_path_is_refused() -> None:
    mix: Mixture = ring8()
    times, x, tokens = [10.0, 5.0, 2.0], torch.ones(1, 2), Point(0, Masking(3))
    for plan in (ddim(mix.process, times), ddim(mix.process, times, eta=0.5)):
        with pytest.raises(ConfigError, match="times the squared noise that it removes"):
            run_of(plan, mix)
    with pytest.raises(ConfigError, match="noise and signal must stay positive"):
        run_of(ancestral(mix.process, [*times, 0.0]), mix)
    with pytest.raises(ConfigError, match="linear rows, got LangevinRow"):
        run_of(corrected(ancestral(mix.process, times), mix.process), mix)
    with pytest.raises(ConfigError, match="Gaussian process, got Masking"):
        list(follow(steps(ancestral(mix.process, times), mix, x, torch.Generator()), [tokens], x))
    with pytest.raises(ConfigError, match="at least one model"):
        list(follow([], [], torch.ones(1, 2)))
