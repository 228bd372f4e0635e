"""Gradients by a state, the one place where steering differentiates."""

from collections.abc import Callable
from typing import Any

import torch

from core.state import leaves, tree_map

__all__ = ["gradient"]


def gradient(loss: Callable[[Any], Any], state: Any) -> tuple[Any, Any]:
    """Differentiate a loss by every leaf of a state, one forward and one backward pass.

    Args:
        loss: state -> loss of each sample, (B,); or a pair of that and something to keep, such as the
            denoised state that the loss was made from.
        state: a tensor (B, ...) or a mapping of them; it is not changed.

    Returns:
        The gradient of the summed loss, shaped like the state, and the second of the pair (detached) or None.
    """
    with torch.enable_grad():
        free = tree_map(lambda a: a.detach().requires_grad_(), state)
        value = loss(free)
        value, extra = value if isinstance(value, tuple) else (value, None)
        grads = iter(torch.autograd.grad(value.sum(), list(leaves(free))))
    return tree_map(lambda a: next(grads), free), tree_map(lambda a: a.detach(), extra) if (
        extra is not None
    ) else None
