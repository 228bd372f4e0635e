"""The one executor: it walks any plan with any denoiser over any state.

    steps    an iterator, one `Step` per row: look at, change or stop a run; a `Switch` sent into it
             replaces the state (particle methods resample and move that way)
    sample   the state at the end of the plan
    encode   the latent (x_T, xi_1 .. xi_n) from which `decode` makes a given clean state
    decode   the state that a latent stands for, under this or another denoiser

Encoding solves each row for its noise, so it works for every plan without code of its own: a path from q(x_s
given x_t, x_0) is the plan itself run with the constant denoiser x_0, and the noise of a row is (x_s - mean)
/ fresh. Rows without noise keep the residual x_s - mean instead, so decoding is exact for them too.

Source of the encoding: Wu & De la Torre 2022, arXiv:2210.05559 (CycleDiffusion), eq. 5.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.plan.table import AnyRow, JointRow, LangevinRow, Plan, RedrawRow, Row, TokenRow, adaptive
from core.reveal import token_step
from core.state import Source, State, per_sample, take, tree_map

__all__ = ["Kicks", "Latent", "Step", "Switch", "decode", "encode", "sample", "steps"]


class Step(NamedTuple):
    """What one row did: the state it began with, the denoiser's answer, the noise it drew, the state it
    made.
    """

    number: int
    row: AnyRow
    x: Any
    posterior: Posterior
    noise: Any
    next: Any


class Kicks(NamedTuple):
    """The two noises of a Langevin row that steps on: z of the corrector, and the fresh xi of the step."""

    walk: Any
    fresh: Any


class Switch(NamedTuple):
    """What to go on with after a step, in place of `Step.next`.

    Attributes:
        x: the state, (B, ...).
        rows: the row of the batch that each sample continues, (B,); the history of multistep rows follows
            it. None: every sample continues its own.
    """

    x: Any
    rows: Tensor | None = None


@dataclass(frozen=True)
class Latent:
    """Start and noises of a run. Rows that draw no noise hold what they failed to explain, in the state's own
    unit.
    """

    start: State
    noises: tuple[State, ...]


def steps(
    plan: Plan,
    denoiser: Denoiser,
    x: State,
    gen: Source | None = None,
    cond: Any = None,
    *,
    history: Sequence[State] = (),
    noises: Sequence[State] | None = None,
) -> Generator[Step, Switch | None, None]:
    """Walk a plan.

    Args:
        plan: rows to walk; one call of the denoiser each, or none where a row of tokens reveals nothing.
        denoiser: posterior of the clean state.
        x: state at time `plan.start`, (B, ...) or a mapping; `process.prior(like, gen, plan.start)` draws
            one.
        gen: a generator, or `Seeds` with one seed per sample; only stochastic plans need one.
        cond: handed to the denoiser.
        history: earlier values of h for multistep rows, newest first.
        noises: one per row, used instead of drawing (see `Latent`).

    Yields:
        A `Step` per row. Gradients flow if the caller's mode lets them; `sample` switches them off. A
        `Switch` sent back replaces the state that the next row begins with.
    """
    space = None if isinstance(plan.rows[0], TokenRow | RedrawRow) else denoiser.process.space
    past = list(history)
    order = plan.order
    for index, row in enumerate(plan.rows):
        noise = None if noises is None else noises[index]
        if isinstance(row, TokenRow | RedrawRow):
            posterior, after = token_step(row, x, denoiser, gen, cond, past)
            switch = yield Step(index, row, x, posterior, noise, after)
            x, past = _switched(switch, after, past)
            continue
        posterior = denoiser(x, row.t, cond)
        if type(row) is Row or (type(row) is JointRow and not adaptive(row)):
            past.insert(0, _slope(row, x, posterior.mean))
            if noise is None and _fresh(row):
                noise = _used(row, space.noise(x, gen))  # type: ignore[union-attr]
            after = _advance(row, x, past, noise)
            del past[order:]
        else:
            noise = _kicks(row, space, x, gen) if noise is None else noise
            after = _corrected(row, x, posterior.mean, noise)
        switch = yield Step(index, row, x, posterior, noise, after)
        x, past = _switched(switch, after, past)


def sample(
    plan: Plan,
    denoiser: Denoiser,
    x: State,
    gen: Source | None = None,
    cond: Any = None,
    *,
    history: Sequence[State] = (),
    noises: Sequence[State] | None = None,
) -> Any:
    """Walk a plan to its end without gradients. Arguments as for `steps`; returns the state at time
    `plan.end`.
    """
    with torch.no_grad():
        for step in steps(plan, denoiser, x, gen, cond, history=history, noises=noises):
            x = step.next
    return x


def encode(plan: Plan, denoiser: Denoiser, x0: State, gen: Source, cond: Any = None) -> Latent:
    """Find a latent of a clean state.

    Args:
        plan: linear rows; stochastic ones give Gaussian noises when the denoiser is right.
        denoiser: the model under which the latent is read.
        x0: clean state, (B, ...).
        gen: draws the forward path.

    Returns:
        A latent with `decode(plan, denoiser, latent) == x0` up to rounding.

    Raises:
        ConfigError: the plan has rows that are not linear.
    """
    if any(type(row) not in (Row, JointRow) or adaptive(row) for row in plan.rows):
        raise ConfigError(
            "only plans of linear rows can be solved for their noise.", hint="Use ddim with eta > 0."
        )
    start, _ = denoiser.process.perturb(x0, plan.start, gen)
    with torch.no_grad():
        path = [step.next for step in steps(plan, _Constant(denoiser.process, x0), start, gen)]
        path[-1] = x0
        noises: list[State] = []
        past: list[State] = []
        x: State = start
        for row, after in zip(plan.rows, path, strict=True):
            past.insert(0, _slope(row, x, denoiser(x, row.t, cond).mean))
            noises.append(_solve(row, x, past, after))
            del past[plan.order :]
            x = after
    return Latent(start, tuple(noises))


def decode(plan: Plan, denoiser: Denoiser, latent: Latent, cond: Any = None) -> Any:
    """Walk a plan from a latent; the same plan must have made it."""
    return sample(plan, denoiser, latent.start, cond=cond, noises=latent.noises)


def _switched(switch: Switch | None, after: Any, past: list[Any]) -> tuple[Any, list[Any]]:
    """The state and history that the next row begins with."""
    if switch is None:
        return after, past
    rows = switch.rows
    return switch.x, past if rows is None else [take(h, rows) for h in past]


@dataclass(frozen=True)
class _Constant:
    """The denoiser that knows the clean state."""

    process: Any
    x0: State

    def __call__(self, x: State, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.x0)


def _slope(row: Any, x: Any, mean: Any) -> Any:
    """h of this row: the denoiser's output, or the derivative P x + Q D."""
    if type(row) is JointRow:
        return {name: _slope(part, x[name], mean[name]) for name, part in row.parts.items()}
    if row.frame is None:
        return mean
    p, q = row.frame
    if isinstance(x, Tensor):
        return torch.mul(x, p).add_(mean, alpha=q)
    return tree_map(lambda a, d: torch.mul(a, p).add_(d, alpha=q), x, mean)


def _advance(row: Any, x: Any, past: list[Any], noise: Any) -> Any:
    """keep x + sum_j pull[j] h_{i-j} + fresh xi; a noise given to a row without any is added as it is."""
    if type(row) is JointRow:
        out = dict(x)
        for name, part in row.parts.items():
            older = [h[name] for h in past[: len(part.pull)]]
            out[name] = _advance(part, x[name], older, None if noise is None else noise.get(name))
        return out
    if len(past) < len(row.pull):
        raise ConfigError(
            f"the row at t={row.t:.4g} reads {len(row.pull)} values of history, got {len(past)}."
        )
    if isinstance(x, Tensor):
        after = torch.mul(x, row.keep)
        for weight, h in zip(row.pull, past, strict=False):
            after.add_(h, alpha=weight)
        return after if noise is None else after.add_(noise, alpha=row.fresh or 1.0)
    trees = [*past[: len(row.pull)], *([] if noise is None else [noise])]
    return tree_map(
        lambda a, *rest: _advance(row, a, list(rest[: len(row.pull)]), None if noise is None else rest[-1]),
        x,
        *trees,
    )


def _fresh(row: Any) -> bool:
    return row.fresh != 0 if type(row) is Row else any(part.fresh != 0 for part in row.parts.values())


def _used(row: Any, noise: Any) -> Any:
    """The noise of the parts that draw; the others of a joint row must not see theirs."""
    if type(row) is Row:
        return noise
    return {name: noise[name] for name, part in row.parts.items() if part.fresh != 0}


def _solve(row: Any, x: Any, past: list[Any], after: Any) -> Any:
    """The noise that makes this row end in `after`."""
    if type(row) is JointRow:
        return {k: _solve(part, x[k], [h[k] for h in past], after[k]) for k, part in row.parts.items()}
    mean = _advance(row, x, past, None)
    return tree_map(lambda a, m: (a - m) / (row.fresh or 1.0), after, mean)


def _kicks(row: Any, space: Any, x: Any, gen: Source | None) -> Any:
    """The noise of a Langevin row, and that of its linear step where it draws one."""
    parts = row.parts.values() if type(row) is JointRow else [row]
    walk = space.noise(x, gen)
    return Kicks(walk, space.noise(x, gen)) if any(part.fresh for part in parts) else walk


def _corrected(row: Any, x: Any, mean: Any, noise: Any) -> Any:
    walk, fresh = noise if isinstance(noise, Kicks) else (noise, None)
    if type(row) is JointRow:
        out = dict(x)
        for name, part in row.parts.items():
            if type(part) is Row:
                slope = _slope(part, x[name], mean[name])
                out[name] = _advance(part, x[name], [slope], fresh[name] if fresh and part.fresh else None)
                continue
            own = walk[name] if fresh is None else Kicks(walk[name], fresh[name])
            out[name] = _corrected(part, x[name], mean[name], own)
        return out
    if fresh is None:
        return tree_map(lambda a, d, z: _langevin(row, a, d, z, None), x, mean, walk)
    return tree_map(lambda a, d, z, xi: _langevin(row, a, d, z, xi), x, mean, walk, fresh)


def _langevin(row: LangevinRow, x: Tensor, mean: Tensor, walk: Tensor, fresh: Tensor | None) -> Tensor:
    score = (row.alpha * mean - x) / row.sigma**2
    far, steep = walk.flatten(1).norm(dim=1), score.flatten(1).norm(dim=1)
    if row.pooled:
        far, steep = far.mean(0, keepdim=True), steep.mean(0, keepdim=True)
    # A state without any degree of freedom (a graph of one node has no edge) has neither score nor noise.
    ratio = torch.where(steep > 0, far / steep, 0.0)
    step = per_sample(2 * row.scale * (row.snr * ratio) ** 2, x)
    after = x + step * score + row.temper * (2 * step).sqrt() * walk
    if row.keep != 1 or row.push:
        after = row.keep * after + row.push * score
    return after if fresh is None else after + row.fresh * fresh
