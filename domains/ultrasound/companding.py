"""Companding: squeeze the dynamic range of RF and IQ lines into [-1, 1], where weak echoes count too.

    mu-law  C(r) = ln(1 + mu r) / ln(1 + mu)       C^-1(v) = ((1 + mu)^v - 1) / mu
    A-law   C(r) = A r / a            r < 1/A      C^-1(v) = v a / A                v < 1/a,    a = 1 + ln A
                   (1 + ln(A r)) / a  otherwise              exp(v a - 1) / A       otherwise

Both act on the magnitude r = |x|. RF keeps its sign, IQ its phase: C(z) = z/|z| C(|z|). C^-1 grows like 256^v
and noised states exceed 1, so the magnitude saturates at v = 1.2 (an output of 3.04 for mu = 255, 2.99 for
A = 87.6).

Networks see real channels: IQ is (B, 2, sample, line), real part first; RF is (B, 1, sample, line).

Source: ITU-T G.711 for the two laws; Stevens et al., IEEE TMI 43(10), 2024 for mu-law companding of RF lines.
Deviation: the published helper clips the state at 1, which kills the gradient of noised states; here the
magnitude is clipped at 1.2.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from core.errors import ConfigError, DataError, unknown

__all__ = [
    "A_LAW",
    "MU",
    "SATURATION",
    "Law",
    "compand",
    "compand_channels",
    "expand",
    "expand_channels",
    "from_channels",
    "magnitude_channels",
    "normalise",
    "to_channels",
]

Law = Literal["mu", "a"]

MU = 255.0
A_LAW = 87.6
SATURATION = 1.2

# Both laws are linear this far down; the floor keeps the gradient of |z| finite at z = 0.
_TINY = 1e-12


def compand(x: Tensor, *, law: Law = "mu") -> Tensor:
    """Compand lines, sign or phase kept.

    Args:
        x: RF (real) or IQ (complex), any shape, |x| <= 1 after `normalise`; larger values are legal.

    Returns:
        Same shape and type, |C(x)| <= 1 where |x| <= 1.
    """
    return _rescale(x, _magnitude(x), partial(_squeeze, law=law))


def expand(v: Tensor, *, law: Law = "mu") -> Tensor:
    """Undo `compand`. The magnitude of `v` saturates at 1.2, so that noised states stay finite.

    Args:
        v: companded RF (real) or IQ (complex), any shape, any magnitude.

    Returns:
        Same shape and type, linear, |.| <= 3.04 for the mu-law.
    """
    return _rescale(v, _magnitude(v), partial(_stretch, law=law))


def compand_channels(x: Tensor, *, law: Law = "mu") -> Tensor:
    """Compand a channel tensor (B, C, sample, line): C = 1 is RF, C = 2 is IQ and shares one magnitude."""
    return _rescale(x, magnitude_channels(x), partial(_squeeze, law=law))


def expand_channels(v: Tensor, *, law: Law = "mu") -> Tensor:
    """Undo `compand_channels`, the magnitude of `v` saturated at 1.2."""
    return _rescale(v, magnitude_channels(v), partial(_stretch, law=law))


def magnitude_channels(x: Tensor) -> Tensor:
    """Magnitude (B, 1, sample, line) of channels (B, C, sample, line), >= 1e-12; its gradient at 0 is 0."""
    if x.ndim < 3 or x.shape[-3] not in (1, 2) or x.is_complex():
        raise DataError(
            f"expected a real channel tensor (B, 1 or 2, sample, line), got {x.dtype} {tuple(x.shape)}.",
            hint="Convert lines with to_channels first.",
        )
    return x.abs().clamp(min=_TINY) if x.shape[-3] == 1 else _root(x.square().sum(-3, keepdim=True))


def to_channels(lines: Tensor) -> Tensor:
    """Channels of lines (B, sample, line): IQ gives (B, 2, sample, line), RF gives (B, 1, sample, line)."""
    if lines.is_complex():
        return torch.stack((lines.real, lines.imag), dim=-3)
    return lines.unsqueeze(-3)


def from_channels(x: Tensor) -> Tensor:
    """Lines (B, sample, line) from channels (B, C, sample, line): C = 2 gives complex IQ, C = 1 gives RF."""
    if x.ndim < 3 or x.shape[-3] not in (1, 2):
        raise DataError(
            f"expected channels (B, 1 or 2, sample, line), got shape {tuple(x.shape)}.",
            hint="One channel is RF, two are the real and imaginary part of IQ.",
        )
    parts = x.unbind(-3)
    return parts[0] if len(parts) == 1 else torch.complex(parts[0], parts[1])


def normalise(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each frame to a peak magnitude of 1.

    Args:
        lines: RF or IQ, (..., sample, line).

    Returns:
        `lines / peak`, |.| <= 1, and `peak` (..., 1, 1), in the units of `lines`: multiply by it to undo.

    Raises:
        DataError: a frame is all zero or holds NaN or Inf.
    """
    peak = lines.abs().amax(dim=(-2, -1), keepdim=True)
    bad = ~(torch.isfinite(peak) & (peak > 0))
    if bad.any():
        index = int(bad.flatten().nonzero()[0])
        raise DataError(
            f"frame {index} has a peak of {peak.flatten()[index].item()}, expected a finite value above 0.",
            hint="Drop the frame: it carries no echo, or holds NaN or Inf.",
        )
    return lines / peak, peak


def _magnitude(x: Tensor) -> Tensor:
    if x.is_complex():
        return _root(x.real.square() + x.imag.square())
    if not x.is_floating_point():
        raise DataError(
            f"expected float or complex lines, got {x.dtype}.", hint="Convert with .float() first."
        )
    return x.abs().clamp(min=_TINY)


def _root(r2: Tensor) -> Tensor:
    return r2.clamp(min=_TINY**2).sqrt()


def _rescale(x: Tensor, r: Tensor, law: Callable[[Tensor], Tensor]) -> Tensor:
    """x law(r)/r in double precision: C^-1 has slope 5.6 at 1, and float32 rounding would reach 1.1e-6."""
    if x.device.type != "mps":
        r = r.double()
    return (x * (law(r) / r)).to(x.dtype)


def _squeeze(r: Tensor, *, law: Law) -> Tensor:
    match law:
        case "mu":
            return torch.log1p(MU * r) / math.log1p(MU)
        case "a":
            scale = 1 + math.log(A_LAW)
            return torch.where(r < 1 / A_LAW, A_LAW * r, 1 + torch.log((A_LAW * r).clamp(min=1))) / scale
    raise _unknown_law(law)


def _stretch(v: Tensor, *, law: Law) -> Tensor:
    v = v.clamp(max=SATURATION)
    match law:
        case "mu":
            return torch.expm1(v * math.log1p(MU)) / MU
        case "a":
            scaled = v * (1 + math.log(A_LAW))
            return torch.where(scaled < 1, scaled, torch.exp((scaled - 1).clamp(min=0))) / A_LAW
    raise _unknown_law(law)


def _unknown_law(law: str) -> ConfigError:
    return unknown("companding law", law, ("mu", "a"))
