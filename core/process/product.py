"""Products: several states corrupted side by side on one clock, such as (tissue, haze) or (nodes, edges)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError
from core.process.scheduled import Scheduled
from core.state import Source, Spaces

__all__ = ["Product"]


@dataclass(frozen=True)
class Product:
    """A mapping of processes that share the time t; the state is a mapping with the same keys (and perhaps
    "mask").

    The components are independent given the clean state, so each keeps its own alpha and sigma. A denoiser of
    a product sees the joint state and returns the mapping of clean means.
    """

    parts: Mapping[str, Scheduled]

    def __post_init__(self) -> None:
        if not self.parts or "mask" in self.parts:
            raise ConfigError(f"a product needs named parts other than 'mask', got {sorted(self.parts)}.")

    @property
    def space(self) -> Spaces:
        return Spaces({name: part.space for name, part in self.parts.items()})

    @property
    def ends(self) -> tuple[float, float]:
        """Times covered by every part."""
        low, high = zip(*(part.ends for part in self.parts.values()), strict=True)
        return max(low), min(high)

    def perturb(
        self, x0: Mapping[str, Any], t: Any, gen: Source | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Corrupt each part at its own rate; the mask reaches the noise of every part and rides along."""
        self._check(x0)
        eps = self._noise(x0, gen)
        x = dict(x0)
        for name, part in self.parts.items():
            x[name] = part.mix(x0[name], eps[name], t)
        return x, eps

    def prior(self, like: Mapping[str, Any], gen: Source | None, t: float | None = None) -> dict[str, Any]:
        """Draw every part from its noise end (or from its noise alone at time t)."""
        self._check(like)
        out = self._noise(like, gen)
        for name, part in self.parts.items():
            out[name] = part.scaled(out[name], part.ends[1] if t is None else t)
        return out

    def _noise(self, like: Mapping[str, Any], gen: Source | None) -> dict[str, Any]:
        """Every part's own law of noise, drawn in the order of the state; the mask reaches each of them."""
        mask = like.get("mask")
        return {k: v if k == "mask" else self.parts[k].noise(v, gen, mask) for k, v in like.items()}

    def _check(self, state: Mapping[str, Any]) -> None:
        found = set(state) - {"mask"}
        if found != set(self.parts):
            raise ConfigError(f"the state has parts {sorted(found)}, the process has {sorted(self.parts)}.")
