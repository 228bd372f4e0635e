"""Experts of noise where the best answer is known: two Gaussians, with linear classifiers at every level.

Data are N(m, s^2 I) or N(-m, s^2 I) with even odds, so p(y given x_t) is a logistic function of x_t with
slope 2 alpha m / (alpha^2 s^2 + sigma^2), the expert's limit, and the frozen f is the one for clean data.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.analytic import Mixture
from core.errors import ConfigError
from core.plan import default
from core.process import VE, VP, CosineVP, Karras, RectifiedFlow
from core.run import sample
from core.steer.experts import (
    Expert,
    Experts,
    Imitation,
    Ranges,
    Within,
    apart,
    generated,
    train_experts,
)
from core.steer.guidance import classifier
from core.train import FitConfig, Shuffled
from core.train.checkpoint import load

F64 = torch.float64
EDM = Karras(0.01, 10.0)
CENTRE, STD = torch.tensor([0.6, -0.3], dtype=F64), 0.5
PAIR = Mixture(
    torch.tensor([0.5, 0.5], dtype=F64),
    torch.stack([-CENTRE, CENTRE]),
    STD**2 * torch.eye(2, dtype=F64).expand(2, 2, 2),
)
PROCESSES = [EDM, VP(), VE(0.01, 50.0), CosineVP(), RectifiedFlow()]


class Linear(nn.Module):
    """The exact classifier of clean states, (B, 2) -> logits (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2, dtype=F64)
        with torch.no_grad():
            self.layer.weight.copy_(torch.stack([-CENTRE, CENTRE]) / STD**2)
            self.layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def exact(x: Tensor, t: Any, process: Any = EDM) -> Tensor:
    """Logits of the two classes at a noisy state, up to a constant."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    slope = torch.as_tensor(alpha / (alpha**2 * STD**2 + sigma**2), dtype=F64)
    along = slope * (x @ CENTRE)
    return torch.stack([-along, along], 1)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("data_std", [None, 0.5])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 12), share=st.floats(0, 1))
def test_ranges_hold_every_time_exactly_once(
    process: Any, data_std: float | None, n: int, share: float
) -> None:
    ranges = Ranges.even(process, n, data_std=data_std)
    near, far = process.ends
    assert len(ranges) == n
    for t in (near + share * (far - near), near, far, float(torch.tensor(far)), *ranges.edges[1:-1]):
        holders = [k for k in range(n) if ranges.edges[k] <= t < ranges.edges[k + 1]]
        assert holders == [ranges.index(t)]


def test_an_edge_belongs_to_the_range_above_it() -> None:
    ranges = Ranges((0.0, 1.0, 2.0))
    assert [ranges.index(t) for t in (0.0, 0.999, 1.0, 1.999)] == [0, 0, 1, 1]
    # Closed at both ends, as published, the edge would have two experts.
    assert sum(a <= 1.0 <= b for a, b in ((0.0, 1.0), (1.0, 2.0))) == 2


def test_even_ranges_cut_the_clock_or_the_angle() -> None:
    assert Ranges.even(CosineVP(), 4).edges[1:4] == pytest.approx((0.25, 0.5, 0.75))
    angles = torch.tensor(Ranges.even(EDM, 3, data_std=0.5).edges, dtype=F64).div(0.5).atan()
    assert torch.allclose(angles.diff(), angles[-1] / 3)


def test_times_of_training_stay_in_their_range() -> None:
    u = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=F64)
    for process, within in (
        (EDM, Within(0.1, 0.4, True)),
        (VP(), Within(0.25, 0.5)),
        (VP(), Within(0.25, 0.5, True)),
    ):
        t = within.times(process, u)
        assert bool((t >= within.low).all() and (t <= within.high).all())
    logs = Within(0.1, 0.4, True).times(EDM, u).log()
    # Uniform between log .1 and log .4: mean log .2; standard error .006.
    assert float(logs.mean()) == pytest.approx(float(torch.tensor(0.2).log()), abs=0.03)
    assert float(Within(0.1, 0.4).times(EDM, u).mean()) == pytest.approx(0.25, abs=0.006)


def test_clean_states_reach_the_network_as_they_are_and_noisy_ones_at_the_same_scale() -> None:
    gen = torch.Generator().manual_seed(0)
    seen = Expert(nn.Identity(), EDM, data_std=0.3)
    x0 = 0.3 * torch.randn(20_000, 2, generator=gen, dtype=F64)
    assert torch.allclose(seen(x0, 1e-6), x0)
    for t in (0.1, 1.0, 10.0):
        x, _ = EDM.perturb(x0, t, gen)
        # 40 000 numbers: standard error .001.
        assert float(seen(x, t).std()) == pytest.approx(0.3, abs=0.004)
    t = torch.linspace(0.1, 2.0, 20_000, dtype=F64)
    assert torch.allclose(seen(x0, t)[7], seen(x0[7:8], float(t[7]))[0])
    # With data of unit deviation a variance-exploding process shows what a variance-preserving one would.
    unit, process = Expert(nn.Identity(), EDM), VP()
    x, _ = process.perturb(x0, 0.5, gen)
    level = process.ratio(0.5)
    assert torch.allclose(unit(x / process.alpha(0.5), level), Expert(nn.Identity(), process)(x, 0.5))


def test_distances_are_their_formulas() -> None:
    gen = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 4, generator=gen, dtype=F64)
    p, q = b.softmax(1), a.softmax(1)
    torch.testing.assert_close(apart(a, b, "kl"), (p * (p / q).log()).sum(1))
    assert not torch.allclose(apart(a, b, "kl"), (q * (q / p).log()).sum(1), rtol=1e-2)  # turned round
    torch.testing.assert_close(apart(a, b, "l1"), (a - b).abs().mean(1))
    torch.testing.assert_close(apart(a, b, "l2"), (a - b).square().mean(1))
    assert apart(a, a, "kl").abs().max() < 1e-15


def test_each_sample_asks_the_expert_of_its_own_time() -> None:
    members = tuple(lambda x, t, k=k: x + 100 * k for k in range(3))
    experts = Experts(Ranges((0.0, 1.0, 2.0, 3.0)), members)
    x = torch.arange(5.0)[:, None].expand(5, 2)
    t = torch.tensor([2.5, 0.5, 1.0, 0.0, 2.0])
    found = experts(x, t)
    assert found[:, 0].tolist() == [200.0, 1.0, 102.0, 3.0, 204.0]
    for i in range(5):
        assert torch.equal(experts(x[i : i + 1], float(t[i])), found[i : i + 1])
    assert torch.equal(experts(x, torch.tensor(1.5)), x + 100)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experts, Path]:
    """Three experts of the linear classifier, trained on what the pair's exact denoiser draws."""
    gen, folder = torch.Generator().manual_seed(0), tmp_path_factory.mktemp("experts")
    model = PAIR.under(EDM)
    data = generated(model, default(EDM, 25, data_std=PAIR.data_std), torch.zeros(2, dtype=F64), 2000, gen)
    config = FitConfig(steps=120, batch=64, lr=0.05, schedule="cosine", ema=None, every_steps=None)
    experts = train_experts(
        Linear().eval(),
        EDM,
        Shuffled(data),
        Ranges((0.0, 0.4, 0.8, 11.0)),
        config,
        seed=0,
        data_std=PAIR.data_std,
        logarithmic=True,
        folder=folder,
    )
    return experts, folder


def test_generated_states_have_the_law_of_the_model() -> None:
    gen = torch.Generator().manual_seed(0)
    plan = default(EDM, 25, data_std=PAIR.data_std)
    found = generated(PAIR.under(EDM), plan, torch.zeros(2, dtype=F64), 5000, gen, batch=2000)
    assert found.shape == (5000, 2)
    # Standard error .012 on the entries of the covariance.
    assert torch.allclose(torch.cov(found.T), PAIR.cov(), atol=0.05)
    again = generated(
        PAIR.under(EDM), plan, torch.zeros(2, dtype=F64), 5000, torch.Generator().manual_seed(0), batch=2000
    )
    assert torch.equal(found, again)


def test_experts_answer_what_the_exact_noisy_classifier_would(trained: tuple[Experts, Path]) -> None:
    experts, _ = trained
    gen = torch.Generator().manual_seed(1)
    frozen = Expert(Linear(), EDM, PAIR.data_std)
    for t in (0.5, 0.6, 2.0, 4.0):
        x, _ = EDM.perturb(PAIR.sample(4000, gen), t, gen)
        wanted = exact(x, t)
        with torch.no_grad():
            loss, before = (float(apart(f(x, t), wanted, "kl").mean()) for f in (experts, frozen))
        print(f"sigma {t}: divergence from the exact classifier {loss:.4f}, frozen {before:.4f}")
        # One linear layer per range: what is left is that the exact slope changes within the range.
        assert loss < min(0.02, before / 5)


def test_training_leaves_experts_at_rest_and_a_folder_each(trained: tuple[Experts, Path]) -> None:
    experts, folder = trained
    for k, member in enumerate(experts.members):
        assert isinstance(member, Expert)
        assert not any(p.requires_grad for p in member.parameters())
        assert not member.training
        stored = load(folder / f"expert-{k}" / "model.safetensors")
        assert all(
            torch.equal(stored.weights[name], value) for name, value in member.net.state_dict().items()
        )
    first, second = (member.net.state_dict() for member in experts.members[:2])
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_guidance_by_exact_experts_is_the_exact_conditional_denoiser() -> None:
    gen = torch.Generator().manual_seed(2)
    for process in (EDM, VP()):
        experts = Experts(
            Ranges.even(process, 3),
            tuple(lambda x, t, process=process: exact(x, t, process) for _ in range(3)),
        )
        one = Mixture(torch.ones(1, dtype=F64), PAIR.means[1:], PAIR.covs[1:])
        y = torch.ones(50, dtype=torch.long)
        guided = classifier(PAIR.under(process), experts.log_prob(y))
        for t in (0.1, 0.5, 0.9):
            x, _ = process.perturb(PAIR.sample(50, gen), t, gen)
            torch.testing.assert_close(guided(x, t).mean, one.under(process)(x, t).mean)
        # The frozen classifier at the same scale is wrong where there is noise.
        frozen = Experts(Ranges.even(process, 1), (Expert(Linear(), process, PAIR.data_std),))
        off = classifier(PAIR.under(process), frozen.log_prob(y))(x, t).mean - one.under(process)(x, t).mean
        assert off.norm(dim=1).mean() > 0.05


def test_guidance_by_trained_experts_draws_the_class(trained: tuple[Experts, Path]) -> None:
    experts, _ = trained
    gen = torch.Generator().manual_seed(3)
    y = torch.ones(1500, dtype=torch.long)
    plan = default(EDM, 20, data_std=PAIR.data_std)
    start = EDM.prior(torch.zeros(1500, 2, dtype=F64), gen)

    def gap(log_prob: Any) -> float:
        found = sample(plan, classifier(PAIR.under(EDM), log_prob), start, gen)
        return float((found.mean(0) - CENTRE).norm())

    frozen = Experts(Ranges.even(EDM, 1), (Expert(Linear(), EDM, PAIR.data_std),))
    near, far = gap(experts.log_prob(y)), gap(frozen.log_prob(y))
    print(f"mean of the class missed by {near:.3f} with experts, {far:.3f} with the frozen classifier")
    # Standard error .018; what the experts miss is the change of the exact slope within their ranges.
    assert near < far / 4


def test_dense_answers_are_guided_by_their_distance() -> None:
    wanted = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=F64)
    experts = Experts(Ranges((0.0, 1.0)), (lambda x, t: 2 * x,), loss="l2")
    x = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=F64)
    assert experts.log_prob(wanted)(x, 0.5).tolist() == [-0.5, -2.0]


def test_what_makes_no_ranges_or_experts_is_refused() -> None:
    for edges in ((0.0,), (0.0, 0.0), (1.0, 0.5)):
        with pytest.raises(ConfigError, match="increasing edges"):
            Ranges(edges)
    with pytest.raises(ConfigError, match="at least one range"):
        Ranges.even(EDM, 0)
    for t in (-0.1, 2.0):
        with pytest.raises(ConfigError, match="outside"):
            Ranges((0.0, 2.0)).index(t)
    with pytest.raises(ConfigError, match="2 ranges need as many experts, got 1"):
        Experts(Ranges((0.0, 1.0, 2.0)), (lambda x, t: x,))
    with pytest.raises(ConfigError, match="known: kl, l1, l2"):
        Imitation(Within(0.0, 1.0), "cross")  # type: ignore[arg-type]
