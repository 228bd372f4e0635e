"""Distillation: a student flow map that does in one call what its teacher does in many.

With G the student's map (`core.flow_map`), G' the same map at the running average of its weights, and Phi one
step of the teacher from t to the next time u of a grid, all on the path of one noisy sample x_t:

    consistency    d( G(x_t, t, 0),             G'(Phi x_t, u, 0) )
    trajectory     d( G'(G(x_t, t, s), s, 0),   G'(G'(Phi x_t, u, s), s, 0) )  +  w_flow |F(x_r, r, r) - v|^2

0 stands for the last time of the grid. The second compares where both ways of reaching s end up in the data,
and its second term is the ordinary loss of the flow, v = d x/dt, which pins the map where it is a denoiser. s
is drawn among the times of the grid from u on. d is the pseudo-Huber distance sqrt(mean d^2 + c^2) - c.

On a grid of two times the consistency target is one step of the teacher, whatever the average is.

What is told to teacher and student alike can be drawn per sample by `prepare`: the weight of guidance, so
that one call of the student replaces the calls that guide the teacher.

Sources: Song et al. 2023, arXiv:2303.01469, algorithm 2; Song & Dhariwal 2024, arXiv:2310.14189, eq. 7
(pseudo-Huber); Kim et al. 2024 (CTM), arXiv:2310.02279, eqs. 12 to 14, with the distance in the data in place
of a feature space, and no adversary; Novack et al. 2024 (DITTO-2), arXiv:2405.20289 (guidance told to the
student).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from core.denoise import Denoiser
from core.errors import ConfigError, unknown
from core.flow_map import jump, moved, told
from core.plan.grids import checked
from core.process.scheduled import fitted
from core.state import Source, batch_size, leaves, tree_map, uniform
from core.train.samples import Batch

__all__ = ["Consistency", "Prepare", "Solver", "Trajectory", "solved"]

Solver: TypeAlias = Literal["euler", "heun"]
Prepare: TypeAlias = Callable[[Any, Tensor], Any]


def solved(teacher: Denoiser, x: Any, t: Tensor, s: Tensor, cond: Any, solver: Solver = "euler") -> Any:
    """One step of the teacher from t to s, both (B,) float64: DDIM, or DDIM with the mean of the denoiser's
    answers at both ends.

    For the straight path "euler" is Euler's step of the flow.
    """
    first = teacher(x, t, cond).mean
    after = moved(teacher.process, x, first, t, s)
    if solver == "euler":
        return after
    second = teacher(after, s, cond).mean
    return moved(teacher.process, x, tree_map(lambda a, b: (a + b) / 2, first, second), t, s)


@dataclass(frozen=True)
class Consistency:
    """Every point of a path is sent to the same clean state; the module docstring has the loss.

    Args:
        teacher: what is distilled, guided or not.
        target: a copy of the student's denoiser; `fit` keeps it at the running average of the weights.
        times: the grid of the teacher's steps, decreasing from noise to data.
        solver: the teacher's step.
        huber: c, in units of the data.
        prepare: `prepare(cond, u)` with u uniform (B,) gives the condition of teacher and student.
        valid: `valid(cond)` weighs the entries of the state, shaped to broadcast to it; None counts all.
    """

    teacher: Denoiser = field(repr=False)
    target: nn.Module = field(repr=False)
    times: tuple[float, ...] = ()
    solver: Solver = "euler"
    huber: float = 1e-3
    prepare: Prepare | None = field(default=None, repr=False)
    valid: Callable[[Any], Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self.times, self.solver, self.huber)

    def __call__(self, student: Any, batch: Batch, gen: Source) -> Tensor:
        """Loss of each sample, (B,)."""
        x0, cond, at = _drawn(self, batch, gen, count=1)
        grid = torch.tensor(self.times, dtype=torch.float64, device=at.device)
        start = (at[:, 0] * (len(grid) - 1)).long()
        t, u, end = grid[start], grid[start + 1], grid[-1].expand(len(start))
        x, _ = student.process.perturb(x0, t, gen)
        with torch.no_grad():
            near = solved(self.teacher, x, t, u, cond, self.solver)
            wanted = _arrived(self.target, near, u, end, cond)
        return _distance(jump(student, x, t, end, cond), wanted, self.huber, _weights(self, cond, x0))


@dataclass(frozen=True)
class Trajectory:
    """Any point of a path is sent to any later one; the module docstring has the loss.

    Args:
        flow: w_flow, the weight of the ordinary loss.

    The others are those of `Consistency`.
    """

    teacher: Denoiser = field(repr=False)
    target: nn.Module = field(repr=False)
    times: tuple[float, ...] = ()
    solver: Solver = "euler"
    huber: float = 1e-3
    flow: float = 1.0
    prepare: Prepare | None = field(default=None, repr=False)
    valid: Callable[[Any], Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self.times, self.solver, self.huber)
        if self.flow < 0:
            raise ConfigError(f"flow must be at least 0, got {self.flow}.")

    def __call__(self, student: Any, batch: Batch, gen: Source) -> Tensor:
        """Loss of each sample, (B,)."""
        x0, cond, at = _drawn(self, batch, gen, count=3)
        grid = torch.tensor(self.times, dtype=torch.float64, device=at.device)
        last = len(grid) - 1
        start = (at[:, 0] * last).long()
        stop = start + 1 + (at[:, 1] * (last - start)).long()
        t, u, s, end = grid[start], grid[start + 1], grid[stop], grid[-1].expand(len(start))
        x, _ = student.process.perturb(x0, t, gen)
        with torch.no_grad():
            near = solved(self.teacher, x, t, u, cond, self.solver)
            wanted = _arrived(self.target, _arrived(self.target, near, u, s, cond), s, end, cond)
        reached = _arrived(self.target, jump(student, x, t, s, cond), s, end, cond)
        weights = _weights(self, cond, x0)
        loss = _distance(reached, wanted, self.huber, weights)
        if self.flow == 0:
            return loss
        level = grid[(at[:, 2] * last).long()]
        return loss + self.flow * _flow_error(student, x0, level, cond, gen, weights)


def _drawn(objective: Any, batch: Batch, gen: Source, count: int) -> tuple[Any, Any, Tensor]:
    """The clean states, their condition with what `prepare` adds, and `count` uniform numbers a sample."""
    device = next(leaves(batch.x0)).device
    numbers = uniform((batch_size(batch.x0), count + 1), gen, dtype=torch.float64, device=device)
    prepare = objective.prepare
    cond = batch.cond if prepare is None else prepare(batch.cond, numbers[:, -1])
    return batch.x0, cond, numbers


def _arrived(target: Any, x: Any, t: Tensor, s: Tensor, cond: Any) -> Any:
    """G'(x, t, s), and x itself where t = s, which may be without noise."""
    there = t == s
    if bool(there.all()):
        return x
    safe = torch.where(there, t.new_tensor(max(float(t.max()), 1e-300)), t)
    moved_on = jump(target, x, safe, s, cond)
    return tree_map(lambda a, b: torch.where(there.reshape(-1, *([1] * (a.ndim - 1))), a, b), x, moved_on)


def _flow_error(student: Any, x0: Any, t: Tensor, cond: Any, gen: Source, weights: Tensor | None) -> Tensor:
    """Mean squared error of d x_t / dt = alpha' x_0 + sigma' eps, (B,)."""
    process = student.process
    x, _ = process.perturb(x0, t, gen)
    clean = student(x, t, told(cond, t, x)).mean
    slope, spread = process.rates(t)
    alpha, sigma = process.alpha(t), process.sigma(t)
    gain = slope - alpha * spread / sigma  # of the velocity by the clean state, at fixed x
    error = tree_map(lambda d, a: fitted(gain, a) * (d - a), clean, x0)
    return _mean_square(error, weights)


def _distance(found: Any, wanted: Any, huber: float, weights: Tensor | None) -> Tensor:
    square = _mean_square(tree_map(lambda a, b: a - b, found, wanted), weights)
    return (square + huber**2).sqrt() - huber


def _mean_square(error: Any, weights: Tensor | None) -> Tensor:
    """Mean over the entries that count, added over parts, (B,)."""
    terms = []
    for leaf in leaves(error):
        share = torch.ones_like(leaf) if weights is None else weights.to(leaf.dtype).expand_as(leaf)
        count = share.flatten(1).sum(1).clamp(min=1)
        terms.append((leaf.square() * share).flatten(1).sum(1) / count)
    return torch.stack(terms).sum(0)


def _weights(objective: Any, cond: Any, x0: Any) -> Tensor | None:
    return None if objective.valid is None else objective.valid(cond)


def _check(times: tuple[float, ...], solver: str, huber: float) -> None:
    if solver not in get_args(Solver):
        raise unknown("solver", solver, get_args(Solver))
    grid = checked(times)
    if grid[0] < grid[-1]:
        raise ConfigError("distillation needs times from noise to data, got increasing ones.")
    if not huber > 0:
        raise ConfigError(f"huber must be positive, got {huber}.")
