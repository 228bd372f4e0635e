"""States as trees of tensors, the spaces they live in, and where their randomness comes from.

A state is a tensor with leading axis B, or a mapping of states. The key "mask" is reserved: it holds what is
valid (a boolean tensor, such as (B, N) nodes of padded graphs), rides along unchanged and is never moved by
arithmetic.

A space says how noise is drawn and how a state is brought back into it. Noise drawn in a space lies in it,
and so does a projected network output; the updates of a plan are linear, so nothing else needs projecting on
the way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = [
    "Euclidean",
    "Masked",
    "Patchwork",
    "Seeds",
    "Source",
    "Space",
    "Spaces",
    "State",
    "Symmetric",
    "batch_size",
    "leaves",
    "numel",
    "per_sample",
    "randn",
    "take",
    "tree_map",
    "uniform",
]

State: TypeAlias = Tensor | Mapping[str, "State"]


class Seeds:
    """One generator per sample, so that sample i of a batch equals the sample drawn alone with seed i.

    Args:
        seeds: one integer per sample of the batch.
        device: where the noise is drawn.
    """

    each: int = 1

    def __init__(self, seeds: Sequence[int], device: str | torch.device = "cpu") -> None:
        self.generators = [torch.Generator(device).manual_seed(int(seed)) for seed in seeds]

    def __len__(self) -> int:
        return len(self.generators)

    @classmethod
    def of(cls, generators: Sequence[torch.Generator]) -> "Seeds":
        """Generators that are already there, so that a run can go on where it stopped."""
        seeds = cls([])
        seeds.generators = list(generators)
        return seeds

    def blocks(self, n: int) -> "Seeds":
        """The same generators, each drawing n neighbouring rows of the batch: one per group of particles."""
        seeds = Seeds.of(self.generators)
        seeds.each = n
        return seeds


class Patchwork(Seeds):
    """Seeds by position: what position i of sample b draws is what a generator with seed (b, i) draws there.

    Search over tokens keeps the noise of some positions and draws that of others anew.

    Args:
        seeds: (B, L) integers; L is the second axis of everything that is drawn.
        device: where the noise is drawn.
    """

    def __init__(self, seeds: Tensor, device: str | torch.device = "cpu") -> None:
        self.patches: list[tuple[list[torch.Generator], Tensor]] = []
        for row in seeds:
            found, owner = row.unique(return_inverse=True)
            self.patches.append((Seeds(found.tolist(), device).generators, owner.to(device)))
        self.generators = [generators[0] for generators, _ in self.patches]


Source: TypeAlias = torch.Generator | Seeds


def _draw(fn: Callable[..., Tensor], shape: Sequence[int], gen: Source | None, **where: Any) -> Tensor:
    if gen is None:
        raise ConfigError(
            "a stochastic step needs a source of randomness.",
            hint="Pass gen=torch.Generator().manual_seed(0).",
        )
    if isinstance(gen, torch.Generator):
        if (device := where.get("device")) is not None and gen.device != torch.device(device):
            return fn(tuple(shape), generator=gen, dtype=where.get("dtype"), device=gen.device).to(device)
        return fn(tuple(shape), generator=gen, **where)
    if len(gen) * gen.each != shape[0]:
        raise ConfigError(
            f"got {len(gen)} seeds for a batch of {shape[0]}.", hint="Give one seed per sample."
        )
    if isinstance(gen, Patchwork):
        return torch.stack([_patched(fn, shape[1:], *patch, **where) for patch in gen.patches])
    rows = [_draw(fn, (gen.each, *shape[1:]), each, **where) for each in gen.generators]
    return torch.cat(rows) if rows else fn(tuple(shape), **where)


def _patched(
    fn: Callable[..., Tensor],
    shape: Sequence[int],
    generators: list[torch.Generator],
    owner: Tensor,
    **where: Any,
) -> Tensor:
    """One sample (L, ...) of a patchwork: each position from the draw of its owner."""
    if len(shape) < 1 or shape[0] != len(owner):
        raise ConfigError(f"noise by position is for {len(owner)} positions, asked for {tuple(shape)}.")
    layers = torch.stack([_draw(fn, shape, each, **where) for each in generators])
    at = owner.to(layers.device).reshape(1, -1, *[1] * (layers.ndim - 2))
    return layers.gather(0, at.expand(1, *layers.shape[1:]))[0]


def randn(like: Tensor, gen: Source | None) -> Tensor:
    """Standard normal noise with the shape, type and device of `like`. Complex noise has unit variance per
    part.
    """
    if like.is_complex():
        parts = _draw(torch.randn, (*like.shape, 2), gen, dtype=like.real.dtype, device=like.device)
        return torch.view_as_complex(parts)
    return _draw(torch.randn, like.shape, gen, dtype=like.dtype, device=like.device)


def uniform(
    shape: Sequence[int], gen: Source | None, *, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Uniform numbers in [0, 1), drawn per sample when `gen` is `Seeds`."""
    return _draw(torch.rand, shape, gen, dtype=dtype, device=device)


def tree_map(fn: Callable[..., Any], *trees: Any) -> Any:
    """Apply `fn` leaf by leaf to trees of one structure; masks of the first tree are carried over as they
    are.
    """
    first = trees[0]
    if isinstance(first, Mapping):
        return {
            key: value if key == "mask" else tree_map(fn, *(tree[key] for tree in trees))
            for key, value in first.items()
        }
    return fn(*trees)


def leaves(state: State) -> Iterator[Tensor]:
    """The moving tensors of a state, in order; masks are left out."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            if key != "mask":
                yield from leaves(value)
    else:
        yield state


def batch_size(state: State) -> int:
    """Length of the leading axis."""
    return next(leaves(state)).shape[0]


def numel(state: State) -> int:
    """Elements per sample, over all leaves."""
    return sum(leaf[0].numel() for leaf in leaves(state))


def take(state: Any, rows: Tensor) -> Any:
    """These rows of the batch, masks included; a row may be taken more than once."""
    if isinstance(state, Mapping):
        return {key: take(value, rows) for key, value in state.items()}
    return state.index_select(0, rows)


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) values so that they broadcast over (B, ...); scalars pass through."""
    return value.reshape(-1, *([1] * (like.ndim - 1))) if value.ndim == 1 else value


class Space(Protocol):
    """Where a state lives."""

    def noise(self, like: Any, gen: Source | None, mask: Tensor | None = None) -> Any:
        """Standard noise of this space, shaped like `like`."""

    def project(self, x: Any, mask: Tensor | None = None) -> Any:
        """The nearest state of this space."""

    def dim(self, like: Any, mask: Tensor | None = None) -> Tensor:
        """Degrees of freedom of each sample, (B,)."""


@dataclass(frozen=True)
class Euclidean:
    """Tensors without structure."""

    def noise(self, like: Tensor, gen: Source | None, mask: Tensor | None = None) -> Tensor:
        return randn(like, gen)

    def project(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x

    def dim(self, like: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.full((like.shape[0],), like[0].numel(), device=like.device)


@dataclass(frozen=True)
class Masked:
    """Rows of (B, N, ...) that a mask (B, N) declares absent are zero."""

    def noise(self, like: Tensor, gen: Source | None, mask: Tensor | None = None) -> Tensor:
        return self.project(randn(like, gen), mask)

    def project(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x if mask is None else x * mask.to(x.dtype).reshape(*mask.shape, *([1] * (x.ndim - mask.ndim)))

    def dim(self, like: Tensor, mask: Tensor | None = None) -> Tensor:
        width = like[0, 0].numel()
        return torch.full((like.shape[0],), like.shape[1] * width) if mask is None else mask.sum(1) * width


@dataclass(frozen=True)
class Symmetric:
    """Adjacency tensors (B, ..., N, N): symmetric, zero on the diagonal, zero where a node mask (B, N) says
    so.

    Noise has unit variance per free entry: the upper triangle is drawn and mirrored, not averaged.
    """

    def noise(self, like: Tensor, gen: Source | None, mask: Tensor | None = None) -> Tensor:
        upper = torch.triu(randn(like, gen), diagonal=1)
        return self._cut(upper + upper.mT, mask)

    def project(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        even = (x + x.mT) / 2
        return self._cut(even - torch.diag_embed(torch.diagonal(even, dim1=-2, dim2=-1)), mask)

    def dim(self, like: Tensor, mask: Tensor | None = None) -> Tensor:
        width = like.shape[1:-2].numel()
        n = torch.full((like.shape[0],), like.shape[-1]) if mask is None else mask.sum(1)
        return width * n * (n - 1) // 2

    def _cut(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return x
        pair = (mask[:, :, None] & mask[:, None, :]).to(x.dtype)
        return x * pair.reshape(pair.shape[0], *([1] * (x.ndim - 3)), *pair.shape[1:])


@dataclass(frozen=True)
class Spaces:
    """A mapping of spaces, one per key of the state; the state's own "mask" reaches each of them."""

    parts: Mapping[str, Any]

    def noise(
        self, like: Mapping[str, Any], gen: Source | None, mask: Tensor | None = None
    ) -> dict[str, Any]:
        mask = like.get("mask", mask)
        return {k: v if k == "mask" else self.parts[k].noise(v, gen, mask) for k, v in like.items()}

    def project(self, x: Mapping[str, Any], mask: Tensor | None = None) -> dict[str, Any]:
        mask = x.get("mask", mask)
        return {
            key: value if key == "mask" else self.parts[key].project(value, mask) for key, value in x.items()
        }

    def dim(self, like: Mapping[str, Any], mask: Tensor | None = None) -> Tensor:
        mask = like.get("mask", mask)
        return torch.stack([self.parts[k].dim(v, mask) for k, v in like.items() if k != "mask"]).sum(0)
