"""Accuracy of the default plan at 5, 10 and 20 evaluations against the exact ODE and exact samples (C28).

States are float32, the process is VE from 0.002 to 80, the reference is `rk4` with 100 float64 steps. SW2 is
to exact samples and printed with its floor; RMSE is to the end point of the exact ODE from the same noise.

The ODE has basin boundaries: a start within a hair of one ends in another component under any approximation,
about 1 away. On lowrank32 at 20 evaluations one to four of 1200 starts do so, and each alone adds .02 to .03
to an RMSE that is .0035 without them (plain RMSE over five seeds: .032, .051, .054, .027, .027; that of
ring8_radial at N = 2000 to 6000: .008, .007, .008, .006, .006). There the threshold of .02 is asserted on the
starts that keep their component, together with a bound on the share that does not.
"""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from core.analytic import Mixture
from core.metrics import sliced_wasserstein
from core.plan import ddim, default, dpmpp, karras, log, rk4
from core.process import Karras
from core.run import sample
from tests.fixtures.mixtures import lowrank32, ring8_radial

EDM = Karras()
F64 = torch.float64
SIZE = {"ring8_radial": 6000, "lowrank32": 1200}
MIXTURES = {"ring8_radial": ring8_radial(), "lowrank32": lowrank32()}


@dataclass(frozen=True)
class Reference:
    """Start, exact ODE end point, exact samples, and the floor between two sets of those."""

    start: Tensor
    end: Tensor
    truth: Tensor
    floor: float


@cache
def reference(name: str) -> Reference:
    mix, n = MIXTURES[name], SIZE[name]
    gen = torch.Generator().manual_seed(0)
    start = EDM.sigma_max * torch.randn(n, mix.dim, generator=gen, dtype=F64)
    truth, again = mix.sample(n, gen), mix.sample(n, gen)
    end = sample(rk4(EDM, log(EDM, 100)), mix, start)
    return Reference(start, end, truth, sliced_wasserstein(truth, again))


@cache
def reached(name: str, n: int) -> Tensor:
    mix = MIXTURES[name]
    plan = default(EDM, n, data_std=mix.data_std)
    assert plan.evaluations == n
    return sample(plan, mix.to(torch.float32), reference(name).start.float()).to(F64)


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def component(mix: Mixture, x: Tensor) -> Tensor:
    """The component that most likely made each clean point, (B,)."""
    return torch.stack(
        [
            torch.distributions.MultivariateNormal(m, c).log_prob(x) + w.log()
            for w, m, c in zip(mix.weights, mix.means, mix.covs, strict=True)
        ]
    ).argmax(0)


@pytest.mark.parametrize(("n", "most"), [(5, 0.075), (10, 0.05), (20, 0.045)])
def test_samples_of_the_radial_ring_are_as_close_as_required(n: int, most: float) -> None:
    ref = reference("ring8_radial")
    found = sliced_wasserstein(reached("ring8_radial", n), ref.truth)
    print(f"SW2 {found:.4f}, floor {ref.floor:.4f}")
    assert found <= most


@pytest.mark.parametrize(("n", "above"), [(5, 0.05), (10, 0.025), (20, 0.015)])
def test_samples_in_32_dimensions_are_as_close_as_required(n: int, above: float) -> None:
    ref = reference("lowrank32")
    found = sliced_wasserstein(reached("lowrank32", n), ref.truth)
    exact = sliced_wasserstein(ref.end, ref.truth)
    print(f"SW2 {found:.4f}, floor {ref.floor:.4f}, of the exact ODE {exact:.4f}")
    assert found <= ref.floor + above
    # The exact end points share the luck of the draw, so this comparison has no sampling error to speak of.
    assert found <= exact + above


@pytest.mark.parametrize(
    ("name", "n", "most"),
    [
        ("ring8_radial", 5, 0.09),
        ("ring8_radial", 10, 0.03),
        ("ring8_radial", 20, 0.012),
        ("lowrank32", 5, 0.26),
        ("lowrank32", 10, 0.13),
    ],
)
def test_end_points_are_as_close_to_the_exact_ode_as_required(name: str, n: int, most: float) -> None:
    assert rmse(reached(name, n), reference(name).end) <= most


def test_end_points_in_32_dimensions_at_20_evaluations_are_close_unless_they_change_component() -> None:
    mix, ref = MIXTURES["lowrank32"], reference("lowrank32")
    found = reached("lowrank32", 20)
    stays = component(mix, found) == component(mix, ref.end)
    # Measured .0036 and 1 in 1200; five seeds reach 4 in 1200 at most.
    assert rmse(found[stays], ref.end[stays]) <= 0.02
    assert 1 - float(stays.double().mean()) <= 4 / 1200


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("n", [5, 10, 20])
def test_the_default_is_closer_to_the_exact_ode_than_common_plans(name: str, n: int) -> None:
    mix, ref = MIXTURES[name].to(torch.float32), reference(name)
    ours = float((reached(name, n) - ref.end).norm(dim=1).median())
    for other in (ddim(EDM, karras(EDM, n)), dpmpp(EDM, karras(EDM, n))):
        theirs = sample(other, mix, ref.start.float()).to(F64)
        # The median is blind to the few starts that change component. Measured 2.4 to 32 times smaller.
        assert ours < float((theirs - ref.end).norm(dim=1).median()) / 2


def wide16() -> Mixture:
    """Six anisotropic Gaussians in 16 dimensions with a total deviation of about 3.4."""
    gen = torch.Generator().manual_seed(2)
    means = 4.0 * torch.randn(6, 16, generator=gen, dtype=F64)
    spread = torch.rand(6, 16, generator=gen, dtype=F64) * 2.5 + 0.1
    q, _ = torch.linalg.qr(torch.randn(6, 16, 16, generator=gen, dtype=F64))
    return Mixture(torch.ones(6, dtype=F64), means, q @ torch.diag_embed(spread) @ q.mT)


def test_wide_data_need_their_deviation_and_get_it() -> None:
    mix = wide16()
    assert mix.data_std == pytest.approx(3.4, abs=0.1)
    gen = torch.Generator().manual_seed(0)
    start = EDM.sigma_max * torch.randn(1500, 16, generator=gen, dtype=F64)
    truth, again = mix.sample(1500, gen), mix.sample(1500, gen)
    end = sample(rk4(EDM, log(EDM, 100)), mix, start)
    scaled = sample(default(EDM, 6, data_std=mix.data_std), mix, start)
    ignored = sample(default(EDM, 6, data_std=1.0), mix, start)
    common = sample(dpmpp(EDM, karras(EDM, 6)), mix, start)
    # Measured SW2 / RMSE: .32/.61, with the deviation ignored .97/1.84, DPM-Solver++(2M) .94/1.28, floor .29.
    assert sliced_wasserstein(scaled, truth) < sliced_wasserstein(truth, again) + 0.1
    assert rmse(scaled, end) < rmse(common, end) / 1.8
    assert rmse(scaled, end) < rmse(ignored, end) / 2.5
