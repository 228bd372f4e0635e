"""Measurement operators that are not linear: for the solvers that need no more than a gradient.

    HDR             clip(gain x, low, high): an exposure that saturates
    PhaseRetrieval  |Fourier transform| of the padded state: the phase is lost
    NonlinearBlur   blur of the light, seen through a camera's response
    Custom          any differentiable function

`shape` is the shape of one state, `A` measures (B, *shape). Where a measurement can be inverted roughly,
`start(y)` says how; the others start from nothing.

Sources: HDR: Mardani et al. 2024, arXiv:2305.04391, section 5; phase retrieval: Chung et al. 2023,
arXiv:2209.14687, appendix B. The nonlinear blur is ours: theirs is a trained network, this one is the blur of
linear light behind a logarithmic response, which has the same character and a formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log1p
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from core.errors import ConfigError
from core.inverse.operators import Convolution

__all__ = ["HDR", "Custom", "NonlinearBlur", "Operator", "PhaseRetrieval"]


@runtime_checkable
class Operator(Protocol):
    """What every operator has."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def A(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class HDR:
    """clip(gain x, low, high): an exposure that saturates at both ends."""

    shape: tuple[int, ...]
    gain: float = 2.0
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high or self.gain == 0:
            raise ConfigError(f"HDR needs low < high and a gain, got {self.low}, {self.high}, {self.gain}.")

    def A(self, x: Tensor) -> Tensor:
        return (self.gain * x).clamp(self.low, self.high)

    def start(self, y: Tensor) -> Tensor:
        """The state that explains what did not saturate."""
        return y / self.gain


@dataclass(frozen=True)
class PhaseRetrieval:
    """Magnitudes of the orthonormal Fourier transform of the zero-padded state.

    Args:
        shape: shape of one state, (C, H, W).
        oversampling: size of the padded state over that of the state, along each axis.
    """

    shape: tuple[int, ...]
    oversampling: float = 2.0

    def __post_init__(self) -> None:
        if self.oversampling < 1:
            raise ConfigError(f"oversampling must be at least 1, got {self.oversampling}.")

    def A(self, x: Tensor) -> Tensor:
        size = [round(n * self.oversampling) for n in self.shape[-2:]]
        spectrum = torch.fft.fft2(x, s=size, norm="ortho")
        # The magnitude has no gradient at 0; the offset is far below any noise.
        return (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt()


@dataclass(frozen=True, eq=False)
class NonlinearBlur:
    """Blur linear light, seen through a logarithmic response.

    A level x in [-1, 1] stands for the light l = (c^((x + 1) / 2) - 1) / (c - 1), which is blurred and
    turned back into levels; c is the ratio of the slopes of the response at black and white.
    """

    kernel: Tensor
    shape: tuple[int, ...]
    contrast: float = 16.0

    def __post_init__(self) -> None:
        if not self.contrast > 1:
            raise ConfigError(f"contrast must exceed 1, got {self.contrast}.")

    @cached_property
    def _blur(self) -> Convolution:
        return Convolution(self.kernel, self.shape)

    def A(self, x: Tensor) -> Tensor:
        slope = log1p(self.contrast - 1)
        # Far outside of the levels the exponential is held, so that no state overflows.
        light = torch.expm1(((x + 1) / 2 * slope).clamp(-20, 20))
        return 2 * torch.log1p(self._blur.A(light).clamp_min(-1 + 1e-6)) / slope - 1

    def start(self, y: Tensor) -> Tensor:
        """The blurred state itself."""
        return y


@dataclass(frozen=True)
class Custom:
    """Any differentiable function of states (B, *shape)."""

    shape: tuple[int, ...]
    forward: Callable[[Tensor], Any]

    def A(self, x: Tensor) -> Tensor:
        found: Tensor = self.forward(x)
        return found
