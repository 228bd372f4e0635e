"""The polar backend: a point becomes the stated point-spread, many become speckle that follows the tissue."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from domains.ultrasound.signal import envelope
from domains.ultrasound.simulate import draw_scene, get_probe, point_spread, render, tissue_lines

PROBE = get_probe("cardiac")


def magnitude(rf: Tensor) -> Tensor:
    return envelope(rf, fs_hz=PROBE.fs_hz, f0_hz=PROBE.f0_hz, bandwidth=1.5)


def point(range_m: float, lateral: float, amplitude: float = 1.0) -> Tensor:
    at = [torch.tensor([value], dtype=torch.float64) for value in (range_m, lateral, amplitude)]
    return render(PROBE, point_spread(PROBE), *at)


def test_point_gives_a_gaussian_modulated_cosine_at_its_two_way_delay() -> None:
    # Sample 1000 exactly, between two lines of the sector.
    rf = point(1000 * PROBE.sample_m, 0.0)
    t = (torch.arange(PROBE.samples, dtype=torch.float64) - 1000) / PROBE.fs_hz
    pulse = torch.exp(-4 * math.log(2) * (t * PROBE.f0_hz / PROBE.cycles) ** 2)
    pulse = pulse * torch.cos(2 * math.pi * PROBE.f0_hz * t)
    line = rf[:, 47].double()
    # float32 transforms: the shape agrees to a few parts in 10^6 of the peak.
    torch.testing.assert_close(line / line[1000], pulse, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_carrier_phase_is_exact_between_samples(fraction: float) -> None:
    rf = point((1000 + fraction) * PROBE.sample_m, 0.0)
    t = torch.arange(PROBE.samples, dtype=torch.float64) / PROBE.fs_hz
    turn = torch.exp(-2j * math.pi * PROBE.f0_hz * (t - (1000 + fraction) / PROBE.fs_hz))
    # The phase of the echo relative to its own delay is zero; only the slow envelope is interpolated.
    assert abs(torch.angle((rf[:, 47] * turn).sum()).item()) < 1e-3


def test_lateral_width_is_1p2_lambda_over_aperture() -> None:
    beam = magnitude(point(0.06, 0.0))[round(0.06 / PROBE.sample_m)].double()
    step = PROBE.sector_rad / (PROBE.lines - 1)
    angle = PROBE.laterals()
    spread = ((beam * angle**2).sum() / beam.sum()).sqrt() * 2 * math.sqrt(2 * math.log(2))
    expected = 1.2 * (1540 / 3.4e6) / (64 * 0.3e-3)
    # The linear split over half-line columns widens the beam: at most sqrt(1 + 8 ln2 (step/4)^2 / w^2), 4 %.
    widest = math.sqrt(1 + 8 * math.log(2) * (step / 4) ** 2 / expected**2)
    assert expected * 0.995 <= spread <= expected * widest * 1.005


def test_lines_are_linear_in_the_scatterers(gen: torch.Generator) -> None:
    range_m = 0.02 + 0.08 * torch.rand(50, generator=gen)
    angle = torch.rand(50, generator=gen) - 0.5
    a, b = torch.randn(2, 50, generator=gen)
    psf = point_spread(PROBE)
    both = render(PROBE, psf, range_m, angle, 2 * a - 3 * b)
    apart = 2 * render(PROBE, psf, range_m, angle, a) - 3 * render(PROBE, psf, range_m, angle, b)
    # Sums of 50 float32 terms.
    torch.testing.assert_close(both, apart, atol=1e-5 * float(both.abs().max()), rtol=0)


def test_scatterers_outside_the_view_leave_no_echo_on_the_other_side() -> None:
    # A point at the last sample must not wrap around to the first ones.
    rf = point((PROBE.samples - 1) * PROBE.sample_m, 0.0)
    assert rf[:200].abs().max() < 1e-5 * rf.abs().max()


def test_speckle_is_fully_developed() -> None:
    scene = replace(draw_scene(0), wall_db=0.0, variation_db=0.0)
    lines = magnitude(tissue_lines(scene, PROBE, [0.0], seed=0)[0])
    x, z = PROBE.cartesian(PROBE.ranges_m()[:, None], PROBE.laterals()[None, :])
    speckle = lines[scene.masks(x, z)["myocardium"]]
    # Rayleigh: mean / deviation = sqrt(pi / (4 - pi)) = 1.913; about 1500 independent cells give +-.035.
    assert (speckle.mean() / speckle.std()).item() == pytest.approx(1.913, abs=0.1)


def test_speckle_follows_the_tissue_and_blood_decorrelates() -> None:
    scene = replace(draw_scene(1), blood_db=0.0)
    # Same phase, two frames of the cine: tissue repeats exactly, blood is drawn afresh.
    first, second = tissue_lines(scene, PROBE, [0.0, 1.0], seed=1)
    x, z = PROBE.cartesian(PROBE.ranges_m()[:, None], PROBE.laterals()[None, :])
    masks = scene.masks(x, z)
    wall, blood = masks["myocardium"], masks["ventricle"]
    assert torch.corrcoef(torch.stack([first[wall], second[wall]]))[0, 1] > 0.95
    assert torch.corrcoef(torch.stack([first[blood], second[blood]]))[0, 1].abs() < 0.1
