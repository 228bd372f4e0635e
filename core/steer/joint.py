"""Independent priors of the parts of a state, as one denoiser of their product.

p(tissue, haze) = p(tissue) p(haze): each part is corrupted on its own, so each is denoised by its own model.
What ties the parts together is a measurement, added by `core.steer.consistency`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.denoise import Denoiser, Posterior
from core.process.product import Product

__all__ = ["Joint"]


@dataclass(frozen=True)
class Joint:
    """A denoiser of a mapping of states, one model per key; one call of each model per evaluation."""

    priors: Mapping[str, Denoiser]

    @property
    def process(self) -> Product:
        return Product({name: prior.process for name, prior in self.priors.items()})

    def __call__(self, x: Mapping[str, Any], t: Any, cond: Any = None) -> Posterior:
        """Posterior means by key. `cond` is a mapping with a condition per key, or None."""
        means = {
            name: prior(x[name], t, None if cond is None else cond[name]).mean
            for name, prior in self.priors.items()
        }
        return Posterior(mean={**x, **means})
