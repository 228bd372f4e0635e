"""Targets of control: each says how far what is heard is from what was asked, (B,), and what to report.

    Loudness       mean square of dB, or one minus the correlation along time
    Melody         minus the log share of the asked pitch class, mean over frames where one is asked
    Structure      mean square between self-similarity and a pattern such as ABA, or another song's matrix
    Reference      mean square from given latents where a mask is 1: inpainting, outpainting, inversion
    Loop           mean square between the first and the last frames of the result
    Similar        one minus the cosine between an embedding of what is heard and an asked one

Times that do not matter are NaN in a curve, -1 in a melody and 0 in a mask.

Source: Novack et al. 2024 (DITTO), arXiv:2401.12179, section 4; weights of sums from its appendix (loudness
1/40 beside structure or outpainting, 1/4 beside melody). Deviation: mean squares of masked regions are of
standardised latents, there of mel spectra.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.music.control.features import (
    loudness,
    melody_probability,
    savgol,
    similarity,
)
from domains.music.control.heard import Heard

__all__ = [
    "Loop",
    "Loudness",
    "Melody",
    "Reference",
    "Similar",
    "Structure",
    "Sum",
    "Target",
    "default_weights",
    "pattern",
]

Form: TypeAlias = Literal["error", "correlation"]
FINE, COARSE = 1024, 4096  # windows: of loudness and timbre, and of pitch


class Target(Protocol):
    """What is asked."""

    def __call__(self, heard: Heard) -> Tensor:
        """Loss of each sample, (B,), differentiable."""

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Named figures of each sample, (B,), without gradients."""


@dataclass(frozen=True)
class Loudness:
    """Follow a curve of loudness.

    Attributes:
        curve_db: (L,), dB of full scale; NaN where it does not matter.
        form: "error" follows the level itself, "correlation" its shape alone.
        window: frames of the smoother, odd; 0 for none.
    """

    curve_db: Tensor
    form: Form = "error"
    window: int = 21

    def __post_init__(self) -> None:
        if int(torch.isfinite(self.curve_db).sum()) < 2:
            raise DataError("a loudness curve needs at least two times.")

    def __call__(self, heard: Heard) -> Tensor:
        found, asked = self._pair(heard)
        if self.form == "error":
            return (found - asked).square().mean(1)
        return 1 - _correlation(found, asked)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error, dB^2, and correlation."""
        with torch.no_grad():
            found, asked = self._pair(heard)
            return {
                "loudness_mse_db2": (found - asked).square().mean(1),
                "loudness_r": _correlation(found, asked),
            }

    def _pair(self, heard: Heard) -> tuple[Tensor, Tensor]:
        kernel = savgol(self.window) if self.window else None
        found = heard.probed.get("loudness")
        found = loudness(heard.spectrum(FINE), kernel) if found is None else found
        _same("loudness curve", len(self.curve_db), found.shape[1])
        asked = self.curve_db.to(found)
        there = torch.isfinite(asked)
        return found[:, there], asked[there].expand(len(found), -1)


@dataclass(frozen=True)
class Melody:
    """Follow a tune.

    Attributes:
        classes: pitch class of each frame, (L,), int64, 0 for C to 11; -1 where it does not matter.
    """

    classes: Tensor

    def __post_init__(self) -> None:
        if not bool((self.classes >= 0).any()) or int(self.classes.max()) > 11:
            raise DataError("a melody needs pitch classes 0 to 11 in at least one frame.")

    def __call__(self, heard: Heard) -> Tensor:
        found, asked = self._pair(heard)
        return -found.gather(-1, asked[..., None])[..., 0].mean(1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Share of frames whose strongest class is the asked one; 1/12 by chance."""
        with torch.no_grad():
            found, asked = self._pair(heard)
            return {"melody_accuracy": (found.argmax(-1) == asked).to(found.dtype).mean(1)}

    def _pair(self, heard: Heard) -> tuple[Tensor, Tensor]:
        found = heard.probed.get("classes")
        found = melody_probability(heard.spectrum(COARSE), heard.rate) if found is None else found
        _same("melody", len(self.classes), found.shape[1])
        there = self.classes >= 0
        return found[:, there], self.classes[there].expand(len(found), -1)


@dataclass(frozen=True)
class Structure:
    """Repeat and contrast parts.

    Attributes:
        matrix: asked self-similarity, (L, L), in [-1, 1]; from `pattern`, or of another song.
        window: frames of the smoother in both directions, odd; 0 for none, as against another song's matrix.
    """

    matrix: Tensor
    window: int = 21

    def __call__(self, heard: Heard) -> Tensor:
        kernel = savgol(self.window) if self.window else None
        found = similarity(heard.spectrum(FINE), heard.rate, kernel)
        _same("structure", len(self.matrix), found.shape[1])
        return (found - self.matrix.to(found)).square().flatten(1).mean(1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error."""
        with torch.no_grad():
            return {"structure_mse": self(heard)}


@dataclass(frozen=True)
class Reference:
    """Equal given latents where a mask is 1: inpainting, outpainting, or all of them for inversion.

    Attributes:
        latent: (stems C, L), or (B, stems C, L).
        mask: (L,), 0 or 1.
    """

    latent: Tensor
    mask: Tensor

    def __call__(self, heard: Heard) -> Tensor:
        x = _latent(heard)
        _same("mask", len(self.mask), x.shape[-1])
        mask = self.mask.to(x)
        return ((x - self.latent.to(x)).square().mean(1) * mask).sum(1) / mask.sum().clamp(min=1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error of standardised latents; nothing where only a wave is heard."""
        with torch.no_grad():
            return {} if heard.latent is None else {"reference_mse": self(heard)}


@dataclass(frozen=True)
class Loop:
    """End as it begins, so that it can be played again and again.

    Attributes:
        frames: how many are compared.
    """

    frames: int

    def __call__(self, heard: Heard) -> Tensor:
        x = _latent(heard)
        if not 0 < self.frames <= x.shape[-1] // 2:
            raise ConfigError(f"a loop compares 1 to {x.shape[-1] // 2} frames, got {self.frames}.")
        return (x[..., : self.frames] - x[..., -self.frames :]).square().flatten(1).mean(1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error of standardised latents; nothing where only a wave is heard."""
        with torch.no_grad():
            return {} if heard.latent is None else {"loop_mse": self(heard)}


@dataclass(frozen=True)
class Similar:
    """Be like a style, a text or a recording in some embedding.

    Attributes:
        embed: what is heard -> (B, S), differentiable.
        vector: asked, (S,).
    """

    embed: Callable[[Heard], Tensor]
    vector: Tensor

    def __call__(self, heard: Heard) -> Tensor:
        found = self.embed(heard)
        return 1 - F.cosine_similarity(found, self.vector.to(found).expand_as(found), dim=-1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Cosine."""
        with torch.no_grad():
            return {"style_cosine": 1 - self(heard)}


@dataclass(frozen=True)
class Sum:
    """Several targets at once.

    Attributes:
        targets: by name.
        weights: by name; those of `default_weights` where None.
    """

    targets: Mapping[str, Target]
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.targets:
            raise ConfigError("control needs at least one target.")
        if self.weights is not None and set(self.weights) != set(self.targets):
            raise ConfigError(
                f"weights {sorted(self.weights)} and targets {sorted(self.targets)} must match."
            )

    def __call__(self, heard: Heard) -> Tensor:
        weights = default_weights(self.targets) if self.weights is None else self.weights
        return torch.stack([weights[name] * target(heard) for name, target in self.targets.items()]).sum(0)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """The figures of all."""
        out: dict[str, Tensor] = {}
        for target in self.targets.values():
            out |= target.report(heard)
        return out


def default_weights(targets: Mapping[str, Target]) -> dict[str, float]:
    """1 each, but for the squared error of loudness beside others: 1/4 with a melody, else 1/40."""
    kinds = [type(target) for target in targets.values()]
    beside = 1.0 if len(kinds) == 1 else 1 / 4 if Melody in kinds else 1 / 40
    return {
        name: beside if isinstance(target, Loudness) and target.form == "error" else 1.0
        for name, target in targets.items()
    }


def pattern(parts: str, frames: int, *, contrast: float = 0.0) -> Tensor:
    """Self-similarity of a form, (L, L): 1 where two times have the same letter, `contrast` elsewhere.

    Args:
        parts: such as "ABA"; parts are equally long.

    Raises:
        ConfigError: fewer than two letters, or more letters than frames.
    """
    if len(parts) < 2 or len(parts) > frames or not parts.isalpha():
        raise ConfigError(f"a form has 2 to {frames} letters, such as ABA, got '{parts}'.")
    letters = torch.tensor([ord(c) for c in parts.upper()])
    at = letters[torch.arange(frames) * len(parts) // frames]
    return torch.where(at[:, None] == at, 1.0, contrast)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1) + 1e-12).sqrt()


def _latent(heard: Heard) -> Tensor:
    if heard.latent is None:
        raise ConfigError("this target compares latents, and only a wave is heard.")
    return heard.latent


def _same(what: str, asked: int, found: int) -> None:
    if asked != found:
        raise ConfigError(f"the {what} has {asked} frames, the song {found}.")
