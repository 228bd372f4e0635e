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
from domains.music.control.heard import FINE, Heard

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
COARSE = 4096  # window of pitch, samples


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
        curve_db: (L,), or (B, L) for a curve of each sample, dB of full scale; NaN where it does not matter.
        form: "error" follows the level itself, "correlation" its shape alone.
        window: frames of the smoother, odd; 0 for none.
    """

    curve_db: Tensor
    form: Form = "error"
    window: int = 21

    def __post_init__(self) -> None:
        if int(torch.isfinite(self.curve_db).sum(-1).min()) < 2:
            raise DataError("a loudness curve needs at least two times.")

    def __call__(self, heard: Heard) -> Tensor:
        found, asked, share = self._read(heard)
        return _error(found, asked, share) if self.form == "error" else 1 - _correlation(found, asked, share)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error, dB^2, and correlation."""
        with torch.no_grad():
            found, asked, share = self._read(heard)
            return {
                "loudness_mse_db2": _error(found, asked, share),
                "loudness_r": _correlation(found, asked, share),
            }

    def _read(self, heard: Heard) -> tuple[Tensor, Tensor, Tensor]:
        """Level found and asked, and what each time counts, adding to 1; each (B, L)."""
        kernel = savgol(self.window) if self.window else None
        found = heard.probed.get("loudness")
        found = loudness(heard.spectrum(FINE), kernel) if found is None else found
        asked = _each("loudness curve", self.curve_db.to(found), found)
        there = torch.isfinite(asked)
        return found, asked.nan_to_num(), _shares(there, found)


@dataclass(frozen=True)
class Melody:
    """Follow a tune.

    Attributes:
        classes: pitch class of each frame, (L,), or (B, L) for a tune of each sample, int64, 0 for C to 11;
            -1 where it does not matter.
    """

    classes: Tensor

    def __post_init__(self) -> None:
        if not bool((self.classes >= 0).any(-1).all()) or int(self.classes.max()) > 11:
            raise DataError("a melody needs pitch classes 0 to 11 in at least one frame.")

    def __call__(self, heard: Heard) -> Tensor:
        found, asked, share = self._read(heard)
        return -(found.gather(-1, asked[..., None])[..., 0] * share).sum(1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Share of frames whose strongest class is the asked one; 1/12 by chance."""
        with torch.no_grad():
            found, asked, share = self._read(heard)
            hits = (found.argmax(-1) == asked) & (share > 0)
            return {"melody_accuracy": hits.sum(1) / (share > 0).sum(1).to(found.dtype)}

    def _read(self, heard: Heard) -> tuple[Tensor, Tensor, Tensor]:
        """Log shares (B, L, 12), the class asked, and what each time counts, adding to 1, both (B, L)."""
        found = heard.probed.get("classes")
        found = melody_probability(heard.spectrum(COARSE), heard.rate) if found is None else found
        asked = _each("melody", self.classes.to(found.device), found[..., 0])
        return found, asked.clamp(min=0), _shares(asked >= 0, found)


@dataclass(frozen=True)
class Structure:
    """Repeat and contrast parts.

    Attributes:
        matrix: asked self-similarity, (L, L), or (B, L, L) for one of each sample, in [-1, 1]; from
            `pattern`, or of another song.
        window: frames of the smoother in both directions, odd; 0 for none, as against another song's matrix.
    """

    matrix: Tensor
    window: int = 21

    def __call__(self, heard: Heard) -> Tensor:
        kernel = savgol(self.window) if self.window else None
        found = similarity(heard.spectrum(FINE), heard.rate, kernel)
        _same("structure", self.matrix.shape[-1], found.shape[1])
        return (found - self.matrix.to(found)).square().flatten(1).mean(1)

    def report(self, heard: Heard) -> dict[str, Tensor]:
        """Mean squared error, and correlation, which does not depend on the contrast of a pattern."""
        kernel = savgol(self.window) if self.window else None
        with torch.no_grad():
            found = similarity(heard.spectrum(FINE), heard.rate, kernel).flatten(1)
            asked = self.matrix.to(found).flatten(-2).expand_as(found)
            even = torch.full_like(found, 1 / found.shape[1])
            return {
                "structure_mse": _error(found, asked, even),
                "structure_r": _correlation(found, asked, even),
            }


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


def pattern(parts: str, frames: int, *, contrast: float | None = None) -> Tensor:
    """Self-similarity of a form, (L, L): 1 where two times have the same letter, `contrast` elsewhere.

    Timbre is centred along time: parts of one steady timbre each, r_k v_k with shares p_k, have sum_k p_k r_k
    v_k = 0. Directions equally far from one another then meet at -1 / (K - 1) for K letters, whatever their
    shares: two letters are opposites, and a contrast of 0 is for parts that waver.

    Args:
        parts: such as "ABA"; parts are equally long.
        contrast: -1 / (K - 1) where None.

    Raises:
        ConfigError: fewer than two letters, or more letters than frames.
    """
    if len(parts) < 2 or len(parts) > frames or not parts.isalpha():
        raise ConfigError(f"a form has 2 to {frames} letters, such as ABA, got '{parts}'.")
    letters = torch.tensor([ord(c) for c in parts.upper()])
    apart = -1 / max(len(letters.unique()) - 1, 1) if contrast is None else contrast
    at = letters[torch.arange(frames) * len(parts) // frames]
    return torch.where(at[:, None] == at, 1.0, apart)


def _shares(there: Tensor, like: Tensor) -> Tensor:
    """What each time counts, (B, L): alike where it matters, 0 elsewhere."""
    return there.to(like.dtype) / there.sum(-1, keepdim=True)


def _error(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    return ((x - y).square() * share).sum(1)


def _correlation(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    x, y = (one - (one * share).sum(1, keepdim=True) for one in (x, y))
    spread = (x.square() * share).sum(1) * (y.square() * share).sum(1)
    return (x * y * share).sum(1) / (spread + 1e-12).sqrt()


def _latent(heard: Heard) -> Tensor:
    if heard.latent is None:
        raise ConfigError("this target compares latents, and only a wave is heard.")
    return heard.latent


def _same(what: str, asked: int, found: int) -> None:
    if asked != found:
        raise ConfigError(f"the {what} has {asked} frames, the song {found}.")


def _each(what: str, asked: Tensor, found: Tensor) -> Tensor:
    """What is asked of each sample, (B, L)."""
    _same(what, asked.shape[-1], found.shape[1])
    if asked.ndim == 2 and len(asked) != len(found):
        raise ConfigError(f"{len(asked)} of the {what} are asked of {len(found)} songs.")
    return asked.expand(len(found), -1)
