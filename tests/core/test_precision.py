"""What rounding a network's output to bfloat16 does to a DDIM run: v bears it at every noise level.

With alpha = cos(phi) and sigma = sin(phi), a step by delta multiplies the error of the output by sin(delta) /
cos(phi) for eps, sin(delta) / sin(phi) for x0, and sin(delta) for v (Yang et al. 2024, arXiv:2410.10798,
restated with angles). The data are N(0, 1/4), the predictor is exact, and only its output is rounded.
"""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from core.denoise import wrap
from core.plan import ddim
from core.process import CosineVP
from core.run import sample

PROCESS = CosineVP(margin=1e-6)
VARIANCE = 0.25


def times(signal: float, n: int) -> list[float]:
    """n + 1 times at equally spaced angles, from alpha^2 = signal down to the angle .02."""
    top = math.acos(math.sqrt(signal))
    angles = [top + (0.02 - top) * i / n for i in range(n + 1)]
    return [(angle * 2 / math.pi - PROCESS.margin) / (1 - 2 * PROCESS.margin) for angle in angles]


@cache
def error(kind: str, signal: float, n: int) -> float:
    """Root-mean-square distance of the runs with and without rounding, 20 000 samples."""

    def net(x: Tensor, t: Tensor, cond: object = None, *, rounded: bool) -> Tensor:
        alpha, sigma = (float(f(float(t[0]))) for f in (PROCESS.alpha, PROCESS.sigma))
        spread = alpha**2 * VARIANCE + sigma**2
        x0, eps = x * alpha * VARIANCE / spread, x * sigma / spread
        out = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0}[kind]
        return out.to(torch.bfloat16).to(x.dtype) if rounded else out

    grid = times(signal, n)
    plan = ddim(PROCESS, grid)
    gen = torch.Generator().manual_seed(0)
    start = torch.randn(20_000, 1, generator=gen, dtype=torch.float64)
    start = start * math.sqrt(signal * VARIANCE + 1 - signal)
    ends = [
        sample(
            plan,
            wrap(
                lambda x, t, cond=None, r=rounded: net(x, t, cond, rounded=r),
                PROCESS,
                predicts=kind,  # type: ignore[arg-type]
            ),
            start,
        )
        for rounded in (True, False)
    ]
    return float((ends[0] - ends[1]).square().mean().sqrt())


@pytest.mark.parametrize(
    ("signal", "n", "expected"),
    [
        (1e-4, 20, {"eps": 5.97e-3, "x0": 7.6e-4, "v": 1.45e-4}),
        (1e-4, 100, {"eps": 1.61e-3, "x0": 4.9e-4, "v": 6.3e-5}),
        (1e-6, 20, {"eps": 6.1e-2, "v": 1.5e-4}),
    ],
)
def test_errors_are_the_measured_ones(signal: float, n: int, expected: dict[str, float]) -> None:
    for kind, value in expected.items():
        # The reference draws other samples; a few per cent is the spread of seeds.
        assert error(kind, signal, n) == pytest.approx(value, rel=0.06), kind


def test_v_is_fifteen_times_below_eps_and_does_not_grow_towards_noise() -> None:
    assert error("eps", 1e-4, 20) > 15 * error("v", 1e-4, 20)
    assert error("v", 1e-6, 20) < 1.1 * error("v", 1e-4, 20)
    assert error("eps", 1e-6, 20) > 8 * error("eps", 1e-4, 20)
