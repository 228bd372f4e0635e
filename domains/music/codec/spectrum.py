"""Magnitudes, phase slopes and waves: the analysis and synthesis around the spectral codec.

The short-time spectrum has a periodic Hann window of N = 1024 samples every H = 256, centred so that a wave
of 256 T samples has exactly T frames (384 reflected samples on either side). Magnitudes are in units of a
full-scale sine. Phases are taken about the middle of the window, where the lobe of a steady tone has one
phase.

No phase is stored. What is predicted are its two slopes, which unlike the phase itself do not depend on when
the song began:

    advance  d_k(n) = princarg(phi_k(n) - phi_k(n-1) - 2 pi H k / N)     how far a tone lies from its bin
    tilt     g_k(n) = princarg(phi_k(n) - phi_{k-1}(n))                  where in the window the sound is

`integrate` turns them back into phases. Every bin belongs to a peak p of its frame's magnitude; the peak's
phase runs on in time and the others follow from it along frequency,

    phi_k(n) = phi_p(n-1) + 2 pi H p / N + d_p(n) + sum_{j=p+1..k} g_j(n),

so that a lobe stays together however long the tone lasts. With exact slopes it gives back the wave to 0.3 dB
of log spectrum; the tests hold that.

Sources: the slopes as targets, Ai & Ling 2023 (APNet), arXiv:2305.07952, section 3.3; phases that follow the
peaks, Beauregard, Harish & Wyse 2015 (single pass spectrogram inversion), doi:10.1109/ICDSP.2015.7251907, of
which this is the case with a tilt.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import DataError

__all__ = [
    "BINS",
    "FLOOR",
    "STEP",
    "WINDOW",
    "advance",
    "frames",
    "integrate",
    "levels",
    "magnitudes",
    "owners",
    "refined",
    "synthesis",
    "tilt",
    "wrapped",
]

WINDOW = 1024  # samples, N
STEP = 256  # samples, H
BINS = WINDOW // 2 + 1
FLOOR = 1e-4  # of a full-scale sine, -80 dB: what lies below it is silence
EDGE = (WINDOW - STEP) // 2
MOMENTUM = 0.99  # of the fast Griffin-Lim iteration
WRAP = 512  # steps after which a running phase is brought back, for its precision


def frames(wave: Tensor) -> Tensor:
    """Short-time spectrum (*, T, 513), complex, of waves (*, 256 T), in units of a full-scale sine.

    Raises:
        DataError: the waves are no multiple of 256 samples, or shorter than 512.
    """
    n = wave.shape[-1]
    if n % STEP or n < 2 * STEP:
        raise DataError(f"a spectrum needs a multiple of {STEP} samples, at least {2 * STEP}, got {n}.")
    spectrum = _cut(wave.reshape(-1, n)) * _turned(wave)
    return spectrum.reshape(*wave.shape[:-1], *spectrum.shape[1:])


def synthesis(spectrum: Tensor) -> Tensor:
    """Wave (*, 256 T) of a spectrum (*, T, 513): the least-squares inverse of `frames`.

    Source: Griffin & Lim 1984, doi:10.1109/TASSP.1984.1164317, eq. 6.
    """
    flat = spectrum.reshape(-1, *spectrum.shape[-2:]) * _turned(spectrum.real)
    return _glued(flat).reshape(*spectrum.shape[:-2], -1)


def refined(magnitude: Tensor, phase: Tensor, rounds: int) -> Tensor:
    """Unit phasors e^(i phase), (*, T, 513), after some rounds of the fast Griffin-Lim iteration, which makes
    the phases of overlapping frames agree. No gradient passes.

    Source: Perraudin, Balazs & Sondergaard 2013, doi:10.1109/WASPAA.2013.6701851, algorithm 1, alpha = 0.99.
    """
    with torch.no_grad():
        mag = magnitude.reshape(-1, *phase.shape[-2:])
        angle, turned = phase.reshape(mag.shape), _turned(phase).expand(mag.shape)
        size = mag * turned if rounds else torch.ones_like(turned)
        spectrum = torch.complex(angle.cos().mul_(size), angle.sin().mul_(size))
        last: Tensor | None = None
        for n in range(rounds):
            found = torch.view_as_real(_cut(_glued(spectrum)))
            mixed = found.clone() if last is None else last.lerp_(found, 1 + MOMENTUM)
            one = _inverse_size(mixed).mul_(turned if n == rounds - 1 else mag)
            spectrum, last = torch.view_as_complex(mixed.mul_(one[..., None])), found
        return spectrum.reshape(phase.shape)


def _inverse_size(pair: Tensor) -> Tensor:
    """1 / |S| of real and imaginary parts (*, 2); where S is zero, a number that leaves it zero."""
    real, imaginary = pair.unbind(-1)
    return real.square().addcmul_(imaginary, imaginary).clamp_(min=1e-30).rsqrt_()


def _cut(wave: Tensor) -> Tensor:
    """Spectrum (n, T, 513) of waves (n, 256 T), its phases about the beginning of the window."""
    padded = F.pad(wave[:, None], (EDGE, EDGE), mode="reflect")[:, 0]
    return torch.fft.rfft(padded.unfold(-1, WINDOW, STEP) * (_window(wave) * (4 / WINDOW)))


def _glued(spectrum: Tensor) -> Tensor:
    """Wave (n, 256 T) of a spectrum (n, T, 513) whose phases are about the beginning of the window."""
    count = spectrum.shape[1]
    window = _window(spectrum.real)
    cut = torch.fft.irfft(spectrum, n=WINDOW) * (window * (WINDOW / 4))
    inside = slice(EDGE, EDGE + count * STEP)
    return _added(cut)[:, inside] / _added((window**2).expand(1, count, WINDOW))[:, inside]


def _turned(like: Tensor) -> Tensor:
    """(-1)^k, (513,): turns phases about the beginning of the window into those about its middle, or back."""
    return 1 - 2 * (torch.arange(BINS, device=like.device) % 2).to(like.dtype)


def levels(spectrum: Tensor) -> Tensor:
    """Log magnitude ln(|S| + FLOOR), at least -9.21."""
    return torch.log(spectrum.abs() + FLOOR)


def magnitudes(level: Tensor) -> Tensor:
    """Magnitudes of log magnitudes; what lies at the floor is zero."""
    return (level.exp() - FLOOR).clamp(min=0)


def wrapped(angle: Tensor) -> Tensor:
    """Angle brought into [-pi, pi)."""
    turns = (angle / (2 * math.pi) + 0.5).floor()
    return angle.sub(turns, alpha=2 * math.pi)


def advance(phase: Tensor) -> Tensor:
    """How far each bin runs on beyond its centre frequency, (*, T, 513), rad; 0 in the first frame."""
    step = wrapped(phase.diff(dim=-2) - _centre(phase))
    return F.pad(step, (0, 0, 1, 0))


def tilt(phase: Tensor) -> Tensor:
    """How far the phase turns from the bin below, (*, T, 513); 0 in the lowest bin."""
    return F.pad(wrapped(phase.diff(dim=-1)), (1, 0))


def owners(level: Tensor) -> Tensor:
    """The peak that each bin belongs to, (*, T, bins), int64: the nearest bin that is above its two
    neighbours on either side, the lower one of two equally near. The last largest bin of a frame always is
    one.
    """
    bins = level.shape[-1]
    near = level[..., :-1] > level[..., 1:]
    far = level[..., :-2] > level[..., 2:]
    falls = F.pad(near, (0, 1), value=True) & F.pad(far, (0, 2), value=True)
    peak = falls & ~(F.pad(near, (1, 0)) | F.pad(far, (2, 0)))
    where = peak.flatten().nonzero()[:, 0]
    ends = (where // bins + 1) * bins  # of the frame that a peak lies in
    last = torch.minimum((where[:-1] + where[1:]) // 2 + 1, ends[:-1])
    same = ends[:-1] == ends[1:]
    until = torch.cat([torch.where(same, last, ends[:-1]), ends[-1:]])
    size = until.diff(prepend=until.new_zeros(1))
    return (where % bins).repeat_interleave(size, output_size=level.numel()).reshape(level.shape)


def integrate(level: Tensor, advances: Tensor, tilts: Tensor) -> Tensor:
    """Phases of a spectrum from its slopes; see the module docstring. No gradient passes.

    Args:
        level: log magnitudes, (*, T, 513); only their peaks matter.
        advances, tilts: rad, like `level`.

    Returns:
        Phases, rad, not wrapped; the tones of the first frame begin at 0.
    """
    with torch.no_grad():
        own = owners(level)
        run = advances + _centre(advances)
        climb = tilts.cumsum(-1)
        within = climb - climb.gather(-1, own)
        phase = wrapped(run.gather(-1, own) + within)
        phase[..., 0, :] = within[..., 0, :]
        rows = phase.unbind(-2)
        for n, at in enumerate(own.unbind(-2)[1:], 1):
            rows[n].add_(rows[n - 1].gather(-1, at))
            if n % WRAP == 0:
                rows[n].copy_(wrapped(rows[n]))
        return phase


def _centre(like: Tensor) -> Tensor:
    """Phase that the centre of each bin runs through in one step, (513,)."""
    return torch.arange(BINS, device=like.device, dtype=like.dtype) * (2 * math.pi * STEP / WINDOW)


def _window(like: Tensor) -> Tensor:
    return torch.hann_window(WINDOW, device=like.device, dtype=like.dtype)


def _added(cut: Tensor) -> Tensor:
    """Overlap-add of frames (n, T, 1024) at every 256 samples, (n, 256 (T - 1) + 1024)."""
    n, count, _ = cut.shape
    parts = cut.reshape(n, count, WINDOW // STEP, STEP).unbind(2)
    out = cut.new_zeros(n, count + len(parts) - 1, STEP)
    for i, part in enumerate(parts):
        out[:, i : i + count] += part
    return out.flatten(1)
