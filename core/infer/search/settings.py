"""What a search is told, and what it tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from core.errors import ConfigError, unknown

__all__ = ["Found", "Method", "Search", "Tried", "Verifier", "merit", "named", "tried"]

Method: TypeAlias = Literal["random", "zero-order", "paths"]
Verifier: TypeAlias = Callable[[Any], Tensor]
"""Clean states (B, ...) -> scores (B,), higher is better. An attribute `calls`, where there is one, says how
many evaluations of a network it makes per state; the budget pays for them."""


@dataclass(frozen=True)
class Search:
    """How noise is searched.

    Args:
        method: "random", "zero-order" or "paths".
        budget: evaluations of the denoiser, and of the verifiers that are networks, per sample that is
            wanted; never exceeded.
        neighbours: zero-order: candidates around each pivot.
        radius: zero-order: r in sqrt(1 - r^2) z + r xi, how far a neighbour turns away from its pivot. On
            exact densities .3 to .8 beat random search at equal cost; .95, the published setting as far as
            known, hardly does. Of tokens it is the share of positions that draw anew.
        paths: runs that are kept at each stage of "paths".
        noise_back: paths: share of the plan's rows by which a kept run is noised back.
        first: paths: share of the plan's rows before the first choice.
    """

    method: Method = "random"
    budget: int = 256
    neighbours: int = 4
    radius: float = 0.5
    paths: int = 2
    noise_back: float = 0.1
    first: float = 0.25

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise unknown("search", self.method, get_args(Method))
        for name in ("budget", "neighbours", "paths"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("radius", "noise_back", "first"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in (0, 1], got {getattr(self, name)}.")


@dataclass(frozen=True)
class Tried:
    """Candidates that were scored together.

    Attributes:
        evaluations: spent per wanted sample once these were known.
        scores: of each verifier, (V, B, n), float64.
        second: of the verifier that is not searched on, (B, n), or None.
        final: whether these are finished samples; otherwise denoised states on the way.
    """

    evaluations: int
    scores: Tensor
    second: Tensor | None
    final: bool


@dataclass(frozen=True)
class Found:
    """The best samples.

    Attributes:
        x: one clean state per wanted sample, (B, ...).
        scores: of each verifier, (V, B).
        second: of the verifier that was not searched on, (B,), or None.
        calls: evaluations spent per wanted sample.
        log: every candidate, in order.
    """

    x: Any
    scores: Tensor
    second: Tensor | None
    calls: int
    log: tuple[Tried, ...]

    def curve(self) -> list[tuple[int, float]]:
        """Evaluations, and the best score of the first verifier so far, averaged over the samples."""
        best, out = None, []
        for tried in self.log:
            if tried.final:
                top = tried.scores[0].amax(1)
                best = top if best is None else torch.maximum(best, top)
                out.append((tried.evaluations, float(best.mean())))
        return out


def merit(scores: Tensor) -> Tensor:
    """What candidates are chosen by, (V, B, n) -> (B, n): the score; under several verifiers the mean rank.

    Equal scores share the mean of their ranks.
    """
    if len(scores) == 1:
        return scores[0]
    below = (scores[..., None] > scores[..., None, :]).sum(-1)
    equal = (scores[..., None] == scores[..., None, :]).sum(-1)
    return (below + (equal - 1) / 2).to(torch.float64).mean(0)


def named(text: str, known: Mapping[str, Verifier]) -> list[Verifier]:
    """Verifiers from their names, "one" or "one,other".

    Raises:
        ConfigError: a name is not known.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise unknown("verifier", name, known)
    return [known[name] for name in names]


def tried(found: Found | None, sample: int = 0) -> list[dict[str, Any]]:
    """The log as rows for a report: one per candidate of the first wanted sample, under the number given."""
    return [
        {
            "sample": sample,
            "evaluations": log.evaluations,
            "score": float(log.scores[0, 0, i]),
            "second": None if log.second is None else float(log.second[0, i]),
            "final": log.final,
        }
        for log in (() if found is None else found.log)
        for i in range(log.scores.shape[2])
    ]
