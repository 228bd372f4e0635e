"""Noise search where the best of n is known (C16), and what it promises: budget, log, second verifier."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError, NumericalError
from core.infer.search import METHODS, Search, cost, search
from core.infer.search.settings import merit
from core.plan import Plan, ancestral, ddim, default, karras, redraw, unmask
from core.process import VE, Gaussian, Karras, Masking, Product, UniformTokens
from core.process.forward import renoised
from core.state import Masked, Patchwork, Seeds, Symmetric, uniform
from tests.fixtures.mixtures import lowrank32, ring8

F64 = torch.float64
PROCESS = Karras()
F2 = lowrank32().under(PROCESS)
ALONG = torch.randn(32, generator=torch.Generator().manual_seed(5), dtype=F64)
PLAN = default(PROCESS, 20, data_std=F2.data_std)


def along(x: Tensor) -> Tensor:
    return x @ ALONG


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts the states it is shown."""

    inner: Any
    shown: list[int] = field(default_factory=list)

    @property
    def process(self) -> Any:
        return self.inner.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.shown.append(len(x))
        found: Posterior = self.inner(x, t, cond)
        return found


def exact_best(n: int) -> float:
    """Expected maximum of n draws of <a, x>, a mixture of normals in one dimension: int y d F(y)^n."""
    means = F2.means @ ALONG
    stds = torch.einsum("i,kij,j->k", ALONG, F2.covs, ALONG).sqrt()
    y = torch.linspace(-60, 60, 240_001, dtype=F64)
    normal = torch.distributions.Normal(means[:, None], stds[:, None])
    cdf = (F2.weights[:, None] * normal.cdf(y)).sum(0) ** n
    middle = (y[1:] + y[:-1]) / 2
    return float((middle * cdf.diff()).sum())


@pytest.mark.parametrize("n", [1, 4, 16, 64])
def test_the_best_of_n_is_the_exact_order_statistic(n: int) -> None:
    trials = 4096 // n
    like = torch.zeros(trials, 32, dtype=F64)
    found = search(Search("random", n * 20), PLAN, F2, like, generator(n), along)
    mean, error = float(found.scores.mean()), float(found.scores.std()) / trials**0.5
    print(f"best of {n}: {mean:.3f}, exact {exact_best(n):.3f}, standard error {error:.3f}")
    assert abs(mean - exact_best(n)) <= 4 * error
    assert abs(mean - exact_best(n + max(1, n // 2))) > 2 * error  # another n would be seen
    assert torch.equal(found.scores[0], along(found.x))


def test_a_seed_for_each_candidate_gives_the_run_of_that_seed() -> None:
    like = torch.zeros(1, 32, dtype=F64)
    found = search(Search("random", 3 * 20), PLAN, F2, like, Seeds([7, 8, 9]), along)
    alone = [search(Search("random", 20), PLAN, F2, like, Seeds([seed]), along).scores for seed in (7, 8, 9)]
    assert torch.allclose(found.log[0].scores[0], torch.cat(alone).T, rtol=1e-9)
    with pytest.raises(ConfigError, match="only random search has a seed for each candidate"):
        search(Search("zero-order", 3 * 20), PLAN, F2, like, Seeds([7, 8, 9]), along)


def test_climbing_from_pivot_to_pivot_beats_as_many_independent_draws() -> None:
    """The target of the specification, at 64 runs of the sampler, with its deterministic plan."""
    like, gains = torch.zeros(1, 32, dtype=F64), []
    for seed in range(10):
        drawn, climbed = (
            search(Search(method, 64 * 20), PLAN, F2, like, generator(seed), along)  # type: ignore[arg-type]
            for method in ("random", "zero-order")
        )
        assert drawn.calls == climbed.calls == 64 * 20
        gains.append(float(climbed.scores - drawn.scores))
    print(f"gain over random search, mean {sum(gains) / 10:.2f}, positive {sum(g > 0 for g in gains)} of 10")
    assert sum(g > 0 for g in gains) >= 8


def test_choosing_among_partial_runs_beats_choosing_among_whole_ones() -> None:
    like, gains, plan = torch.zeros(1, 32, dtype=F64), [], ddim(PROCESS, karras(PROCESS, 20))
    for seed in range(10):
        drawn, kept = (
            search(Search(method, 64 * 20), plan, F2, like, generator(seed), along)  # type: ignore[arg-type]
            for method in ("random", "paths")
        )
        gains.append(float(kept.scores - drawn.scores))
    print(f"gain over random search, mean {sum(gains) / 10:.2f}, positive {sum(g > 0 for g in gains)} of 10")
    assert sum(g > 0 for g in gains) >= 8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [97, 160, 333])
def test_the_budget_is_never_exceeded_and_all_candidates_are_logged(method: Any, budget: int) -> None:
    plan, model = ddim(PROCESS, karras(PROCESS, 16)), Counted(F2)
    settings = Search(method, budget)
    found = search(settings, plan, model, torch.zeros(3, 32, dtype=F64), generator(), along)
    assert found.calls <= budget
    assert sum(model.shown) == 3 * found.calls
    assert found.log[-1].evaluations == found.calls
    tried = sum(log.scores.shape[2] for log in found.log if log.final)
    assert tried == (budget // 16 if method != "paths" else settings.paths * (budget // cost(settings, plan)))
    finals = torch.cat([log.scores[0] for log in found.log if log.final], 1)
    assert torch.equal(finals.amax(1), found.scores[0])
    best = [score for _, score in found.curve()]
    assert best == sorted(best)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noisy", [False, True])
def test_one_generator_gives_one_result(method: Any, noisy: bool) -> None:
    times = karras(PROCESS, 8)
    plan = ancestral(PROCESS, times) if noisy else ddim(PROCESS, times)
    like = torch.zeros(2, 32, dtype=F64)
    first, again = (search(Search(method, 120), plan, F2, like, generator(3), along) for _ in range(2))
    assert torch.equal(first.x, again.x)
    other = search(Search(method, 120), plan, F2, like, generator(4), along)
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_not_searched_on_is_reported_beside(method: Any) -> None:
    """Another direction gains what it shares with the searched one, and no more."""
    aside = torch.randn(32, generator=generator(6), dtype=F64)
    plan = ddim(PROCESS, karras(PROCESS, 16))
    found = search(
        Search(method, 320),
        plan,
        F2,
        torch.zeros(200, 32, dtype=F64),
        generator(),
        along,
        second=lambda x: x @ aside,
    )
    assert found.second is not None
    assert torch.allclose(found.second, found.x @ aside)
    free = F2.sample(20_000, generator(1))
    gain = float(found.scores.mean() - along(free).mean()) / float(along(free).std())
    beside = float(found.second.mean() - (free @ aside).mean()) / float((free @ aside).std())
    print(f"{method}: gain {gain:.2f} stds on what was searched, {beside:.2f} on what was not")
    assert gain > 1.2
    assert abs(beside) < 0.6 * gain


def test_several_verifiers_choose_by_mean_rank() -> None:
    scores = torch.tensor([[[3.0, 1.0, 2.0]], [[0.0, 0.0, 50.0]]], dtype=F64)
    assert torch.equal(merit(scores), torch.tensor([[1.25, 0.25, 1.5]], dtype=F64))
    tilted = ALONG.roll(1)
    found = search(
        Search("zero-order", 400),
        PLAN,
        F2,
        torch.zeros(8, 32, dtype=F64),
        generator(),
        [along, lambda x: x @ tilted],
    )
    free = F2.sample(5000, generator(1))
    assert float(found.scores[0].mean()) > float(along(free).mean())
    assert float(found.scores[1].mean()) > float((free @ tilted).mean())


@dataclass(frozen=True)
class Letters:
    """Independent tokens: A with .7, B with .3."""

    process: Any

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(logits=torch.tensor([0.7, 0.3], dtype=F64).log().expand(*x.shape, 2))


@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_searched_by_the_same_functions(method: Any) -> None:
    masking = Masking(2)
    plan = unmask(masking, [1 - k / 8 for k in range(9)])
    found = search(
        Search(method, 64),
        plan,
        Letters(masking),
        torch.zeros(50, 12, dtype=torch.long),
        generator(),
        lambda x: (x == 1).sum(1).to(F64),
    )
    assert not bool((found.x == masking.mask_token).any())
    # 12 tokens hold 3.6 Bs on average, standard deviation 1.6; the best of 8 is at least one deviation up.
    print(f"{method}: {float(found.scores.mean()):.2f} Bs")
    assert float(found.scores.mean()) > 5.2
    assert found.calls <= 64


def test_tokens_that_are_not_drawn_anew_stay_as_they_are() -> None:
    """Independent tokens are functions of the noise at their position: a small share moves few of them."""
    masking = Masking(2)
    plan = unmask(masking, [1 - k / 4 for k in range(5)])
    seen: list[Tensor] = []

    def watching(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), dtype=F64)  # equal scores: the first pivot stays the pivot

    like = torch.zeros(20, 50, dtype=torch.long)
    search(Search("zero-order", 36, radius=0.1), plan, Letters(masking), like, generator(), watching)
    pivot = seen[0]
    moved = torch.cat([(x != pivot.repeat_interleave(4, 0)).double() for x in seen[1:]])
    # A token that is drawn anew differs with probability 2 x .7 x .3; 8000 tokens: standard error .0022.
    assert float(moved.mean()) == pytest.approx(0.1 * 0.42, abs=0.009)
    assert len(seen) == 3


def test_noise_by_position_is_that_of_each_seed_there() -> None:
    found = uniform((2, 4, 3), Patchwork(torch.tensor([[5, 5, 7, 5], [9, 5, 9, 9]])), dtype=F64, device="cpu")
    whole = {seed: uniform((1, 4, 3), Seeds([seed]), dtype=F64, device="cpu")[0] for seed in (5, 7, 9)}
    assert torch.equal(found[0], torch.stack([whole[5][0], whole[5][1], whole[7][2], whole[5][3]]))
    assert torch.equal(found[1], torch.stack([whole[9][0], whole[5][1], whole[9][2], whole[9][3]]))
    with pytest.raises(ConfigError, match="for 4 positions"):
        uniform((2, 5), Patchwork(torch.ones(2, 4, dtype=torch.long)), dtype=F64, device="cpu")


def test_uniform_tokens_climb_too() -> None:
    noise = UniformTokens(2)
    plan = redraw(noise, [1 - k / 4 for k in range(5)])
    like = torch.zeros(50, 12, dtype=torch.long)
    found = search(
        Search("zero-order", 64), plan, Letters(noise), like, generator(), lambda x: (x == 1).sum(1).to(F64)
    )
    assert float(found.scores.mean()) > 5.2


@dataclass(frozen=True)
class Costly:
    """A verifier that is a network: three evaluations per state."""

    shown: list[int] = field(default_factory=list)
    calls: int = 3

    def __call__(self, x: Tensor) -> Tensor:
        self.shown.append(len(x))
        return along(x)


@pytest.mark.parametrize("method", METHODS)
def test_the_budget_pays_for_verifiers_that_are_networks(method: Any) -> None:
    plan, model, verifier = ddim(PROCESS, karras(PROCESS, 16)), Counted(F2), Costly()
    found = search(Search(method, 160), plan, model, torch.zeros(3, 32, dtype=F64), generator(), verifier)
    assert sum(model.shown) + 3 * sum(verifier.shown) == 3 * found.calls
    assert found.calls <= 160
    with pytest.raises(ConfigError, match="too small"):
        search(
            Search(method, cost(Search(method), plan, [verifier]) - 1),
            plan,
            model,
            torch.zeros(3, 32, dtype=F64),
            generator(),
            verifier,
        )


@dataclass(frozen=True)
class Graphs:
    """Standard normal entries on nodes and symmetric edges, whatever the mask leaves."""

    process: Product

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        def shrunk(name: str) -> Tensor:
            part = self.process.parts[name]
            return x[name] * part.alpha(t) / (part.alpha(t) ** 2 + part.sigma(t) ** 2)

        return Posterior(mean={**x, "nodes": shrunk("nodes"), "edges": shrunk("edges")})


@pytest.mark.parametrize("method", METHODS)
def test_masked_pairs_stay_in_their_space(method: Any) -> None:
    nodes, edges = Karras(0.01, 10.0, space=Masked()), Karras(0.01, 10.0, space=Symmetric())
    process = Product({"nodes": nodes, "edges": edges})
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    like = {"nodes": torch.zeros(2, 4, 1, dtype=F64), "edges": torch.zeros(2, 4, 4, dtype=F64), "mask": mask}
    plan = ddim(process, karras(nodes, 8))
    found = search(
        Search(method, 120), plan, Graphs(process), like, generator(), lambda x: x["edges"].flatten(1).sum(1)
    )
    made = found.x["edges"]
    assert torch.equal(made, made.mT)
    assert bool((made.diagonal(dim1=1, dim2=2) == 0).all())
    assert bool((found.x["nodes"][~mask] == 0).all())
    assert bool((made[:, 3] == 0).all())
    assert float(found.scores.mean()) > 2


@pytest.mark.parametrize("process", [Karras(0.01, 20.0), VE(0.01, 10.0)])
def test_noise_put_back_gives_the_marginal_law(process: Gaussian) -> None:
    mix = ring8().under(process)
    s, t = process.time(0.3), process.time(1.0)
    x0 = mix.sample(20_000, generator())
    there, _ = process.perturb(x0, s, generator(1))
    moved = renoised(process, there, s, t, generator(2))
    straight, _ = process.perturb(x0, t, generator(3))
    # 20 000 draws of spread 1.5: standard error .011 of a mean, .02 of a second moment.
    assert torch.allclose(moved.mean(0), straight.mean(0), atol=0.06)
    assert torch.allclose(moved.T @ moved / len(moved), straight.T @ straight / len(moved), atol=0.12)
    with pytest.raises(ConfigError, match="less noise"):
        renoised(process, there, t, s, generator())


def test_what_cannot_be_searched_is_refused_before_any_call() -> None:
    model, like = Counted(F2), torch.zeros(1, 32, dtype=F64)
    with pytest.raises(ConfigError, match="budget of 19 evaluations is too small"):
        search(Search("random", 19), PLAN, model, like, generator(), along)
    with pytest.raises(ConfigError, match="reads earlier ones"):
        search(Search("paths", 900), PLAN, model, like, generator(), along)
    with pytest.raises(ConfigError, match="unknown search 'best'"):
        Search("best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="radius"):
        replace(Search(), radius=0.0)
    assert model.shown == []
    with pytest.raises(NumericalError, match="not a number"):
        search(Search("random", 40), PLAN, F2, like, generator(), lambda x: x[:, 0] * torch.nan)
    with pytest.raises(ConfigError, match="one score per state"):
        search(Search("random", 40), PLAN, F2, like, generator(), lambda x: x)


def test_plans_of_one_row_can_be_searched_over_paths() -> None:
    plan = Plan("one", ddim(PROCESS, [80.0, 0.0]).rows)
    found = search(Search("paths", 10), plan, F2, torch.zeros(1, 32, dtype=F64), generator(), along)
    assert found.calls == 10
    assert found.log[0].final
