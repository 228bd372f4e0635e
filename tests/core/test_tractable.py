"""Tractable steering, where the circuit is the data law itself and inpainting has an exact answer."""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.circuit import (
    Categorical,
    Circuit,
    Gaussian,
    Layout,
    assemble,
    chow_liu,
    em,
    hidden_tree,
    log_prob,
    mixture,
)
from core.denoise import Posterior
from core.errors import ConfigError
from core.metrics import floor, sliced_wasserstein
from core.plan import default, unmask
from core.process import VP, Karras, Masking
from core.run import sample
from core.state import Seeds
from core.steer.measured import open_variance
from core.steer.tractable import Fused, Known, Tractable, fused, ramp
from tests.core.circuit.worlds import F64, one_hot, states, ternary
from tests.fixtures.digits import DATA_STD, LEVELS, digits, digits_denoiser
from tests.fixtures.mixtures import ring8

PROCESS = Karras(0.002, 80.0)


def ring_circuit() -> Circuit:
    """F1 as a circuit: eight components, each a product of two Gaussian leaves."""
    ring = ring8()
    law = Gaussian(torch.arange(2), ring.means.T.contiguous(), torch.full((2, 8), 0.05, dtype=F64).sqrt())
    circuit = assemble(mixture(2, 8), law, torch.Generator().manual_seed(0))
    return replace(circuit, weights=(ring.weights[None, :, None],))


def given(first: float) -> tuple[Known, Mixture]:
    """The first coordinate of the ring is known; the exact posterior."""
    value = torch.tensor([[first, 0.0]], dtype=F64)
    a, nothing = torch.tensor([[1.0, 0.0]], dtype=F64), torch.zeros(1, 1, dtype=F64)
    return Known(value, torch.tensor([[True, False]])), ring8().condition(a, value[0, :1], nothing)


@dataclass(frozen=True)
class Fixed:
    """A model that answers with one mean, and counts its calls."""

    mean: Tensor
    process: Any = PROCESS
    calls: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
        self.calls.append(t)
        return Posterior(mean=self.mean)


@pytest.mark.parametrize("process", [PROCESS, VP()])
def test_the_circuit_of_the_ring_is_the_exact_conditional_denoiser(process: Any) -> None:
    known, exact = given(0.4)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = 0.5
    alpha, sigma = process.alpha(t), process.sigma(t)
    x = alpha * x + sigma * x.flip(0)
    x[:, 0] = alpha * 0.4  # the known coordinate of the state carries no news
    got = Tractable(ring_circuit(), process, known)(x, t).mean
    torch.testing.assert_close(got, exact.denoise(x, alpha, sigma), rtol=0, atol=1e-10)


def test_the_noisy_known_coordinate_does_not_matter() -> None:
    model = Tractable(ring_circuit(), PROCESS, given(0.4)[0])
    x = torch.tensor([[0.4, 0.3], [5.0, 0.3]], dtype=F64)
    one, other = model(x, 0.7).mean
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def inpainted(weight: float, first: Tensor, second: Tensor) -> Tensor:
    """The second coordinate, sampled from the noise `second` (n,) where the first is known, (n,) or (1,)."""
    values = torch.stack([first, torch.zeros_like(first)], 1)
    known = Known(values, torch.tensor([[True, False]]))
    both = fused(ring8(), Tractable(ring_circuit(), PROCESS, known), weight, variance=1.0)
    plan = default(PROCESS, 60, data_std=ring8().data_std)
    start = plan.start * torch.stack([second.flip(0), second], 1)
    out = sample(plan, both, start)
    assert (out[:, 0] - first).abs().max() < 1e-9
    return out


def distances(out: Tensor, draw: Any, repeats: int = 8) -> tuple[float, float]:
    """SW2 to exact draws, and between exact draws, each averaged over draws: one alone depends on how many
    fell on each mode.
    """
    apart = partial(sliced_wasserstein, directions=1 if out.shape[1] == 1 else 128)
    gap = sum(apart(out, draw()) for _ in range(repeats)) / repeats
    low = sum(floor(apart, draw) for _ in range(repeats)) / repeats
    print(f"SW2 {gap:.4f}, floor {low:.4f}")
    return gap, low


def quantiles(n: int) -> Tensor:
    """Equally likely values of a standard normal. A flow in one dimension keeps their order, so they end on
    the quantiles of the law it leads to.
    """
    return torch.special.ndtri((torch.arange(n, dtype=F64) + 0.5) / n)


@pytest.mark.parametrize("first", [-0.9, 1.3])
def test_inpainting_by_the_circuit_alone_is_the_exact_posterior(first: float) -> None:
    gen, n = torch.Generator().manual_seed(0), 4000
    out = inpainted(0.0, torch.tensor([first], dtype=F64), quantiles(n))[:, 1:]
    exact = given(first)[1]
    gap, low = distances(out, lambda: exact.sample(n, gen)[:, 1:])
    assert gap <= 1.5 * low


def test_inpainting_what_was_drawn_gives_back_the_joint_law() -> None:
    gen, n = torch.Generator().manual_seed(0), 4000
    first = ring8().sample(n, gen)[:, 0]
    out = inpainted(0.0, first, torch.randn(n, generator=gen, dtype=F64))
    gap, low = distances(out, lambda: ring8().sample(n, gen), 4)
    assert gap <= 1.5 * low


def test_the_model_alone_misses_the_posterior() -> None:
    # The yardstick of the tests above: putting the known value in, without the circuit, is not conditioning.
    gen, n = torch.Generator().manual_seed(0), 4000
    out = inpainted(1.0, torch.tensor([-0.9], dtype=F64), quantiles(n))[:, 1:]
    exact = given(-0.9)[1]
    gap, low = distances(out, lambda: exact.sample(n, gen)[:, 1:])
    assert gap > 2 * low


@pytest.mark.parametrize("m", [0.2, 0.7])
def test_gaussian_laws_are_fused_by_their_geometric_mean(m: float) -> None:
    mu, var, mean, v = 0.3, 0.4, torch.tensor([[1.1]], dtype=F64), 0.25
    law = Gaussian(
        torch.arange(1), torch.full((1, 1), mu, dtype=F64), torch.full((1, 1), var, dtype=F64).sqrt()
    )
    circuit = assemble(mixture(1, 1), law, torch.Generator())
    x, sigma = torch.tensor([[0.8]], dtype=F64), 0.6
    got = fused(Fixed(mean), Tractable(circuit, PROCESS), m, variance=v)(x, sigma).mean.item()
    line = torch.linspace(-8, 8, 20_001, dtype=F64)
    prior = -((line - mu) ** 2) / (2 * var) - (x[0] - line) ** 2 / (2 * sigma**2)
    both = (m * -((line - 1.1) ** 2) / (2 * v) + (1 - m) * prior).softmax(0)
    assert got == pytest.approx(float(both @ line), abs=1e-9)
    arithmetic = m * 1.1 + (1 - m) * float(prior.softmax(0) @ line)
    assert abs(got - arithmetic) > 0.01  # the wrong mean is another number


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("m", [0.0, 0.35])
def test_categories_are_fused_on_their_codes(width: int, m: float) -> None:
    circuit, x0 = ternary("hidden", 5), states(5)
    gen = torch.Generator().manual_seed(0)
    code = torch.randn(3, width, generator=gen, dtype=F64)
    x, mean = (torch.randn(4, 5, width, generator=gen, dtype=F64) for _ in range(2))
    sigma, v = 0.8, 0.3
    book = code[:, 0] if width == 1 else code
    flat = (lambda a: a[..., 0]) if width == 1 else (lambda a: a)
    known = Known(flat(code[torch.tensor([[2, 0, 0, 0, 0]])]), torch.tensor([[True] + [False] * 4]))
    got = fused(Fixed(flat(mean)), Tractable(circuit, PROCESS, known, book), m, variance=v)(
        flat(x), sigma
    ).mean
    gap = (x[:, None] - code[x0]).square().sum(3) / (2 * sigma**2)
    joint = (log_prob(circuit, x0) - gap[..., 1:].sum(2)).masked_fill(x0[:, 0] != 2, -torch.inf).softmax(1)
    exact = torch.stack([joint @ one_hot(x0[:, i]) for i in range(5)], 1)
    near = -(mean[:, :, None] - code).square().sum(3) / (2 * v)
    law = (m * near + (1 - m) * exact.log()).softmax(2)
    law[:, 0] = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
    torch.testing.assert_close(got, flat(law @ code), rtol=0, atol=1e-10)


def test_masked_tokens_are_answered_by_exact_conditionals() -> None:
    circuit, x0 = ternary("regions", 5), states(5)
    x = torch.tensor([[1, 3, 3, 0, 3]])
    known = Known(torch.tensor([[0, 0, 0, 0, 2]]), torch.tensor([[False] * 4 + [True]]))
    got = Tractable(circuit, Masking(3), known)(x, 0.5).logits.softmax(2)
    fits = (x0[:, 0] == 1) & (x0[:, 3] == 0) & (x0[:, 4] == 2)
    law = log_prob(circuit, x0).masked_fill(~fits, -torch.inf).softmax(0)
    exact = torch.stack([law @ one_hot(x0[:, i]) for i in range(5)])
    torch.testing.assert_close(got[0], exact, rtol=0, atol=1e-10)


def test_unmasking_one_token_at_a_time_samples_the_circuit() -> None:
    loose, x0, n = ternary("hidden", 3), states(3), 10_000
    near = lambda like: 0.85 * torch.eye(3, dtype=F64).expand(like.shape) + 0.05  # noqa: E731
    law = replace(loose.leaves, probs=near(loose.leaves.probs))  # type: ignore[union-attr, call-arg]
    circuit = replace(loose, weights=(*map(near, loose.weights[:-1]), loose.weights[-1]), leaves=law)
    process, gen = Masking(3), torch.Generator().manual_seed(0)
    plan = unmask(process, torch.linspace(1, 0, 65).tolist())
    out = sample(plan, Tractable(circuit, process), torch.full((n, 3), 3), gen)
    found = torch.bincount(out @ torch.tensor([9, 3, 1]), minlength=27) / n
    exact = log_prob(circuit, x0).exp()
    apart = lambda law: float((law - exact).abs().sum() / 2)  # noqa: E731
    # Two of the three tokens fall into the same of 64 steps with probability at most 3/64 and are then drawn
    # independently; 10 000 draws of 27 states add at most sqrt(27 / n) / 2 = .026 in total variation.
    assert apart(found) <= 3 / 64 + 0.026
    alone = torch.stack([exact @ one_hot(x0[:, i]) for i in range(3)])
    assert apart(alone[0][x0[:, 0]] * alone[1][x0[:, 1]] * alone[2][x0[:, 2]]) > 3 / 64 + 0.026


def test_tokens_are_fused_in_the_logarithm() -> None:
    circuit, process = ternary("hidden", 3), Masking(3)
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)

    @dataclass(frozen=True)
    class Model:
        process: Any

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            return Posterior(logits=logits)

    x = torch.full((2, 3), 3)
    exact = Tractable(circuit, process)(x, 0.5).logits.softmax(2)
    both = lambda m: fused(Model(process), Tractable(circuit, process), m, variance=1.0)(x, 0.5).logits  # noqa: E731
    law = logits.softmax(2) ** 0.3 * exact**0.7
    torch.testing.assert_close(both(0.3).softmax(2), law / law.sum(2, keepdim=True), rtol=0, atol=1e-12)
    assert torch.equal(both(1.0), logits)
    torch.testing.assert_close(both(0.0).softmax(2), exact, rtol=0, atol=1e-12)


def test_the_ramp_raises_the_weight_and_drops_the_circuit() -> None:
    plan = default(PROCESS, 11, data_std=1.0)
    weight = ramp(plan, start=0.4, stop=1.0, power=3.0, share=0.5)
    found = [weight(row.t) for row in plan.rows]
    assert found[:6] == pytest.approx([0.4 + 0.6 * (i / 10) ** 3 for i in range(6)])
    assert found[6:] == [1.0] * 5
    with pytest.raises(ConfigError, match="another plan"):
        weight(0.123)


def test_the_model_is_called_once_a_step() -> None:
    model = Fixed(torch.zeros(3, 2, dtype=F64))
    plan = default(PROCESS, 9, data_std=0.7)
    both = fused(model, Tractable(ring_circuit(), PROCESS, given(0.1)[0]), ramp(plan), variance=1.0)
    sample(plan, both, torch.ones(3, 2, dtype=F64))
    assert model.calls == [row.t for row in plan.rows]


def test_every_sample_may_have_a_time_and_a_seed_of_its_own() -> None:
    model = Tractable(ring_circuit(), PROCESS, given(0.1)[0])
    x, t = PROCESS.prior(torch.zeros(3, 2, dtype=F64), Seeds([1, 2, 3]), 1.0), torch.tensor([0.3, 1.0, 4.0])
    rows = [model(x[i : i + 1], float(t[i])).mean for i in range(3)]
    torch.testing.assert_close(model(x, t.double()).mean, torch.cat(rows), rtol=0, atol=1e-6)


def test_what_does_not_fit_is_named() -> None:
    circuit = ring_circuit()
    with pytest.raises(ConfigError, match="need a codebook"):
        Tractable(ternary("hidden", 3), PROCESS)
    with pytest.raises(ConfigError, match="categorical leaves, and no codebook"):
        Tractable(circuit, Masking(3))
    with pytest.raises(ConfigError, match="is read under"):
        fused(ring8(), Tractable(circuit, VP()), 0.5, variance=1.0)
    with pytest.raises(ConfigError, match=r"\[0, 1\], got 1.5"):
        fused(ring8(), Tractable(circuit, PROCESS), 1.5, variance=1.0)
    both = fused(ring8(), Tractable(circuit, PROCESS), 0.5, variance=1.0)
    with pytest.raises(ConfigError, match="share one time"):
        both(torch.zeros(2, 2, dtype=F64), torch.ones(2))
    with pytest.raises(ConfigError, match="a ramp needs"):
        ramp(default(PROCESS, 4, data_std=1.0), start=-0.1)


def digit_circuit(width: int, sweeps: int) -> Circuit:
    """A hidden Chow-Liu tree over the 17 levels of 64 pixels, in single precision."""
    x = (8 * (digits().train + 1)).round().long()
    graph = hidden_tree(chow_liu((x >= 8).long(), 2), width)
    gen = torch.Generator().manual_seed(0)
    law = Categorical.around(Layout.of(graph).variables, width, x, 17, gen, own=0.5)
    *_, last = em(assemble(graph, law, gen).to(torch.float32), x, sweeps, pseudo=2.0)
    return last.circuit


@pytest.mark.slow
def test_fused_inpainting_of_digits_beats_circuit_and_model_alone() -> None:
    data, model = digits(), digits_denoiser()
    where = (torch.arange(64) % 8 < 4)[None]  # the left half is known
    exact = Tractable(digit_circuit(8, 30), model.process, Known(data.test, where), LEVELS)
    plan = default(model.process, 20, data_std=DATA_STD)

    def variance(t: float) -> float:
        return open_variance(model.process, t, DATA_STD)

    def run(weight: Any) -> tuple[float, float, float]:
        """Squared error of the right half and its standard error; fewest seconds of three runs."""
        both: Fused = fused(model, exact, weight, variance=variance)
        start = model.process.prior(torch.zeros(500, 64), torch.Generator().manual_seed(1), plan.start)
        seconds = []
        for _ in range(3):
            begun = time.process_time()
            out = sample(plan, both, start)
            seconds.append(time.process_time() - begun)
        each = (out - data.test)[:, ~where[0]].square().mean(1)
        return each.mean().item(), each.std().item() / 500**0.5, min(seconds)

    error, spread, cost = run(ramp(plan, share=0.2))
    alone, _, _ = run(0.0)
    plain, _, base = run(1.0)
    long, _, dear = run(ramp(plan))
    print(
        f"mse fused {error:.3f} +- {spread:.3f} (share .2), {long:.3f} (share .8); "
        f"circuit {alone:.3f}, model {plain:.3f}; overhead {cost / base - 1:.0%}, {dear / base - 1:.0%}"
    )
    assert error <= min(alone, plain)
    assert long <= min(alone, plain)
    assert cost <= 1.3 * base
