"""Distances between samples, against closed forms and brute force."""

import math

import pytest
import torch

from core.errors import ConfigError
from core.metrics import effective_sample_size, floor, frechet, mmd2, polynomial, rbf, sliced_wasserstein
from tests.fixtures.mixtures import ring8

F64 = torch.float64


def test_the_distance_of_a_shift_in_one_dimension_is_the_shift(gen: torch.Generator) -> None:
    x = torch.randn(300, 1, generator=gen, dtype=F64)
    assert sliced_wasserstein(x, x + 0.7) == pytest.approx(0.7, rel=1e-12)
    assert sliced_wasserstein(x, x[torch.randperm(300, generator=gen)]) == 0


def test_scaling_in_one_dimension_costs_the_root_mean_square(gen: torch.Generator) -> None:
    # Sorted pairs are (x, 3 x), so the distance is 2 times the root mean square of x.
    x = torch.randn(300, 1, generator=gen, dtype=F64)
    assert sliced_wasserstein(x, 3 * x) == pytest.approx(2 * float(x.square().mean().sqrt()), rel=1e-12)


def test_a_shift_in_many_dimensions_is_averaged_over_directions(gen: torch.Generator) -> None:
    x = torch.randn(100, 20, generator=gen, dtype=F64)
    shift = torch.randn(20, generator=gen, dtype=F64)
    # E (v . shift)^2 = |shift|^2 / d; over 2000 directions the relative standard error of a square is 3.2 %.
    found = sliced_wasserstein(x, x + shift, directions=2000)
    assert found == pytest.approx(float(shift.norm()) / math.sqrt(20), rel=0.064)


def test_directions_are_drawn_from_the_seed_alone(gen: torch.Generator) -> None:
    x, y = torch.randn(2, 50, 3, generator=gen, dtype=F64)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, y) != sliced_wasserstein(x, y, seed=8)
    assert sliced_wasserstein(x, y) == pytest.approx(sliced_wasserstein(y, x), rel=1e-14)


def test_samples_of_unequal_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"equal size, got \(2, 3\) and \(4, 3\)"):
        sliced_wasserstein(torch.zeros(2, 3), torch.zeros(4, 3))


def test_the_floor_falls_as_the_sample_grows() -> None:
    gen = torch.Generator().manual_seed(1)

    def mean_floor(n: int) -> float:
        return sum(floor(sliced_wasserstein, lambda: ring8().sample(n, gen)) for _ in range(8)) / 8

    # The distance between two samples falls like 1 / sqrt(n): 4 for 16 times the size, within its scatter.
    assert 2.5 < mean_floor(200) / mean_floor(3200) < 6


def test_the_frechet_distance_of_diagonal_gaussians_is_closed() -> None:
    # Samples whose mean and covariance are exact: columns of a scaled orthogonal design.
    design = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=F64) * math.sqrt(3 / 4)
    x = design * torch.tensor([2.0, 0.5], dtype=F64)
    y = design * torch.tensor([1.0, 3.0], dtype=F64) + torch.tensor([0.3, -0.4], dtype=F64)
    # |shift|^2 + sum of (s_x - s_y)^2.
    assert frechet(x, y) == pytest.approx(0.25 + 1.0 + 6.25, rel=1e-10)
    assert frechet(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-10)


def test_the_frechet_distance_does_not_depend_on_the_axes(gen: torch.Generator) -> None:
    x, y = torch.randn(2, 60, 4, generator=gen, dtype=F64)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=gen, dtype=F64))
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), rel=1e-9)


def test_the_frechet_distance_in_one_dimension_compares_means_and_deviations(gen: torch.Generator) -> None:
    x, y = torch.randn(50, 1, generator=gen, dtype=F64), 2 + 3 * torch.randn(70, 1, generator=gen, dtype=F64)
    expected = float((x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kernel", [rbf([0.5, 2.0]), polynomial(3)])
def test_mmd_is_the_double_sum_over_distinct_pairs(kernel, gen: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    x, y = torch.randn(7, 3, generator=gen, dtype=F64), torch.randn(5, 3, generator=gen, dtype=F64) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(kernel(a[None], b[None]))

    brute = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
    brute += sum(k(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / 20
    brute -= 2 * sum(k(a, b) for a in x for b in y) / 35
    assert float(mmd2(x, y, kernel)) == pytest.approx(brute, rel=1e-10)


def test_kernels_are_the_formulas_they_name() -> None:
    a, b = torch.tensor([[1.0, 2.0]], dtype=F64), torch.tensor([[2.0, 0.0]], dtype=F64)
    expected = (math.exp(-5 / (2 * 0.25)) + math.exp(-5 / (2 * 4))) / 2
    assert float(rbf([0.5, 2.0])(a, b)) == pytest.approx(expected, rel=1e-12)
    assert float(polynomial(3)(a, b)) == pytest.approx((2 / 2 + 1) ** 3, rel=1e-12)


def test_mmd_has_mean_zero_for_one_law() -> None:
    gen = torch.Generator().manual_seed(2)
    found = [float(mmd2(*torch.randn(2, 40, 2, generator=gen, dtype=F64), rbf([1.0]))) for _ in range(200)]
    values = torch.tensor(found)
    # Four standard errors of the mean of 200 estimates; some are negative, as an unbiased one must be.
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(200)
    assert float(values.min()) < 0


def test_mmd_of_two_gaussians_is_closed() -> None:
    # For N(0, 1) and N(m, 1) in one dimension with bandwidth b and v = b^2 + 2:
    # MMD^2 = 2 b / sqrt(v) (1 - exp(-m^2 / (2 v))).
    gen = torch.Generator().manual_seed(3)
    x, y = (
        torch.randn(2000, 1, generator=gen, dtype=F64),
        torch.randn(2000, 1, generator=gen, dtype=F64) + 1.5,
    )
    expected = 2 / math.sqrt(3) * (1 - math.exp(-(1.5**2) / 6))
    # 2000 samples: standard error about 0.013 (of kernel means of scale 0.3 over 2000 draws).
    assert float(mmd2(x, y, rbf([1.0]))) == pytest.approx(expected, abs=0.05)


def test_mmd_carries_gradients(gen: torch.Generator) -> None:
    x, y = torch.randn(2, 6, 2, generator=gen, dtype=F64)
    assert torch.autograd.gradcheck(lambda v: mmd2(v, y, rbf([1.0])), (x.requires_grad_(True),))


def test_mmd_needs_two_samples_a_side() -> None:
    with pytest.raises(ConfigError, match="at least 2 samples on each side, got 1 and 3"):
        mmd2(torch.zeros(1, 2), torch.zeros(3, 2), rbf([1.0]))


def test_the_effective_sample_size_counts_equal_weights() -> None:
    assert float(effective_sample_size(torch.full((9,), -700.0))) == pytest.approx(9)
    assert float(effective_sample_size(torch.tensor([0.0, -1e3, -1e3]))) == pytest.approx(1)
    # Weights 1/2, 1/4, 1/4: 1 / (1/4 + 1/16 + 1/16).
    assert float(effective_sample_size(torch.tensor([2.0, 1.0, 1.0]).log())) == pytest.approx(8 / 3)
    both = effective_sample_size(torch.zeros(4, 2), dim=0)
    assert both.tolist() == pytest.approx([4, 4])
