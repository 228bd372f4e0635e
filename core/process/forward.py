"""The forward process between two times: from a state at s to a noisier one at t.

Gaussian   x_t = a x_s + sqrt(sigma_t^2 - a^2 sigma_s^2) eps,     a = alpha_t / alpha_s
masking    each token that is left is masked with probability 1 - alpha_t / alpha_s
"""

import math
from typing import Any

import torch

from core.errors import ConfigError
from core.process.gaussian import Gaussian
from core.process.masking import Masking, tokens_and_free, with_tokens
from core.process.product import Product
from core.state import Source, tree_map, uniform

__all__ = ["renoised"]


def renoised(process: Any, x: Any, s: float, t: float, gen: Source | None) -> Any:
    """Corrupt a state further.

    Args:
        x: state at time s, (B, ...) or a mapping of a product process.
        t: the later, noisier time.

    Raises:
        ConfigError: the process has no forward kernel here, or t holds less noise than s.
    """
    if isinstance(process, Product):
        mask = x.get("mask")
        noise = process.space.noise(x, gen)
        parts = {k: _moved(part, x[k], s, t, noise[k]) for k, part in process.parts.items()}
        return parts if mask is None else {**parts, "mask": mask}
    if isinstance(process, Masking):
        tokens, free = tokens_and_free(x)
        keep = process.alpha(t) / process.alpha(s)
        hidden = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device) >= keep
        hidden = hidden if free is None else hidden & free
        return with_tokens(x, torch.where(hidden, process.mask_token, tokens))
    return _moved(process, x, s, t, process.space.noise(x, gen) if isinstance(process, Gaussian) else None)


def _moved(process: Any, x: Any, s: float, t: float, eps: Any) -> Any:
    if not isinstance(process, Gaussian):
        raise ConfigError(f"no forward kernel between two times is known for {type(process).__name__}.")
    a = process.alpha(t) / process.alpha(s)
    added = process.sigma(t) ** 2 - (a * process.sigma(s)) ** 2
    if added < 0:
        raise ConfigError(f"time {t:.4g} holds less noise than time {s:.4g}.", hint="Swap the two times.")
    return tree_map(lambda value, z: a * value + math.sqrt(added) * z, x, eps)
