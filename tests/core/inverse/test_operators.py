"""Operators against dense matrices: adjoint, pseudo-inverse, functions of A^T A, solves."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import ConfigError, NumericalError
from core.inverse import (
    HDR,
    Additive,
    Convolution,
    Custom,
    Fourier,
    Inpainting,
    Matrix,
    NonlinearBlur,
    PhaseRetrieval,
    Scaled,
    Separable,
    Stack,
    adjoint_gap,
    conjugate_gradients,
    gaussian_kernel,
    uniform_kernel,
)

F64 = torch.float64


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=gen(seed)) < 0.5


OPERATORS: dict[str, Any] = {
    "inpainting": Inpainting(mask(2, 8, 8)),
    "average": Separable.average((1, 8, 12), 4),
    "bicubic": Separable.bicubic((1, 12, 8), 2),
    "gaussian blur": Convolution(gaussian_kernel(0.8), (1, 8, 8)),
    "uniform blur": Convolution(uniform_kernel(3), (1, 8, 9)),
    "lopsided blur": Convolution(torch.rand(2, 3, 4, generator=gen(3), dtype=F64), (2, 8, 8)),
    "k-space, complex": Fourier(mask(6, 8)),
    "k-space, real": Fourier(mask(6, 7), channels=1),
    "matrix": Matrix(torch.randn(5, 9, generator=gen(4), dtype=F64)),
    "scaled": Scaled(Separable.average((1, 8, 8), 2), -0.5),
    "stack": Stack((Inpainting(mask(1, 8, 8)), Separable.average((1, 8, 8), 4))),
}
SPECTRAL = [name for name, operator in OPERATORS.items() if operator.spectral]
every = pytest.mark.parametrize("name", OPERATORS)


def dense(operator: Any) -> Tensor:
    """The operator as a matrix, (m, d)."""
    d = math.prod(operator.shape)
    units = torch.eye(d, dtype=F64).reshape(d, *operator.shape)
    return operator.A(units).flatten(1).T


@every
def test_at_is_the_adjoint(name: str) -> None:
    assert adjoint_gap(OPERATORS[name], gen()) <= 1e-12


def test_a_forward_map_passed_off_as_its_adjoint_is_caught() -> None:
    class Wrong(Convolution):
        def At(self, y: Tensor) -> Tensor:
            return self.A(y)

    assert adjoint_gap(Wrong(torch.rand(3, 4, generator=gen(), dtype=F64), (1, 8, 8)), gen()) > 1e-3


@every
def test_pinv_is_the_pseudo_inverse(name: str) -> None:
    operator = OPERATORS[name]
    y = operator.A(torch.randn(3, *operator.shape, generator=gen(), dtype=F64))
    y = operator.seen(y + 0.1 * torch.randn(y.shape, generator=gen(1), dtype=F64))
    want = y.flatten(1) @ torch.linalg.pinv(dense(operator), rtol=1e-4).T
    # Stacks are solved to a relative residual of 1e-6.
    assert torch.allclose(operator.pinv(y).flatten(1), want, atol=1e-9 if operator.spectral else 1e-5)


@every
def test_normal_solves_the_shifted_equations(name: str) -> None:
    operator = OPERATORS[name]
    v = torch.randn(2, *operator.shape, generator=gen(), dtype=F64)
    a = dense(operator)
    total = 0.7 * a.T @ a + 0.2 * torch.eye(a.shape[1], dtype=F64)
    want = torch.linalg.solve(total, v.flatten(1).T).T
    assert torch.allclose(operator.normal(v, 0.7, 0.2).flatten(1), want, atol=1e-5)


@pytest.mark.parametrize("name", SPECTRAL)
def test_along_applies_functions_of_the_eigenvalues(name: str) -> None:
    operator = OPERATORS[name]
    a = dense(operator)
    values, vectors = torch.linalg.eigh(a.T @ a)
    x = torch.randn(2, *operator.shape, generator=gen(), dtype=F64)
    want = ((x.flatten(1) @ vectors) * torch.exp(-values.clamp_min(0))) @ vectors.T
    assert torch.allclose(operator.along(x, lambda lam: torch.exp(-lam)).flatten(1), want, atol=1e-9)


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_null_space_is_measured_as_zero(name: str) -> None:
    operator = OPERATORS[name]
    x = torch.randn(2, *operator.shape, generator=gen(), dtype=F64)
    null = operator.along(x, lambda lam: (lam == 0).to(lam.dtype))
    assert float(operator.A(null).abs().max()) <= 1e-6


@every
def test_a_batch_is_measured_sample_by_sample_in_both_precisions(name: str) -> None:
    operator = OPERATORS[name]
    x = torch.randn(3, *operator.shape, generator=gen(), dtype=F64)
    y = operator.A(x)
    assert torch.allclose(torch.cat([operator.A(each[None]) for each in x]), y, atol=1e-12)
    single = operator.A(x.float())
    assert single.dtype == operator.At(single).dtype == operator.pinv(single).dtype == torch.float32
    assert torch.allclose(single.double(), y, atol=1e-5)


def test_a_weighted_sum_and_its_adjoint_agree() -> None:
    operator = Additive({"tissue": 1.0, "haze": -0.3})
    state = {name: torch.randn(2, 5, generator=gen(), dtype=F64) for name in ("tissue", "haze", "spare")}
    y = torch.randn(2, 5, generator=gen(1), dtype=F64)
    back = operator.At(y)
    inner = sum((state[name] * part).sum() for name, part in back.items())
    assert torch.allclose((operator.A(state) * y).sum(), inner)


def test_downsampling_keeps_constants_and_averages_blocks() -> None:
    flat = torch.ones(1, 1, 12, 12, dtype=F64)
    for operator in (Separable.average((1, 12, 12), 3), Separable.bicubic((1, 12, 12), 3)):
        assert torch.allclose(operator.A(flat), torch.ones(1, 1, 4, 4, dtype=F64))
    x = torch.randn(2, 1, 12, 12, generator=gen(), dtype=F64)
    want = torch.nn.functional.avg_pool2d(x, 3)
    assert torch.allclose(Separable.average((1, 12, 12), 3).A(x), want)


def test_bicubic_downsampling_by_one_is_the_identity_and_keeps_slopes() -> None:
    x = torch.randn(1, 1, 8, 8, generator=gen(), dtype=F64)
    assert torch.allclose(Separable.bicubic((1, 8, 8), 1).A(x), x)
    ramp = torch.arange(32, dtype=F64).expand(1, 1, 32, 32)
    small = Separable.bicubic((1, 32, 32), 4).A(ramp)[0, 0, 0]
    # Away from the mirrored edges, the value at the centre of each block of four.
    assert torch.allclose(small[2:-2], 4 * torch.arange(8, dtype=F64)[2:-2] + 1.5)


def test_blur_places_the_centre_of_the_kernel_on_the_pixel() -> None:
    kernel = gaussian_kernel(0.7)
    assert float(kernel.sum()) == pytest.approx(1.0)
    point = torch.zeros(1, 1, 9, 9, dtype=F64)
    point[..., 4, 4] = 1
    reach = kernel.shape[0] // 2
    seen = Convolution(kernel, (1, 9, 9)).A(point)[0, 0]
    assert torch.allclose(seen[4 - reach : 5 + reach, 4 - reach : 5 + reach], kernel, atol=1e-12)


def test_fully_sampled_k_space_is_a_rotation() -> None:
    full = Fourier(torch.ones(6, 8, dtype=torch.bool))
    x = torch.randn(2, 2, 6, 8, generator=gen(), dtype=F64)
    assert torch.allclose(full.A(x).norm(), x.norm())
    assert torch.allclose(full.At(full.A(x)), x, atol=1e-12)


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_conjugate_gradients_end_after_as_many_steps_as_dimensions(d: int, seed: int) -> None:
    m = torch.randn(d, d, generator=gen(seed), dtype=F64)
    total = m @ m.T + 0.1 * torch.eye(d, dtype=F64)
    v = torch.randn(2, d, generator=gen(seed + 1), dtype=F64)
    found = conjugate_gradients(lambda x: x @ total, v, tolerance=1e-12, most=3 * d)
    assert torch.allclose(found @ total, v, atol=1e-6)


def test_conjugate_gradients_say_when_they_diverge() -> None:
    with pytest.raises(NumericalError, match="adjoint"):
        conjugate_gradients(lambda x: x * math.nan, torch.ones(1, 3))


def test_hdr_saturates_and_starts_from_what_did_not() -> None:
    x = torch.tensor([[-0.9, -0.2, 0.3, 0.8]])
    operator = HDR((4,))
    y = operator.A(x)
    assert torch.allclose(y, torch.tensor([[-1.0, -0.4, 0.6, 1.0]]))
    assert torch.allclose(operator.A(operator.start(y)), y)


def test_phase_retrieval_cannot_tell_signs_and_turns_apart() -> None:
    x = torch.randn(1, 1, 8, 8, generator=gen(), dtype=F64)
    operator = PhaseRetrieval((1, 8, 8))
    y = operator.A(x)
    assert y.shape == (1, 1, 16, 16)
    assert torch.allclose(operator.A(-x), y)
    assert torch.allclose(operator.A(x.flip(-1, -2)), y)
    assert torch.allclose(y.norm(), x.norm())
    assert not torch.allclose(operator.A(x.roll(1, -1).clamp(-1, 1)), y)


def test_nonlinear_blur_keeps_flat_levels_and_is_not_the_linear_one() -> None:
    kernel = gaussian_kernel(1.0)
    operator = NonlinearBlur(kernel, (1, 16, 16))
    for level in (-1.0, 0.2, 1.0):
        flat = torch.full((1, 1, 16, 16), level, dtype=F64)
        assert torch.allclose(operator.A(flat), flat, atol=1e-9)
    x = torch.rand(1, 1, 16, 16, generator=gen(), dtype=F64) * 2 - 1
    blurred = Convolution(kernel, (1, 16, 16)).A(x)
    # Light adds: bright pixels win, so the result lies above the blur of the levels.
    assert float((operator.A(x) - blurred).mean()) > 0.02
    assert torch.isfinite(operator.A(1e3 * x)).all()


@pytest.mark.parametrize(
    "operator",
    [
        HDR((1, 8, 8)),
        PhaseRetrieval((1, 8, 8)),
        NonlinearBlur(gaussian_kernel(0.7), (1, 8, 8)),
        Custom((1, 8, 8), lambda x: x**2),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_nonlinear_operators_are_differentiable(operator: Any) -> None:
    x = (torch.rand(1, 1, 8, 8, generator=gen(), dtype=F64) - 0.5).requires_grad_(True)
    assert torch.autograd.gradcheck(operator.A, x, atol=1e-5)


def test_settings_that_make_no_operator_are_refused() -> None:
    for make in (
        lambda: Separable.average((1, 9, 8), 2),
        lambda: Fourier(mask(4, 4), channels=3),
        lambda: HDR((4,), low=1.0, high=0.0),
        lambda: PhaseRetrieval((1, 4, 4), oversampling=0.5),
        lambda: NonlinearBlur(gaussian_kernel(1.0), (1, 8, 8), contrast=0.5),
        lambda: Convolution(uniform_kernel(9), (1, 8, 8)).A(torch.zeros(1, 1, 8, 8)),
    ):
        with pytest.raises(ConfigError):
            make()
