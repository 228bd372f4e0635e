"""Consistency with a measurement y = f(x_0) of several parts at once, by four rules.

All take a denoiser of a product state and return one, so every plan runs them. r is the residual y - f, and a
`Measurement` holds y, the differentiable forward map f, and the weight w_k of each part.

    rule         what is differentiated                      change of the denoiser's output
    projection   |y_t - f(x_t)|^2 at the noisy state         D(x + d) + kappa d,  d = -w grad,  y_t = alpha y
    + sigma z' at_mean      |y - f(D)|^2 at the denoised state          D - w grad
    dps          |y - f(D(x))| through the network           D - w grad / pull
    pigdm        |y - f(D(x))|^2 / (2 v) through the net     D - w sigma^2 / alpha grad,  v = var_y + sum_k
    r_k^2

`projection` moves the state before the step, as published. A linear row keeps `keep x + pull D`, so the same
move is the denoiser D(x + d) + (keep / pull) d: the factor kappa is read from the row of the plan that is
being run. `dps` moves the state after the step, hence 1 / pull. Gradients are taken for the sum over a
sample's measurement; that of `dps` is scaled by the root of the number of measurements, so that a weight
means a move per element whatever the size. r_k^2 = sigma^2 / (sigma^2 + 1) is the variance that PiGDM gives
each part.

Sources: projection and its joint use: Stevens et al. 2024, IEEE TMI 43(10) 3546, section III; Song et al.
2022, arXiv:2111.08005. dps: Chung et al. 2023, arXiv:2209.14687, algorithm 1. pigdm: Song et al. 2023 (ICLR,
pseudoinverse-guided diffusion), eq. 7; the joint form: Stevens et al. 2023, arXiv:2302.05290. at_mean is
ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError, unknown
from core.plan.table import JointRow, Plan, Row
from core.steer.gradient import gradient

__all__ = ["RULES", "Measurement", "Steered", "at_mean", "dps", "pigdm", "projection", "steered"]

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Measurement:
    """What was measured, and how states explain it.

    Attributes:
        y: the measurement, (B, ...).
        forward: mapping of states -> prediction of y, differentiable.
        weights: pull of the measurement on each part; parts without one are left alone.
        clip: largest change of one element by one gradient, in the state's unit.
        var: variance of the measurement noise, for `pigdm`.
    """

    y: Tensor
    forward: Callable[[Mapping[str, Tensor]], Tensor]
    weights: Mapping[str, float]
    clip: float = 1.0
    var: float = 0.0


@dataclass(frozen=True)
class Steered:
    """A denoiser made of another one; `answer(x, t, cond)` gives its posterior mean."""

    process: Any
    answer: Callable[[Any, Any, Any], Any] = field(repr=False)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.answer(x, t, cond))


def projection(denoiser: Denoiser, measured: Measurement, plan: Plan, *, noise: Tensor) -> Steered:
    """Move the noisy state towards the measurement at the same noise level, then denoise. No network
    Jacobian.

    Args:
        plan: the plan that will be run; its rows say how a move of the state counts.
        noise: z', like y: the noise that accompanies the measurement along the run.
    """
    rows = _rows(plan)

    def answer(x: Parts, t: float, cond: Any) -> Parts:
        part = denoiser.process.parts[next(iter(measured.weights))]
        y_t = part.alpha(t) * measured.y + part.sigma(t) * noise
        _, grads = _gradients(measured, x, lambda state: _square(y_t - measured.forward(state)))
        moves = {name: -measured.weights[name] * grad for name, grad in grads.items()}
        at = {name: value + moves[name] if name in moves else value for name, value in x.items()}
        mean = denoiser(at, t, cond).mean
        row = rows[t]
        return {
            k: v + moves[k] * (row[k].keep / sum(row[k].pull)) if k in moves else v for k, v in mean.items()
        }

    return Steered(denoiser.process, answer)


def at_mean(denoiser: Denoiser, measured: Measurement) -> Steered:
    """Correct the denoised state by the gradient of its own residual. No network Jacobian."""

    def answer(x: Parts, t: float, cond: Any) -> Parts:
        mean = denoiser(x, t, cond).mean
        _, grads = _gradients(measured, mean, lambda state: _square(measured.y - measured.forward(state)))
        return {k: v - measured.weights[k] * grads[k] if k in grads else v for k, v in mean.items()}

    return Steered(denoiser.process, answer)


def dps(denoiser: Denoiser, measured: Measurement, plan: Plan) -> Steered:
    """Move the state after the step down the gradient of the residual's norm, through the network."""
    rows = _rows(plan)

    def answer(x: Parts, t: float, cond: Any) -> Parts:
        def loss(state: Parts) -> tuple[Tensor, Parts]:
            mean = denoiser(state, t, cond).mean
            residual = measured.y - measured.forward(mean)
            return residual.flatten(1).norm(dim=1) * residual[0].numel() ** 0.5, mean

        mean, grads = _gradients(measured, x, loss)
        row = rows[t]
        return {
            k: v - measured.weights[k] * grads[k] / sum(row[k].pull) if k in grads else v
            for k, v in mean.items()
        }

    return Steered(denoiser.process, answer)


def pigdm(denoiser: Denoiser, measured: Measurement) -> Steered:
    """Add the score of a Gaussian likelihood whose variance counts what is not known of the clean parts
    yet.
    """

    def answer(x: Parts, t: float, cond: Any) -> Parts:
        parts = denoiser.process.parts
        known = {k: parts[k].sigma(t) ** 2 / (parts[k].sigma(t) ** 2 + 1) for k in measured.weights}
        total = measured.var + sum(known.values())

        def loss(state: Parts) -> tuple[Tensor, Parts]:
            mean = denoiser(state, t, cond).mean
            return _square(measured.y - measured.forward(mean)) / (2 * total), mean

        gain = {k: parts[k].sigma(t) ** 2 / parts[k].alpha(t) for k in measured.weights}
        mean, grads = _gradients(measured, x, loss, gain)
        return {k: v - measured.weights[k] * grads[k] if k in grads else v for k, v in mean.items()}

    return Steered(denoiser.process, answer)


RULES = ("projection", "x0", "dps", "pigdm")


def steered(rule: str, denoiser: Denoiser, measured: Measurement, plan: Plan, *, noise: Tensor) -> Steered:
    """The rule of this name: "projection", "x0" (`at_mean`), "dps" or "pigdm"."""
    match rule:
        case "projection":
            return projection(denoiser, measured, plan, noise=noise)
        case "x0":
            return at_mean(denoiser, measured)
        case "dps":
            return dps(denoiser, measured, plan)
        case "pigdm":
            return pigdm(denoiser, measured)
    raise unknown("consistency rule", rule, RULES)


def _square(residual: Tensor) -> Tensor:
    return residual.flatten(1).square().sum(1)


def _gradients(
    measured: Measurement,
    state: Parts,
    loss: Callable[[Parts], Any],
    gain: Mapping[str, float] | None = None,
) -> tuple[Any, Parts]:
    """Clipped gradients of a loss (B,), or of the first of a pair, by the weighted parts; and the second of
    the pair. `gain` turns the gradient by a part into a change of it, before the clip.
    """
    own = {name: state[name] for name in measured.weights}
    grads, extra = gradient(lambda free: loss({**state, **free}), own)
    moves = {name: grad * gain[name] if gain else grad for name, grad in grads.items()}
    return extra, {name: move.clamp(-measured.clip, measured.clip) for name, move in moves.items()}


def _rows(plan: Plan) -> dict[float, Mapping[str, Row]]:
    """Rows by time, part by part."""
    if not all(isinstance(row, JointRow) for row in plan.rows):
        raise ConfigError("this rule reads the rows of a plan of a product process; the plan has others.")
    return {row.t: row.parts for row in plan.rows if isinstance(row, JointRow)}
