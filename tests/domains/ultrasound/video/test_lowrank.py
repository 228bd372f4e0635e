"""The nuclear norm: its value, its subgradient, its shrinkage, against what the calculus of matrices says."""

import pytest
import torch

from domains.ultrasound.video.lowrank import (
    as_matrix,
    nuclear_norm,
    nuclear_subgradient,
    rank_of,
    shrink_singular,
)


def cine(gen: torch.Generator, frames: int = 4, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, frames, 5, 6, generator=gen, dtype=torch.float64)


def low(gen: torch.Generator, rank: int, frames: int = 5) -> torch.Tensor:
    a = torch.randn(2, frames, rank, generator=gen, dtype=torch.float64)
    b = torch.randn(2, rank, 42, generator=gen, dtype=torch.float64)
    return (a @ b).reshape(2, frames, 6, 7)


def test_the_norm_is_that_of_torch(gen: torch.Generator) -> None:
    x = cine(gen)
    expected = torch.linalg.matrix_norm(as_matrix(x), "nuc")
    torch.testing.assert_close(nuclear_norm(x), expected)
    assert not torch.allclose(nuclear_norm(x), torch.linalg.matrix_norm(as_matrix(x), "fro"))


def test_the_subgradient_is_the_gradient_where_there_is_one(gen: torch.Generator) -> None:
    x = cine(gen).requires_grad_(True)
    (grad,) = torch.autograd.grad(nuclear_norm(x).sum(), x)
    torch.testing.assert_close(nuclear_subgradient(x.detach()), grad)


def test_the_subgradient_supports_the_norm_of_every_other_matrix(gen: torch.Generator) -> None:
    # Also where the matrix has no gradient: |Z| >= |L| + <G, Z - L>, with equality for Z on the ray of L.
    x = low(gen, 2)
    g = nuclear_subgradient(x)
    for _ in range(20):
        z = x + 0.1 * torch.randn(x.shape, generator=gen, dtype=torch.float64)
        assert torch.all(nuclear_norm(z) >= nuclear_norm(x) + (g * (z - x)).flatten(1).sum(1) - 1e-12)
    torch.testing.assert_close((g * x).flatten(1).sum(1), nuclear_norm(x))


def test_what_is_zero_has_no_direction() -> None:
    assert not nuclear_subgradient(torch.zeros(1, 3, 4, 4)).any()


def test_a_rank_one_cine_moves_along_itself(gen: torch.Generator) -> None:
    x = low(gen, 1)
    torch.testing.assert_close(nuclear_subgradient(x), x / x.flatten(1).norm(dim=1)[:, None, None, None])


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.5, 100.0])
def test_shrinkage_solves_its_minimisation(tau: float, gen: torch.Generator) -> None:
    # 0 lies in the subdifferential of |Z - L|^2 / 2 + tau |Z| at Z, that is, L - Z = tau (U V^T + W) with W
    # orthogonal to Z on both sides and of spectral norm <= 1 (Watson 1992).
    x = cine(gen)
    z = shrink_singular(x, tau)
    rest = as_matrix(x - z - tau * nuclear_subgradient(z))
    assert torch.linalg.matrix_norm(rest, 2).max() <= tau + 1e-10
    torch.testing.assert_close(
        as_matrix(z) @ rest.mT, torch.zeros(3, 4, 4, dtype=torch.float64), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(
        as_matrix(z).mT @ rest, torch.zeros(3, 30, 30, dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_shrinkage_lowers_the_objective_below_every_neighbour(gen: torch.Generator) -> None:
    x = cine(gen)
    z = shrink_singular(x, 0.9)

    def objective(at: torch.Tensor) -> torch.Tensor:
        return (at - x).square().flatten(1).sum(1) / 2 + 0.9 * nuclear_norm(at)

    for _ in range(20):
        near = z + 0.02 * torch.randn(z.shape, generator=gen, dtype=torch.float64)
        assert torch.all(objective(near) > objective(z))
    # A wrong variant, shrinkage of entries instead of singular values, is not a minimum.
    entries = x.sign() * (x.abs() - 0.9).clamp_min(0)
    assert torch.all(objective(entries) > objective(z))


def test_shrinkage_leaves_exactly_the_rank_above_the_threshold(gen: torch.Generator) -> None:
    x = low(gen, 3)
    s = torch.linalg.svdvals(as_matrix(x))
    tau = float((s[:, 0].min() + s[:, 1].max()) / 2)
    assert rank_of(x).tolist() == [3, 3]
    expected = (s > tau).sum(1)
    assert rank_of(shrink_singular(x, tau)).tolist() == expected.tolist()


def test_order_of_frames_and_of_pixels_does_not_matter(gen: torch.Generator) -> None:
    x = cine(gen)
    torch.testing.assert_close(shrink_singular(x.flip(1), 0.5), shrink_singular(x, 0.5).flip(1))
    torch.testing.assert_close(nuclear_subgradient(x.mT), nuclear_subgradient(x).mT)
