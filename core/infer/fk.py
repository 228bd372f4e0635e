"""Feynman-Kac steering: a plan run by weighted particles that are resampled on the way.

The rows of any plan propose, a potential weighs, and a group is resampled when its effective sample size
falls below a share of n. The final particles stand for

    E[ prod_i G_i  f(x_0) ]   of the plan's own law, for every f and every n, without bias,

so the potential decides what is sampled and the plan only how well. Tensors, mappings and tokens are treated
alike: a state is taken row by row, with its mask and the history of multistep rows.

Source: Del Moral 2004, Feynman-Kac Formulae, theorem 7.4.2; for diffusion models Singhal et al. 2025,
arXiv:2501.06848; Wu et al. 2023, arXiv:2306.17775.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, NumericalError
from core.infer.moves import Move
from core.infer.particles import Particles, effective, rows_of_groups, settle
from core.infer.potentials import Potential, rowwise
from core.infer.resample import Resampler, parents_of
from core.plan.table import Plan
from core.run import Step, Switch, steps
from core.state import Seeds, Source, State, batch_size, leaves, take

__all__ = ["fk_sample"]


def fk_sample(
    plan: Plan,
    denoiser: Denoiser,
    log_potential: Potential | Callable[[Step], Tensor],
    x: State,
    gen: Source,
    *,
    groups: int = 1,
    resampler: str | Resampler = "systematic",
    ess_threshold: float = 0.5,
    moves: Move | None = None,
    cond: Any = None,
) -> Particles:
    """Walk a plan with particles.

    Args:
        plan: rows that propose; one denoiser call each.
        denoiser: posterior of the clean state.
        log_potential: what weighs (`core.infer.potentials`), or a function of a row's `Step` -> (B,).
        x: starting particles at time `plan.start`, (groups * n, ...) or a mapping of them, group by group;
            `spread` repeats one state, `process.prior` draws.
        gen: a generator, or `Seeds` with one seed per group: group g then equals the group run alone.
        groups: independent groups in the batch.
        resampler: a name of `core.infer.resample.RESAMPLERS` or a function.
        ess_threshold: share of n below which a group is resampled; 0 never, 1 at every uneven row.
        moves: a kernel that leaves the current target invariant, applied after each row.
        cond: handed to the denoiser; equal within each group.

    Raises:
        ConfigError: the batch does not split into groups; moves were given to a plan or a potential that
            remembers earlier states.
        NumericalError: a potential is not a number.
    """
    batch = batch_size(x)
    if groups < 1 or batch % groups:
        raise ConfigError(f"{batch} particles do not split into {groups} groups.")
    if not 0 <= ess_threshold <= 1:
        raise ConfigError(f"ess_threshold is a share of the particles in [0, 1], got {ess_threshold}.")
    n = batch // groups
    potential = log_potential if isinstance(log_potential, Potential) else rowwise(log_potential)
    noise = gen.blocks(n) if isinstance(gen, Seeds) else gen
    device = next(leaves(x)).device
    itself = torch.arange(n, device=device).expand(groups, n)
    log_z = torch.zeros(groups, dtype=torch.float64, device=device)
    first, memory = potential.start(x, plan.start)
    log_w = torch.zeros_like(log_z)[:, None].expand(groups, n)
    if first is not None:
        log_w = _checked(first, batch, plan.start).reshape(groups, n)
    if moves is not None and (plan.order > 1 or memory is not None):
        raise ConfigError(
            "moves change the state that later rows or the potential remember.",
            hint="Use a plan of order 1 and the potential 'ratio', or no moves.",
        )
    ancestry, sizes = [], []
    calls = len(plan.rows) * (1 + potential.calls)
    with torch.no_grad():
        walk = steps(plan, denoiser, x, noise, cond)
        switch: Switch | None = None
        for number, row in enumerate(plan.rows):
            step = next(walk) if switch is None else walk.send(switch)
            log_g, memory = potential.weigh(step, memory, number == len(plan.rows) - 1)
            log_w = log_w + _checked(log_g, batch, row.t).reshape(groups, n)
            x, parents = step.next, itself
            sizes.append(effective(log_w))
            low = sizes[-1] < ess_threshold * n * (1 - 1e-9)
            if bool(low.any()):
                parents = itself.clone()
                parents[low] = parents_of(log_w[low], _own(gen, low), resampler)
                _, heavier = settle(log_w, log_z)
                log_z = torch.where(low, heavier, log_z)
                log_w = torch.where(low[:, None], 0.0, log_w)
                rows = rows_of_groups(parents)
                x, memory = take(x, rows), None if memory is None else take(memory, rows)
            ancestry.append(parents)
            if moves is not None:
                x = moves.apply(x, row.s, noise)
                calls += moves.calls
            switch = Switch(x, None if parents is itself else rows_of_groups(parents))
    log_w, log_z = settle(log_w, log_z)
    return Particles(x, log_w, log_z, torch.stack(ancestry), torch.stack(sizes), calls)


def _own(gen: Source, groups: Tensor) -> Source:
    """The source of some groups: one that is not resampled draws nothing, as it would alone."""
    if not isinstance(gen, Seeds):
        return gen
    return Seeds.of([one for one, wanted in zip(gen.generators, groups.tolist(), strict=True) if wanted])


def _checked(log_g: Tensor, batch: int, t: float) -> Tensor:
    if log_g.shape != (batch,):
        raise ConfigError(f"a potential gives one number per particle, ({batch},), got {tuple(log_g.shape)}.")
    if bool((torch.isnan(log_g) | torch.isposinf(log_g)).any()):
        raise NumericalError(f"the potential at t={t:.4g} is not a number; weights must be finite or zero.")
    return log_g.to(torch.float64)
