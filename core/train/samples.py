"""Training data as an endless, numbered sequence of samples.

Sample number n is a pure function of (seed, n): its position in a shuffled epoch, its augmentation, its
noise. Step k of a run with batch B takes the numbers k B .. (k + 1) B - 1, and process r of W takes its own
part of them. A run that is resumed, or spread over several processes, or cut into micro-batches therefore
sees exactly the same data and noise.

    Shuffled   a data set with an index: a tensor (N, ...), a mapping of them, or anything with len() and []
    Drawn      samples made on demand from a generator: simulated frames, random patches
    Streamed   an iterator that can be reopened at a number: files too large for an index
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.state import Seeds, leaves

__all__ = ["Batch", "Drawn", "Samples", "Shuffled", "Streamed", "mixed_seed", "seeds_of", "stacked"]


class Batch(NamedTuple):
    """Clean states (leading axis B) and what the network is told about them."""

    x0: Any
    cond: Any = None


class Samples(Protocol):
    """Anything that gives the samples with these numbers, in this order, as one batch."""

    def __call__(self, numbers: range, seed: int) -> Batch: ...


def mixed_seed(*parts: int | str) -> int:
    """One 63-bit seed out of several names and numbers; neighbours give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little") >> 1


def seeds_of(numbers: range, seed: int, use: str, device: torch.device | str = "cpu") -> Seeds:
    """One generator per sample for one use, such as "noise"; a number draws the same in every batch."""
    return Seeds([mixed_seed(seed, use, n) for n in numbers], device)


@dataclass(frozen=True)
class Shuffled:
    """Every item once per epoch, in an order drawn anew each epoch.

    Args:
        items: a tensor (N, ...) or mapping of tensors, or a map-style data set whose items are single states
            (no batch axis) or `Batch(x0, cond)` of single states.
        cond: a tensor (N, ...) or mapping that belongs to tensor items.
        augment: changes a single state, `augment(x0, gen)`; it must not edit its argument.
    """

    items: Any
    cond: Any = None
    augment: Callable[[Any, torch.Generator], Any] | None = None

    def __post_init__(self) -> None:
        if self.count == 0:
            raise DataError("the training set is empty.")
        if self.cond is not None and not _is_state(self.items):
            raise ConfigError("cond= goes with tensor items; other data sets give Batch(x0, cond) items.")

    @property
    def count(self) -> int:
        """Items in the set."""
        return next(leaves(self.items)).shape[0] if _is_state(self.items) else len(self.items)

    def __call__(self, numbers: range, seed: int) -> Batch:
        where = [
            _order(self.count, mixed_seed(seed, "order", n // self.count))[n % self.count] for n in numbers
        ]
        if _is_state(self.items) and self.augment is None:
            index = torch.stack(where)
            return Batch(_taken(self.items, index), None if self.cond is None else _taken(self.cond, index))
        rows = []
        for n, i in zip(numbers, where, strict=True):
            x0, cond = self._item(i)
            if self.augment is not None:
                x0 = self.augment(x0, torch.Generator().manual_seed(mixed_seed(seed, "augment", n)))
            rows.append(Batch(x0, cond))
        return stacked(rows)

    def _item(self, i: Tensor) -> Batch:
        if _is_state(self.items):
            return Batch(_taken(self.items, i), None if self.cond is None else _taken(self.cond, i))
        item = self.items[int(i)]
        return item if isinstance(item, Batch) else Batch(item)


@dataclass(frozen=True)
class Drawn:
    """Samples made on demand.

    Args:
        draw: a generator -> one state (no batch axis) or `Batch(x0, cond)` of single states.
    """

    draw: Callable[[torch.Generator], Any]

    def __call__(self, numbers: range, seed: int) -> Batch:
        rows = [self.draw(gen) for gen in seeds_of(numbers, seed, "data").generators]
        return stacked([row if isinstance(row, Batch) else Batch(row) for row in rows])


@dataclass
class Streamed:
    """Samples from an iterator, which is read on to the numbers asked for and reopened to go back.

    Args:
        open: `open(start, seed)` iterates over single states (or `Batch` of them), from number `start` on,
            without end.
    """

    open: Callable[[int, int], Iterator[Any]]
    _at: tuple[int, int] | None = field(default=None, init=False, repr=False)
    _items: Iterator[Any] = field(default_factory=lambda: iter(()), init=False, repr=False)

    def __call__(self, numbers: range, seed: int) -> Batch:
        ahead = -1 if self._at is None or self._at[1] != seed else numbers.start - self._at[0]
        if ahead < 0:
            self._items = self.open(numbers.start, seed)
        for _ in range(ahead):
            next(self._items, None)
        rows = []
        for n in numbers:
            try:
                row = next(self._items)
            except StopIteration as err:
                self._at = None
                raise DataError(
                    f"the stream ended at sample {n}.", hint="Let it start over: a stream is endless."
                ) from err
            rows.append(row if isinstance(row, Batch) else Batch(row))
        self._at = (numbers.stop, seed)
        return stacked(rows)


def stacked(rows: Sequence[Batch]) -> Batch:
    """Single states as one batch; masks are stacked like everything else.

    Raises:
        DataError: the states differ in shape.
    """
    try:
        return Batch(_stack([row.x0 for row in rows]), _stack([row.cond for row in rows]))
    except RuntimeError as err:
        shapes = sorted({str([tuple(leaf.shape) for leaf in leaves(row.x0)]) for row in rows})
        raise DataError(
            f"a batch needs samples of one shape, got {', '.join(shapes)}.",
            hint="Crop or pad them, with a mask.",
        ) from err


def _stack(values: list[Any]) -> Any:
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {key: _stack([value[key] for value in values]) for key in first}
    return torch.stack([torch.as_tensor(value) for value in values])


def _is_state(items: Any) -> bool:
    return isinstance(items, Tensor | Mapping)


def _taken(items: Any, index: Tensor) -> Any:
    if isinstance(items, Mapping):
        return {key: _taken(value, index) for key, value in items.items()}
    return items[index]


@lru_cache(maxsize=4)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
