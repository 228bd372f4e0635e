"""TSDiff-Cond: the same backbone, told the context in place of being guided by it.

The state is the window of the series alone, (B, 1, L). The network sees, in every block,

    lag channels        the series at its lags, 0 where unknown (their future part is known if the lag is
    long) context             the known values of channel 0, 0 elsewhere and in the future observed
    1 where channel 0 is known

and is trained on the noise of all positions. For the study of missing values it is trained with half of the
context hidden by one scenario, and so is its scale.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 4.1 and appendix B (TSDiff-Cond), and its code.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import unknown
from core.train.samples import Batch, mixed_seed
from domains.timeseries.data import Array
from domains.timeseries.windows import Cut, Shape, Windows, rescaled

__all__ = ["SCENARIOS", "ConditionalWindows", "cond_of", "feature_count", "hidden"]

SCENARIOS = ("none", "RM", "BM-B", "BM-E")


def hidden(scenario: str, context: int, missing: int, gen: np.random.Generator) -> Array:
    """Which points of a context are hidden, (C,), booleans.

    Args:
        scenario: "none"; "RM", uniformly random positions; "BM-B", a block at the beginning of the context;
            "BM-E", a block at its end, next to the forecast.
        missing: how many, at most C.

    Source: Kollovieh et al. 2023, arXiv:2307.11494, section 5.1 (missing values).
    """
    if scenario not in SCENARIOS:
        raise unknown("scenario", scenario, SCENARIOS)
    out = np.zeros(context, dtype=bool)
    match scenario:
        case "RM":
            out[gen.choice(context, size=min(missing, context), replace=False)] = True
        case "BM-B":
            out[: min(missing, context)] = True
        case "BM-E":
            out[max(0, context - missing) :] = True
    return out


def feature_count(shape: Shape) -> int:
    """Channels of the network's condition."""
    return len(shape.lags) + 2


def cond_of(values: Array, known: Array) -> dict[str, Tensor]:
    """The condition of windows whose future is unknown.

    Args:
        values, known: (..., 1 + lags, L), scaled, as `windows.Cut` has them.

    Returns:
        "features", (..., lags + 2, L), float32.
    """
    seen = np.where(known, values, 0.0)
    parts = np.concatenate([seen[..., 1:, :], seen[..., :1, :], known[..., :1, :]], axis=-2)
    return {"features": torch.from_numpy(parts.astype(np.float32))}


def cond_of_cut(cut: Cut) -> dict[str, Tensor]:
    """The condition of one window."""
    return cond_of(cut.values, cut.known)


@dataclass(frozen=True)
class ConditionalWindows:
    """Training windows of a conditional network, by number.

    Args:
        windows: where they come from.
        scenario: what of each context is hidden; half of it.
    """

    windows: Windows
    scenario: str = "none"

    def __call__(self, numbers: range, seed: int) -> Batch:
        """Windows (B, 1, L), with "features" and, where the table has gaps, "observed"."""
        shape = self.windows.shape
        values, seen = self.windows.draw(numbers, seed)
        known = seen.copy()
        known[:, 0, shape.context :] = False
        if self.scenario != "none":
            for row, number in enumerate(numbers):
                gen = np.random.default_rng(mixed_seed(seed, "hidden", number))
                known[row, 0, : shape.context] &= ~hidden(
                    self.scenario, shape.context, shape.context // 2, gen
                )
            values = rescaled(values, known, shape)
        known[:, 1:] &= reachable(shape)
        cond = cond_of(values, known)
        if not self.windows.whole:
            cond["observed"] = torch.from_numpy(seen[:, :1])
        return Batch(torch.from_numpy(values[:, :1].astype(np.float32)), cond)


def reachable(shape: Shape) -> Array:
    """Which entries of the lag channels lie before the forecast, (lags, L), booleans."""
    at = np.arange(shape.length)
    return (
        np.stack([at - lag < shape.context for lag in shape.lags])
        if shape.lags
        else np.zeros((0, len(at)), bool)
    )
