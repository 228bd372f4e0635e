"""Guided dehazing of single pictures: what is trusted pulls hard, what is hazy is asked to be dark.

    E(x_t) = |W (y - D(x_t))|^2 + eta sum smooth_l1_beta((D(x_t) + 1) M_haze)
    x_s <- x_s - zeta grad_x_t E

is diffusion posterior sampling: the gradient goes through the network, and the state is moved after the step
of the plan. A linear row keeps `keep x + pull D`, so the same move is the denoiser D - zeta / pull grad E.

zeta is given as a share `guidance` of 1 / (2 max W^2), the step at which the residual of the most trusted
pixels is closed at once where the network passes its input through. With the published weights a step of 1
would overshoot there eightfold: published runs never see that, since their schedule ends at a noise-to-signal
ratio of a third.

Sources: Chung et al. 2023, arXiv:2209.14687, algorithm 1; E as in the entry of Stevens, Nolan & van Sloun to
the challenge DehazingEcho 2025. Deviations: the step, as said; clipped gradients.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan import Plan, Row
from core.steer import Steered

__all__ = ["semantic", "semantic_error"]


def semantic_error(
    x0: Tensor, y: Tensor, weights: Tensor, haze: Tensor, *, penalty: float, beta: float
) -> Tensor:
    """E of every picture, (B,).

    Args:
        x0: clean estimate, (B, 1, H, W), levels.
        y: recording, like x0.
        weights: W, like x0.
        haze: M_haze, like x0, in [0, 1].
        penalty: eta. beta: level above black at which the penalty turns from square to straight.
    """
    dark = F.smooth_l1_loss((x0 + 1) * haze, torch.zeros_like(x0), beta=beta, reduction="none")
    return (weights * (y - x0)).square().flatten(1).sum(1) + penalty * dark.flatten(1).sum(1)


def semantic(
    denoiser: Denoiser,
    y: Tensor,
    weights: Tensor,
    haze: Tensor,
    plan: Plan,
    *,
    penalty: float,
    beta: float,
    guidance: float = 1.0,
    clip: float = 1.0,
) -> Steered:
    """Guide a denoiser of pictures; one call of the network, forward and backward, per evaluation.

    Args:
        denoiser: of pictures (B, 1, H, W).
        y, weights, haze: as for `semantic_error`.
        plan: the plan that will be run; its rows say how a move of the state counts.
        guidance: zeta in units of 1 / (2 max W^2).
        clip: largest move of one pixel by one step, levels.
    """
    if not bool(weights.amax() > 0):
        raise ConfigError("no pixel is trusted: every weight is 0.", hint="Give positive w_bg or w_sept.")
    rows = {row.t: row for row in plan.rows if isinstance(row, Row)}
    if len(rows) != len(plan.rows):
        raise ConfigError("guidance reads the linear rows of a plan; this one has others.")
    scale = guidance / (2 * float(weights.amax()) ** 2)

    def answer(x: Tensor, t: Any, cond: Any) -> Tensor:
        with torch.enable_grad():
            state = x.detach().requires_grad_(True)
            mean = denoiser(state, t, cond).mean
            error = semantic_error(mean, y, weights, haze, penalty=penalty, beta=beta)
            (grad,) = torch.autograd.grad(error.sum(), state)
        return mean.detach() - (scale * grad).clamp(-clip, clip) / sum(rows[t].pull)

    return Steered(denoiser.process, answer)
