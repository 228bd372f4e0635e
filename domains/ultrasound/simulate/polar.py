"""Polar backend: scatterers in (range, lateral) coordinates seen through a separable point-spread function.

A scatterer at range r and lateral coordinate l (rad or m, see `probe.py`) with amplitude a adds to the line
at l'

    a exp(-4 ln2 (l' - l)^2 / w^2) g(t - 2r/c) cos(2 pi f0 (t - 2r/c)),   g(t) = exp(-4 ln2 t^2 / T^2)

with w the -6 dB beam width (1.2 lambda / D) and T = cycles / f0. The sum is formed at baseband: every
scatterer enters with its exact carrier phase and is split linearly between neighbouring samples of the slowly
varying envelope, then the envelope is convolved by FFT, the beam applied as one matrix product, and the
carrier put back. There is no attenuation: levels are what a perfect time-gain compensation shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.ultrasound.simulate.probe import Probe
from domains.ultrasound.simulate.scene import LEAFLET_M, CardiacScene
from domains.ultrasound.simulate.seeding import stream

__all__ = ["PointSpread", "draw_positions", "point_spread", "render", "tissue_lines"]

COLUMNS = 2  # lateral grid points per line on which scatterers are gathered


@dataclass(frozen=True)
class PointSpread:
    """Separable response: carrier, envelope in cycles (full width at half maximum), -6 dB lateral width."""

    f0_hz: float
    cycles: float
    lateral_width: float


def point_spread(probe: Probe) -> PointSpread:
    """Return the response of a focused probe."""
    return PointSpread(probe.f0_hz, probe.cycles, probe.lateral_width)


def draw_positions(probe: Probe, margin: float, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw scatterers, one per RF sample and line, over the view and `margin` (rad or m) to each side.

    Returns:
        Range (N,) in metres and lateral coordinate (N,), uniform and independent, so that speckle has the
        same level at every depth.
    """
    laterals = probe.laterals()
    low, high = float(laterals[0]) - margin, float(laterals[-1]) + margin
    spacing = float(laterals[1] - laterals[0])
    count = round(probe.samples * (high - low) / spacing)
    range_m = torch.rand(count, generator=gen) * (probe.samples * probe.sample_m)
    return range_m, low + (high - low) * torch.rand(count, generator=gen)


def render(probe: Probe, psf: PointSpread, range_m: Tensor, lateral: Tensor, amplitude: Tensor) -> Tensor:
    """Return the RF lines (sample, line) of point scatterers, float32, arbitrary units.

    Args:
        range_m: (N,) distance of each scatterer, metres; those outside the view (and its lateral margin) are
            left out.
        lateral: (N,) lateral coordinate, rad or m.
        amplitude: (N,) echo amplitude, linear.
    """
    lines = probe.laterals()
    step = float(lines[1] - lines[0]) / COLUMNS
    margin = math.ceil(1.5 * psf.lateral_width / step)
    columns = COLUMNS * (probe.lines - 1) + 1 + 2 * margin
    start = float(lines[0]) - margin * step
    reach = 2 * math.ceil(psf.cycles / psf.f0_hz * probe.fs_hz)
    length = 64 * math.ceil((probe.samples + reach) / 64)  # zeros keep the circular convolution from wrapping

    row, column = range_m / probe.sample_m, (lateral - start) / step
    keep = (row >= 0) & (row < probe.samples) & (column >= 0) & (column < columns - 1)
    row, column, amplitude = row[keep], column[keep], amplitude[keep]
    i, j = row.floor(), column.floor()
    p, q = row - i, column - j
    turns = row * (psf.f0_hz / probe.fs_hz)
    phase = -2 * math.pi * (turns - turns.floor())
    value = amplitude[:, None] * torch.stack([torch.cos(phase), torch.sin(phase)], dim=1)
    grid = torch.zeros(columns * length, 2)
    corner = j.long() * length + i.long()
    for offset, weight in (
        (0, (1 - p) * (1 - q)),
        (1, p * (1 - q)),
        (length, (1 - p) * q),
        (length + 1, p * q),
    ):
        grid.index_add_(0, corner + offset, (weight[:, None] * value).float())

    centres = start + step * torch.arange(columns, dtype=torch.float64)
    beam = torch.exp(-4 * math.log(2) * ((lines[:, None] - centres) / psf.lateral_width) ** 2)
    baseband = torch.view_as_complex((beam.float() @ grid.view(columns, -1)).view(probe.lines, length, 2))
    frequency = torch.fft.fftfreq(length, d=1 / probe.fs_hz)
    response = torch.exp(-((math.pi * frequency * psf.cycles / psf.f0_hz) ** 2) / (4 * math.log(2)))
    envelope = torch.fft.ifft(torch.fft.fft(baseband) * response)[:, : probe.samples]
    time = torch.arange(probe.samples, dtype=torch.float64) * (psf.f0_hz / probe.fs_hz)
    carrier = torch.polar(torch.ones(probe.samples), (2 * math.pi * (time - time.floor())).float())
    return (envelope * carrier).real.T.contiguous()


def tissue_lines(scene: CardiacScene, probe: Probe, phases: Sequence[float], *, seed: int) -> Tensor:
    """Return the RF lines of a beating heart without haze, (frame, sample, line), float32, arbitrary units.

    Tissue scatterers keep their amplitude and move with the wall, so speckle follows the tissue; blood
    scatterers are drawn afresh in every frame.

    Args:
        phases: phase of the heart cycle at each frame, 0 = full ventricle, period 1.
        seed: speckle; the anatomy is in `scene`.
    """
    psf = point_spread(probe)
    gen = stream(seed, "speckle")
    range_m, lateral = draw_positions(probe, 2 * psf.lateral_width, gen)
    tissue = torch.randn(range_m.shape, generator=gen)
    x, z = probe.cartesian(range_m, lateral)
    level_db, blood = scene.level_db(x, z)
    frames = []
    for index, phase in enumerate(phases):
        moved_x, moved_z = scene.to_current(x, z, phase)
        leaflet = scene.leaflet_distance_m(moved_x, moved_z, phase) < LEAFLET_M
        gain = 10 ** (torch.where(leaflet, scene.leaflet_db, level_db) / 20)
        flowing = torch.randn(range_m.shape, generator=stream(seed, "blood", index))
        amplitude = gain * torch.where(blood, flowing, tissue)
        frames.append(render(probe, psf, *probe.polar(moved_x, moved_z), amplitude))
    return torch.stack(frames)
