"""Principal component pursuit where the split is known."""

import pytest
import torch

from core.errors import ConfigError, DataError, NumericalError
from domains.ultrasound.video.rpca import pursue

F64 = torch.float64


def mixture(n: int, m: int, rank: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A low-rank matrix of unit entries and a sparse one of entries +-5 at random places."""
    gen = torch.Generator().manual_seed(seed)
    low = torch.randn(n, rank, generator=gen, dtype=F64) @ torch.randn(rank, m, generator=gen, dtype=F64)
    sign = torch.where(torch.rand(n, m, generator=gen) < 0.5, -5.0, 5.0).to(F64)
    return low / rank**0.5, torch.where(torch.rand(n, m, generator=gen) < share, sign, 0.0)


@pytest.mark.parametrize(
    ("n", "m", "rank", "share"), [(80, 80, 4, 0.05), (60, 200, 3, 0.05), (200, 60, 3, 0.1)]
)
def test_low_rank_and_sparse_are_recovered_exactly(n: int, m: int, rank: int, share: float) -> None:
    low, sparse = mixture(n, m, rank, share, seed=0)
    found = pursue(low + sparse)
    # The iteration ends at a residual of 1e-7 of the matrix; both parts are then known to a few times that.
    assert float((found.low_rank - low).norm() / low.norm()) < 1e-5
    assert float((found.sparse - sparse).norm() / sparse.norm()) < 1e-5
    assert int(torch.linalg.matrix_rank(found.low_rank, rtol=1e-4)) == rank
    assert torch.equal(found.sparse.abs() > 1e-3, sparse != 0)
    assert found.residual < 1e-7


def test_the_weight_of_the_theorem_is_what_makes_it_exact() -> None:
    # A wrong variant: 1 / sqrt(min(n1, n2)) would be 1.8 times as much here; five times is surely wrong.
    low, sparse = mixture(60, 200, 3, 0.05, seed=1)
    right, wrong = pursue(low + sparse), pursue(low + sparse, lam=5 / 60**0.5)
    assert float((right.sparse - sparse).norm() / sparse.norm()) < 1e-4
    assert float((wrong.sparse - sparse).norm() / sparse.norm()) > 0.1


def test_a_still_picture_with_a_moving_dot_comes_apart() -> None:
    gen = torch.Generator().manual_seed(3)
    still = torch.rand(1, 400, generator=gen, dtype=F64).expand(20, 400)
    dots = torch.zeros(20, 400, dtype=F64)
    for frame in range(20):
        dots[frame, 15 * frame : 15 * frame + 8] = 1.5
    found = pursue(still + dots)
    assert float((found.sparse - dots).abs().max()) < 1e-4
    assert float((found.low_rank - still).abs().max()) < 1e-4


def test_it_minimises_the_convex_objective() -> None:
    low, sparse = mixture(30, 40, 8, 0.3, seed=2)  # too much of both to be exact: still the minimum
    m = low + sparse
    found = pursue(m, tolerance=1e-9)
    lam = 40**-0.5

    def objective(l: torch.Tensor) -> float:  # noqa: E741
        return float(torch.linalg.matrix_norm(l, "nuc") + lam * (m - l).abs().sum())

    gen = torch.Generator().manual_seed(0)
    best = objective(found.low_rank)
    for size in (0.3, 0.03):
        for _ in range(10):
            assert objective(found.low_rank + size * torch.randn(30, 40, generator=gen, dtype=F64)) > best
    assert objective(low) > best
    assert objective(m) > best


def test_the_parts_add_up_and_keep_the_type() -> None:
    m = torch.rand(6, 50, generator=torch.Generator().manual_seed(0))
    found = pursue(m)
    assert found.sparse.dtype == torch.float32
    torch.testing.assert_close(found.low_rank + found.sparse, m, atol=1e-5, rtol=0)


def test_bad_matrices_and_settings_are_refused() -> None:
    with pytest.raises(DataError, match="finite matrix that is not zero"):
        pursue(torch.zeros(3, 4))
    with pytest.raises(DataError, match="finite matrix"):
        pursue(torch.full((3, 4), torch.nan))
    with pytest.raises(ConfigError, match="lam must be positive"):
        pursue(torch.ones(3, 4), lam=0.0)
    with pytest.raises(NumericalError, match="after 2 steps"):
        pursue(torch.rand(5, 9, generator=torch.Generator().manual_seed(0)), max_steps=2)
