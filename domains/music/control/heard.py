"""Where features are read: the decoded wave, the magnitudes before the inverse transform, or a probe.

A reader turns latents into what control listens to, a `Heard`. Stems lie side by side in the latent; what is
heard is their sum. In "spec" their energies are added, which is right on average over phases and costs no
wave.

    wave    decode, then short-time magnitudes at any window; slow, and what every report uses
    spec    the spectral codec's magnitudes; a gradient costs a third of that
    probe   a linear map from latents to loudness and chroma (`fit_probe`); fast, never used to report

Source: Novack et al. 2024 (DITTO), arXiv:2401.12179, section 3 (features of the decoded output); the two
cheap spaces are ours.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from core.errors import ConfigError
from domains.music.control.features import magnitude, pooled

__all__ = ["Heard", "Probe", "ProbeReader", "Reader", "SpecReader", "WaveReader", "fit_probe", "heard_wave"]


@dataclass(frozen=True)
class Heard:
    """What a target listens to.

    Attributes:
        latent: (B, stems C, L), or None where only a wave is known.
        rate, hop: samples a second, and a latent frame.
        wave: (B, samples), mixed, or None.
        magnitude: (B, L, bins) at one fixed window, where there is no wave, or None.
        probed: features by name, where a probe reads them.
    """

    latent: Tensor | None
    rate: int
    hop: int
    wave: Tensor | None = None
    magnitude: Tensor | None = None
    probed: dict[str, Tensor] = field(default_factory=dict)
    _cache: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def spectrum(self, window: int) -> Tensor:
        """Magnitudes (B, L, bins) at this window, or at the only one there is.

        Raises:
            ConfigError: a probe heard this, which has no spectrum.
        """
        if self.wave is not None:
            if window not in self._cache:
                self._cache[window] = magnitude(self.wave, window=window, hop=self.hop)
            return self._cache[window]
        if self.magnitude is None:
            raise ConfigError("a probe has no spectrum.", hint="Use the space 'wave' or 'spec'.")
        return self.magnitude


class Reader(Protocol):
    """Turns latents (B, stems C, L) into what is heard, with gradients."""

    def __call__(self, latent: Tensor) -> Heard: ...


@dataclass(frozen=True)
class WaveReader:
    """The decoded wave, stems added, channels averaged."""

    codec: Any

    def __call__(self, latent: Tensor) -> Heard:
        parts = [self.codec.decode(stem).mean(1) for stem in _stems(latent, self.codec)]
        return Heard(latent, self.codec.rate, self.codec.hop, wave=torch.stack(parts).sum(0))


@dataclass(frozen=True)
class SpecReader:
    """Magnitudes of the spectral codec, stems added by energy, one frame a latent frame."""

    codec: Any

    def __post_init__(self) -> None:
        if not hasattr(self.codec, "magnitude"):
            raise ConfigError(
                f"the space 'spec' needs a spectral codec, got {type(self.codec).__name__}.",
                hint="Use the space 'wave'.",
            )

    def __call__(self, latent: Tensor) -> Heard:
        power = [self.codec.magnitude(stem).square().mean(1) for stem in _stems(latent, self.codec)]
        found = (torch.stack(power).sum(0) + 1e-12).sqrt()
        mag = pooled(found, found.shape[1] // latent.shape[-1])
        return Heard(latent, self.codec.rate, self.codec.hop, magnitude=mag)


@dataclass(frozen=True)
class Probe:
    """Linear maps from latents to loudness, dB, and to log shares of the pitch classes.

    Attributes:
        weights: (stems C + 1, 13): loudness first; the last row is the offset.
    """

    weights: Tensor

    def __call__(self, latent: Tensor) -> dict[str, Tensor]:
        """Loudness (B, L) and log shares (B, L, 12)."""
        found = latent.mT @ self.weights[:-1].to(latent) + self.weights[-1].to(latent)
        return {"loudness": found[..., 0], "classes": found[..., 1:].log_softmax(-1)}


@dataclass(frozen=True)
class ProbeReader:
    """What a probe makes of latents."""

    probe: Probe
    rate: int
    hop: int

    def __call__(self, latent: Tensor) -> Heard:
        return Heard(latent, self.rate, self.hop, probed=self.probe(latent))


def fit_probe(latent: Tensor, loud: Tensor, classes: Tensor, *, ridge: float = 1e-2) -> Probe:
    """Fit a probe by ridge regression.

    Args:
        latent: (B, stems C, L).
        loud: dB, (B, L).
        classes: log shares, (B, L, 12).
        ridge: penalty on squared weights, per frame.
    """
    ones = latent.new_ones(latent.shape[0] * latent.shape[2], 1)
    x = torch.cat([latent.mT.flatten(0, 1), ones], 1).double()
    y = torch.cat([loud[..., None], classes], -1).flatten(0, 1).double()
    keep = torch.ones(x.shape[1], dtype=torch.float64)
    keep[-1] = 0
    weights = torch.linalg.solve(x.T @ x + ridge * len(x) * torch.diag(keep), x.T @ y)
    return Probe(weights.float())


def heard_wave(wave: Tensor, rate: int, hop: int) -> Heard:
    """A finished wave (B, samples), cut to whole frames, as targets hear it."""
    return Heard(None, rate, hop, wave=wave[:, : wave.shape[-1] // hop * hop])


def _stems(latent: Tensor, codec: Any) -> tuple[Tensor, ...]:
    if latent.shape[1] % codec.channels:
        raise ConfigError(f"latents of {latent.shape[1]} channels are no stems of {codec.channels} each.")
    return latent.split(codec.channels, dim=1)
