"""Guidance of songs: lyrics and style weighted beyond what the model makes of them, together or apart.

With D the model's answer, 0 for nothing told, s for style, a for all that is told:

    one weight w        D_0 + w (D_a - D_0)                                    two calls
    weights w_s, w_l    D_0 + w_s (D_s - D_0) + w_l (D_a - D_s)                three calls

Equal weights make the second the first. Both are compositions of `core.steer.compose`. Weights of 1 are the
conditional model, one call; so are times outside the interval [low, high]. "Nothing told" hides lyrics, style
and context, as published; a negative style, where one is given, stands in place of the hidden one.

A published weight g in v_c + g (v_c - v_0) is w = g + 1 here.

A student was told its weight while it learned and takes it as the entry `weight` of its condition: one call.

Sources: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.5; the chain of two weights: Brooks et al.
2023, arXiv:2211.09800, eq. 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.plan.table import Plan
from core.state import batch_size
from core.steer.compose import composed
from core.steer.guidance import Guided, classifier_free, doubled, given
from domains.music.conditions import hiding

__all__ = ["Counted", "Given", "Guidance", "Watched", "evaluations", "guided"]


@dataclass(frozen=True)
class Guidance:
    """How strongly lyrics and style are stressed.

    Args:
        lyrics, style: weights w_l and w_s; 1 is the model itself.
        low, high: times, 0 for data and 1 for noise, between which guidance acts.
        rescale: share of the answer that is brought back to the spread of the conditional one.
    """

    lyrics: float = 3.0
    style: float = 3.0
    low: float = 0.0
    high: float = 1.0
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if self.lyrics < 0 or self.style < 0:
            raise ConfigError(
                f"guidance weights are 0 or more, got lyrics {self.lyrics} and style {self.style}."
            )
        if not 0 <= self.low <= self.high <= 1:
            raise ConfigError(f"the interval of guidance lies in [0, 1], got {self.low} to {self.high}.")

    def acts(self, t: float) -> bool:
        """Whether a call at time t is guided."""
        return self.calls > 1 and self.low <= t <= self.high

    @property
    def calls(self) -> int:
        """Calls of the network per guided evaluation."""
        if self.lyrics == self.style:
            return 1 if self.lyrics == 1 else 2
        return 3


def evaluations(plan: Plan, guidance: Guidance | None) -> int:
    """Calls of the network per song that a run makes."""
    if guidance is None:
        return plan.evaluations
    return sum(guidance.calls if guidance.acts(row.t) else 1 for row in plan.rows)


def guided(
    denoiser: Denoiser, guidance: Guidance, *, negative: Tensor | None = None, batched: bool = False
) -> Denoiser:
    """The model under guidance; the condition of the run is a mapping.

    Args:
        denoiser: the model of songs.
        negative: style vector (S,) to lead away from.
        batched: two calls as one on a doubled batch, for wide hardware.
    """
    if guidance.calls == 1:
        return denoiser

    def null(cond: Mapping[str, Any], count: int) -> dict[str, Any]:
        out = hiding(cond, lyrics=True, style=negative is None, context=True, count=count)
        if negative is not None:
            out["style"] = negative.expand(count, -1)
        return out

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        count = batch_size(x)
        if not guidance.acts(float(t.reshape(-1)[0]) if isinstance(t, Tensor) else float(t)):
            return denoiser(x, t, cond)
        if guidance.calls == 2:
            if batched:
                told = {**hiding(cond, count=count), **_flags(cond, x, count)}
                away = {**null(told, count), "style": _like_style(null(told, count), told)}
                return doubled(denoiser, guidance.style, away, rescale=guidance.rescale)(x, t, told)
            other = given(denoiser, null(cond, count))
            free = classifier_free(denoiser, guidance.style, unconditional=other, rescale=guidance.rescale)
            return free(x, t, cond)
        models = [given(denoiser, hiding(cond, lyrics=True, count=count)), given(denoiser, cond)]
        weights = (guidance.style - guidance.lyrics, guidance.lyrics)
        base = given(denoiser, null(cond, count))
        return composed(models, weights, base=base, rescale=guidance.rescale)(x, t, cond)

    return Guided(denoiser.process, answer)


def _flags(cond: Mapping[str, Any], x: Tensor, count: int) -> dict[str, Tensor]:
    """All flags, spelt out, so that both halves of a doubled batch have the same entries."""
    yes = torch.ones(count, dtype=torch.bool, device=x.device)
    return {name: cond.get(name, yes) for name in ("has_lyrics", "has_style", "has_context")}


def _like_style(away: Mapping[str, Any], told: Mapping[str, Any]) -> Any:
    """The null's style with as many axes as that of the run."""
    style, like = away["style"], told["style"]
    return style if style.ndim == like.ndim else style[:, None].expand_as(like)


@dataclass(frozen=True)
class Given:
    """Where context is given the clean state is known: D is the context there, and the run ends in it.

    The state at these frames moves on the straight line from its noise to the context, as while training.
    """

    denoiser: Denoiser

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        out = self.denoiser(x, t, cond)
        if not cond or "context" not in cond:
            return out
        keep = cond["keep"].to(x.dtype)
        keep = keep.repeat_interleave(x.shape[1] // keep.shape[1], 1)
        return Posterior(mean=torch.lerp(out.mean, cond["context"].to(x.dtype), keep))


@dataclass
class Counted:
    """A model that counts its calls and the songs in them."""

    denoiser: Denoiser
    calls: int = field(default=0, init=False)
    songs: int = field(default=0, init=False)

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.calls += 1
        self.songs += batch_size(x)
        return self.denoiser(x, t, cond)


@dataclass
class Watched:
    """A model that tells how many times it was called."""

    denoiser: Denoiser
    tell: Callable[[int], None]
    calls: int = field(default=0, init=False)

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        out = self.denoiser(x, t, cond)
        self.calls += 1
        self.tell(self.calls)
        return out
