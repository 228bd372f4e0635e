"""The interpreter that draws: a program is a batch of values with log weights, all particles at once.

Values are integers of finite sets or tensors of any kind, in tuples and mappings as the program likes, with
the batch's shape leading. The programs are those of `core.infer.exact`; only what `choose` and `score` do is
another thing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.errors import ConfigError
from core.infer.exact import Kernel, Program
from core.infer.measure import Factor, Table
from core.infer.resample import Resampler, inverse, parents_of
from core.state import Source, uniform

__all__ = ["Drawn", "LogWeight", "Sample"]


class LogWeight(NamedTuple):
    """A weight given by its logarithm, to be scored."""

    value: Tensor


@dataclass(frozen=True)
class Drawn:
    """Values and log weights of one batch of runs; log weights have the batch's shape."""

    value: Any
    log_w: Tensor


@dataclass(frozen=True)
class Sample:
    """Programs as batches of draws.

    Attributes:
        shape: of the batch; a population adds an axis of its particles.
        gen: source of all randomness.
    """

    shape: tuple[int, ...]
    gen: Source

    def unit(self, value: Any) -> Drawn:
        return Drawn(value, self._zeros())

    def bind(self, program: Drawn, then: Callable[[Any], Drawn]) -> Drawn:
        after = then(program.value)
        return Drawn(after.value, program.log_w + after.log_w)

    def choose(self, table: Table | Callable[[tuple[int, ...], Source], Any], x: Any = 0) -> Drawn:
        """Draw from rows x of a table, or from a function (shape, gen) -> tensor."""
        if not isinstance(table, Table):
            return self.unit(table(self.shape, self.gen))
        rows = table.tensor[x].expand(*self.shape, -1)
        return self.unit(inverse(rows, self._uniform()[..., None])[..., 0])

    def score(self, factor: Any, x: Any = None) -> Drawn:
        """Add log weight: of entry x of a `Factor`, of a `LogWeight`, of a number or a tensor of weights."""
        if isinstance(factor, LogWeight):
            gain = factor.value.to(torch.float64)
        elif isinstance(factor, Factor):
            gain = factor.tensor[0 if x is None else x].log()
        else:
            gain = torch.as_tensor(factor, dtype=torch.float64).log()
        return Drawn(None, gain.expand(self.shape))

    def flip(self, chance: Any, yes: Any, no: Any) -> Drawn:
        heads = self._uniform() < torch.as_tensor(chance, dtype=torch.float64)
        return self.unit(_where(heads, yes, no) if self.shape else yes if heads else no)

    def spawn(self, n: int, program: Program) -> Drawn:
        if n < 1:
            raise ConfigError(f"a population needs at least 1 particle, got {n}.")
        return self.unit(program(self._many(n)))

    def each(self, cloud: Drawn, kernel: Kernel) -> Drawn:
        inner = self._many(cloud.log_w.shape[-1])
        return self.unit(inner.bind(cloud, lambda value: kernel(inner, value)))

    def reparent(self, cloud: Drawn, rule: str | Resampler) -> Drawn:
        n = cloud.log_w.shape[-1]
        parents = parents_of(cloud.log_w.reshape(-1, n), self.gen, rule).reshape(*self.shape, n)
        children = Drawn(_gather(cloud.value, parents), torch.zeros_like(cloud.log_w))
        return self.unit((children, LogWeight(torch.logsumexp(cloud.log_w, -1) - math.log(n))))

    def average(self, cloud: Drawn) -> Drawn:
        n = cloud.log_w.shape[-1]
        chosen = (self._uniform() * n).long().clamp_max(n - 1)[..., None]
        value = _over(lambda a: a.select(len(self.shape), 0), _gather(cloud.value, chosen))
        return Drawn(value, cloud.log_w.gather(-1, chosen)[..., 0])

    def _many(self, n: int) -> "Sample":
        return Sample((*self.shape, n), self.gen)

    def _zeros(self) -> Tensor:
        return torch.zeros(self.shape, dtype=torch.float64)

    def _uniform(self) -> Tensor:
        return uniform(self.shape, self.gen, dtype=torch.float64, device="cpu")


def _over(fn: Callable[..., Any], *trees: Any) -> Any:
    """Leaf by leaf over tuples and mappings."""
    first = trees[0]
    if isinstance(first, tuple):
        return tuple(_over(fn, *parts) for parts in zip(*trees, strict=True))
    if isinstance(first, Mapping):
        return {key: _over(fn, *(tree[key] for tree in trees)) for key in first}
    return fn(*trees)


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *([1] * max(0, like.ndim - mask.ndim)))


def _where(mask: Tensor, yes: Any, no: Any) -> Any:
    def one(a: Any, b: Any) -> Tensor:
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        return torch.where(_wide(mask, a), a, b)

    return _over(one, yes, no)


def _gather(value: Any, parents: Tensor) -> Any:
    axis = parents.ndim - 1

    def one(leaf: Tensor) -> Tensor:
        index = _wide(parents, leaf)
        return leaf.gather(axis, index.expand(*parents.shape, *leaf.shape[parents.ndim :]))

    return _over(one, value)
