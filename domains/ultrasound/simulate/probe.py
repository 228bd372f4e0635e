"""Probes: array, pulse and scan of an imaging sequence, and the axes of the lines it returns.

The lateral coordinate of a line is its angle (rad, 0 straight ahead, positive to the right) for a phased
array and its position (m) for a linear one. Ranges start at the transducer surface; sample k lies at k c / (2
fs). Cartesian points are (x, z): x to the right, z away from the probe, both in metres.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from domains.ultrasound.data import Geometry

__all__ = ["PROBES", "Probe", "get_probe"]


@dataclass(frozen=True)
class Probe:
    """A transducer and how it scans.

    `cycles` is the duration of the received pulse: full width at half maximum of its envelope, in periods of
    `f0_hz`; a longer excitation makes it narrower in frequency than `bandwidth`, the fractional -6 dB
    bandwidth of the receiver. `sector_rad` is the full opening of the sector (phased arrays only). `f_number`
    sets the beam width of linear arrays.
    """

    name: str
    kind: Literal["phased", "linear"]
    elements: int
    pitch_m: float
    element_width_m: float
    f0_hz: float
    fs_hz: float
    cycles: float
    bandwidth: float
    lines: int
    depth_m: float
    sector_rad: float = 0.0
    f_number: float = 2.0
    sound_speed_m_s: float = 1540.0

    def __post_init__(self) -> None:
        if self.fs_hz < 2 * self.f0_hz * (1 + self.bandwidth / 2):
            raise ConfigError(
                f"fs_hz = {self.fs_hz:g} undersamples a pulse at {self.f0_hz:g} Hz.", hint="Use fs = 4 f0."
            )
        if self.kind == "phased" and not 0 < self.sector_rad < math.pi:
            raise ConfigError(f"sector_rad of a phased array must lie in (0, pi), got {self.sector_rad}.")
        if self.lines < 2 or self.elements < 1:
            raise ConfigError(
                f"a probe needs 2 lines and 1 element at least, got {self.lines} and {self.elements}."
            )

    @property
    def wavelength_m(self) -> float:
        """Wavelength at the centre frequency."""
        return self.sound_speed_m_s / self.f0_hz

    @property
    def aperture_m(self) -> float:
        """Width D of the array."""
        return self.elements * self.pitch_m

    @property
    def sample_m(self) -> float:
        """Range between two samples of a line."""
        return self.sound_speed_m_s / (2 * self.fs_hz)

    @property
    def samples(self) -> int:
        """RF samples per line: a multiple of 32, so that IQ at a quarter can be halved three times."""
        return 32 * int(self.depth_m / self.sample_m / 32)

    @property
    def lateral_width(self) -> float:
        """-6 dB beam width: 1.2 lambda / D (rad) of phased arrays, 1.2 lambda f_number (m) of linear ones."""
        if self.kind == "phased":
            return 1.2 * self.wavelength_m / self.aperture_m
        return 1.2 * self.wavelength_m * self.f_number

    def ranges_m(self, decimation: int = 1) -> Tensor:
        """Range of each sample after keeping one in `decimation`, (sample,), metres."""
        count = -(-self.samples // decimation)
        return torch.arange(count, dtype=torch.float64) * self.sample_m * decimation

    def laterals(self) -> Tensor:
        """Lateral coordinate of each line, (line,): rad for phased arrays, metres for linear ones."""
        half = self.sector_rad / 2 if self.kind == "phased" else self.aperture_m / 2
        return torch.linspace(-half, half, self.lines, dtype=torch.float64)

    def cartesian(self, range_m: Tensor, lateral: Tensor) -> tuple[Tensor, Tensor]:
        """(x, z) in metres of points given by range and lateral coordinate, broadcast together."""
        if self.kind == "phased":
            return range_m * torch.sin(lateral), range_m * torch.cos(lateral)
        return lateral + 0 * range_m, range_m + 0 * lateral

    def polar(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Range and lateral coordinate of Cartesian points: the inverse of `cartesian`."""
        if self.kind == "phased":
            return torch.hypot(x, z), torch.atan2(x, z)
        return z, x

    def elements_m(self) -> Tensor:
        """Element centres (element, 3): x, y, z in metres."""
        x = (torch.arange(self.elements, dtype=torch.float64) - (self.elements - 1) / 2) * self.pitch_m
        return torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)

    def geometry(self) -> Geometry:
        """Geometry of the RF lines this probe returns."""
        ranges, laterals = self.ranges_m(), self.laterals().numpy()
        return Geometry(
            probe=self.kind,
            r0_m=0.0,
            r1_m=float(ranges[-1]),
            apex_m=0.0,
            angles_rad=laterals if self.kind == "phased" else None,
            lateral_m=laterals if self.kind == "linear" else None,
            fs_hz=self.fs_hz,
            f0_hz=self.f0_hz,
            fd_hz=0.0,
            bandwidth=self.bandwidth,
            sound_speed_m_s=self.sound_speed_m_s,
            t0_s=0.0,
            elements_m=np.asarray(self.elements_m()),
            element_width_m=self.element_width_m,
        )


_CARDIAC = Probe(
    name="cardiac",
    kind="phased",
    elements=64,
    pitch_m=0.3e-3,
    element_width_m=0.25e-3,
    f0_hz=3.4e6,
    fs_hz=13.6e6,
    cycles=2.0,
    bandwidth=0.74,
    lines=96,
    depth_m=0.12,
    sector_rad=math.radians(75),
)

PROBES: dict[str, Probe] = {
    # Phased array listening at the second harmonic of 1.7 MHz.
    "cardiac": _CARDIAC,
    # The same array at its fundamental: 2.72 MHz, 74 % bandwidth (Verasonics data sheet, as in MUST
    # getparam('P4-2v')).
    "P4-2v": Probe(
        "P4-2v", "phased", 64, 0.3e-3, 0.25e-3, 2.72e6, 10.88e6, 1.2, 0.74, 96, 0.12, math.radians(75)
    ),
    # 128 elements at 7.6 MHz, 77 % bandwidth (Verasonics data sheet, as in MUST getparam('L11-5v')).
    "L11-5v": Probe("L11-5v", "linear", 128, 0.3e-3, 0.27e-3, 7.6e6, 30.4e6, 1.15, 0.77, 128, 0.04),
}


def get_probe(name: str) -> Probe:
    """Return a preset by name: cardiac, P4-2v or L11-5v."""
    if name not in PROBES:
        raise unknown("probe", name, PROBES)
    return PROBES[name]
