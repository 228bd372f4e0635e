"""The Langevin corrector: it repairs a damaged score, and its step is the published one."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.metrics import sliced_wasserstein
from core.plan import LangevinRow, Plan, Row, corrected, ddim, log, reverse_diffusion
from core.process import VP, Gaussian, Karras
from core.run import sample, steps
from tests.fixtures.mixtures import gaussian, ring8

F64 = torch.float64


@dataclass(frozen=True)
class Damaged:
    """A mixture whose score is multiplied by 0.9."""

    mix: Mixture

    @property
    def process(self) -> Gaussian:
        return self.mix.process

    def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
        # With alpha = 1, x + sigma^2 0.9 s = x + 0.9 (D - x).
        return Posterior(mean=x + 0.9 * (self.mix(x, t).mean - x))


@pytest.mark.parametrize(
    ("n", "seeds", "least"), [(1000, 4, 3), pytest.param(2000, 5, 4, marks=pytest.mark.slow)]
)
def test_predictor_corrector_beats_the_predictor_alone_on_a_damaged_score(
    n: int, seeds: int, least: int
) -> None:
    # Section 1, acceptance 4: at 100 evaluations, the smaller SW2 in at least 4 of 5 seeds. Measured: 4 of 5
    # (.085/.061, .071/.032, .070/.082, .088/.054, .086/.079), 7 of 10 here and 9 of 10 with 4000 samples;
    # with 1000 samples 4 of 4 (.102/.071, .057/.056, .058/.044, .108/.103).
    process = Karras(sigma_min=0.01, sigma_max=50.0)
    mix = ring8().under(process)
    alone = reverse_diffusion(process, log(process, 100))
    pair = corrected(reverse_diffusion(process, log(process, 50)), process)
    assert (alone.evaluations, pair.evaluations) == (100, 99)
    wins = 0
    for seed in range(seeds):
        gen = torch.Generator().manual_seed(seed)
        truth = mix.sample(n, gen)
        start = 50 * torch.randn(n, 2, generator=gen, dtype=F64)
        found = [sliced_wasserstein(sample(p, Damaged(mix), start, gen), truth) for p in (alone, pair)]
        wins += found[1] < found[0]
    assert wins >= least


def test_the_corrector_keeps_a_law_that_is_already_right() -> None:
    # Norms of 64 entries averaged over 500 samples hardly vary, so the step is a constant and the law of an
    # unadjusted Langevin chain on N(0, v I) is known: variance v / (1 - h / (2 v)).
    normal, t, snr = gaussian(0.0, 0.5, dim=64), 1.0, 0.16
    v = 0.25 + t**2
    plan = Plan("langevin", (LangevinRow(t, t, 1.0, t, snr, 1.0),) * 400)
    gen = torch.Generator().manual_seed(0)
    x = sample(plan, normal, math.sqrt(v) * torch.randn(500, 64, generator=gen, dtype=F64), gen)
    step = 2 * snr**2 * v  # |xi| / |s| = sqrt(v)
    # 32 000 entries: four standard errors of a variance, 3.2 %.
    assert x.var().item() == pytest.approx(v / (1 - step / (2 * v)), rel=0.032)
    assert x.mean().item() == pytest.approx(0, abs=4 * math.sqrt(v / 32_000))


@pytest.mark.parametrize("pooled", [True, False])
def test_one_step_is_the_published_formula(pooled: bool, gen: torch.Generator) -> None:
    process = VP()
    mix = ring8().under(process)
    plan = corrected(ddim(process, [0.8, 0.5]), process, snr=0.2, pooled=pooled)
    first, second = steps(plan, mix, torch.randn(6, 2, generator=gen, dtype=F64), gen)
    alpha, sigma = process.alpha(0.5), process.sigma(0.5)
    score = mix.score(second.x, alpha, sigma)
    z = second.noise
    ratio = z.norm(dim=1) / score.norm(dim=1)
    if pooled:
        ratio = (z.norm(dim=1).mean() / score.norm(dim=1).mean()).expand(6)
    # Algorithm 4 of Song et al.: h = 2 a (r |z| / |s|)^2 with a = alpha_t^2 / alpha_s^2, the step's 1 - beta.
    h = (2 * (process.alpha(0.8) / alpha) ** 2 * (0.2 * ratio) ** 2)[:, None]
    assert torch.allclose(second.next, first.next + h * score + (2 * h).sqrt() * z, rtol=1e-10)


def test_norms_per_sample_are_for_many_dimensions_only() -> None:
    # In two dimensions a sample near a mode, where the score vanishes, is thrown far away.
    process = Karras(sigma_min=0.01, sigma_max=50.0)
    mix = ring8().under(process)
    gen = torch.Generator().manual_seed(0)
    truth = mix.sample(500, gen)
    start = 50 * torch.randn(500, 2, generator=gen, dtype=F64)
    plan = reverse_diffusion(process, log(process, 50))
    pooled, single = (
        sliced_wasserstein(sample(corrected(plan, process, pooled=each), mix, start, gen), truth)
        for each in (True, False)
    )
    assert single > 2 * pooled


def test_per_sample_steps_do_not_depend_on_the_batch(gen: torch.Generator) -> None:
    mix = ring8()
    row = LangevinRow(1.0, 1.0, 1.0, 1.0, 0.16, 1.0, pooled=False)
    x, z = torch.randn(2, 5, 2, generator=gen, dtype=F64)
    whole = sample(Plan("langevin", (row,)), mix, x, noises=[z])
    alone = sample(Plan("langevin", (row,)), mix, x[2:3], noises=[z[2:3]])
    assert torch.allclose(whole[2:3], alone, rtol=1e-12)


def test_predictor_rows_are_left_as_they_are() -> None:
    process = Karras()
    plain = reverse_diffusion(process, [2.0, 1.0, 0.5])
    assert [row for row in corrected(plain, process).rows if isinstance(row, Row)] == list(plain.rows)
