"""Fields of interpolants: the same thing as denoisers where one end is noise, and learned from pairs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.analytic import Mixture
from core.errors import ConfigError
from core.metrics import floor, sliced_wasserstein
from core.mixture_bridge import MixtureBridge, normal
from core.plan import bridge, ddim, heun, log, span
from core.process import VE, VP, CosineVP, Interpolant, Karras, RectifiedFlow
from core.process.coupling import independent, paired
from core.run import sample
from core.state import Euclidean, Seeds, Spaces
from core.train import Batch, FitConfig, Shuffled, fit
from core.train.interpolant import Ends, Interpolation
from core.transport import Drift, Flow, Learned, denoiser_of, field_of, kl_bound, kl_ceiling
from tests.fixtures.mixtures import ring8

F64 = torch.float64
LINEAR = Interpolant("linear", "none", one_sided=True)
TURNING = Interpolant("trigonometric", "none", one_sided=True)


# -- one-sided interpolants and Gaussian processes --------------------------------------------------


def test_the_linear_interpolant_is_the_rectified_process_run_backwards(gen: torch.Generator) -> None:
    exact = MixtureBridge(normal(2), ring8(), LINEAR)
    flow = ring8().under(RectifiedFlow())
    for t in (0.01, 0.3, 0.5, 0.9, 0.99):
        x = exact.marginal(t).sample(200, gen)
        mean = flow(x, 1 - t).mean
        velocity = mean - (x - t * mean) / (1 - t)  # d/dt of (1 - t) eps + t x_0 at the posterior mean
        assert (exact(x, t).velocity - velocity).abs().max().item() < 1e-6
        assert (exact(x, t).velocity + velocity).abs().max().item() > 0.1


@pytest.mark.parametrize("interpolant", [LINEAR, TURNING], ids=["linear", "trigonometric"])
@pytest.mark.parametrize("process", [RectifiedFlow(), VP(), VE(), Karras(), CosineVP()], ids=str)
def test_fields_and_denoisers_convert_exactly_both_ways(
    interpolant: Interpolant, process: Any, gen: torch.Generator
) -> None:
    exact, mix = MixtureBridge(normal(2), ring8(), interpolant), ring8().under(process)
    for t in (0.05, 0.4, 0.8):
        x = exact.marginal(t).sample(100, gen)
        found, true = field_of(mix, interpolant)(x, t), exact(x, t)
        assert torch.allclose(found.velocity, true.velocity, atol=1e-9)
        assert torch.allclose(found.score, true.score, atol=1e-8)
    for ratio in (0.1, 1.0, 8.0):
        t = process.time(ratio)
        x, _ = process.perturb(ring8().sample(100, gen), t, gen)
        assert torch.allclose(denoiser_of(exact, process)(x, t).mean, mix(x, t).mean, atol=1e-8)
        again = denoiser_of(field_of(mix, interpolant), process)
        assert torch.allclose(again(x, t).mean, mix(x, t).mean, atol=1e-9)
        times = torch.full((100,), t, dtype=F64)
        assert torch.allclose(again(x, times).mean, mix(x, t).mean, atol=1e-9)


def test_a_field_as_a_denoiser_runs_every_sampler(gen: torch.Generator) -> None:
    denoiser = denoiser_of(MixtureBridge(normal(2), ring8(), LINEAR), Karras())
    least = sum(floor(sliced_wasserstein, lambda: ring8().sample(1000, gen)) for _ in range(8)) / 8
    for plan in (ddim(Karras(), log(Karras(), 60), eta=1.0), heun(Karras(), log(Karras(), 40))):
        x = Karras().prior(torch.empty(1000, 2, dtype=F64), gen)
        assert sliced_wasserstein(sample(plan, denoiser, x, gen), ring8().sample(1000, gen)) <= 1.5 * least


@pytest.mark.parametrize("backwards", [False, True])
def test_the_sdes_of_a_one_sided_interpolant_reach_either_end(backwards: bool) -> None:
    drift = Drift(MixtureBridge(normal(2), ring8(), TURNING), 0.5, backwards)
    gen = torch.Generator().manual_seed(0)
    ends = (ring8(), normal(2)) if backwards else (normal(2), ring8())
    plan = bridge(drift, span(TURNING, 100, backwards=backwards))
    end = sample(plan, drift, ends[0].sample(1000, gen), gen)
    far = sum(sliced_wasserstein(end, ends[1].sample(1000, gen)) for _ in range(8)) / 8
    least = sum(floor(sliced_wasserstein, lambda: ends[1].sample(1000, gen)) for _ in range(8)) / 8
    print(f"SW2 {far:.4f}, floor {least:.4f}")
    assert far <= 1.5 * least


def test_a_mapping_of_states_moves_part_by_part(gen: torch.Generator) -> None:
    parts = {
        "a": MixtureBridge(normal(2), ring8(), Interpolant()),
        "b": MixtureBridge(ring8(), ring8(), Interpolant()),
    }
    process = Interpolant(space=Spaces({"a": Euclidean(), "b": Euclidean()}))

    class Both:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Any, t: Any, cond: Any = None) -> Flow:
            flows = {name: part(x[name], t) for name, part in parts.items()}
            return Flow({k: f.velocity for k, f in flows.items()}, {k: f.score for k, f in flows.items()})

    x0 = {"a": normal(2).sample(20, gen), "b": ring8().sample(20, gen)}
    drift = Drift(Both())
    plan = bridge(drift, span(process, 10), rule="heun")
    end = sample(plan, drift, x0)
    for name, part in parts.items():
        assert torch.allclose(end[name], sample(plan, Drift(part), x0[name]), atol=1e-12)
    x1 = {"a": ring8().sample(20, gen), "b": ring8().sample(20, gen)}
    ends = {"start": {"a": x0["a"], "b": x0["a"]}, "end": {"a": x1["a"], "b": x1["a"]}}
    parts["b"] = parts["a"]
    apart = Interpolation(paired)(parts["a"], Batch({"start": x0["a"], "end": x1["a"]}), Seeds(range(20)))
    both = Interpolation(paired)(Both(), Batch(ends), Seeds(range(20)))
    assert both.shape == apart.shape
    # Twice the degrees of freedom, and other noise for the second part: equal on average only.
    assert both.mean().item() == pytest.approx(apart.mean().item(), abs=3 * apart.std().item() / 20**0.5)
    noisy = Drift(Both(), 0.5)
    assert sample(bridge(noisy, span(process, 3)), noisy, x0, gen).keys() == x0.keys()
    assert kl_bound(Both(), Both(), x0, x1, gen, epsilon=1.0, times=2) == 0


def test_two_sided_interpolants_are_no_gaussian_processes() -> None:
    with pytest.raises(ConfigError, match="only a one-sided interpolant"):
        field_of(ring8(), Interpolant())
    with pytest.raises(ConfigError, match="only a one-sided interpolant"):
        denoiser_of(MixtureBridge(ring8(), ring8(), Interpolant()), Karras())
    with pytest.raises(ConfigError, match=r"starts from N\(0, I\)"):
        MixtureBridge(ring8(), ring8(), LINEAR)


# -- the objective -------------------------------------------------------------------------------------


class Exact(nn.Module):
    """An exact field with two numbers to learn: factors of its velocity and score, 1 at the optimum."""

    def __init__(self, exact: MixtureBridge) -> None:
        super().__init__()
        self.exact, self.process = exact, exact.process
        self.factors = nn.Parameter(torch.ones(2, dtype=F64))

    def forward(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
        flow = self.exact(x, t)
        return Flow(self.factors[0] * flow.velocity, self.factors[1] * flow.score)


@pytest.mark.parametrize("gamma", ["brownian", "sine"])
def test_the_loss_is_lowest_at_the_exact_field(gamma: Any) -> None:
    start, end = ring8(), Mixture(torch.ones(1), torch.ones(1, 2), torch.eye(2)[None]).to(F64)
    field = Exact(MixtureBridge(start, end, Interpolant("linear", gamma)))
    gen = torch.Generator().manual_seed(0)
    n = 20_000
    batch = Batch({"start": start.sample(n, gen), "end": end.sample(n, gen)})
    loss = Interpolation()(field, batch, gen)
    (slope,) = torch.autograd.grad(loss.mean(), field.factors)
    # The exact velocity misses its target by noise only: the slope is zero up to its standard error, 0.01.
    print("slope at the exact field:", slope.tolist())
    assert slope.abs().max().item() < 0.04
    field.factors.data.mul_(0.8)
    (slope,) = torch.autograd.grad(Interpolation()(field, batch, gen).mean(), field.factors)
    assert slope.max().item() < -0.05


def test_antithetic_noise_tames_the_ends() -> None:
    start = end = ring8()
    process = Interpolant(tmin=1e-6)
    exact, gen = MixtureBridge(start, end, process), torch.Generator().manual_seed(0)
    x0, x1 = start.sample(4000, gen), end.sample(4000, gen)
    z, t = torch.randn(4000, 2, generator=gen, dtype=F64), 1e-6

    def term(sign: int) -> Tensor:
        x = process.blend(x0, x1, sign * z, t)
        velocity = exact(x, t).velocity
        return (velocity.square() / 2 - velocity * process.speed(x0, x1, sign * z, t)).sum(1)

    alone, both = term(1).std().item(), ((term(1) + term(-1)) / 2).std().item()
    print(f"standard deviation of the loss at t = 1e-6: {alone:.0f} alone, {both:.1f} in pairs")
    assert both < 0.05 * alone


def test_the_loss_sees_both_signs_of_the_noise() -> None:
    class Flipped(Euclidean):
        def noise(self, like: Tensor, gen: Any, mask: Any = None) -> Tensor:
            return -super().noise(like, gen, mask)

    x = ring8().sample(8, torch.Generator().manual_seed(0))
    batch = Batch({"start": x, "end": x.flip(0)})
    losses = [
        Interpolation(paired)(
            MixtureBridge(ring8(), ring8(), Interpolant(space=space)), batch, Seeds(range(8))
        )
        for space in (Euclidean(), Flipped())
    ]
    assert torch.allclose(losses[0], losses[1], rtol=1e-12)


def test_the_loss_of_a_sample_does_not_depend_on_its_batch() -> None:
    exact = MixtureBridge(ring8(), ring8(), Interpolant())
    x = ring8().sample(8, torch.Generator().manual_seed(0))
    batch = Batch({"start": x, "end": x.flip(0)})
    loss = Interpolation(paired)(exact, batch, Seeds(range(8)))
    alone = Interpolation(paired)(exact, Batch({"start": x[3:4], "end": x.flip(0)[3:4]}), Seeds([3]))
    assert loss[3].item() == pytest.approx(alone.item(), rel=1e-12)


def test_ends_draw_each_side_from_its_own_numbers() -> None:
    ends = Ends(Shuffled(torch.arange(5.0)[:, None]), Shuffled(torch.arange(7.0)[:, None]))
    batch = ends(range(0, 35), 0)
    assert torch.equal(batch.x0["start"].flatten().sort().values, torch.arange(5.0).repeat_interleave(7))
    assert torch.equal(batch.x0["end"].flatten().sort().values, torch.arange(7.0).repeat_interleave(5))


# -- bounds ------------------------------------------------------------------------------------------------


def test_the_bound_is_exact_for_a_drift_that_is_off_by_a_constant(gen: torch.Generator) -> None:
    exact = MixtureBridge(normal(2), ring8(), Interpolant())

    class Off:
        process = exact.process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
            flow = exact(x, t)
            return Flow(flow.velocity + 0.3, flow.score)

    x0, x1 = normal(2).sample(4000, gen), ring8().sample(4000, gen)
    for epsilon in (0.5, 2.0):
        found = kl_bound(Off(), exact, x0, x1, gen, epsilon=epsilon, times=4)
        assert found == pytest.approx(2 * 0.09 * 0.998 / (4 * epsilon), rel=1e-9)
        assert kl_bound(exact, exact, x0, x1, gen, epsilon=epsilon, times=4) == 0
    # The ceiling counts the conditional variance of its target for both; what differs is the bound. Its
    # standard error is 2 x 0.3 x 2.1 / (4 x 0.5) / sqrt(4000) = 0.01 against 0.09.
    pair = [
        kl_ceiling(f, x0, x1, torch.Generator().manual_seed(1), epsilon=0.5, times=8) for f in (Off(), exact)
    ]
    assert pair[0] - pair[1] == pytest.approx(2 * 0.09 / 2, abs=0.04)
    assert pair[1] > pair[0] - pair[1]

    class Weak:
        process = exact.process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
            flow = exact(x, t)
            return Flow(flow.velocity, 0.5 * flow.score)

    weak = kl_ceiling(Weak(), x0, x1, torch.Generator().manual_seed(1), epsilon=0.5, times=8)
    assert weak > pair[1]
    with pytest.raises(ConfigError, match="needs epsilon > 0"):
        kl_bound(Off(), exact, x0, x1, gen, epsilon=0.0)


def test_the_divergence_never_exceeds_the_bound() -> None:
    # Gaussian to Gaussian with a velocity off by a constant: samples are normal, so their KL is known.
    end = Mixture(torch.ones(1), torch.full((1, 1), 1.0), torch.full((1, 1, 1), 0.25)).to(F64)
    exact = MixtureBridge(normal(1), end, Interpolant())

    class Off:
        process = exact.process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Flow:
            flow = exact(x, t)
            return Flow(flow.velocity + 0.4, flow.score)

    gen = torch.Generator().manual_seed(0)
    x0, x1 = normal(1).sample(2000, gen), end.sample(2000, gen)
    for epsilon in (0.5, 1.0):
        drift = Drift(Off(), epsilon)
        got = sample(bridge(drift, span(drift.process, 200)), drift, x0, gen)
        off, var = got.mean().item() - 1.0, got.var().item()
        divergence = 0.5 * (0.25 / var + off**2 / var - 1 + math.log(var / 0.25))
        bound = kl_bound(Off(), exact, x0, x1, gen, epsilon=epsilon)
        print(f"epsilon {epsilon}: KL {divergence:.4f} <= {bound:.4f}")
        assert divergence <= bound


# -- learned fields ------------------------------------------------------------------------------------------


class Two(nn.Module):
    """One network of two layers for the velocity, one for the noise."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> tuple[Tensor, Tensor]:
        known = torch.cat([x, t[:, None]], 1)
        return self.parts[0](known), self.parts[1](known)


def untrained(process: Interpolant) -> Learned:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Learned(Two(), process)


def moons(n: int, gen: torch.Generator, noise: float = 0.05) -> Tensor:
    """Two half circles that interlock, centred, with unit radius."""
    angle = math.pi * torch.rand(n, generator=gen)
    upper = torch.rand(n, generator=gen) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], 1) + noise * torch.randn(n, 2, generator=gen)


def test_a_learned_field_without_noise_has_no_score() -> None:
    field = Learned(lambda x, t, cond: -x, Interpolant())
    assert field(torch.ones(3, 2), 0.5).score is None
    with pytest.raises(ConfigError, match="drives the ODE only"):
        Drift(field, 0.5)(torch.ones(3, 2), 0.5)


def test_the_score_of_a_learned_one_sided_field_follows_from_its_velocity(gen: torch.Generator) -> None:
    exact = MixtureBridge(normal(2), ring8(), TURNING)
    field = Learned(lambda x, t, cond: exact(x, t).velocity, TURNING)
    x = exact.marginal(0.4).sample(50, gen)
    assert torch.allclose(field(x, 0.4).score, exact(x, 0.4).score, atol=1e-9)


def learn(steps: int) -> tuple[float, list[float], float]:
    """SW2 of the SDE from a Gaussian to the moons, ceilings before and after training, and the floor."""
    gen = torch.Generator().manual_seed(1)
    data, field = moons(4000, gen), untrained(Interpolant())
    base = torch.randn(4000, 2, generator=gen)
    x0, x1 = torch.randn(2000, 2, generator=gen), moons(2000, gen)
    ceilings = [kl_ceiling(field, x0, x1, torch.Generator().manual_seed(2), epsilon=0.5)]
    config = FitConfig(
        steps, 128 if steps > 100 else 64, lr=4e-3, schedule="cosine", ema=None, every_steps=None
    )
    fit(Interpolation(independent), field, Ends(Shuffled(base), Shuffled(data)), config, seed=0)
    ceilings.append(kl_ceiling(field, x0, x1, torch.Generator().manual_seed(2), epsilon=0.5))
    drift = Drift(field, 0.5)
    end = sample(bridge(drift, span(field.process, 200)), drift, torch.randn(2000, 2, generator=gen), gen)
    return sliced_wasserstein(end, x1), ceilings, floor(sliced_wasserstein, lambda: moons(2000, gen))


def test_training_lowers_the_bound() -> None:
    _, (before, after), _ = learn(25)
    assert math.isfinite(before)
    assert after < before - 0.1


@pytest.mark.slow
def test_trained_networks_bring_a_gaussian_to_the_moons() -> None:
    distance, (before, after), least = learn(2000)
    print(f"SW2 {distance:.3f} (floor {least:.3f}); KL ceiling {before:.2f} -> {after:.2f} nats")
    assert distance <= 0.15
    assert after < before
