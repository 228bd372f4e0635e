"""One reverse step in units of the noise it removes, in which densities change by inner products.

With y = x / alpha and r = sigma / alpha every Gaussian process is dy = g dW. A step from t to s removes the
squared noise q = r_t^2 - r_s^2, and with the score s_y = (D - y) / r_t^2 of the density at t

    move  m = (y_s - y_t) / sqrt(q),      score  z = sqrt(q) s_y,      rho = r_s / r_t.

The parts of a product lie side by side: log densities of a product are sums over its parts. Inner products
count every degree of freedom once, whatever the space stores twice (the two triangles of an adjacency).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.errors import ConfigError
from core.plan.table import JointRow, Row
from core.process.gaussian import Gaussian
from core.process.product import Product

__all__ = ["Part", "flat", "move_of", "parts_of", "score_of_part"]


class Part(NamedTuple):
    """One tensor of the state, its process, its row, and how its entries count.

    Attributes:
        name: key of the state; None when the state is a tensor.
        root: square root of the degrees of freedom per stored entry, (B, 1).
        dim: degrees of freedom, (B,); complex entries count twice.
    """

    name: str | None
    process: Gaussian
    row: Row
    root: Tensor
    dim: Tensor

    @property
    def removed(self) -> float:
        """q, the squared noise that the step takes away, in y."""
        return self.process.ratio(self.row.t) ** 2 - self.process.ratio(self.row.s) ** 2

    @property
    def rho(self) -> float:
        """r_s / r_t."""
        return self.process.ratio(self.row.s) / self.process.ratio(self.row.t)

    @property
    def shift(self) -> Tensor:
        """log density of x over that of y changes by this much in the step, (B,)."""
        return -self.dim * math.log(self.process.alpha(self.row.s) / self.process.alpha(self.row.t))

    def of(self, state: Any) -> Tensor:
        return state if self.name is None else state[self.name]


def parts_of(process: Any, row: Any, x: Any) -> list[Part]:
    """The parts of a step that has a density along it.

    Raises:
        ConfigError: the process is not Gaussian; the row is not linear, ends at zero noise, or begins where
            no signal is left.
    """
    if isinstance(process, Product):
        if not isinstance(row, JointRow):
            raise ConfigError(f"a product needs joint rows, got {type(row).__name__}.")
        named: list[tuple[Any, Any, Any]] = [(k, process.parts[k], part) for k, part in row.parts.items()]
    else:
        named = [(None, process, row)]
    mask = x.get("mask") if isinstance(x, Mapping) else None
    return [_part(name, part, line, x if name is None else x[name], mask) for name, part, line in named]


def _part(name: str | None, process: Any, row: Any, x: Tensor, mask: Tensor | None) -> Part:
    if not isinstance(process, Gaussian):
        raise ConfigError(f"densities along a path need a Gaussian process, got {type(process).__name__}.")
    if not isinstance(row, Row):
        raise ConfigError(
            f"densities along a path need linear rows, got {type(row).__name__}.",
            hint="Use ancestral, dpmpp with eta=1, euler_maruyama or reverse_diffusion.",
        )
    if not process.sigma(row.s) > 0 or not process.alpha(row.t) > 0:
        raise ConfigError(
            f"no density is tracked from t={row.t:.4g} to {row.s:.4g}: noise and signal must stay positive.",
            hint="Leave out the last time of the grid (zero noise), or begin it where signal is left.",
        )
    stored = process.space.project(torch.ones_like(x.real if x.is_complex() else x), mask)
    dim = process.space.dim(x, mask).to(x.device, torch.float64)
    root = (dim / stored.flatten(1).sum(1).clamp(min=1)).sqrt().to(stored.dtype)[:, None]
    return Part(name, process, row, root, dim * 2 if x.is_complex() else dim)


def flat(x: Tensor) -> Tensor:
    """(B, n) real numbers."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def move_of(part: Part, x: Tensor, after: Tensor) -> Tensor:
    """m of the module docstring, (B, n)."""
    process, row = part.process, part.row
    unit = math.sqrt(part.removed)
    return part.root * (flat(after) / (process.alpha(row.s) * unit) - flat(x) / (process.alpha(row.t) * unit))


def score_of_part(part: Part, x: Tensor, means: Sequence[Tensor]) -> Tensor:
    """z of the module docstring for each model's posterior mean, (M, B, n)."""
    alpha, ratio = part.process.alpha(part.row.t), part.process.ratio(part.row.t)
    gap = torch.stack([flat(mean) for mean in means]) - flat(x) / alpha
    return part.root * gap * (math.sqrt(part.removed) / ratio**2)
