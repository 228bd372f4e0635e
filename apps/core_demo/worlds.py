"""The small worlds of the core's demo: densities in the plane with everything in closed form."""

import math

import torch

from core.analytic import Mixture

__all__ = ["RARE", "WANTED", "pair", "ring"]

WEIGHTS = (0.3, 0.3, 0.2, 0.15, 0.02, 0.01, 0.01, 0.01)
WANTED = (1, 2)  # components that the classifier asks for
RARE = (4, 5, 6, 7)  # components with 5 % of the mass between them


def ring(weights: tuple[float, ...] = (1, 2, 1, 3, 1, 2, 1, 1)) -> Mixture:
    """Eight blobs on a circle of radius 1.3, longer along the radius than across it."""
    angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    outward = torch.stack([angle.cos(), angle.sin()], dim=1)
    covs = 0.02 * torch.eye(2, dtype=torch.float64) + 0.03 * outward[:, :, None] * outward[:, None, :]
    return Mixture(torch.tensor(weights, dtype=torch.float64), 1.3 * outward, covs)


def pair() -> tuple[Mixture, Mixture]:
    """Two densities of two blobs each; their product has four."""
    first = Mixture(
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        torch.tensor([[-1.0, -1.0], [1.0, -1.0]], dtype=torch.float64),
        torch.diag(torch.tensor([0.3, 0.5], dtype=torch.float64)).expand(2, 2, 2),
    )
    second = Mixture(
        torch.tensor([1 / 3, 2 / 3], dtype=torch.float64),
        torch.tensor([[-1.0, 1.0], [1.0, 0.0]], dtype=torch.float64),
        torch.diag(torch.tensor([0.5, 0.3], dtype=torch.float64)).expand(2, 2, 2),
    )
    return first, second
