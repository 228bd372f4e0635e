"""Guidance where the conditional model is known: Bayes' rule on mixtures, Gaussians, enumerated tokens."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import default
from core.process import VP, Gaussian, Karras, Masking, Product, RectifiedFlow
from core.run import sample
from core.state import Symmetric
from core.steer.guidance import between, classifier, classifier_free, doubled, given
from tests.fixtures.mixtures import ring8
from tests.fixtures.normal import Normal

F64 = torch.float64
RING = ring8()
EVEN, FIRST = (0, 2, 4, 6), (0, 1, 2)


def only(members: tuple[int, ...], process: Gaussian) -> Mixture:
    """The ring given that the component is one of these."""
    index = list(members)
    return Mixture(RING.weights[index], RING.means[index], RING.covs[index], process)


def bayes(members: tuple[int, ...], process: Gaussian) -> Any:
    """log p(component in members | x_t)."""
    part, whole = only(members, process), RING.under(process)
    share = float(RING.weights[list(members)].sum())

    def log_prob(x: Tensor, t: Any) -> Tensor:
        at = process.alpha(t), process.sigma(t)
        return math.log(share) + part.log_prob(x, *at) - whole.log_prob(x, *at)

    return log_prob


@dataclass(frozen=True)
class Two:
    """A model with a condition: the whole ring for label 0, some of its components for label 1."""

    process: Gaussian = field(default_factory=Karras)
    sizes: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor, t: Any, cond: Tensor) -> Posterior:
        self.sizes.append(len(x))
        means = [RING.under(self.process)(x, t).mean, only(EVEN, self.process)(x, t).mean]
        return Posterior(mean=torch.where(cond[:, None] == 1, means[1], means[0]))


def points(process: Gaussian, t: float, n: int = 20) -> Tensor:
    gen = torch.Generator().manual_seed(0)
    return process.perturb(RING.sample(n, gen), t, gen)[0]


@pytest.mark.parametrize("process", [Karras(), VP(), RectifiedFlow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("batched", [False, True])
def test_the_exact_classifier_makes_the_exact_conditional_model(process: Gaussian, batched: bool) -> None:
    t: Any = process.time(0.7)
    x = points(process, t)
    if batched:
        t = torch.full((20,), t, dtype=F64)
    exact = only(EVEN, process)(x, t).mean
    found = classifier(RING.under(process), bayes(EVEN, process), 1.0)(x, t).mean
    assert torch.allclose(found, exact, atol=1e-9)
    # The wrong sign, and sigma in place of sigma^2 / alpha, are far off.
    for wrong in (-1.0, 1 / process.sigma(process.time(0.7))):
        off = classifier(RING.under(process), bayes(EVEN, process), wrong)(x, t).mean
        assert float((off - exact).abs().max()) > 0.05


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_classifier_and_classifier_free_guidance_are_the_same_tilt(scale: float) -> None:
    process = VP()
    x, ones = points(process, 0.4), torch.ones(20)
    a = classifier(RING.under(process), bayes(EVEN, process), scale)(x, 0.4).mean
    b = classifier_free(Two(process), scale, null=torch.zeros(20))(x, 0.4, ones).mean
    c = classifier_free(only(EVEN, process), scale, unconditional=RING.under(process))(x, 0.4).mean
    assert torch.allclose(a, b, atol=1e-9)
    assert torch.equal(b, c)


def test_the_scales_zero_and_one_are_the_models_themselves() -> None:
    x, ones, zeros = points(Karras(), 0.5), torch.ones(20), torch.zeros(20)
    model = Two()
    for scale, cond in ((0.0, zeros), (1.0, ones)):
        found = classifier_free(model, scale, null=zeros)(x, 0.5, ones).mean
        assert torch.allclose(found, model(x, 0.5, cond).mean, atol=1e-14)


def test_a_doubled_batch_is_one_call_and_the_same_answer() -> None:
    x, ones = points(Karras(), 0.5), torch.ones(20)
    twice, once = Two(), Two()
    for t in (0.5, torch.linspace(0.1, 2.0, 20, dtype=F64)):
        a = classifier_free(twice, 2.0, null=torch.zeros(20))(x, t, ones).mean
        b = doubled(once, 2.0, torch.zeros(1))(x, t, ones).mean
        assert torch.allclose(a, b, rtol=1e-13)
    assert twice.sizes == [20, 20, 20, 20]
    assert once.sizes == [40, 40]


def test_a_doubled_batch_carries_masks_and_mappings() -> None:
    @dataclass(frozen=True)
    class Parts:
        process: Any = Product({"a": Karras(), "b": Karras()})  # noqa: RUF009

        def __call__(self, x: Any, t: Any, cond: Any) -> Posterior:
            assert x["mask"].shape == (6, 2)
            keep = x["mask"].to(F64)
            return Posterior(mean={"a": x["a"] * keep + cond["c"], "b": 2 * x["b"], "mask": x["mask"]})

    x = {
        "a": torch.arange(6, dtype=F64).reshape(3, 2),
        "b": torch.ones(3, 1, dtype=F64),
        "mask": torch.tensor([[True, False], [True, True], [False, True]]),
    }
    one = {"c": torch.ones(3, 1, dtype=F64)}
    found = doubled(Parts(), 3.0, {"c": torch.zeros(1, 1, dtype=F64)})(x, 1.0, one).mean
    assert torch.equal(found["a"], x["a"] * x["mask"] + 3.0)
    assert torch.equal(found["b"], 2 * x["b"])
    assert torch.equal(found["mask"], x["mask"])


def test_guidance_of_tokens_tilts_the_law_of_each_token() -> None:
    laws = torch.softmax(torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=F64), -1)

    @dataclass(frozen=True)
    class Tokens:
        process: Any = Masking(4)  # noqa: RUF009

        def __call__(self, x: Tensor, t: Any, cond: int) -> Posterior:
            return Posterior(logits=laws[cond].log() + 7.0 * cond)  # logits are free up to a constant

    x = torch.full((1, 3), 4)
    found = torch.softmax(classifier_free(Tokens(), 2.5, null=0)(x, 0.5, 1).logits, -1)
    exact = laws[0] ** -1.5 * laws[1] ** 2.5
    assert torch.allclose(found, exact / exact.sum(-1, keepdim=True), rtol=1e-12)
    with pytest.raises(ConfigError, match="needs a Gaussian process, got Masking"):
        classifier(Tokens(), lambda x, t: x.sum(1))


def test_guidance_nests_and_the_order_does_not_matter() -> None:
    process = Karras()
    x = points(process, 0.6)
    a, b = bayes(EVEN, process), bayes(FIRST, process)
    inner = classifier(classifier(RING, a, 1.5), b, 0.5)(x, 0.6).mean
    outer = classifier(classifier(RING, b, 0.5), a, 1.5)(x, 0.6).mean
    assert torch.allclose(inner, outer, atol=1e-12)
    free = classifier_free(Two(), 1.5, null=torch.zeros(20))
    mixed = classifier(free, b, 0.5)(x, 0.6, torch.ones(20)).mean
    assert torch.allclose(mixed, inner, atol=1e-9)


def test_a_scale_may_depend_on_the_time() -> None:
    model = Two()
    x, ones, zeros = points(Karras(), 0.5), torch.ones(20), torch.zeros(20)
    limited = classifier_free(model, between(4.0, 0.3, 1.0), null=zeros)
    strong = classifier_free(model, 4.0, null=zeros)
    assert torch.equal(limited(x, 0.5, ones).mean, strong(x, 0.5, ones).mean)
    assert torch.allclose(limited(x, 2.0, ones).mean, model(x, 2.0, ones).mean, atol=1e-14)
    assert torch.equal(limited(x, torch.full((20,), 0.5, dtype=F64), ones).mean, strong(x, 0.5, ones).mean)


def test_a_given_condition_replaces_that_of_the_run() -> None:
    x, ones, zeros = points(Karras(), 0.5), torch.ones(20), torch.zeros(20)
    assert torch.equal(given(Two(), ones)(x, 0.5, zeros).mean, Two()(x, 0.5, ones).mean)


def test_a_state_without_signal_is_not_guided() -> None:
    flow = RectifiedFlow()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(2), dtype=F64)
    found = classifier(RING.under(flow), bayes(EVEN, flow), 2.0)
    plain = RING.under(flow)
    for t in (1.0, torch.ones(5, dtype=F64)):
        assert torch.allclose(found(x, t).mean, plain(x, t).mean)


def test_the_gradient_by_an_entry_that_is_stored_twice_counts_both() -> None:
    # Edges N(0, 1) seen as y = sum of the free edges + N(0, v): the posterior mean is a closed form.
    process = Karras(space=Symmetric())

    @dataclass(frozen=True)
    class Edges:
        process: Gaussian

        def __call__(self, x: Tensor, t: float, cond: Any = None) -> Posterior:
            return Posterior(mean=x / (1 + t**2))

    n, t, v, y = 4, 0.8, 0.3, 2.0
    free = n * (n - 1) // 2
    gen = torch.Generator().manual_seed(3)
    x = process.space.noise(torch.zeros(2, n, n, dtype=F64), gen)
    gain = 1 / (1 + t**2)

    def log_prob(state: Tensor, t: float) -> Tensor:
        # sum of edges = half the matrix's sum; given x_t it is normal with this mean and variance.
        mean, var = gain * state.sum((1, 2)) / 2, v + free * t**2 * gain
        return -((y - mean) ** 2) / (2 * var)

    found = classifier(Edges(process), log_prob)(x, t).mean
    inside = gain * x
    lift = t**2 * gain * (y - inside.sum((1, 2)) / 2) / (v + free * t**2 * gain)
    exact = process.space.project(inside + lift[:, None, None])
    assert torch.allclose(found, exact, rtol=1e-10)


def test_a_guided_gaussian_is_the_tilted_posterior_at_scale_one_only() -> None:
    # x_0 ~ N(0, 1) seen as y = x_0 + N(0, 0.5^2): the flow is linear and its end N(m, s^2) is found exactly.
    v, y, normal = 0.25, 1.5, Normal(0.0, 1.0, Karras(0.002, 80.0))
    plan = default(normal.process, 200, data_std=1.0)
    start = torch.tensor([[-80.0], [80.0]], dtype=F64)

    def log_prob(x: Tensor, t: Any) -> Tensor:
        gain = 1 / (1 + t**2)
        return -((y - gain * x[:, 0]) ** 2) / (2 * (v + t**2 * gain))

    ends = {}
    for scale in (1.0, 3.0):
        low, high = sample(plan, classifier(normal, log_prob, scale), start)
        ends[scale] = float(high + low) / 2, float(high - low) / 2
    tilted = {w: (y * w / v / (1 + w / v), (1 / (1 + w / v)) ** 0.5) for w in ends}
    # The start, centred at 0 and not at the mean, costs 1.2 / 80 of the deviation, .007.
    assert ends[1.0] == pytest.approx(tilted[1.0], abs=0.01)
    # Measured: mean 1.68 against 1.38, deviation .089 against .277: too far and too narrow.
    assert ends[3.0][0] - tilted[3.0][0] > 0.05
    assert tilted[3.0][1] - ends[3.0][1] > 0.05


def test_conditions_that_do_not_pair_are_refused() -> None:
    x = points(Karras(), 0.5)
    with pytest.raises(ConfigError, match="needs the condition of the run, got none"):
        doubled(Two(), 2.0, torch.zeros(1))(x, 0.5)
    with pytest.raises(ConfigError, match=r"one shape, got \(1,\) and \(20, 3\)"):
        doubled(Two(), 2.0, torch.zeros(1))(x, 0.5, torch.ones(20, 3))
    with pytest.raises(ConfigError, match=r"one shape, got NoneType and \(20,\)"):
        doubled(Two(), 2.0, None)(x, 0.5, torch.ones(20))


def test_rescaling_gives_the_answer_the_spread_of_the_conditional_one() -> None:
    x = points(RectifiedFlow(), 0.5)
    model = Two(RectifiedFlow())
    cond, null = torch.ones(20), torch.zeros(20)
    plain = classifier_free(model, 4.0, null=null)(x, 0.5, cond).mean
    wanted = model(x, 0.5, cond).mean.std(1)
    full = classifier_free(model, 4.0, null=null, rescale=1.0)(x, 0.5, cond).mean
    assert torch.allclose(full.std(1), wanted, rtol=1e-9)
    assert torch.allclose(full / full.norm(dim=1, keepdim=True), plain / plain.norm(dim=1, keepdim=True))
    half = doubled(model, 4.0, null, rescale=0.5)(x, 0.5, cond).mean
    assert torch.allclose(half, (full + plain) / 2)
    with pytest.raises(ConfigError, match=r"rescale must lie in \[0, 1\], got 2"):
        classifier_free(model, 4.0, null=null, rescale=2)(x, 0.5, cond)
