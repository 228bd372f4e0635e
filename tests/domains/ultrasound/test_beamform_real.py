"""Delay-and-sum on recorded echoes: a real rotating disk (U5) and Field II plane waves (U6)."""

import pytest
import torch
from torch import Tensor

from domains.ultrasound.beamform import compound, delay_and_sum, grid_points, plane_arrival, velocity
from domains.ultrasound.signal import demodulate, log_compress
from tests.domains.ultrasound.real_files import (
    Channels,
    correlation,
    psnr_db,
    read_disk,
    read_disk_reference,
    read_field_ii,
)


def grid_das(
    channels: Channels, x: Tensor, z: Tensor, angles: list[float], *, f_number: float, sound_speed_m_s: float
) -> Tensor:
    """Demodulate and beamform real plane waves: (frame, tx, row, col)."""
    iq = demodulate(
        channels.rf,
        fs_hz=channels.fs_hz,
        f0_hz=channels.f0_hz,
        bandwidth=channels.bandwidth,
        t0_s=channels.t0_s,
        factor=1,
    ).iq
    return delay_and_sum(
        iq,
        x,
        z,
        plane_arrival(x, z, angles, sound_speed_m_s=sound_speed_m_s),
        elements_m=channels.elements_m,
        fs_hz=channels.fs_hz,
        sound_speed_m_s=sound_speed_m_s,
        t0_s=channels.t0_s,
        fd_hz=channels.f0_hz,
        f_number=f_number,
    )


def test_the_real_disk_matches_its_reference_picture(real_data) -> None:
    folder = real_data("ultrasound/must_disk")
    disk = read_disk(folder)
    x, z = grid_points(
        torch.linspace(-12.5e-3, 12.5e-3, 251, dtype=torch.float64),
        torch.linspace(10e-3, 35e-3, 251, dtype=torch.float64),
    )
    first = disk._replace(rf=disk.rf[:1])
    pixels = grid_das(first, x, z, [0.0], f_number=1.0, sound_speed_m_s=disk.sound_speed_m_s)[0, 0]
    grey = 255 * (1 + log_compress(pixels.abs(), dynamic_range_db=30.0) / 30)
    shown = read_disk_reference(folder)[0]
    # Measured .970 and 23.4 dB.
    assert correlation(grey, shown) >= 0.93
    assert psnr_db(grey, shown) >= 20.7
    assert correlation(grey.flip(-1), shown) < 0.8


def test_the_two_halves_of_the_real_disk_move_in_opposite_directions(real_data) -> None:
    disk = read_disk(real_data("ultrasound/must_disk"))
    disk = disk._replace(rf=disk.rf[:8])
    x, z = grid_points(
        torch.linspace(-8e-3, 8e-3, 41, dtype=torch.float64),
        torch.linspace(15e-3, 30e-3, 41, dtype=torch.float64),
    )
    c = disk.sound_speed_m_s
    pixels = compound(grid_das(disk, x, z, [0.0], f_number=1.0, sound_speed_m_s=c))
    speed = velocity(pixels, prf_hz=10e3, f0_hz=disk.f0_hz, sound_speed_m_s=c, window=(5, 5))
    left, right = speed[:, :16], speed[:, -16:]
    assert (left > 0).float().mean() > 0.98
    assert (right < 0).float().mean() > 0.98
    # Rigid rotation: the axial velocity is linear in x and does not depend on depth.
    assert correlation(speed, x) < -0.97


# Rows of scatterers 4 wavelengths apart, m.
ROWS = (5.9136e-3, 17.7409e-3, 29.5682e-3, 41.3955e-3)


def field_ii_errors(
    channels: Channels,
    angles: list[float],
    scatterers: Tensor,
    *,
    sound_speed_m_s: float = 1540.0,
    rows_m: tuple[float, ...] = ROWS,
) -> Tensor:
    """Lateral and axial distance (peak, 2), m, from the brightest peaks to the nearest scatterer.

    Imaged is |x| <= 8 mm, +-.6 mm (2 wavelengths) about each row; one peak for every scatterer there.
    """
    across, down = torch.linspace(-8e-3, 8e-3, 161), torch.linspace(-0.59e-3, 0.61e-3, 41)
    strips = [grid_points(across.double(), row + down.double()) for row in rows_m]
    x, z = (torch.stack(axis) for axis in zip(*strips, strict=True))
    images = grid_das(channels, x, z, angles, f_number=1.5, sound_speed_m_s=sound_speed_m_s)[0].mean(0).abs()
    tops = torch.nn.functional.max_pool2d(images, (15, 9), stride=1, padding=(7, 4))
    found = []
    for k, row in enumerate(rows_m):
        near = scatterers[(scatterers[:, 2] - row).abs() < 1e-6]
        n = int((near[:, 0].abs() <= 8e-3).sum())
        best = torch.where(images[k] == tops[k], images[k], 0.0).flatten().topk(n).indices
        peaks = torch.stack((x[k].flatten()[best], z[k].flatten()[best]), dim=-1)
        nearest = near[(peaks[:, None, 0] - near[None, :, 0]).abs().argmin(1)][:, [0, 2]]
        found.append((peaks - nearest).abs())
    return torch.cat(found)


def test_field_ii_scatterers_are_found_where_they_were_put(real_data) -> None:
    channels, angles, scatterers = read_field_ii(real_data("ultrasound/pybf_fieldii"))
    errors = field_ii_errors(channels, angles.tolist(), scatterers)
    wavelength_m = 1540.0 / channels.f0_hz
    lateral, axial = errors.median(0).values / wavelength_m
    # One beam width is 1.5 wavelengths at f-number 1.5. Measured .08 laterally, .03 axially.
    assert lateral.item() <= 1.5
    assert axial.item() <= 0.5
    # Neighbours in a row are 4 wavelengths apart, so chance alone scores 1: nine in ten must beat a third.
    lateral, axial = errors.quantile(0.9, dim=0) / wavelength_m
    assert lateral.item() <= 1 / 3
    assert axial.item() <= 0.5


@pytest.mark.parametrize("fault", ["angles reversed", "start time ignored", "sound speed 4 % low"])
def test_field_ii_errors_show_a_wrong_set_up(real_data, fault: str) -> None:
    channels, angles, scatterers = read_field_ii(real_data("ultrasound/pybf_fieldii"))
    speed = 1480.0 if fault.startswith("sound speed") else 1540.0
    if fault == "angles reversed":
        angles = -angles
    elif fault == "start time ignored":
        channels = channels._replace(t0_s=channels.t0_s - 1.0667e-6)
    errors = field_ii_errors(channels, angles.tolist(), scatterers, sound_speed_m_s=speed, rows_m=ROWS[1:4:2])
    axial = errors[:, 1].quantile(0.9) / (1540.0 / channels.f0_hz)
    # Measured above 1.6 for each fault.
    assert axial.item() > 0.5
