"""Channel backend: the echo of every scatterer at every element, as spherical waves in the time domain.

A scatterer s with amplitude a, reached by the transmitted wave after t_s seconds, adds to element e

    a D(theta) / (d_tx d_rx) p(t - t_s - |s - e| / c)

with d_tx = c t_s less the first firing delay, d_rx = |s - e|, the receive directivity D = cos(theta)
sinc(width sin(theta) / lambda), and the pulse p(t) = exp(-4 ln2 t^2 f0^2 / cycles^2) cos(2 pi f0 t) centred
on the two-way delay. The wavefront is the first arrival over the elements, as in
`domains.ultrasound.beamform`. Impulses are split linearly between two samples, which keeps their delay exact,
and convolved with the pulse through the spectrum. Time 0 is the firing of the earliest element.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.ultrasound.beamform import element_arrival
from domains.ultrasound.data import Record
from domains.ultrasound.simulate.probe import Probe
from domains.ultrasound.simulate.scene import CardiacScene
from domains.ultrasound.simulate.seeding import stream

__all__ = [
    "channel_echoes",
    "channel_record",
    "diverging",
    "fan",
    "heart_scatterers",
    "raw_record",
    "sample_count",
]

SCATTERERS = 4000
NEAREST_M = 1e-3  # spreading stops growing closer than this


def diverging(probe: Probe, *, sector_rad: float | None = None) -> Tensor:
    """Firing delays (1, element), s, of a wave that fills a sector from a virtual source behind the array.

    Args:
        sector_rad: full opening, in (0, pi); default the probe's own sector.
    """
    sector_rad = probe.sector_rad if sector_rad is None else sector_rad
    if not 0 < sector_rad < math.pi:
        raise ConfigError(
            f"a diverging wave needs a sector in (0, pi) rad, got {sector_rad}.",
            hint="Give sector_rad: linear probes have none.",
        )
    behind_m = probe.aperture_m / 2 / math.tan(sector_rad / 2)
    distance = torch.hypot(probe.elements_m()[:, 0], torch.tensor(behind_m, dtype=torch.float64))
    return ((distance - distance.min()) / probe.sound_speed_m_s)[None]


def channel_echoes(
    probe: Probe, x: Tensor, z: Tensor, amplitude: Tensor, delays_s: Tensor, *, impulses: bool = False
) -> Tensor:
    """Return the echoes of point scatterers.

    Args:
        x: (N,) metres, across the array.
        z: (N,) metres, depth, > 0.
        amplitude: (N,) linear.
        delays_s: (tx, element) firing delay of each element, seconds.
        impulses: leave the pulse out.

    Returns:
        (tx, sample, element), float32, arbitrary units, long enough for echoes from the probe's depth.
    """
    if delays_s.ndim != 2 or delays_s.shape[1] != probe.elements:
        raise DataError(f"delays_s must be (tx, {probe.elements}), got {tuple(delays_s.shape)}.")
    x, z, amplitude = x.double(), z.double(), amplitude.double()
    elements = probe.elements_m()
    c, fs = probe.sound_speed_m_s, probe.fs_hz
    count = sample_count(probe, delays_s)
    distance = torch.hypot(x[:, None] - elements[:, 0], z[:, None])
    sine = (x[:, None] - elements[:, 0]) / distance
    directivity = (z[:, None] / distance) * torch.sinc(probe.element_width_m / probe.wavelength_m * sine)
    gain = amplitude[:, None] * directivity / distance.clamp(min=NEAREST_M)
    out = []
    for arrival, delays in zip(
        element_arrival(x, z, elements, delays_s.double(), sound_speed_m_s=c), delays_s, strict=True
    ):
        spread = (c * (arrival - delays.min())).clamp(min=NEAREST_M)
        at = (arrival[:, None] + distance / c) * fs
        first = at.floor()
        keep = (first >= 0) & (first < count - 1)
        slot = first.long() + torch.arange(probe.elements) * count
        weight = gain / spread[:, None]
        grid = torch.zeros(probe.elements * count, dtype=torch.float64)
        grid.index_add_(0, slot[keep], (weight * (1 - (at - first)))[keep])
        grid.index_add_(0, slot[keep] + 1, (weight * (at - first))[keep])
        echoes = grid.view(probe.elements, count)
        out.append((echoes if impulses else _convolve(echoes, probe)).T)
    return torch.stack(out).float()


def sample_count(probe: Probe, delays_s: Tensor) -> int:
    """Samples that hold every echo from within the probe's depth."""
    path_m = 2 * probe.depth_m + probe.aperture_m
    return math.ceil((path_m / probe.sound_speed_m_s + float(delays_s.max())) * probe.fs_hz)


def heart_scatterers(
    scene: CardiacScene, probe: Probe, phase: float, *, seed: int, n: int = SCATTERERS
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x, z (metres) and amplitude, (n,) each, of a heart at `phase`.

    Uniform over the view; the same seed gives the same scatterers, moved with the heart, at every phase.
    """
    gen = stream(seed, "scatterers")
    lateral = probe.laterals()
    share = torch.rand(n, generator=gen, dtype=torch.float64)
    range_m = probe.depth_m * (share.sqrt() if probe.kind == "phased" else share)  # uniform per area
    across = lateral[0] + (lateral[-1] - lateral[0]) * torch.rand(n, generator=gen, dtype=torch.float64)
    x, z = scene.to_current(*probe.cartesian(range_m, across), phase)
    level_db = scene.echogenicity_db(x, z, phase)
    return (
        x,
        z.clamp(min=NEAREST_M),
        10 ** (level_db / 20) * torch.randn(n, generator=gen, dtype=torch.float64),
    )


def channel_record(scene: CardiacScene, probe: Probe, phases: Sequence[float], *, seed: int) -> Record:
    """Return one diverging transmit per phase: `raw_data` (frame, 1, sample, element), float32."""
    delays = fan(probe)
    frames = []
    for phase in phases:
        x, z, amplitude = heart_scatterers(scene, probe, phase, seed=seed)
        frames.append(channel_echoes(probe, x, z, amplitude, delays))
    return raw_record(probe, torch.stack(frames), delays)


def raw_record(probe: Probe, echoes: Tensor, delays_s: Tensor) -> Record:
    """Return echoes (frame, tx, sample, element) and their delays (tx, element) as a `raw_data` record."""
    last_m = (echoes.shape[2] - 1) * probe.sample_m
    geometry = replace(probe.geometry(), r1_m=last_m, tx_delays_s=np.asarray(delays_s, dtype=np.float64))
    return Record("raw_data", echoes.numpy(), geometry)


def fan(probe: Probe) -> Tensor:
    """Delays of one transmit that lights up the view: the probe's sector, 60 degrees for a linear probe."""
    return diverging(probe, sector_rad=probe.sector_rad or math.radians(60))


def _convolve(echoes: Tensor, probe: Probe) -> Tensor:
    """Convolve (element, sample) with the pulse, centred: its spectrum is two Gaussians at +-f0."""
    duration = probe.cycles / probe.f0_hz
    length = echoes.shape[1] + 4 * math.ceil(duration * probe.fs_hz)
    frequency = torch.fft.rfftfreq(length, d=1 / probe.fs_hz, dtype=torch.float64)
    response = sum(
        torch.exp(-((math.pi * duration * (frequency - f0)) ** 2) / (4 * math.log(2)))
        for f0 in (probe.f0_hz, -probe.f0_hz)
    )
    return torch.fft.irfft(torch.fft.rfft(echoes, n=length) * response, n=length)[:, : echoes.shape[1]]
