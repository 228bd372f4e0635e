"""Torch's global generator, seeded for a while and put back: first weights of networks, and dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generator inside a `with` block; outside, it is as it was.

    Args:
        seed: of what is drawn inside.
        device: a GPU's own generator is kept and put back too.
    """
    where = torch.device(device)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
