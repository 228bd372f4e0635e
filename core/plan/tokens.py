"""Plans for tokens.

    unmask         reveal masks as the process does backwards: tau-leaping; or by another order
    first_hitting  one token at a time, in random order: unmask in the limit of many steps, without idle ones
    remask         the same and, on the way, masks what was revealed again (ReMDM)
    redraw         the uniform process backwards

A row that reveals nothing costs no evaluation. Under `unmask` each of l masks is revealed in a row drawn by
`shares`, so a sequence costs sum_k 1 - (1 - r_k)^l evaluations in the mean.

Sources: Sahoo et al. 2024, arXiv:2406.07524, eq. 6; Ou et al. 2024, arXiv:2406.03736, eq. 3.11 (evaluations);
Zheng et al. 2024, arXiv:2409.02908 (first hitting); Wang et al. 2025, arXiv:2503.00307 (remasking); Nie et
al. 2025, arXiv:2502.09992 (confidence).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from core.plan.grids import checked
from core.plan.table import ORDERS, Plan, RedrawRow, TokenRow
from core.process.masking import Masking
from core.process.token_noise import Form, UniformTokens
from core.state import Source, uniform

__all__ = [
    "Remasking",
    "expected_evaluations",
    "first_hitting",
    "redraw",
    "remask",
    "reveal_rows",
    "shares",
    "unmask",
]

Remasking: TypeAlias = Literal["cap", "rescale", "conf", "loop"]


def unmask(
    process: Masking,
    times: Sequence[float],
    *,
    order: str = "each",
    threshold: float = 0.0,
    draw: Literal["float64", "float32"] = "float64",
    euler: bool = False,
) -> Plan:
    """Plan the masking process backwards: a mask is revealed with probability (a_s - a_t) / (1 - a_t).

    Args:
        process: the masking process of the denoiser.
        times: decreasing, from 1 (all masked) to 0; the last row reveals everything that is left.
        order: which masks; see `TokenRow`. All but "each" and "random" change the law of the samples.
        threshold: reveal every token more probable than this instead of a share; 0 is off.
        draw: the precision of the draws; float32 repeats published samplers.
        euler: the probability -alpha' / (1 - alpha) dt instead, at most 1; equal under linear curves.
    """
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold must lie in [0, 1), got {threshold}.")
    if threshold and order != "confidence":
        raise ConfigError(f"a threshold goes with the order 'confidence', got '{order}'.")
    rows = []
    for t, s in _grid(times):
        share = min(1.0, float(process.weight(t)) * (t - s)) if euler and s > 0 else process.revealed(t, s)
        rows.append(TokenRow(t, s, share, 0.0, process.mask_token, order, threshold, draw=draw))
    return Plan("unmask" if order == "each" else f"unmask {order}", _ended(rows))


def first_hitting(process: Masking, length: int, *, order: str = "random") -> Plan:
    """One token per row and evaluation; `length` rows serve every sequence of at most as many masks.

    "random" is exact: the order of reveals under every schedule is uniform.
    """
    if length < 1:
        raise ConfigError(f"at least one token must be revealed, got {length}.")
    if order not in ORDERS[1:]:
        raise unknown("order", order, ORDERS[1:])
    times = [1 - k / length for k in range(length + 1)]
    rows = [
        TokenRow(t, s, 1 / (length - k), 0.0, process.mask_token, order)
        for k, (t, s) in enumerate(pairwise(times))
    ]
    return Plan(f"first hitting {order}", tuple(rows))


def remask(
    process: Masking,
    times: Sequence[float],
    kind: Remasking = "cap",
    *,
    eta: float = 0.008,
    window: tuple[float, float] = (0.55, 0.05),
    alpha_on: float = 0.9,
) -> Plan:
    """Plan sampling that masks visible tokens again with probability sig, so that mistakes can be mended.

    A mask is revealed with probability (a_s - (1 - sig) a_t) / (1 - a_t), which keeps the marginals of the
    process. With bound = min(1, (1 - a_s) / a_t):

        cap      sig = min(eta, bound)
        rescale  sig = eta bound
        conf     sig_i = bound x softmax over visible tokens of minus their probability when drawn
        loop     between t_on and t_off alpha stays at alpha_on, where sig = min(eta, bound); no remasking
                 outside

    Args:
        eta: 0.008 (cap) and 0.02 (loop) were published for 1024 steps.
        window: t_on and t_off of "loop".
        alpha_on: the alpha that "loop" stays at.

    Raises:
        ConfigError: unknown kind, or a setting out of range.
    """
    if kind not in get_args(Remasking):
        raise unknown("remasking", kind, get_args(Remasking))
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta must lie in [0, 1], got {eta}.")
    if not 0 <= window[1] < window[0] <= 1:
        raise ConfigError(f"the window runs from t_on down to t_off inside [0, 1], got {window}.")
    if kind == "loop" and not 0 < alpha_on < 1:
        raise ConfigError(f"alpha_on must lie in (0, 1), got {alpha_on}.")
    rows = []
    for t, s in _grid(times):
        a_t, a_s, looping = _levels(process, t, s, kind, window, alpha_on)
        bound = min(1.0, (1 - a_s) / a_t) if a_t > 0 else 1.0
        sig = {"cap": min(eta, bound), "rescale": eta * bound, "conf": bound, "loop": min(eta, bound)}[kind]
        sig = 0.0 if (kind == "loop" and not looping) or s <= 0 else sig
        stays = a_t if kind == "conf" else (1 - sig) * a_t
        share = min(1.0, max(0.0, (a_s - stays) / (1 - a_t)))
        rows.append(TokenRow(t, s, share, sig, process.mask_token, weigh=kind == "conf"))
    return Plan(f"remask {kind}", _ended(rows))


def redraw(process: UniformTokens, times: Sequence[float], form: Form = "plug-in") -> Plan:
    """Plan the uniform process backwards: every token is drawn anew in every row."""
    if form not in get_args(Form):
        raise unknown("form of the posterior", form, get_args(Form))
    rows = [RedrawRow(t, s, float(process.alpha(t)), float(process.alpha(s)), form) for t, s in _grid(times)]
    return Plan(f"redraw {form}", tuple(rows))


def shares(plan: Plan) -> Tensor:
    """Probability that a mask is revealed in each row of a plan, (rows,); "each" rows without remasking."""
    left, out = 1.0, []
    for row in plan.rows:
        if not isinstance(row, TokenRow) or row.order != "each" or row.remask:
            raise ConfigError(f"'{plan.name}' reveals by more than its shares.")
        out.append(left * row.reveal)
        left *= 1 - row.reveal
    return torch.tensor(out, dtype=torch.float64)


def expected_evaluations(plan: Plan, free: int) -> float:
    """Mean number of evaluations for a sequence of `free` masks: sum_k 1 - (1 - r_k)^free."""
    return float((1 - (1 - shares(plan)) ** free).sum())


def reveal_rows(plan: Plan, free: Tensor, gen: Source | None) -> Tensor:
    """The row that reveals each free position, drawn in advance: (B, L) boolean -> (B, L), -1 elsewhere.

    Walking the plan has the same law; a run that knows its rows can skip the idle ones.
    """
    points = uniform(free.shape, gen, dtype=torch.float64, device=free.device)
    rows = torch.searchsorted(shares(plan).cumsum(0).to(free.device), points, right=True)
    return torch.where(free, rows.clamp_max(len(plan.rows) - 1), -1)


def _levels(
    process: Masking, t: float, s: float, kind: str, window: tuple[float, float], alpha_on: float
) -> tuple[float, float, bool]:
    """alpha at both ends of a row, and whether the row loops.

    "loop" squeezes the schedule: it reaches alpha_on at t_on, waits there, and goes on from t_off.
    """
    if kind != "loop":
        return float(process.alpha(t)), float(process.alpha(s)), False
    on, off = window

    def level(time: float) -> float:
        if time >= on:
            return alpha_on * (1 - time) / (1 - on) if on < 1 else alpha_on
        return alpha_on if time > off else alpha_on + (1 - alpha_on) * (off - time) / off if off > 0 else 1.0

    return level(t), level(s), t <= on and s >= off


def _grid(times: Sequence[float]) -> list[tuple[float, float]]:
    grid = checked(times)
    if not 1 >= grid[0] > grid[-1] >= 0:
        raise ConfigError(f"token times run from at most 1 down to at least 0, got {grid[0]} to {grid[-1]}.")
    return list(pairwise(grid))


def _ended(rows: list[TokenRow]) -> tuple[TokenRow, ...]:
    """A plan that ends at t = 0 leaves no mask."""
    last = rows[-1]
    return (*rows[:-1], last._replace(reveal=1.0, remask=0.0) if last.s <= 0 else last)
