"""Processes against their own differential equations: moments, clocks, records, masking rates (C01)."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from core.errors import CheckpointError, ConfigError
from core.process import (
    VE,
    VP,
    CosineVP,
    Gaussian,
    Karras,
    Masking,
    Product,
    RectifiedFlow,
    SigmaPower,
    SubVP,
    from_record,
    to_record,
)

PROCESSES = [
    VP(),
    VP(b0=0.5, b1=5.0),
    SubVP(),
    VE(),
    Karras(),
    CosineVP(),
    CosineVP(margin=0.02),
    RectifiedFlow(),
    SigmaPower(),
    SigmaPower(base=3.0),
]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: repr(p)[:24])


def span(process: Gaussian) -> tuple[float, float]:
    """The ends of a process, short of the time at which no signal is left (there f is infinite)."""
    low, high = process.ends
    return low, high if process.alpha(high) > 0 else 0.99


def worst_moment_error(process: Gaussian) -> float:
    """Largest relative error of (alpha, sigma^2) against m' = f m, v' = 2 f v + g^2 at 100 times."""
    low, high = span(process)
    times = [*(low + (high - low) * i / 100 for i in range(100)), high]

    def rate(t: float, y: list[float]) -> list[float]:
        f, g2 = process.f(t), process.g2(t)
        return [f * y[0], 2 * f * y[1] + g2]

    start = [process.alpha(low), process.sigma(low) ** 2]
    found = solve_ivp(rate, (low, high), start, method="DOP853", t_eval=times, rtol=1e-10, atol=1e-14)
    pairs = zip(times, *found.y, strict=True)
    return max(max(abs(m / process.alpha(t) - 1), abs(v / process.sigma(t) ** 2 - 1)) for t, m, v in pairs)


@every_process
def test_alpha_and_sigma_solve_the_moment_equations(process: Gaussian) -> None:
    # C01: 1e-6 relative; the integrator is asked for 1e-10.
    assert worst_moment_error(process) < 1e-6


@dataclass(frozen=True)
class SubVPWithTheDiffusionOfVP(SubVP):
    def g2(self, t: Any) -> Any:
        return VP.g2(self, t)


def test_a_wrong_diffusion_is_noticed() -> None:
    assert worst_moment_error(SubVPWithTheDiffusionOfVP()) > 1e-3


@every_process
def test_rates_are_the_derivatives_of_the_schedule(process: Gaussian) -> None:
    low, high = span(process)
    for u in (0.1, 0.35, 0.7, 0.95):
        t = low + (high - low) * u
        h = 1e-5 * (high - low)
        slope = (process.alpha(t + h) - process.alpha(t - h)) / (2 * h)
        spread = (process.sigma(t + h) - process.sigma(t - h)) / (2 * h)
        # Central differences: error h^2 times the third derivative, below 1e-6 of the scale here.
        assert process.rates(t)[0] == pytest.approx(slope, rel=1e-6, abs=1e-8)
        assert process.rates(t)[1] == pytest.approx(spread, rel=1e-6, abs=1e-8)


@every_process
def test_tensor_times_agree_with_float_times(process: Gaussian) -> None:
    low, high = span(process)
    times = torch.linspace(low, high, 7, dtype=torch.float64)
    batched = process.coeffs(times)
    for i, t in enumerate(times.tolist()):
        single = process.coeffs(t)
        assert [float(c[i]) for c in batched] == pytest.approx(list(single), rel=1e-12)
        slope, spread = process.rates(times)
        assert (float(slope[i]), float(spread[i])) == pytest.approx(process.rates(t), rel=1e-11)


@every_process
@given(u=st.floats(0, 1))
def test_time_inverts_the_ratio(process: Gaussian, u: float) -> None:
    low, high = span(process)
    t = low + (high - low) * u
    assert process.time(process.ratio(t)) == pytest.approx(t, rel=1e-9, abs=1e-9)


@every_process
def test_time_of_ratio_zero_has_no_noise_at_all(process: Gaussian) -> None:
    end = process.time(0.0)
    assert process.sigma(end) == 0
    assert process.alpha(end) == 1


@given(margin=st.floats(1e-6, 0.49))
def test_the_cosine_curve_reaches_zero_noise_whatever_its_margin(margin: float) -> None:
    process = CosineVP(margin)
    assert process.sigma(process.time(0.0)) == 0
    assert process.sigma(0.0) == pytest.approx(math.sin(margin * math.pi / 2), rel=1e-9)


def test_the_straight_path_may_start_without_signal() -> None:
    flow = RectifiedFlow()
    assert (flow.alpha(1.0), flow.ratio(1.0), flow.time(math.inf)) == (0.0, math.inf, 1.0)


@every_process
def test_perturb_mixes_data_and_noise_sample_by_sample(process: Gaussian, gen: torch.Generator) -> None:
    low, high = span(process)
    x0 = torch.randn(5, 3, 2, generator=gen, dtype=torch.float64)
    t = torch.linspace(low, high, 5, dtype=torch.float64)
    x, eps = process.perturb(x0, t, gen)
    for i, each in enumerate(t.tolist()):
        assert torch.allclose(x[i], process.alpha(each) * x0[i] + process.sigma(each) * eps[i], rtol=1e-12)


def test_the_prior_has_the_noise_scale_of_the_far_end(gen: torch.Generator) -> None:
    x = Karras().prior(torch.zeros(20_000, 2, dtype=torch.float64), gen)
    # 40 000 draws: relative standard error of a deviation 1 / sqrt(80 000) = 0.0035; four of them.
    assert x.std().item() == pytest.approx(80, rel=0.014)


def test_a_product_corrupts_each_part_at_its_own_rate(gen: torch.Generator) -> None:
    process = Product({"a": VP(), "b": VE()})
    x0 = {
        "a": torch.ones(4, 3, dtype=torch.float64),
        "b": torch.full((4, 2), 2.0, dtype=torch.float64),
        "mask": torch.ones(4, 1, dtype=torch.bool),
    }
    x, eps = process.perturb(x0, 0.3, gen)
    for name, part in process.parts.items():
        assert torch.equal(x[name], part.alpha(0.3) * x0[name] + part.sigma(0.3) * eps[name])
    assert x["mask"] is x0["mask"]
    assert process.ends == (1e-3, 1.0)


def test_a_product_names_the_parts_it_misses() -> None:
    with pytest.raises(ConfigError, match=r"\['a'\], the process has \['a', 'b'\]"):
        Product({"a": VP(), "b": VE()}).perturb({"a": torch.zeros(1, 1)}, 0.5, torch.Generator())


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (VP, {"b0": 2.0, "b1": 1.0}),
        (VE, {"sigma_min": 0.0}),
        (Karras, {"sigma_min": 3.0, "sigma_max": 2.0}),
        (CosineVP, {"margin": 0.5}),
        (SigmaPower, {"base": 1.0}),
        (Masking, {"vocab": 0}),
        (Product, {"parts": {}}),
        (Product, {"parts": {"mask": VP()}}),
    ],
)
def test_impossible_settings_are_refused(build: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(**settings)


@pytest.mark.parametrize(
    "process", [*PROCESSES, Masking(7), Product({"x": VP(b1=3.0), "y": Product({"z": VE()})})]
)
def test_a_record_gives_back_an_equal_process(process: Any) -> None:
    assert from_record(to_record(process)) == process


def test_a_record_of_something_else_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown process 'VQ'"):
        from_record({"kind": "VQ"})
    with pytest.raises(CheckpointError, match="do not fit the process VP"):
        from_record({"kind": "VP", "b7": 1.0})
    with pytest.raises(CheckpointError, match="cannot be stored"):
        to_record(object())


def test_masking_hides_each_token_with_probability_t(gen: torch.Generator) -> None:
    process = Masking(vocab=5)
    x0 = torch.randint(0, 5, (4000, 6), generator=gen)
    t = torch.linspace(0.1, 0.9, 4).repeat_interleave(1000)
    x, hidden = process.perturb(x0, t, gen)
    assert torch.equal(x, torch.where(hidden, 5, x0))
    for i in range(4):
        level = float(t[1000 * i])
        share = hidden[1000 * i : 1000 * (i + 1)].double().mean(0)
        # 1000 draws per position: four standard errors of a share.
        assert (share - level).abs().max() < 4 * math.sqrt(level * (1 - level) / 1000)


def test_masking_hides_positions_independently(gen: torch.Generator) -> None:
    _, hidden = Masking(vocab=2).perturb(torch.zeros(40_000, 2, dtype=torch.long), 0.5, gen)
    # Under independence both are hidden with probability 1/4; standard error sqrt(3/16 / 40 000) = 0.0022.
    assert hidden.all(1).double().mean().item() == pytest.approx(0.25, abs=0.0088)


def test_masking_starts_from_masks_only() -> None:
    process = Masking(vocab=3)
    like = torch.zeros(2, 4, dtype=torch.long)
    assert (process.prior(like) == 3).all()
    assert process.ends == (0.0, 1.0)
