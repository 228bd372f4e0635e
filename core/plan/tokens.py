"""Plans for masked tokens."""

from collections.abc import Sequence
from itertools import pairwise

from core.errors import ConfigError
from core.plan.grids import checked
from core.plan.table import Plan, TokenRow
from core.process.masking import Masking

__all__ = ["unmask"]


def unmask(process: Masking, times: Sequence[float]) -> Plan:
    """Plan ancestral sampling of masked tokens: from t to s a mask is revealed with probability (a_s - a_t) /
    (1 - a_t).

    Args:
        process: the masking process of the denoiser.
        times: decreasing, from 1 (all masked) to 0.

    Source: Sahoo et al. 2024, arXiv:2406.07524, eq. 6.
    """
    grid = checked(times)
    if not 1 >= grid[0] > grid[-1] >= 0:
        raise ConfigError(f"token times run from at most 1 down to at least 0, got {grid[0]} to {grid[-1]}.")
    rows = [
        TokenRow(
            t, s, (process.alpha(s) - process.alpha(t)) / (1 - process.alpha(t)), 0.0, process.mask_token
        )
        for t, s in pairwise(grid)
    ]
    return Plan("unmask", tuple(rows))
