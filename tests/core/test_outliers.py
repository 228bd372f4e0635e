"""Distances to the data, against another implementation and where they are known by hand."""

import pytest
import torch

from core.errors import ConfigError
from core.outliers import local_outlier_factor, neighbour_distance, rarity

F64 = torch.float64


def cloud() -> tuple[torch.Tensor, torch.Tensor]:
    """Data of two densities, and new points."""
    gen = torch.Generator().manual_seed(0)
    data = torch.cat(
        [0.1 * torch.randn(60, 3, generator=gen, dtype=F64), 2 + torch.randn(60, 3, generator=gen, dtype=F64)]
    )
    return data, 3 * torch.randn(40, 3, generator=gen, dtype=F64)


def test_the_outlier_factor_is_that_of_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    data, new = cloud()
    known = neighbors.LocalOutlierFactor(n_neighbors=7, novelty=True).fit(data.numpy())
    own = torch.from_numpy(-known.negative_outlier_factor_)
    assert torch.allclose(local_outlier_factor(data, data, k=7, own=True), own, rtol=1e-6)
    assert torch.allclose(
        local_outlier_factor(new, data, k=7), torch.from_numpy(-known.score_samples(new.numpy())), rtol=1e-6
    )


def test_distances_on_a_line_are_those_counted_by_hand() -> None:
    line = torch.arange(5, dtype=F64)[:, None]
    assert neighbour_distance(line, line, k=2, own=True).tolist() == [1.5, 1.0, 1.0, 1.0, 1.5]
    assert neighbour_distance(torch.tensor([[6.0]], dtype=F64), line, k=3).tolist() == [3.0]


def test_rarity_is_the_smallest_ball_around_the_sample_and_nothing_outside() -> None:
    data = torch.tensor([[0.0], [1.0], [2.0], [10.0], [14.0]], dtype=F64)
    # Radii to the nearest neighbour: 1, 1, 1, 4, 4.
    found = rarity(torch.tensor([[0.5], [11.0], [7.0], [40.0]], dtype=F64), data, k=1)
    assert found[:3].tolist() == [1.0, 4.0, 4.0]
    assert bool(found[3].isnan())


def test_impossible_neighbourhoods_are_refused() -> None:
    data = torch.zeros(4, 2)
    with pytest.raises(ConfigError, match=r"k must lie in \[1, 3\], got 4"):
        neighbour_distance(data, data, k=4, own=True)
    with pytest.raises(ConfigError, match="needs the data themselves"):
        neighbour_distance(data[:2], data, k=1, own=True)
