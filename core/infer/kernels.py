"""Log densities of the Gaussian kernels that a row of a plan moves a state by.

Every row x_s = m + fresh xi is a kernel K(x_s given x_t), and the process has the forward kernel

    L(x_t given x_s) = N(a x_s, (sigma_t^2 - a^2 sigma_s^2) I),    a = alpha_t / alpha_s.

Degrees of freedom that a space stores twice (the triangles of an adjacency) count once, those that it does
not have (masked nodes) not at all. Both densities leave out the same constant, d log(2 pi) / 2.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.errors import ConfigError
from core.plan.table import JointRow, Row
from core.process.gaussian import Gaussian
from core.process.product import Product

__all__ = ["log_forward", "log_reverse", "log_shifted", "needs_noise"]


class _Part(NamedTuple):
    """One tensor of the state: its key (None for a bare tensor), process, row, weight of a stored entry,
    and degrees of freedom, (B,).
    """

    name: str | None
    process: Gaussian
    row: Row
    share: Tensor
    dim: Tensor

    def of(self, state: Any) -> Tensor:
        return state if self.name is None else state[self.name]

    def square(self, x: Tensor) -> Tensor:
        """Sum of squares over degrees of freedom, (B,), float64."""
        flat = (torch.view_as_real(x) if x.is_complex() else x).flatten(1)
        return self.share * flat.to(torch.float64).square().sum(1)


def log_reverse(process: Any, row: Any, noise: Any, like: Any) -> Tensor:
    """log K(x_s given x_t) of the row that drew this noise, (B,).

    Args:
        noise: xi as the executor used it. like: the state, for its mask.
    """
    total: Any = 0.0
    for part in _parts(process, row, like):
        total = total - part.square(part.of(noise)) / 2 - part.dim * math.log(part.row.fresh)
    return total


def log_shifted(process: Any, row: Any, noise: Any, change: Any, like: Any) -> Tensor:
    """log K0 - log K, where K0 is the same row fed by the denoised state D0 = D - change, (B,).

    The row drew xi around keep x + pull D; seen from D0 the same move needs xi + pull (D - D0) / fresh.
    """
    total: Any = 0.0
    for part in _parts(process, row, like):
        if len(part.row.pull) != 1 or part.row.frame is not None:
            raise ConfigError(
                "a proposal is compared with its model for rows that read one denoised state.",
                hint="Use ancestral, ddim with eta > 0, or dpmpp with eta=1 and order=1.",
            )
        xi = part.of(noise)
        moved = xi + part.of(change) * (part.row.pull[0] / part.row.fresh)
        total = total + (part.square(xi) - part.square(moved)) / 2
    return total


def log_forward(process: Any, row: Any, x: Any, after: Any) -> Tensor:
    """log L(x_t given x_s) of the forward process, (B,), for x at row.t and `after` at row.s."""
    total: Any = 0.0
    for part in _parts(process, row, x):
        t, s = part.row.t, part.row.s
        ratio = part.process.alpha(t) / part.process.alpha(s)
        variance = part.process.sigma(t) ** 2 - (ratio * part.process.sigma(s)) ** 2
        off = part.of(x) - ratio * part.of(after)
        total = total - part.square(off) / (2 * variance) - part.dim * math.log(variance) / 2
    return total


def needs_noise(row: Any) -> None:
    """Refuse a row that is no density: one that draws no noise in some part, or is not linear.

    Raises:
        ConfigError: with what to use instead.
    """
    rows = row.parts.values() if isinstance(row, JointRow) else [row]
    if any(not isinstance(each, Row) or not each.fresh > 0 for each in rows):
        raise ConfigError(
            f"the row from t={row.t:.4g} to t={row.s:.4g} has no density: every part must draw fresh noise.",
            hint="Use ancestral or ddim with eta > 0, and leave out a last time of zero noise.",
        )


def _parts(process: Any, row: Any, like: Any) -> Iterator[_Part]:
    needs_noise(row)
    if isinstance(process, Product):
        named = [(name, process.parts[name], part) for name, part in row.parts.items()]
    else:
        named = [(None, process, row)]
    mask = like.get("mask") if isinstance(like, Mapping) else None
    for name, each, line in named:
        if not isinstance(each, Gaussian):
            raise ConfigError(f"kernels with densities are Gaussian, got {type(each).__name__}.")
        x = like if name is None else like[name]
        stored = each.space.project(torch.ones_like(x.real if x.is_complex() else x), mask)
        dim = each.space.dim(x, mask).to(x.device, torch.float64)
        share = dim / stored.flatten(1).to(torch.float64).sum(1).clamp_min(1)
        yield _Part(name, each, line, share, dim * 2 if x.is_complex() else dim)
