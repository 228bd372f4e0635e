"""Independent random streams from one seed: the anatomy, the speckle and the haze never share draws."""

import zlib

import numpy as np
import torch

from core.errors import ConfigError

__all__ = ["between", "child_seed", "stream"]


def stream(seed: int, name: str, index: int = 0) -> torch.Generator:
    """Return a generator for one purpose.

    Args:
        seed: the user's seed, >= 0.
        name: what the draws are for; other names give independent streams.
        index: number of the frame or item within the stream.
    """
    return torch.Generator().manual_seed(child_seed(seed, name, index))


def child_seed(seed: int, name: str, index: int = 0) -> int:
    """Return a seed of its own, in [0, 2^63), for one item of one stream."""
    if seed < 0:
        raise ConfigError(f"a seed must be >= 0, got {seed}.")
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode()), index])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def between(low: float, high: float, gen: torch.Generator) -> float:
    """Draw one number uniformly from [low, high)."""
    return low + (high - low) * torch.rand((), generator=gen, dtype=torch.float64).item()
