"""Composing: latents of songs of any length from lyrics, style and given music, and the calls that it took.

A run is a plan of the core: Euler's 31 steps over 32 evenly spaced times by default, as published, two calls
of the network each under guidance. A student is a flow map and takes jumps instead, one call each. Where
context is given the state moves on the straight line from its noise to the context and ends in it.

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.5. Warped times: Esser et al. 2024,
arXiv:2403.03206, eq. 23.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core import plan as plans
from core.denoise import Denoiser
from core.errors import ConfigError
from core.flow_map import jumps
from core.infer.search import Found, Search, Verifier, search
from core.plan.table import Plan
from core.progress import Progress, silent
from core.run import steps
from core.state import Seeds, Source
from domains.music.config import Sampling
from domains.music.frames import seconds_of
from domains.music.guidance import Counted, Given, Watched, evaluations, guided
from domains.music.model import SongModel
from domains.music.tiling import filled, shared

__all__ = [
    "Composed",
    "Judges",
    "calls_of",
    "check_student",
    "compose",
    "condition",
    "embedded",
    "plan_for",
    "prepared",
    "runs_budget",
    "search_noise",
    "times_for",
]


Judges: TypeAlias = tuple[Sequence[Verifier], Verifier | None]  # searched on, and reported alone


@dataclass(frozen=True)
class Composed:
    """Latents and what they cost.

    Attributes:
        latents: (B, stems x channels, L), standardised.
        calls: evaluations of the network per song, counted; both halves of a doubled batch count.
        tiles: runs that the song was cut into.
        found: what a noise search tried, for each tile.
    """

    latents: Tensor
    calls: int
    tiles: int = 1
    found: tuple[Found, ...] = ()


def times_for(steps: int, *, warp: float = 1.0, start: float = 1.0) -> list[float]:
    """`steps` + 1 times from `start` to 0: evenly spaced u, moved to warp u / (1 + (warp - 1) u)."""
    even = [start * (1 - i / steps) for i in range(steps + 1)]
    return [warp * u / (1 + (warp - 1) * u) for u in even]


def plan_for(process: Any, sampling: Sampling, *, start: float = 1.0) -> Plan:
    """The solver's plan over the times of the settings.

    Raises:
        ConfigError: a solver that cannot start where no signal is left.
    """
    times = times_for(sampling.steps, warp=sampling.warp, start=start)
    match sampling.solver:
        case "euler" | "midpoint" | "heun":
            return getattr(plans, sampling.solver)(process, times, clock="time")
        case "rk4":
            return plans.rk4(process, times, clock="time")
        case "adams":
            return plans.adams(process, times, data_std=1.0)
        case "dpmpp":
            return plans.dpmpp(process, times)
        case "ancestral":
            return plans.ancestral(process, times)
    return plans.ddim(process, times)


def condition(
    model: SongModel,
    frames: int,
    *,
    count: int = 1,
    phones: Tensor | None = None,
    sections: Tensor | None = None,
    singers: Tensor | None = None,
    style: Tensor | None = None,
    start_s: float = 0.0,
    total_s: float | None = None,
) -> dict[str, Any]:
    """What the model is told of `count` songs alike.

    Args:
        phones, sections, singers: ids per frame, (L,).
        style: (S,), or (L, S) where it changes; None: no style is told.
        start_s: where in the song the canvas begins, s.
        total_s: length of the song, s; the canvas by default.
    """
    device = model.device
    cond: dict[str, Any] = {
        "start": torch.full((count,), start_s, device=device),
        "total": torch.full((count,), seconds_of(frames) if total_s is None else total_s, device=device),
    }
    for name, ids in (("phones", phones), ("sections", sections), ("singers", singers)):
        if ids is not None:
            if ids.shape != (frames,):
                raise ConfigError(f"{name} need one id for each of {frames} frames, got {tuple(ids.shape)}.")
            cond[name] = ids.to(device).expand(count, -1)
    wide = (count, model.net.style) if style is None or style.ndim == 1 else (count, frames, model.net.style)
    cond["style"] = torch.zeros(wide, device=device) if style is None else style.to(device).expand(wide)
    return cond


def compose(
    model: SongModel,
    cond: Mapping[str, Any],
    frames: int,
    gen: Source,
    *,
    sampling: Sampling | None = None,
    negative: Tensor | None = None,
    near: tuple[Tensor, float] | None = None,
    overlap: int | None = None,
    batched: bool = False,
    progress: Progress = silent,
) -> Composed:
    """Draw songs.

    Args:
        cond: of B songs, from `condition`; with `context` and `keep` where music is given.
        frames: L; beyond the model's canvas the song is made of tiles.
        gen: a generator, or `Seeds` with one seed per song.
        sampling: solver, steps, guidance; those of the model by default.
        negative: style (S,) to lead away from.
        near: latents (B, C, L) and a time in (0, 1]: begin there, with as much noise, not at noise alone.
        overlap: frames that tiles share; by default a quarter of the canvas, at most 64, or down to half of
            that where it saves a tile.
        batched: the two calls of guidance as one on a doubled batch.

    Returns:
        Latents and the exact number of calls per song.
    """
    settings = model.config.sampling if sampling is None else sampling
    counted = Counted(model.denoiser)
    count = len(cond["start"])
    like = torch.zeros(count, model.channels, frames, device=model.device)
    pieces = 0

    def draw(told: Mapping[str, Any], first: int, end: int) -> Tensor:
        nonlocal pieces
        length = end - first
        pieces += 1
        plan, denoiser = prepared(
            model, counted, settings, negative, batched, 1.0 if near is None else near[1]
        )
        told = embedded(model, told, length)
        empty = like[..., :length]
        if near is None:
            x = denoiser.process.prior(empty, gen, plan.start)
        else:
            x, _ = denoiser.process.perturb(near[0].to(like), plan.start, gen)
        with torch.no_grad():
            for step in steps(plan, denoiser, x, gen, told):
                x = step.next
                progress("compose", step.number + 1, plan.evaluations, f"tile {pieces}")
        return x

    share = shared(frames, model.max_frames) if overlap is None else overlap
    longest = model.max_frames if near is None else max(frames, model.max_frames)
    latents = filled(draw, cond, like, longest, overlap=share)
    return Composed(latents, counted.songs // count, pieces)


def calls_of(model: SongModel, sampling: Sampling) -> int:
    """Calls of the network per song and tile that these settings take."""
    if model.student:
        return sampling.steps
    return evaluations(plan_for(model.denoiser.process, sampling), sampling.guidance)


def runs_budget(model: SongModel, sampling: Sampling, runs: int) -> int:
    """Evaluations of the guided model that so many runs take, each counted once however it is guided."""
    if model.student:
        return runs * sampling.steps
    return runs * plan_for(model.denoiser.process, sampling).evaluations


def search_noise(
    model: SongModel,
    cond: Mapping[str, Any],
    frames: int,
    seed: int,
    settings: Search,
    judges: Callable[[int, int], Judges],
    *,
    sampling: Sampling | None = None,
    negative: Tensor | None = None,
    overlap: int | None = None,
    progress: Progress = silent,
) -> Composed:
    """Draw one song whose starting noise is searched, tile by tile: each goes on from the one chosen before.

    Args:
        cond: of one song, from `condition`.
        seed: candidate k of "random" is drawn with the seed `seed` + k; other methods have one generator.
        settings: their budget counts evaluations of the guided model for each tile; the calls reported are of
            the network.
        judges: first frame and end of a tile -> what its latents (n, C, end - first) are judged by.
        overlap: as of `compose`.

    Raises:
        ConfigError: the budget is too small for one run.
    """
    chosen = model.config.sampling if sampling is None else sampling
    counted = Counted(model.denoiser)
    plan, denoiser = prepared(model, counted, chosen, negative, False, 1.0)
    gen: Source = torch.Generator(model.device).manual_seed(seed)
    if settings.method == "random":
        gen = Seeds([seed + k for k in range(max(settings.budget // plan.evaluations, 1))], model.device)
    like = torch.zeros(1, model.channels, frames, device=model.device)
    share = shared(frames, model.max_frames) if overlap is None else overlap
    found: list[Found] = []

    def draw(told: Mapping[str, Any], first: int, end: int) -> Tensor:
        watched = Watched(denoiser, lambda calls: progress("search", calls, None, f"tile {len(found) + 1}"))
        verifiers, second = judges(first, end)
        part = embedded(model, told, end - first)
        empty = like[..., first:end]
        found.append(search(settings, plan, watched, empty, gen, verifiers, second=second, cond=part))
        latents: Tensor = found[-1].x
        return latents

    latents = filled(draw, cond, like, model.max_frames, overlap=share)
    return Composed(latents, counted.songs, len(found), tuple(found))


def prepared(
    model: SongModel,
    counted: Counted,
    sampling: Sampling,
    negative: Tensor | None,
    batched: bool,
    start: float,
) -> tuple[Plan, Denoiser]:
    """The plan, and the model as the run sees it: guided, or jumping, with what is given held."""
    if not model.student:
        inner = guided(counted, sampling.guidance, negative=negative, batched=batched)
        return plan_for(model.denoiser.process, sampling, start=start), Given(inner)
    check_student(sampling, negative)
    times = times_for(sampling.steps, warp=sampling.warp, start=start)
    plan, jumping = jumps(_Weighted(counted, sampling.style), times, gamma=sampling.gamma)
    return plan, Given(jumping)


def check_student(sampling: Sampling, negative: Tensor | None) -> None:
    """Refuse guidance that a student did not learn.

    Raises:
        ConfigError: two weights, or a negative style.
    """
    if sampling.lyrics != sampling.style or negative is not None:
        raise ConfigError(
            f"a student has one weight of guidance, got {sampling.lyrics} for lyrics, {sampling.style} for "
            f"style{'' if negative is None else ' and a negative style'}.",
            hint="Set both to one number, or use its teacher.",
        )


@dataclass(frozen=True)
class _Weighted:
    """A student that is told this weight of guidance."""

    denoiser: Denoiser
    weight: float

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Any:
        return self.denoiser(x, t, {**(cond or {}), "weight": x.new_full((x.shape[0],), self.weight)})


def embedded(model: SongModel, cond: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The condition with the lyrics' vectors, which are the same at every step of a run."""
    count = len(cond["start"])
    like = model.net.leave.weight.new_zeros(count, 1, length)
    hide = torch.zeros(count, dtype=torch.bool, device=like.device)
    with torch.no_grad():
        text = model.net.embed(cond, length, like)
        hidden = model.net.embed({**cond, "has_lyrics": hide}, length, like)
    return {**cond, "text": text, "text_hidden": hidden}
