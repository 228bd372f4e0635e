"""Couplings: which x_0 goes with which x_1, as functions (x0, x1, gen) -> (x0, x1) of a batch.

    paired        as they come: pairs of data
    independent   a random permutation of x_1
    optimal       the permutation of least total squared distance: minibatch optimal transport
    entropic      an x_1 for each x_0, drawn from the plan of entropic transport (Sinkhorn)

The last three are for states without masks: moving x_1 would part it from its own.

Sources: optimal: Tong et al. 2023, arXiv:2302.00482; Pooladian et al. 2023, arXiv:2304.14772. entropic:
Cuturi 2013, arXiv:1306.0895.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.state import Source, State, batch_size, leaves, tree_map, uniform

__all__ = ["Coupling", "assignment", "entropic", "independent", "optimal", "paired", "squared_distance"]

Coupling: TypeAlias = Callable[[Any, Any, Source], tuple[Any, Any]]
Assign: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.int64]]


def paired(x0: State, x1: State, gen: Source) -> tuple[Any, Any]:
    """Pairs as they come."""
    return x0, x1


def independent(x0: State, x1: State, gen: Source) -> tuple[Any, Any]:
    """Every x_0 with an x_1 drawn without replacement, whatever the order of the batch was."""
    first = next(leaves(x1))
    keys = uniform((batch_size(x1),), gen, dtype=torch.float64, device=first.device)
    return x0, _picked(x1, keys.argsort())


def optimal(assign: Assign | None = None) -> Coupling:
    """Make the coupling that minimises the total squared distance over the batch.

    Args:
        assign: cost (n, n) -> column of each row; `assignment` by default. For batches of thousands hand in
            a compiled solver.
    """
    solve = assignment if assign is None else assign

    def couple(x0: State, x1: State, gen: Source) -> tuple[Any, Any]:
        cost = squared_distance(x0, x1)
        columns = torch.as_tensor(np.asarray(solve(cost.cpu().numpy().astype(np.float64))))
        return x0, _picked(x1, columns.to(cost.device))

    return couple


def entropic(strength: float, *, iterations: int = 100) -> Coupling:
    """Make the coupling that draws from the entropic plan.

    Args:
        strength: weight of the entropy, in units of squared distance: small is near optimal transport, large
            near independence.
        iterations: Sinkhorn's, of both marginals each.
    """
    if not strength > 0 or iterations < 1:
        raise ConfigError(
            f"entropic needs strength > 0 and iterations >= 1, got {strength} and {iterations}."
        )

    def couple(x0: State, x1: State, gen: Source) -> tuple[Any, Any]:
        plan = sinkhorn(squared_distance(x0, x1).double() / strength, iterations)
        steps = plan.cumsum(1)
        u = uniform((len(plan), 1), gen, dtype=torch.float64, device=plan.device) * steps[:, -1:]
        return x0, _picked(x1, torch.searchsorted(steps, u).clamp_max(plan.shape[1] - 1)[:, 0])

    return couple


def sinkhorn(cost: Tensor, iterations: int) -> Tensor:
    """The plan exp(f + g - cost) / n whose rows and columns sum to 1 / n, (n, n), in logarithms."""
    f, g = torch.zeros_like(cost[:, :1]), torch.zeros_like(cost[:1])
    for _ in range(iterations):
        f = -torch.logsumexp(g - cost, dim=1, keepdim=True)
        g = -torch.logsumexp(f - cost, dim=0, keepdim=True)
    return torch.exp(f + g - cost) / len(cost)


def squared_distance(x0: State, x1: State) -> Tensor:
    """|x_0i - x_1j|^2 over all entries of the states, (n, n)."""
    parts = [
        torch.cdist(p.flatten(1), q.flatten(1)).square() for p, q in zip(leaves(x0), leaves(x1), strict=True)
    ]
    return torch.stack(parts).sum(0)


def assignment(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column of each row in the cheapest perfect matching, (n,), exact, O(n^3).

    Every column goes to its cheapest row where that is free; the other rows enter one by one, each along the
    shortest augmenting path in the reduced costs cost - u - v, which the potentials keep non-negative. 256
    rows take about 0.2 s.

    Source: Jonker & Volgenant 1987, Computing 38(4): column reduction and augmentation.
    """
    n = len(cost)
    if cost.shape != (n, n) or not np.isfinite(cost).all():
        raise ConfigError(f"an assignment needs a square, finite cost, got shape {cost.shape}.")
    u, v = np.zeros(n), cost.min(0) if n else np.zeros(0)
    owner, column = np.full(n, -1), np.full(n, -1)
    for col, row in enumerate(cost.argmin(0) if n else ()):
        if column[row] < 0:
            owner[col], column[row] = row, col
    for row in np.flatnonzero(column < 0):
        distance, via = np.full(n, np.inf), np.full(n, -1)
        open_ = np.ones(n, dtype=bool)
        at, lowest, last = row, 0.0, -1
        while last < 0:
            reach = lowest + cost[at] - u[at] - v
            shorter = open_ & (reach < distance)
            distance[shorter], via[shorter] = reach[shorter], at
            nearest = int(np.where(open_, distance, np.inf).argmin())
            lowest, open_[nearest] = distance[nearest], False
            if owner[nearest] < 0:
                last = nearest
            else:
                at = owner[nearest]
        slack = lowest - distance[~open_]
        held = owner[~open_] >= 0
        u[row] += lowest
        u[owner[~open_][held]] += slack[held]
        v[~open_] -= slack
        while last >= 0:
            taker = via[last]
            owner[last] = taker
            column[taker], last = last, column[taker]
            if taker == row:
                break
    return column


def _picked(x: State, index: Tensor) -> Any:
    if isinstance(x, Mapping) and "mask" in x:
        raise ConfigError(
            "states with masks cannot be moved between samples.", hint="Use the coupling `paired`."
        )
    return tree_map(lambda leaf: leaf[index.to(leaf.device)], x)
