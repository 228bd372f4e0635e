"""Solvers on the Gaussian field G64, whose posterior mean is exact, and where each of them is exact (U15).

Four images, half of the pixels, noise .05 in units of [0, 1]. The exact posterior mean scores 26.8 dB here,
an exact posterior sample 3 dB less; a result above that is a mean or an optimum, or a sample too cool.
"""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.denoise import Posterior
from core.inverse import (
    DAPS,
    DDRM,
    DPS,
    HDR,
    ILVR,
    MCG,
    RED,
    Convolution,
    DiffPIR,
    Inpainting,
    Matrix,
    NonlinearBlur,
    PhaseRetrieval,
    PiGDM,
    RedDiff,
    Separable,
    Solved,
    gaussian_kernel,
    renoise,
    solve,
)
from core.process import VP, Gaussian, Karras
from core.run import sample
from core.steer.consistency import Steered
from tests.fixtures.field import NOISE, Field, psnr, random_mask, rms

F64 = torch.float64


@cache
def problem() -> tuple[Field, Inpainting, Tensor, Tensor, Tensor]:
    """Prior, operator, images, measurement, exact posterior mean."""
    gen = torch.Generator().manual_seed(0)
    field = Field()
    x = field.draw(4, gen)
    operator = Inpainting(random_mask(gen))
    y = operator.seen(operator.A(x) + NOISE * torch.randn(x.shape, generator=gen))
    return field, operator, x, y, field.posterior_mean(operator, y).float()


def recover(method: Any, nfe: int = 100, **options: Any) -> Solved:
    field, operator, _, y, _ = problem()
    gen = torch.Generator().manual_seed(0)
    return solve(field, operator, y, NOISE, method=method, nfe=nfe, gen=gen, data_range=(0, 1), **options)


def test_the_exact_posterior_mean_is_the_yardstick() -> None:
    _, operator, x, y, exact = problem()
    fill = torch.where(operator.mask, y, torch.tensor(0.5))
    assert psnr(exact, x) == pytest.approx(26.65, abs=0.3)
    assert psnr(fill, x) == pytest.approx(16.39, abs=0.5)


def test_the_posterior_mean_of_the_fixture_solves_its_own_equations() -> None:
    """Against a dense solve, on 16 pixels of the field."""
    field, _, x, _, _ = problem()
    keep = torch.zeros(1, 64, 64, dtype=torch.bool)
    keep[0, 10:14, 20:24] = True
    y = torch.where(keep, x[:1], 0.0).double()
    cov = torch.fft.ifft2(field.spectrum / 4).real  # autocovariance, [0, 1] units
    spots = keep[0].nonzero()
    off = spots[:, None] - spots[None]
    within = cov[off[..., 0] % 64, off[..., 1] % 64]
    weights = torch.linalg.solve(within + NOISE**2 * torch.eye(16, dtype=F64), y[0, 0][keep[0]] - 0.5)
    far = torch.tensor([40, 9]) - spots
    want = 0.5 + cov[far[:, 0] % 64, far[:, 1] % 64] @ weights
    assert float(field.posterior_mean(Inpainting(keep), y)[0, 0, 40, 9]) == pytest.approx(
        float(want), abs=1e-7
    )


# DDRM with its published noise is a sample: 24.7 dB. The specification's 25.0 was measured on an
# implementation that draws noise 1 / sqrt(2) as large, which is `temperature` here.
@pytest.mark.parametrize(
    ("method", "nfe", "least"),
    [
        (DDRM(temperature=0.5**0.5), 100, 25.0),
        (DDRM(), 100, 24.5),
        (RedDiff(), 300, 24.5),
        (RedDiff(lr=0.05), 300, 24.5),
        (PiGDM(), 100, 22.7),
        (PiGDM(data_std=1.0, reach=float("inf")), 100, 22.7),
        (DPS(), 100, 22.4),
        (DiffPIR(), 100, 21.5),
        (DAPS(), 100, 23.2),
        (MCG(), 100, 23.5),
        (ILVR(), 100, 23.2),
        (RED(), 100, 26.2),
    ],
    ids=lambda value: f"{value.name}" if hasattr(value, "name") else str(value),
)
def test_a_solver_reaches_its_mark(method: Any, nfe: int, least: float) -> None:  # U15
    _, _, x, _, exact = problem()
    solved = recover(method, nfe)
    print(f"{solved.method} {solved.kind}: {psnr(solved.x, x):.2f} dB, rms {rms(solved.x, exact):.4f}")
    assert psnr(solved.x, x) >= least
    assert solved.nfe == nfe


@pytest.mark.parametrize("method", ["ddrm", "pigdm", "daps"])
def test_eight_samples_average_to_the_posterior_mean(method: str) -> None:  # U15
    *_, exact = problem()
    solved = recover(method, samples=8)
    assert solved.kind == "mean"
    assert solved.nfe == 800
    assert rms(solved.x, exact) <= 0.03


def test_a_daps_sample_scatters_as_the_posterior_does() -> None:
    """Squared distances of a sample to the truth and of the mean to the truth are 2 : 1 for exact samples."""
    _, _, x, _, exact = problem()
    solved = recover("daps")
    assert (rms(solved.x, x) / rms(exact, x)) ** 2 == pytest.approx(2.0, abs=0.2)
    # 8192 measured pixels: relative standard error of the residual 0.8 %, plus what the posterior explains.
    assert float(solved.residual.mean()) == pytest.approx(NOISE, rel=0.05)


# Exactness: with independent entries N(0, d^2) every coefficient is on its own and the posterior is known.


def isotropic(d: float, process: Gaussian) -> Mixture:
    return Mixture(
        torch.ones(1, dtype=F64), torch.zeros(1, 6, dtype=F64), d**2 * torch.eye(6, dtype=F64)[None], process
    )


@pytest.mark.parametrize("process", [Karras(0.002, 80.0), VP()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("method", [PiGDM(), DAPS()], ids=lambda m: m.name)
def test_samples_of_an_independent_gaussian_have_the_posterior_law(process: Gaussian, method: Any) -> None:
    gen = torch.Generator().manual_seed(0)
    d, noise, n = 0.8, 0.4, 2500
    prior = isotropic(d, process)
    a = torch.randn(3, 6, generator=gen, dtype=F64)
    y = torch.randn(1, 3, generator=gen, dtype=F64)
    exact = prior.condition(a, y[0], noise**2 * torch.eye(3, dtype=F64))
    x = solve(prior, Matrix(a), y.expand(n, -1), noise, method=method, nfe=250, gen=gen).x
    # Standard errors .016 of a mean, 2.8 % of a variance (at most .64); ancestral steps lose about as much.
    assert torch.allclose(x.mean(0), exact.means[0], atol=0.05)
    assert torch.allclose(torch.cov(x.T), exact.covs[0], atol=0.05)
    assert not torch.allclose(torch.cov(x.T), prior.covs[0], atol=0.2)


def test_ddrm_keeps_the_noise_of_each_level_in_every_direction() -> None:
    """With the denoiser that knows x_0, each x_s must be N(alpha x_0, sigma_s^2) before the end: measured or
    not, trusted or not, DDRM only moves where the noise comes from.
    """

    gen = torch.Generator().manual_seed(0)
    n, noise = 20_000, 0.5
    process = VP()
    truth = torch.tensor([[0.3, -0.7, 1.1]], dtype=F64)
    operator = Matrix(torch.diag(torch.tensor([2.0, 0.4, 0.0], dtype=F64)))
    y = truth @ operator.a.T + noise * torch.randn(n, 3, generator=gen, dtype=F64)
    y[:, 2] = 0

    class Knows:
        def __init__(self) -> None:
            self.process = process
            self.seen: list[Tensor] = []

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            self.seen.append((x - process.alpha(t) * truth) / process.sigma(t))
            return Posterior(mean=truth.expand_as(x))

    knows = Knows()
    solve(knows, operator, y, noise, method=DDRM(), nfe=12, gen=gen, data_std=1.0)
    assert len(knows.seen) == 12
    for error in knows.seen[1:]:
        # 20 000 draws: standard error .007 of a mean, 1 % of a variance. The weakly measured direction holds
        # sqrt(1 - eta^2) of the measurement's noise, so its variance is that of the level as well.
        assert torch.allclose(error.mean(0), torch.zeros(3, dtype=F64), atol=0.03)
        assert torch.allclose(error.var(0), torch.ones(3, dtype=F64), atol=0.05)


@pytest.mark.parametrize("method", [ILVR(), MCG(weight=0.3)], ids=lambda m: m.name)
def test_replacement_ends_with_the_measurement_itself(method: Any) -> None:
    field, _, x, _, _ = problem()
    operator = Separable.average((1, 64, 64), 4)
    y = operator.A(x)
    solved = solve(field, operator, y, 0.0, method=method, nfe=20, gen=torch.Generator().manual_seed(0))
    assert torch.allclose(operator.A(solved.x), y, atol=1e-5)


@pytest.mark.parametrize(
    "operator",
    [
        Separable.bicubic((1, 64, 64), 4),
        Separable.average((1, 64, 64), 4),
        Convolution(gaussian_kernel(1.0), (1, 64, 64)),
    ],
    ids=["bicubic", "average", "blur"],
)
def test_restored_images_come_nearer_to_the_posterior_mean_than_the_pseudo_inverse(operator: Any) -> None:
    field, _, x, _, _ = problem()
    gen = torch.Generator().manual_seed(1)
    y = operator.A(x[:1])
    y = y + 0.02 * torch.randn(y.shape, generator=gen)
    exact = field.posterior_mean(operator, y, 0.02).float()
    start = rms(operator.pinv(y), exact)
    for method in (DDRM(), DiffPIR(), DAPS(), PiGDM()):
        solved = solve(
            field, operator, y, 0.02, method=method, nfe=40, gen=gen, data_range=(0, 1), samples=16
        )
        print(f"{solved.method}: {rms(solved.x, exact):.4f}, start {start:.4f}")
        assert rms(solved.x, exact) < 0.95 * start


@pytest.mark.parametrize("method", ["dps", "daps"])
def test_saturated_levels_are_filled_in(method: str) -> None:
    field, _, x, _, _ = problem()
    x = 2 * x[:2] - 1
    operator = HDR((1, 64, 64))
    gen = torch.Generator().manual_seed(0)
    y = operator.A(x) + 0.02 * torch.randn(x.shape, generator=gen)
    chosen = DAPS(langevin=20) if method == "daps" else DPS()
    solved = solve(field, operator, y, 0.02, method=chosen, nfe=100, gen=gen)
    lost = operator.A(x).abs() == 1
    assert rms(solved.x[lost], x[lost]) < 0.8 * rms(operator.start(y)[lost], x[lost])


def test_nonlinear_blur_is_undone_and_fitted_to_its_noise() -> None:
    field, _, x, _, _ = problem()
    x = 2 * x[:1] - 1
    operator = NonlinearBlur(gaussian_kernel(1.5), (1, 64, 64))
    gen = torch.Generator().manual_seed(0)
    y = operator.A(x) + 0.02 * torch.randn(x.shape, generator=gen)
    for method, share in ((RedDiff(), 0.9), (DAPS(langevin=8), 1.0)):
        solved = solve(field, operator, y, 0.02, method=method, nfe=100, gen=gen)
        assert rms(solved.x, x) < share * rms(y, x)
        assert float(solved.residual.mean()) < 1.3 * 0.02


def test_phase_retrieval_fits_the_magnitudes() -> None:
    field, _, x, _, _ = problem()
    x = 2 * x[:1] - 1
    operator = PhaseRetrieval((1, 64, 64))
    y = operator.A(x)
    gen = torch.Generator().manual_seed(0)
    solved = solve(field, operator, y, 0.02, method="dps", nfe=60, gen=gen)
    assert float(solved.residual) < 0.5 * float(y.square().mean().sqrt())


def test_renoising_keeps_the_law_of_the_level_for_every_share() -> None:

    process = VP()
    gen = torch.Generator().manual_seed(0)
    for share in (0.0, 0.3, 1.0):
        plan = renoise(process, [0.8, 0.5], share=share)
        start = process.alpha(0.8) + process.sigma(0.8) * torch.randn(20_000, 1, generator=gen, dtype=F64)
        out = sample(plan, Steered(process, lambda x, t, cond: torch.ones_like(x)), start, gen)
        # 20 000 draws: standard error .006 of the mean, 1 % of the variance.
        assert float(out.mean()) == pytest.approx(process.alpha(0.5), abs=0.02)
        assert float(out.var()) == pytest.approx(process.sigma(0.5) ** 2, rel=0.04)
