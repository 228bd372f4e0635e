"""From RF to IQ to envelope to decibels, and back.

    IQ       z(t) = 2 LPF( s(t) exp(-2 pi i f_d t) )        |z| is the envelope of s
    RF       s(t) = Re( z(t) exp(2 pi i f_d t) )
    B-mode   20 log10( |z| / peak )                          dB, clipped at -dynamic_range_db

Lines and channel data alike are (..., sample, line or element): axis -2 is time, t = t0_s + n / fs_hz.

RF may be undersampled (fs < 2 f0): this is legal band-pass sampling as long as the band f0 (1 +-
bandwidth/2) does not straddle a multiple of fs/2. It is demodulated with the true f0. A Hilbert transform
must not come first, since it keeps the aliased half of the spectrum, which is the negative one in every odd
zone; `analytic` refuses it.

Source: Vaughan, Scott & White 1991, IEEE Trans. Signal Process. 39(9), 1973-1984 (band-pass sampling).
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.ultrasound.data import Record

__all__ = [
    "Demodulated",
    "analytic",
    "demodulate",
    "envelope",
    "gaussian_pulse",
    "log_compress",
    "lowpass",
    "remodulate",
    "sampling_note",
    "to_iq",
    "to_rf",
    "upsample",
]

ORDER = 5
OVERSAMPLING = 1.2


class Demodulated(NamedTuple):
    """IQ lines, their sampling frequency, the decimation that led to it, and a note on undersampled input."""

    iq: Tensor
    fs_hz: float
    factor: int
    note: str | None


def sampling_note(*, fs_hz: float, f0_hz: float, bandwidth: float) -> str | None:
    """Check that real samples at `fs_hz` hold the band f0 (1 +- bandwidth/2); note when undersampled.

    Raises:
        ConfigError: a frequency or the fractional bandwidth is out of range.
        DataError: the band straddles a multiple of fs/2, so that it folds onto itself.
    """
    if not (fs_hz > 0 and f0_hz > 0 and 0 < bandwidth < 2):
        raise ConfigError(
            f"expected fs > 0, f0 > 0 and bandwidth in (0, 2), got {fs_hz}, {f0_hz}, {bandwidth}.",
            hint="Frequencies are in Hz; a bandwidth of 75 % is 0.75.",
        )
    low, high = f0_hz * (1 - bandwidth / 2), f0_hz * (1 + bandwidth / 2)
    zone = math.floor(low / (fs_hz / 2) + 1e-9)
    edge = (zone + 1) * fs_hz / 2
    if high > edge * (1 + 1e-9):
        raise DataError(
            f"the band {low / 1e6:.3f}-{high / 1e6:.3f} MHz straddles {edge / 1e6:.3f} MHz, "
            f"a multiple of half the sampling frequency {fs_hz / 1e6:.3f} MHz, and folds onto itself.",
            hint="Give the true centre frequency and bandwidth, or use data sampled at another rate.",
        )
    if zone == 0:
        return None
    return (
        f"undersampled RF: fs {fs_hz / 1e6:.3f} MHz is below twice the upper band edge {high / 1e6:.3f} MHz; "
        f"band-pass demodulation with f0 {f0_hz / 1e6:.3f} MHz used."
    )


def lowpass(x: Tensor, *, fs_hz: float, cutoff_hz: float) -> Tensor:
    """Low-pass along axis -2 without delay: fifth-order Butterworth, run forward and backward (-6 dB at the
    cut-off).

    Computed in float64 on the CPU by SciPy; no gradient passes. Same shape, type and device as `x`.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < cutoff_hz < fs_hz / 2:
        raise ConfigError(f"the cut-off must lie in (0, {fs_hz / 2:g}) Hz, got {cutoff_hz:g}.")
    sos = butter(ORDER, cutoff_hz, fs=fs_hz, output="sos")
    shortest = 3 * (2 * len(sos) + 1)
    if x.shape[-2] <= shortest:
        raise DataError(
            f"expected more than {shortest} samples along axis -2 to filter, got shape {tuple(x.shape)}.",
            hint="The axis order is (..., sample, line).",
        )
    wide = np.asarray(x.detach().cpu().numpy(), dtype=np.complex128 if x.is_complex() else np.float64)
    smooth = sosfiltfilt(sos, wide, axis=-2).copy()
    return torch.from_numpy(smooth).to(device=x.device, dtype=x.dtype)


def demodulate(
    rf: Tensor,
    *,
    fs_hz: float,
    f0_hz: float,
    bandwidth: float,
    t0_s: float = 0.0,
    cutoff_hz: float | None = None,
    factor: int | None = None,
) -> Demodulated:
    """Demodulate RF to IQ at f_d = f0 and decimate it.

    Args:
        rf: real lines (..., sample, line), any unit.
        bandwidth: fractional, two-sided: 0.75 means f0 +- 37.5 %.
        t0_s: time of the first sample; the carrier phase is zero at t = 0.
        cutoff_hz: of the low-pass; default half the two-sided bandwidth, f0 bandwidth / 2.
        factor: keep every factor-th sample; default the largest that keeps fs >= 1.2 two-sided bandwidths.

    Returns:
        Complex IQ (..., ceil(sample / factor), line) in the unit of `rf`, complex64 (complex128 for float64
        input).

    Raises:
        DataError: the input is complex, or its band straddles a multiple of fs/2.
    """
    if rf.is_complex():
        raise DataError(
            "expected real RF lines, got complex IQ.", hint="These lines are demodulated already."
        )
    note = sampling_note(fs_hz=fs_hz, f0_hz=f0_hz, bandwidth=bandwidth)
    band_hz = f0_hz * bandwidth
    if factor is None:
        factor = max(1, math.floor(fs_hz / (OVERSAMPLING * band_hz)))
    if factor < 1:
        raise ConfigError(f"the decimation factor must be at least 1, got {factor}.")
    carrier = _carrier(rf.shape[-2], fs_hz=fs_hz, fd_hz=f0_hz, t0_s=t0_s, device=rf.device)
    mixed = 2 * rf.double() * carrier.conj()
    iq = lowpass(mixed, fs_hz=fs_hz, cutoff_hz=band_hz / 2 if cutoff_hz is None else cutoff_hz)[
        ..., ::factor, :
    ]
    kept = torch.complex128 if rf.dtype == torch.float64 else torch.complex64
    return Demodulated(iq.to(kept), fs_hz / factor, factor, note)


def upsample(lines: Tensor, factor: int) -> Tensor:
    """Interpolate RF or IQ lines: (..., sample, line) to (..., factor * sample, line).

    Zero-pads the spectrum of each line followed by its mirror image. Samples are kept and gradients pass.
    Undersampled RF must be demodulated first.
    """
    if factor < 1:
        raise ConfigError(f"the interpolation factor must be at least 1, got {factor}.")
    if factor == 1:
        return lines
    n = lines.shape[-2]
    spectrum = torch.fft.fft(torch.cat((lines, lines.flip(-2)), dim=-2), dim=-2)
    # The mirror image makes the Nyquist bin zero, so it needs no splitting between the two halves.
    gap = spectrum.new_zeros(*spectrum.shape[:-2], 2 * n * (factor - 1), spectrum.shape[-1])
    padded = torch.cat((spectrum[..., :n, :], gap, spectrum[..., n:, :]), dim=-2)
    fine = factor * torch.fft.ifft(padded, dim=-2)[..., : factor * n, :]
    return fine if lines.is_complex() else fine.real


def remodulate(iq: Tensor, *, fs_hz: float, fd_hz: float, factor: int = 1, t0_s: float = 0.0) -> Tensor:
    """Turn IQ back into RF at `factor` times its fs: the inverse of `demodulate` inside its band.

    Args:
        iq: complex lines (..., sample, line) at `fs_hz`, demodulated at `fd_hz`.

    Returns:
        Real lines (..., factor * sample, line) at factor * fs_hz. Gradients pass.
    """
    if not iq.is_complex():
        raise DataError(f"expected complex IQ lines, got {iq.dtype}.", hint="RF lines need no remodulation.")
    fine = upsample(iq, factor)
    carrier = _carrier(fine.shape[-2], fs_hz=factor * fs_hz, fd_hz=fd_hz, t0_s=t0_s, device=iq.device)
    return (fine * carrier.to(iq.dtype)).real


def analytic(rf: Tensor, *, fs_hz: float, f0_hz: float, bandwidth: float) -> Tensor:
    """Analytic signal by the Hilbert transform, complex (..., sample, line).

    Raises:
        DataError: fs <= 2 f0 (1 + bandwidth/2): positive and negative frequencies are folded together.
    """
    if sampling_note(fs_hz=fs_hz, f0_hz=f0_hz, bandwidth=bandwidth) is not None:
        raise DataError(
            f"the Hilbert transform needs fs > {2 * f0_hz * (1 + bandwidth / 2) / 1e6:.3f} MHz, "
            f"got {fs_hz / 1e6:.3f} MHz.",
            hint="Use demodulate: it handles undersampled band-pass RF.",
        )
    n = rf.shape[-2]
    keep = torch.zeros(n, 1, dtype=rf.dtype, device=rf.device)
    keep[0] = 1
    keep[1 : (n + 1) // 2] = 2
    if n % 2 == 0:
        keep[n // 2] = 1
    return torch.fft.ifft(torch.fft.fft(rf, dim=-2) * keep, dim=-2)


def envelope(
    lines: Tensor,
    *,
    fs_hz: float | None = None,
    f0_hz: float | None = None,
    bandwidth: float | None = None,
) -> Tensor:
    """Envelope of lines: |IQ|, or the magnitude of demodulated RF at its full sampling frequency.

    Args:
        lines: IQ (complex) or RF (real), (..., sample, line). RF needs `fs_hz`, `f0_hz` and `bandwidth`.

    Returns:
        Same shape, >= 0, the unit of `lines`.
    """
    if lines.is_complex():
        return lines.abs()
    if fs_hz is None or f0_hz is None or bandwidth is None:
        absent = [n for n, v in (("fs_hz", fs_hz), ("f0_hz", f0_hz), ("bandwidth", bandwidth)) if v is None]
        raise ConfigError(
            f"the envelope of RF lines needs {', '.join(absent)}.", hint="Give them, or pass IQ lines."
        )
    return demodulate(lines, fs_hz=fs_hz, f0_hz=f0_hz, bandwidth=bandwidth, factor=1).iq.abs()


def log_compress(
    envelope: Tensor, *, dynamic_range_db: float = 60.0, peak: Tensor | float | None = None
) -> Tensor:
    """Compress an envelope to B-mode levels.

    Args:
        envelope: magnitude after beamforming, (..., sample, line), linear, >= 0.
        dynamic_range_db: levels below minus this value are clipped.
        peak: the level of 0 dB, a number or (..., 1, 1); default each frame's own maximum. Give the
        reference's
            maximum when two pictures are to be compared.

    Returns:
        Levels, same shape, dB in [-dynamic_range_db, 0].

    Raises:
        DataError: the envelope has negative or non-finite values, or its peak is not positive.
    """
    if dynamic_range_db <= 0:
        raise ConfigError(f"dynamic_range_db must be above 0, got {dynamic_range_db}.")
    if envelope.is_complex() or not bool((envelope >= 0).all() and torch.isfinite(envelope).all()):
        raise DataError(
            "expected a real, finite envelope >= 0, got complex, negative or non-finite values.",
            hint="Take the envelope first: envelope(lines).",
        )
    top = envelope.amax(dim=(-2, -1), keepdim=True) if peak is None else torch.as_tensor(peak).to(envelope)
    if not bool((top > 0).all()):
        raise DataError("the peak of a frame is 0, expected an echo.", hint="Drop frames that are all zero.")
    floor = 10 ** (-dynamic_range_db / 20)
    return 20 * torch.log10((envelope / top).clamp(min=floor, max=1.0))


def gaussian_pulse(
    *, fs_hz: float, f0_hz: float, bandwidth: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Two-way pulse: a cosine at f0 under a Gaussian whose spectrum falls by 6 dB at f0 (1 +- bandwidth/2).

    Returns:
        (sample,), odd length, peak 1 at the middle, cut where the Gaussian is below 1e-4.
    """
    spread_hz = f0_hz * bandwidth / 2 / math.sqrt(2 * math.log(10 ** (6 / 20)))
    spread_s = 1 / (2 * math.pi * spread_hz)
    half = math.ceil(math.sqrt(2 * math.log(1e4)) * spread_s * fs_hz)
    t = torch.arange(-half, half + 1, dtype=torch.float64) / fs_hz
    return (torch.exp(-0.5 * (t / spread_s) ** 2) * torch.cos(2 * math.pi * f0_hz * t)).to(dtype)


def to_iq(record: Record) -> Record:
    """Demodulate and decimate an RF record; an IQ record comes back as is. Notes land in `meta["notes"]`."""
    if record.domain == "iq":
        return record
    if record.domain is None:
        raise DataError(
            f"{record.kind} has no phase, expected RF lines.", hint="Use the B-mode route: dehaze-video."
        )
    g = record.geometry
    g.need("fs_hz", "f0_hz", "bandwidth", purpose="demodulation")
    assert g.fs_hz is not None
    assert g.f0_hz is not None
    assert g.bandwidth is not None
    rf = torch.from_numpy(np.asarray(record.values, dtype=np.float32))
    out = demodulate(rf, fs_hz=g.fs_hz, f0_hz=g.f0_hz, bandwidth=g.bandwidth, t0_s=g.t0_s or 0.0)
    last = (out.iq.shape[-2] - 1) * out.factor / (rf.shape[-2] - 1)
    r1_m = None if g.r0_m is None or g.r1_m is None else g.r0_m + (g.r1_m - g.r0_m) * last
    notes = [*record.meta.get("notes", []), *([out.note] if out.note else [])]
    return record.with_values(
        out.iq.numpy(),
        geometry=replace(g, fs_hz=out.fs_hz, fd_hz=g.f0_hz, r1_m=r1_m if r1_m is not None else g.r1_m),
        meta={**record.meta, "notes": notes} if notes else record.meta,
    )


def to_rf(record: Record, *, factor: int | None = None) -> Record:
    """Remodulate an IQ record to RF at `factor` times its fs (default: the least that gives fs >= 4 f_d)."""
    if record.domain != "iq":
        raise DataError(
            f"expected IQ lines, got {record.domain or record.kind}.", hint="Only IQ can be remodulated."
        )
    g = record.geometry
    g.need("fs_hz", "fd_hz", purpose="remodulation")
    assert g.fs_hz is not None
    assert g.fd_hz is not None
    factor = max(1, math.ceil(4 * g.fd_hz / g.fs_hz)) if factor is None else factor
    iq = torch.from_numpy(record.values)
    rf = remodulate(iq, fs_hz=g.fs_hz, fd_hz=g.fd_hz, factor=factor, t0_s=g.t0_s or 0.0)
    r1_m = g.r1_m
    if g.r0_m is not None and r1_m is not None:
        r1_m = g.r0_m + (r1_m - g.r0_m) * (rf.shape[-2] - 1) / factor / max(1, iq.shape[-2] - 1)
    return record.with_values(rf.numpy(), geometry=replace(g, fs_hz=factor * g.fs_hz, fd_hz=0.0, r1_m=r1_m))


def _carrier(n: int, *, fs_hz: float, fd_hz: float, t0_s: float, device: torch.device) -> Tensor:
    """exp(2 pi i f_d t) at t = t0 + k / fs, complex128 (n, 1): float32 would lose the phase of long lines."""
    t = t0_s + torch.arange(n, dtype=torch.float64) / fs_hz
    turn = 2 * math.pi * torch.remainder(fd_hz * t, 1.0)
    return torch.polar(torch.ones_like(turn), turn)[:, None].to(device)
