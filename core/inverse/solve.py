"""One call for every inverse-problem solver: solve(prior, operator, y, sigma_y, method=..., nfe=...).

A method is its name, with default settings, or an instance with others:

    solve(prior, blur, y, 0.02, method="ddrm", nfe=100, gen=gen)
    solve(prior, blur, y, 0.02, method=RedDiff(lr=0.05), nfe=300, gen=gen)

    method   kind     operator   passes back through the network
    reddiff  optimum  any        no
    dps      sample   any        yes
    pigdm    sample   linear     yes
    ddrm     sample   spectral   no
    diffpir  sample   linear     no
    daps     sample   any        no
    mcg      sample   linear     yes
    red      optimum  linear     no
    ilvr     sample   linear     no

Every method calls the network once per evaluation, and `Solved.nfe` is counted, not computed.

Units: the prior works in its own range, [-1, 1] for images; `data_range` is the range of the images that were
measured. y and sigma_y are in the user's unit and are converted once, on the way in.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, DataError, unknown
from core.inverse.daps import DAPS
from core.inverse.ddrm import DDRM, ILVR, MCG
from core.inverse.guided import DPS, DiffPIR, PiGDM
from core.inverse.linear import Linear
from core.inverse.nonlinear import Custom, Operator
from core.inverse.operators import Additive
from core.inverse.problem import Counted, Kind, Method, Problem
from core.inverse.reddiff import RED, RedDiff
from core.process.gaussian import Gaussian
from core.state import Source
from core.steer.measured import Observation

__all__ = ["METHODS", "Solved", "solve"]

METHODS: dict[str, type[Any]] = {
    kind.name: kind for kind in (RedDiff, DPS, PiGDM, DDRM, DiffPIR, DAPS, MCG, RED, ILVR)
}
SPECTRAL = ("ddrm", "ilvr", "mcg")
JOINT = ConfigError(
    "'joint' separates several parts, each with a prior of its own; solve() knows one prior.",
    hint="Use core.steer.Joint and core.steer.steered, or `suffuse ultrasound dehaze`.",
)
NONLINEAR = tuple(name for name, kind in METHODS.items() if kind.nonlinear)


@dataclass(frozen=True)
class Solved:
    """What a solver found.

    Attributes:
        x: states (B, *shape) in the user's unit.
        kind: "sample" of the posterior, "mean" of several samples, or the "optimum" of an objective. A sample
            lies further from the truth than a mean by nature: say which it is beside every error.
        method: name of the solver.
        nfe: evaluations of the network per state of the result, as counted.
        seconds: processor seconds of this process.
        residual: root mean square of y - A(x) over what was measured, per sample (B,), in the unit of y.
    """

    x: Tensor
    kind: Kind
    method: str
    nfe: int
    seconds: float
    residual: Tensor


def solve(
    prior: Denoiser,
    operator: Any,
    y: Tensor,
    sigma_y: float,
    *,
    method: str | Method = "reddiff",
    nfe: int = 100,
    gen: Source | None = None,
    samples: int = 1,
    data_range: tuple[float, float] = (-1.0, 1.0),
    data_std: float | None = None,
    cond: Any = None,
) -> Solved:
    """Recover states from measurements y = A(x) + noise.

    Args:
        prior: denoiser of a Gaussian process.
        operator: one of `core.inverse.operators` or `core.inverse.nonlinear`, or anything with their members.
        y: measurements, (B, ...), in the user's unit.
        sigma_y: standard deviation of the noise of y, same unit.
        method: name, or settings such as `RedDiff(lr=0.05)`.
        nfe: evaluations of the network per sample.
        gen: source of the noise; `Seeds` hold one seed per measurement and sample.
        samples: posterior samples to draw and average, for methods that draw.
        data_range: user's values that the prior's -1 and 1 stand for.
        data_std: standard deviation of clean states in the prior's unit; by default what the prior carries.
        cond: handed to the prior.

    Raises:
        ConfigError: unknown method; a method that cannot serve this operator; settings out of range.
        DataError: y has non-finite values or does not fit the operator.
    """
    chosen = _chosen(method)
    _check(prior, operator, y, sigma_y, chosen, nfe, samples)
    low, high = data_range
    if not low < high:
        raise ConfigError(f"data_range must increase, got ({low}, {high}).")
    scale, centre = (high - low) / 2, (high + low) / 2
    seen = _converted(operator, y, sigma_y, scale, centre)
    if samples > 1:
        seen = replace(seen, y=seen.y.repeat_interleave(samples, dim=0))
        cond = cond.repeat_interleave(samples, dim=0) if isinstance(cond, Tensor) else cond
    counted = Counted(prior)
    std = getattr(prior, "data_std", None) if data_std is None else data_std
    begin = time.process_time()
    found = chosen.run(Problem(counted, seen, std, cond), nfe, gen)
    seconds = time.process_time() - begin
    kind = chosen.kind
    if samples > 1:
        found, kind = found.unflatten(0, (len(y), samples)).mean(1), "mean"
    x = scale * found + centre if data_range != (-1.0, 1.0) else found
    return Solved(x, kind, chosen.name, counted.states // len(y), seconds, residual_of(operator, y, x))


def residual_of(operator: Any, y: Tensor, x: Tensor) -> Tensor:
    """Root mean square of y - A(x) over what was measured, per sample, (B,)."""
    off = y - operator.A(x)
    if isinstance(operator, Linear):
        count = operator.seen(torch.ones_like(off)).flatten(1).sum(1)
        return (operator.seen(off).flatten(1).square().sum(1) / count.clamp_min(1)).sqrt()
    return off.flatten(1).square().mean(1).sqrt()


def _chosen(method: str | Method) -> Method:
    if not isinstance(method, str):
        return method
    if method == "joint":
        raise JOINT
    if method not in METHODS:
        raise unknown("method", method, (*METHODS, "joint"))
    made: Method = METHODS[method]()
    return made


def _check(
    prior: Any, operator: Any, y: Tensor, sigma_y: float, method: Method, nfe: int, samples: int
) -> None:
    if not isinstance(prior.process, Gaussian):
        raise ConfigError(
            f"inverse problems need a prior of a Gaussian process, got {type(prior.process).__name__}."
        )
    if isinstance(operator, Additive):
        raise JOINT
    if not isinstance(operator, Operator):
        raise ConfigError(
            f"an operator has `shape` and `A`, {type(operator).__name__} has not.",
            hint="Wrap a function: core.inverse.Custom(shape, forward).",
        )
    if not isinstance(operator, Linear) and not method.nonlinear:
        raise ConfigError(
            f"method '{method.name}' needs a linear operator, got {type(operator).__name__}.",
            hint=f"Methods that work with any differentiable operator: {', '.join(NONLINEAR)}.",
        )
    if isinstance(operator, Linear) and method.name in SPECTRAL and not operator.spectral:
        raise ConfigError(
            f"method '{method.name}' needs the singular vectors of the operator, which "
            f"{type(operator).__name__} does not know.",
            hint="Use diffpir, pigdm, daps or reddiff.",
        )
    if nfe < 1 or samples < 1:
        raise ConfigError(f"nfe and samples must be at least 1, got {nfe} and {samples}.")
    if samples > 1 and method.kind != "sample":
        raise ConfigError(f"method '{method.name}' finds an optimum; only samples can be averaged.")
    if not sigma_y >= 0:
        raise ConfigError(f"sigma_y must not be negative, got {sigma_y}.")
    if not bool(torch.isfinite(y).all()):
        raise DataError("the measurement has values that are not finite.")
    want = tuple(operator.A(torch.zeros(1, *operator.shape, dtype=y.dtype, device=y.device)).shape[1:])
    if tuple(y.shape[1:]) != want:
        raise DataError(f"the operator measures {want} per sample, y has {tuple(y.shape[1:])}.")


def _converted(operator: Any, y: Tensor, sigma_y: float, scale: float, centre: float) -> Observation:
    """The observation of the state x of the prior, where the user's is scale x + centre."""
    if isinstance(operator, Linear):
        y = operator.seen(y)
        if (scale, centre) == (1.0, 0.0):
            return Observation(operator, y, sigma_y)
        offset = operator.A(torch.full((1, *operator.shape), centre, dtype=y.dtype, device=y.device))
        return Observation(operator, (y - offset) / scale, sigma_y / scale)
    if (scale, centre) == (1.0, 0.0):
        return Observation(operator, y, sigma_y)
    within = Custom(operator.shape, lambda x: operator.A(scale * x + centre) / scale)
    return Observation(within, y / scale, sigma_y / scale)
