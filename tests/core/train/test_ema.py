"""Weight averages against their closed forms."""

import math

import pytest
import torch

from core.errors import ConfigError
from core.train.ema import EMA, PowerEMA, averaged


def shares(average: EMA | PowerEMA, steps: int) -> torch.Tensor:
    """How much the weights of steps 0 .. `steps` count in the average: one-hot weights, averaged."""
    eye = torch.eye(steps + 1, dtype=torch.float64)
    shadow = {"w": eye[0]}
    for n in range(1, steps + 1):
        shadow = averaged(shadow, {"w": eye[n]}, average.beta(n))
    return shadow["w"]


@pytest.mark.parametrize("std", [0.05, 0.1, 0.25])
def test_the_power_average_counts_steps_by_differences_of_powers(std: float) -> None:
    average = PowerEMA(std)
    k = torch.arange(1, 201, dtype=torch.float64)
    power = average.gamma + 1
    exact = (k**power - (k - 1) ** power) / 200**power
    got = shares(average, 200)
    assert got[0] == 0.0  # the initial weights are forgotten at once
    torch.testing.assert_close(got[1:], exact, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("std", [0.05, 0.1, 0.25])
def test_the_power_average_has_the_width_asked_for(std: float) -> None:
    n = 4000
    weight = shares_of_power(PowerEMA(std).gamma, n)
    time = (torch.arange(1, n + 1, dtype=torch.float64) - 0.5) / n
    mean = (weight * time).sum()
    # Steps stand for intervals of 1/n: the width is right to order 1/n^2.
    assert (weight * (time - mean) ** 2).sum().sqrt().item() == pytest.approx(std, rel=1e-5)


def shares_of_power(gamma: float, n: int) -> torch.Tensor:
    k = torch.arange(1, n + 1, dtype=torch.float64)
    return (k / n) ** (gamma + 1) - ((k - 1) / n) ** (gamma + 1)


def test_the_widest_power_average_is_the_plain_mean() -> None:
    assert PowerEMA(12**-0.5).gamma == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(
        shares(PowerEMA(12**-0.5), 50)[1:], torch.full((50,), 0.02, dtype=torch.float64)
    )


def test_published_exponents() -> None:
    # Karras et al. 2024, section 3.1: widths of 10 and 5 percent have exponents 6.94 and 16.97.
    assert PowerEMA(0.10).gamma == pytest.approx(6.94, abs=0.005)
    assert PowerEMA(0.05).gamma == pytest.approx(16.97, abs=0.005)


def test_the_ramp_counts_steps_by_a_ratio_of_factorials() -> None:
    # Below the cap: product over j = k + 1 .. n of (1 + j) / (10 + j), times 9 / (10 + k).
    got = shares(EMA(0.9999), 100)
    for k in (0, 1, 10, 60, 100):
        log = math.lgamma(102) - math.lgamma(k + 2) + math.lgamma(k + 11) - math.lgamma(111)
        assert got[k].item() == pytest.approx(math.exp(log) * (1 if k == 0 else 9 / (10 + k)), rel=1e-10)


def test_after_the_ramp_the_past_decays_geometrically() -> None:
    got = shares(EMA(0.9), 200)
    late = got[120:]
    torch.testing.assert_close(late[1:] * 0.9, late[:-1])
    assert got[-1].item() == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("average", [EMA(0.99), PowerEMA(0.1)])
def test_constant_weights_are_their_own_average(average: EMA | PowerEMA) -> None:
    assert shares(average, 60).sum().item() == pytest.approx(1, abs=1e-12)


def test_averaging_leaves_its_arguments_and_takes_integers_over() -> None:
    shadow, weights = {"w": torch.zeros(2), "n": torch.tensor(1)}, {"w": torch.ones(2), "n": torch.tensor(7)}
    out = averaged(shadow, weights, 0.75)
    assert out["w"].tolist() == [0.25, 0.25]
    assert out["n"].item() == 7
    assert shadow["w"].tolist() == [0.0, 0.0]
    weights["n"] += 1
    assert out["n"].item() == 7


def test_impossible_averages_are_refused() -> None:
    with pytest.raises(ConfigError, match="decay < 1, got 1"):
        EMA(1.0)
    with pytest.raises(ConfigError, match=r"std <= 0\.289, got 0\.3"):
        PowerEMA(0.3)
