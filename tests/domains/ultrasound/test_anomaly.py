"""Anomalies under an exact prior: how large the difference must be, in closed form."""

import math

import pytest
import torch

from core.errors import ConfigError
from core.plan import ddim, log
from core.process import Karras
from domains.ultrasound.anomaly import find_anomalies
from tests.fixtures.normal import Normal

F64 = torch.float64
MEAN, STD = -0.5, 0.2
PRIOR = Normal(MEAN, STD, process=Karras(0.002, 2.0))


def returned(sigma: float, steps: int, end: float) -> float:
    """Share of an offset that the deterministic sampler gives back, from its own rows."""
    kept = 1.0
    for row in ddim(PRIOR.process, log(PRIOR.process, steps, low=end, high=sigma)).rows:
        kept *= row.keep + row.pull[0] * STD**2 / (STD**2 + row.t**2)  # type: ignore[union-attr]
    return kept


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5])
def test_an_offset_is_off_by_its_known_share(sigma: float, gen: torch.Generator) -> None:
    levels = torch.full((1, 12, 12), MEAN, dtype=F64)
    levels[0, 4:8, 4:8] += 0.9
    found = find_anomalies(levels, PRIOR, sigma=sigma, steps=15, samples=3)
    noise = torch.stack(
        [
            torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(k), dtype=F64)[0]
            for k in range(3)
        ]
    ).mean(0)
    share = returned(sigma, 15, 0.01)
    expected = MEAN + share * (levels - MEAN + sigma * noise)
    torch.testing.assert_close(found.expected, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.difference, (levels - expected).abs(), atol=1e-10, rtol=0)


def test_many_steps_reach_the_flow_of_the_prior() -> None:
    # The share converges to s / sqrt(s^2 + sigma^2); the error of first-order steps halves with the step.
    exact = STD / math.hypot(STD, 0.5)
    errors = [abs(returned(0.5, n, 1e-5) - exact) for n in (100, 200, 400)]
    assert errors[-1] < 2e-2 * exact
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.15)


def test_what_the_prior_knows_returns_and_what_it_does_not_shows(gen: torch.Generator) -> None:
    levels = MEAN + STD * torch.randn(4, 32, 32, generator=gen, dtype=F64)
    levels[:, 10:20, 10:20] += 1.2
    found = find_anomalies(levels, PRIOR, sigma=0.5, samples=8).difference
    inside = found[:, 10:20, 10:20].mean()
    outside = (found.sum() - found[:, 10:20, 10:20].sum()) / (4 * (32 * 32 - 100))
    assert float(inside) > 4 * float(outside)


def test_more_noise_forgets_more() -> None:
    levels = torch.full((1, 8, 8), MEAN + 0.8, dtype=F64)
    sizes = [
        float(find_anomalies(levels, PRIOR, sigma=s, samples=16).difference.mean()) for s in (0.05, 0.3, 1.0)
    ]
    assert sizes == sorted(sizes)


def test_pictures_share_their_noise_and_do_not_depend_on_the_batch(gen: torch.Generator) -> None:
    levels = torch.randn(5, 8, 8, generator=gen, dtype=F64)
    one, many = (find_anomalies(levels, PRIOR, sigma=0.5, batch=b).difference for b in (1, 8))
    torch.testing.assert_close(one, many)
    alone = find_anomalies(levels[2:3], PRIOR, sigma=0.5).difference
    torch.testing.assert_close(alone[0], many[2])


def test_levels_and_counts_out_of_range_are_refused() -> None:
    levels = torch.zeros(1, 8, 8)
    with pytest.raises(ConfigError, match="must exceed the last one"):
        find_anomalies(levels, PRIOR, sigma=0.01)
    with pytest.raises(ConfigError, match="1 sample and 2 steps"):
        find_anomalies(levels, PRIOR, sigma=0.5, samples=0)
