"""Reward-directed sampling in a four-dimensional subspace of R^32 (C20): every conditional is a Gaussian."""

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.analytic import Mixture
from core.denoise import Posterior, wrap
from core.errors import ConfigError, DataError
from core.optimise import Embedded, LinearReward, fit_reward, frontier, outside, pseudo_labelled
from core.plan import default
from core.process import VP, Gaussian, Karras
from core.state import Seeds, Symmetric
from core.train import Denoising, FitConfig, LogUniform, Shuffled, fit

F64 = torch.float64
SIZE, DIM, NOISE = 32, 4, 0.1
STD = torch.tensor([1.2, 1.0, 0.8, 0.6], dtype=F64)


@dataclass(frozen=True)
class World:
    """x = V z with z ~ N(0, diag(STD^2)), and the reward <direction, x>."""

    basis: Tensor
    direction: Tensor

    @property
    def along(self) -> Tensor:
        """The reward as a function of z."""
        return self.basis.T @ self.direction

    @property
    def variance(self) -> float:
        return float((self.along**2 * STD**2).sum())

    def draw(self, n: int, gen: torch.Generator) -> Tensor:
        return (torch.randn(n, DIM, generator=gen, dtype=F64) * STD) @ self.basis.T

    def reward(self, x: Tensor) -> Tensor:
        return x @ self.direction.to(x.dtype)

    def expected(self, target: float, noise: float = NOISE) -> float:
        """Mean reward given that a label with this noise equals the target."""
        return target * self.variance / (self.variance + noise**2)


@cache
def world() -> World:
    gen = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(SIZE, DIM, generator=gen, dtype=F64))
    direction = basis @ torch.randn(DIM, generator=gen, dtype=F64)
    return World(basis, direction / direction.norm())


def deviations(*counts: float) -> list[float]:
    """Targets in standard deviations of the reward over the data."""
    return [count * math.sqrt(world().variance) for count in counts]


@dataclass(frozen=True)
class Exact:
    """The denoiser of z given a noisy label of its reward: a Gaussian whose mean is linear in the label."""

    process: Gaussian = field(default_factory=Karras)

    def __call__(self, x: Tensor, t: Any, cond: Tensor) -> Posterior:
        b, cov = world().along, torch.diag(STD**2)
        gain = cov @ b / (b @ cov @ b + NOISE**2)
        left = cov - torch.outer(gain, b @ cov)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        pull = alpha * left @ torch.linalg.inv(alpha**2 * left + sigma**2 * torch.eye(DIM, dtype=F64))
        mean = cond.to(F64) * gain
        return Posterior(mean=mean + (x - alpha * mean) @ pull.T)


@pytest.mark.parametrize("process", [Karras(), VP()], ids=["Karras", "VP"])
def test_an_embedded_denoiser_is_that_of_the_embedded_data(process: Gaussian) -> None:
    gen = torch.Generator().manual_seed(1)
    means = torch.randn(3, DIM, generator=gen, dtype=F64)
    covs = torch.stack([torch.diag(STD**2 / k) for k in (1, 2, 4)])
    low = Mixture(torch.ones(3, dtype=F64), means, covs, process)
    v = world().basis
    high = Mixture(low.weights, means @ v.T, v @ covs @ v.T, process)
    x = torch.randn(10, SIZE, generator=gen, dtype=F64)
    for t in (process.time(0.1), process.time(3.0)):
        assert torch.allclose(Embedded(low, v)(x, t).mean, high(x, t).mean, atol=1e-8)
    # Columns that are not orthonormal are made so, which leaves the span and not the coordinates.
    wide = Embedded(low, 3 * v)
    assert torch.allclose(wide(x, 0.5).mean, Embedded(low, v)(x, 0.5).mean, atol=1e-12)


def test_a_target_reward_is_met_as_the_exact_conditional_says() -> None:
    gen, targets = torch.Generator().manual_seed(2), deviations(-2, 1, 2)
    data = world().draw(1000, gen)
    model = Embedded(Exact(), world().basis)
    plan = default(model.process, 25, data_std=1.0)
    found = frontier(model, world().reward, data, targets, plan, gen, n=1500, basis=world().basis)
    for each in found:
        exact = world().expected(each.target)
        print(f"target {each.target:.3f}: reward {each.mean:.3f} (exact {exact:.3f})")
        # C20: 5 % of the exact conditional mean, 1 % of the energy; here without training, so at four s.e.
        assert each.mean == pytest.approx(exact, rel=0.05)
        assert each.mean == pytest.approx(exact, abs=4 * each.standard_error + 0.002)
        assert each.outside < 1e-9
        left = math.sqrt(world().variance * NOISE**2 / (world().variance + NOISE**2))
        assert each.std == pytest.approx(left, rel=0.1)
    # The wrong sign of the condition, or none at all, is nowhere near.
    assert abs(found[0].mean - found[2].mean) > 2


def test_rewards_beyond_the_data_are_paid_for_in_distance() -> None:
    gen = torch.Generator().manual_seed(3)
    data = world().draw(1500, gen)
    model = Embedded(Exact(), world().basis)
    plan = default(model.process, 20, data_std=1.0)
    found = frontier(model, world().reward, data, deviations(0, 2, 4, 6), plan, gen, n=300)
    distance = [each.distance for each in found]
    assert distance == sorted(distance)
    assert distance[0] < 1.1 * found[0].floor < distance[1]
    assert distance[3] > 4 * found[3].floor
    assert math.isnan(found[0].outside)


def test_the_reward_model_is_the_ridge_solution() -> None:
    gen = torch.Generator().manual_seed(4)
    x = torch.randn(400, 6, generator=gen, dtype=F64) + 2
    true = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0, 3.0], dtype=F64)
    found = fit_reward(x, x @ true - 4 + 0.3 * torch.randn(400, generator=gen, dtype=F64), ridge=0)
    # Standard error of a weight .3 / sqrt(400) = .015; the offset adds 2 times the sum of six.
    assert torch.allclose(found.weights, true, atol=0.06)
    assert found.offset == pytest.approx(-4, abs=0.35)
    assert found.noise == pytest.approx(0.3, rel=0.15)
    exact = fit_reward(x, x @ true - 4, ridge=0)
    assert torch.allclose(exact(x), x @ true - 4, atol=1e-10)
    shrunk = fit_reward(x, x @ true - 4, ridge=100.0)
    assert shrunk.weights.norm() < 0.02 * true.norm()
    assert float(shrunk(x).mean()) == pytest.approx(float((x @ true - 4).mean()))


def test_features_make_other_rewards_linear() -> None:
    x = torch.linspace(-2, 2, 50, dtype=F64)[:, None]
    found = fit_reward(x, 1 - x[:, 0] ** 2, ridge=0, features=lambda s: torch.cat([s, s**2], 1))
    assert torch.allclose(found(x), 1 - x[:, 0] ** 2, atol=1e-10)


def test_labels_carry_the_noise_that_was_asked_for() -> None:
    x = world().draw(3, torch.Generator().manual_seed(5))
    reward = LinearReward(world().direction, 0.0, 0.0, lambda s: s)
    assert torch.equal(pseudo_labelled(reward, x, torch.Generator(), noise=0.0)[:, 0], reward(x))
    many = pseudo_labelled(reward, x.repeat(4000, 1), torch.Generator().manual_seed(6), noise=0.5)
    assert many.shape == (12_000, 1)
    # Standard error of a deviation over 12 000: .0032.
    assert float((many[:, 0] - reward(x).repeat(4000)).std()) == pytest.approx(0.5, abs=0.013)
    alone = pseudo_labelled(reward, x[1:2], Seeds([8]), noise=0.5)
    assert torch.allclose(pseudo_labelled(reward, x, Seeds([7, 8, 9]), noise=0.5)[1:2], alone)


class Perceptron(nn.Module):
    """net(c_in x (B, d), c_noise (B,), label (B, 1)) -> (B, d)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.config = {"dim": dim}
        self.layers = nn.Sequential(
            nn.Linear(dim + 3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, dim)
        )

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        return self.layers(torch.cat([x, c_noise[:, None], torch.tanh(4 * c_noise)[:, None], cond], 1))


def pipeline(kind: str, steps: int, batch: int) -> tuple[Any, Tensor]:
    """Reward model on 400 noisy rewards, labels of 4000 states, and a trained denoiser: "known" subspace,
    "learnt" from a poor start, or "full" (no subspace at all).
    """
    gen = torch.Generator().manual_seed(0)
    data = world().draw(4000, gen)
    measured = world().reward(data[:400]) + NOISE * torch.randn(400, generator=gen, dtype=F64)
    labels = pseudo_labelled(fit_reward(data[:400], measured), data, gen, noise=NOISE).float()
    basis = world().basis.float()
    if kind == "learnt":
        basis = basis + 0.15 * torch.randn(SIZE, DIM, generator=gen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Perceptron(SIZE if kind == "full" else DIM)
    inner = wrap(net, Karras(0.01, 20.0), predicts="edm", data_std=0.33 if kind == "full" else 0.93)
    model: Any = inner if kind == "full" else Embedded(inner, basis, trained=kind == "learnt")
    if kind == "learnt":
        assert outside(data, model.basis()) > 0.3
    objective = Denoising(LogUniform(0.01, 20.0), data_std=inner.data_std)
    config = FitConfig(steps=steps, batch=batch, lr=5e-3, schedule="cosine", ema=None)
    fit(objective, model, Shuffled(data.float(), labels), config, seed=0)
    return model, data.float()


def check(kind: str, steps: int, batch: int, most: float) -> float:
    """Assert that every target within two deviations is met; returns the energy outside the subspace."""
    model, data = pipeline(kind, steps, batch)
    plan = default(model.process, 20, data_std=0.93)
    gen = torch.Generator().manual_seed(1)
    targets = deviations(-2, -1, 1, 2)
    found = frontier(model, world().reward, data[:1000], targets, plan, gen, n=1000, basis=world().basis)
    for each in found:
        exact = world().expected(each.target)
        print(f"{kind}: target {each.target:.3f} reward {each.mean:.3f} (exact {exact:.3f})")
        assert each.mean == pytest.approx(exact, rel=most)
    return max(each.outside for each in found)


def test_a_briefly_trained_model_meets_targets_in_a_known_subspace() -> None:
    # C20 after 150 steps of batch 64; measured 3.3 % at worst, standard error .6 %.
    assert check("known", 150, 64, 0.05) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["known", "learnt"])
def test_a_trained_model_meets_targets_to_five_percent_inside_the_subspace(kind: str) -> None:
    # C20: 5 % of the exact conditional mean, 1 % of the energy outside; the learnt basis starts over 30 %.
    leaked = check(kind, 600, 128, 0.05)
    print(f"{kind}: energy outside {leaked:.2e}")
    assert leaked < 0.01


@pytest.mark.slow
def test_without_the_subspace_the_same_budget_leaks_energy() -> None:
    leaked = check("full", 600, 128, 0.15)
    print(f"energy outside {leaked:.3f}")
    # Measured .09.
    assert leaked > 0.01


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"one reward each, got 3 and \(2,\)"):
        fit_reward(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ConfigError, match=r"n >= d, got \(2, 3\)"):
        Embedded(Exact(), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="Euclidean space, got Symmetric"):
        Embedded(Exact(Karras(space=Symmetric())), torch.eye(4))
    assert outside(torch.eye(4)[:2], torch.eye(4)[:, :1]) == pytest.approx(0.5)
