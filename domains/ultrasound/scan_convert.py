"""Scan conversion: from (sample, line) to the picture a person reads, and back to draw a region of interest.

A layout says where each sample of each line lies in a picture. Both layouts answer two questions with
fractional
indices: which (sample, line) lies under pixel (row, col), and which (row, col) shows (sample, line).

    Arc        r = |p - centre|, angle from straight down towards larger columns; phased and curvilinear
    probes Parallel   rows are depth, columns are lateral position; linear probes

Lengths are in any one unit: metres with `pixel` in metres, or pixels with `pixel` (1, 1). Row 0 is the top,
where the probe is; the first line is the one with the first angle, so descending angles draw a mirrored
picture. Interpolation is bilinear between samples and lines, on the envelope or on dB.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError, GeometryError
from domains.ultrasound.data import Geometry, Record

__all__ = ["Arc", "Layout", "Parallel", "layout_of", "picture", "scan_convert", "sector_mask"]

_EDGE = 1e-6


@dataclass(frozen=True)
class Arc:
    """Lines that fan out from one point.

    `centre`: (row, col) of the arc centre in pixels, may lie above the picture. `r0`, `r1`: range of the
    first and the last sample from there. `angles_rad`: (line,), strictly monotone. `pixel`: (row, col) size
    in the unit of the ranges.
    """

    samples: int
    shape: tuple[int, int]
    centre: tuple[float, float]
    r0: float
    r1: float
    angles_rad: Tensor
    pixel: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_nodes("angles_rad", self.angles_rad)
        _check_range(self.samples, self.r0, self.r1)

    @classmethod
    def symmetric(
        cls,
        samples: int,
        lines: int,
        *,
        shape: tuple[int, int],
        centre: tuple[float, float],
        r0: float,
        r1: float,
        half_angle_rad: float,
        pixel: tuple[float, float] = (1.0, 1.0),
    ) -> "Arc":
        """Arc of `lines` evenly spread over +- half_angle_rad, the first line at the left."""
        angles = torch.linspace(-half_angle_rad, half_angle_rad, lines, dtype=torch.float64)
        return cls(samples, shape, centre, r0, r1, angles, pixel)

    @property
    def lines(self) -> int:
        return len(self.angles_rad)

    def to_polar(self, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional (sample, line) under picture positions; outside the sector they leave [0, n - 1]."""
        z = (row.double() - self.centre[0]) * self.pixel[0]
        x = (col.double() - self.centre[1]) * self.pixel[1]
        sample = (torch.hypot(x, z) - self.r0) / (self.r1 - self.r0) * (self.samples - 1)
        return sample, _index_of(self.angles_rad, torch.atan2(x, z))

    def to_picture(self, sample: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional (row, col) of (sample, line) positions."""
        r = self.r0 + sample.double() * (self.r1 - self.r0) / (self.samples - 1)
        angle = _value_at(self.angles_rad, line)
        row = self.centre[0] + r * torch.cos(angle) / self.pixel[0]
        return row, self.centre[1] + r * torch.sin(angle) / self.pixel[1]


@dataclass(frozen=True)
class Parallel:
    """Lines that run straight down.

    `origin`: (row, col) in pixels of depth 0 and lateral position 0. `r0`, `r1`: depth of the first and the
    last sample. `lateral`: (line,), strictly monotone. `pixel`: (row, col) size in the unit of the lengths.
    """

    samples: int
    shape: tuple[int, int]
    origin: tuple[float, float]
    r0: float
    r1: float
    lateral: Tensor
    pixel: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_nodes("lateral", self.lateral)
        _check_range(self.samples, self.r0, self.r1)

    @property
    def lines(self) -> int:
        return len(self.lateral)

    def to_polar(self, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional (sample, line) under picture positions; outside the lines they leave [0, n - 1]."""
        depth = (row.double() - self.origin[0]) * self.pixel[0]
        sample = (depth - self.r0) / (self.r1 - self.r0) * (self.samples - 1)
        return sample, _index_of(self.lateral, (col.double() - self.origin[1]) * self.pixel[1])

    def to_picture(self, sample: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional (row, col) of (sample, line) positions."""
        depth = self.r0 + sample.double() * (self.r1 - self.r0) / (self.samples - 1)
        return (
            self.origin[0] + depth / self.pixel[0],
            self.origin[1] + _value_at(self.lateral, line) / self.pixel[1],
        )


Layout = Arc | Parallel


def sector_mask(layout: Layout) -> Tensor:
    """Pixels that lie between the first and last sample and the first and last line: bool (row, col)."""
    sample, line = _under_every_pixel(layout)
    return _inside(sample, layout.samples) & _inside(line, layout.lines)


def scan_convert(values: Tensor, layout: Layout, *, fill: float = 0.0) -> Tensor:
    """Draw (sample, line) values as a picture, bilinearly.

    Args:
        values: real (..., sample, line): envelope, dB or grey level.
        fill: value outside the sector; give minus the dynamic range for dB.

    Returns:
        (..., row, col) in the unit and floating type of `values` (float32 for integers).

    Raises:
        DataError: the values are complex, or their size is not the layout's.
    """
    if values.is_complex():
        raise DataError(
            "expected an envelope or dB, got complex IQ.", hint="Take the envelope first: envelope(lines)."
        )
    if tuple(values.shape[-2:]) != (layout.samples, layout.lines):
        raise DataError(
            f"expected (..., sample {layout.samples}, line {layout.lines}), got shape {tuple(values.shape)}.",
            hint="Build the layout for these lines; the axis order is (frame, sample, line).",
        )
    values = values if values.is_floating_point() else values.float()
    sample, line = _under_every_pixel(layout)
    inside = (_inside(sample, layout.samples) & _inside(line, layout.lines)).to(values.device)
    across = 2 * line / (layout.lines - 1) - 1
    down = 2 * sample / (layout.samples - 1) - 1
    grid = torch.stack((across, down), dim=-1)[None].to(values)
    frames = values.reshape(1, -1, layout.samples, layout.lines)
    drawn = torch.nn.functional.grid_sample(frames, grid, padding_mode="border", align_corners=True)
    drawn = drawn.masked_fill(~inside, fill)
    return drawn.reshape(*values.shape[:-2], *layout.shape)


def layout_of(
    geometry: Geometry, samples: int, *, pixel_m: float | None = None, shape: tuple[int, int] | None = None
) -> Layout:
    """Layout in metres from the geometry of an acquisition.

    Args:
        samples: per line.
        pixel_m: side of the square pixels; default a 512th of the depth.
        shape: rows and columns; default just holds the sector. The probe surface starts at the top, its
        middle column
            is the picture's.

    Raises:
        GeometryError: names the fields that are missing.
    """
    geometry.need("probe", "r0_m", "r1_m", purpose="Scan conversion", option="--probe, --r0 and --r1")
    assert geometry.r0_m is not None
    assert geometry.r1_m is not None
    _check_range(samples, geometry.r0_m, geometry.r1_m)
    side = (geometry.r1_m - geometry.r0_m) / 512 if pixel_m is None else pixel_m
    if side <= 0:
        raise GeometryError(
            f"pixel_m must be above 0, got {side}.", hint="Give the pixel size in metres, e.g. 1.5e-4."
        )
    r0, r1, pixel = geometry.r0_m, geometry.r1_m, (side, side)
    if geometry.probe == "linear":
        geometry.need("lateral_m", purpose="Scan conversion of a linear probe", option="--width")
        lateral = torch.as_tensor(geometry.lateral_m, dtype=torch.float64)
        left, right = lateral.min().item(), lateral.max().item()
        shape = shape or (_pixels(r1 - r0, side), _pixels(right - left, side))
        origin = (-r0 / side, (shape[1] - 1) / 2 - (left + right) / 2 / side)
        return Parallel(samples, shape, origin, r0, r1, lateral, pixel)
    geometry.need("angles_rad", purpose=f"Scan conversion of a {geometry.probe} probe", option="--half-angle")
    angles = torch.as_tensor(geometry.angles_rad, dtype=torch.float64)
    corners_x = torch.stack((r0 * torch.sin(angles), r1 * torch.sin(angles)))
    corners_z = torch.stack((r0 * torch.cos(angles), r1 * torch.cos(angles)))
    left, right = corners_x.min().item(), corners_x.max().item()
    top, bottom = corners_z.min().item(), corners_z.max().item()
    shape = shape or (_pixels(bottom - top, side), _pixels(right - left, side))
    centre = (-top / side, (shape[1] - 1) / 2 - (left + right) / 2 / side)
    return Arc(samples, shape, centre, r0, r1, angles, pixel)


def picture(record: Record, *, pixel_m: float | None = None, fill: float | None = None) -> Record:
    """Scan-convert an envelope or a polar image record.

    Args:
        fill: value outside the sector; default the lowest value of each record (black).

    Returns:
        An `image` (frame, row, col) with `pixel_m` set; `meta["origin_px"]` is (row, col) of the arc
        centre, or of depth 0 and lateral 0 for linear probes.
    """
    if record.kind not in ("envelope_data", "image") or record.values.ndim != 3:
        raise DataError(
            f"expected envelope_data or a polar grey image, got {record.kind} {record.values.shape}.",
            hint="Take the envelope of the lines first.",
        )
    if record.geometry.pixel_m is not None:
        raise DataError(
            "the image is Cartesian already (pixel_m is set).", hint="Scan-convert polar data only."
        )
    layout = layout_of(record.geometry, record.values.shape[1], pixel_m=pixel_m)
    values = torch.from_numpy(np.asarray(record.values, dtype=np.float32))
    drawn = scan_convert(values, layout, fill=float(values.min()) if fill is None else fill).numpy()
    if record.values.dtype == np.uint8:
        drawn = np.rint(drawn).astype(np.uint8)
    origin = layout.centre if isinstance(layout, Arc) else layout.origin
    meta: dict[str, Any] = {**record.meta, "origin_px": list(origin)}
    return Record(
        "image", drawn, replace(record.geometry, pixel_m=layout.pixel), record.timestamps_s, meta=meta
    )


def _under_every_pixel(layout: Layout) -> tuple[Tensor, Tensor]:
    rows, cols = (torch.arange(n, dtype=torch.float64) for n in layout.shape)
    return layout.to_polar(*torch.broadcast_tensors(rows[:, None], cols[None, :]))


def _inside(index: Tensor, n: int) -> Tensor:
    return (index >= -_EDGE) & (index <= n - 1 + _EDGE)


def _index_of(nodes: Tensor, value: Tensor) -> Tensor:
    """Fractional index at which monotone `nodes` reach `value`, extrapolated at both ends."""
    sign = 1.0 if nodes[-1] > nodes[0] else -1.0
    rising, value = sign * nodes.double(), sign * value.contiguous()
    k = torch.searchsorted(rising, value).clamp(1, len(nodes) - 1)
    return k - 1 + (value - rising[k - 1]) / (rising[k] - rising[k - 1])


def _value_at(nodes: Tensor, index: Tensor) -> Tensor:
    """Linear interpolation of `nodes` at a fractional index, extrapolated at both ends."""
    index, nodes = index.double(), nodes.double()
    k = index.floor().long().clamp(0, len(nodes) - 2)
    return nodes[k] + (index - k) * (nodes[k + 1] - nodes[k])


def _check_nodes(name: str, nodes: Tensor) -> None:
    steps = nodes.diff()
    if nodes.ndim != 1 or len(nodes) < 2 or not bool((steps > 0).all() or (steps < 0).all()):
        raise GeometryError(
            f"{name} must hold at least 2 strictly rising or falling values, got {tuple(nodes.shape)}.",
            hint="One value per line, in the order of the lines.",
        )


def _check_range(samples: int, r0: float, r1: float) -> None:
    if samples < 2 or not 0 <= r0 < r1:
        raise GeometryError(
            f"expected at least 2 samples and 0 <= r0 < r1, got {samples} samples from {r0} to {r1}.",
            hint="r0 and r1 are the ranges of the first and the last sample.",
        )


def _pixels(length: float, side: float) -> int:
    return int(np.ceil(length / side - _EDGE)) + 1
