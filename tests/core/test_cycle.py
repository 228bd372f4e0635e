"""CycleDiffusion: part of the way, with guidance on either side, and energies on the latent.

The round trip and the translation of Gaussians (C15) are tested in test_run.py.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.errors import ConfigError
from core.infer.latent import tilt
from core.plan import Plan, Row, corrected, ddim, dpmpp, karras, log
from core.process import VP, Karras
from core.run import Latent, decode, encode
from core.steer.guidance import classifier_free
from tests.fixtures.mixtures import gaussian, ring8
from tests.fixtures.normal import Normal, moments_of

F64 = torch.float64
EDM = Karras()


def left(plan: Plan, var: float = 0.25) -> float:
    """Share of a difference between means that a translation leaves: rows multiply what they keep."""
    share = 1.0
    for row in plan.rows:
        assert isinstance(row, Row)
        share *= row.keep + row.pull[0] * var / (var + row.t**2)
    return share


@pytest.mark.parametrize("eta", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("high", [0.3, 1.0, 80.0])
def test_a_plan_that_skips_the_noisiest_levels_still_decodes_exactly(high: float, eta: float) -> None:
    gen = torch.Generator().manual_seed(0)
    plan, x0 = ddim(EDM, karras(EDM, 100, high=high), eta=eta), ring8().sample(50, gen)
    again = decode(plan, ring8(), encode(plan, ring8(), x0, gen))
    assert (again - x0).abs().max().item() < 1e-10


def test_the_later_a_plan_starts_the_less_it_translates() -> None:
    source, target = gaussian(0.0, 0.5), gaussian(2.0, 0.5)
    shifts = []
    for high in (0.05, 0.5, 1.0, 5.0, 80.0):
        gen = torch.Generator().manual_seed(1)
        plan, x0 = ddim(EDM, log(EDM, 100, high=high), eta=1.0), source.sample(50, gen)
        shift = decode(plan, target, encode(plan, source, x0, gen)) - x0
        assert (shift - 2 * (1 - left(plan))).abs().max().item() < 1e-10
        shifts.append(shift.mean().item())
    print("shift by the level that the plan starts at:", [f"{s:.4f}" for s in shifts])
    assert shifts == sorted(shifts)
    assert shifts[0] < 0.05
    assert shifts[-1] > 1.999


class Labelled:
    """Gaussians of one spread whose mean is the condition; 0 without one."""

    process = EDM

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return gaussian(0.0 if cond is None else cond, 0.5)(x, t)


@pytest.mark.parametrize("scale", [1.0, 3.0, 5.0])
def test_each_side_has_its_own_guidance(scale: float) -> None:
    # Encoding with the source condition at scale 1, decoding with the target's at w: the guided target is the
    # Gaussian of mean w m, so the shift is (w m - m_source)(1 - what is left).
    gen = torch.Generator().manual_seed(2)
    plan, model = ddim(EDM, log(EDM, 100), eta=0.5), Labelled()
    x0 = gaussian(-1.0, 0.5).sample(50, gen)
    latent = encode(plan, classifier_free(model, 1.0), x0, gen, cond=-1.0)
    moved = decode(plan, classifier_free(model, scale), latent, cond=0.7)
    assert (moved - x0 - (0.7 * scale + 1.0) * (1 - left(plan))).abs().max().item() < 1e-9


@pytest.mark.parametrize(("rule", "eta"), [(ddim, 0.1), (dpmpp, 1.0)], ids=["ddim", "dpmpp"])
def test_matched_mixtures_keep_their_components_under_other_plans(rule: Any, eta: float) -> None:
    source = ring8()
    shift = torch.tensor([4.0, -3.0], dtype=F64)
    target = Mixture(source.weights, source.means + shift, source.covs)
    gen = torch.Generator().manual_seed(3)
    x0 = source.sample(500, gen)
    plan = rule(EDM, karras(EDM, 60), eta=eta)
    moved = decode(plan, target, encode(plan, source, x0, gen))
    kept = torch.cdist(x0, source.means).argmin(1) == torch.cdist(moved, target.means).argmin(1)
    print(f"share that keeps its component {kept.double().mean():.3f}, by chance 0.15")
    assert kept.double().mean().item() >= 0.95


@pytest.mark.parametrize(("eta", "n"), [(1.0, 250), (0.5, 700)])
def test_recovered_noises_of_a_partial_plan_are_standard_normal_too(eta: float, n: int) -> None:
    gen = torch.Generator().manual_seed(4)
    plan = ddim(EDM, log(EDM, n, high=2.0), eta=eta)
    latent = encode(plan, ring8(), ring8().sample(200, gen), gen)
    kept = [z for z, row in zip(latent.noises, plan.rows, strict=True) if isinstance(row, Row) and row.fresh]
    xi = torch.stack(kept)  # type: ignore[arg-type]
    print(f"eta {eta}: mean {xi.mean():+.4f}, variance {xi.var():.4f}")
    # A step of h in log noise adds up to 2 h / eta^2 to the variance (5.5 and 8 %), less where data are sure.
    assert abs(xi.mean().item()) < 0.05
    assert xi.var().item() == pytest.approx(1, rel=0.05)


# -- energies on the latent ------------------------------------------------------------------------


def prior(plan: Plan, n: int, gen: torch.Generator) -> Latent:
    start = EDM.sigma(plan.start) * torch.randn(n, 1, generator=gen, dtype=F64)
    noises = [torch.randn(n, 1, generator=gen, dtype=F64) if row.fresh else None for row in plan.rows]  # type: ignore[union-attr]
    return Latent(start, tuple(noises))  # type: ignore[arg-type]


def test_an_energy_on_the_latent_gives_the_posterior_of_a_gaussian() -> None:
    model, y, noise = Normal(2.0, 0.5), 3.2, 0.4
    plan = ddim(EDM, karras(EDM, 6), eta=1.0)
    mean, std = moments_of(plan, model)
    gen = torch.Generator().manual_seed(0)

    def energy(x: Tensor) -> Tensor:
        return (x - y).square().sum(1) / (2 * noise**2)

    latent = tilt(plan, model, energy, prior(plan, 4000, gen), gen, n=60, step=0.2)
    x = decode(plan, model, latent)
    gain = std**2 / (std**2 + noise**2)
    exact = mean + gain * (y - mean), (std**2 * (1 - gain)) ** 0.5
    print(f"mean {x.mean():.4f}, exact {exact[0]:.4f}; deviation {x.std():.4f}, exact {exact[1]:.4f}")
    # 4000 chains: standard error 0.005 of the mean, 0.0035 of the deviation.
    assert x.mean().item() == pytest.approx(exact[0], abs=4 * 0.005)
    assert x.std().item() == pytest.approx(exact[1], abs=4 * 0.0035)
    assert abs(mean - exact[0]) > 0.2


def test_without_an_energy_the_latent_stays_standard_normal() -> None:
    gen = torch.Generator().manual_seed(0)
    plan = ddim(EDM, karras(EDM, 4), eta=1.0)
    latent = tilt(plan, Normal(), lambda x: 0 * x.sum(1), prior(plan, 4000, gen), gen, n=20, step=0.2)
    z = torch.cat([latent.start / 80, *(xi for xi in latent.noises if xi is not None)], 1)  # type: ignore[arg-type,operator]
    # 16000 numbers: standard error 0.008 of the mean, 0.011 of the variance.
    assert abs(z.mean().item()) < 4 * 0.008
    assert z.var().item() == pytest.approx(1, abs=4 * 0.011)


def test_an_edit_starts_from_the_sample_itself() -> None:
    gen = torch.Generator().manual_seed(1)
    plan, x0 = ddim(EDM, karras(EDM, 8), eta=1.0), ring8().sample(12, gen)
    latent = encode(plan, ring8(), x0, gen)
    little = tilt(plan, ring8(), lambda x: x[:, 0].square(), latent, gen, n=1, step=1e-8)
    assert (decode(plan, ring8(), little) - x0).abs().max().item() < 1e-2
    far = tilt(plan, ring8(), lambda x: 20 * x[:, 0].square(), latent, gen, n=30, step=0.03)
    assert decode(plan, ring8(), far)[:, 0].abs().mean().item() < 0.7 * x0[:, 0].abs().mean().item()


def test_latents_that_cannot_be_tilted_are_refused() -> None:
    plan = ddim(VP(), [1.0, 0.5])
    latent = Latent(torch.zeros(2, 1), (torch.zeros(2, 1),))
    with pytest.raises(ConfigError, match="step must be positive"):
        tilt(plan, Normal(), lambda x: x.sum(1), latent, torch.Generator(), step=0.0)
    with pytest.raises(ConfigError, match="plans of linear rows"):
        tilt(corrected(plan, VP()), Normal(), lambda x: x.sum(1), latent, torch.Generator())
