"""Observation self-guidance: an unconditional model of windows, steered by what is known of one of them.

With D(x, t) the denoised window, y the known values and m their mask, the energy is a sum over entries,

    mse        E = sum m (D - y)^2
    quantile   E = sum m max(k e, (k - 1) e),  e = y - D,     k = i / (S + 1) for sample i = 1 .. S

and g = -grad_x E. Two rules say what g changes, and both are Denoiser -> Denoiser, so that plans run them:

    rule       change                                               for
    variance   x_{k-1} moves by s v g, v the row's fresh variance   ancestral plans (DDPM)
    score      the score of x_t grows by s g: D + s sigma^2 / alpha g   DDIM and any other plan

A linear row makes keep x + pull D, so the move of the variance rule is D + s v g / pull. It has two
placements:

    paper      g at x_k and step k, from the call that the row makes anyway: one call, one gradient a step
    reference  x_{k-1} is drawn first and then moved by s v_k g(x_{k-1}, k): two calls, one gradient a step

The second is written as the move that the next row makes before its own call, which is the same thing, since
the last row draws no noise and is not guided in either. The published numbers are of the second.

The levels k spread the samples; they do not make sample i the k-quantile of anything. A level belongs to the
index of its sample, so a run cut into chunks has the same levels as a whole one.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 3.1, eqs. 6 to 9 and algorithm 1, and its code (the
second placement; the score rule, there called DDIM guidance).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, unknown
from core.plan.table import Plan, Row
from core.steer.consistency import Steered
from core.steer.gradient import gradient
from core.steer.measured import rows_of
from domains.timeseries.config import Placement

__all__ = ["Energy", "Known", "Rule", "levels_of", "self_guided"]

Energy = Callable[[Tensor], Tensor]  # denoised windows (B, channels, L) -> (B,)
Rule = Literal["variance", "score"]


@dataclass(frozen=True)
class Known:
    """The energy of what is known about windows; see the module docstring.

    Attributes:
        y: known values, (B, channels, L) or (1, channels, L); what it holds elsewhere does not matter.
        mask: 1 where known, else 0, like y.
        levels: k of each sample, (B,), for the quantile energy; None for the squared one.
    """

    y: Tensor
    mask: Tensor
    levels: Tensor | None = None

    def __call__(self, x0: Tensor) -> Tensor:
        """E, (B,)."""
        return self.each(x0).flatten(1).sum(1)

    def each(self, x0: Tensor) -> Tensor:
        """The terms of E, like x0."""
        e = self.y - x0
        if self.levels is None:
            return self.mask * e.square()
        k = self.levels.to(x0)[:, None, None]
        return self.mask * torch.maximum(k * e, (k - 1) * e)


def levels_of(index: Tensor, count: int) -> Tensor:
    """k = (i + 1) / (count + 1) for samples i counted from 0, (B,), float64."""
    return (index.to(torch.float64) + 1) / (count + 1)


def self_guided(
    denoiser: Denoiser,
    energy: Energy,
    scale: float,
    plan: Plan,
    *,
    rule: Rule = "variance",
    placement: Placement = "paper",
) -> Steered:
    """Steer a denoiser of windows by an energy of its own output.

    Args:
        denoiser: model of windows under a Gaussian process.
        energy: of denoised windows, summed over entries.
        scale: s > 0.
        plan: the plan that will be run.
        rule: "variance" for ancestral plans, "score" for any.
        placement: of the variance rule.

    Raises:
        ConfigError: the scale is not positive, a word is unknown, or the plan does not suit the rule.
    """
    if not scale > 0:
        raise ConfigError(
            f"the guidance scale must be positive, got {scale}.", hint="Set guidance='none' to sample freely."
        )
    if rule not in get_args(Rule):
        raise unknown("guidance rule", rule, get_args(Rule))
    if placement not in get_args(Placement):
        raise unknown("placement", placement, get_args(Placement))
    if rule == "score":
        if placement != "paper":
            raise ConfigError(
                "the placement 'reference' belongs to the variance rule.", hint="Use the sampler ddpm."
            )
        return _by_score(denoiser, energy, scale)
    rows = _drawn_rows(plan)
    return (_before if placement == "paper" else _after)(denoiser, energy, scale, rows)


def _by_score(denoiser: Denoiser, energy: Energy, scale: float) -> Steered:
    process = denoiser.process

    def answer(x: Tensor, t: float, cond: object) -> Tensor:
        mean, grad = _pulled(denoiser, energy, x, t, cond)
        return mean - scale * process.sigma(t) ** 2 / process.alpha(t) * grad

    return Steered(process, answer)


def _before(denoiser: Denoiser, energy: Energy, scale: float, rows: dict[float, Row]) -> Steered:
    def answer(x: Tensor, t: float, cond: object) -> Tensor:
        row = rows[t]
        if row.fresh == 0:
            return denoiser(x, t, cond).mean
        mean, grad = _pulled(denoiser, energy, x, t, cond)
        return mean - scale * row.fresh**2 / row.pull[0] * grad

    return Steered(denoiser.process, answer)


def _after(denoiser: Denoiser, energy: Energy, scale: float, rows: dict[float, Row]) -> Steered:
    earlier = {row.s: row for row in rows.values()}

    def answer(x: Tensor, t: float, cond: object) -> Tensor:
        row, last = rows[t], earlier.get(t)
        if last is None or last.fresh == 0:
            return denoiser(x, t, cond).mean
        _, grad = _pulled(denoiser, energy, x, last.t, cond)
        move = -scale * last.fresh**2 * grad
        return denoiser(x + move, t, cond).mean + row.keep / row.pull[0] * move

    return Steered(denoiser.process, answer)


def _pulled(denoiser: Denoiser, energy: Energy, x: Tensor, t: float, cond: object) -> tuple[Tensor, Tensor]:
    """The denoised window and the gradient of its energy by the noisy one: one call."""

    def along(state: Tensor) -> tuple[Tensor, Tensor]:
        mean = denoiser(state, t, cond).mean
        return energy(mean), mean

    grad, mean = gradient(along, x)
    return mean, grad


def _drawn_rows(plan: Plan) -> dict[float, Row]:
    """Rows by time, refused unless each reads one denoised state and nothing else."""
    rows = rows_of(plan)
    if any(len(row.pull) != 1 or row.frame is not None for row in rows.values()) or not plan.stochastic:
        raise ConfigError(
            f"the variance rule guides plans that draw noise and read one denoised state, got '{plan.name}'.",
            hint="Use ancestral, or the rule 'score'.",
        )
    return rows
