"""Delay-and-sum on echoes whose delays are exact: places, phases, apertures, Doppler, records."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import ConfigError, DataError, GeometryError
from domains.ultrasound.beamform import (
    beamform,
    compound,
    delay_and_sum,
    diverging_arrival,
    doppler_shift,
    element_arrival,
    grid_points,
    line_points,
    plane_arrival,
    velocity,
)
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.signal import demodulate, remodulate, to_iq
from tests.domains.ultrasound.real_files import correlation, line_of_elements

C = 1540.0
F0 = 3e6
FS = 24e6
BANDWIDTH = 0.6
ELEMENTS = line_of_elements(64, 0.3e-3)
POINT = torch.tensor([[2.1e-3, 0.0, 21.3e-3]], dtype=torch.float64)


def echoes(points: Tensor, arrival_s: Tensor, *, samples: int = 1100) -> Tensor:
    """RF (tx, sample, element) of unit points (n, 3) hit at `arrival_s` (tx, n): Gaussian bursts."""
    back_s = torch.cdist(points, ELEMENTS) / C
    t = torch.arange(samples, dtype=torch.float64)[:, None] / FS
    rf = torch.zeros(arrival_s.shape[0], samples, len(ELEMENTS), dtype=torch.float64)
    for k, row in enumerate(arrival_s):
        for hit, back in zip(row, back_s, strict=True):
            late = t - (hit + back)
            rf[k] += torch.exp(-0.5 * (late / 0.6e-6) ** 2) * torch.cos(2 * math.pi * F0 * late)
    return rf


def das(
    channel: Tensor, x: Tensor, z: Tensor, arrival_s: Tensor, *, fd_hz: float = F0, f_number: float = 1.0
) -> Tensor:
    return delay_and_sum(
        channel,
        x,
        z,
        arrival_s,
        elements_m=ELEMENTS,
        fs_hz=FS,
        sound_speed_m_s=C,
        fd_hz=fd_hz,
        f_number=f_number,
    )


def to_baseband(rf: Tensor) -> Tensor:
    return demodulate(rf, fs_hz=FS, f0_hz=F0, bandwidth=BANDWIDTH, factor=1).iq


def peak(image: Tensor, x: Tensor, z: Tensor) -> tuple[float, float]:
    at = image.abs().flatten().argmax()
    return x.flatten()[at].item(), z.flatten()[at].item()


def around(point: Tensor, *, half_m: float = 1e-3, step_m: float = 0.05e-3) -> tuple[Tensor, Tensor]:
    n = 2 * round(half_m / step_m) + 1
    reach = torch.linspace(-half_m, half_m, n, dtype=torch.float64)
    return grid_points(point[0, 0] + reach, point[0, 2] + reach)


def transmits(x: Tensor, z: Tensor, kind: str) -> Tensor:
    match kind:
        case "plane":
            return plane_arrival(x, z, [-0.2, 0.0, 0.2], sound_speed_m_s=C)
        case "diverging":
            return diverging_arrival(x, z, torch.tensor([[0.0, -8e-3], [3e-3, -9e-3]]), sound_speed_m_s=C)
        case _:
            gen = torch.Generator().manual_seed(1)
            delays = 2e-6 * torch.rand(2, len(ELEMENTS), generator=gen, dtype=torch.float64)
            return element_arrival(x, z, ELEMENTS, delays, sound_speed_m_s=C)


@pytest.mark.parametrize("kind", ["plane", "diverging", "element"])
def test_a_point_is_imaged_where_it_lies(kind: str) -> None:
    arrival = transmits(POINT[:, 0], POINT[:, 2], kind)
    x, z = around(POINT)
    for image in das(to_baseband(echoes(POINT, arrival)), x, z, transmits(x, z, kind)):
        found = peak(image, x, z)
        # One pixel is 0.05 mm.
        assert found[0] == pytest.approx(POINT[0, 0].item(), abs=0.051e-3)
        assert found[1] == pytest.approx(POINT[0, 2].item(), abs=0.051e-3)


def test_at_the_point_every_element_adds_in_phase() -> None:
    """64 elements of unit echo give 64, with the phase of the burst's middle: zero."""
    arrival = plane_arrival(POINT[:, 0], POINT[:, 2], [0.15], sound_speed_m_s=C)
    value = das(to_baseband(echoes(POINT, arrival)), POINT[:, 0], POINT[:, 2], arrival, f_number=0.0)[0, 0]
    # The burst's +-.27 MHz lie inside the low-pass of .9 MHz; linear interpolation of the IQ costs .1 %.
    assert value.real.item() == pytest.approx(64, rel=0.01)
    assert abs(value.angle().item()) < 0.02


def test_the_wrong_sign_of_the_steering_angle_misplaces_the_point() -> None:
    arrival = plane_arrival(POINT[:, 0], POINT[:, 2], [0.2], sound_speed_m_s=C)
    x, z = around(POINT)
    wrong = plane_arrival(x, z, [-0.2], sound_speed_m_s=C)
    found = peak(das(to_baseband(echoes(POINT, arrival)), x, z, wrong)[0], x, z)
    assert math.hypot(found[0] - POINT[0, 0].item(), found[1] - POINT[0, 2].item()) > 0.3e-3


def test_plane_wave_delays_give_plane_arrivals_inside_the_insonified_strip() -> None:
    """Elements fired at x sin a / c launch the wave x sin a + z cos a, up to the gaps between elements."""
    x, z = grid_points(
        torch.linspace(-3e-3, 3e-3, 13, dtype=torch.float64),
        torch.linspace(5e-3, 25e-3, 21, dtype=torch.float64),
    )
    delays = ELEMENTS[None, :, 0] * math.sin(0.1) / C
    hull = element_arrival(x, z, ELEMENTS, delays, sound_speed_m_s=C)
    exact = plane_arrival(x, z, [0.1], sound_speed_m_s=C)
    # Between elements the wavelet lies at most (pitch/2)^2 / (2 z) = 2.3 um behind the plane.
    assert (hull - exact).min() >= -1e-12
    assert (hull - exact).max() <= 2.3e-6 / C


def test_silent_elements_are_marked_by_nan() -> None:
    delays = torch.full((1, len(ELEMENTS)), math.nan, dtype=torch.float64)
    delays[0, 10] = 1e-6
    arrival = element_arrival(POINT[:, 0], POINT[:, 2], ELEMENTS, delays, sound_speed_m_s=C)
    assert arrival.item() == pytest.approx(1e-6 + torch.cdist(POINT, ELEMENTS)[0, 10].item() / C, rel=1e-12)


def test_a_wave_from_a_far_source_is_plane() -> None:
    x, z = around(POINT)
    source = 1e3 * torch.tensor([[-math.sin(0.2), -math.cos(0.2)]], dtype=torch.float64)
    far = diverging_arrival(x, z, source, sound_speed_m_s=C)
    # The curvature over 25 mm from 1 km is 0.3 um.
    assert (far - plane_arrival(x, z, [0.2], sound_speed_m_s=C)).abs().max() <= 0.5e-6 / C


def test_rf_and_iq_give_the_same_picture() -> None:
    arrival = plane_arrival(POINT[:, 0], POINT[:, 2], [0.0], sound_speed_m_s=C)
    rf = echoes(POINT, arrival)
    x, z = around(POINT)
    times = plane_arrival(x, z, [0.0], sound_speed_m_s=C)
    from_iq = das(to_baseband(rf), x, z, times)[0].real
    from_rf = das(rf, x, z, times, fd_hz=0.0)[0]
    # Linear interpolation of RF at 8 samples a period errs by (pi/8)^2/2 = 7.7 % at most.
    assert (from_iq - from_rf).abs().max() <= 0.08 * from_rf.abs().max()
    assert correlation(from_iq, from_rf) > 0.999


def test_frames_and_chunks_do_not_influence_each_other(gen: torch.Generator, monkeypatch) -> None:
    channel = torch.randn(3, 2, 400, 64, generator=gen)
    x, z = around(POINT - torch.tensor([0, 0, 12e-3]))
    times = plane_arrival(x, z, [0.0, 0.1], sound_speed_m_s=C)
    together = das(channel, x, z, times, fd_hz=0.0)
    assert together.shape == (3, 2, *x.shape)
    monkeypatch.setattr("domains.ultrasound.beamform._ENTRIES", 1000)
    assert torch.allclose(das(channel[1], x, z, times, fd_hz=0.0), together[1], atol=1e-5)


def test_the_f_number_limits_the_aperture_to_depth_over_f() -> None:
    """Constant data count the active elements: at 10 mm and f-number 2 those within 2.5 mm of the pixel."""
    x, z = torch.tensor([[0.0]], dtype=torch.float64), torch.tensor([[10e-3]], dtype=torch.float64)
    times = torch.zeros(1, 1, 1, dtype=torch.float64)
    counted = das(torch.ones(1, 400, 64), x, z, times, fd_hz=0.0, f_number=2.0).item()
    assert counted == int((ELEMENTS[:, 0].abs() <= 2.5e-3).sum()) == 16


def test_pixels_whose_echo_was_not_recorded_are_zero() -> None:
    x, z = torch.tensor([[0.0]], dtype=torch.float64), torch.tensor([[50e-3]], dtype=torch.float64)
    times = plane_arrival(x, z, [0.0], sound_speed_m_s=C)
    assert das(torch.ones(1, 400, 64), x, z, times, fd_hz=0.0).item() == 0


def test_gradients_reach_the_channel_data() -> None:
    channel = torch.zeros(1, 800, 64, dtype=torch.complex64, requires_grad=True)
    times = plane_arrival(POINT[:, 0], POINT[:, 2], [0.0], sound_speed_m_s=C)
    das(channel, POINT[:, 0], POINT[:, 2], times).real.sum().backward()
    assert channel.grad is not None
    # Each active element feeds the pixel through two neighbouring samples.
    assert int((channel.grad.abs().sum((0, 1)) > 0).sum()) > 32


@pytest.mark.parametrize("speed_m_s", [0.3, -0.45])
def test_doppler_measures_a_moving_point_with_its_sign(speed_m_s: float) -> None:
    """Positive is towards the probe: depth falls by v / prf from frame to frame."""
    prf_hz, n = 5e3, 4
    frames = []
    for k in range(n):
        moved = POINT - torch.tensor([0, 0, k * speed_m_s / prf_hz], dtype=torch.float64)
        frames.append(echoes(moved, plane_arrival(moved[:, 0], moved[:, 2], [0.0], sound_speed_m_s=C)))
    x, z = around(POINT, half_m=0.2e-3)
    iq = das(
        to_baseband(torch.stack(frames)), x, z, plane_arrival(x, z, [0.0], sound_speed_m_s=C), f_number=5.0
    )
    measured = velocity(compound(iq), prf_hz=prf_hz, f0_hz=F0, sound_speed_m_s=C, window=(3, 3))
    # Receive angles up to atan(1/10) shorten the mean path by .2 %; the envelope's own slope adds about 1 %.
    assert measured[4, 4].item() == pytest.approx(speed_m_s, rel=0.03)


def test_the_shift_of_a_turning_phase_is_exact() -> None:
    turn = torch.polar(
        torch.ones(6, dtype=torch.float64), 2 * math.pi * 0.1 * torch.arange(6, dtype=torch.float64)
    )
    shift = doppler_shift(turn[:, None, None].expand(6, 5, 5), prf_hz=1e3, window=(3, 5))
    assert torch.allclose(shift, torch.full((5, 5), 100.0, dtype=torch.float64))


def point_record(rf: Tensor, **changes: object) -> Record:
    fields: dict[str, object] = {
        "fs_hz": FS,
        "f0_hz": F0,
        "bandwidth": BANDWIDTH,
        "sound_speed_m_s": C,
        "t0_s": 0.0,
        "elements_m": ELEMENTS.numpy(),
        "tx_angles_rad": np.array([-0.2, 0.0, 0.2]),
    }
    geometry = Geometry(**{**fields, **changes})  # type: ignore[arg-type]
    return Record("raw_data", rf[None].float().numpy(), geometry)


LINES = Geometry(probe="linear", r0_m=18e-3, r1_m=25e-3, lateral_m=np.linspace(1e-3, 3e-3, 21))
FAN = Geometry(probe="curvilinear", r0_m=38e-3, r1_m=46e-3, apex_m=20e-3, angles_rad=np.linspace(0, 0.1, 21))


@pytest.mark.parametrize("lines", [LINES, FAN], ids=["parallel", "fanned"])
def test_a_record_is_beamformed_to_iq_lines_whose_rf_is_the_beamformed_rf(lines: Geometry) -> None:
    arrival = plane_arrival(POINT[:, 0], POINT[:, 2], [-0.2, 0.0, 0.2], sound_speed_m_s=C)
    record = point_record(echoes(POINT, arrival))
    iq = beamform(to_iq(record), lines, samples=241)
    rf = beamform(record, lines, samples=241)
    assert iq.domain == "iq"
    assert iq.geometry.fd_hz == F0
    assert rf.domain == "rf"
    g = iq.geometry
    assert g.fs_hz is not None
    assert g.t0_s is not None
    back = remodulate(torch.from_numpy(iq.values), fs_hz=g.fs_hz, fd_hz=F0, t0_s=g.t0_s)
    # Linear interpolation of RF at 10 samples a period leaves about 1 % of the energy.
    assert correlation(back, torch.from_numpy(rf.values)) > 0.99
    x, z = line_points(lines, 241)
    found = peak(torch.from_numpy(iq.values[0]), x, z)
    assert math.hypot(found[0] - POINT[0, 0].item(), found[1] - POINT[0, 2].item()) < 0.15e-3


def test_iq_lines_turn_slowly_along_depth() -> None:
    """Demodulated at their own depth, lines change phase little between samples: they may be decimated."""
    arrival = plane_arrival(POINT[:, 0], POINT[:, 2], [0.0], sound_speed_m_s=C)
    record = point_record(echoes(POINT, arrival), tx_angles_rad=np.array([0.0]))
    column = torch.from_numpy(beamform(to_iq(record), LINES, samples=241).values[0, :, 11])
    strong = column.abs() > 0.3 * column.abs().max()
    turns = (column[1:] * column[:-1].conj()).angle().abs()[strong[1:] & strong[:-1]]
    # The analytic signal would turn by 4 pi f0 dz / c = .71 rad a sample.
    assert turns.max() < 0.2


def test_a_fan_starts_at_the_probe_surface() -> None:
    fan = Geometry(
        probe="curvilinear", r0_m=40e-3, r1_m=100e-3, apex_m=40e-3, angles_rad=np.array([0.0, 0.5])
    )
    x, z = line_points(fan, 3)
    assert z[0, 0].item() == pytest.approx(0.0, abs=1e-12)
    assert x[2, 1].item() == pytest.approx(0.1 * math.sin(0.5))
    assert z[2, 1].item() == pytest.approx(0.1 * math.cos(0.5) - 0.04)


def test_errors_name_what_is_missing_or_wrong() -> None:
    rf = torch.zeros(3, 200, 64)
    with pytest.raises(GeometryError, match="sound_speed_m_s, t0_s"):
        beamform(point_record(rf, sound_speed_m_s=None, t0_s=None), LINES, samples=8)
    with pytest.raises(GeometryError, match="tx_delays_s"):
        beamform(point_record(rf, tx_angles_rad=None), LINES, samples=8)
    with pytest.raises(GeometryError, match="lateral_m"):
        beamform(point_record(rf), replace(LINES, lateral_m=None), samples=8)
    x, z = line_points(LINES, 8)
    times = plane_arrival(x, z, [0.0], sound_speed_m_s=C)
    with pytest.raises(DataError, match="tx 1"):
        das(rf, x, z, times)
    with pytest.raises(DataError, match="real"):
        das(rf[:1], x, z, times)
    with pytest.raises(ConfigError, match="f_number"):
        das(rf[:1], x, z, times, fd_hz=0.0, f_number=-1.0)
    with pytest.raises(DataError, match="undersampled"):
        beamform(point_record(rf, fs_hz=5e6), LINES, samples=8)
    with pytest.raises(DataError, match="frame >= 2"):
        doppler_shift(torch.zeros(1, 4, 4, dtype=torch.complex64), prf_hz=1e3)
    with pytest.raises(ConfigError, match="odd"):
        doppler_shift(torch.zeros(2, 4, 4, dtype=torch.complex64), prf_hz=1e3, window=(2, 2))
