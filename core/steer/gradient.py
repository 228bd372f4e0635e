"""Gradients by a state, the one place where steering differentiates.

Steered denoisers nest, so a gradient may be asked for inside another one. Then, and only then, the inner one
keeps its graph: the outer gradient sees how the inner one changes with the state.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.state import leaves, tree_map

__all__ = ["gradient"]


def gradient(loss: Callable[[Any], Any], state: Any) -> tuple[Any, Any]:
    """Differentiate a loss by every leaf of a state, one forward and one backward pass.

    Args:
        loss: state -> loss of each sample, (B,); or a pair of that and something to keep, such as the
            denoised state that the loss was made from.
        state: a tensor (B, ...) or a mapping of them; it is not changed.

    Returns:
        The gradient of the summed loss, shaped like the state, and the second of the pair or None; detached
        unless the state itself is being differentiated.
    """
    nested = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves(state))

    def own(leaf: Tensor) -> Tensor:
        return leaf if nested and leaf.requires_grad else leaf.detach().requires_grad_()

    with torch.enable_grad():
        free = tree_map(own, state)
        value = loss(free)
        value, extra = value if isinstance(value, tuple) else (value, None)
        grads = iter(torch.autograd.grad(value.sum(), list(leaves(free)), create_graph=nested))
    if extra is not None and not nested:
        extra = tree_map(lambda a: a.detach(), extra)
    return tree_map(lambda a: next(grads), free), extra
