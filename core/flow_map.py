"""Flow maps: one call takes a state from any time of the probability-flow ODE to any other.

    G(x, t, s)  =  (sigma_s / sigma_t) x  +  (alpha_s - alpha_t sigma_s / sigma_t) g(x, t, s)

where g is a denoiser that is told where the jump ends, under `to` in its condition. G(x, t, t) = x by
construction, g(x, t, t) is the ordinary posterior mean, and g(x, t, data) makes a consistency model. For the
straight path alpha = 1 - t, sigma = t, and a network of the flow, G = x + (s - t) F.

That is the row of DDIM, so a run of jumps is a plan like any other:

    target   where a jump ends before noise is added: the time of noise-to-signal sqrt(1 - gamma^2) r_s
    row      keep = sqrt(1 - gamma^2) sigma_s / sigma_t,  pull = alpha_s - keep alpha_t,
             fresh = gamma sigma_s

The last row has gamma = 0. Without noise throughout, the result is a function of the start; gamma = 1 is the
multistep sampling of consistency models, every jump to the data and back.

Sources: Kim et al. 2024 (CTM), arXiv:2310.02279, eq. 9 (the map) and algorithm 4 (gamma); Song et al. 2023,
arXiv:2303.01469, algorithm 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.plan.build import backward
from core.plan.grids import checked
from core.plan.table import Plan, Row
from core.process.gaussian import Gaussian
from core.process.scheduled import fitted
from core.state import batch_size, leaves, tree_map

__all__ = ["Jumps", "jump", "jumps", "moved", "told"]


def told(cond: Any, to: Any, like: Any) -> dict[str, Any]:
    """The condition with the time where a jump ends, `to`, (B,).

    Raises:
        ConfigError: the condition is neither a mapping nor None.
    """
    if cond is not None and not isinstance(cond, Mapping):
        raise ConfigError(
            f"a flow map needs a mapping for its condition, got {type(cond).__name__}.",
            hint="Its entry 'to' is the time where the jump ends.",
        )
    first = next(leaves(like))
    time = to.to(first.dtype) if isinstance(to, Tensor) else first.new_tensor(float(to))
    return {**(cond or {}), "to": time.expand(batch_size(like))}


def moved(process: Gaussian, x: Any, clean: Any, t: Any, s: Any) -> Any:
    """x carried from time t to time s as if its clean state were `clean`; times are floats or (B,).

    This is DDIM without noise. Coefficients are float64 until they meet the state.
    """
    keep = process.sigma(s) / process.sigma(t)
    pull = process.alpha(s) - process.alpha(t) * keep
    return tree_map(lambda a, d: fitted(keep, a) * a + fitted(pull, a) * d, x, clean)


def jump(denoiser: Denoiser, x: Any, t: Any, s: Any, cond: Any = None) -> Any:
    """G(x, t, s): the state at time s of the path through x at time t.

    Args:
        denoiser: g, told its target under `to`; see the module docstring.
        x: states at time t, (B, ...).
        t, s: floats or (B,) float64; t must have noise, s may be either side of it.
        cond: mapping of further conditions, or None.
    """
    return moved(denoiser.process, x, denoiser(x, t, told(cond, s, x)).mean, t, s)


@dataclass(frozen=True)
class Jumps:
    """A flow map as the denoiser of one plan: at each time of the plan it looks at that row's target."""

    denoiser: Denoiser
    targets: Mapping[float, float]

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return self.denoiser(x, t, told(cond, self.targets[float(t)], x))


def jumps(denoiser: Denoiser, times: Sequence[float], *, gamma: float = 0.0) -> tuple[Plan, Jumps]:
    """Plan a run of jumps over a grid; walk it with `core.run.sample(plan, model, x, ...)`.

    Args:
        denoiser: g, told its target under `to`.
        times: decreasing, from noise to data; n + 1 values give n calls.
        gamma: share of the noise at each stop that is drawn anew, in [0, 1]; the last stop draws none.

    Returns:
        The plan, and the denoiser that goes with it.

    Raises:
        ConfigError: gamma is out of range, the times do not decrease, or the process is not Gaussian.
    """
    process = denoiser.process
    if not 0 <= gamma <= 1:
        raise ConfigError(f"gamma must lie in [0, 1], got {gamma}.")
    if not isinstance(process, Gaussian):
        raise ConfigError(f"a flow map needs a Gaussian process, got {type(process).__name__}.")
    grid = checked(times)
    backward(grid)
    rows, targets = [], {}
    for t, s in pairwise(grid):
        share = gamma if s != grid[-1] else 0.0
        keep = math.sqrt(1 - share**2) * process.sigma(s) / process.sigma(t)
        pull = process.alpha(s) - keep * process.alpha(t)
        rows.append(Row(t, s, keep, (pull,), share * process.sigma(s)))
        targets[t] = s if share == 0 else _quieter(process, s, share, grid[-1])
    return Plan("jumps", tuple(rows)), Jumps(denoiser, targets)


def _quieter(process: Gaussian, s: float, gamma: float, end: float) -> float:
    """The time whose noise-to-signal ratio is sqrt(1 - gamma^2) that of s, or the end of the grid."""
    ratio = math.sqrt(1 - gamma**2) * process.sigma(s) / process.alpha(s)
    return end if ratio <= process.sigma(end) / process.alpha(end) else process.time(ratio)
