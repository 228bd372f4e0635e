"""Feynman-Kac steering where the steered law is known: tensors, masked mappings and tokens by one function.

exp(log_z) times the weighted mean is unbiased for every n, so groups of few particles are averaged and
compared with the closed form within standard errors that the groups themselves give.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import core.run
from core.denoise import Posterior
from core.errors import ConfigError, NumericalError
from core.infer import difference, fk_sample, mala, maximum, ratio, rowwise, spread, total
from core.infer.particles import Particles
from core.infer.resample import RESAMPLERS
from core.plan import Plan, ancestral, ddim, dpmpp, log, unmask
from core.process import Karras, Masking, Product
from core.run import Step, sample
from core.state import Masked, Seeds, Symmetric, take
from tests.fixtures.normal import Normal, moments_of

F64 = torch.float64
EDM = Karras(0.01, 10.0)
NORMAL = Normal(0.4, 0.5, EDM)
GRID = log(EDM, 8)[:-1]
# An ancestral row has sigma_s^2 / sigma_t^2 of the noise of the true kernel; below one half the weights of
# target ratios have no variance.
FINE = log(EDM, 26, low=0.1)[:-1]
Y, NOISE = 1.0, 0.5


def start(plan: Plan, n: int, gen: torch.Generator) -> Tensor:
    return NORMAL.mean + math.sqrt(NORMAL.variance(plan.start)) * torch.randn(n, 1, generator=gen, dtype=F64)


def reward(x: Tensor) -> Tensor:
    """Log likelihood of the measurement y = x + noise."""
    return (-((Y - x) ** 2) / (2 * NOISE**2) - math.log(NOISE * math.sqrt(2 * math.pi))).sum(1)


def evidence(mean: float, std: float) -> tuple[float, float]:
    """Evidence, and evidence times posterior mean, of y under the prior N(mean, std^2)."""
    v = std**2 + NOISE**2
    z = math.exp(-((Y - mean) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
    return z, z * (mean + std**2 / v * (Y - mean))


def off(values: Tensor, exact: float) -> float:
    """Distance of the mean over groups from the exact value, in standard errors."""
    return abs(float(values.mean()) - exact) / (float(values.std()) / math.sqrt(len(values)))


def runs(plan: Plan, potential: Any, gen: Any, *, groups: int = 400, n: int = 8, **kwargs: Any) -> Particles:
    first = gen if isinstance(gen, torch.Generator) else torch.Generator().manual_seed(1)
    return fk_sample(plan, NORMAL, potential, start(plan, groups * n, first), gen, groups=groups, **kwargs)


@pytest.mark.parametrize("name", RESAMPLERS)
def test_every_resampler_leaves_evidence_and_posterior_mean_unbiased(name: str, gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    z, zm = evidence(*moments_of(plan, NORMAL))
    found = runs(plan, difference(reward), gen, resampler=name, ess_threshold=1.0)
    assert off(found.log_z.exp(), z) < 4
    assert off(found.log_z.exp() * found.mean(found.x)[:, 0], zm) < 4


def test_copying_the_heaviest_particle_is_caught(gen: torch.Generator) -> None:
    def heaviest(weights: Tensor, gen: Any) -> Tensor:
        return weights.argmax(1, keepdim=True).expand_as(weights)

    plan = ancestral(EDM, GRID)
    z, zm = evidence(*moments_of(plan, NORMAL))
    found = runs(plan, difference(reward), gen, resampler=heaviest, ess_threshold=1.0)
    assert off(found.log_z.exp(), z) > 6
    assert off(found.log_z.exp() * found.mean(found.x)[:, 0], zm) > 6


@pytest.mark.parametrize("build", [difference, maximum, total])
def test_every_potential_of_rewards_ends_at_the_same_law(build: Any, gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    z, zm = evidence(*moments_of(plan, NORMAL))
    found = runs(plan, build(reward), gen, groups=800)
    assert off(found.log_z.exp(), z) < 4
    assert off(found.log_z.exp() * found.mean(found.x)[:, 0], zm) < 4


def test_log_z_of_many_particles_is_the_log_of_the_evidence(gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    z, _ = evidence(*moments_of(plan, NORMAL))
    found = runs(plan, difference(reward), gen, groups=200, n=512)
    # log_z is biased by -variance / 2, which 512 particles make a tenth of a standard error of 200 runs.
    assert off(found.log_z, math.log(z)) < 4
    assert off(found.log_z.exp(), z) < 4
    assert found.log_z.std().item() < 0.1


def test_the_history_of_multistep_rows_follows_the_resampled_particles(
    gen: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = dpmpp(EDM, GRID, eta=1.0)
    assert plan.order == 2
    z, zm = evidence(*moments_of(plan, NORMAL))

    def error() -> float:
        found = runs(plan, difference(reward), gen, groups=2000, ess_threshold=1.0)
        return max(off(found.log_z.exp(), z), off(found.log_z.exp() * found.mean(found.x)[:, 0], zm))

    assert error() < 4
    monkeypatch.setattr(core.run, "take", lambda state, rows: state)
    assert error() > 6


def target(x: Tensor, t: float) -> Tensor:
    """Normalised density of the noisy data of NORMAL, times the likelihood of y given x_t."""
    v = NORMAL.variance(t)
    prior = -((x - NORMAL.mean) ** 2) / (2 * v) - math.log(2 * math.pi * v) / 2
    gain = NORMAL.std**2 / v
    mean, spread = NORMAL.mean + gain * (x - NORMAL.mean), NORMAL.std**2 * (1 - gain) + NOISE**2
    return (prior - (Y - mean) ** 2 / (2 * spread) - math.log(2 * math.pi * spread) / 2).sum(1)


def target_score(x: Tensor, t: float) -> Tensor:
    v = NORMAL.variance(t)
    gain = NORMAL.std**2 / v
    mean, spread = NORMAL.mean + gain * (x - NORMAL.mean), NORMAL.std**2 * (1 - gain) + NOISE**2
    return -(x - NORMAL.mean) / v + gain * (Y - mean) / spread


def drawn_from(x: Tensor, t: float) -> Tensor:
    v = NORMAL.variance(t)
    return (-((x - NORMAL.mean) ** 2) / (2 * v) - math.log(2 * math.pi * v) / 2).sum(1)


@pytest.mark.parametrize("moves", [None, mala(target, target_score, lambda t: 0.3 * (0.25 + t**2), n=2)])
def test_target_ratios_are_exact_under_a_wrong_denoiser_and_coarse_rows(
    moves: Any, gen: torch.Generator
) -> None:
    wrong = Normal(0.0, 0.8, EDM)
    plan = ancestral(EDM, FINE)
    x = start(plan, 400 * 32, gen)
    weigh = ratio(EDM, target, log_start=drawn_from)
    found = fk_sample(plan, wrong, weigh, x, gen, groups=400, moves=moves)
    # The target is the law of (x_t, y), with x_t = x_0 + sigma eps and y = x_0 + noise.
    z, zm = evidence(NORMAL.mean, NORMAL.std)
    var = NORMAL.variance(plan.end) - NORMAL.std**4 / (NORMAL.std**2 + NOISE**2)
    assert off(found.log_z.exp(), z) < 4
    assert off(found.log_z.exp() * found.mean(found.x)[:, 0], zm) < 4
    assert off(found.log_z.exp() * found.mean(found.x**2)[:, 0], zm**2 / z + z * var) < 4


@dataclass(frozen=True)
class Entries:
    """Independent entries N(mean, std^2) of a masked graph: nodes and edges."""

    process: Product = field(
        default_factory=lambda: Product(
            {"nodes": Karras(0.01, 10.0, space=Masked()), "edges": Karras(0.01, 10.0, space=Symmetric())}
        )
    )

    def __call__(self, x: Mapping[str, Any], t: Any, cond: Any = None) -> Posterior:
        mean = {key: x[key] if key == "mask" else NORMAL(x[key], t).mean for key in x}
        return Posterior(mean=self.process.space.project(mean))


def graphs(mask: Tensor, gen: torch.Generator) -> dict[str, Any]:
    n = len(mask)
    like = {"nodes": torch.zeros(n, 3, 1, dtype=F64), "edges": torch.zeros(n, 3, 3, dtype=F64), "mask": mask}
    space = Entries().process.space
    level = math.sqrt(NORMAL.variance(GRID[0]))
    noise = space.noise(like, gen)
    centre = space.project({k: v if k == "mask" else v + NORMAL.mean for k, v in like.items()})
    return {k: v if k == "mask" else centre[k] + level * noise[k] for k, v in like.items()}


def mass(x: Mapping[str, Any]) -> Tensor:
    """Sum over nodes and edges, every edge once."""
    return x["nodes"].flatten(1).sum(1) + x["edges"].flatten(1).sum(1) / 2


def test_a_masked_mapping_has_the_evidence_of_its_free_entries(gen: torch.Generator) -> None:
    plan = ancestral(Entries().process, GRID)
    mean, std = moments_of(ancestral(EDM, GRID), NORMAL)
    groups, n, a = 600, 8, 0.8
    sizes = torch.tensor([3, 2]).repeat(groups // 2)
    mask = (torch.arange(3) < sizes[:, None]).repeat_interleave(n, 0)
    found = fk_sample(
        plan, Entries(), difference(lambda x: a * mass(x)), graphs(mask, gen), gen, groups=groups
    )
    for size, free in ((3, 6), (2, 3)):
        z = math.exp(free * (a * mean + a**2 * std**2 / 2))
        these = sizes == size
        assert off(found.log_z.exp()[these], z) < 4
        weighed = (found.log_z.exp() * found.mean(mass(found.x)))[these]
        assert off(weighed, z * free * (mean + a * std**2)) < 4


def test_masks_travel_with_the_particles_they_belong_to(gen: torch.Generator) -> None:
    mask = torch.arange(3) < torch.randint(1, 4, (64, 1), generator=gen)
    found = fk_sample(
        ancestral(Entries().process, GRID),
        Entries(),
        difference(lambda x: 2 * mass(x)),
        graphs(mask, gen),
        gen,
    )
    assert not torch.equal(found.x["mask"], mask)
    assert torch.equal(found.x["nodes"][..., 0] != 0, found.x["mask"])
    assert torch.equal(found.x["edges"], found.x["edges"].mT)
    # Large graphs have more reward: resampling favours them.
    assert found.x["mask"].sum() > mask.sum()


def test_masked_target_ratios_count_every_free_entry_once(gen: torch.Generator) -> None:
    plan = ancestral(Entries().process, FINE)
    groups, n = 300, 16
    mask = torch.tensor([True, True, False]).expand(groups * n, 3)
    wrong = Normal(0.2, 0.6, EDM)

    @dataclass(frozen=True)
    class Wrong(Entries):
        def __call__(self, x: Mapping[str, Any], t: Any, cond: Any = None) -> Posterior:
            mean = {key: x[key] if key == "mask" else wrong(x[key], t).mean for key in x}
            return Posterior(mean=self.process.space.project(mean))

    def log_target(x: Mapping[str, Any], t: float) -> Tensor:
        v = NORMAL.variance(t)
        free = torch.cat([x["nodes"][:, :2, 0], x["edges"][:, :1, 1]], dim=1) - NORMAL.mean
        return (-(free**2) / (2 * v) - math.log(2 * math.pi * v) / 2).sum(1)

    found = fk_sample(
        plan, Wrong(), ratio(Wrong().process, log_target), graphs(mask, gen), gen, groups=groups
    )
    v = NORMAL.variance(plan.end)
    assert off(found.log_z.exp(), 1.0) < 4
    assert off(found.log_z.exp() * found.mean(mass(found.x)), 3 * NORMAL.mean) < 4
    square = found.log_z.exp() * found.mean((mass(found.x) - 3 * NORMAL.mean) ** 2)
    assert off(square, 3 * v) < 4


TABLE = torch.tensor([[4.0, 1.0], [2.0, 3.0]], dtype=F64) / 10
TOKENS = Masking(2)


@dataclass(frozen=True)
class TwoTokens:
    """The exact posterior of two dependent binary tokens."""

    process: Masking = TOKENS

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        first = torch.stack([law([2, int(b)], 0) for b in range(3)])
        second = torch.stack([law([int(a), 2], 1) for a in range(3)])
        return Posterior(logits=torch.stack([first[x[:, 1]], second[x[:, 0]]], 1).log())


def law(tokens: list[int], place: int) -> Tensor:
    """Law of one token given the other, where 2 is a mask."""
    other = tokens[1 - place]
    table = TABLE if place == 0 else TABLE.T
    column = table.sum(1) if other == 2 else table[:, other]
    return column / column.sum()


def token_law(plan: Plan) -> Tensor:
    """Law of the plan's own result over pairs of tokens, by enumerating its Markov chain."""
    now = {(2, 2): 1.0}
    for row in plan.rows:
        after: dict[tuple[int, int], float] = {}
        for pair, p in now.items():
            each = []
            for place in range(2):
                if pair[place] != 2:
                    each.append({pair[place]: 1.0})
                    continue
                probs = row.reveal * law(list(pair), place)  # type: ignore[union-attr]
                each.append({0: float(probs[0]), 1: float(probs[1]), 2: 1 - row.reveal})  # type: ignore[union-attr]
            for a, b in itertools.product(*each):
                after[a, b] = after.get((a, b), 0.0) + p * each[0][a] * each[1][b]
        now = after
    return torch.tensor([[now[a, b] for b in range(2)] for a in range(2)], dtype=F64)


@pytest.mark.parametrize("build", [difference, maximum])
def test_tokens_follow_the_plan_tilted_by_the_reward(build: Any, gen: torch.Generator) -> None:
    plan = unmask(TOKENS, [1.0, 0.7, 0.4, 0.2, 0.0])
    prize = torch.tensor([[0.0, 1.5], [-1.0, 0.5]], dtype=F64)
    groups, n = 2000, 4
    x = torch.full((groups * n, 2), 2)
    potential = build(lambda tokens: prize[tokens[:, 0], tokens[:, 1]])
    found = fk_sample(plan, TwoTokens(), potential, x, gen, groups=groups, ess_threshold=0.9)
    exact = token_law(plan) * prize.exp()
    assert off(found.log_z.exp(), float(exact.sum())) < 4
    for a, b in itertools.product(range(2), range(2)):
        here = ((found.x[:, 0] == a) & (found.x[:, 1] == b)).to(F64)
        assert off(found.log_z.exp() * found.mean(here), float(exact[a, b])) < 4


def test_a_group_run_with_its_own_seed_equals_the_group_run_alone() -> None:
    plan = ancestral(EDM, GRID)
    x = start(plan, 3 * 16, torch.Generator().manual_seed(5))
    joint = fk_sample(plan, NORMAL, difference(reward), x, Seeds([3, 4, 5]), groups=3)
    alone = fk_sample(plan, NORMAL, difference(reward), x[16:32], Seeds([4]))
    assert torch.equal(joint.x[16:32], alone.x)
    assert torch.equal(joint.log_w[1], alone.log_w[0])
    assert torch.equal(joint.log_z[1], alone.log_z[0])


def test_a_group_draws_nothing_where_only_others_are_resampled() -> None:
    plan = ancestral(EDM, GRID)
    x = start(plan, 32, torch.Generator().manual_seed(6))

    def second_only(step: Step) -> Tensor:
        weight = 3.0 * step.next.flatten(1)[:, 0].double()
        weight[:16] = 0
        return weight

    both = fk_sample(plan, NORMAL, second_only, x, Seeds([3, 4]), groups=2)
    assert int((both.ess[:, 1] < 8).sum()) > 2
    alone = fk_sample(plan, NORMAL, lambda step: torch.zeros(16), x[:16], Seeds([3]))
    assert torch.equal(both.x[:16], alone.x)


def test_without_weights_the_run_is_the_plan_itself(gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    x = start(plan, 32, gen)
    found = fk_sample(plan, NORMAL, lambda step: torch.zeros(32), x, torch.Generator().manual_seed(2))
    assert torch.equal(found.x, sample(plan, NORMAL, x, torch.Generator().manual_seed(2)))
    assert found.log_z.tolist() == [0.0]
    assert found.calls == plan.evaluations


def test_ancestry_leads_back_to_the_starting_particles(gen: torch.Generator) -> None:
    # A plan that never moves: each particle still holds its own number.
    x = torch.arange(24, dtype=F64)[:, None]
    still = Plan("still", tuple(row._replace(keep=1.0, pull=(0.0,)) for row in ddim(EDM, GRID).rows))  # type: ignore[union-attr,call-arg]
    found = fk_sample(still, NORMAL, lambda step: step.x[:, 0] / 10, x, gen, groups=2, ess_threshold=0.9)
    assert torch.equal(found.roots() + torch.tensor([[0], [12]]), found.x[:, 0].reshape(2, 12).long())
    assert len(found.roots()[0].unique()) < 12


def test_moves_and_calls_are_counted_and_refused_where_something_remembers(gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    move = mala(target, target_score, lambda t: 0.1, n=2, calls=1)
    x = start(plan, 8, gen)
    found = fk_sample(plan, NORMAL, ratio(EDM, target), x, gen, moves=move)
    assert found.calls == plan.evaluations * (1 + 3)
    with pytest.raises(ConfigError, match="remember"):
        fk_sample(plan, NORMAL, difference(reward), x, gen, moves=move)
    with pytest.raises(ConfigError, match="remember"):
        fk_sample(dpmpp(EDM, GRID, eta=1.0), NORMAL, ratio(EDM, target), x, gen, moves=move)


def test_a_group_without_any_weight_ends_at_zero_evidence(gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)

    def wall(x: Tensor) -> Tensor:
        return torch.where(torch.arange(len(x)) < 8, -math.inf, 0.0)

    found = fk_sample(plan, NORMAL, difference(wall), start(plan, 16, gen), gen, groups=2)
    assert found.log_z.tolist() == [-math.inf, 0.0]
    assert torch.isfinite(found.log_w).all()


def test_potentials_that_are_no_numbers_and_groups_that_do_not_fit_are_refused(gen: torch.Generator) -> None:
    plan = ancestral(EDM, GRID)
    x = start(plan, 6, gen)
    with pytest.raises(NumericalError, match="not a number"):
        fk_sample(plan, NORMAL, lambda step: torch.full((6,), math.nan), x, gen)
    with pytest.raises(ConfigError, match="4 groups"):
        fk_sample(plan, NORMAL, rowwise(reward_of), x, gen, groups=4)
    with pytest.raises(ConfigError, match="one number per particle"):
        fk_sample(plan, NORMAL, lambda step: step.x, x, gen)
    with pytest.raises(ConfigError, match="no density"):
        fk_sample(ddim(EDM, GRID), NORMAL, ratio(EDM, target), x, gen)


def reward_of(step: Any) -> Tensor:
    return reward(step.next)


def test_spread_makes_one_group_per_sample() -> None:
    state = {"x": torch.tensor([[1.0], [2.0]]), "mask": torch.tensor([[True], [False]])}
    wide = spread(state, 3)
    assert wide["x"][:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert wide["mask"][:, 0].tolist() == [True] * 3 + [False] * 3
    assert take(wide, torch.tensor([5]))["x"].tolist() == [[2.0]]
