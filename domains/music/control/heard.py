"""Where features are read: the decoded wave, the magnitudes before the inverse transform, or a probe.

A reader turns latents into what control listens to, a `Heard`. Stems lie side by side in the latent; what is
heard is their sum; all are decoded as one batch. In "spec" their energies are added, which is right on
average over phases and costs no wave. Of the codec's four frames in a latent frame only the two in the middle
are made: what "wave" hears in a window of 1024 samples lies between them.

    wave    decode, then short-time magnitudes at any window; slow, and what every report uses
    spec    the spectral codec's magnitudes; a gradient costs less than half of that
    probe   a linear map from latents to loudness and chroma (`fit_probe`); fast, never used to report

Source: Novack et al. 2024 (DITTO), arXiv:2401.12179, section 3 (features of the decoded output); the two
cheap spaces are ours.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from core.errors import ConfigError
from domains.music.control.features import magnitude

__all__ = [
    "Heard",
    "Probe",
    "ProbeReader",
    "Reader",
    "SpecReader",
    "WaveReader",
    "fit_probe",
    "heard_wave",
    "leveller",
]

FINE = 1024  # window of loudness and timbre, samples
MIDDLE = (1, 2)  # of the codec's four frames in each latent frame


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

    def levelled(self, gain: Tensor) -> "Heard":
        """The same with each frame's magnitudes times a gain, (B, L, 1)."""
        assert self.magnitude is not None
        return replace(self, magnitude=self.magnitude * gain)


def leveller(heard: Heard, judged: Heard) -> Tensor | None:
    """What makes each frame of magnitudes as loud as the same latents in a wave, (B, L, 1), without gradient;
    None where it is not magnitudes and a wave that were heard.

    The energies of two stems lack what their waves have in common: .1 to .2 dB^2 of songs that ship.
    """
    if heard.magnitude is None or judged.wave is None:
        return None
    with torch.no_grad():
        power = [
            spectrum.square().sum(-1, keepdim=True) for spectrum in (judged.spectrum(FINE), heard.magnitude)
        ]
        return ((power[0] + 1e-8) / (power[1] + 1e-8)).sqrt()


class Reader(Protocol):
    """Turns latents (B, stems C, L) into what is heard, with gradients."""

    def __call__(self, latent: Tensor) -> Heard: ...


@dataclass(frozen=True)
class WaveReader:
    """The decoded wave, stems added, channels averaged."""

    codec: Any

    def __call__(self, latent: Tensor) -> Heard:
        waves = self.codec.decode(_stems(latent, self.codec)).mean(1)
        mixed = waves.unflatten(0, (len(latent), -1)).sum(1)
        return Heard(latent, self.codec.rate, self.codec.hop, wave=mixed)


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
        power = self.codec.magnitude(_stems(latent, self.codec), of=MIDDLE).square().mean(1)
        added = power.unflatten(0, (len(latent), -1)).sum(1)
        found = (added.unflatten(1, (-1, len(MIDDLE))).mean(2) + 1e-12).sqrt()
        return Heard(latent, self.codec.rate, self.codec.hop, magnitude=found)


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


def _stems(latent: Tensor, codec: Any) -> Tensor:
    """Latents (B, stems C, L) as (B stems, C, L)."""
    if latent.shape[1] % codec.channels:
        raise ConfigError(f"latents of {latent.shape[1]} channels are no stems of {codec.channels} each.")
    return latent.reshape(-1, codec.channels, latent.shape[-1])
