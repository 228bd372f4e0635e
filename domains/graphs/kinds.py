"""What the numbers of a set of graphs mean: elements, padded nodes N, node features F; and the published
sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError

__all__ = ["KINDS", "ZINC_ATOMS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """What the numbers of a set of graphs mean.

    Args:
        name: of the set, for reports and checkpoints.
        atoms: element of each node feature; () for generic graphs, whose node features are one-hot degrees.
        max_nodes: N, padded nodes.
        features: F; for molecules the number of elements, for generic graphs the largest degree plus 1.
    """

    name: str
    atoms: tuple[str, ...]
    max_nodes: int
    features: int

    def __post_init__(self) -> None:
        if self.max_nodes < 1 or self.features < 1:
            raise ConfigError(
                f"kind '{self.name}': max_nodes and features must be at least 1, got {self.max_nodes} and "
                f"{self.features}."
            )
        if self.atoms and len(self.atoms) != self.features:
            raise ConfigError(
                f"kind '{self.name}': {len(self.atoms)} elements for {self.features} features.",
                hint="A molecule has one feature per element.",
            )

    @property
    def molecular(self) -> bool:
        return bool(self.atoms)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for checkpoints and sidecars; `from_dict` is the inverse."""
        return {
            "name": self.name,
            "atoms": list(self.atoms),
            "max_nodes": self.max_nodes,
            "features": self.features,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kind":
        return cls(values["name"], tuple(values["atoms"]), values["max_nodes"], values["features"])


ZINC_ATOMS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("community_small", (), 20, 10),
        Kind("ego_small", (), 18, 17),
        Kind("enzymes", (), 125, 10),
        Kind("grid", (), 361, 5),
        Kind("comm20", (), 20, 10),
        Kind("qm9", ("C", "N", "O", "F"), 9, 4),
        Kind("zinc250k", ZINC_ATOMS, 38, 9),
    )
}
"""The published sets; Jo, Lee & Hwang 2022, arXiv:2202.02514, and for comm20 Martinkus et al. 2022."""
