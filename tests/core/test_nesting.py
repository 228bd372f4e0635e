"""Combinators nest: random stacks of them keep shapes, determinism, independence of the batch, and exactness.

A combinator makes a denoiser of a denoiser, so any stack of them is one. The stacks are drawn by hypothesis
from the layers below; the innermost model is an exact mixture, so some stacks have a closed form too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.inverse.operators import Matrix
from core.plan import Plan, ancestral, ddim, default, karras
from core.process import VP, Gaussian, Karras
from core.run import sample
from core.state import Seeds
from core.steer.compose import both
from core.steer.gradient import gradient
from core.steer.guidance import classifier, classifier_free
from core.steer.guidance import given as under
from core.steer.measured import Observation, dps, explicit, open_variance, pigdm
from core.steer.shift import shifted
from tests.fixtures.mixtures import pair, ring8

F64 = torch.float64
Layer = Callable[[Any, Plan], Any]
RING, (A, B) = ring8(), pair()
ROW = torch.tensor([[0.6, -0.8]], dtype=F64)


@dataclass(frozen=True)
class Counted:
    """The model at the bottom of a stack; it counts its calls."""

    inner: Any
    calls: list[int]

    @property
    def process(self) -> Any:
        return self.inner.process

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        self.calls.append(len(x))
        return self.inner(x, t, cond)


def log_class(wanted: tuple[int, ...], process: Gaussian, x: Tensor, t: float) -> Tensor:
    """Exact log p(component in wanted | x_t) of the ring, (B,)."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return part(wanted).log_prob(x, alpha, sigma) - RING.log_prob(x, alpha, sigma)


def part(wanted: tuple[int, ...]) -> Mixture:
    index = list(wanted)
    return Mixture(RING.weights[index], RING.means[index], RING.covs[index])


def seen(y: float, noise: float = 0.4) -> Observation:
    return Observation(Matrix(ROW), torch.full((1, 1), y, dtype=F64), noise)


LAYERS: dict[str, tuple[Layer, int]] = {  # and calls of what is below it, per call of the layer
    "class 0 or 1": (lambda d, p: classifier(d, partial(log_class, (0, 1), d.process)), 1),
    "class 1 or 2, strong": (lambda d, p: classifier(d, partial(log_class, (1, 2), d.process), 2.0), 1),
    "given": (lambda d, p: under(d, None), 1),
    "free": (lambda d, p: classifier_free(d, 1.5, unconditional=A.under(d.process)), 1),
    "explicit": (lambda d, p: explicit(d, seen(0.5), lambda t: open_variance(d.process, t, 1.0)), 1),
    "pigdm": (lambda d, p: pigdm(d, seen(-0.3)), 1),
    "dps": (lambda d, p: dps(d, seen(0.2), p, weight=0.1), 1),
    "both": (lambda d, p: both(d, B.under(d.process)), 1),
    "shifted": (lambda d, p: shifted(d, [0.01, 0.1, 0.5], 0.0), 1),
}
PROCESSES: dict[str, Gaussian] = {"VE": Karras(0.01, 20.0), "VP": VP()}
stacks = st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4)


def built(names: list[str], process: Gaussian, plan: Plan) -> tuple[Any, list[int]]:
    calls: list[int] = []
    model: Any = Counted(RING.under(process), calls)
    for name in names:
        model = LAYERS[name][0](model, plan)
    return model, calls


def plan_of(process: Gaussian, noisy: bool, n: int = 6) -> Plan:
    times = karras(process, n, low=0.02, high=10.0)
    return ancestral(process, times) if noisy else ddim(process, times)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(stacks, st.sampled_from(sorted(PROCESSES)), st.booleans())
def test_a_stack_of_combinators_is_a_denoiser(names: list[str], kind: str, noisy: bool) -> None:
    process = PROCESSES[kind]
    plan = plan_of(process, noisy)
    model, _ = built(names, process, plan)
    seeds = [3, 1, 4, 1]
    start = process.prior(torch.zeros(4, 2, dtype=F64), Seeds(seeds), plan.start)
    x = sample(plan, model, start, Seeds(seeds))
    assert x.shape == (4, 2)
    assert x.dtype == F64
    assert bool(x.isfinite().all())
    # The same seeds give the same sample; equal seeds give equal samples; each is the one drawn alone.
    assert torch.equal(x, sample(plan, model, start, Seeds(seeds)))
    assert torch.allclose(x[1], x[3], rtol=1e-9, atol=1e-9)
    alone = sample(plan, model, start[2:3], Seeds(seeds[2:3]))
    assert torch.allclose(alone[0], x[2], rtol=1e-7, atol=1e-7)
    assert bool((start == process.prior(torch.zeros(4, 2, dtype=F64), Seeds(seeds), plan.start)).all())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(stacks)
def test_a_stack_adds_no_call_of_the_model(names: list[str]) -> None:
    process = PROCESSES["VE"]
    plan = plan_of(process, noisy=False)
    model, calls = built(names, process, plan)
    sample(plan, model, process.prior(torch.zeros(2, 2, dtype=F64), Seeds([0, 1]), plan.start))
    assert calls == [2] * plan.evaluations


@pytest.mark.parametrize("kind", PROCESSES)
def test_two_classifiers_give_what_both_allow(kind: str) -> None:
    process = PROCESSES[kind]
    first = classifier(RING.under(process), partial(log_class, (0, 1), process))

    def second(x: Tensor, t: float) -> Tensor:
        """log p(component in (1, 2) | x_t, component in (0, 1))."""
        alpha, sigma = process.alpha(t), process.sigma(t)
        return part((1,)).log_prob(x, alpha, sigma) - part((0, 1)).log_prob(x, alpha, sigma)

    x, t = 0.7 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=F64), process.time(0.8)
    found = classifier(first, second)(x, t).mean
    assert torch.allclose(found, part((1,)).under(process)(x, t).mean, atol=1e-9)
    wrong = classifier(first, second, -1.0)(x, t).mean
    assert not torch.allclose(wrong, part((1,)).under(process)(x, t).mean, atol=1e-2)


def test_two_measurements_of_a_gaussian_are_its_exact_posterior() -> None:
    process = PROCESSES["VE"]
    eye = torch.eye(2, dtype=F64)
    prior = Mixture(torch.ones(1, dtype=F64), torch.zeros(1, 2, dtype=F64), eye[None])
    rows = torch.tensor([[1.0, 0.0]], dtype=F64), torch.tensor([[0.0, 1.0]], dtype=F64)
    y, noise = (0.8, -1.1), (0.3, 0.6)
    model: Any = prior.under(process)
    exact = prior
    for row, value, spread in zip(rows, y, noise, strict=True):
        given_y = torch.full((1, 1), value, dtype=F64)
        model = pigdm(model, Observation(Matrix(row), given_y, spread))
        exact = exact.condition(row, given_y[0], spread**2 * eye[:1, :1])
    x, t = torch.randn(20, 2, generator=torch.Generator().manual_seed(1), dtype=F64), 0.7
    # For N(0, I) and orthogonal rows the likelihood variance of pigdm is exact, and nesting adds scores.
    assert torch.allclose(model(x, t).mean, exact.under(process)(x, t).mean, atol=1e-9)


def test_weights_that_leave_nothing_change_nothing() -> None:
    process = PROCESSES["VE"]
    model = RING.under(process)
    x, t = torch.randn(20, 2, generator=torch.Generator().manual_seed(2), dtype=F64), 0.5
    plan = default(process, 5, data_std=1.0)
    for same in (
        classifier(model, partial(log_class, (0,), process), 0.0),
        classifier_free(model, 1.0, unconditional=A.under(process)),
        under(model, None),
        shifted(model, [0.01, 0.1, 0.5], 0.0),
        dps(model, seen(0.2), plan, weight=0.0) if t in [row.t for row in plan.rows] else model,
    ):
        assert torch.allclose(same(x, t).mean, model(x, t).mean, atol=1e-12)


def test_a_gradient_reaches_through_the_gradient_inside_it() -> None:
    process = PROCESSES["VE"]
    model = classifier(RING.under(process), partial(log_class, (0, 1), process))
    x = 0.5 * torch.randn(6, 2, generator=torch.Generator().manual_seed(3), dtype=F64)
    along = torch.tensor([0.3, -1.2], dtype=F64)

    def loss(state: Tensor) -> Tensor:
        return (model(state, 0.6).mean * along).sum(1)

    found, _ = gradient(loss, x)
    h = 1e-5
    for i, unit in enumerate(torch.eye(2, dtype=F64)):
        numeric = (loss(x + h * unit) - loss(x - h * unit)) / (2 * h)
        assert torch.allclose(found[:, i], numeric, rtol=1e-6, atol=1e-8)
    assert not found.requires_grad
