"""Control by the noise: the start of a deterministic run is moved until its result does what is asked.

    x_T*  =  argmin  L(f(run(x_T)))  +  w (mean(x_T^2) - 1)^2

    1. before       run the decoder's plan from the first noise, and measure
    2. optimise     Adam on x_T through the surrogate's plan: a few steps of a student or one of the teacher
                    (DITTO-2), or the whole plan with one checkpoint a call (DITTO)
    3. decode       run the decoder's plan from x_T every few iterations; the iterate whose decoded loss is
                    least is kept, the first one included

A run is a plan and a denoiser, so any model of the core serves: a teacher under guidance with `euler`, a
student with `core.flow_map.jumps`. Plans must be deterministic: the link from noise to result is what is
optimised. Samples of a batch do not see one another, since every loss is per sample and Adam works entry by
entry.

Checkpointing keeps the states and repeats each call in the backward pass: memory of one call, twice the
calls.

Sources: Novack et al. 2024 (DITTO), arXiv:2401.12179, section 3.2 and algorithm 1 (optimisation, checkpoints,
Adam at 5e-3); Novack et al. 2024 (DITTO-2), arXiv:2405.20289, section 3 (surrogate of one step, decoding
with more). Deviations: no dynamic thresholding, since latents have no range; the iterate is kept by its
decoded loss; the norm is held by a penalty; between two decodings the surrogate's loss is taken at its
result plus the decoder's last lead over it, and what a cheap reader hears is brought to the level that the
judge heard (`corrected`), with the gradient of the surrogate and the reader.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, NumericalError
from core.plan.table import Plan
from core.progress import Progress, silent
from core.recompute import Recomputed
from core.run import sample, steps
from domains.music.control.heard import Heard, Reader, leveller
from domains.music.control.targets import Target

__all__ = ["ControlSettings", "Controlled", "Run", "Tried", "control", "rolled"]

STORED = 2  # calls of a surrogate that are kept rather than repeated


@dataclass(frozen=True)
class Run:
    """A plan, the denoiser it is walked with, and what that is told.

    Attributes:
        calls: of the network per sample and walk; the plan's rows by default. Guidance makes it more.
    """

    plan: Plan
    denoiser: Denoiser
    cond: Any = None
    calls: int = 0

    def __post_init__(self) -> None:
        if self.plan.stochastic:
            raise ConfigError(
                f"control needs a deterministic plan, '{self.plan.name}' draws noise.",
                hint="Use euler, heun or ddim with eta=0, or jumps with gamma=0.",
            )

    @property
    def cost(self) -> int:
        """Calls of the network per sample and walk."""
        return self.calls or self.plan.evaluations


@dataclass(frozen=True)
class ControlSettings:
    """How noise is optimised.

    Attributes:
        iterations: of Adam; 70 as published, 150 for melody and structure with DITTO.
        lr: of Adam, in deviations of the noise.
        betas: of Adam.
        norm_weight: w of the penalty on the norm; 0 for none.
        check_every: iterations between decoded losses.
        checkpointed: repeat calls in the backward pass instead of storing them; None: where the surrogate
            makes more than two. The gradient is the same.
        corrected: add to the surrogate's result what the decoder's was beyond it when last decoded, so that
            a surrogate needs to be right in its slope alone; and scale each frame of the reader's magnitudes
            to the level that the judge heard then.
        stop_below: end once every sample's decoded loss is this small; None runs on.
    """

    iterations: int = 70
    lr: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    norm_weight: float = 0.0
    check_every: int = 10
    checkpointed: bool | None = None
    corrected: bool = True
    stop_below: float | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.check_every < 1:
            raise ConfigError(
                f"iterations and check_every are at least 1, got {self.iterations} and {self.check_every}."
            )
        if not self.lr > 0 or self.norm_weight < 0:
            raise ConfigError(
                f"lr is positive and norm_weight at least 0, got {self.lr}, {self.norm_weight}."
            )


@dataclass(frozen=True)
class Tried:
    """One iteration.

    Attributes:
        iteration: updates of the noise before it, from 0.
        surrogate: loss through the surrogate, (B,).
        decoded: loss after the decoder, (B,), where it was measured.
        square: mean square of the noise, (B,); 1 for fresh noise.
        calls: forward calls of the network per sample, so far; those repeated in backward passes count.
        seconds: so far.
    """

    iteration: int
    surrogate: Tensor
    decoded: Tensor | None
    square: Tensor
    calls: int
    seconds: float

    def row(self) -> dict[str, Any]:
        """The iteration as JSON values, means over the batch."""
        return {
            "iteration": self.iteration,
            "surrogate": float(self.surrogate.mean()),
            "decoded": None if self.decoded is None else float(self.decoded.mean()),
            "mean_square": float(self.square.mean()),
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Controlled:
    """What control found.

    Attributes:
        latent: best decoded clean states, (B, C, L).
        noise: where they start, (B, C, L).
        before, after: decoded loss of the first noise and of the best, (B,).
        surrogate: loss of the best through the surrogate, (B,).
        best: iteration of the best, (B,).
        history: every iteration.
        calls: forward calls of the network per sample, in all.
        seconds: in all.
    """

    latent: Tensor
    noise: Tensor
    before: Tensor
    after: Tensor
    surrogate: Tensor
    best: Tensor
    history: tuple[Tried, ...]
    calls: int
    seconds: float


def rolled(run: Run, x: Tensor, *, checkpointed: bool = True) -> Tensor:
    """The end of a run, differentiable by its start x (B, C, L): the core's own steps, with gradients."""
    denoiser = Recomputed(run.denoiser) if checkpointed else run.denoiser
    for step in steps(run.plan, denoiser, x, cond=run.cond):
        x = step.next
    return x


def control(
    surrogate: Run,
    decoder: Run,
    noise: Tensor,
    target: Target | Callable[[Heard], Tensor],
    reader: Reader,
    settings: ControlSettings | None = None,
    *,
    judge: Reader | None = None,
    progress: Progress = silent,
) -> Controlled:
    """Optimise noise.

    Args:
        surrogate: what gradients pass through; `decoder` itself for DITTO, then walked once for both.
        decoder: what makes the result.
        noise: first starts, (B, C, L), from `process.prior` or from an encoded song.
        target: loss of what is heard.
        reader: how latents are heard while optimising.
        judge: how decoded latents are heard, when not by `reader`: the wave, where the reader is a cheap one.

    Raises:
        ConfigError: the two plans do not begin at one time.
        NumericalError: a loss is not finite.
    """
    how = ControlSettings() if settings is None else settings
    if surrogate.plan.start != decoder.plan.start:
        raise ConfigError(
            f"surrogate and decoder begin at different times, {surrogate.plan.start:g} and "
            f"{decoder.plan.start:g}."
        )
    state = _State(surrogate, decoder, target, reader, judge or reader, how)
    return state.run(noise.detach().clone(), progress)


@dataclass
class _State:
    """A control under way."""

    surrogate: Run
    decoder: Run
    target: Callable[[Heard], Tensor]
    reader: Reader
    judge: Reader
    how: ControlSettings
    calls: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    def run(self, x: Tensor, progress: Progress) -> Controlled:
        start, history = time.monotonic(), []
        before: Tensor | None = None
        gap: Tensor | None = None
        level: Tensor | None = None
        x.requires_grad_()
        adam = torch.optim.Adam([x], lr=self.how.lr, betas=self.how.betas)
        for i in range(self.how.iterations + 1):
            last = i == self.how.iterations
            adam.zero_grad()
            square = x.square().flatten(1).mean(1)
            with torch.set_grad_enabled(not last):
                made = rolled(self.surrogate, x, checkpointed=self.checkpointed)
            self.calls += self.surrogate.cost * (2 if self.checkpointed and not last else 1)
            due = last or i % self.how.check_every == 0
            latent = self._walked(x, made) if due else None
            if latent is not None and self.how.corrected:
                gap = latent - made.detach()
            with torch.set_grad_enabled(not last):
                heard = self.reader(made if gap is None else made + gap)
                judged = None if latent is None else self._judged(latent)
                if judged is not None and self.how.corrected:
                    level = leveller(heard, judged)
                loss = self.target(heard if level is None else heard.levelled(level))
            self._check(loss, x, i)
            decoded = None
            if latent is not None and judged is not None:
                decoded = self._kept(x, latent, judged, loss, i)
            before = decoded if before is None else before
            if not last:
                (loss + self.how.norm_weight * (square - 1).square()).sum().backward()
                adam.step()
            spent = time.monotonic() - start
            history.append(Tried(i, loss.detach(), decoded, square.detach(), self.calls, spent))
            shown = decoded if decoded is not None else loss.detach()
            progress("control", i + 1, self.how.iterations + 1, f"loss {float(shown.mean()):.4g}")
            if decoded is not None and self._done():
                break
        assert before is not None
        return Controlled(
            latent=self.best["latent"],
            noise=self.best["noise"],
            before=before,
            after=self.best["decoded"],
            surrogate=self.best["surrogate"],
            best=self.best["iteration"],
            history=tuple(history),
            calls=self.calls,
            seconds=time.monotonic() - start,
        )

    def _done(self) -> bool:
        limit = self.how.stop_below
        return limit is not None and bool((self.best["decoded"] <= limit).all())

    @property
    def checkpointed(self) -> bool:
        """Whether calls are repeated in the backward pass."""
        asked = self.how.checkpointed
        return self.surrogate.cost > STORED if asked is None else asked

    def _walked(self, x: Tensor, made: Tensor) -> Tensor:
        """The decoder's result; what the surrogate made, where that is the decoder."""
        if self.surrogate is self.decoder:
            return made.detach()
        self.calls += self.decoder.cost
        found: Tensor = sample(self.decoder.plan, self.decoder.denoiser, x.detach(), cond=self.decoder.cond)
        return found

    def _judged(self, latent: Tensor) -> Heard:
        with torch.no_grad():
            return self.judge(latent)

    def _kept(self, x: Tensor, latent: Tensor, judged: Heard, surrogate: Tensor, iteration: int) -> Tensor:
        """Measure a result, and keep what is better than all before it, sample by sample."""
        with torch.no_grad():
            loss = self.target(judged)
        found = {
            "latent": latent,
            "noise": x.detach().clone(),
            "decoded": loss,
            "surrogate": surrogate.detach(),
            "iteration": torch.full((len(x),), iteration),
        }
        if not self.best:
            self.best = found
            return loss
        better = loss < self.best["decoded"]
        for name, value in found.items():
            where = better.reshape(-1, *[1] * (value.ndim - 1))
            self.best[name] = torch.where(where, value, self.best[name])
        return loss

    def _check(self, loss: Tensor, x: Tensor, iteration: int) -> None:
        if loss.shape != (len(x),):
            raise ConfigError(f"a target gives one loss per sample, ({len(x)},), got {tuple(loss.shape)}.")
        if not bool(torch.isfinite(loss).all()):
            raise NumericalError(
                f"the control loss is not finite at iteration {iteration}.",
                hint="Lower lr, or check the target.",
            )
