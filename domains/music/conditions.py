"""What a song model is told while it learns, and what is hidden from it: per sample, each kind on its own.

    dropped     hides lyrics, style and context independently, and sometimes all three together
    masked      chooses the context: which frames, of which stem, are given
    hiding      the condition of the run with some kinds hidden, for guidance

With rates l, s, c and joint j, lyrics are hidden with probability 1 - (1 - l)(1 - j), and so on. Context is
chosen for a share of the samples:

    span        one hidden span anywhere         edit
    prefix      the beginning is hidden          extend to the left, intros
    suffix      the end is hidden                extend to the right, endings
    middle      both ends are hidden             grow from a fragment
    stem        one stem is hidden, in full      new words on given music, music for a given voice

and otherwise nothing is given: composition. Every draw belongs to its sample.

Source of the rates of lyrics and style: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 4.1.
Deviations: dropout is per sample where the public code drops whole batches, and spans are trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.state import Source, uniform

__all__ = ["KINDS", "Dropout", "Spans", "dropped", "hiding", "masked"]

KINDS = ("span", "prefix", "suffix", "middle", "stem")


@dataclass(frozen=True)
class Dropout:
    """Probabilities with which a sample's conditions are hidden while training."""

    lyrics: float = 0.2
    style: float = 0.2
    context: float = 0.2
    joint: float = 0.1

    def __post_init__(self) -> None:
        for name in ("lyrics", "style", "context", "joint"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"the dropout of {name} must lie in [0, 1), got {getattr(self, name)}.")


@dataclass(frozen=True)
class Spans:
    """How context is chosen.

    Args:
        share: of the samples that are given context.
        low, high: share of the frames that is hidden, drawn uniformly between them.
        stem: among the samples with context, the share that is given one stem in full; for two stems.
    """

    share: float = 0.5
    low: float = 0.7
    high: float = 1.0
    stem: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 < self.low <= self.high <= 1 and 0 <= self.stem <= 1):
            raise ConfigError(
                f"spans need share and stem in [0, 1] and 0 < low <= high <= 1, got share={self.share}, "
                f"stem={self.stem}, low={self.low}, high={self.high}."
            )


def dropped(cond: Mapping[str, Any], rates: Dropout, gen: Source, count: int) -> dict[str, Any]:
    """The condition with `has_lyrics`, `has_style` and `has_context`, (B,) bool."""
    first = next(value for value in cond.values() if isinstance(value, Tensor))
    u = uniform((count, 4), gen, dtype=torch.float64, device=first.device)
    alone = u[:, 3] >= rates.joint
    names = ("lyrics", "style", "context")
    flags = {f"has_{name}": (u[:, i] >= getattr(rates, name)) & alone for i, name in enumerate(names)}
    return {**cond, **flags}


def masked(lengths: Tensor, frames: int, stems: int, spans: Spans, gen: Source) -> Tensor:
    """Which frames are given, (B, stems, frames) float, 1 where context is.

    Args:
        lengths: frames that exist in each sample, (B,).
        frames: length of the canvas.
        gen: draws, per sample, whether, which kind, how much and where.
    """
    count = len(lengths)
    u = uniform((count, 5), gen, dtype=torch.float64, device=lengths.device)
    given, one = u[:, 0] < spans.share, u[:, 1]
    share = spans.low + (spans.high - spans.low) * u[:, 2]
    size = (share * lengths).round().clamp(min=1)  # hidden frames
    rest = lengths - size
    # Kinds other than "stem" share what it leaves evenly.
    stem = spans.stem if stems == 2 else 0.0
    kind = ((one - stem) / max(1 - stem, 1e-12) * 4).floor().clamp(-1, 3)
    where = (u[:, 3] * (rest + 1)).floor()  # start of a span, or of the kept middle
    place = torch.arange(frames, device=lengths.device)[None]
    after = [
        (place < where[:, None]) | (place >= (where + size)[:, None]),  # span
        place >= size[:, None],  # prefix
        place < rest[:, None],  # suffix
        (place >= (u[:, 3] * size).floor()[:, None]) & (place < ((u[:, 3] * size).floor() + rest)[:, None]),
    ]
    keep = torch.zeros(count, frames, dtype=torch.bool, device=lengths.device)
    for number, found in enumerate(after):
        keep = torch.where((kind == number)[:, None], found, keep)
    both = keep[:, None].expand(-1, stems, -1)
    if stems == 2:
        chosen = torch.stack([u[:, 4] < 0.5, u[:, 4] >= 0.5], 1)[..., None].expand(-1, -1, frames)
        both = torch.where((one < stem)[:, None, None], chosen, both)
    exists = place < lengths[:, None]
    return (both & given[:, None, None] & exists[:, None]).float()


def hiding(
    cond: Mapping[str, Any], *, lyrics: bool = False, style: bool = False, context: bool = False, count: int
) -> dict[str, Any]:
    """The condition of a run with some kinds hidden.

    Args:
        cond: of B samples; `text_hidden`, where it is, takes the place of `text` when lyrics are hidden.
        count: B.
    """
    out = dict(cond)
    device = next((value.device for value in cond.values() if isinstance(value, Tensor)), None)
    for name, hide in (("lyrics", lyrics), ("style", style), ("context", context)):
        if hide:
            out[f"has_{name}"] = torch.zeros(count, dtype=torch.bool, device=device)
    if lyrics and "text_hidden" in cond:
        out["text"] = cond["text_hidden"]
    return out
