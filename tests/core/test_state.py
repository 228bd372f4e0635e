"""States as trees: randomness per sample, symmetric noise, masks, and a coupled system solved exactly."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import Plan, adams, ddim, log
from core.process import Karras, Product
from core.run import sample
from core.state import Euclidean, Masked, Seeds, Spaces, Symmetric, batch_size, leaves, numel, randn, uniform
from tests.fixtures.normal import Normal, moments_of

F64 = torch.float64


def test_a_sample_of_a_batch_equals_the_sample_drawn_alone() -> None:
    like = torch.zeros(3, 4, 2, dtype=F64)
    batch = randn(like, Seeds([5, 6, 7]))
    for i, seed in enumerate((5, 6, 7)):
        assert torch.equal(batch[i : i + 1], randn(like[:1], Seeds([seed])))


def test_seeds_hold_for_mappings_through_a_whole_stochastic_run() -> None:
    system = Coupled()
    plan = ddim(system.process, [2.0, 1.0, 0.3, 0.0], eta=1.0)

    def draw(seeds: list[int], mask: Tensor) -> Any:
        gen = Seeds(seeds)
        return sample(plan, system, system.process.prior(blank(mask), gen, plan.start), gen)

    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    both = draw([11, 12], mask)
    for i in range(2):
        alone = draw([11 + i], mask[i : i + 1])
        for name in ("x", "adj"):
            assert torch.equal(both[name][i : i + 1], alone[name])


def test_seeds_can_go_on_where_they_stopped() -> None:
    like = torch.zeros(2, 3)
    whole = Seeds([1, 2])
    randn(like, whole)
    second = randn(like, whole)
    again = Seeds([1, 2])
    randn(like, again)
    assert torch.equal(randn(like, Seeds.of(again.generators)), second)


def test_one_seed_per_sample_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="got 2 seeds for a batch of 3"):
        randn(torch.zeros(3, 1), Seeds([0, 1]))
    with pytest.raises(ConfigError, match="needs a source of randomness"):
        randn(torch.zeros(3, 1), None)


def test_complex_noise_has_unit_variance_in_each_part(gen: torch.Generator) -> None:
    z = randn(torch.zeros(20_000, dtype=torch.complex128), gen)
    # 20 000 draws: standard error of a deviation 0.005; four of them.
    assert z.real.std().item() == pytest.approx(1, abs=0.02)
    assert z.imag.std().item() == pytest.approx(1, abs=0.02)


def test_uniform_numbers_follow_the_seeds() -> None:
    where: dict[str, Any] = {"dtype": F64, "device": "cpu"}
    assert torch.equal(uniform((2, 3), Seeds([3, 4]), **where)[1:], uniform((1, 3), Seeds([4]), **where))


def test_symmetric_noise_has_unit_variance_on_every_free_entry(gen: torch.Generator) -> None:
    z = Symmetric().noise(torch.zeros(20_000, 4, 4, dtype=F64), gen)
    assert torch.equal(z, z.mT)
    assert not z.diagonal(dim1=1, dim2=2).any()
    rows, cols = torch.triu_indices(4, 4, offset=1)
    free = z[:, rows, cols]
    # 20 000 draws: standard error of a deviation 0.005, of a correlation 0.007; four of each.
    assert (free.std(0) - 1).abs().max() < 0.02
    assert (torch.corrcoef(free.T) - torch.eye(6, dtype=F64)).abs().max() < 0.03


def test_averaging_instead_of_mirroring_would_be_noticed(gen: torch.Generator) -> None:
    z = randn(torch.zeros(20_000, 4, 4, dtype=F64), gen)
    assert abs(((z + z.mT) / 2)[:, 0, 1].std().item() - 1) > 0.2


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 3, 5, 5)])
def test_symmetric_projection_is_idempotent_and_cuts_what_is_absent(
    shape: tuple[int, ...], gen: torch.Generator
) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
    space = Symmetric()
    once = space.project(torch.randn(shape, generator=gen, dtype=F64), mask)
    assert torch.equal(space.project(once, mask), once)
    assert not once[..., ~mask[0], :][0].any()
    assert not once[..., :, ~mask[1]][1].any()
    noise = space.noise(once, gen, mask)
    assert torch.equal(space.project(noise, mask), noise)


def test_dimensions_count_the_free_entries() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    spaces = Spaces({"x": Masked(), "adj": Symmetric()})
    like = {"x": torch.zeros(2, 4, 3), "adj": torch.zeros(2, 4, 4), "mask": mask}
    assert spaces.dim(like).tolist() == [9 + 3, 6 + 1]
    del like["mask"]
    assert spaces.dim(like).tolist() == [12 + 6] * 2
    assert Symmetric().dim(torch.zeros(1, 2, 4, 4)).tolist() == [12]
    assert Euclidean().dim(torch.zeros(2, 3, 5)).tolist() == [15, 15]


def test_trees_are_walked_without_their_masks() -> None:
    state = {
        "a": torch.zeros(2, 3),
        "b": {"c": torch.zeros(2, 4), "mask": torch.ones(2)},
        "mask": torch.ones(2),
    }
    assert [leaf.shape[1] for leaf in leaves(state)] == [3, 4]
    assert (batch_size(state), numel(state)) == (2, 7)


PARTS = {
    "x": Normal(mean=2.0, std=0.5, process=Karras(space=Masked())),
    "adj": Normal(mean=-1.0, std=0.3, process=Karras(space=Symmetric())),
}


PROCESS = Product({name: part.process for name, part in PARTS.items()})


@dataclass(frozen=True)
class Coupled:
    """The exact denoiser of nodes and edges whose present entries are independent Gaussians."""

    process: Any = PROCESS

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        means = {name: part(x[name], t).mean for name, part in PARTS.items()}
        return Posterior(mean=self.process.space.project({**means, "mask": x["mask"]}))


def blank(mask: Tensor) -> dict[str, Tensor]:
    b, n = mask.shape
    return {"x": torch.zeros(b, n, 3, dtype=F64), "adj": torch.zeros(b, n, n, dtype=F64), "mask": mask}


@pytest.mark.parametrize("rule", ["ddim", "adams"])
def test_a_masked_system_of_nodes_and_edges_reaches_its_exact_moments(rule: str) -> None:
    system = Coupled()
    grid = log(system.process, 60, low=0.02, high=20.0)

    def build(process: Any) -> Plan:
        return ddim(process, grid, eta=1.0) if rule == "ddim" else adams(process, grid, data_std=0.6)

    gen = torch.Generator().manual_seed(3)
    mask = (torch.arange(5) < torch.tensor([5, 3, 2, 4]).repeat(1500)[:, None]).to(torch.bool)
    plan = build(system.process)
    x0 = {"x": torch.full((6000, 5, 3), 2.0, dtype=F64), "adj": torch.full((6000, 5, 5), -1.0, dtype=F64)}
    clean = {**system.process.space.project({**x0, "mask": mask}), "mask": mask}
    # The start is drawn from the exact law: the mean, plus the deviation of x_t times noise of the space.
    eps = system.process.space.noise(clean, gen)
    start = {k: clean[k] + math.sqrt(PARTS[k].variance(plan.start)) * eps[k] for k in PARTS} | {"mask": mask}
    end = sample(plan, system, start, gen)

    assert end["mask"] is mask
    pair = mask[:, :, None] & mask[:, None, :] & ~torch.eye(5, dtype=torch.bool)
    assert not end["x"][~mask].any()
    assert not end["adj"][~pair].any()
    assert torch.equal(end["adj"], end["adj"].mT)
    upper = end["adj"][pair & torch.ones(5, 5, dtype=torch.bool).triu(1)]
    for found, name in ((end["x"][mask], "x"), (upper, "adj")):
        mean, std = moments_of(build(PARTS[name].process), PARTS[name])
        n = found.numel()
        # The plan's own exact law; four standard errors of a mean and of a deviation over n free entries.
        assert found.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(n))
        assert found.std().item() == pytest.approx(std, abs=4 * std / math.sqrt(2 * n))
        # And that law is close to the truth: the discretisation of 60 evaluations (7 % on the deviation).
        assert (mean, std) == pytest.approx((PARTS[name].mean, PARTS[name].std), rel=0.08)
