"""Measurement operators of medical imaging, for `core.inverse.solve`.

    PlaneWave  reflectivity -> one echo image per steering angle of a plane wave
    MultiCoil  complex image -> undersampled k-space of several receive coils

Single-coil k-space, inpainting, downsampling and blur are generic: `core.inverse`. Complex images are pairs
of channels (real, imaginary); measurements are real, so that noise has one standard deviation per part.

Sources: the plane-wave model is the spatially invariant point spread of a compounded acquisition, Montaldo et
al. 2009, IEEE TUFFC 56(3), section II, as a separable Gaussian sheared by the angle; the multi-coil model is
SENSE, Pruessmann et al. 1999, MRM 42, eq. 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from core.errors import ConfigError
from core.inverse.linear import NOTHING, Linear, Spectrum
from core.state import Source, uniform

__all__ = ["MultiCoil", "PlaneWave", "cartesian_mask", "coil_maps"]


@dataclass(frozen=True)
class PlaneWave(Linear):
    """Echo images of plane waves sent at several angles, on a torus.

    The point spread at angle phi is g(z - x tan(phi)) g(x), Gaussians along depth and the array; with a
    centre frequency the depth factor carries the pulse, cos(4 pi f0 z / c). The largest gain of the set is
    1.

    Attributes:
        shape: (1, depth, lateral), pixels.
        angles_rad: steering angles, 0 straight down.
        axial_m, lateral_m: standard deviations of the point spread.
        pitch_m: size of a pixel, (depth, lateral).
        f0_hz: centre frequency; 0 gives the envelope's point spread.
        sound_speed_m_s: sound speed.
    """

    shape: tuple[int, ...]
    angles_rad: tuple[float, ...]
    axial_m: float = 0.3e-3
    lateral_m: float = 0.6e-3
    pitch_m: tuple[float, float] = (0.2e-3, 0.2e-3)
    f0_hz: float = 0.0
    sound_speed_m_s: float = 1540.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[0] != 1:
            raise ConfigError(f"plane waves measure states (1, depth, lateral), got {self.shape}.")
        if not self.angles_rad or max(abs(angle) for angle in self.angles_rad) >= math.pi / 2:
            raise ConfigError(f"angles lie within +-pi / 2, at least one, got {self.angles_rad}.")
        if min(self.axial_m, self.lateral_m, *self.pitch_m) <= 0:
            raise ConfigError("widths of the point spread and pixels must be positive.")

    @cached_property
    def point_spreads(self) -> Tensor:
        """Unnormalised point spreads centred on element (0, 0), (angle, depth, lateral), float64."""
        rows, cols = self.shape[1:]
        z = torch.fft.fftfreq(rows, 1 / rows, dtype=torch.float64)[:, None] * self.pitch_m[0]
        x = torch.fft.fftfreq(cols, 1 / cols, dtype=torch.float64)[None] * self.pitch_m[1]
        spreads = []
        for angle in self.angles_rad:
            along = z - x * math.tan(angle)
            pulse = torch.cos(4 * math.pi * self.f0_hz * along / self.sound_speed_m_s)
            envelope = torch.exp(-((along / self.axial_m) ** 2 + (x / self.lateral_m) ** 2) / 2)
            spreads.append(envelope * pulse)
        return torch.stack(spreads)

    @cached_property
    def _response(self) -> Tensor:
        response = torch.fft.fft2(self.point_spreads)
        return response / response.abs().max()

    def A(self, x: Tensor) -> Tensor:
        """Echo images (B, angle, depth, lateral) of reflectivity (B, 1, depth, lateral)."""
        return torch.fft.ifft2(torch.fft.fft2(x) * _as_complex(self._response, x)).real

    def At(self, y: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(y) * _as_complex(self._response.conj(), y)
        return torch.fft.ifft2(spectrum.sum(1, keepdim=True)).real

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        power = (self._response.abs() ** 2).sum(0)
        factors = h(torch.where(power > NOTHING * power.max(), power, 0.0))
        return torch.fft.ifft2(torch.fft.fft2(x) * _as_complex(factors, x)).real


@dataclass(frozen=True, eq=False)
class MultiCoil(Linear):
    """Undersampled k-space of several coils: y_c = mask F (s_c x).

    Attributes:
        mask: boolean, (H, W), k = 0 at element (0, 0).
        maps: complex sensitivities, (coil, H, W).

    States are (B, 2, H, W), measurements (B, coil, 2, H, W).
    """

    mask: Tensor
    maps: Tensor
    spectral = False

    def __post_init__(self) -> None:
        if not self.maps.is_complex() or self.maps.shape[1:] != self.mask.shape:
            raise ConfigError(
                f"maps must be complex, (coil, {', '.join(str(n) for n in self.mask.shape)}), got "
                f"{tuple(self.maps.shape)} of {self.maps.dtype}."
            )

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (2, *self.mask.shape)

    def A(self, x: Tensor) -> Tensor:
        image = torch.complex(x[:, 0], x[:, 1])[:, None]
        k = torch.fft.fft2(image * self.maps.to(image), norm="ortho") * self.mask
        return torch.stack([k.real, k.imag], dim=2)

    def At(self, y: Tensor) -> Tensor:
        k = torch.complex(y[:, :, 0], y[:, :, 1]) * self.mask
        image = (torch.fft.ifft2(k, norm="ortho") * self.maps.conj().to(k)).sum(1)
        return torch.stack([image.real, image.imag], dim=1)

    def seen(self, y: Tensor) -> Tensor:
        return torch.where(self.mask, y, 0.0)


def cartesian_mask(
    shape: tuple[int, int], *, acceleration: float, centre: float = 0.08, gen: Source | None = None
) -> Tensor:
    """Whole lines of k-space at random, and all of those in the centre.

    Args:
        shape: (H, W); lines are columns.
        acceleration: W over the number of lines kept.
        centre: share of the lines around k = 0 that is always kept.
        gen: draws the lines.

    Returns:
        Boolean mask (H, W) with k = 0 at element (0, 0).
    """
    height, width = shape
    kept, low = round(width / acceleration), max(1, round(width * centre))
    if acceleration < 1 or not low <= kept:
        raise ConfigError(
            f"an acceleration of {acceleration} keeps {kept} of {width} lines, the centre alone has {low}.",
            hint="Lower the acceleration or the share of the centre.",
        )
    order = torch.arange(width)
    distance = torch.minimum(order, width - order)
    chance = uniform((1, width), gen, dtype=torch.float64, device="cpu")[0]
    nearest = torch.argsort(distance, stable=True)[:low]
    chance[nearest] = -1.0
    lines = torch.zeros(width, dtype=torch.bool)
    lines[torch.argsort(chance)[:kept]] = True
    return lines.expand(height, width).clone()


def coil_maps(shape: tuple[int, int], coils: int) -> Tensor:
    """Smooth sensitivities of coils on a circle around the image, (coil, H, W), complex64.

    Their squared magnitudes add to 1 everywhere, so fully sampled k-space keeps the norm of the image.
    """
    if coils < 1:
        raise ConfigError(f"at least one coil is needed, got {coils}.")
    rows, cols = (torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape)
    maps = []
    for coil in range(coils):
        angle = 2 * math.pi * coil / coils
        off_r, off_c = rows[:, None] - 1.2 * math.sin(angle), cols[None] - 1.2 * math.cos(angle)
        phase = torch.atan2(off_r, off_c)
        maps.append(torch.polar(1 / (0.3 + off_r**2 + off_c**2), phase))
    stacked = torch.stack(maps)
    return (stacked / stacked.abs().square().sum(0).sqrt()).to(torch.complex64)


def _as_complex(factors: Tensor, like: Tensor) -> Tensor:
    return factors.to(like.device, torch.complex64 if like.dtype == torch.float32 else torch.complex128)
