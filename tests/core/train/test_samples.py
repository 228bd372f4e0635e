"""Training samples are functions of their number, however they are batched."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.state import randn, uniform
from core.train.samples import Batch, Drawn, Samples, Shuffled, Streamed, mixed_seed, seeds_of

VECTORS = torch.arange(10.0)[:, None].expand(10, 3).contiguous()


def shifted(x0: Tensor, gen: torch.Generator) -> Tensor:
    return x0 + torch.randn(x0.shape, generator=gen)


def frame(gen: torch.Generator) -> Batch:
    x0 = torch.randn(3, generator=gen)
    return Batch(x0, {"gain": x0.sum()})


def counted(start: int, seed: int) -> Iterator[Tensor]:
    n = start
    while True:
        yield torch.tensor([float(n + seed)])
        n += 1


SOURCES = [
    Shuffled(VECTORS),
    Shuffled(VECTORS, augment=shifted),
    Shuffled(list(VECTORS)),
    Drawn(frame),
    Streamed(counted),
]


@pytest.mark.parametrize("source", SOURCES, ids=["tensor", "augmented", "map", "drawn", "streamed"])
def test_a_number_gives_the_same_sample_in_any_batch(source: Samples) -> None:
    whole = source(range(0, 24), 3).x0
    parts = [source(range(a, b), 3).x0 for a, b in ((16, 24), (0, 5), (5, 6), (6, 16))]
    assert torch.equal(torch.cat([parts[1], parts[2], parts[3], parts[0]]), whole)


@pytest.mark.parametrize("source", SOURCES[:4], ids=["tensor", "augmented", "map", "drawn"])
def test_another_seed_gives_other_samples(source: Samples) -> None:
    assert not torch.equal(source(range(0, 10), 3).x0, source(range(0, 10), 4).x0)


def test_every_item_comes_once_per_epoch_and_epochs_differ() -> None:
    order = Shuffled(VECTORS)(range(0, 30), 0).x0[:, 0].reshape(3, 10)
    assert torch.equal(order.sort(1).values, torch.arange(10.0).expand(3, 10))
    assert not torch.equal(order[0], order[1])


def test_conditions_and_masks_stay_with_their_items() -> None:
    items = {"x": VECTORS, "mask": VECTORS.bool()}
    batch = Shuffled(items, cond=VECTORS[:, 0] * 2)(range(3, 9), 1)
    assert torch.equal(batch.cond, batch.x0["x"][:, 0] * 2)
    assert torch.equal(batch.x0["mask"], batch.x0["x"].bool())
    one_by_one = Shuffled(items, cond=VECTORS[:, 0] * 2, augment=lambda x0, gen: x0)(range(3, 9), 1)
    assert torch.equal(one_by_one.x0["mask"], batch.x0["mask"])
    assert torch.equal(one_by_one.cond, batch.cond)


def test_drawn_conditions_are_stacked() -> None:
    batch = Drawn(frame)(range(4), 0)
    torch.testing.assert_close(batch.cond["gain"], batch.x0.sum(1))


def test_a_stream_is_opened_once_while_the_numbers_rise() -> None:
    opened = []

    def note(start: int, seed: int) -> Iterator[Tensor]:
        opened.append(start)
        return counted(start, seed)

    stream = Streamed(note)
    for step in range(4):
        stream(range(5 * step, 5 * step + 5), 0)
    assert opened == [0]
    assert stream(range(40, 42), 0).x0.ravel().tolist() == [40.0, 41.0]
    assert opened == [0]
    assert stream(range(30, 31), 0).x0.item() == 30.0
    assert stream(range(31, 32), 7).x0.item() == 38.0
    assert opened == [0, 30, 31]


def test_noise_belongs_to_its_sample() -> None:
    both = randn(torch.empty(6, 2), seeds_of(range(10, 16), 0, "noise"))
    assert torch.equal(randn(torch.empty(2, 2), seeds_of(range(12, 14), 0, "noise")), both[2:4])
    assert not torch.equal(randn(torch.empty(6, 2), seeds_of(range(10, 16), 0, "data")), both)


def test_neighbouring_seeds_are_unrelated() -> None:
    seeds = [mixed_seed(s, "noise", n) for s in range(30) for n in range(30)]
    assert len(set(seeds)) == 900
    u = torch.cat(
        [
            uniform((1,), seeds_of(range(n, n + 1), 0, "noise"), dtype=torch.float64, device="cpu")
            for n in range(2000)
        ]
    )
    # Serial correlation of 2000 independent draws: standard error 0.022.
    assert torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1].abs() < 0.09


def test_bad_data_are_named() -> None:
    with pytest.raises(DataError, match="empty"):
        Shuffled(VECTORS[:0])
    with pytest.raises(ConfigError, match="cond= goes with tensor items"):
        Shuffled(list(VECTORS), cond=VECTORS)
    with pytest.raises(DataError, match=r"one shape, got \[\(2,\)\], \[\(3,\)\]"):
        Shuffled([torch.zeros(2), torch.zeros(3)])(range(2), 0)
    with pytest.raises(DataError, match="stream ended at sample 2"):
        Streamed(lambda start, seed: iter([torch.zeros(1)] * 2))(range(0, 4), 0)
