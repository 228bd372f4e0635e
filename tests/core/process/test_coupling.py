"""Couplings: exact matchings, entropic plans, and the straighter paths that they give."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from core.analytic import Mixture
from core.errors import ConfigError
from core.mixture_bridge import MixtureBridge, normal
from core.plan import bridge, span
from core.process import Interpolant
from core.process.coupling import assignment, entropic, independent, optimal, paired, sinkhorn
from core.state import Seeds
from core.transport import Drift, Flow, curvature

F64 = torch.float64


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_the_assignment_is_the_cheapest_matching(n: int) -> None:
    rng = np.random.default_rng(n)
    for cost in (rng.random((n, n)), rng.integers(0, 3, (n, n)).astype(float), -rng.random((n, n))):
        columns = assignment(cost)
        assert sorted(columns.tolist()) == list(range(n))
        rows, best = linear_sum_assignment(cost)
        assert cost[np.arange(n), columns].sum() == pytest.approx(cost[rows, best].sum(), abs=1e-12)


def test_the_cheapest_matching_of_few_is_found_by_enumeration() -> None:
    cost = np.random.default_rng(5).random((6, 6))
    best = min(cost[np.arange(6), list(p)].sum() for p in itertools.permutations(range(6)))
    assert cost[np.arange(6), assignment(cost)].sum() == pytest.approx(best, abs=1e-14)
    with pytest.raises(ConfigError, match="square, finite cost"):
        assignment(np.ones((2, 3)))


def test_the_entropic_plan_has_even_marginals_and_the_right_limits(gen: torch.Generator) -> None:
    x0, x1 = torch.randn(2, 40, 2, generator=gen, dtype=F64)
    cost = torch.cdist(x0, x1).square()
    plan = sinkhorn(cost / 0.5, 300)
    assert torch.allclose(plan.sum(0), torch.full((40,), 1 / 40, dtype=F64), atol=1e-6)
    assert torch.allclose(plan.sum(1), torch.full((40,), 1 / 40, dtype=F64), atol=1e-6)
    least = cost.numpy()[np.arange(40), assignment(cost.numpy())].mean()
    costs = [float((sinkhorn(cost / e, 2000) * cost).sum()) for e in (0.01, 0.1, 1.0, 100.0)]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(least, rel=0.02)
    assert costs[-1] == pytest.approx(float(cost.mean()), rel=0.02)


def test_couplings_keep_the_batch_and_only_pair_it_anew(gen: torch.Generator) -> None:
    x0, x1 = torch.randn(2, 64, 2, generator=gen, dtype=F64)
    cost = {}
    for name, coupling in {
        "paired": paired,
        "independent": independent,
        "optimal": optimal(),
        "injected": optimal(lambda c: linear_sum_assignment(c)[1]),
    }.items():
        y0, y1 = coupling(x0, x1, gen)
        assert torch.equal(y0, x0)
        assert torch.equal(y1.sort(0).values, x1.sort(0).values)
        cost[name] = float((y0 - y1).square().sum(1).mean())
    assert cost["optimal"] == pytest.approx(cost["injected"], rel=1e-12)
    assert cost["optimal"] < 0.3 * cost["independent"]
    assert torch.equal(paired(x0, x1, gen)[1], x1)
    assert not torch.equal(independent(x0, x1, gen)[1], x1)
    drawn = entropic(0.05)(x0, x1, gen)[1]
    assert float((x0 - drawn).square().sum(1).mean()) < 1.5 * cost["optimal"]


def test_couplings_draw_from_one_seed_per_sample_and_leave_masks_alone() -> None:
    x = torch.arange(6.0)[:, None]
    first, again = (independent(x, x, Seeds(range(6)))[1] for _ in range(2))
    assert torch.equal(first, again)
    masked = {"h": x, "mask": torch.ones(6, 1, dtype=torch.bool)}
    assert paired(masked, masked, Seeds(range(6)))[1] is masked
    with pytest.raises(ConfigError, match="states with masks"):
        independent(masked, masked, Seeds(range(6)))


def fitted_curvature(coupling: Any) -> float:
    """Curvature of the ODE whose velocity is the linear least-squares fit to coupled batches of 256.

    Between Gaussians the exact velocity of the independent coupling is linear, and that of the transport map
    too.
    """
    gen = torch.Generator().manual_seed(0)
    process = Interpolant("linear", "none")
    shape, end = torch.tensor([2.0, 0.3], dtype=F64), torch.tensor([3.0, 1.0], dtype=F64)
    pairs = [
        coupling(torch.randn(256, 2, generator=gen, dtype=F64), end + shape * z, gen)
        for z in torch.randn(3, 256, 2, generator=gen, dtype=F64)
    ]
    x0, x1 = (torch.cat(side) for side in zip(*pairs, strict=True))

    class Fit:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
            one = torch.ones(len(x0), 1, dtype=F64)
            known = torch.cat([process.blend(x0, x1, x0, t), one], 1)
            gain = torch.linalg.lstsq(known, process.speed(x0, x1, x0, t)).solution
            return Flow(torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1) @ gain)

    drift = Drift(Fit())
    return curvature(bridge(drift, span(process, 40)), drift, torch.randn(2000, 2, generator=gen, dtype=F64))


def test_minibatch_transport_straightens_the_paths() -> None:
    curved, straight = fitted_curvature(independent), fitted_curvature(optimal())
    print(f"mean squared curvature: independent {curved:.3f}, minibatch transport of 256 {straight:.3f}")
    assert straight < 0.1 * curved


def test_the_path_of_the_exact_independent_coupling_is_curved_as_predicted() -> None:
    # 1-D, N(0, 1) to N(0, s^2): x_t = x_0 sqrt(v) with v = (1 - t)^2 + s^2 t^2.
    s = 2.0
    one = torch.ones(1, dtype=F64)
    end = Mixture(one, 0 * one[:, None], s**2 * one[:, None, None])
    process = Interpolant("linear", "none")
    drift = Drift(MixtureBridge(normal(1), end, process))
    found = curvature(bridge(drift, span(process, 400)), drift, one[:, None])
    t = torch.linspace(0, 1, 4001, dtype=F64)
    v, dv, ddv = (1 - t) ** 2 + s**2 * t**2, 2 * s**2 * t - 2 * (1 - t), 2 + 2 * s**2
    exact = float(torch.trapezoid(((2 * v * ddv - dv**2) / (4 * v**1.5)).square(), t))
    # Differences of 400 Euler steps: error of order 1 / 400.
    assert found == pytest.approx(exact, rel=0.02)
