"""The executor: latents of stochastic plans, the ODE there and back, translation between models (C15)."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.errors import ConfigError
from core.plan import Plan, Row, adams, corrected, ddim, default, dpmpp, karras, log, reverse_diffusion, rk4
from core.process import VE, VP, Karras, Product
from core.run import Latent, decode, encode, sample, steps
from core.state import Seeds
from tests.fixtures.mixtures import gaussian, lowrank32, ring8
from tests.fixtures.normal import Normal

F64 = torch.float64
EDM = Karras()

PLANS = {
    "ddim, eta 1": lambda n: ddim(EDM, karras(EDM, n), eta=1.0),
    "ddim, eta 0.1": lambda n: ddim(EDM, karras(EDM, n), eta=0.1),
    "ddim, eta 0": lambda n: ddim(EDM, karras(EDM, n)),
    "dpmpp, eta 1": lambda n: dpmpp(EDM, karras(EDM, n), eta=1.0),
    "reverse_diffusion": lambda n: reverse_diffusion(EDM, karras(EDM, n)),
    "adams": lambda n: default(EDM, n, data_std=0.95),
}


@pytest.mark.parametrize(("dtype", "most"), [(F64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("name", PLANS)
def test_decoding_an_encoding_gives_back_the_clean_state(name: str, dtype: torch.dtype, most: float) -> None:
    mix = ring8().to(dtype)
    gen = torch.Generator().manual_seed(0)
    x0 = mix.sample(50, gen)
    plan = PLANS[name](100)
    again = decode(plan, mix, encode(plan, mix, x0, gen))
    assert again.dtype == dtype
    assert (again - x0).abs().max().item() < most


def test_a_latent_missing_one_noise_does_not_decode(gen: torch.Generator) -> None:
    mix, plan = ring8(), PLANS["ddim, eta 1"](100)
    x0 = mix.sample(20, gen)
    latent = encode(plan, mix, x0, gen)
    noises = list(latent.noises)
    noises[90] = torch.zeros_like(x0)
    assert (decode(plan, mix, Latent(latent.start, tuple(noises))) - x0).abs().max().item() > 1e-3


@pytest.mark.parametrize(("sigma_max", "published"), [(5.0, 1.9802), (80.0, 1.9999)])
def test_translation_between_two_gaussians_is_a_constant_shift(sigma_max: float, published: float) -> None:
    process = Karras(sigma_max=sigma_max)
    source, target = gaussian(0.0, 0.5).under(process), gaussian(2.0, 0.5).under(process)
    plan = ddim(process, log(process, 100), eta=1.0)
    gen = torch.Generator().manual_seed(1)
    x0 = source.sample(50, gen)
    shift = decode(plan, target, encode(plan, source, x0, gen)) - x0
    # Both runs share x_T and all noises, so their difference d obeys d <- A_i d + (1 - A_i) 2 from d = 0.
    left = 1.0
    for row in plan.rows:
        assert isinstance(row, Row)
        left *= row.keep + row.pull[0] * 0.25 / (0.25 + row.t**2)
    assert (shift - 2 * (1 - left)).abs().max().item() < 1e-10
    assert shift.mean().item() == pytest.approx(published, abs=5e-5)


def test_translation_keeps_the_component_of_matched_mixtures() -> None:
    source = ring8()
    shift = torch.tensor([4.0, -3.0], dtype=F64)
    target = Mixture(source.weights, source.means + shift, source.covs)
    gen = torch.Generator().manual_seed(2)
    x0 = source.sample(2000, gen)
    plan = ddim(EDM, karras(EDM, 60), eta=1.0)
    moved = decode(plan, target, encode(plan, source, x0, gen))
    kept = torch.cdist(x0, source.means).argmin(1) == torch.cdist(moved, target.means).argmin(1)
    # At least 95 %; independent draws would agree for sum of squared weights = 15 %.
    assert kept.double().mean().item() >= 0.95


def test_recovered_noises_of_real_data_are_standard_normal() -> None:
    mix = ring8()
    gen = torch.Generator().manual_seed(3)
    plan = ddim(EDM, log(EDM, 400), eta=1.0)
    latent = encode(plan, mix, mix.sample(500, gen), gen)
    xi = torch.stack([z for z, row in zip(latent.noises, plan.rows, strict=True) if row.fresh])  # type: ignore[misc,union-attr]
    # Within 5 %: a step of h in log noise adds at most 2 h = 5.3 % to the variance, measured 3 %.
    assert abs(xi.mean().item()) < 0.05
    assert xi.var().item() == pytest.approx(1, rel=0.05)
    a, b = xi[:-1].flatten(), xi[1:].flatten()
    assert abs(float((a * b).mean())) < 0.05


def test_noises_read_under_a_wrong_model_are_not_standard_normal() -> None:
    gen = torch.Generator().manual_seed(3)
    plan = ddim(EDM, log(EDM, 400), eta=1.0)
    latent = encode(plan, gaussian(3.0, 0.5), ring8().sample(100, gen), gen)
    xi = torch.stack(list(latent.noises[:-1]))  # type: ignore[arg-type]
    assert abs(xi.mean().item()) > 0.1


def test_a_product_state_is_encoded_part_by_part(gen: torch.Generator) -> None:
    process = Product({"a": VP(), "b": VE(sigma_max=5.0)})

    class Pair:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Any, t: Any, cond: Any = None) -> Any:
            means = {k: Normal(process=part)(x[k], t).mean for k, part in process.parts.items()}
            return type("Both", (), {"mean": means})

    x0 = {"a": torch.randn(7, 3, generator=gen, dtype=F64), "b": torch.randn(7, 2, generator=gen, dtype=F64)}
    plan = ddim(process, log(process, 20), eta=0.8)
    again = decode(plan, Pair(), encode(plan, Pair(), x0, gen))
    for name, value in x0.items():
        assert (again[name] - value).abs().max().item() < 1e-10


@pytest.mark.parametrize("mix", [ring8(), lowrank32()], ids=["ring8", "lowrank32"])
def test_the_ode_there_and_back_returns_the_data(mix: Mixture) -> None:
    gen = torch.Generator().manual_seed(4)
    x0 = mix.sample(100, gen)
    x0 = x0 + EDM.sigma_min * torch.randn(x0.shape, generator=gen, dtype=F64)
    times = log(EDM, 101)[:-1]
    noise = sample(rk4(EDM, times[::-1]), mix, x0)
    again = sample(rk4(EDM, times), mix, noise)
    # 1e-3 at 100 Runge-Kutta steps each way. The noise end is nearly N(0, 80^2 I).
    assert (again - x0).square().mean().sqrt().item() < 1e-3
    assert noise.std().item() == pytest.approx(80, rel=4 / math.sqrt(2 * noise.numel()))


def test_steps_yield_what_sample_returns(gen: torch.Generator) -> None:
    mix, plan = ring8(), PLANS["ddim, eta 1"](8)
    x = mix.process.prior(torch.zeros(6, 2, dtype=F64), gen)
    seen = list(steps(plan, mix, x, Seeds(range(6))))
    assert torch.equal(seen[-1].next, sample(plan, mix, x, Seeds(range(6))))
    assert [step.number for step in seen] == list(range(8))
    assert [step.row for step in seen] == list(plan.rows)
    for before, after in pairwise(seen):
        assert after.x is before.next
    for step in seen:
        assert isinstance(step.row, Row)
        mean = step.row.keep * step.x + step.row.pull[0] * step.posterior.mean
        noise = 0 if step.noise is None else step.row.fresh * step.noise
        assert torch.allclose(step.next, mean + noise, rtol=1e-12)
    assert (seen[-1].noise is None, seen[0].noise is None) == (True, False)


def untouched(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize("name", PLANS)
def test_nothing_that_is_handed_in_or_out_is_changed(name: str, gen: torch.Generator) -> None:
    mix, plan = ring8(), PLANS[name](6)
    x = mix.process.prior(torch.zeros(4, 2, dtype=F64), gen)
    noises = [torch.randn(4, 2, generator=gen, dtype=F64) for _ in plan.rows]
    before = untouched(x, *noises)
    walk = steps(plan, mix, x, noises=noises)
    kept = [(step, untouched(step.x, step.posterior.mean, step.next)) for step in walk]
    assert all(torch.equal(a, b) for a, b in zip((x, *noises), before, strict=True))
    for step, copies in kept:
        now = (step.x, step.posterior.mean, step.next)
        assert all(torch.equal(a, b) for a, b in zip(now, copies, strict=True))


def test_history_handed_in_is_read_and_not_changed() -> None:
    normal = Normal()
    plan = adams(EDM, [4.0, 3.0, 2.0], data_std=1.0, order=2, before=[5.0])
    older = [torch.ones(3, dtype=F64)]
    x = torch.full((3,), 5.0, dtype=F64)
    end = sample(plan, normal, x, history=older)
    assert torch.equal(older[0], torch.ones(3, dtype=F64))
    assert len(older) == 1
    assert not torch.equal(end, sample(plan, normal, x, history=[torch.zeros(3, dtype=F64)]))
    with pytest.raises(ConfigError, match=r"reads 2 values of history, got 1"):
        sample(plan, normal, x)


def test_conditioning_reaches_the_denoiser() -> None:
    seen = []

    class Asks(Normal):
        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Any:
            seen.append(cond)
            return super().__call__(x, t)

    plan = ddim(EDM, [2.0, 1.0, 0.0])
    sample(plan, Asks(), torch.zeros(2, dtype=F64), cond="label")
    assert seen == ["label", "label"]


def test_what_cannot_run_is_refused() -> None:
    mix = ring8()
    x = torch.zeros(2, 2, dtype=F64)
    with pytest.raises(ConfigError, match="needs a source of randomness"):
        sample(PLANS["ddim, eta 1"](3), mix, x)
    langevin: Plan = corrected(ddim(EDM, [2.0, 1.0]), EDM)
    with pytest.raises(ConfigError, match="linear rows"):
        encode(langevin, mix, x, torch.Generator())
