"""DDPM's process: the table of betas at whole steps, one differential equation between them, DDPM's own
sampler."""

import math

import pytest
import torch

from core.errors import ConfigError
from core.plan import ancestral, ddim
from core.process import LinearBetas, from_record, to_record

DDPM = LinearBetas(steps=100, first=1e-4, last=0.1)


def test_whole_steps_hold_the_cumulative_products() -> None:
    abar = 1.0
    assert DDPM.alpha(0) == 1
    assert DDPM.sigma(0) == 0
    for k, beta in enumerate(DDPM.betas, start=1):
        abar *= 1 - beta
        assert DDPM.alpha(k) ** 2 == pytest.approx(abar, rel=1e-13)
        assert DDPM.sigma(k) ** 2 == pytest.approx(1 - abar, rel=1e-10)
    assert (DDPM.betas[0], DDPM.betas[-1]) == (1e-4, 0.1)
    assert DDPM.ends == (1, 100)


def test_the_ancestral_plan_is_the_sampler_of_ddpm() -> None:
    plan = ancestral(DDPM, [float(k) for k in range(100, -1, -1)])
    abar = [1.0]
    for beta in DDPM.betas:
        abar.append(abar[-1] * (1 - beta))
    for k, row in zip(range(100, 0, -1), plan.rows, strict=True):
        beta = DDPM.betas[k - 1]
        assert row.pull[0] == pytest.approx(math.sqrt(abar[k - 1]) * beta / (1 - abar[k]), rel=1e-9)
        assert row.keep == pytest.approx(
            math.sqrt(1 - beta) * (1 - abar[k - 1]) / (1 - abar[k]), rel=1e-9, abs=1e-12
        )
        assert row.fresh**2 == pytest.approx(beta * (1 - abar[k - 1]) / (1 - abar[k]), rel=1e-8, abs=1e-15)
    # The variance of the forward step, which DDPM names as the other choice, is another plan.
    assert plan.rows[0].fresh ** 2 != pytest.approx(DDPM.betas[-1], rel=1e-4)


def test_between_steps_it_solves_its_own_equation() -> None:
    h = 1e-5
    for t in (0.3, 1.5, 47.25, 99.9):
        slope = (math.log(DDPM.alpha(t + h)) - math.log(DDPM.alpha(t - h))) / (2 * h)
        assert slope == pytest.approx(DDPM.f(t), rel=1e-6)
        spread = (DDPM.sigma(t + h) ** 2 - DDPM.sigma(t - h) ** 2) / (2 * h)
        assert spread == pytest.approx(DDPM.g2(t) + 2 * DDPM.f(t) * DDPM.sigma(t) ** 2, rel=1e-6)
        assert DDPM.alpha(t) ** 2 + DDPM.sigma(t) ** 2 == pytest.approx(1, abs=1e-12)


def test_time_inverts_the_ratio() -> None:
    for t in (0.0, 0.25, 1.0, 33.3, 50.0, 100.0, 103.0):
        assert DDPM.time(DDPM.ratio(t)) == pytest.approx(t, abs=1e-9)


def test_tensors_and_numbers_agree() -> None:
    times = [0.0, 0.5, 1.0, 2.0, 62.75, 99.0, 100.0]
    t = torch.tensor(times, dtype=torch.float64)
    for name in ("alpha", "sigma", "f", "g2"):
        numbers = [getattr(DDPM, name)(value) for value in times]
        assert getattr(DDPM, name)(t).tolist() == pytest.approx(numbers, rel=1e-12, abs=1e-15)


def test_skipping_steps_keeps_the_schedule() -> None:
    plan = ddim(DDPM, [97.0, 49.0, 1.0, 0.0], eta=1.0)
    a, s = DDPM.alpha(97) ** 2, DDPM.alpha(49) ** 2
    assert plan.rows[0].fresh ** 2 == pytest.approx((1 - s) / (1 - a) * (1 - a / s), rel=1e-9)


def test_it_is_stored_and_refuses_what_is_no_schedule() -> None:
    assert from_record(to_record(DDPM)) == DDPM
    with pytest.raises(ConfigError, match="2 steps"):
        LinearBetas(steps=1)
    with pytest.raises(ConfigError, match="first <= last"):
        LinearBetas(first=0.2, last=0.1)
