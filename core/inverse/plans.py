"""Tables that inverse problems use beside the usual ones, and noise that an operator shapes.

`renoise` goes to a lower level with a stated share of fresh noise, x_s = alpha_s D + sigma_s (sqrt(1 - share)
e + sqrt(share) xi), e the predicted noise: the step of DDRM (share = eta^2), DiffPIR (share = zeta) and DAPS
(share = 1). `repeated` walks each level several times: step, add the noise back, step again.

Sources: Kawar et al. 2022, arXiv:2201.11793, eq. 7; Zhu et al. 2023, arXiv:2305.08995, eq. 16; repeats:
Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

from torch import Tensor

from core.errors import ConfigError
from core.plan.build import backward, builder
from core.plan.table import Plan, Row
from core.process.gaussian import Gaussian

__all__ = ["Shaped", "renoise", "repeated"]


@builder
def renoise(process: Any, times: Sequence[float], *, share: float = 1.0) -> Plan:
    """Plan steps that replace this share of the variance of the noise by fresh noise.

    Args:
        share: 0 is DDIM, 1 forgets the noise of the state altogether.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"a share of fresh noise lies in [0, 1], got {share}.")
    backward(times)
    rows = []
    for t, s in pairwise(times):
        sig_s = process.sigma(s)
        keep = math.sqrt(1 - share) * sig_s / process.sigma(t)
        rows.append(Row(t, s, keep, (process.alpha(s) - keep * process.alpha(t),), math.sqrt(share) * sig_s))
    return Plan("renoise", tuple(rows))


def repeated(plan: Plan, process: Gaussian, n: int) -> Plan:
    """Walk every step n times: after each of the first n - 1, the forward process leads back to its start.

    A repeat is one row from t to t, so it costs one call of the denoiser. The last step, if it reaches zero
    noise, is not repeated.
    """
    if n < 1:
        raise ConfigError(f"a step is walked at least once, got n={n}.")
    rows: list[Row] = []
    for row in plan.rows:
        if not isinstance(row, Row) or row.frame is not None or len(row.pull) > 1:
            raise ConfigError(f"only single-step plans can be repeated, '{plan.name}' is not one.")
        if process.sigma(row.s) > 0:
            back = process.alpha(row.t) / process.alpha(row.s)
            added = process.sigma(row.t) ** 2 - (back * process.sigma(row.s)) ** 2
            again = Row(
                row.t,
                row.t,
                back * row.keep,
                tuple(back * b for b in row.pull),
                math.sqrt((back * row.fresh) ** 2 + added),
            )
            rows += [again] * (n - 1)
        rows.append(row)
    return Plan(f"{plan.name} x{n}", tuple(rows))


class Shaped(Sequence[Tensor]):
    """Noises of a run, made one at a time by a function of the row; for `run.steps(noises=...)`.

    Rows are asked in order, once each, so one generator behind the function is enough.
    """

    def __init__(self, plan: Plan, draw: Callable[[Row], Tensor]) -> None:
        self.plan = plan
        self.draw = draw

    def __len__(self) -> int:
        return len(self.plan.rows)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self.plan.rows[index]
        assert isinstance(row, Row)
        return self.draw(row)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))
