"""Linear measurement operators. States are real tensors (B, *shape).

    operator       measures                                  A^T A is diagonal in
    Inpainting     the elements that a mask keeps            pixels
    Separable      R x C^T: average or bicubic downsampling  products of the factors' singular vectors
    Convolution    blur with a kernel, on a torus            Fourier space
    Fourier        orthonormal k-space under a mask          Fourier space
    Matrix         any dense matrix                          its singular vectors
    Scaled         c A, with c a number                      the same
    Stack          several operators at once                 (conjugate gradients)
    Additive       the weighted sum of several states        (for joint priors, not for `solve`)

Complex numbers are pairs of channels (real, imaginary), so that noise has one standard deviation per part.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from core.errors import ConfigError
from core.inverse.linear import NOTHING, Linear, Spectrum

__all__ = [
    "Additive",
    "Convolution",
    "Fourier",
    "Inpainting",
    "Matrix",
    "Scaled",
    "Separable",
    "Stack",
    "gaussian_kernel",
    "uniform_kernel",
]


@dataclass(frozen=True, eq=False)
class Inpainting(Linear):
    """Keep the elements where `mask` is true, zero elsewhere. mask: boolean, of the shape of one state."""

    mask: Tensor

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.mask.shape)

    def A(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x.dtype)

    def At(self, y: Tensor) -> Tensor:
        return self.A(y)

    def seen(self, y: Tensor) -> Tensor:
        return torch.where(self.mask, y, 0.0)

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        return x * h(self.mask.to(x.dtype))


@dataclass(frozen=True, eq=False)
class Separable(Linear):
    """y = R x C^T on the last two axes. rows: R (h, H), cols: C (w, W); channels: leading axes of a state."""

    rows: Tensor
    cols: Tensor
    channels: tuple[int, ...] = (1,)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*self.channels, self.rows.shape[1], self.cols.shape[1])

    @classmethod
    def average(cls, shape: Sequence[int], factor: int) -> "Separable":
        """Means of factor x factor blocks of states of this shape (C, H, W)."""
        return cls._down(shape, factor, lambda n: _blocks(n, factor))

    @classmethod
    def bicubic(cls, shape: Sequence[int], factor: int) -> "Separable":
        """Bicubic downsampling with anti-aliasing, mirrored at the edges.

        Source: Keys 1981, IEEE TASSP 29(6), eq. 15 with a = -1/2, stretched by the factor.
        """
        return cls._down(shape, factor, lambda n: _cubic(n, factor))

    @classmethod
    def _down(cls, shape: Sequence[int], factor: int, make: Callable[[int], Tensor]) -> "Separable":
        *channels, height, width = shape
        if factor < 1 or height % factor or width % factor:
            raise ConfigError(
                f"a factor of {factor} does not divide {height} x {width}.", hint="Crop or pad the image."
            )
        return cls(make(height), make(width), tuple(channels))

    def A(self, x: Tensor) -> Tensor:
        return self.rows.to(x) @ x @ self.cols.to(x).T

    def At(self, y: Tensor) -> Tensor:
        return self.rows.to(y).T @ y @ self.cols.to(y)

    @cached_property
    def _bases(self) -> tuple[Tensor, Tensor, Tensor]:
        (left, a), (right, b) = (_eigen(m) for m in (self.rows, self.cols))
        lam = a[:, None] * b[None]
        return left, right, torch.where(lam > NOTHING * lam.max(), lam, 0.0)

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        left, right, lam = (part.to(x) for part in self._bases)
        return left @ ((left.T @ x @ right) * h(lam)) @ right.T


@dataclass(frozen=True, eq=False)
class Convolution(Linear):
    """Convolve the last two axes with a kernel, on a torus.

    Args:
        kernel: (h, w) or one per channel (C, h, w); its centre is element (h // 2, w // 2).
        shape: shape of one state, (C, H, W).
    """

    kernel: Tensor
    shape: tuple[int, ...]

    @cached_property
    def _response(self) -> Tensor:
        """Transfer function, (..., H, W), complex128."""
        size = self.shape[-2:]
        small = self.kernel.shape[-2:]
        if small[0] > size[0] or small[1] > size[1]:
            raise ConfigError(f"a kernel of {tuple(small)} does not fit states of {tuple(size)}.")
        full = torch.zeros(*self.kernel.shape[:-2], *size, dtype=torch.float64)
        full[..., : small[0], : small[1]] = self.kernel.to(torch.float64)
        return torch.fft.fft2(torch.roll(full, (-(small[0] // 2), -(small[1] // 2)), (-2, -1)))

    def _filter(self, x: Tensor, factors: Tensor) -> Tensor:
        kind = torch.complex64 if x.dtype == torch.float32 else torch.complex128
        return torch.fft.ifft2(torch.fft.fft2(x) * factors.to(x.device, kind)).real

    def A(self, x: Tensor) -> Tensor:
        return self._filter(x, self._response)

    def At(self, y: Tensor) -> Tensor:
        return self._filter(y, self._response.conj())

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        power = self._response.abs() ** 2
        return self._filter(x, h(torch.where(power > NOTHING * power.max(), power, 0.0)))


@dataclass(frozen=True, eq=False)
class Fourier(Linear):
    """Orthonormal two-dimensional k-space, where `mask` (H, W) is true: single-coil magnetic resonance.

    States are complex images as two channels, (B, 2, H, W), or real ones, (B, 1, H, W); measurements are
    (B, 2, H, W), real and imaginary parts, zero where nothing was sampled. k = 0 is element (0, 0).
    """

    mask: Tensor
    channels: int = 2

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise ConfigError(f"k-space belongs to images of 1 or 2 channels, got {self.channels}.")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.channels, *self.mask.shape)

    def A(self, x: Tensor) -> Tensor:
        k = torch.fft.fft2(_complex(x), norm="ortho") * self.mask
        return torch.stack([k.real, k.imag], dim=1)

    def At(self, y: Tensor) -> Tensor:
        return self._image(torch.fft.ifft2(_complex(y) * self.mask, norm="ortho"))

    def seen(self, y: Tensor) -> Tensor:
        return torch.where(self.mask, y, 0.0)

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        lam = self.mask.to(x.dtype)
        if self.channels == 1:
            # Of a real image, k and -k say the same: sampling one of them measures half of its power.
            lam = (lam + torch.roll(lam.flip((0, 1)), (1, 1), (0, 1))) / 2
        return self._image(torch.fft.ifft2(torch.fft.fft2(_complex(x)) * h(lam)))

    def _image(self, z: Tensor) -> Tensor:
        return z.real[:, None] if self.channels == 1 else torch.stack([z.real, z.imag], dim=1)


@dataclass(frozen=True, eq=False)
class Matrix(Linear):
    """A dense matrix (m, d) on states (B, d)."""

    a: Tensor

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.a.shape[1],)

    def A(self, x: Tensor) -> Tensor:
        return x @ self.a.to(x).T

    def At(self, y: Tensor) -> Tensor:
        return y @ self.a.to(y)

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor]:
        vectors, lam = _eigen(self.a)
        return vectors, torch.where(lam > NOTHING * lam.max(), lam, 0.0)

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        vectors, lam = (part.to(x) for part in self._basis)
        return ((x @ vectors) * h(lam)) @ vectors.T


@dataclass(frozen=True, eq=False)
class Scaled(Linear):
    """A linear operator times a number."""

    operator: Linear
    factor: float

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.operator.shape

    @property
    def spectral(self) -> bool:  # type: ignore[override]
        return self.operator.spectral

    def A(self, x: Tensor) -> Tensor:
        return self.factor * self.operator.A(x)

    def At(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.At(y)

    def seen(self, y: Tensor) -> Tensor:
        return self.operator.seen(y)

    def along(self, x: Tensor, h: Spectrum) -> Tensor:
        return self.operator.along(x, lambda lam: h(self.factor**2 * lam))


@dataclass(frozen=True, eq=False)
class Stack(Linear):
    """Several operators on one state; measurements are flattened and joined, (B, m_1 + m_2 + ...)."""

    operators: tuple[Linear, ...]
    spectral = False

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.operators[0].shape

    @cached_property
    def _sizes(self) -> list[tuple[int, ...]]:
        probe = torch.zeros(1, *self.shape)
        return [tuple(op.A(probe).shape[1:]) for op in self.operators]

    def A(self, x: Tensor) -> Tensor:
        return torch.cat([op.A(x).flatten(1) for op in self.operators], dim=1)

    def At(self, y: Tensor) -> Tensor:
        return torch.stack([op.At(part) for op, part in zip(self.operators, self.split(y), strict=True)]).sum(
            0
        )

    def seen(self, y: Tensor) -> Tensor:
        parts = zip(self.operators, self.split(y), strict=True)
        return torch.cat([op.seen(part).flatten(1) for op, part in parts], dim=1)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurement of each operator, in its own shape."""
        parts = y.split([math.prod(size) for size in self._sizes], dim=1)
        return [part.reshape(-1, *size) for part, size in zip(parts, self._sizes, strict=True)]


@dataclass(frozen=True)
class Additive:
    """y = sum_k w_k x_k of a mapping of states, such as tissue plus haze; the parts without a weight do not
    count. `core.steer.Measurement(y, Additive(...).A, ...)` steers a joint prior by it.
    """

    weights: Mapping[str, float]

    def A(self, state: Mapping[str, Tensor]) -> Tensor:
        (first, w), *rest = self.weights.items()
        return sum((v * state[name] for name, v in rest), w * state[first])

    def At(self, y: Tensor) -> dict[str, Tensor]:
        return {name: w * y for name, w in self.weights.items()}


def gaussian_kernel(std: float, *, radius: int | None = None) -> Tensor:
    """A Gaussian blur kernel of this standard deviation in pixels, cut at 3 of them, sum 1."""
    reach = math.ceil(3 * std) if radius is None else radius
    line = torch.exp(-((torch.arange(-reach, reach + 1, dtype=torch.float64) / std) ** 2) / 2)
    kernel = line[:, None] * line[None]
    return kernel / kernel.sum()


def uniform_kernel(size: int) -> Tensor:
    """A box of size x size pixels, sum 1."""
    return torch.full((size, size), 1 / size**2, dtype=torch.float64)


def _complex(x: Tensor) -> Tensor:
    return torch.complex(x[:, 0], x[:, 1] if x.shape[1] == 2 else torch.zeros_like(x[:, 0]))


def _eigen(m: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors of m^T m as columns, float64, and eigenvalues, with rounding below zero cut off."""
    m = m.to(torch.float64)
    values, vectors = torch.linalg.eigh(m.T @ m)
    values = values.clamp_min(0)
    return vectors, torch.where(values > NOTHING * values.max(), values, 0.0)


def _blocks(n: int, factor: int) -> Tensor:
    """Averages of `factor` neighbours, (n / factor, n)."""
    return torch.eye(n // factor, dtype=torch.float64).repeat_interleave(factor, dim=1) / factor


def _cubic(n: int, factor: int) -> Tensor:
    """Cubic interpolation at the centres of the coarse pixels, stretched by the factor, (n / factor, n)."""
    centres = (torch.arange(n // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    taps = torch.arange(-2 * factor, n + 2 * factor)
    d = ((taps[None] - centres[:, None]) / factor).abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    weights = torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
    mirrored = torch.where(taps < 0, -1 - taps, torch.where(taps >= n, 2 * n - 1 - taps, taps))
    out = torch.zeros(n // factor, n, dtype=torch.float64)
    out.index_add_(1, mirrored.clamp(0, n - 1), weights)
    return out / out.sum(1, keepdim=True)
