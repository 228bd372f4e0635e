"""Delay-and-sum: from echoes per element to lines or pixels, and from pixels over time to velocity.

A pixel p sees transmit k after `arrival(k, p)` and element e hears it |p - e| / c later, so

    b(k, p) = sum_e w(p, e) d(k, arrival(k, p) + |p - e| / c, e)          w: f-number window, at most 1

IQ data are first turned back by the carrier phase exp(2 pi i f_d tau) at that delay tau. Samples are
interpolated linearly, which is accurate for IQ (sampled at >= 1.2 bandwidths, better 4) and poor for RF
below 10 samples a period.

x is lateral, z is depth, both in m; elements lie at (x, y, z) with y = 0 in the imaging plane. Angles are
measured from +z towards +x. Times are counted from the instant at which t = 0 in the data (`t0_s` of the
first sample).

Source: Perrot et al. 2021, Ultrasonics 111, 106309 (delay-and-sum, f-number, first-arrival rule for element
delays); Kasai et al. 1985, IEEE Trans. Sonics Ultrason. 32(3), 458-464 (lag-one autocorrelation).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, DataError, unknown
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.signal import upsample

__all__ = [
    "beamform",
    "compound",
    "delay_and_sum",
    "diverging_arrival",
    "doppler_shift",
    "element_arrival",
    "grid_points",
    "line_points",
    "plane_arrival",
    "velocity",
]

Window = Literal["boxcar", "hann"]

# Delay table entries (pixels x elements) held at once: about 100 MB of index, weight and phase.
_ENTRIES = 2_000_000


def grid_points(x_m: Tensor, z_m: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel positions of a Cartesian picture: x and z, both (row, col) with depth along the rows."""
    z, x = torch.meshgrid(z_m, x_m, indexing="ij")
    return x, z


def line_points(geometry: Geometry, samples: int) -> tuple[Tensor, Tensor]:
    """Positions of `samples` samples along each scan line: x and z, both (sample, line), m.

    Phased and curvilinear probes fan out from the arc centre, which lies `apex_m` above z = 0; linear lines
    are parallel to z.
    """
    geometry.need("probe", "r0_m", "r1_m", purpose="Beamforming along scan lines")
    assert geometry.r0_m is not None
    assert geometry.r1_m is not None
    r = torch.linspace(geometry.r0_m, geometry.r1_m, samples, dtype=torch.float64)[:, None]
    if geometry.probe == "linear":
        geometry.need("lateral_m", purpose="Beamforming along parallel lines")
        x = torch.as_tensor(geometry.lateral_m, dtype=torch.float64)[None, :]
        return torch.broadcast_tensors(x, r)
    geometry.need("angles_rad", purpose="Beamforming along fanned lines")
    angle = torch.as_tensor(geometry.angles_rad, dtype=torch.float64)[None, :]
    return r * torch.sin(angle), r * torch.cos(angle) - (geometry.apex_m or 0.0)


def plane_arrival(x_m: Tensor, z_m: Tensor, angles_rad: Sequence[float], *, sound_speed_m_s: float) -> Tensor:
    """Arrival times (tx, *pixel), s, of plane waves passing the origin at t = 0: (x sin a + z cos a) / c."""
    return torch.stack([x_m * math.sin(a) + z_m * math.cos(a) for a in angles_rad]) / sound_speed_m_s


def diverging_arrival(x_m: Tensor, z_m: Tensor, sources_m: Tensor, *, sound_speed_m_s: float) -> Tensor:
    """Arrival times (tx, *pixel), s, of waves from sources behind the probe; they pass the origin at t = 0.

    `sources_m` (tx, 2): x and z < 0, m.
    """
    rows = [torch.hypot(x_m - x, z_m - z) - math.hypot(x, z) for x, z in sources_m.tolist()]
    return torch.stack(rows) / sound_speed_m_s


def element_arrival(
    x_m: Tensor, z_m: Tensor, elements_m: Tensor, delays_s: Tensor, *, sound_speed_m_s: float
) -> Tensor:
    """Arrival times (tx, *pixel), s, of the first wavefront when element e fires at `delays_s` (tx, element).

    min over e of (delay + distance / c): exact for plane and diverging waves, and for focused ones up to
    the focus. NaN delays mark silent elements.
    """
    rows = [torch.full((delays_s.shape[0], *x_m.shape), math.inf, dtype=x_m.dtype, device=x_m.device)]
    for e, delay in zip(elements_m, delays_s.T, strict=True):
        distance = torch.sqrt((x_m - e[0]) ** 2 + e[1] ** 2 + (z_m - e[2]) ** 2)
        late = torch.where(delay.isnan(), math.inf, delay).to(x_m)
        rows[0] = torch.minimum(rows[0], late.reshape(-1, *[1] * x_m.ndim) + distance / sound_speed_m_s)
    return rows[0]


def delay_and_sum(
    channel: Tensor,
    x_m: Tensor,
    z_m: Tensor,
    arrival_s: Tensor,
    *,
    elements_m: Tensor,
    fs_hz: float,
    sound_speed_m_s: float,
    t0_s: float = 0.0,
    fd_hz: float = 0.0,
    f_number: float = 1.5,
    window: Window = "boxcar",
) -> Tensor:
    """Beamform every transmit of every frame onto pixels.

    Args:
        channel: echoes (..., tx, sample, element); complex IQ demodulated at `fd_hz`, or real RF with
        `fd_hz` 0. x_m, z_m: pixel positions, same shape (*pixel).
        arrival_s: transmit arrival (tx, *pixel), from one of the `*_arrival` functions.
        elements_m: (element, 3).
        t0_s: time of the first sample.
        f_number: depth over active aperture; 0 uses every element.

    Returns:
        (..., tx, *pixel), the unit of `channel`: a windowed sum over the active elements; 0 where none is
        active or no sample was recorded. The aperture, and with it the gain, grows with depth. From IQ data
        it is the analytic signal, whose phase turns with depth at f_d.
    """
    *frames, tx, samples, elements = channel.shape
    if elements != elements_m.shape[0] or tx != arrival_s.shape[0]:
        raise DataError(
            f"expected channel data (..., tx {arrival_s.shape[0]}, sample, element {elements_m.shape[0]}), "
            f"got shape {tuple(channel.shape)}.",
            hint="Transpose the array, or check the probe's number of elements.",
        )
    if fd_hz != 0.0 and not channel.is_complex():
        raise DataError(
            "fd_hz is set but the channel data are real.", hint="Demodulate first, or set fd_hz to 0."
        )
    if f_number < 0:
        raise ConfigError(f"f_number must be at least 0, got {f_number}.")
    x, z, arrival = x_m.reshape(-1).double(), z_m.reshape(-1).double(), arrival_s.reshape(tx, -1).double()
    flat = channel.reshape(-1, tx, samples * elements)
    where = elements_m.double().to(x.device)
    chunks = []
    for p in torch.arange(x.numel(), device=x.device).split(max(1, _ENTRIES // elements)):
        dx, dz = x[p, None] - where[:, 0], z[p, None] - where[:, 2]
        weight = _aperture(dx, dz, f_number, window)
        used = weight.any(0).nonzero().squeeze(1)
        dx, dz, weight = dx[:, used], dz[:, used], weight[:, used]
        back_s = torch.sqrt(dx**2 + where[used, 1] ** 2 + dz**2) / sound_speed_m_s
        rows = []
        for k in range(tx):
            tau = arrival[k, p, None] + back_s
            position = (tau - t0_s) * fs_hz
            first = position.floor().clamp(0, samples - 2)
            inside = (position >= 0) & (position <= samples - 1)
            w = (weight * inside).to(channel.real.dtype)
            if fd_hz != 0.0:
                turn = (2 * math.pi * torch.remainder(fd_hz * tau, 1.0)).to(w.dtype)
                w = torch.polar(w, turn)
            rest = (position - first).to(channel.dtype)
            index = (first.long() * elements + used).reshape(-1)
            low = flat[:, k].index_select(1, index).reshape(-1, *w.shape)
            high = flat[:, k].index_select(1, index + elements).reshape(-1, *w.shape)
            rows.append((torch.lerp(low, high, rest) * w).sum(-1))
        chunks.append(torch.stack(rows, dim=1))
    return torch.cat(chunks, dim=-1).reshape(*frames, tx, *x_m.shape)


def compound(lines: Tensor) -> Tensor:
    """Coherent mean over transmits: (..., tx, row, col) to (..., row, col)."""
    return lines.mean(-3)


def doppler_shift(iq: Tensor, *, prf_hz: float, window: tuple[int, int] = (1, 1)) -> Tensor:
    """Mean Doppler shift of beamformed IQ over slow time, from the phase of the lag-one autocorrelation.

    Args:
        iq: complex (..., frame, row, col), at least two frames, `prf_hz` apart.
        window: odd box (rows, cols) over which the autocorrelation is averaged before its phase is taken.

    Returns:
        (..., row, col), Hz in (-prf/2, prf/2]; positive where echoes move towards the probe.
    """
    if not iq.is_complex() or iq.ndim < 3 or iq.shape[-3] < 2:
        raise DataError(
            f"expected complex IQ (..., frame >= 2, row, col), got {iq.dtype} {tuple(iq.shape)}.",
            hint="Doppler needs the phase of at least two frames.",
        )
    if any(size < 1 or size % 2 == 0 for size in window):
        raise ConfigError(f"the averaging window must have odd sides, got {window}.")
    lag = (iq[..., 1:, :, :] * iq[..., :-1, :, :].conj()).sum(-3)
    if window != (1, 1):
        parts = torch.view_as_real(lag).movedim(-1, -3)
        flat = parts.reshape(-1, 1, *parts.shape[-2:])
        pad = (window[0] // 2, window[1] // 2)
        flat = torch.nn.functional.avg_pool2d(flat, window, stride=1, padding=pad)
        parts = flat.reshape(parts.shape)
        lag = torch.complex(parts[..., 0, :, :], parts[..., 1, :, :])
    return lag.angle() * prf_hz / (2 * math.pi)


def velocity(
    iq: Tensor, *, prf_hz: float, f0_hz: float, sound_speed_m_s: float, window: tuple[int, int] = (1, 1)
) -> Tensor:
    """Axial velocity c f_D / (2 f0), m/s, positive towards the probe; aliases beyond c prf / (4 f0).

    Arguments and shape as for `doppler_shift`.
    """
    return doppler_shift(iq, prf_hz=prf_hz, window=window) * sound_speed_m_s / (2 * f0_hz)


def beamform(
    record: Record, lines: Geometry, *, samples: int, f_number: float = 1.5, window: Window = "boxcar"
) -> Record:
    """Beamform a raw-data record along scan lines and compound its transmits.

    Channel data are first interpolated to 4 samples a bandwidth (IQ) or 10 a period (RF), where f0 and
    bandwidth are known.

    Args:
        record: `raw_data`, RF (with `fd_hz` None or 0) or IQ. Transmits are plane waves where
        `tx_angles_rad` is
            known, else first arrivals from `tx_delays_s`.
        lines: what to image: `probe`, `r0_m`, `r1_m` and `lateral_m` (parallel lines, or the columns of a
            Cartesian picture) or `angles_rad` and `apex_m` (fanned lines). Other fields are ignored.
        samples: per line.

    Returns:
        `beamformed_data` (frame, sample, line) with t = 2 depth / c along each line, so `fs_hz` is
        c / (2 sample spacing). IQ data give IQ lines, demodulated at the same `fd_hz`.
    """
    if record.kind != "raw_data":
        raise DataError(
            f"expected raw_data, got {record.kind}.", hint="Only echoes per element can be beamformed."
        )
    g = record.geometry
    g.need("elements_m", "fs_hz", "sound_speed_m_s", "t0_s", purpose="Beamforming")
    assert g.elements_m is not None
    assert g.fs_hz is not None
    assert g.sound_speed_m_s is not None
    assert g.t0_s is not None
    speed = g.sound_speed_m_s
    x, z = line_points(lines, samples)
    elements = torch.as_tensor(g.elements_m, dtype=torch.float64)
    if g.tx_angles_rad is not None:
        arrival = plane_arrival(x, z, g.tx_angles_rad.tolist(), sound_speed_m_s=speed)
    else:
        g.need("tx_delays_s", purpose="Beamforming without plane-wave angles")
        delays = torch.as_tensor(g.tx_delays_s, dtype=torch.float64)
        arrival = element_arrival(x, z, elements, delays, sound_speed_m_s=speed)
    iq = record.domain == "iq"
    fd_hz = (g.fd_hz or 0.0) if iq else 0.0
    channel = torch.from_numpy(np.asarray(record.values, dtype=np.complex64 if iq else np.float32))
    factor = _interpolation(g, iq=iq)
    channel = upsample(channel, factor)
    out = compound(
        delay_and_sum(
            channel,
            x,
            z,
            arrival,
            elements_m=elements,
            fs_hz=factor * g.fs_hz,
            sound_speed_m_s=speed,
            t0_s=g.t0_s,
            fd_hz=fd_hz,
            f_number=f_number,
            window=window,
        )
    )
    assert lines.r0_m is not None
    assert lines.r1_m is not None
    start_m = lines.r0_m - (lines.apex_m or 0.0)
    time_s = 2 / speed * (start_m + torch.linspace(0, lines.r1_m - lines.r0_m, samples, dtype=torch.float64))
    if iq:
        turn = 2 * math.pi * torch.remainder(fd_hz * time_s, 1.0)
        out = out * torch.polar(torch.ones_like(turn), -turn)[:, None].to(out.dtype)
    kept = replace(
        g,
        probe=lines.probe,
        r0_m=lines.r0_m,
        r1_m=lines.r1_m,
        apex_m=lines.apex_m,
        angles_rad=lines.angles_rad,
        lateral_m=lines.lateral_m,
        fs_hz=speed / 2 * (samples - 1) / (lines.r1_m - lines.r0_m),
        t0_s=float(time_s[0]),
    )
    return Record("beamformed_data", out.numpy(), kept, record.timestamps_s, meta=record.meta)


def _interpolation(geometry: Geometry, *, iq: bool) -> int:
    """Factor that brings IQ to 4 samples a bandwidth, or RF to 10 a period: linear in between errs by 5 %."""
    g = geometry
    if g.fs_hz is None or g.f0_hz is None or (iq and g.bandwidth is None):
        return 1
    if iq:
        assert g.bandwidth is not None
        return max(1, math.ceil(4 * g.bandwidth * g.f0_hz / g.fs_hz))
    if g.fs_hz <= 2 * g.f0_hz:
        raise DataError(
            f"undersampled RF, fs {g.fs_hz / 1e6:.3f} and f0 {g.f0_hz / 1e6:.3f} MHz, cannot be delayed.",
            hint="Demodulate it first: to_iq(record).",
        )
    return max(1, math.ceil(10 * g.f0_hz / g.fs_hz))


def _aperture(dx: Tensor, dz: Tensor, f_number: float, window: Window) -> Tensor:
    """Receive weights (pixel, element), at most 1, of elements within depth / (2 f_number) of the pixel."""
    u = 2 * f_number * dx.abs() / dz.abs().clamp(min=1e-12)
    match window:
        case "boxcar":
            return (u <= 1).to(dx.dtype)
        case "hann":
            return torch.where(u <= 1, 0.5 + 0.5 * torch.cos(math.pi * u), 0.0)
    raise unknown("receive window", window, ("boxcar", "hann"))
