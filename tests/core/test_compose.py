"""Composition of mixtures, whose products are mixtures again (C11): plain is biased, corrected is exact."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior, score_of
from core.errors import ConfigError
from core.infer import Move, Particles, fk_sample, mala, ratio
from core.infer.potentials import LogDensity
from core.metrics import sliced_wasserstein
from core.plan import ancestral, ddim, karras
from core.process import VP, Gaussian, Karras, Masking
from core.run import sample
from core.steer.compose import both, composed, either, log_composed, without
from tests.fixtures.mixtures import pair, ring8

F64 = torch.float64
PROCESS = Karras(0.01, 20.0)
A, B = (mix.under(PROCESS) for mix in pair())
PRODUCT = A.product(B)
N = 4000


def log_of(mix: Mixture, process: Gaussian = PROCESS) -> LogDensity:
    return lambda x, t: mix.log_prob(x, process.alpha(t), process.sigma(t))


def begun(n: int, gen: torch.Generator) -> Tensor:
    return PROCESS.sigma_max * torch.randn(n, 2, generator=gen, dtype=F64)


def exact(n: int = N, seed: int = 99) -> Tensor:
    return PRODUCT.sample(n, torch.Generator().manual_seed(seed))


def corrected(
    first: Mixture, second: Mixture, steps: int, gen: torch.Generator, moved: Move | None = None, n: int = N
) -> Particles:
    """n particles of the product, through `steps` levels."""
    plan = ancestral(PROCESS, karras(PROCESS, steps)[:-1])
    target = log_composed([log_of(first), log_of(second)])
    high = PROCESS.sigma(plan.start)
    potential = ratio(PROCESS, target, log_start=lambda x, t: -x.square().sum(1) / (2 * high**2))
    return fk_sample(plan, both(first, second), potential, begun(n, gen), gen, moves=moved)


def moves(first: Mixture, second: Mixture, variance: float, step: float) -> Move:
    """Two MALA moves, with steps of a share of the variance that the product and two noises leave."""
    model, target = both(first, second), log_composed([log_of(first), log_of(second)])

    def score(x: Tensor, t: float) -> Tensor:
        found: Any = score_of(PROCESS, x, model(x, t).mean, t)
        return found  # type: ignore[no-any-return]

    return mala(target, score, lambda t: step / (1 / variance + 2 / t**2), n=2, calls=2)


@pytest.mark.parametrize("steps", [50, 200])
def test_the_plain_sum_is_biased_however_many_steps_are_taken(steps: int) -> None:
    gen = torch.Generator().manual_seed(0)
    x = sample(ancestral(PROCESS, karras(PROCESS, steps)), both(A, B), begun(N, gen), gen)
    distance = sliced_wasserstein(x, exact())
    print(
        f"plain, {steps} steps: SW2 {distance:.3f}, floor {sliced_wasserstein(exact(), exact(seed=98)):.3f}"
    )
    assert distance > 0.1


def test_weights_come_nearer_to_the_product_than_the_plain_sum() -> None:
    gen = torch.Generator().manual_seed(0)
    plain = sample(ancestral(PROCESS, karras(PROCESS, 50)), both(A, B), begun(1000, gen), gen)
    found = corrected(A, B, 50, gen, moves(A, B, 0.19, 0.6), n=1000).even(gen)
    far, near = (sliced_wasserstein(x, exact(1000)) for x in (plain, found))
    print(f"SW2 plain {far:.3f}, weighed {near:.3f}")
    # Two exact sets of a thousand are about .05 apart; single runs of 4 000 vary by .01, of 1 000 by .02.
    assert near < 0.5 * far


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "moved", "most"),
    [(200, False, 0.055), (50, True, 0.055), (200, True, 0.05)],
)
def test_weights_make_the_product_exact(steps: int, moved: bool, most: float) -> None:
    """Means of two or three runs: single ones vary by about .01."""
    distances, calls = [], 0
    for seed in range(3 if steps == 50 else 2):
        gen = torch.Generator().manual_seed(seed)
        found = corrected(A, B, steps, gen, moves(A, B, 0.19, 0.6) if moved else None)
        distances.append(sliced_wasserstein(found.even(gen), exact()))
        calls = found.calls
    print(f"{steps} steps, moved {moved}: SW2 {[f'{d:.3f}' for d in distances]}, {calls} calls of the pair")
    assert sum(distances) / len(distances) <= most


def normal(mean: list[float], stds: list[float]) -> Mixture:
    cov = torch.diag(torch.tensor(stds, dtype=F64) ** 2)
    return Mixture(torch.ones(1, dtype=F64), torch.tensor([mean], dtype=F64), cov[None]).under(PROCESS)


def moments_off(runs: int, n: int) -> tuple[Tensor, Tensor]:
    """Errors of mean, in standard deviations, and covariance, relative, of a product of commuting normals.

    Returns:
        Pooled errors, (5,): two means, two variances, one correlation; and their standard errors.
    """
    first, second = normal([1.0, -1.0], [1.0, 0.6]), normal([2.0, 0.5], [0.7, 1.2])
    target = first.product(second)
    std, found = target.covs[0].diagonal().sqrt(), []
    gen = torch.Generator().manual_seed(0)
    for _ in range(runs):
        end = corrected(first, second, 50, gen, moves(first, second, 0.29, 1.0), n)
        z = (end.x - target.means[0]) / std
        found.append(end.mean(torch.cat([z, z**2 - 1, z[:, :1] * z[:, 1:]], 1))[0])
    off = torch.stack(found)
    return off.mean(0), off.std(0) / runs**0.5


@pytest.mark.slow
def test_the_product_of_commuting_gaussians_is_the_closed_form_within_its_error() -> None:  # item 4
    off, error = moments_off(6, 4000)
    print(
        f"off by {[f'{v:.3f}' for v in off.tolist()]}, standard errors {[f'{v:.3f}' for v in error.tolist()]}"
    )
    assert bool((off.abs() <= 4 * error).all())
    assert float(error.max()) <= 0.04


@pytest.mark.slow
def test_the_product_of_commuting_gaussians_is_the_closed_form_to_two_per_cent() -> None:  # item 4
    off, error = moments_off(10, 40_000)
    print(
        f"off by {[f'{v:.3f}' for v in off.tolist()]}, standard errors {[f'{v:.3f}' for v in error.tolist()]}"
    )
    assert float(off.abs().max()) <= 0.02


def test_at_no_noise_the_scores_add_to_that_of_the_product() -> None:
    x, t = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=F64), 0.01
    found = score_of(PROCESS, x, both(A, B)(x, t).mean, t)
    wanted = score_of(PROCESS, x, PRODUCT(x, t).mean, t)
    assert torch.allclose(found, wanted, rtol=2e-3, atol=2e-2)
    off = score_of(PROCESS, x, both(A, B)(x, 1.0).mean, 1.0) - score_of(PROCESS, x, PRODUCT(x, 1.0).mean, 1.0)
    assert float(off.abs().max()) > 0.3  # noise does not distribute over products
    wrong = score_of(PROCESS, x, composed((A, B), (1.0, -1.0))(x, t).mean, t)
    assert not torch.allclose(wrong, wanted, atol=1.0)


RING = ring8()


def part(*wanted: int, process: Gaussian = PROCESS) -> Mixture:
    index = list(wanted)
    weights = RING.weights[index]
    return Mixture(weights / weights.sum(), RING.means[index], RING.covs[index]).under(process)


def share(x: Tensor, *wanted: int) -> float:
    nearest = torch.cdist(x, RING.means.to(x.dtype)).argmin(1)
    return float(torch.isin(nearest, torch.tensor(wanted)).double().mean())


def test_not_avoids_what_is_unwanted() -> None:  # item 3's question on a world without training
    gen = torch.Generator().manual_seed(0)
    red, circle, base = part(0, 1, 2), part(2, 3, 4), part(0, 1, 2, 3, 4)
    plan, start = ddim(PROCESS, karras(PROCESS, 50)), begun(2000, gen)
    plain = share(sample(plan, red, start), 0, 1)
    found = sample(plan, without(red, circle, 0.5, base=base), start)
    print(f"wanted and not unwanted: {share(found, 0, 1):.3f}, without NOT {plain:.3f}")
    expected = float(RING.weights[[0, 1]].sum() / RING.weights[[0, 1, 2]].sum())
    assert plain == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 2000) ** 0.5 + 0.02)
    assert share(found, 0, 1) > 0.8


@pytest.mark.parametrize("process", [PROCESS, VP()])
def test_either_is_the_exact_denoiser_of_the_mixture(process: Gaussian) -> None:
    first, second = part(0, 1, process=process), part(4, process=process)
    union = Mixture(
        torch.cat([0.25 * first.weights, 0.75 * second.weights]),
        torch.cat([first.means, second.means]),
        torch.cat([first.covs, second.covs]),
    ).under(process)
    odds = torch.tensor([0.25, 0.75], dtype=F64).log().tolist()
    model = either([first, second], [log_of(first, process), log_of(second, process)], odds)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    for t in (process.time(0.1), process.time(1.0)):
        assert torch.allclose(model(x, t).mean, union(x, t).mean, atol=1e-9)
    even = either([first, second], [log_of(first, process), log_of(second, process)])
    assert not torch.allclose(even(x, t).mean, union(x, t).mean, atol=1e-3)


def test_a_base_and_one_model_of_weight_one_is_the_model() -> None:
    x = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    for base in (None, B):
        assert torch.allclose(composed([A], base=base)(x, 0.7).mean, A(x, 0.7).mean, atol=1e-12)
    assert torch.allclose(composed([A], [0.0], base=B)(x, 0.7).mean, B(x, 0.7).mean, atol=1e-12)


TOKENS = Masking(3)


@dataclass(frozen=True)
class Tokens:
    """A fixed law of one token out of three."""

    law: tuple[float, ...]
    process: Any = TOKENS

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(logits=torch.tensor(self.law, dtype=F64).log().expand(*x.shape, 3))


def test_tokens_compose_in_log_probabilities() -> None:
    x = torch.full((2, 1), 3)
    first, second = Tokens((0.5, 0.3, 0.2)), Tokens((0.1, 0.6, 0.3))
    product = torch.tensor([0.05, 0.18, 0.06], dtype=F64)
    law = torch.softmax(both(first, second)(x, 0.5).logits, -1)
    assert torch.allclose(law, (product / product.sum()).expand_as(law))
    base = Tokens((0.2, 0.5, 0.3))
    avoided = torch.tensor([0.5 * 0.2 / 0.1, 0.3 * 0.5 / 0.6, 0.2 * 0.3 / 0.3], dtype=F64)
    law = torch.softmax(without(first, second, base=base)(x, 0.5).logits, -1)
    assert torch.allclose(law, (avoided / avoided.sum()).expand_as(law))


def test_compositions_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        composed([])
    with pytest.raises(ConfigError, match="3 weights for 2 models"):
        composed([A, B], [1, 2, 3])
    with pytest.raises(ConfigError, match="must be positive"):
        without(A, B, -1.0, base=A)
    with pytest.raises(ConfigError, match="1 densities for 2 models"):
        either([A, B], [log_of(A)])
