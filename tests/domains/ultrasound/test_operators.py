"""Plane-wave and multi-coil operators against dense matrices, and solved with an exact prior."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from core.inverse import DAPS, RED, PiGDM, RedDiff, adjoint_gap, solve
from domains.ultrasound.operators import MultiCoil, PlaneWave, cartesian_mask, coil_maps
from tests.fixtures.field import Field, rms

F64 = torch.float64
SMALL: dict[str, Any] = {
    "envelope": PlaneWave((1, 12, 10), (0.0,)),
    "compounded": PlaneWave((1, 12, 10), (-0.3, 0.0, 0.3)),
    "radio frequency": PlaneWave((1, 12, 10), (-0.2, 0.1), f0_hz=1e6),
    "multi-coil": MultiCoil(
        cartesian_mask((8, 10), acceleration=2, gen=torch.Generator().manual_seed(0)), coil_maps((8, 10), 3)
    ),
}


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(operator: Any) -> Tensor:
    d = math.prod(operator.shape)
    units = torch.eye(d, dtype=F64).reshape(d, *operator.shape)
    return operator.A(units).flatten(1).T


@pytest.mark.parametrize("name", SMALL)
def test_at_is_the_adjoint(name: str) -> None:
    assert adjoint_gap(SMALL[name], gen()) <= 1e-6  # sensitivities are complex64


@pytest.mark.parametrize("name", SMALL)
def test_normal_equations_and_pseudo_inverses_are_those_of_the_matrix(name: str) -> None:
    operator = SMALL[name]
    a = dense(operator)
    v = torch.randn(2, *operator.shape, generator=gen(), dtype=F64)
    total = 2.0 * a.T @ a + 0.3 * torch.eye(a.shape[1], dtype=F64)
    want = torch.linalg.solve(total, v.flatten(1).T).T
    assert torch.allclose(operator.normal(v, 2.0, 0.3).flatten(1), want, atol=1e-5)
    y = operator.A(v)
    back = operator.A(operator.pinv(y))
    # Directions of relative gain below 1e-3 count as not measured.
    assert float((back - y).norm() / y.norm()) <= 1e-2


def test_steering_shears_the_point_spread() -> None:
    wide = PlaneWave((1, 64, 64), (-0.4, 0.0, 0.4), lateral_m=1.2e-3)
    point = torch.zeros(1, 1, 64, 64, dtype=F64)
    point[..., 32, 32] = 1
    echoes = wide.A(point)[0]
    side = 32 + 8
    depth = echoes[:, :, side].argmax(1) - 32
    # Eight pixels aside, the echo lies 8 tan(phi) pixels deeper.
    assert depth.tolist() == [round(8 * math.tan(angle)) for angle in wide.angles_rad]
    assert torch.allclose(echoes[1], echoes[1].flip(0).roll(1, 0), atol=1e-9)


def test_fully_sampled_coils_keep_the_norm() -> None:
    operator = MultiCoil(torch.ones(8, 10, dtype=torch.bool), coil_maps((8, 10), 4))
    x = torch.randn(2, 2, 8, 10, generator=gen())
    assert torch.allclose(operator.A(x).norm(), x.norm(), rtol=1e-5)
    assert torch.allclose(operator.At(operator.A(x)), x, atol=1e-5)


def test_cartesian_masks_keep_the_lines_they_promise() -> None:
    mask = cartesian_mask((6, 100), acceleration=4, centre=0.08, gen=gen())
    lines = mask[0]
    assert torch.equal(mask, lines.expand(6, 100))
    assert int(lines.sum()) == 25
    assert bool(lines[:4].all())
    assert bool(lines[-4:].any())
    assert not torch.equal(mask, cartesian_mask((6, 100), acceleration=4, gen=gen(1)))


def test_more_angles_bring_the_reconstruction_nearer_to_the_truth() -> None:
    field = Field()
    x = 2 * field.draw(2, gen()) - 1
    errors = []
    for angles in ((0.0,), (-0.5, -0.25, 0.0, 0.25, 0.5)):
        operator = PlaneWave((1, 64, 64), angles)
        y = operator.A(x)
        y = y + 0.05 * torch.randn(y.shape, generator=gen(1))
        solved = solve(field, operator, y, 0.05, method="pigdm", nfe=30, gen=gen(), samples=4)
        exact = 2 * field.posterior_mean(operator, (y + operator.A(torch.ones_like(x))) / 2, 0.025) - 1
        # The mean of four exact samples lies half a posterior deviation from the exact mean.
        assert rms(solved.x, exact) < 0.6 * rms(exact, x)
        errors.append(rms(solved.x, x))
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "nfe", "samples", "share"),
    [(DAPS(), 20, 4, 0.6), (PiGDM(), 20, 4, 0.6), (RED(), 60, 1, 0.3), (RedDiff(), 150, 1, 0.8)],
    ids=["daps", "pigdm", "red", "reddiff"],
)
def test_undersampled_coils_are_reconstructed_near_the_exact_posterior_mean(
    method: Any, nfe: int, samples: int, share: float
) -> None:
    """Fourfold acceleration, four coils; both channels of a complex image from the field G64."""
    field = Field()
    x = (2 * field.draw(2, gen()) - 1).reshape(1, 2, 64, 64)
    mask = cartesian_mask((64, 64), acceleration=4, gen=gen(1))
    operator = MultiCoil(mask, coil_maps((64, 64), 4))
    y = operator.A(x)
    y = operator.seen(y + 0.02 * torch.randn(y.shape, generator=gen(2)))
    exact = 2 * field.posterior_mean(operator, (y + operator.A(torch.ones_like(x))) / 2, 0.01) - 1
    solved = solve(field, operator, y, 0.02, method=method, nfe=nfe, gen=gen(), samples=samples)
    print(f"rms to the exact mean {rms(solved.x, exact):.4f}; of that to the truth {rms(exact, x):.4f}")
    assert rms(solved.x, exact) < share * rms(exact, x)
    assert rms(operator.At(y), exact) > 1.2 * rms(exact, x)


def test_settings_that_make_no_operator_are_refused() -> None:
    for make in (
        lambda: PlaneWave((2, 8, 8), (0.0,)),
        lambda: PlaneWave((1, 8, 8), ()),
        lambda: PlaneWave((1, 8, 8), (1.6,)),
        lambda: PlaneWave((1, 8, 8), (0.0,), axial_m=0.0),
        lambda: MultiCoil(torch.ones(4, 4, dtype=torch.bool), torch.ones(2, 4, 5, dtype=torch.complex64)),
        lambda: cartesian_mask((4, 20), acceleration=10, centre=0.5, gen=gen()),
        lambda: coil_maps((4, 4), 0),
    ):
        with pytest.raises(ConfigError):
            make()
