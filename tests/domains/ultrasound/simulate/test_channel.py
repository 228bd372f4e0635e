"""The channel backend: exact two-way delays, linearity, and points that focus where they are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError, MissingExtra
from domains.ultrasound.beamform import beamform
from domains.ultrasound.simulate import channel_echoes, diverging, get_probe, simulate
from domains.ultrasound.simulate.channel import raw_record
from domains.ultrasound.simulate.pymust import pymust_echoes

PROBE = get_probe("cardiac")
X, Z = torch.tensor([0.012]), torch.tensor([0.055])
ONE = torch.ones(1)


def test_impulse_of_a_point_arrives_after_the_two_way_path() -> None:
    delays = diverging(PROBE)
    echo = channel_echoes(PROBE, X, Z, ONE, delays, impulses=True)[0].double()
    time = torch.arange(echo.shape[0], dtype=torch.float64) / PROBE.fs_hz
    centroid = (time[:, None] * echo).sum(0) / echo.sum(0)
    x, z = X.double().item(), Z.double().item()
    elements = (np.arange(64) - 31.5) * 0.3e-3
    there = min(math.hypot(x - e, z) / 1540 + d for e, d in zip(elements, delays[0].tolist(), strict=True))
    expected = there + np.hypot(x - elements, z) / 1540
    # A linear split keeps the first moment; float32 weights leave 1e-7 of a sample in 2000.
    np.testing.assert_allclose(centroid.numpy() * PROBE.fs_hz, expected * PROBE.fs_hz, atol=1e-4)


def test_diverging_wave_seems_to_come_from_its_virtual_source() -> None:
    # Exact when the ray to the point crosses an element; otherwise late by less than pitch^2 / (8 c R).
    delays = diverging(PROBE)
    behind = PROBE.aperture_m / 2 / math.tan(PROBE.sector_rad / 2)
    near = math.hypot(0.15e-3, behind)
    echo = channel_echoes(PROBE, torch.zeros(1), torch.tensor([0.05]), ONE, delays, impulses=True)[0].double()
    first = (torch.arange(echo.shape[0], dtype=torch.float64)[:, None] * echo).sum(0) / echo.sum(0)
    there = (behind + 0.05 - near) / 1540
    back = np.hypot((np.arange(64) - 31.5) * 0.3e-3, 0.05) / 1540
    late = 0.3e-3**2 / (8 * 1540) * (1 / behind + 1 / 0.05)
    difference = first.numpy() / PROBE.fs_hz - there - back
    assert difference.min() > -1e-10
    assert difference.max() < late + 1e-10


def test_echoes_are_linear_in_the_scatterers(gen: torch.Generator) -> None:
    x = 0.04 * torch.rand(30, generator=gen) - 0.02
    z = 0.03 + 0.06 * torch.rand(30, generator=gen)
    a, b = torch.randn(2, 30, generator=gen)
    delays = diverging(PROBE)
    both = channel_echoes(PROBE, x, z, 2 * a - b, delays)
    apart = 2 * channel_echoes(PROBE, x, z, a, delays) - channel_echoes(PROBE, x, z, b, delays)
    torch.testing.assert_close(both, apart, atol=1e-5 * float(both.abs().max()), rtol=0)


def test_beamforming_finds_the_point() -> None:
    delays = diverging(PROBE)
    record = raw_record(PROBE, channel_echoes(PROBE, X, Z, ONE, delays)[None], delays)
    r, angle = math.hypot(0.012, 0.055), math.atan2(0.012, 0.055)
    lines = replace(
        record.geometry, r0_m=r - 0.003, r1_m=r + 0.003, angles_rad=angle + np.linspace(-0.1, 0.1, 41)
    )
    image = np.abs(beamform(record, lines, samples=241, f_number=0.0).values[0])
    row, column = np.unravel_index(image.argmax(), image.shape)
    # RF of 4 samples a period, peak of |RF|: within a quarter wavelength, and one of the 5 mrad lines.
    assert abs(row - 120) * 0.006 / 240 <= PROBE.wavelength_m / 4
    assert abs(column - 20) <= 1


def test_heart_arrives_as_raw_data_with_what_a_beamformer_needs() -> None:
    record = simulate(seed=0, backend="channel", level=0, frames=2)
    assert record.values.shape[:2] == (2, 1)
    assert record.values.shape[3] == 64
    assert record.geometry.missing("elements_m", "tx_delays_s", "fs_hz", "sound_speed_m_s", "t0_s") == []
    again = simulate(seed=0, backend="channel", level=0, frames=2)
    assert np.array_equal(record.values, again.values)


def test_haze_on_channel_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="beamformed lines"):
        simulate(seed=0, backend="channel", level=0.2)
    with pytest.raises(DataError, match=r"\(tx, 64\)"):
        channel_echoes(PROBE, X, Z, ONE, torch.zeros(1, 32))
    with pytest.raises(ConfigError, match="sector"):
        diverging(get_probe("L11-5v"))


def test_pymust_puts_the_echo_at_the_same_time() -> None:
    pytest.importorskip("pymust", reason="the package pymust is not installed")
    probe = get_probe("P4-2v")
    delays = diverging(probe)
    ours, theirs = (make(probe, X, Z, ONE, delays)[0].double() for make in (channel_echoes, pymust_echoes))
    time = torch.arange(ours.shape[0], dtype=torch.float64)[:, None]
    centres = [(time * echo**2).sum(0) / (echo**2).sum(0) for echo in (ours, theirs)]
    # Different pulses around the same delay: the centres of energy agree within half a sample.
    torch.testing.assert_close(*centres, atol=0.5, rtol=0)


def test_absent_pymust_names_the_package() -> None:
    try:
        import pymust  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtra, match="pymust"):
            simulate(seed=0, backend="pymust", level=0)
    else:
        pytest.skip("pymust is installed")
